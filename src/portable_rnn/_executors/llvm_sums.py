"""Gradients of weights and biases, ``W += dᵀ x`` and ``b += Σ d``, in LLVM's language.

Rows, of which there is one for each step of each sequence, are taken by pieces. Of a piece, ``d``
is packed by panels of some columns, and ``x`` by as many columns as a tile is wide; a tile of W
then stays in registers for a leaf of rows, its leaves are added in the nearest cache, and a piece
is added to W. So a sum is made of short ones, as in `affine_vjp_weight`, and in an order that
depends on the number of rows alone: it has the same bits whatever the width of the vectors.
"""

from typing import Any

import llvmlite.ir as ir

from .llvm_function import Function, index
from .llvm_masks import with_masks
from .llvm_math import I64, POINTER, Value, Vectors
from .llvm_target import Target
from .tables import LEAF, PANEL, PIECE, SUM_FIELDS, widest

__all__ = ["write"]

FOUR = 4  # columns of d that are packed at once


def write(dtype: str, target: Target) -> str:
    """Return a module with the function ``add`` of a table, whose entries are `SUM_FIELDS`."""
    module = ir.Module("sums")
    vectors = Vectors(module, dtype, target.lanes(dtype))
    pack = _pack_panels(vectors)
    multiply = _multiply(vectors, widest(target.accumulators), target.accumulators)
    f = Function(vectors, "add", [POINTER], public=True)
    b = f.builder
    (table,) = f.function.args
    places = [b.gep(table, [index(i)], source_etype=I64) for i in range(len(SUM_FIELDS))]
    values = [b.load(place, typ=I64, align=8) for place in places]
    given = dict(zip(SUM_FIELDS, values, strict=True))

    def pointer(name: str) -> Value:
        return b.inttoptr(given[name], POINTER)

    outputs, room = given["outputs"], pointer("room_d")
    with f.loop(given["rows"], PIECE) as pieces:
        rows = _least(f, f.builder.sub(given["rows"], pieces.at), index(PIECE))
        d = f.address(pointer("d"), f.times(pieces.at, given["d_row"]))
        b.call(pack, [room, d, rows, outputs, given["d_row"], pointer("bias")])
        for i in range(2):
            x = f.address(pointer(f"x.{i}"), f.times(pieces.at, given[f"inputs.{i}"]))
            sizes = [rows, outputs, given[f"inputs.{i}"]]
            b.call(
                multiply,
                [pointer(f"weight.{i}"), room, x, *sizes, pointer("room_x"), pointer("sums")],
            )
    b.ret_void()
    return str(module)


def _least(f: Function, one: Value, other: Value) -> Value:
    return f.builder.select(f.builder.icmp_signed("<", one, other), one, other)


def _pack_panels(v: Vectors) -> Any:
    """Write ``pack(out, d, rows, outputs, d_row, bias)``: panels of `PANEL` columns, their sums."""
    f = Function(v, "pack", [POINTER, POINTER, I64, I64, I64, POINTER])
    out, d, rows, outputs, d_row, bias = f.function.args
    b = f.builder
    four, number = ir.VectorType(v.number, FOUR), v.number

    def copied(source: Value, place: Value, kind: Any, columns: int) -> None:
        """Copy some columns of all rows, and add their sums to those at ``place``."""
        zeros = [ir.Constant(kind, None) for _ in range(columns)]
        width = FOUR if kind is four else 1
        to = f.address(panel, f.builder.sub(place, panels.at))
        with f.loop(rows, LEAF, values=zeros) as leaves:
            some = _least(f, b.sub(rows, leaves.at), index(LEAF))
            with f.loop(some, values=zeros) as leaf:
                row = f.sum(leaves.at, leaf.at)
                for i in range(columns):
                    address = f.address(source, f.times(row, d_row), place, index(i * width))
                    value = b.load(address, typ=kind, align=v.bytes)
                    b.store(
                        value,
                        f.address(to, f.times(row, index(PANEL)), index(i * width)),
                        align=v.bytes,
                    )
                    leaf.values[i] = b.fadd(leaf.values[i], value)
            leaves.values = [b.fadd(s, t) for s, t in zip(leaves.values, leaf.values, strict=True)]
        for i in range(columns):
            address = f.address(bias, place, index(i * width))
            before = b.load(address, typ=kind, align=v.bytes)
            b.store(b.fadd(before, leaves.values[i]), address, align=v.bytes)

    with f.loop(outputs, PANEL) as panels:
        panel = f.address(out, f.times(panels.at, rows))
        width = _least(f, b.sub(outputs, panels.at), index(PANEL))
        with b.if_else(b.icmp_signed("==", width, index(PANEL))) as (whole, partly):
            with whole:
                copied(d, panels.at, four, PANEL // FOUR)
            # The columns that are missing come to rows of a tile that are not added to W.
            with partly, f.loop(width) as column:
                copied(d, f.sum(panels.at, column.at), number, 1)
    b.ret_void()
    return f.function


def _multiply(v: Vectors, most: int, accumulators: int) -> Any:
    """Write ``multiply(weight, panels, x, rows, outputs, inputs, room, sums)``."""
    widths = [2**i for i in range(most.bit_length())]
    tiles = {width: _tile(v, width, min(PANEL, accumulators // width)) for width in widths}
    packs = {width: _pack_columns(v, width) for width in widths}
    kinds = [POINTER, POINTER, POINTER, I64, I64, I64, POINTER, POINTER]
    f = Function(v, "multiply", kinds)
    weight, panels, x, rows, outputs, inputs, room, sums = f.function.args
    b = f.builder
    with f.loop(inputs, most * v.lanes) as columns:
        left = b.sub(inputs, columns.at)
        after = b.append_basic_block()
        for width in widths:
            if width != most:
                here, other = b.append_basic_block(), b.append_basic_block()
                b.cbranch(b.icmp_signed("<=", left, index(width * v.lanes)), here, other)
                b.position_at_end(here)
            height = min(PANEL, accumulators // width)
            b.call(packs[width], [room, f.address(x, columns.at), rows, inputs, left])
            with f.loop(outputs, PANEL) as panel:
                start = f.address(panels, f.times(panel.at, rows))
                for part in range(PANEL // height):
                    row = f.sum(panel.at, index(part * height))
                    place = f.address(weight, f.times(row, inputs), columns.at)
                    args = [sums, f.address(start, index(part * height)), room, rows]
                    b.call(tiles[width], [*args, place, inputs, b.sub(outputs, row), left])
            b.branch(after)
            if width != most:
                b.position_at_end(other)
        b.position_at_end(after)
    b.ret_void()
    return f.function


def _pack_columns(v: Vectors, width: int) -> Any:
    """Write ``pack(out, x, rows, row, left)``: vectors side by side, and 0 where none are left."""
    f = Function(v, f"pack_{width}", [POINTER, POINTER, I64, I64, I64])
    out, x, rows, row, left = f.function.args
    b, lanes = f.builder, v.lanes

    def copy(masks: list[Value | None]) -> None:
        with f.loop(rows) as loop:
            source = f.address(x, f.times(loop.at, row))
            to = f.address(out, f.times(loop.at, index(width * lanes)))
            for i, mask in enumerate(masks):
                f.store(f.load(source, index(i * lanes), mask=mask), to, index(i * lanes))

    with_masks(f, left, width, copy)
    b.ret_void()
    return f.function


def _tile(v: Vectors, width: int, height: int) -> Any:
    """Write ``tile(sums, d, x, rows, weight, row, down, left)`` of some vectors and rows of W.

    As much of it is added to W as lies in it: ``down`` rows, and ``left`` numbers of each.
    """
    kinds = [POINTER, POINTER, POINTER, I64, POINTER, I64, I64, I64]
    f = Function(v, f"tile_{width}", kinds)
    sums, d, x, rows, weight, row_size, down, left = f.function.args
    b, lanes = f.builder, v.lanes
    zeros = [v.splat(0.0)] * (width * height)
    places = [f.address(sums, index(i * lanes)) for i in range(width * height)]
    for zero, place in zip(zeros, places, strict=True):
        f.store(zero, place)
    with f.loop(rows, LEAF) as leaves:
        some = _least(f, b.sub(rows, leaves.at), index(LEAF))
        d_leaf = f.address(d, f.times(leaves.at, index(PANEL)))
        x_leaf = f.address(x, f.times(leaves.at, index(width * lanes)))
        with f.loop(some, values=zeros) as leaf:
            at = f.times(leaf.at, index(width * lanes))
            vectors = [f.load(x_leaf, at, index(i * lanes)) for i in range(width)]
            at = f.times(leaf.at, index(PANEL))
            for r in range(height):
                number = f.number(d_leaf, at, index(r))
                for i in range(width):
                    place = r * width + i
                    leaf.values[place] = v.fma(vectors[i], number, leaf.values[place])
        for value, place in zip(leaf.values, places, strict=True):
            f.store(b.fadd(f.load(place), value), place)

    def add(masks: list[Value | None]) -> None:
        with f.loop(_least(f, down, index(height))) as row:
            target = f.address(weight, f.times(row.at, row_size))
            source = f.address(sums, f.times(row.at, index(width * lanes)))
            for i, mask in enumerate(masks):
                before = f.load(target, index(i * lanes), mask=mask)
                total = b.fadd(before, f.load(source, index(i * lanes)))
                f.store(total, target, index(i * lanes), mask=mask)

    with_masks(f, left, width, add)
    b.ret_void()
    return f.function
