"""The public names of the library: its exports, and what a user-defined cell needs."""

import importlib
import inspect
import types
from importlib.util import find_spec
from typing import Any

import portable_rnn as prnn

__all__ = ["DESCRIBED", "METHODS", "MODULES", "NAMES"]

NAMED = [f"portable_rnn.{name}" for name in ("activations", "book", "distributed", "interop")]
NAMED += [f"portable_rnn.{name}" for name in ("torch", "jax") if find_spec(name)]
MODULES = [
    *(value for value in map(vars(prnn).get, prnn.__all__) if isinstance(value, types.ModuleType)),
    *map(importlib.import_module, NAMED),
]


def members(modules: list[types.ModuleType]) -> dict[str, Any]:
    """Return what modules list as public, by full name."""
    return {f"{m.__name__}.{name}": getattr(m, name) for m in modules for name in m.__all__}


def described(names: dict[str, Any]) -> dict[str, Any]:
    """Return functions, and then classes."""
    return {name: value for name, value in names.items() if inspect.isroutine(value)} | {
        name: value for name, value in names.items() if inspect.isclass(value)
    }


def methods(names: dict[str, Any]) -> dict[str, Any]:
    """Return public methods and properties that the classes among ``names`` define themselves."""
    return {
        f"{name}.{member}": value
        for name, cls in names.items()
        if inspect.isclass(cls)
        for member, value in vars(cls).items()
        if not member.startswith("_") and isinstance(value, (types.FunctionType, property))
    }


TOP = {
    f"portable_rnn.{name}": value
    for name, value in vars(prnn).items()
    if name in prnn.__all__ and not isinstance(value, types.ModuleType)
}
NAMES = TOP | members(MODULES)
DESCRIBED = described(NAMES)
METHODS = methods(DESCRIBED)
