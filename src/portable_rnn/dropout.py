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

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from . import _check as check
from ._host import from_host
from ._namespace import (
    Array,
    Namespace,
    check_namespace,
    device_of,
    dtype_name,
    namespace_of,
    real_part,
)
from .layout import sizes
from .model import RNN

__all__ = ["Masks", "draw", "expected"]


class Masks(NamedTuple):
    """Factors and choices of one forward pass, by layer and direction as the states are.

    Attributes
    ----------
    between : tuple of arrays, shape (T, B, D·H)
        Factors for the inputs of each layer but the first; empty without dropout.
    recurrent : tuple of arrays, shape (B, H)
        Factors for ``h``, for each layer and direction.
    update : tuple of tuples of boolean arrays, shape (T, B, H)
        Where the new state takes the place of the old, for each layer, direction and state array.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> prnn.dropout.Masks()  # nothing is dropped
    Masks(between=(), recurrent=(), update=())
    """

    between: tuple[Array, ...] = ()  # (T, B, D·H) for each layer but the first
    recurrent: tuple[Array, ...] = ()  # (B, H)
    update: tuple[tuple[Array, ...], ...] = ()  # (T, B, H) boolean, for each state array


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
    check.an_rnn(model)
    xp = namespace_of(x=x)
    check.floating("x", x, xp)
    check.layout(model, x)
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
    check.an_rnn(model)
    check_namespace(xp)
    check.floating("x", x, check.of_namespace("x", x, xp))
    check.layout(model, x)
    return _mean_masks(xp, model, x)


def _mean_masks(xp: Namespace, model: RNN, x: Array) -> Masks:
    """Do what `expected` does, of arguments that have been checked."""
    if not model.zoneout:
        return Masks()
    steps, _ = sizes(model, x)
    shape = (steps, 1, 1)
    mean = xp.full(shape, 1.0 - model.zoneout, dtype=x.dtype, device=device_of(x))
    count = model.num_layers * model.directions
    return Masks(update=((mean,) * model.cell_object.states,) * count)


def _check_masks(model: RNN, value: Masks, x: Array, steps: int, batch: int) -> None:
    """Check masks of dropout: how many of each kind, shapes, library, dtype and device.

    Of each kind that the model has a chance for there must be all; of the others there may be.
    An axis may be 1, for all sequences or features; the axis of time may not.
    """
    count, size = model.num_layers * model.directions, model.recurrent_size
    between = (steps, batch, model.directions * size)
    update = [(steps, *shape[1:]) for shape in model.state_shapes(batch)]
    for name, chance, many, shapes in (
        ("between", model.dropout, model.num_layers - 1, [between]),
        ("recurrent", model.recurrent_dropout, count, [(batch, size)]),
        ("update", model.zoneout, count, update),
    ):
        found = getattr(value, name)
        _check_tuple(f"dropout.{name}", found)
        for part in found if name == "update" else ():
            _check_tuple(f"dropout.{name}", part)
        parts = [tuple(part) if name == "update" else (part,) for part in found]
        arrays = [array for part in parts for array in part]
        for array in arrays:
            check.an_array(f"dropout.{name}", array)
        if (found or chance) and (got := _describe_mismatch(parts, many, shapes)):
            wanted = f"{many} of shape {' and '.join(map(str, shapes))}"
            raise ValueError(f"dropout: expected Masks with {name} {wanted}, got {got}")
        for array in arrays:
            check.same_library_and_device(f"dropout.{name}", array, "x", x)
            if name != "update" or dtype_name(array.dtype) != "bool":
                # A complex x, moved off for a complex step, is masked by real numbers too.
                real = x if array.dtype == x.dtype else real_part(namespace_of(x=x), x)
                check.like(f"dropout.{name}", array, "x", real)


def _check_tuple(name: str, value: Any) -> None:
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{name}: expected a tuple, got {type(value).__name__}")


def _describe_mismatch(
    parts: list[tuple[Array, ...]], many: int, shapes: Sequence[tuple[int, ...]]
) -> str:
    """Say what there is in the place of ``many`` times arrays of ``shapes``; '' if they fit."""
    if not parts:
        return "none; for a pass without dropout give False"
    if len(parts) != many:
        return str(len(parts))
    for part in parts:
        got = [tuple(array.shape) for array in part]
        if len(got) != len(shapes):
            return f"{len(got)} arrays in the place of {len(shapes)}"
        if not all(map(_broadcasts, got, shapes)):
            return " and ".join(map(str, got))
    return ""


def _broadcasts(got: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    exact = len(wanted) - 2  # the axis of time, where there is one
    return (
        len(got) == len(wanted)
        and got[:exact] == wanted[:exact]
        and all(g in (1, w) for g, w in zip(got, wanted, strict=True))
    )
