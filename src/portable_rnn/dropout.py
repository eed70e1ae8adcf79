"""Random masks of dropout and zoneout: the same everywhere for one seed.

Three kinds, each an option of :class:`portable_rnn.RNN`:

dropout
    Zeroes outputs of each layer but the last, drawn at each step, like torch's ``dropout``
    (Srivastava et al., 2014).
recurrent_dropout
    Zeroes entries of ``h`` before the product with ``W_hh``, the same ones at every step of a
    sequence (Gal and Ghahramani, arXiv 1512.05287).
zoneout
    Keeps entries of the old state, drawn at each step (Krueger et al., arXiv 1606.01305).

The first two scale the remaining entries by 1/(1-p), so that prediction needs neither; zoneout
predicts with the expected state, ``p old + (1-p) new``.

The random bits are those of Philox 4x64-10, a function of the seed and of a counter (Salmon,
Moraes, Dror and Shaw, 2011). CuPy computes them on the device of ``x``; for all other libraries
NumPy does, on the host. Each layer, direction and kind has bits of its own, and a longer sequence
of the same batch begins with the masks of a shorter one.
"""

from ._arrays import checks as check
from ._arrays.devices import with_device_of_arguments
from ._arrays.namespace import (
    Array,
    Namespace,
    check_namespace,
    check_of_namespace,
    namespace_of,
)
from ._calls.checks import check_layout, check_model
from ._calls.dropout_masks import Masks, drawn_masks, mean_masks
from ._calls.layout import time_major
from .model import RNN

__all__ = ["Masks", "draw", "expected"]


@check.named_options
@with_device_of_arguments
def draw(model: RNN, x: Array, seed: int | tuple[int, ...]) -> Masks:
    """Draw the masks of one forward pass over ``x``.

    Parameters
    ----------
    model : RNN
    x : array, shape (T, B, I), in the layout of the model
        Gives the numbers of steps and sequences, and library, dtype and device. For a model of
        tokens, any array of that shape and of the dtype of the parameters.
    seed : int, or tuple of ints such as ``(seed, step)``
        The same seed gives the same masks on every library and device. ``0`` is ``(0,)``, and other
        than ``(0, 0)``.

    Returns
    -------
    Masks
        Empty for a model without dropout. Time-major, whatever the layout of ``x``.

    Raises
    ------
    TypeError, ValueError
        If ``x`` is not a floating array of the shape that the model takes, or the seed does not
        consist of ints of at least 0.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(4, 5, num_layers=2, dropout=0.5)
    >>> masks = prnn.dropout.draw(model, np.zeros((7, 3, 4)), seed=0)
    >>> masks.between[0].shape, np.unique(masks.between[0])
    ((7, 3, 5), array([0., 2.]))
    """
    check_model(model)
    xp = namespace_of(x=x)
    check.floating("x", x, xp)
    check_layout(model, x)
    return drawn_masks(xp, model, time_major(xp, model, x), check.seed("seed", seed))


@check.named_options
@with_device_of_arguments
def expected(xp: Namespace, model: RNN, x: Array) -> Masks:
    """Return the masks for prediction: none, or the mean of zoneout's choices.

    Parameters
    ----------
    xp : module
        The namespace of ``x``.
    model : RNN
    x : array, shape (T, B, I), in the layout of the model

    Returns
    -------
    Masks
        Empty without zoneout; else ``update`` has arrays (T, 1, 1) of the dtype of ``x``.

    Raises
    ------
    TypeError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> masks = prnn.dropout.expected(np, prnn.RNN(4, 5, zoneout=0.25), np.ones((2, 3, 4)))
    >>> print(masks.update[0][0][:, 0, 0])
    [0.75 0.75]
    """
    check_model(model)
    check_namespace(xp)
    check.floating("x", x, check_of_namespace("x", x, xp))
    check_layout(model, x)
    return mean_masks(xp, model, time_major(xp, model, x))
