"""Masks of dropout and zoneout: drawn for training, means for prediction, and checks."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from .._arrays.choices import Choices
from .._arrays.functions import real_part
from .._arrays.namespace import (
    Array,
    Namespace,
    check_array,
    check_library_and_device,
    check_like,
    dtype_name,
    namespace_of,
)
from .._arrays.shown import short_repr
from ..model import RNN

__all__ = ["Masks", "check_masks", "drawn_masks", "mean_masks"]

# Masks of each kind have random numbers of their own: those of one kind do not depend on whether
# there are others.
_BETWEEN, _RECURRENT, _UPDATE = range(3)


class Masks(NamedTuple):
    """Factors and choices of one forward pass, by layer and direction like the states.

    Attributes
    ----------
    between : tuple of arrays, shape (T, B, D·H)
        Factors for the inputs of each layer but the first; empty without dropout.
    recurrent : tuple of arrays, shape (B, H)
        Factors for ``h``, for each layer and direction.
    update : tuple of tuples of boolean arrays, shape (T, B, H)
        Where the new state replaces the old, for each layer, direction and state array.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> prnn.dropout.Masks()  # nothing is dropped
    Masks(between=(), recurrent=(), update=())
    """

    between: tuple[Array, ...] = ()  # (T, B, D·H) for each layer but the first
    recurrent: tuple[Array, ...] = ()  # (B, H)
    update: tuple[tuple[Array, ...], ...] = ()  # (T, B, H) boolean, for each state array

    def __repr__(self) -> str:
        return short_repr(self)


def mean_masks(xp: Namespace, model: RNN, x: Array) -> Masks:
    """Return the masks for prediction: none, or the mean of zoneout's choices; x (T, B, I)."""
    if not model.zoneout:
        return Masks()
    mean = xp.full_like(x[:, :1, :1], 1.0 - model.zoneout)
    count = model.num_layers * model.directions
    return Masks(update=((mean,) * model.cell_object.states,) * count)


def drawn_masks(xp: Namespace, model: RNN, x: Array, seed: tuple[int, ...]) -> Masks:
    """Draw masks for training; see `dropout.draw`. x (T, B, I)."""
    draw, (steps, batch, _) = Choices(xp, x, seed), x.shape
    hidden, directions = model.recurrent_size, model.directions
    count, shapes = model.num_layers * directions, model.state_shapes(batch)
    between: tuple[Array, ...] = ()
    recurrent: tuple[Array, ...] = ()
    update: tuple[tuple[Array, ...], ...] = ()
    if model.dropout:
        between = tuple(
            draw.factors(model.dropout, (steps, batch, directions * hidden), _BETWEEN, i)
            for i in range(model.num_layers - 1)
        )
    if model.recurrent_dropout:
        recurrent = tuple(
            draw.factors(model.recurrent_dropout, (batch, hidden), _RECURRENT, i)
            for i in range(count)
        )
    if model.zoneout:
        update = tuple(
            tuple(
                draw.kept(model.zoneout, (steps, *shape[1:]), _UPDATE, i * len(shapes) + part)
                for part, shape in enumerate(shapes)
            )
            for i in range(count)
        )
    return Masks(between, recurrent, update)


def check_masks(model: RNN, value: Masks, x: Array) -> None:
    """Check dropout masks: how many of each kind, shapes, library, dtype and device.

    Masks of each kind that the model has a probability for are required; others are optional.
    The sequence and feature axes may have length 1, for all; the time axis may not.
    """
    steps, batch, _ = x.shape
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
            check_array(f"dropout.{name}", array)
        if (found or chance) and (got := _describe_mismatch(parts, many, shapes)):
            wanted = f"{many} of shape {' and '.join(map(str, shapes))}"
            raise ValueError(f"dropout: expected Masks with {name} {wanted}, got {got}")
        for array in arrays:
            check_library_and_device(f"dropout.{name}", array, "x", x)
            if name != "update" or dtype_name(array.dtype) != "bool":
                # In a complex step x is complex; its masks may be real.
                real = x if array.dtype == x.dtype else real_part(namespace_of(x=x), x)
                check_like(f"dropout.{name}", array, "x", real)


def _check_tuple(name: str, value: Any) -> None:
    if not isinstance(value, (tuple, list)):
        raise TypeError(f"{name}: expected a tuple, got {type(value).__name__}")


def _describe_mismatch(
    parts: list[tuple[Array, ...]], many: int, shapes: Sequence[tuple[int, ...]]
) -> str:
    """Describe what was given instead of ``many`` times arrays of ``shapes``; '' if they fit."""
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
    exact = len(wanted) - 2  # the time axis, if there is one
    return (
        len(got) == len(wanted)
        and got[:exact] == wanted[:exact]
        and all(g in (1, w) for g, w in zip(got, wanted, strict=True))
    )
