"""From a cell's own source to a `Program`: its step is run once, on symbols in place of numbers.

A cell is pointwise by unit if what it computes for one unit of one sequence asks for no number of
another. That is not believed but found: `step` and `step_vjp` are given arrays of a few units
whose entries are symbols, every unit must come out as the same expression of its own entries, and
the same again with other numbers of units and of sequences.
"""

from typing import Any, NamedTuple

from .program import Leaf, Operations, Program
from .symbols import Namespace, NotPointwise, Place, Symbols

__all__ = ["NotPointwise", "trace"]

# Units and sequences of two runs. What is the same in both does not ask how many there are.
SIZES = ((3, 2), (5, 7))


def trace(cell: Any, held: str = "") -> Program:
    """Return the step of a cell, and its derivative, as expressions of single numbers.

    Parameters
    ----------
    cell : Cell
    held : {"", "choose", "mix"}
        Whether an update, for each state array, lets the new state take the place of the old:
        where a boolean is true, or by a number between 0 and 1.

    Returns
    -------
    Program

    Raises
    ------
    NotPointwise
        If the cell cannot be written so; the message says why.

    Examples
    --------
    >>> from portable_rnn.cells import Elman
    >>> from portable_rnn._executors.trace import trace
    >>> print(trace(Elman()).text)
    gates 1, own 0, held ''
    0 = leaf ax.0
    1 = leaf ah.0
    2 = add 0 1
    3 = tanh 2
    4 = leaf new.0
    5 = leaf d.0
    6 = mul 4 4
    7 = const 0x1.0000000000000p+0
    8 = sub 7 6
    9 = mul 5 8
    new = 3
    stored =
    d_ax = 9
    d_ah = 9
    d_state = None
    d_own =
    """
    if getattr(cell, "second_product", 0):
        raise NotPointwise("its last gates wait for a second product")
    try:
        first, second = (_Trace(cell, held, *sizes).program() for sizes in SIZES)
    except NotPointwise:
        raise
    except Exception as error:  # of whatever kind: the cell may be anyone's
        kind = type(error).__name__
        raise NotPointwise(f"it does not run on symbols ({kind}: {error})") from error
    if first.text != second.text:
        raise NotPointwise("it asks how many units or sequences there are, or differs by call")
    return first


class _Kept(NamedTuple):
    """Where one block of a residual is to be found when going back."""

    leaf: Leaf | None  # None: it is a constant
    value: float
    boolean: bool


class _Trace:
    """One run of a cell on symbols."""

    def __init__(self, cell: Any, held: str, units: int, batch: int) -> None:
        self.cell, self.held, self.units, self.batch = cell, held, units, batch
        self.multiples = [vector.multiple for vector in getattr(cell, "vectors", ())]
        self.out = Operations()
        self.stored: dict[int, int] = {}  # an expression: which array it is kept in
        self.new: list[int] = []

    def program(self) -> Program:
        """Run ``step``, then ``step_vjp`` on what it kept."""
        kept = self._step()
        d_ax, d_ah, d_state, d_own = self._step_vjp(kept)
        return Program(
            gates=self.cell.gates,
            own=sum(self.multiples),
            held=self.held,
            operations=tuple(self.out.listed),
            new=tuple(self.new),
            stored=tuple(self.stored),
            d_ax=d_ax,
            d_ah=d_ah,
            d_state=d_state,
            d_own=d_own,
        )

    def _step(self) -> list[tuple[list[_Kept], int]]:
        """Return where each residual is kept, and its number of axes."""
        tape, states, gates = Operations(), self.cell.states, self.cell.gates
        state = tuple(self._leaves(tape, "state", i, 1) for i in range(states))
        projected = (self._leaves(tape, name, 0, gates) for name in ("ax", "ah"))
        new, residuals = self.cell.step(Namespace(), *projected, state, *self._own(tape))
        units = _Units(tape, self.out, self.units, {})
        _check_count("states", new, states)
        for i, symbols in enumerate(new):
            (computed,) = units.blocks(f"new state {i}", symbols, 1, batch=self.batch)
            self.new.append(self._choose(i, computed, self._leaf("state", i)))
        return [(self._keep(units, symbols), symbols.ndim) for symbols in residuals]

    def _keep(self, units: "_Units", symbols: Symbols) -> list[_Kept]:
        """Return where each block of a residual is kept; states and the cell's own are already."""
        if not isinstance(symbols, Symbols):
            raise NotPointwise(f"a residual is no array, but {type(symbols).__name__}")
        found, boolean = [], symbols.boolean
        for place in units.blocks("a residual", symbols, None):
            name, args = self.out.listed[place]
            if name == "const":
                found.append(_Kept(None, args[0], boolean))
            elif name == "leaf" and args[0].name in ("state", "own"):
                found.append(_Kept(args[0], 0.0, boolean))
            elif place in self.new:
                found.append(_Kept(Leaf("new", self.new.index(place)), 0.0, boolean))
            else:
                if boolean:
                    one, zero = self.out.add("const", 1.0), self.out.add("const", 0.0)
                    place = self.out.add("where", place, one, zero)
                number = self.stored.setdefault(place, len(self.stored))
                found.append(_Kept(Leaf("stored", number), 0.0, boolean))
        return found

    def _step_vjp(self, kept: list[tuple[list[_Kept], int]]) -> tuple[Any, ...]:
        tape, states, gates = Operations(), self.cell.states, self.cell.gates
        residuals = tuple(self._restore(tape, blocks, ndim) for blocks, ndim in kept)
        d_state = tuple(self._leaves(tape, "d", i, 1) for i in range(states))
        found = self.cell.step_vjp(Namespace(), residuals, d_state, *self._own(tape))
        d_ax, d_ah, d_before, *d_own = found
        _check_count("cotangents of states", d_before, states)
        _check_count("cotangents of its own vectors", d_own, len(self.multiples))
        units = _Units(tape, self.out, self.units, self._d_new())
        before = []
        for i, symbols in enumerate(d_before):
            what = f"the cotangent of state {i}"
            d = None if symbols is None else units.blocks(what, symbols, 1, batch=self.batch)[0]
            before.append(self._past(i, d))
        d_ax, d_ah = (
            tuple(units.blocks(f"the cotangent of {name}", symbols, gates, batch=self.batch))
            for name, symbols in (("ax", d_ax), ("ah", d_ah))
        )
        d_vectors: list[int] = []
        for symbols, multiple in zip(d_own, self.multiples, strict=True):
            what = "the cotangent of its own vectors"
            d_vectors += units.blocks(what, symbols, multiple, batch=self.batch)
        return d_ax, d_ah, tuple(before), tuple(d_vectors)

    def _restore(self, tape: Operations, blocks: list[_Kept], ndim: int) -> Symbols:
        """Return the symbols of a residual, as step_vjp reads it."""
        nodes = []
        for leaf, value, boolean in blocks:
            for unit in range(self.units):
                if leaf is None:
                    node = tape.add("const", value)
                else:
                    node = tape.add("leaf", Place(leaf, unit))
                    if boolean:
                        node = tape.add("ne", node, tape.add("const", 0.0))
                nodes.append(node)
        boolean = any(block.boolean for block in blocks)
        return Symbols(tape, nodes, (self.batch,)[: ndim - 1], boolean)

    # ------------------------------------------------------------------ states that are held

    def _choose(self, i: int, new: int, old: int) -> int:
        """Return the state that `choose` of _engine/select.py makes of the new and the old."""
        add = self.out.add
        if not self.held:
            return new
        update = self._leaf("update", i)
        if self.held == "choose":
            return add("where", update, new, old)
        rest = add("sub", add("const", 1.0), update)
        return add("add", add("mul", update, new), add("mul", rest, old))

    def _d_new(self) -> dict[Leaf, int]:
        """Return the cotangent of what the cell computed, in the place of that of the state."""
        add, states = self.out.add, range(self.cell.states)
        if not self.held:
            return {}
        pairs = [(self._leaf("d", i), self._leaf("update", i)) for i in states]
        if self.held == "choose":
            zero = add("const", 0.0)
            return {Leaf("d", i): add("where", u, d, zero) for i, (d, u) in enumerate(pairs)}
        return {Leaf("d", i): add("mul", u, d) for i, (d, u) in enumerate(pairs)}

    def _past(self, i: int, d: int | None) -> int | None:
        """Add what goes past the step to the cotangent of the old state."""
        add = self.out.add
        if not self.held:
            return d
        d_after, update = self._leaf("d", i), self._leaf("update", i)
        if self.held == "choose":
            past = add("where", update, add("const", 0.0), d_after)
        else:
            past = add("mul", add("sub", add("const", 1.0), update), d_after)
        return past if d is None else add("add", d, past)

    # -------------------------------------------------------------------------------- leaves

    def _leaf(self, name: str, block: int) -> int:
        return self.out.add("leaf", Leaf(name, block))

    def _leaves(self, tape: Operations, name: str, first: int, blocks: int) -> Symbols:
        """Return an array (batch, blocks * units) of symbols."""
        nodes = [
            tape.add("leaf", Place(Leaf(name, first + block), unit))
            for block in range(blocks)
            for unit in range(self.units)
        ]
        return Symbols(tape, nodes, (self.batch,))

    def _own(self, tape: Operations) -> list[Symbols]:
        """Return the cell's own vectors, (multiple * units,) each."""
        found, first = [], 0
        for multiple in self.multiples:
            matrix = self._leaves(tape, "own", first, multiple)
            found.append(Symbols(tape, matrix.nodes, ()))
            first += multiple
        return found


class _Units:
    """What a tape of symbols says of one unit, checked to be the same for all."""

    def __init__(
        self, tape: Operations, out: Operations, units: int, instead: dict[Leaf, int]
    ) -> None:
        self.count = units
        self._reads: list[set[int]] = []  # which units each operation reads
        self._found: list[int | None] = []  # its place in ``out``; None if it reads several
        for name, args in tape.listed:
            if name == "leaf":
                leaf, unit = args[0]
                self._reads.append({unit})
                place = instead.get(leaf)
                self._found.append(out.add("leaf", leaf) if place is None else place)
            elif name == "const":
                self._reads.append(set())
                self._found.append(out.add("const", *args))
            else:
                read = set().union(*(self._reads[arg] for arg in args))
                self._reads.append(read)
                places = [self._found[arg] for arg in args]
                mixed = len(read) > 1 or None in places
                self._found.append(None if mixed else out.add(name, *places))

    def blocks(
        self, what: str, symbols: Any, count: int | None, batch: int | None = None
    ) -> list[int]:
        """Return one expression for each block of units."""
        if not isinstance(symbols, Symbols):
            raise NotPointwise(f"{what} is no array, but {type(symbols).__name__}")
        nodes = symbols.nodes
        if len(nodes) % self.count or (count is not None and len(nodes) != count * self.count):
            raise NotPointwise(f"{what} has an entry for more or fewer than each unit")
        if batch is not None and symbols.shape[:-1] != (batch,):
            raise NotPointwise(f"{what} has not one row for each sequence")
        found = []
        for start in range(0, len(nodes), self.count):
            block = nodes[start : start + self.count]
            for unit, node in enumerate(block):
                if others := self._reads[node] - {unit}:
                    pair = f"unit {unit} reads unit {min(others)}"
                    raise NotPointwise(f"{what} of one unit reads another: {pair}")
            (first, *rest) = (self._found[node] for node in block)
            if first is None or any(one != first for one in rest):
                raise NotPointwise(f"{what} is not the same function for all units")
            found.append(first)
        return found


def _check_count(what: str, found: Any, count: int) -> None:
    if not isinstance(found, tuple | list) or len(found) != count:
        raise NotPointwise(f"its step does not return {count} {what}")
