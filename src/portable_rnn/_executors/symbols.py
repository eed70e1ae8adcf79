"""Arrays whose entries are symbols, and the functions of the array API standard on them.

What a cell does with them, entry by entry, is written down as operations; anything else that an
array can do is refused with a reason.
"""

from typing import Any, NamedTuple

from .program import Leaf, Operations

__all__ = ["Namespace", "NotPointwise", "Place", "Symbols"]


class NotPointwise(TypeError):
    """A cell cannot be written as expressions of single numbers; the message says why."""


class Place(NamedTuple):
    """What a symbol stands for: a number of a step, and of which unit."""

    leaf: Leaf
    unit: int


class Symbols:
    """An array (batch, n), (1, n) or (n,) of symbols: one row for all sequences.

    Parameters
    ----------
    tape : Operations
        Where operations are written down.
    nodes : list of int
        The places in it of the entries of a row.
    lead : tuple of int
        The axes before the last.
    boolean : bool
    """

    __array_ufunc__ = None  # numpy's functions and scalars refuse it, rather than take it apart

    def __init__(
        self, tape: Operations, nodes: list[int], lead: tuple[int, ...], boolean: bool = False
    ) -> None:
        self.tape, self.nodes, self.lead, self.boolean = tape, nodes, lead, boolean

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.lead, len(self.nodes))

    @property
    def ndim(self) -> int:
        return len(self.lead) + 1

    @property
    def dtype(self) -> "DType":
        return BOOL if self.boolean else FLOAT

    @property
    def device(self) -> None:
        return None

    def __add__(self, other: Any) -> "Symbols":
        return combine("add", self, other)

    def __radd__(self, other: Any) -> "Symbols":
        return combine("add", other, self)

    def __sub__(self, other: Any) -> "Symbols":
        return combine("sub", self, other)

    def __rsub__(self, other: Any) -> "Symbols":
        return combine("sub", other, self)

    def __mul__(self, other: Any) -> "Symbols":
        return combine("mul", self, other)

    def __rmul__(self, other: Any) -> "Symbols":
        return combine("mul", other, self)

    def __truediv__(self, other: Any) -> "Symbols":
        return combine("div", self, other)

    def __rtruediv__(self, other: Any) -> "Symbols":
        return combine("div", other, self)

    def __pow__(self, other: Any) -> "Symbols":
        if type(other) in (int, float) and other == 2:
            return self * self
        raise NotPointwise(f"it takes a power other than 2, {other!r}")

    def __neg__(self) -> "Symbols":
        return combine("neg", self)

    def __pos__(self) -> "Symbols":
        return self

    def __abs__(self) -> "Symbols":
        return combine("abs", self)

    def __gt__(self, other: Any) -> "Symbols":
        return combine("gt", self, other)

    def __lt__(self, other: Any) -> "Symbols":
        return combine("lt", self, other)

    def __ge__(self, other: Any) -> "Symbols":
        return combine("ge", self, other)

    def __le__(self, other: Any) -> "Symbols":
        return combine("le", self, other)

    def __eq__(self, other: Any) -> "Symbols":  # type: ignore[override]
        return combine("eq", self, other)

    def __ne__(self, other: Any) -> "Symbols":  # type: ignore[override]
        return combine("ne", self, other)

    __hash__ = None  # type: ignore[assignment]

    def __and__(self, other: Any) -> "Symbols":
        return combine("and", self, other)

    def __or__(self, other: Any) -> "Symbols":
        return combine("or", self, other)

    def __invert__(self) -> "Symbols":
        return combine("not", self)

    def __bool__(self) -> bool:
        raise NotPointwise("it takes a branch by the value of an array")

    def __float__(self) -> float:
        raise NotPointwise("it reads a value of an array")

    def __iter__(self) -> Any:
        raise NotPointwise("it walks through an array entry by entry")

    def __getitem__(self, index: Any) -> "Symbols":
        """Return some blocks of units; a new axis may stand before them."""
        if isinstance(index, tuple) and Ellipsis in index:
            gap = index.index(Ellipsis)
            given = [one for one in index if one is not Ellipsis and one is not None]
            fill = (slice(None),) * (self.ndim - len(given))
            index = (*index[:gap], *fill, *index[gap + 1 :])
        *first, last = index if isinstance(index, tuple) else (index,)
        if first[:1] == [None] and self.ndim == 1:
            return Symbols(self.tape, self[last].nodes, (1,), self.boolean)
        whole = all(isinstance(one, slice) and one == slice(None) for one in first)
        if not isinstance(last, slice) or not whole or len(first) != self.ndim - 1:
            raise NotPointwise(f"it takes entries of an array other than blocks of units, {index}")
        return Symbols(self.tape, self.nodes[last], self.lead, self.boolean)

    def __getattr__(self, name: str) -> Any:
        raise NotPointwise(f"it uses .{name} of an array")


class DType(NamedTuple):
    """The dtype of symbols: boolean, or what the cell is given, which has no name of its own."""

    name: str


FLOAT, BOOL = DType("floating"), DType("bool")
COMPARISONS = ("gt", "lt", "ge", "le", "eq", "ne")
LOGICAL = ("and", "or", "not")


def combine(name: str, *given: Any) -> Symbols:
    """Write down an operation on every entry of arrays that broadcast, and numbers."""
    arrays = [one for one in given if isinstance(one, Symbols)]
    tape, size = arrays[0].tape, max(len(one.nodes) for one in arrays)
    lead = max((one.lead for one in arrays), key=lambda axes: (len(axes), axes))
    columns = []
    for place, one in enumerate(given):
        if isinstance(one, Symbols):
            if len(one.nodes) != size:
                raise NotPointwise("it combines one number with several units")
            logical = name in LOGICAL or (name == "where" and place == 0)
            if one.boolean != logical and not (name == "where" and place):
                kind = "boolean" if one.boolean else "floating"
                raise NotPointwise(f"it uses a {kind} array in {name!r}")
            columns.append(one.nodes)
        elif type(one) in (int, float) and name not in LOGICAL:
            columns.append([tape.add("const", float(one))] * size)
        else:
            raise NotPointwise(f"it combines an array with {type(one).__name__}")
    boolean = name in COMPARISONS or name in LOGICAL
    if name == "where":
        kinds = {one.boolean for one in given[1:] if isinstance(one, Symbols)}
        if True in kinds:
            raise NotPointwise("it chooses between boolean arrays")
    nodes = [tape.add(name, *args) for args in zip(*columns, strict=True)]
    return Symbols(tape, nodes, lead, boolean)


# Functions of the standard that are one operation.
POINTWISE = {
    **{name: name for name in ("tanh", "exp", "expm1", "log", "log1p", "sqrt", "abs", "where")},
    **{"add": "add", "subtract": "sub", "multiply": "mul", "divide": "div", "negative": "neg"},
    **{"maximum": "max", "minimum": "min"},
    **{"greater": "gt", "less": "lt", "greater_equal": "ge", "less_equal": "le"},
    **{"equal": "eq", "not_equal": "ne"},
    **{"logical_and": "and", "logical_or": "or", "logical_not": "not"},
}


class Namespace:
    """The functions of the standard that cells may use, on symbols."""

    def __getattr__(self, name: str) -> Any:
        if name == "bool":
            return BOOL
        if name not in POINTWISE:
            raise NotPointwise(f"it uses xp.{name}, which is not known to be entry by entry")
        operation = POINTWISE[name]
        return lambda *arrays: combine(operation, *arrays)

    def isdtype(self, dtype: DType, kind: Any) -> bool:
        kinds = kind if isinstance(kind, tuple) else (kind,)
        of = {"bool"} if dtype == BOOL else {"real floating", "numeric"}
        return any(one in of or one == dtype for one in kinds)

    def astype(self, array: Symbols, dtype: DType, copy: bool = True) -> Symbols:
        if dtype == array.dtype:
            return array
        if dtype == FLOAT:
            return combine("where", array, 1.0, 0.0)
        if dtype == BOOL:
            return array != 0.0
        raise NotPointwise(f"it converts an array to another dtype, {dtype}")

    def concat(self, arrays: Any, axis: int = 0) -> Symbols:
        first = arrays[0]
        kinds = {(one.lead, one.boolean) for one in arrays}
        if axis not in (-1, first.ndim - 1) or len(kinds) > 1:
            raise NotPointwise(f"it joins arrays that are not alike, or along axis {axis}")
        nodes = [node for one in arrays for node in one.nodes]
        return Symbols(first.tape, nodes, first.lead, first.boolean)

    def full_like(self, array: Symbols, value: Any) -> Symbols:
        if array.boolean or type(value) not in (int, float):
            raise NotPointwise(f"it fills an array with {type(value).__name__}")
        node = array.tape.add("const", float(value))
        return Symbols(array.tape, [node] * len(array.nodes), array.lead)

    def zeros_like(self, array: Symbols) -> Symbols:
        return self.full_like(array, 0.0)

    def ones_like(self, array: Symbols) -> Symbols:
        return self.full_like(array, 1.0)

    def real(self, array: Symbols) -> Symbols:
        return array

    def square(self, array: Symbols) -> Symbols:
        return combine("mul", array, array)

    def sign(self, array: Symbols) -> Symbols:
        """Return 1, 0 or -1, and NaN of NaN."""
        below = combine("where", array < 0.0, -1.0, array)
        return combine("where", array > 0.0, 1.0, below)

    def isnan(self, array: Symbols) -> Symbols:
        return combine("ne", array, array)

    def isinf(self, array: Symbols) -> Symbols:
        return combine("eq", abs(array), float("inf"))

    def isfinite(self, array: Symbols) -> Symbols:
        return combine("lt", abs(array), float("inf"))
