"""The time loop of one layer and the loop back, written in LLVM's language.

In each step, for a few blocks of units at a time: the recurrent product for all sequences, and at
once what the cell makes of it, while the sums are in the nearest cache. All that a step reads and
writes of a sequence and a block is a vector of each array.

Both functions take one pointer, to a table of 64-bit integers: sizes, strides, and addresses of
arrays. `fields` names its entries. Arrays are contiguous, (T, B, ...); where time runs the other
way, addresses are those of the step that comes first and ``direction`` is -1.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import llvmlite.ir as ir

from .llvm_function import Function, index
from .llvm_math import I64, POINTER, Value, Vectors
from .llvm_product import Product, pack_backward, pack_forward
from .llvm_target import Target
from .program import Leaf, Program
from .tables import backward_fields, forward_fields

__all__ = ["write"]


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

    def __init__(self, v: Vectors, program: Program, scaled: bool, name: str) -> None:
        self.v, self.program, self.scaled = v, program, scaled
        self.f = Function(v, name, [POINTER], public=True)
        fields = self._fields()
        (table,) = self.f.function.args
        b = self.f.builder
        places = [b.gep(table, [index(i)], source_etype=I64) for i in range(len(fields))]
        values = [b.load(place, typ=I64, align=8) for place in places]
        self.table = dict(zip(fields, values, strict=True))
        self.steps, self.batch, self.units = (self[n] for n in ("steps", "batch", "units"))
        self.direction = self["direction"]
        self.plane = self.f.times(self.batch, self.units)  # numbers of all sequences in one step
        self.gates = index(program.gates)

    def _fields(self) -> Sequence[str]:
        raise NotImplementedError

    def __getitem__(self, name: str) -> Value:
        return self.table[name]

    def pointer(self, name: str, at: Value | None = None, step: Value | None = None) -> Value:
        """Return the address of an array, in a step if it has one of its own in each."""
        pointer = self.f.builder.inttoptr(self[name], POINTER)
        return pointer if at is None else self.f.address(pointer, self.f.times(at, step))

    @contextmanager
    def blocks(self) -> Iterator[tuple[Value, Value]]:
        """Walk through the blocks of units; the body is given the first one of some, and how many.

        As many as the table says, and in the end as many as are left, by powers of 2.
        """
        f, b, v = self.f, self.f.builder, self.v
        rounded = f.sum(self.units, index(v.lanes - 1))
        count = b.sdiv(rounded, index(v.lanes))
        before = b.block
        head, body, after = (b.append_basic_block() for _ in range(3))
        b.branch(head)
        b.position_at_end(head)
        first, width = b.phi(I64), b.phi(I64)
        first.add_incoming(index(0), before)
        width.add_incoming(self["blocks"], before)
        left = b.sub(count, first)
        b.cbranch(b.icmp_signed(">", left, index(0)), body, after)
        b.position_at_end(body)
        work, halve = b.append_basic_block(), b.append_basic_block()
        b.cbranch(b.icmp_signed("<=", width, left), work, halve)
        b.position_at_end(halve)
        first.add_incoming(first, halve)
        width.add_incoming(b.sdiv(width, index(2)), halve)
        b.branch(head)
        b.position_at_end(work)
        yield first, width
        first.add_incoming(f.sum(first, width), b.block)
        width.add_incoming(width, b.block)
        b.branch(head)
        b.position_at_end(after)

    def product(
        self, product: Product, a: Value, steps: Value, first: Value, width: Value
    ) -> Callable[[Value, Value, int], Value]:
        """Multiply rows of ``a`` by the weights of some blocks; return what loads a sum."""
        f, v, gates, row = self.f, self.v, product.gates, self["a_row"]
        block_step = f.times(row, index(gates * v.lanes))
        weight = f.address(self.pointer("weight"), f.times(first, block_step))
        sums = self.pointer("sums")
        args = [sums, a, row, self.batch, weight, block_step, steps, width]
        f.builder.call(product.function, args)

        def load(sequence: Value, block: Value, gate: int) -> Value:
            place = f.sum(f.times(sequence, width), block)
            return f.load(sums, f.times(f.sum(f.times(place, index(gates)), index(gate)), lanes))

        lanes = index(v.lanes)
        return load

    def epilogue(
        self,
        first: Value,
        width: Value,
        body: Callable[[Value, Any], Callable[[Value], None]],
    ) -> None:
        """Write what is done with each sequence in each of some blocks.

        ``body(block, mask, unit)`` is called for a whole block, without a mask, and for one that
        units do not fill; it returns what writes the work on one sequence.
        """
        f, b, v = self.f, self.f.builder, self.v
        with f.loop(width) as loop:
            unit = f.times(f.sum(first, loop.at), index(v.lanes))
            left = b.sub(self.units, unit)
            whole = b.icmp_signed(">=", left, index(v.lanes))
            with b.if_else(whole) as branches:
                for branch, masked in zip(branches, (False, True), strict=True):
                    with branch:
                        mask = f.first_lanes(left) if masked else None
                        work = body(loop.at, unit, mask)
                        with f.loop(self.batch) as sequences:
                            work(sequences.at)

    def gates_of(self, name: str, unit: Value, mask: Any, count: int) -> list[Value]:
        """Return vectors of an array of several blocks of H."""
        f = self.f
        return [
            f.load(self.pointer(name), f.times(index(g), self.units), unit, mask=mask) for g in range(count)
        ]

    def update(self, at: Value, number: int, place: Value, mask: Any) -> Value:
        """Return the update of a state."""
        name, step = f"update.{number}", self.f.times(self.direction, self.plane)
        if self.program.held == "mix":
            return self.f.load(self.pointer(name, at, step), place, mask=mask)
        flags = self.f.builder.inttoptr(self[name], POINTER)
        return self.f.flags(flags, self.f.times(at, step), place)


class _Forward(_Walk):
    """``h' = cell(ax, h W_hhᵀ)``, step after step."""

    def __init__(self, v: Vectors, program: Program, scaled: bool) -> None:
        super().__init__(v, program, scaled, "forward")

    def _fields(self) -> Sequence[str]:
        return forward_fields(self.program, scaled=self.scaled)

    def write(self, product: Product) -> None:
        """Write the whole function."""
        f = self.f
        step = f.times(self.direction, self.plane)
        multiplied = "scaled" if self.scaled else "state.0"
        with f.loop(self.steps) as time, self.blocks() as (first, width):
            h = self.pointer(multiplied, time.at, step)
            sums = self.product(product, h, self.units, first, width)
            self.epilogue(first, width, self._body(time.at, step, sums))
        f.builder.ret_void()

    def _body(self, at: Value, step: Value, sums: Any) -> Any:
        f, v, p = self.f, self.v, self.program
        after = f.sum(at, index(1))
        row = f.times(self.gates, self.units)
        ax = self.pointer("ax", at, f.times(self.direction, self.batch, row))

        def of_block(block: Value, unit: Value, mask: Any) -> Callable[[Value], None]:
            bias_ax = self.gates_of("bias_ax", unit, mask, p.gates)
            bias_ah = self.gates_of("bias_ah", unit, mask, p.gates)
            own = self.gates_of("own", unit, mask, p.own)

            def of_sequence(sequence: Value) -> None:
                place = f.sum(f.times(sequence, self.units), unit)

                def leaf(read: Leaf) -> Value:
                    name, g = read
                    if name == "ax":
                        gate = f.sum(f.times(sequence, row), f.times(index(g), self.units), unit)
                        return f.builder.fadd(f.load(ax, gate, mask=mask), bias_ax[g])
                    if name == "ah":
                        return f.builder.fadd(sums(sequence, block, g), bias_ah[g])
                    if name == "state":
                        return f.load(self.pointer(f"state.{g}", at, step), place, mask=mask)
                    if name == "own":
                        return own[g]
                    return self.update(at, g, place, mask)

                values = v.evaluate(p, p.forward, leaf)
                new, stored = values[: p.states], values[p.states :]
                for i, value in enumerate(new):
                    f.store(value, self.pointer(f"state.{i}", after, step), place, mask=mask)
                for i, value in enumerate(stored):
                    kept = self.pointer(f"stored.{i}", at, self["stored_step"])
                    f.store(value, kept, place, mask=mask)
                if self.scaled:
                    factor = f.load(self.pointer("scale"), place, mask=mask)
                    scaled = f.builder.fmul(new[0], factor)
                    f.store(scaled, self.pointer("scaled", after, step), place, mask=mask)

            return of_sequence

        return of_block


class _Backward(_Walk):
    """``d_h = d_y + d_ah W_hh``, then the cell's derivative, step after step from the last."""

    def __init__(self, v: Vectors, program: Program, scaled: bool) -> None:
        super().__init__(v, program, scaled, "backward")

    def _fields(self) -> Sequence[str]:
        return backward_fields(self.program, scaled=self.scaled)

    def write(self, product: Product) -> None:
        """Write the whole function."""
        f = self.f
        row = f.times(self.gates, self.units)
        step = f.times(self.direction, self.batch, row)
        d_ah = "d_ax" if self.program.same else "d_ah"
        with f.loop(self.steps) as time, self.blocks() as (first, width):
            # Of the step that comes after in time; the last one has none.
            is_last = f.builder.icmp_signed("==", time.at, index(0))
            steps = f.builder.select(is_last, index(0), row)
            before = self.pointer(d_ah, f.builder.sub(time.at, index(1)), step)
            sums = self.product(product, before, steps, first, width)
            self.epilogue(first, width, self._body(time.at, step, sums))
        with self.blocks() as (first, width):
            before = self.pointer(d_ah, f.builder.sub(self.steps, index(1)), step)
            sums = self.product(product, before, row, first, width)
            self.epilogue(first, width, self._add_product(sums))
        f.builder.ret_void()

    def _d_h(self, sums: Any, sequence: Value, block: Value, place: Value, mask: Any) -> Value:
        """Return what the steps after hand back to the hidden state."""
        f = self.f
        product = sums(sequence, block, 0)
        if self.scaled:
            factor = f.load(self.pointer("scale"), place, mask=mask)
            product = f.builder.fmul(product, factor)
        return f.builder.fadd(product, f.load(self.pointer("d_state.0"), place, mask=mask))

    def _body(self, at: Value, step: Value, sums: Any) -> Any:
        f, v, p = self.f, self.v, self.program
        row = f.times(self.gates, self.units)
        plane = f.times(self.direction, self.plane)
        d_y = self.pointer("d_y", at, self["d_y_step"])
        own_step = f.times(self.direction, self.plane, index(p.own))
        own_row = f.times(index(p.own), self.units)

        def of_block(block: Value, unit: Value, mask: Any) -> Callable[[Value], None]:
            own = self.gates_of("own", unit, mask, p.own)

            def of_sequence(sequence: Value) -> None:
                place = f.sum(f.times(sequence, self.units), unit)

                def leaf(read: Leaf) -> Value:
                    name, i = read
                    if name == "d" and i == 0:
                        d_h = self._d_h(sums, sequence, block, place, mask)
                        given = f.load(d_y, f.times(sequence, self["d_y_row"]), unit, mask=mask)
                        return f.builder.fadd(d_h, given)
                    if name == "d":
                        return f.load(self.pointer(f"d_state.{i}"), place, mask=mask)
                    if name == "stored":
                        return f.load(self.pointer(f"stored.{i}", at, plane), place, mask=mask)
                    if name == "own":
                        return own[i]
                    if name == "update":
                        return self.update(at, i, place, mask)
                    # The state after a step is that before the step which came just before.
                    when = f.builder.sub(at, index(1)) if name == "new" else at
                    return f.load(self.pointer(f"state.{i}", when, plane), place, mask=mask)

                values = iter(v.evaluate(p, p.backward, leaf))
                for name in ("d_ax",) if p.same else ("d_ax", "d_ah"):
                    pointer = self.pointer(name, at, step)
                    for g in range(p.gates):
                        gate = f.sum(f.times(sequence, row), f.times(index(g), self.units), unit)
                        f.store(next(values), pointer, gate, mask=mask)
                for i, d in enumerate(p.d_state):
                    value = v.splat(0.0) if d is None else next(values)
                    f.store(value, self.pointer(f"d_state.{i}"), place, mask=mask)
                pointer = self.pointer("d_own", at, own_step) if p.own else None
                for i in range(p.own):
                    gate = f.sum(f.times(sequence, own_row), f.times(index(i), self.units), unit)
                    f.store(next(values), pointer, gate, mask=mask)

            return of_sequence

        return of_block

    def _add_product(self, sums: Any) -> Any:
        """Add the product of the first step in time to the cotangent of the state before it."""

        def of_block(block: Value, unit: Value, mask: Any) -> Callable[[Value], None]:
            def of_sequence(sequence: Value) -> None:
                place = self.f.sum(self.f.times(sequence, self.units), unit)
                d_h = self._d_h(sums, sequence, block, place, mask)
                self.f.store(d_h, self.pointer("d_state.0"), place, mask=mask)

            return of_sequence

        return of_block
