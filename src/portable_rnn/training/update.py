"""One update of the parameters, as a pure function of arrays."""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from .._arrays.namespace import Array, Namespace, is_jax_namespace, namespace_of
from .._arrays.tracing import compile_step
from ..batches import Batch
from ..optimizers import Optimizer, clip_by_global_norm, scaled_loss
from ..optimizers.inner import loss_scale_of, taken
from .objective import Found, ModelObjective, Objective

__all__ = ["Updated", "make_update"]


class Updated(NamedTuple):
    """What an update returns.

    Attributes
    ----------
    params, optimizer_state, state : as the next update takes them
    loss : array, shape ()
        NaN if nothing counts in the batch, and infinity instead of any other NaN.
    norm : array, shape (), or None
        Joint norm of the gradient before it is clipped; None if it is not.
    measured : list of dicts of str to array
        What each metric has measured: of the batch, or of each of its parts.
    """

    params: dict[str, Array]
    optimizer_state: Any
    state: Any
    loss: Array
    norm: Array | None
    measured: list[dict[str, Array]]


def make_update(
    xp: Namespace, objective: Objective, optimizer: Optimizer, max_norm: float | None
) -> Callable[..., Updated]:
    """Return the update of a run: ``(params, optimizer_state, state, batch, drawn, lr)``."""
    scales = loss_scale_of(optimizer, None) is not None

    def apply(params: dict[str, Array], optimizer_state: Any, found: Found, lr: Any) -> Updated:
        grads, norm = found.grads, None
        if max_norm is not None:
            grads, norm = clip_by_global_norm(grads, max_norm)
        params, optimizer_state = taken(optimizer, params, grads, optimizer_state, lr)
        loss, wrong = found.loss, namespace_of(loss=found.loss).isnan(found.loss) & ~found.empty
        loss = namespace_of(loss=loss).where(wrong, _full_like(loss, math.inf), loss)
        return Updated(params, optimizer_state, found.state, loss, norm, found.measured)

    def update(
        params: dict[str, Array],
        optimizer_state: Any,
        state: Any,
        batch: Batch,
        drawn: Any,
        lr: Any,
    ) -> Updated:
        if scales and isinstance(objective, ModelObjective):
            scaled = functools.partial(scaled_loss, optimizer=optimizer, state=optimizer_state)
            found = objective.gradients(params, state, batch, drawn, scaled)
        else:
            found = objective.gradients(params, state, batch, drawn)
        return apply(params, optimizer_state, found, lr)

    if objective.compiled or not is_jax_namespace(xp):
        return compile_step(xp, update)
    applied = compile_step(xp, apply)

    def update_by_own_gradients(
        params: dict[str, Array],
        optimizer_state: Any,
        state: Any,
        batch: Batch,
        drawn: Any,
        lr: Any,
    ) -> Updated:
        found = objective.gradients(params, state, batch, drawn)
        # Only what `apply` reads: a state may hold what JAX does not know.
        updated: Updated = applied(params, optimizer_state, found._replace(state=None), lr)
        return updated._replace(state=found.state)

    return update_by_own_gradients


def _full_like(array: Array, value: float) -> Array:
    return namespace_of(array=array).full_like(array, value)
