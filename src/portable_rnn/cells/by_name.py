"""Cells by name, and as plain values for a file."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from .._arrays.scalars import count, said, suggestion
from . import CELLS
from .protocol import Cell

__all__ = ["checked_cell", "described", "from_description"]


def checked_cell(cell: Any) -> str | Cell:
    """Check a cell: a name, an object, or a description as in a file, which becomes an object.

    Raises
    ------
    TypeError, ValueError
        If it is none of these.
    """
    if isinstance(cell, Mapping):
        return from_description(cell)
    if isinstance(cell, str):
        if cell not in CELLS:
            raise ValueError(
                f"cell: expected one of {', '.join(map(repr, CELLS))} or a Cell, got {said(cell)}"
                f"{suggestion(cell, CELLS)}"
            )
        return cell
    if isinstance(cell, type):
        name = cell.__name__
        raise TypeError(f"cell: expected an object, got the class {name}; write {name}()")
    if not isinstance(cell, Cell):
        raise TypeError(
            "cell: expected a name or an object with gates, states, step and step_vjp, "
            f"got {said(cell)}"
        )
    if hasattr(cell, "late") and not hasattr(cell, "second_product"):
        raise TypeError("cell: expected second_product, got late, its former name; see Cell")
    for name in ("gates", "states"):
        count(f"cell.{name}", getattr(cell, name))
    return cell


def described(cell: Cell) -> dict[str, Any]:
    """Return the name of one of the library's cells, with its options that are not the default.

    Raises
    ------
    TypeError
        If the cell is your own, which no file can describe.

    Examples
    --------
    >>> from portable_rnn.cells import LSTM
    >>> from portable_rnn.cells.by_name import described
    >>> described(LSTM(peepholes=True))
    {'name': 'lstm', 'peepholes': True}
    """
    for name, kind in CELLS.items():
        if type(cell) is kind:
            options = {field.name: getattr(cell, field.name) for field in fields(kind)}  # type: ignore[arg-type]
            default = kind()
            changed = {k: v for k, v in options.items() if v != getattr(default, k)}
            return {"name": name} | {k: _plain(v) for k, v in changed.items()}
    raise TypeError(f"cell: only cells of the library can be written to a file, got {said(cell)}")


def from_description(description: Mapping[str, Any]) -> Cell:
    """Undo `described`.

    Raises
    ------
    TypeError, ValueError
        If there is no cell of this name, or it does not have these options.

    Examples
    --------
    >>> from portable_rnn.cells.by_name import from_description
    >>> from_description({"name": "elman", "clip": 3.0})
    Elman(nonlinearity='tanh', clip=3.0)
    """
    options = dict(description)
    name = options.pop("name", None)
    if not isinstance(name, str) or name not in CELLS:
        raise ValueError(
            f"cell: expected the name of one of {', '.join(map(repr, CELLS))}, "
            f"got {said(name)}{suggestion(str(name), CELLS)}"
        )
    kind = CELLS[name]
    known = [field.name for field in fields(kind)]  # type: ignore[arg-type]
    if unknown := [option for option in options if option not in known]:
        has = f"options {', '.join(known)}" if known else "no options"
        raise ValueError(f"cell: {name!r} has {has}, got {', '.join(map(str, unknown))}")
    try:
        return kind(**options)
    except (TypeError, ValueError) as error:
        raise type(error)(f"cell: {error}") from None


def _plain(value: Any) -> Any:
    """Return tuples as lists, as JSON reads them back."""
    return [_plain(one) for one in value] if isinstance(value, tuple) else value
