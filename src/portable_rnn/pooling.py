"""Pooling: one vector for each sequence from the outputs of all its steps, and the derivative.

A model with ``pool`` does it itself, before its readout; these are for networks put together by
hand, such as one that needs both the outputs of all steps and a summary of them.
"""

from typing import Any

from ._arrays import checks as check
from ._arrays.devices import with_device_of_arguments
from ._arrays.namespace import Array, check_array, check_shaped, namespace_of
from ._calls.checks import check_record
from ._calls.valid_steps import valid_steps_of_outputs
from ._engine import pooling
from ._engine.pooling import POOLS, Pooled

__all__ = ["pool", "pool_vjp"]


@check.named_options
@with_device_of_arguments
def pool(
    outputs: Array,
    how: str = "last",
    *,
    lengths: Any = None,
    mask: Any = None,
    bidirectional: bool = False,
) -> tuple[Array, Pooled]:
    """Return one vector for each sequence: of its last step, or the mean or maximum over its steps.

    Parameters
    ----------
    outputs : floating array, shape (T, B, F)
        Outputs of all steps, time-major.
    how : {"last", "mean", "max"}
        As the option ``pool`` of :class:`portable_rnn.RNN`.
    lengths : sequence of B ints, or integer array (B,), optional
        How many steps each sequence has, as for `forward`.
    mask : boolean array, shape (T, B), optional
        The valid steps instead. What stands at other steps does not matter, even NaN.
    bidirectional : bool
        Whether the outputs are those of both directions, (T, B, 2 H). The "last" step of the
        second half is then the first in time, and the result has both final states.

    Returns
    -------
    pooled : array, shape (B, F)
        Zero for a sequence without steps.
    residuals : NamedTuple
        For `pool_vjp`; arrays or None.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> outputs = np.asarray([1.0, 5.0, 3.0]).reshape(3, 1, 1)
    >>> pooled, residuals = prnn.pool(outputs, "max", lengths=[2])
    >>> print(pooled, prnn.pool_vjp(residuals, np.ones((1, 1))).ravel())
    [[5.]] [0. 1. 0.]
    """
    check.choice("how", how, POOLS)
    both = check.flag("bidirectional", bidirectional)
    xp = namespace_of(outputs=outputs)
    check.floating("outputs", outputs, xp)
    if outputs.ndim != 3 or 0 in outputs.shape:
        raise ValueError(
            f"outputs: expected shape (T, B, F) without a 0, got {tuple(outputs.shape)}"
        )
    if both and outputs.shape[2] % 2:
        raise ValueError(
            "outputs: expected an even number of features, those of both directions, "
            f"got {outputs.shape[2]}"
        )
    valid = valid_steps_of_outputs(xp, "outputs", outputs, lengths, mask)
    reverse = (False, True) if both else (False,)
    pooled = pooling.pool(xp, how, outputs, valid, reverse)
    return pooled.features[0, ...], pooled


@check.named_options
@with_device_of_arguments
def pool_vjp(residuals: Pooled, d_pooled: Array) -> Array:
    """Return the cotangent of the outputs of `pool`; zero at steps that are not valid.

    The first of equal maxima has the gradient.

    Parameters
    ----------
    residuals : NamedTuple
        From `pool`.
    d_pooled : floating array, shape (B, F)

    Returns
    -------
    array, shape (T, B, F)

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> _, residuals = prnn.pool(np.ones((4, 2, 1)), "mean", lengths=[4, 2])
    >>> print(prnn.pool_vjp(residuals, np.ones((2, 1)))[:, :, 0].T)
    [[0.25 0.25 0.25 0.25]
     [0.5  0.5  0.   0.  ]]
    """
    check_record("residuals", residuals, Pooled, "pool", ("features", "chosen"))
    features = residuals.features
    check_array("d_pooled", d_pooled)
    check_shaped("d_pooled", d_pooled, tuple(features.shape[1:]), "outputs", features)
    xp = namespace_of(d_pooled=d_pooled)
    return pooling.pool_vjp(xp, residuals, d_pooled[None, ...])
