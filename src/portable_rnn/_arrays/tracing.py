"""Libraries that trace or compile: what they are told of, and what cannot be asked of them."""

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
    """Tell whether time is never cut: lazy libraries optimise one graph, JAX writes into none."""
    return bool(is_jax_namespace(xp) or is_dask_namespace(xp) or is_ndonnx_namespace(xp))


def make_static(xp: Namespace, kind: type) -> None:
    """Tell JAX that objects of a type hold no arrays; ``jax.jit`` may then return them."""
    if is_jax_namespace(xp) and kind not in _static:
        _static.add(kind)
        with suppress(ValueError):  # the caller has told it already
            sys.modules["jax"].tree_util.register_static(kind)


def detached(array: Array) -> Array:
    """Return a torch tensor without its autograd graph, and any other array as it is."""
    return array.detach() if is_torch_array(array) else array


def uncompilable_argument(xp: Namespace, value: Any) -> Any:
    """Return the first thing in a value that a function of `compile_step` cannot be given, or None.

    JAX compiles a function of arrays and numbers, in containers that it knows.
    """
    leaves = sys.modules["jax"].tree.leaves(value) if is_jax_namespace(xp) else ()
    taken = (bool, int, float, complex)
    return next((one for one in leaves if not isinstance(one, taken) and not is_array(one)), None)


def compile_step(xp: Namespace, f: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``f`` as one unit of work: JAX compiles it, Dask computes all its results at once.

    Elsewhere ``f`` itself. Dask's arrays stay Dask's, and keep only their values: left lazy, what
    one call hands to the next would hold the graph of every call before it, and each reading of
    a value would compute them all over again.
    """
    if is_jax_namespace(xp):
        jitted: Callable[..., Any] = sys.modules["jax"].jit(f)
        return jitted
    if is_dask_namespace(xp):
        persist = sys.modules["dask"].persist
        return lambda *args: persist(f(*args))[0]
    return f
