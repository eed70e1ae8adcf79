"""Checks of what a network begins with that runs on its own outputs."""

from collections.abc import Mapping
from typing import Any

from .._arrays.host import is_kind
from .._arrays.namespace import (
    Array,
    Namespace,
    check_array,
    check_library_and_device,
    check_like,
    dtype_name,
)
from ..model import RNN
from .checks import check_every_step, check_one_direction, check_parameters, check_state
from .embedding import NAME, check_token_values, like_embedded

__all__ = ["check_start"]


def check_start(
    model: RNN, params: Mapping[str, Array], start: Any, state: Any, what: str
) -> tuple[Namespace, Array]:
    """Check a network, its first input and state; return that input, tokens of a signed dtype."""
    xp = check_parameters(model, params)
    check_one_direction(model, what)
    check_every_step(model, what)
    check_array("start", start)
    first, count = next(iter(params.values())), 2
    if model.vocabulary_size is None:
        size = model.input_size
        if start.ndim not in (1, 2) or start.shape[-1] != size or 0 in start.shape:
            raise ValueError(
                f"start: expected shape (B, {size}) or ({size},), got {tuple(start.shape)}"
            )
        check_like("start", start, "params", first)
    else:
        count = 1
        if not is_kind("start", start, "integral"):
            raise TypeError(f"start: expected integers, got dtype {dtype_name(start.dtype)}")
        if start.ndim > 1 or 0 in start.shape:
            raise ValueError(
                f"start: expected tokens of shape (B,) or (), got {tuple(start.shape)}"
            )
        check_library_and_device("start", start, "params", first)
        start, _ = check_token_values(xp, "start", start, model.parameter_shapes[NAME][0])
    if state is not None:
        axis = 1 if model.batch_first and start.ndim == count else 0
        one = like_embedded(xp, model, params, xp.expand_dims(start, axis=axis))
        check_state(model, "state", state, one)
    return xp, start
