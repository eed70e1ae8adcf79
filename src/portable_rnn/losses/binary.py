"""Losses of independent binary outputs, from their logits."""

from .._arrays import checks as check
from .._arrays.devices import with_device_of_arguments
from .._arrays.functions import real_part
from .._arrays.namespace import Array, Namespace, check_shaped
from .._labels import check_in_range
from .._reduction import (
    Reduction,
    check_outputs,
    multiply,
    pointwise,
)

__all__ = ["binary_cross_entropy", "binary_focal_cross_entropy"]


@check.named_options
@with_device_of_arguments
def binary_cross_entropy(
    outputs: Array,
    targets: Array,
    *,
    weights: Array | None = None,
    reduction: Reduction = "mean",
    check_targets: bool | None = None,
) -> tuple[Array, Array]:
    """Compute the negative log-likelihood of independent binary outputs, from their logits.

    ``-y log s(o) - (1 - y) log(1 - s(o))`` with the logistic function ``s``, computed as
    ``log(1 + exp(o)) - y o`` without overflow. Its gradient is ``s(o) - y``.

    Parameters
    ----------
    outputs : array, shape (..., F)
        Logits.
    targets : array, shape (..., F)
        Probabilities of 1, in [0, 1], with the outputs' dtype.
    weights, reduction
        See :mod:`portable_rnn.losses`.
    check_targets : bool, optional
        Whether to read the targets and refuse any outside [0, 1]. By default this is done if they
        are on the host.

    Returns
    -------
    value : array, shape ()
    d_outputs : array, shape (..., F)

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.losses import binary_cross_entropy
    >>> value, d_outputs = binary_cross_entropy(np.zeros((3, 1)), np.ones((3, 1)))
    >>> print(f"{value:.4f}")  # log 2
    0.6931
    """
    xp = check_outputs(outputs, weights, reduction)
    check_shaped("targets", targets, tuple(outputs.shape), "outputs", outputs)
    check_in_range(xp, targets, weights, check_targets)

    def of_numbers(o: Array, y: Array) -> tuple[Array, Array]:
        entropy, *logits = _logistic(xp, o, y)
        return entropy, _sigmoid(xp, *logits) - y

    return pointwise(xp, outputs, targets, weights, reduction, of_numbers)


@check.named_options
@with_device_of_arguments
def binary_focal_cross_entropy(
    outputs: Array,
    targets: Array,
    *,
    weights: Array | None = None,
    gamma: float = 2.0,
    alpha: float | None = None,
    reduction: Reduction = "mean",
    check_targets: bool | None = None,
) -> tuple[Array, Array]:
    """Compute the binary cross-entropy, less of it where the output is already right.

    With ``m = y (1 - s(o)) + (1 - y) s(o)``, how far the probability is from the target, each
    cross-entropy is multiplied by ``m**gamma`` (Lin et al., *Focal loss for dense object
    detection*, ICCV 2017). Same as torchvision's ``sigmoid_focal_loss``.

    Parameters
    ----------
    outputs, targets, weights, reduction, check_targets
        As for `binary_cross_entropy`.
    gamma : float
        At least 0, for which it is the cross-entropy.
    alpha : float in [0, 1], optional
        Weight of targets of 1; those of 0 have the weight ``1 - alpha``. By default both have 1.

    Returns
    -------
    value : array, shape ()
    d_outputs : array, shape (..., F)

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Notes
    -----
    It is not convex in the outputs.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.losses import binary_focal_cross_entropy
    >>> value, d_outputs = binary_focal_cross_entropy(np.zeros((3, 1)), np.ones((3, 1)))
    >>> print(f"{value:.4f}")  # a quarter of log 2
    0.1733
    """
    xp = check_outputs(outputs, weights, reduction)
    check_shaped("targets", targets, tuple(outputs.shape), "outputs", outputs)
    gamma = check.number("gamma", gamma, least=0.0)
    if alpha is not None:
        alpha = check.number("alpha", alpha, least=0.0, most=1.0)
    check_in_range(xp, targets, weights, check_targets)

    def of_numbers(o: Array, y: Array) -> tuple[Array, Array]:
        entropy, positive, shrinking = _logistic(xp, o, y)
        p, q = (_sigmoid(xp, which, shrinking) for which in (positive, ~positive))
        far = y * q + (1.0 - y) * p
        zero = real_part(xp, far) <= 0
        factor = xp.exp(gamma * xp.log(xp.where(zero, xp.ones_like(far), far)))
        if gamma:
            factor = xp.where(zero, xp.zeros_like(far), factor)
        # Where the divisor is small, the entropy is as small.
        ratio = entropy * factor / xp.where(zero, xp.ones_like(far), far)
        slope = (1.0 - y) * p - y * q  # p - y, without cancellation
        slope = slope * factor + gamma * (1.0 - 2.0 * y) * multiply(xp, p * q, ratio)
        if alpha is None:
            return multiply(xp, factor, entropy), slope
        share = alpha * y + (1.0 - alpha) * (1.0 - y)
        return share * multiply(xp, factor, entropy), share * slope

    return pointwise(xp, outputs, targets, weights, reduction, of_numbers)


def _logistic(xp: Namespace, o: Array, y: Array) -> tuple[Array, Array, Array]:
    """Return the cross-entropy of logits and targets, where logits are positive, and exp(-|o|)."""
    positive = real_part(xp, o) > 0
    shrinking = xp.exp(xp.where(positive, -o, o))  # exp(-|o|), analytically
    wrong = xp.astype(positive, o.dtype) - y
    return multiply(xp, wrong, o) + xp.log1p(shrinking), positive, shrinking


def _sigmoid(xp: Namespace, positive: Array, shrinking: Array) -> Array:
    """Return the probability of 1, from the last two results of `_logistic`."""
    return xp.where(positive, xp.ones_like(shrinking), shrinking) / (1.0 + shrinking)
