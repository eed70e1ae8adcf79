"""The time loop of one layer and the loop back, written in LLVM's language.

In each step, for a few blocks of units at a time: the recurrent product for all sequences, and at
once what the cell makes of it, while the sums are in the nearest cache. All that a step reads and
writes of a sequence and a block is a vector of each array.

Both functions take one pointer, to a table of 64-bit integers: sizes, strides, and addresses of
arrays; `tables` names its entries. Arrays are contiguous, (T, B, ...); where time runs the other
way, addresses are those of the step that comes first and ``direction`` is -1.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import llvmlite.ir as ir

from .llvm_function import Function, index
from .llvm_math import I64, POINTER, Value, Vectors
from .llvm_product import Product, pack_backward, pack_forward
from .llvm_target import Target
from .program import Leaf, Program
from .tables import backward_fields, forward_fields

__all__ = ["write"]

PAIR = 2  # blocks of units that the cell works on together


def write(program: Program, dtype: str, target: Target, *, scaled: bool) -> str:
    """Return a module with the functions of a layer.

    ``forward`` and ``backward`` of a table, ``pack_forward`` and ``pack_backward`` of weights.

    Parameters
    ----------
    program : Program
    dtype : {"float32", "float64"}
    target : Target
    scaled : bool
        Whether what the recurrent weights multiply is the hidden state times a factor.
    """
    module = ir.Module("layer")
    vectors = Vectors(module, dtype, target.lanes(dtype))
    pack_forward(vectors, program.gates)
    pack_backward(vectors)
    of_gates = Product(vectors, program.gates, target.accumulators)
    of_one = of_gates if program.gates == 1 else Product(vectors, 1, target.accumulators)
    _Forward(vectors, program, scaled).write(of_gates)
    _Backward(vectors, program, scaled).write(of_one)
    return str(module)


class _Walk:
    """What both loops have in common: a table, steps, blocks, and vectors."""

    def __init__(
        self, v: Vectors, program: Program, scaled: bool, name: str, fields: Sequence[str]
    ) -> None:
        self.v, self.program, self.scaled = v, program, scaled
        self.f = Function(v, name, [POINTER], public=True)
        (table,) = self.f.function.args
        b = self.f.builder
        places = [b.gep(table, [index(i)], source_etype=I64) for i in range(len(fields))]
        values = [b.load(place, typ=I64, align=8) for place in places]
        self.table = dict(zip(fields, values, strict=True))
        self.steps, self.batch, self.units = (self[n] for n in ("steps", "batch", "units"))
        self.sequences = self["sequences"]
        self.direction = self["direction"]
        self.plane = self.f.times(self.sequences, self.units)  # numbers of an array in one step

    def __getitem__(self, name: str) -> Value:
        return self.table[name]

    def pointer(self, name: str, at: Value | None = None, step: Value | None = None) -> Value:
        """Return the address of an array, in a step if it has one of its own in each."""
        pointer = self.f.builder.inttoptr(self[name], POINTER)
        return pointer if at is None else self.f.address(pointer, self.f.times(at, step))

    def walk(
        self,
        product: Product,
        a: Value,
        steps: Value,
        body: Callable[[list["_Place"]], None],
    ) -> None:
        """Write one step: for some blocks of units after others, a product, and what follows.

        Rows of ``a`` are multiplied by the weights. ``body`` is called to write the work on some
        blocks of units of one sequence: on whole ones, and on one that units may not fill.
        """
        f, b, v, gates = self.f, self.f.builder, self.v, product.gates
        lanes, row = index(v.lanes), self["a_row"]
        weight_step = f.times(row, index(gates), lanes)
        sums, weight = self.pointer("sums"), self.pointer("weight")
        with self._groups() as (first, count, tile):
            panels = f.address(weight, f.times(first, weight_step))
            args = [sums, a, row, self.batch, panels, weight_step, steps, count, tile]
            f.builder.call(product.function, args)
            # Two whole blocks together, for what one waits the other does not. Sequence after
            # sequence, so that lines of the cache are used as a whole.
            left = b.sub(self.units, f.times(first, lanes))
            whole = b.sdiv(left, f.times(lanes, index(PAIR)))
            pairs = b.sdiv(count, index(PAIR))
            pairs = b.select(b.icmp_signed("<", whole, pairs), whole, pairs)
            single = b.sub(count, f.times(pairs, index(PAIR)))

            def place(sequence: Value, block: Value, *, masked: bool) -> _Place:
                unit = f.times(f.sum(first, block), lanes)
                at = f.sum(f.times(block, self.batch), sequence)
                of_gates = f.address(sums, f.times(at, index(gates), lanes))
                mask = f.first_lanes(b.sub(self.units, unit)) if masked else None
                return _Place(self, sequence, unit, of_gates, mask)

            with f.loop(self.batch) as sequence:
                with f.loop(pairs) as pair:
                    blocks = [f.sum(f.times(pair.at, index(PAIR)), index(i)) for i in range(PAIR)]
                    body([place(sequence.at, block, masked=False) for block in blocks])
                with f.loop(single) as rest:
                    block = f.sum(f.times(pairs, index(PAIR)), rest.at)
                    body([place(sequence.at, block, masked=True)])

    def evaluate(
        self,
        wanted: Iterable[int],
        leaf: Callable[["_Place", Leaf], Value],
        places: list["_Place"],
    ) -> list[list[Value]]:
        """Write what the cell computes in some places; ``leaf`` tells what it reads in one."""
        leaves = [partial(leaf, place) for place in places]
        return self.v.evaluate(self.program, wanted, leaves)

    @contextmanager
    def _groups(self) -> Iterator[tuple[Value, Value, Value]]:
        """Walk through the blocks of units; the body is given the first of some, and how many.

        And how many go into a tile. As many as the table says; in the end, as many as are left, by
        powers of 2.
        """
        f, b = self.f, self.f.builder
        all_units = f.sum(self.units, index(self.v.lanes - 1))
        blocks = b.sdiv(all_units, index(self.v.lanes))
        before = b.block
        head, body, work, halve, after = (b.append_basic_block() for _ in range(5))
        b.branch(head)
        b.position_at_end(head)
        first, count = b.phi(I64), b.phi(I64)
        first.add_incoming(index(0), before)
        count.add_incoming(self["blocks"], before)
        left = b.sub(blocks, first)
        b.cbranch(b.icmp_signed(">", left, index(0)), body, after)
        b.position_at_end(body)
        b.cbranch(b.icmp_signed("<=", count, left), work, halve)
        b.position_at_end(halve)
        first.add_incoming(first, halve)
        count.add_incoming(b.sdiv(count, index(2)), halve)
        b.branch(head)
        b.position_at_end(work)
        tile = self["tile"]
        tile = b.select(b.icmp_signed("<", count, tile), count, tile)
        yield first, count, tile
        first.add_incoming(f.sum(first, count), b.block)
        count.add_incoming(count, b.block)
        b.branch(head)
        b.position_at_end(after)


class _Place:
    """A block of units of one sequence, in one step, and how its vectors are read and written."""

    def __init__(
        self, walk: _Walk, sequence: Value, unit: Value, sums: Value, mask: Value | None
    ) -> None:
        self.walk, self.sequence, self.unit = walk, sequence, unit
        self._sums, self._mask, f = sums, mask, walk.f
        self._place = f.sum(f.times(sequence, walk.units), unit)

    def sum(self, gate: int) -> Value:
        """Return the product."""
        return self.walk.f.load(self._sums, index(gate * self.walk.v.lanes))

    def load(self, pointer: Value, place: Value | None = None) -> Value:
        """Return a vector of an array (B, H)."""
        place = self._place if place is None else place
        return self.walk.f.load(pointer, place, mask=self._mask)

    def store(self, value: Value, pointer: Value, place: Value | None = None) -> None:
        """Write a vector of an array (B, H)."""
        place = self._place if place is None else place
        self.walk.f.store(value, pointer, place, mask=self._mask)

    def of_gate(self, gate: int, gates: int) -> Value:
        """Return the place in an array (B, G·H)."""
        f, units = self.walk.f, self.walk.units
        return f.sum(f.times(self.sequence, index(gates), units), self.of_vector(gate))

    def of_vector(self, gate: int) -> Value:
        """Return the place in an array (G·H,)."""
        f = self.walk.f
        return f.sum(f.times(index(gate), self.walk.units), self.unit)

    def update(self, number: int, at: Value) -> Value:
        """Return the update of a state: booleans or numbers."""
        walk, f, name = self.walk, self.walk.f, f"update.{number}"
        step = f.times(walk.direction, walk.plane)
        if walk.program.held == "mix":
            return self.load(walk.pointer(name, at, step))
        return f.flags(walk.pointer(name), f.times(at, step), self._place)


class _Forward(_Walk):
    """``h' = cell(ax, h W_hhᵀ)``, step after step."""

    def __init__(self, v: Vectors, program: Program, scaled: bool) -> None:
        fields = forward_fields(program, scaled=scaled)
        super().__init__(v, program, scaled, "forward", fields)

    def write(self, product: Product) -> None:
        """Write the whole function."""
        f = self.f
        step = f.times(self.direction, self.plane)
        multiplied = "scaled" if self.scaled else "state.0"
        with f.loop(self.steps) as time:
            h = self.pointer(multiplied, time.at, step)
            self.walk(product, h, self.units, self._body(time.at, step))
        f.builder.ret_void()

    def _body(self, at: Value, step: Value) -> Callable[[list[_Place]], None]:
        f, p = self.f, self.program
        after = f.sum(at, index(1))
        ax = self.pointer("ax", at, f.times(step, index(p.gates)))

        def leaf(place: _Place, read: Leaf) -> Value:
            name, i = read
            if name in ("ax", "ah"):
                bias = place.load(self.pointer(f"bias_{name}"), place.of_vector(i))
                given = place.load(ax, place.of_gate(i, p.gates)) if name == "ax" else None
                return f.builder.fadd(given or place.sum(i), bias)
            if name == "state":
                return place.load(self.pointer(f"state.{i}", at, step))
            if name == "own":
                return place.load(self.pointer("own"), place.of_vector(i))
            return place.update(i, at)

        def body(places: list[_Place]) -> None:
            found = self.evaluate(p.forward, leaf, places)
            for place, values in zip(places, found, strict=True):
                new, stored = values[: p.states], values[p.states :]
                for i, value in enumerate(new):
                    place.store(value, self.pointer(f"state.{i}", after, step))
                for i, value in enumerate(stored):
                    place.store(value, self.pointer(f"stored.{i}", at, self["stored_step"]))
                if self.scaled:
                    scaled = f.builder.fmul(new[0], place.load(self.pointer("scale")))
                    place.store(scaled, self.pointer("scaled", after, step))

        return body


class _Backward(_Walk):
    """``d_h = d_y + d_ah W_hh``, then the cell's derivative, step after step from the last."""

    def __init__(self, v: Vectors, program: Program, scaled: bool) -> None:
        fields = backward_fields(program, scaled=scaled)
        super().__init__(v, program, scaled, "backward", fields)

    def write(self, product: Product) -> None:
        """Write the whole function."""
        f, b, p = self.f, self.f.builder, self.program
        row = f.times(index(p.gates), self.units)
        step = f.times(self.direction, self.sequences, row)
        d_ah = "d_ax" if p.same else "d_ah"
        with f.loop(self.steps) as time:
            # Of the step that comes after in time; the last one has none.
            is_last = b.icmp_signed("==", time.at, index(0))
            after = self.pointer(d_ah, b.sub(time.at, index(1)), step)
            self.walk(product, after, b.select(is_last, index(0), row), self._body(time.at, step))
        first = self.pointer(d_ah, b.sub(self.steps, index(1)), step)
        self.walk(product, first, row, self._add_product)
        b.ret_void()

    def _d_h(self, place: _Place) -> Value:
        """Return what the steps after hand back to the hidden state."""
        b, found = self.f.builder, place.sum(0)
        if self.scaled:
            found = b.fmul(found, place.load(self.pointer("scale")))
        return b.fadd(found, place.load(self.pointer("d_state.0")))

    def _add_product(self, places: list[_Place]) -> None:
        """Add the product of the first step in time to the cotangent of the state before it."""
        for place in places:
            place.store(self._d_h(place), self.pointer("d_state.0"))

    def _body(self, at: Value, step: Value) -> Callable[[list[_Place]], None]:
        f, v, p = self.f, self.v, self.program
        plane = f.times(self.direction, self.plane)
        d_y = self.pointer("d_y", at, self["d_y_step"])

        def leaf(place: _Place, read: Leaf) -> Value:
            name, i = read
            if name == "d" and i == 0:
                row = f.sum(f.times(place.sequence, self["d_y_row"]), place.unit)
                return f.builder.fadd(self._d_h(place), place.load(d_y, row))
            if name == "d":
                return place.load(self.pointer(f"d_state.{i}"))
            if name == "stored":
                return place.load(self.pointer(f"stored.{i}", at, plane))
            if name == "own":
                return place.load(self.pointer("own"), place.of_vector(i))
            if name == "update":
                return place.update(i, at)
            # The state after a step is that before the step which came just before.
            when = f.builder.sub(at, index(1)) if name == "new" else at
            return place.load(self.pointer(f"state.{i}", when, plane))

        def body(places: list[_Place]) -> None:
            found = self.evaluate(p.backward, leaf, places)
            for place, computed in zip(places, found, strict=True):
                values = iter(computed)
                for name in ("d_ax",) if p.same else ("d_ax", "d_ah"):
                    pointer = self.pointer(name, at, step)
                    for g in range(p.gates):
                        place.store(next(values), pointer, place.of_gate(g, p.gates))
                for i, d in enumerate(p.d_state):
                    value = v.splat(0.0) if d is None else next(values)
                    place.store(value, self.pointer(f"d_state.{i}"))
                for i in range(p.own):
                    pointer = self.pointer("d_own", at, f.times(plane, index(p.own)))
                    place.store(next(values), pointer, place.of_gate(i, p.own))

        return body
