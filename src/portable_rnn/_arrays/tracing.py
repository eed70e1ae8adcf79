"""Support for libraries that trace, compile or compute lazily: JAX, Dask, ndonnx, torch."""

import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from .namespace import (
    Array,
    Namespace,
    is_array,
    is_dask_namespace,
    is_jax_namespace,
    is_ndonnx_namespace,
    is_torch_array,
)

__all__ = [
    "compile_step",
    "detached",
    "make_static",
    "uncompilable_argument",
    "whole_sequence",
]

_static: set[type] = set()


def whole_sequence(xp: Namespace) -> bool:
    """Return whether the whole sequence is one computation, and time is never cut.

    Lazy libraries optimise one graph, and JAX arrays cannot be written into.
    """
    return bool(is_jax_namespace(xp) or is_dask_namespace(xp) or is_ndonnx_namespace(xp))


def make_static(xp: Namespace, kind: type) -> None:
    """Register a type as static with JAX, so that ``jax.jit`` may return its objects."""
    if is_jax_namespace(xp) and kind not in _static:
        _static.add(kind)
        with suppress(ValueError):  # the caller has registered it already
            sys.modules["jax"].tree_util.register_static(kind)


def detached(array: Array) -> Array:
    """Return a torch tensor without its autograd graph, and any other array as it is."""
    return array.detach() if is_torch_array(array) else array


def uncompilable_argument(xp: Namespace, value: Any) -> Any:
    """Return the first leaf of a value that a function from `compile_step` cannot take, or None.

    JAX compiles functions of arrays and numbers, in containers that it knows.
    """
    leaves = sys.modules["jax"].tree.leaves(value) if is_jax_namespace(xp) else ()
    taken = (bool, int, float, complex)
    return next((one for one in leaves if not isinstance(one, taken) and not is_array(one)), None)


def compile_step(xp: Namespace, f: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``f`` as one unit of work: JAX compiles it, Dask computes all its results at once.

    For other libraries, return ``f`` itself. Dask arrays stay Dask arrays, but keep only their
    values: left lazy, what one call passes to the next would hold the graphs of all calls before
    it, and each read of a value would compute them all again.
    """
    if is_jax_namespace(xp):
        jitted: Callable[..., Any] = sys.modules["jax"].jit(f)
        return jitted
    if is_dask_namespace(xp):
        persist = sys.modules["dask"].persist
        return lambda *args: persist(f(*args))[0]
    return f
