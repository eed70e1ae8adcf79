"""Losses of outputs that are the parameters of a distribution."""

import math

from .._arrays import checks as check
from .._arrays.devices import with_device_of_arguments
from .._arrays.functions import real_part, sum_over
from .._arrays.namespace import Array, check_shaped
from .._labels import check_in_range
from .._reduction import (
    Reduction,
    check_outputs,
    multiply,
    pointwise,
)
from .classification import log_softmax

__all__ = ["gaussian_nll", "kl_divergence", "poisson_nll"]


@check.named_options
@with_device_of_arguments
def gaussian_nll(
    outputs: Array,
    targets: Array,
    *,
    weights: Array | None = None,
    full: bool = False,
    reduction: Reduction = "mean",
) -> tuple[Array, Array]:
    """Compute the negative log-likelihood of normal distributions, ``(s + (y - m)² exp(-s)) / 2``.

    Nix and Weigend, *Estimating the mean and variance of the target probability distribution*,
    1994. Same as ``torch.nn.functional.gaussian_nll_loss`` with a variance of ``exp(s)``.

    Parameters
    ----------
    outputs : array, shape (..., 2 F)
        The means ``m``, and after them the logarithms ``s`` of the variances.
    targets : array, shape (..., F)
    weights, reduction
        See :mod:`portable_rnn.losses`. The mean is over steps and the F features.
    full : bool
        Whether to add the constant, ``log(2 π) / 2``.

    Returns
    -------
    value : array, shape ()
    d_outputs : array, shape (..., 2 F)

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Notes
    -----
    It is convex in the means, but not in means and variances together.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.losses import gaussian_nll
    >>> value, d_outputs = gaussian_nll(np.zeros((1, 2)), np.full((1, 1), 2.0))
    >>> print(value, d_outputs)  # a larger variance, exp(0) = 1, would be better
    2.0 [[-2.  -1.5]]
    """
    xp = check_outputs(outputs, weights, reduction)
    *steps, both = outputs.shape
    if both % 2:
        raise ValueError(
            "outputs: expected means and as many logarithms of variances in the last axis, got "
            f"shape {tuple(outputs.shape)}"
        )
    check_shaped("targets", targets, (*steps, both // 2), "outputs", outputs)
    constant = 0.5 * math.log(2.0 * math.pi) if check.flag("full", full) else 0.0

    def of_numbers(o: Array, y: Array) -> tuple[Array, Array]:
        mean, s = o[..., : both // 2], o[..., both // 2 :]
        # Of the square only once it is multiplied, and of no difference none: no overflow.
        precision = xp.exp(-0.5 * xp.where(mean == y, xp.zeros_like(s), s))
        z = (mean - y) * precision
        slopes = [z * precision, 0.5 - 0.5 * z * z]
        return 0.5 * (s + z * z) + constant, xp.concat(slopes, axis=-1)

    return pointwise(xp, outputs, targets, weights, reduction, of_numbers, features=both // 2)


@check.named_options
@with_device_of_arguments
def poisson_nll(
    outputs: Array,
    targets: Array,
    *,
    weights: Array | None = None,
    full: bool = False,
    reduction: Reduction = "mean",
    check_targets: bool | None = None,
) -> tuple[Array, Array]:
    """Compute the negative log-likelihood of counts, from logarithms of rates: ``exp(o) - y o``.

    Same as ``torch.nn.functional.poisson_nll_loss``.

    Parameters
    ----------
    outputs, targets : arrays, shape (..., F)
        Logarithms of the expected counts, and the counts.
    weights, reduction
        See :mod:`portable_rnn.losses`.
    full : bool
        Whether to add Stirling's approximation of ``log y!`` for counts above 1.
    check_targets : bool, optional
        Whether to read the counts and refuse any below 0. By default this is done if they are on
        the host.

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
    >>> from portable_rnn.losses import poisson_nll
    >>> value, d_outputs = poisson_nll(np.zeros((1, 2)), np.asarray([[1.0, 3.0]]), reduction="sum")
    >>> print(value, d_outputs)
    2.0 [[ 0. -2.]]
    """
    xp = check_outputs(outputs, weights, reduction)
    check_shaped("targets", targets, tuple(outputs.shape), "outputs", outputs)
    full = check.flag("full", full)
    check_in_range(xp, targets, weights, check_targets, math.inf, "counts of at least 0")

    def of_numbers(o: Array, y: Array) -> tuple[Array, Array]:
        rate = xp.exp(o)
        losses = rate - multiply(xp, y, o)
        if full:
            many = xp.where(real_part(xp, y) > 1, y, xp.ones_like(y))
            log_y = xp.log(many)  # log 1 = 0
            stirling = many * log_y - many + 0.5 * (math.log(2.0 * math.pi) + log_y)
            losses = losses + xp.where(real_part(xp, y) > 1, stirling, xp.zeros_like(y))
        return losses, rate - y

    return pointwise(xp, outputs, targets, weights, reduction, of_numbers)


@check.named_options
@with_device_of_arguments
def kl_divergence(
    outputs: Array,
    targets: Array,
    *,
    weights: Array | None = None,
    log_target: bool = False,
    reduction: Reduction = "mean",
    check_targets: bool | None = None,
) -> tuple[Array, Array]:
    """Compute how far a softmax is from given probabilities, ``Σ_t Σ_i y_i (log y_i - log p_i)``.

    The Kullback-Leibler divergence, with ``p = softmax(o)``: the cross-entropy less the entropy of
    the targets, so 0 where they agree. Same as ``torch.nn.functional.kl_div`` of a ``log_softmax``,
    whose "batchmean" is the mean here.

    Parameters
    ----------
    outputs : array, shape (..., C)
        Unnormalised log-probabilities.
    targets : array, shape (..., C)
        Probabilities, or with ``log_target`` their logarithms.
    weights, reduction
        See :mod:`portable_rnn.losses`. The mean is over steps.
    log_target : bool
        Whether targets are logarithms.
    check_targets : bool, optional
        Whether to read probabilities and refuse any outside [0, 1]. By default this is done if they
        are on the host.

    Returns
    -------
    value : array, shape ()
    d_outputs : array, shape (..., C)

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.losses import kl_divergence
    >>> value, d_outputs = kl_divergence(np.zeros((1, 2)), np.asarray([[1.0, 0.0]]))
    >>> print(f"{value:.4f}", d_outputs)  # log 2
    0.6931 [[-0.5  0.5]]
    """
    xp = check_outputs(outputs, weights, reduction)
    check_shaped("targets", targets, tuple(outputs.shape), "outputs", outputs)
    log_target = check.flag("log_target", log_target)
    if check_targets is not None:
        check_targets = check.flag("check_targets", check_targets)
    if not log_target:
        check_in_range(xp, targets, weights, check_targets)

    def of_numbers(o: Array, y: Array) -> tuple[Array, Array]:
        log_p = log_softmax(xp, o)
        if log_target:
            log_y, y = y, xp.exp(y)
        else:
            log_y = xp.log(xp.where(y == 0, xp.ones_like(y), y))
        losses = multiply(xp, y, log_y - log_p)
        return losses, xp.exp(log_p) * sum_over(xp, y, -1, keepdims=True) - y

    return pointwise(xp, outputs, targets, weights, reduction, of_numbers, features=1)
