"""One update of the parameters, as a pure function of arrays."""

import functools
import math
from collections.abc import Callable
from typing import Any

from .._arrays.namespace import Array, Namespace, namespace_of
from .._arrays.tracing import compile_step
from .._calls.checks import check_parameters
from .._calls.dropout_masks import Masks
from .._calls.loss import Loss
from ..api import bptt
from ..batches import Batch
from ..model import RNN
from ..optimizers import Optimizer, clip_by_global_norm
from .evaluation import value_and_empty

__all__ = ["check_updated", "make_update"]


def make_update(
    xp: Namespace, model: RNN, optimizer: Optimizer, loss: Loss, max_norm: float | None
) -> Callable[..., tuple[dict[str, Array], dict[str, Any], Any, Array]]:
    """Return the update of a run, from parameters and a batch to parameters and the loss.

    Made once per run, since the signature of a new function has to be looked up.
    """
    recorder, record = _recording(loss)

    def update(
        params: dict[str, Array],
        optimizer_state: dict[str, Any] | None,
        state: Any,
        batch: Batch,
        masks: Masks,
        lr: Any,
    ) -> tuple[dict[str, Array], dict[str, Any], Any, Array]:
        options = {} if batch.weights is None else {"weights": batch.weights}
        given = {"lengths": batch.lengths, "dropout": masks, "grad_x": False}
        result = bptt(
            model, params, batch.x, batch.targets, loss=recorder, state=state, **given, **options
        )
        grads = result.grads
        if max_norm is not None:
            grads, _ = clip_by_global_norm(grads, max_norm)
        params, optimizer_state = _pair(optimizer(params, grads, optimizer_state, lr=lr))
        value, empty = value_and_empty(record.pop())
        xp = namespace_of(loss=value)
        value = xp.where(xp.isnan(value) & ~empty, xp.full_like(value, math.inf), value)
        return params, optimizer_state, result.state, value

    return compile_step(xp, update)


def _pair(returned: Any) -> tuple[dict[str, Array], dict[str, Any]]:
    """Check that an optimizer returned a pair; return it."""
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        raise TypeError(
            f"optimizer: expected it to return (params, state), got {type(returned).__name__}"
        )
    params, state = returned
    return params, state


def _recording(loss: Loss) -> tuple[Loss, list[Any]]:
    """Return a loss that records what it returns, and the list that holds the record."""
    record: list[Any] = []

    @functools.wraps(loss)
    def recorder(*args: Any, **options: Any) -> Any:
        record[:] = [loss(*args, **options)]
        return record[0]

    return recorder, record


def check_updated(model: RNN, params: Any) -> None:
    """Check the parameters that an optimizer returned."""
    try:
        check_parameters(model, params)
    except (TypeError, ValueError) as error:
        raise type(error)(f"optimizer: what it returned has {error}") from None
