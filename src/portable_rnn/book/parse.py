"""Convert lists, or arrays of any library, to nested tuples of floats."""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from numbers import Real
from typing import Any, TypeAlias

from .._arrays import checks as check
from .._arrays.host import to_host
from .._arrays.namespace import is_array
from .._arrays.scalars import as_array_remedy, type_name

__all__ = ["Matrix", "Vector", "check_shape", "flat", "parse", "shape_of", "to_lists"]

Vector: TypeAlias = tuple[float, ...]
Matrix: TypeAlias = tuple[Vector, ...]


def parse(name: str, value: Any) -> Any:
    """Return finite real numbers as nested tuples of floats, or as one float.

    Parameters
    ----------
    name : str
        The name to use in errors.
    value : nested sequence of numbers, or array of any library
        A tensor that requires a gradient and an array on a device are copied to the host.

    Raises
    ------
    TypeError
        If something in it is not a real number.
    ValueError
        If rows differ in length, there are none, lists are too deep, or a number is infinite
        or NaN.
    """
    with refusing_depth(name):
        tree = _read(name, value)
        shape_or_error(name, tree)
        return _floats(name, tree)


@contextmanager
def refusing_depth(name: str) -> Iterator[None]:
    """Raise an error for lists that are nested too deeply."""
    try:
        yield
    except RecursionError:
        raise ValueError(f"{name}: expected numbers or lists of them, got lists too deep") from None


def _read(name: str, value: Any) -> Any:
    try:
        return to_lists(value)
    except RecursionError:
        raise
    except Exception as error:  # an array whose numbers cannot be read, such as a traced one
        raise TypeError(
            f"{name}: expected real numbers, got {check.said(value)} ({error})"
        ) from None


def to_lists(value: Any) -> Any:
    """Return arrays, and sequences of them, as nested lists; leave anything else as it is."""
    dtype = getattr(value, "dtype", None)
    if getattr(dtype, "kind", "") in ("m", "M") or getattr(dtype, "names", None):
        raise TypeError(
            f"of dtype {dtype}"
        )  # NumPy's dates and records, some of which convert to ints
    if hasattr(value, "tolist") and not isinstance(value, type):
        return value.tolist()
    if is_array(value):
        return to_host(value).tolist()
    return [to_lists(item) for item in value] if isinstance(value, (list, tuple)) else value


def flat(tree: Any) -> Iterator[Any]:
    """Yield the numbers of nested lists, or a single number."""
    if isinstance(tree, (list, tuple)):
        for branch in tree:
            yield from flat(branch)
    else:
        yield tree


def shape_of(tree: Any) -> tuple[int, ...]:
    """Return the shape of nested sequences; rows must have one length."""
    return (len(tree), *shape_of(tree[0])) if isinstance(tree, (list, tuple)) else ()


def shape_or_error(name: str, tree: Any) -> tuple[int, ...]:
    """Return the shape of nested lists, or raise an error if they have none."""
    if not isinstance(tree, (list, tuple)):
        return ()
    if not tree:
        raise ValueError(f"{name}: expected at least one number, got an empty list")
    shapes = [shape_or_error(name, item) for item in tree]
    for row, shape in enumerate(shapes):
        if shape != shapes[0]:
            raise ValueError(
                f"{name}: expected rows of one length, got {_words(shapes[0])} in row 0 and "
                f"{_words(shape)} in row {row}"
            )
    return (len(tree), *shapes[0])


def check_shape(name: str, tree: Any, shape: Iterable[int | str], sizes: dict[str, str]) -> None:
    """Check a shape, in which a letter stands for a size that is not known yet.

    Raises
    ------
    ValueError
        If it does not fit; the message also says where the known ``sizes`` come from.
    """
    wanted, got = tuple(shape), shape_of(tree)
    fits = len(wanted) == len(got) and all(
        isinstance(want, str) or want == have for want, have in zip(wanted, got, strict=True)
    )
    if not fits:
        inner = ", ".join(map(str, wanted)) + ("," if len(wanted) == 1 else "")
        known = [f"{letter} is {text}" for letter, text in sizes.items()]
        because = f" ({'; '.join(known)})" if known else ""
        raise ValueError(f"{name}: expected shape ({inner}){because}, got {check.said(got)}")


def _words(shape: tuple[int, ...]) -> str:
    if not shape:
        return "a number"
    return "1 number" if shape == (1,) else " x ".join(map(str, shape)) + " numbers"


def _floats(name: str, tree: Any) -> Any:
    if isinstance(tree, (list, tuple)):
        return tuple(_floats(name, item) for item in tree)
    if isinstance(tree, bool) or not isinstance(tree, (Real, Decimal)):
        remedy = "" if isinstance(tree, (bool, complex)) else as_array_remedy(name, tree)
        got = f"{type_name(tree)}{remedy}" if remedy else check.said(tree)
        raise TypeError(f"{name}: expected real numbers, got {got}")
    try:
        value = float(tree)
    except OverflowError:
        raise ValueError(f"{name}: expected numbers that float64 can hold, got a larger") from None
    except ValueError:  # a Decimal with a signalling NaN
        value = math.nan
    if not math.isfinite(value):
        raise ValueError(f"{name}: expected finite numbers, got {tree}")
    return value
