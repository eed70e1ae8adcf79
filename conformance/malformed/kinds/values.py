"""Replacements of valid values, and those that are wrong for every argument."""

import bisect
import decimal
import fractions
import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Literal, NamedTuple

import numpy as np

from ..valid import Valid

__all__ = [
    "KINDS",
    "LARGE",
    "NUMBERS",
    "Kind",
    "Place",
    "Value",
    "Verdict",
    "junk",
    "kind",
    "of",
    "optional",
]

Verdict = Literal["refused", "misfit", "taken"]


class Value(NamedTuple):
    """A replacement of a valid value."""

    label: str
    make: Callable[[], Any]
    verdict: Verdict = "refused"


class Place(NamedTuple):
    """An argument of one valid call."""

    valid: Valid
    function: str
    argument: str
    value: Any  # the valid one, if the call has any


Kind = Callable[[Place], list[Value]]
KINDS: dict[str, Kind] = {}


class FaultyRepr:
    """An object whose repr fails."""

    def __repr__(self) -> str:
        raise RuntimeError("no text for this")


class Faulty(FaultyRepr):
    """An object of which every operation fails, except for its type."""

    def fail(self, *args: Any) -> Any:
        raise RuntimeError("every operation fails")

    __bool__ = __len__ = __iter__ = __eq__ = __int__ = __float__ = __index__ = fail
    __getitem__ = __array__ = __str__ = __lt__ = __gt__ = __le__ = __ge__ = fail
    __hash__ = object.__hash__


class Empty:
    """A class whose constructor takes no arguments."""

    def __init__(self) -> None: ...


class Duck:
    """Half an array."""

    shape, dtype, ndim = (5, 2, 3), np.dtype("float64"), 3


class Frame:
    """A data frame: two columns of numbers, by name."""

    columns, shape = ("a", "b"), (2, 2)

    def __len__(self) -> int:
        return 2

    def __iter__(self) -> Iterator[str]:
        return iter(self.columns)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return self.to_numpy()

    def to_numpy(self) -> Any:
        return np.ones(self.shape)


JUNK: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "NumPy's True": lambda: np.True_,
    "0": lambda: 0,
    "1": lambda: 1,
    "-1": lambda: -1,
    "NumPy's 1": lambda: np.int32(1),
    "0.5": lambda: 0.5,
    "1.5": lambda: 1.5,
    "NumPy's 0.5": lambda: np.float32(0.5),
    "a fraction": lambda: fractions.Fraction(1, 2),
    "a decimal": lambda: decimal.Decimal("0.5"),
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "-inf": lambda: -math.inf,
    "2**31": lambda: 2**31,
    "2**62": lambda: 2**62,
    "-2**63": lambda: -(2**63),
    "10**300": lambda: 10**300,
    "10**5000": lambda: 10**5000,  # more digits than Python prints
    "1e300": lambda: 1e300,
    "1j": lambda: 1j,
    "''": lambda: "",
    "'text'": lambda: "text",
    "'1'": lambda: "1",
    "a lone surrogate": lambda: "\ud800",
    "b'bytes'": lambda: b"bytes",
    "[]": lambda: [],
    "()": lambda: (),
    "{}": lambda: {},
    "[1, 'a']": lambda: [1, "a"],
    "nested lists": lambda: [[0.0, 1.0], [2.0]],
    "a set": lambda: {1, 2},
    "an object": object,
    "a generator": lambda: (n for n in range(3)),
    "a class": lambda: Empty,
    "a module": lambda: bisect,
    "a function of nothing": lambda: lambda: None,
    "a faulty repr": FaultyRepr,
    "a faulty object": Faulty,
    "half an array": Duck,
    "a frame": Frame,
    "NumPy's scalar array": lambda: np.asarray(0.5),
    "an array of one": lambda: np.ones(1),
    "an empty array": lambda: np.ones((0, 3)),
    "a string array": lambda: np.asarray(["a", "b"]),
    "an object array": lambda: np.asarray([None, "b"], dtype=object),
    "an array of dates": lambda: np.zeros(3, "datetime64[s]"),
    "a structured array": lambda: np.zeros(3, [("a", "f8"), ("b", "i4")]),
    "a masked array": lambda: np.ma.masked_array(np.ones(3), [0, 1, 0]),
}
NUMBERS = {"0.5", "NumPy's 0.5", "a fraction", "a decimal", "NumPy's scalar array"}
LARGE = {"1e300", "2**31", "2**62", "10**300", "-2**63"}


def kind(*names: str) -> Callable[[Kind], Kind]:
    def add(make: Kind) -> Kind:
        KINDS.update(dict.fromkeys(names, make))
        return make

    return add


def junk(taken: Iterable[str] = (), misfit: Iterable[str] = ()) -> list[Value]:
    """Return values that are wrong for every argument; those ``taken`` are valid for this kind."""
    assert {*taken, *misfit} <= JUNK.keys()
    verdicts: dict[str, Verdict] = dict.fromkeys(misfit, "misfit") | dict.fromkeys(taken, "taken")
    return [Value(label, make, verdicts.get(label, "refused")) for label, make in JUNK.items()]


def optional(make: Kind) -> Kind:
    """Return the same kind, with None as a valid value."""
    return lambda place: [
        value._replace(verdict="taken") if value.label == "None" else value for value in make(place)
    ]


def of(value: Any) -> Callable[[], Any]:
    return lambda: value
