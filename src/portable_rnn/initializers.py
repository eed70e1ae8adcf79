"""Initial parameter values, drawn on the host."""

import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np

from ._arrays import checks as check
from ._arrays.host import check_device, find_dtype, from_host
from ._arrays.namespace import Array, Namespace, resolve_namespace

__all__ = ["SCHEMES", "Draw", "constant", "gates_of", "matrix", "uniform"]

Host: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"
Draw: TypeAlias = Callable[[np.random.Generator, tuple[int, ...]], Host]
SCHEMES = ("uniform", "glorot", "he", "lecun", "orthogonal")


def uniform(
    shapes: Mapping[str, tuple[int, ...]],
    bound: float,
    seed: int,
    others: Mapping[str, Draw] | None = None,
    *,
    xp: Namespace | None = None,
    dtype: Any = "float32",
    device: Any = None,
) -> dict[str, Array]:
    """Draw every array uniformly from ``[-bound, bound)``, in order, from one generator.

    ``others`` has functions that draw some arrays instead. Other parameters are those of
    :meth:`portable_rnn.RNN.init`.
    """
    xp = resolve_namespace(np if xp is None else xp)
    dtype = find_dtype(xp, dtype)  # not only with the first array, since there may be none
    rng = np.random.default_rng(check.integer("seed", seed, least=0))
    check_device(xp, device)
    found = {}
    for name, shape in shapes.items():
        other = None if others is None else others.get(name)
        values = rng.uniform(-bound, bound, shape) if other is None else other(rng, shape)
        found[name] = from_host(values, xp, dtype, device)
    return found


def constant(value: float) -> Draw:
    """Return a function that fills an array."""
    return lambda rng, shape: np.full(shape, value)


def gates_of(gates: int, one: Draw) -> Draw:
    """Return a function that draws an array gate by gate."""

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Host:
        return np.concatenate([one(rng, (shape[0] // gates, *shape[1:])) for _ in range(gates)])

    return draw


def matrix(scheme: str) -> Draw:
    """Return a function that draws a matrix (O, I) by one of `SCHEMES` except "uniform".

    Of Glorot and Bengio (2010), He et al. (2015), LeCun et al. (1998), and Saxe et al. (2013).
    """

    def draw(rng: np.random.Generator, shape: tuple[int, ...]) -> Host:
        outputs, inputs = shape
        if scheme == "glorot":
            bound = math.sqrt(6.0 / (inputs + outputs))
            return rng.uniform(-bound, bound, shape)
        if scheme == "orthogonal":
            size = (max(shape), min(shape))
            q, r = np.linalg.qr(rng.standard_normal(size))
            q = q * np.where(np.diagonal(r) < 0, -1.0, 1.0)  # else not all are equally likely
            return q if outputs >= inputs else q.T
        return rng.standard_normal(shape) * math.sqrt((2.0 if scheme == "he" else 1.0) / inputs)

    return draw
