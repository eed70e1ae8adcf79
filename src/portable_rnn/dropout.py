"""The random factors of dropout and zoneout, drawn on the host: one seed, the same everywhere.

Three kinds, each an option of :class:`portable_rnn.RNN`:

dropout
    Zeroes outputs of each layer but the last, anew at each step, as torch's ``dropout`` does
    (Srivastava et al., 2014).
recurrent_dropout
    Zeroes entries of ``h`` on its way into ``W_hh``, the same ones at every step of a sequence
    (Gal and Ghahramani, arXiv 1512.05287).
zoneout
    Keeps entries of the state as they were, anew at each step (Krueger et al., arXiv 1606.01305).

What is left by the first two is scaled by 1/(1-p), so that prediction needs neither; zoneout
predicts with the expected state, ``p old + (1-p) new``.
"""

import numpy as np

from ._arrays import checks as check
from ._arrays.host import from_host
from ._arrays.namespace import (
    Array,
    Namespace,
    check_namespace,
    device_of,
    dtype_name,
    namespace_of,
)
from ._calls.checks import check_layout, check_model
from ._calls.layout import sizes
from ._calls.masks import Masks, mean_masks
from .model import RNN

__all__ = ["Masks", "draw", "expected"]


@check.named_options
def draw(model: RNN, x: Array, seed: int | tuple[int, ...]) -> Masks:
    """Draw the masks of one forward pass over ``x``.

    Parameters
    ----------
    model : RNN
    x : array, shape (T, B, I), in the layout of the model
        Says how many steps and sequences, and of what library, dtype and device.
    seed : int, or tuple of ints such as ``(seed, step)``
        The same seed gives the same masks on every library and device.

    Returns
    -------
    Masks
        Empty for a model without dropout. Time-major, whatever the layout of ``x``.

    Raises
    ------
    TypeError, ValueError
        If ``x`` is not a floating array of the shape that the model takes, or the seed not made of
        ints of at least 0.

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
    rng = np.random.default_rng(check.seed("seed", seed))
    steps, batch = sizes(model, x)
    hidden, directions = model.recurrent_size, model.directions
    count, shapes = model.num_layers * directions, model.state_shapes(batch)

    def factors(p: float, *shape: int) -> Array:
        kept = (rng.random(shape, dtype=np.float32) >= p) / (1.0 - p)
        return from_host(kept, xp, dtype_name(x.dtype), device_of(x))

    def choices(p: float, shape: tuple[int, ...]) -> Array:
        new = rng.random((steps, *shape[1:]), dtype=np.float32) >= p
        return xp.asarray(new, device=device_of(x))

    between: tuple[Array, ...] = ()
    recurrent: tuple[Array, ...] = ()
    update: tuple[tuple[Array, ...], ...] = ()
    if model.dropout:
        size = directions * hidden
        between = tuple(
            factors(model.dropout, steps, batch, size) for _ in range(model.num_layers - 1)
        )
    if model.recurrent_dropout:
        recurrent = tuple(factors(model.recurrent_dropout, batch, hidden) for _ in range(count))
    if model.zoneout:
        update = tuple(tuple(choices(model.zoneout, s) for s in shapes) for _ in range(count))
    return Masks(between, recurrent, update)


@check.named_options
def expected(xp: Namespace, model: RNN, x: Array) -> Masks:
    """Return what prediction uses: nothing, or the mean of zoneout's choices.

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
    check.floating("x", x, check.of_namespace("x", x, xp))
    check_layout(model, x)
    return mean_masks(xp, model, x)
