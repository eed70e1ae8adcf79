"""Initial parameter values, drawn on the host."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ._arrays import checks as check
from ._arrays.host import check_device, from_host
from ._arrays.namespace import Array, Namespace, resolve_namespace

__all__ = ["uniform"]


def uniform(
    shapes: Mapping[str, tuple[int, ...]],
    bound: float,
    seed: int,
    starts: Mapping[str, float | None] | None = None,
    bounds: Mapping[str, float] | None = None,
    *,
    xp: Namespace | None = None,
    dtype: Any = "float32",
    device: Any = None,
) -> dict[str, Array]:
    """Draw every array uniformly from ``[-bound, bound)``, in order, from one generator.

    ``starts`` has the constants that fill some arrays instead, ``bounds`` other bounds. Other
    parameters are those of
    :meth:`portable_rnn.RNN.init`.
    """
    if dtype is None:
        raise TypeError("dtype: expected a floating type such as 'float32', got None")
    rng = np.random.default_rng(check.integer("seed", seed, least=0))
    if device is not None:
        check_device(resolve_namespace(np if xp is None else xp), device)
    found = {}
    for name, shape in shapes.items():
        start = None if starts is None else starts.get(name)
        most = bound if bounds is None else bounds.get(name, bound)
        values = rng.uniform(-most, most, shape) if start is None else np.full(shape, start)
        found[name] = from_host(values, xp, dtype, device)
    return found
