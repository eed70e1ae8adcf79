"""A function in LLVM's language while it is written: loops, and vectors in memory."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import llvmlite.ir as ir

from .llvm_math import I8, I32, I64, POINTER, VOID, Value, Vectors

__all__ = ["Function", "Loop", "index"]


def index(value: int) -> Value:
    """Return an integer that counts or measures."""
    return ir.Constant(I64, value)


class Loop:
    """A loop while its body is written: its index, and the values that go round."""

    def __init__(self, at: Value, values: Sequence[Value]) -> None:
        self.at, self.values = at, list(values)


class Function:
    """A function of pointers and integers, which returns nothing.

    Parameters
    ----------
    vectors : Vectors
        Writes into this function until another one is begun.
    name : str
    arguments : sequence of types
    public : bool
        Whether it is called from outside; others are known to be called from this module alone.
    """

    def __init__(
        self, vectors: Vectors, name: str, arguments: Sequence[Any], *, public: bool = False
    ) -> None:
        self.vectors = vectors
        kind = ir.FunctionType(VOID, list(arguments))
        self.function = ir.Function(vectors.module, kind, name)
        if not public:
            self.function.linkage = "internal"
            self.function.attributes.add("noinline")  # one copy of each, whatever LLVM may think
        self.function.attributes.add("nounwind")
        self.builder = ir.IRBuilder(self.function.append_basic_block())
        vectors.builder = self.builder

    # ---------------------------------------------------------------------------- integers, flow

    def sum(self, *values: Value) -> Value:
        found, *rest = values
        for value in rest:
            found = self.builder.add(found, value)
        return found

    def times(self, *values: Value) -> Value:
        found, *rest = values
        for value in rest:
            found = self.builder.mul(found, value)
        return found

    @contextmanager
    def loop(
        self, end: Value, step: int | Value = 1, values: Sequence[Value] = ()
    ) -> Iterator[Loop]:
        """Write the body of ``for at in range(0, end, step)``.

        The body may set ``values`` to others; they are what they were last when it is over.
        """
        b = self.builder
        step = index(step) if isinstance(step, int) else step
        before = b.block
        head, body, after = (b.append_basic_block() for _ in range(3))
        b.branch(head)
        b.position_at_end(head)
        carried = [b.phi(kind) for kind in (I64, *(value.type for value in values))]
        for phi, value in zip(carried, (index(0), *values), strict=True):
            phi.add_incoming(value, before)
        at, *values = carried
        b.cbranch(b.icmp_signed("<", at, end), body, after)
        b.position_at_end(body)
        loop = Loop(at, values)
        yield loop
        for phi, value in zip(carried, (b.add(at, step), *loop.values), strict=True):
            phi.add_incoming(value, b.block)
        b.branch(head)
        b.position_at_end(after)
        loop.values = values

    # ------------------------------------------------------------------------------------ memory

    def address(self, pointer: Value, *offsets: Value) -> Value:
        """Return where the number is that lies so many numbers behind a pointer."""
        if not offsets:
            return pointer
        return self.builder.gep(pointer, [self.sum(*offsets)], source_etype=self.vectors.number)

    def number(self, pointer: Value, *offsets: Value) -> Value:
        """Return a vector of one number."""
        v, b = self.vectors, self.builder
        address = self.address(pointer, *offsets)
        number = b.load(address, typ=v.number, align=v.bytes)
        empty, first = ir.Constant(v.type, ir.Undefined), ir.Constant(I32, 0)
        everywhere = ir.Constant(ir.VectorType(I32, v.lanes), [0] * v.lanes)
        return b.shuffle_vector(b.insert_element(empty, number, first), empty, everywhere)

    def load(self, pointer: Value, *offsets: Value, mask: Value | None = None) -> Value:
        """Return a vector; of what a mask leaves out, nothing is read, and 0 is returned."""
        v, address = self.vectors, self.address(pointer, *offsets)
        if mask is None:
            return self.builder.load(address, typ=v.type, align=v.bytes)
        kind = ir.FunctionType(v.type, [POINTER, I32, v.mask, v.type])
        function = self._known(f"llvm.masked.load.{v.name}.p0", kind)
        align = ir.Constant(I32, v.bytes)
        return self.builder.call(function, [address, align, mask, v.splat(0.0)])

    def store(
        self, value: Value, pointer: Value, *offsets: Value, mask: Value | None = None
    ) -> None:
        """Write a vector; what a mask leaves out is not touched."""
        v, address = self.vectors, self.address(pointer, *offsets)
        if mask is None:
            self.builder.store(value, address, align=v.bytes)
            return
        kind = ir.FunctionType(VOID, [v.type, POINTER, I32, v.mask])
        function = self._known(f"llvm.masked.store.{v.name}.p0", kind)
        self.builder.call(function, [value, address, ir.Constant(I32, v.bytes), mask])

    def flags(self, pointer: Value, *offsets: Value) -> Value:
        """Return booleans, of a byte each."""
        v, b = self.vectors, self.builder
        kind = ir.VectorType(I8, v.lanes)
        address = b.gep(pointer, [self.sum(*offsets)], source_etype=I8)
        found = b.load(address, typ=kind, align=1)
        return b.icmp_unsigned("!=", found, ir.Constant(kind, [0] * v.lanes))

    def first_lanes(self, count: Value) -> Value:
        """Return a mask that has the first lanes only."""
        v, b = self.vectors, self.builder
        kind = ir.VectorType(I64, v.lanes)
        empty = ir.Constant(kind, ir.Undefined)
        everywhere = ir.Constant(ir.VectorType(I32, v.lanes), [0] * v.lanes)
        many = b.insert_element(empty, count, ir.Constant(I32, 0))
        many = b.shuffle_vector(many, empty, everywhere)
        return b.icmp_signed("<", ir.Constant(kind, list(range(v.lanes))), many)

    def _known(self, name: str, kind: Any) -> Any:
        module = self.vectors.module
        return module.globals.get(name) or ir.Function(module, kind, name)
