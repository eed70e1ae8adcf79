"""One step of a cell as expressions of single numbers, which any executor can turn into code.

What `trace` finds in a cell, and what a generator of code reads. An expression is its place in a
list of operations, each of which names earlier ones as its arguments; equal ones are listed once.
Nothing in here is of one kind of processor, and `evaluate` runs it on arrays of any library: that
is what generated code is tested with.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from .._arrays.namespace import Array, Namespace

__all__ = ["Leaf", "Op", "Operations", "Program", "evaluate"]


class Leaf(NamedTuple):
    """A number that a step reads: what it is of, and which block of H units or array of several.

    ``ax`` and ``ah`` (a gate), ``state`` (before), ``own`` (the blocks of all own vectors, one
    after another) and ``update`` are read going forward; all but the first two, ``new`` (a state
    after), ``stored`` and ``d`` (the cotangent of a new state) going back.
    """

    name: str
    block: int


class Op(NamedTuple):
    """An operation: ``leaf`` of a `Leaf`, ``const`` of a float, any other of earlier operations."""

    name: str
    args: tuple[Any, ...]


class Operations:
    """A growing list of operations, equal ones once."""

    def __init__(self) -> None:
        self.listed: list[Op] = []
        self._places: dict[Op, int] = {}

    def add(self, name: str, *args: Any) -> int:
        """Return the place of an operation, which is listed if it is a new one."""
        # What changes no bit of a result is all that is simplified.
        if name == "mul":
            for one, other in (args, args[::-1]):
                if self.listed[one] == ("const", (1.0,)):
                    return int(other)
        if name == "add" and (argument := self._logistic(*args)) is not None:
            return self.add("sigmoid", argument)
        if name == "const":
            # 0.0 and -0.0 are equal, and are not the same.
            args = (float(args[0]), str(float(args[0])))
        op = Op(name, args[:1] if name == "const" else args)
        key = Op(name, args)
        if key not in self._places:
            self._places[key] = len(self.listed)
            self.listed.append(op)
        return self._places[key]

    def _logistic(self, one: int, other: int) -> int | None:
        """Return ``a`` if what is added is ``0.5 tanh(0.5 a)`` and 0.5: a sigmoid, as in cells.

        As one operation it can be computed by fewer; `evaluate` computes what is written.
        """
        scaled = self._half_of(one) if self._is_half(other) else None
        if scaled is None or self.listed[scaled].name != "tanh":
            return None
        return self._half_of(self.listed[scaled].args[0])

    def _half_of(self, place: int) -> int | None:
        """Return ``a`` if an operation is ``0.5 a``."""
        name, args = self.listed[place]
        if name != "mul":
            return None
        if self._is_half(args[0]):
            return int(args[1])
        return int(args[0]) if self._is_half(args[1]) else None

    def _is_half(self, place: int) -> bool:
        return self.listed[place] == ("const", (0.5,))


@dataclass(frozen=True)
class Program:
    """The step of a cell and its derivative, for one unit.

    All numbers but the first three are places in ``operations``.
    """

    gates: int
    own: int  # blocks of H in all of the cell's own vectors together
    held: str  # "", or how an update lets the new state in: "choose" (booleans), "mix" (numbers)
    operations: tuple[Op, ...]
    new: tuple[int, ...]  # each new state
    stored: tuple[int, ...]  # what must be kept besides the states, for going back
    d_ax: tuple[int, ...]  # of each gate
    d_ah: tuple[int, ...]
    d_state: tuple[int | None, ...]  # of each state before; None: zero, but for the product
    d_own: tuple[int, ...]  # of each block of own vectors

    @property
    def states(self) -> int:
        """Number of state arrays."""
        return len(self.new)

    @property
    def same(self) -> bool:
        """Whether the cell sees only the sum of ``ax`` and ``ah``."""
        return self.d_ax == self.d_ah

    @property
    def forward(self) -> tuple[int, ...]:
        """What a step computes."""
        return (*self.new, *self.stored)

    @property
    def backward(self) -> tuple[int, ...]:
        """What a step back computes, in the order of the fields."""
        d_state = tuple(d for d in self.d_state if d is not None)
        return (*self.d_ax, *(() if self.same else self.d_ah), *d_state, *self.d_own)

    def needed(self, wanted: Iterable[int]) -> list[int]:
        """Return the places of all operations that some of them need, in order."""
        found, left = set(), list(wanted)
        while left:
            place = left.pop()
            if place not in found:
                found.add(place)
                op = self.operations[place]
                left += [] if op.name in ("leaf", "const") else op.args
        return sorted(found)

    def leaves(self, wanted: Iterable[int]) -> list[Leaf]:
        """Return what some operations read, in order."""
        operations = (self.operations[place] for place in self.needed(wanted))
        return [op.args[0] for op in operations if op.name == "leaf"]

    @property
    def text(self) -> str:
        """All of it, one operation a line: equal programs have equal texts."""
        lines = [f"gates {self.gates}, own {self.own}, held {self.held!r}"]
        numbers: dict[Any, Any] = {None: None}
        for number, place in enumerate(self.needed((*self.forward, *self.backward))):
            numbers[place] = number
            name, args = self.operations[place]
            if name == "leaf":
                said = [f"{args[0].name}.{args[0].block}"]
            elif name == "const":
                said = [args[0].hex()]
            else:
                said = [str(numbers[arg]) for arg in args]
            lines.append(" ".join([f"{number} = {name}", *said]))
        for field in ("new", "stored", "d_ax", "d_ah", "d_state", "d_own"):
            said = [str(numbers[place]) for place in getattr(self, field)]
            lines.append(" ".join([f"{field} =", *said]))
        return "\n".join(lines)


def evaluate(
    xp: Namespace, program: Program, wanted: Iterable[int], leaves: Mapping[Leaf, Array]
) -> list[Array]:
    """Return the values of some operations on arrays, one function of ``xp`` for each.

    Parameters
    ----------
    xp : module
        The namespace of the arrays.
    program : Program
    wanted : iterable of places
    leaves : mapping of Leaf to arrays that broadcast to one shape

    Returns
    -------
    list of arrays
        A constant has no axes.
    """
    wanted = tuple(wanted)
    dtype = next(array.dtype for leaf, array in leaves.items() if leaf.name != "update")
    values: dict[int, Any] = {}
    for place in program.needed(wanted):
        name, args = program.operations[place]
        if name == "leaf":
            values[place] = leaves[args[0]]
        elif name == "const":
            values[place] = xp.asarray(args[0], dtype=dtype)
        else:
            values[place] = _value(xp, name, [values[arg] for arg in args])
    return [values[place] for place in wanted]


# What has a name of its own in the standard.
_NAMES = {
    "add": "add",
    "sub": "subtract",
    "mul": "multiply",
    "div": "divide",
    "neg": "negative",
    "max": "maximum",
    "min": "minimum",
    "gt": "greater",
    "lt": "less",
    "ge": "greater_equal",
    "le": "less_equal",
    "eq": "equal",
    "ne": "not_equal",
    "and": "logical_and",
    "or": "logical_or",
    "not": "logical_not",
}


def _value(xp: Namespace, name: str, args: list[Any]) -> Any:
    if name == "sigmoid":
        return 0.5 * xp.tanh(0.5 * args[0]) + 0.5
    return getattr(xp, _NAMES.get(name, name))(*args)
