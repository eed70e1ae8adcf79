"""Call a loss, and check what it returns."""

from collections.abc import Callable
from typing import Any, TypeAlias

from .._arrays import checks as check
from .._arrays.functions import where
from .._arrays.namespace import Array, check_shaped, namespace_of
from ..model import RNN
from .valid_steps import valid_steps_of

__all__ = ["Loss", "loss_and_gradient", "returned_by_loss", "step_weights", "weighs_steps"]

Loss: TypeAlias = Callable[..., tuple[Array, Array]]


def loss_and_gradient(
    model: RNN,
    loss: Loss,
    outputs: Array,
    targets: Any,
    x: Array,
    *,
    lengths: Any,
    mask: Any,
    **loss_options: Any,
) -> tuple[Array, Array]:
    """Call a loss with the valid steps, unless they are pooled; check what it returns."""
    if weighs_steps(model, lengths, mask):
        weights = loss_options.get("weights")
        loss_options["weights"] = step_weights(model, x, lengths, mask, weights)
    return returned_by_loss(loss(outputs, targets, **loss_options), outputs, x)


def weighs_steps(model: RNN, lengths: Any, mask: Any) -> bool:
    """Return whether a loss is given weights of steps, of which some are not valid."""
    pooled = getattr(model, "pool", None) is not None
    return not pooled and not (lengths is None and mask is None)


def returned_by_loss(returned: Any, outputs: Array, x: Array) -> tuple[Array, Array]:
    """Check what a loss returned for ``outputs``; return it."""
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise TypeError(
            f"loss: expected it to return (value, d_outputs), got {type(returned).__name__}"
        )
    value, d_outputs = returned
    check.loss_value(value, x)
    check_shaped("d_outputs returned by the loss", d_outputs, tuple(outputs.shape), "x", x)
    return value, d_outputs


def step_weights(model: RNN, x: Array, lengths: Any, mask: Any, weights: Any) -> Array:
    """Return step weights for a loss, in the layout of ``x``, zero except at valid steps."""
    xp = namespace_of(x=x)
    valid = valid_steps_of(xp, model, x, lengths, mask)
    if weights is None:
        return valid
    check.weights(weights, "x", x)
    return where(xp, valid, weights, xp.zeros_like(weights))
