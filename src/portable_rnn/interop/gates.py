"""What converters share: the order of gates, checks, and the library of what is returned."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

import numpy as np

from .._arrays import checks as check
from .._arrays.host import from_host, to_host
from .._arrays.namespace import Array, Namespace, dtype_name, resolve_namespace
from .._calls.checks import check_model, check_parameters
from ..cells import CELLS, Cell
from ..model import RNN

__all__ = ["by_name", "checked", "converted", "imported", "in_order", "on_host", "refuse_options"]

Host = np.ndarray[Any, Any]


def imported(name: str) -> Any:
    """Import the other library, or say how to install it."""
    try:
        return import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise ImportError(
            f"{package} is needed to convert its layers: pip install {package}"
        ) from None


def in_order(array: Host, have: str, want: str, axis: int = 0) -> Host:
    """Return blocks of an axis, one for each letter of ``have``, in the order of ``want``."""
    blocks = dict(zip(have, np.split(array, len(have), axis), strict=True))
    return np.concatenate([blocks[gate] for gate in want], axis)


def on_host(name: str, array: Any) -> Host:
    """Return a copy of an array as NumPy's, through which all parameters go."""
    if dtype_name(array.dtype) == "bfloat16":
        raise TypeError(f"{name}: expected a dtype that NumPy has, got bfloat16")
    return to_host(array).copy()


def converted(
    model: RNN, params: Mapping[str, Host], xp: Namespace | None
) -> tuple[RNN, dict[str, Array]]:
    """Return a model with its parameters in a library; NumPy by default."""
    space = None if xp is None else resolve_namespace(xp)
    return model, {name: from_host(params[name], space) for name in model.parameter_shapes}


def by_name(cell: Cell) -> Any:
    """Return the name of a cell with its defaults, such as "gru"; any other cell as it is."""
    return next((name for name, kind in CELLS.items() if kind() == cell), cell)


def checked(
    model: Any, params: Any, library: str, cells: Sequence[Cell], **without: Any
) -> dict[str, Host]:
    """Check a network that is to be converted; return its parameters as NumPy's arrays.

    Options must be ``without`` what has no counterpart, and the cell one of ``cells``.
    """
    check_model(model)
    if not isinstance(model, RNN):
        raise TypeError(f"model: expected an RNN, got {type(model).__name__}")
    check_parameters(model, params)
    if model.cell_object not in cells:
        raise ValueError(f"model: cell {check.said(model.cell)} has no counterpart in {library}")
    refuse_options(model, "model", library, recurrent_dropout=0.0, zoneout=0.0, **without)
    return {name: on_host(f"params[{name!r}]", array) for name, array in params.items()}


def refuse_options(source: Any, name: str, library: str, **without: Any) -> None:
    """Raise an error if an attribute has a value that has no counterpart."""
    for option, value in without.items():
        if (got := getattr(source, option, value)) != value:
            raise ValueError(f"{name}: {option}={got!r} has no counterpart in {library}")
