"""Sums of the rows of each token, the gradient of an embedding, in LLVM's language.

Rows come sorted by token. Of each token, a few vectors of columns stay in registers for a leaf of
rows, and leaves are added one after another: the order depends on the rows of a token alone, so
that a sum has the same bits whatever the width of the vectors.
"""

import llvmlite.ir as ir

from .llvm_function import Function, index
from .llvm_masks import with_masks
from .llvm_math import I64, POINTER, Value, Vectors
from .llvm_target import Target
from .tables import LEAF, TOKEN_FIELDS

__all__ = ["write"]

WIDTH = 4  # vectors


def write(dtype: str, target: Target) -> str:
    """Return a module with the function ``add`` of a table, whose entries are `TOKEN_FIELDS`."""
    module = ir.Module("tokens")
    v = Vectors(module, dtype, target.lanes(dtype))
    f = Function(v, "add", [POINTER], public=True)
    b = f.builder
    (table,) = f.function.args

    def number(pointer: Value, at: Value) -> Value:
        return b.load(b.gep(pointer, [at], source_etype=I64), typ=I64, align=8)

    entries = (number(table, index(i)) for i in range(len(TOKEN_FIELDS)))
    given = dict(zip(TOKEN_FIELDS, entries, strict=True))
    order, ends, d, sums = (b.inttoptr(given[n], POINTER) for n in ("order", "ends", "d", "sums"))
    size = given["size"]

    with f.loop(given["tokens"]) as token:
        # Where the rows of the token before it end, 0 for the first.
        start = number(ends, token.at)
        count = b.sub(number(ends, f.sum(token.at, index(1))), start)
        with f.loop(size, WIDTH * v.lanes) as columns:

            def write_sums(masks: list[Value | None]) -> None:
                zeros = [v.splat(0.0)] * WIDTH
                with f.loop(count, LEAF, values=zeros) as leaves:
                    left = b.sub(count, leaves.at)
                    some = b.select(b.icmp_signed("<", left, index(LEAF)), left, index(LEAF))
                    with f.loop(some, values=zeros) as leaf:
                        row = number(order, f.sum(start, leaves.at, leaf.at))
                        place = f.address(d, f.times(row, size), columns.at)
                        for i, mask in enumerate(masks):
                            value = f.load(place, index(i * v.lanes), mask=mask)
                            leaf.values[i] = b.fadd(leaf.values[i], value)
                    both = zip(leaves.values, leaf.values, strict=True)
                    leaves.values = [b.fadd(one, other) for one, other in both]
                place = f.address(sums, f.times(token.at, size), columns.at)
                for i, mask in enumerate(masks):
                    f.store(leaves.values[i], place, index(i * v.lanes), mask=mask)

            with_masks(f, b.sub(size, columns.at), WIDTH, write_sums)
    b.ret_void()
    return str(module)
