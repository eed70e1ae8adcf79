"""The product inside the time loop, ``sums = A W``, on weights that are packed for it.

Units are taken by blocks, as many as a vector has lanes. Packed weights hold for each block,
number k of a row of A after number, one vector for each gate: what a step of the innermost loop
reads lies side by side. A tile is some rows of A times some blocks; its sums stay in registers, and
where there are more rows, k is cut, so that the weights of a piece stay in the nearest cache while
all rows pass by. Every sum is made in the order of k, one fused multiply-add after another: it has
the same bits whatever the tile, the number of rows, and the width of the vectors.
"""

from typing import Any

from .llvm_function import Function, index
from .llvm_math import I64, POINTER, Value, Vectors
from .tables import MOST_ROWS, most_blocks

__all__ = ["Product", "pack_backward", "pack_forward"]

PIECE = 2**14  # bytes of weights that stay in the nearest cache while all rows pass by


class Product:
    """The function ``sums = A W`` for weights of so many gates.

    Parameters
    ----------
    vectors : Vectors
    gates : int
        Vectors that one block has for each k.
    accumulators : int
        Sums that may be kept in registers.
    """

    def __init__(self, vectors: Vectors, gates: int, accumulators: int) -> None:
        self.vectors, self.gates, self.most = vectors, gates, max(accumulators, gates)
        self._tiles: dict[tuple[int, int], Any] = {}
        self._modes = [2**i for i in range(4) if 2**i <= most_blocks(gates, accumulators)]
        for blocks in self._modes:
            for rows in range(1, self._most_rows(blocks) + 1):
                self._tiles[blocks, rows] = self._tile(blocks, rows)
        self.function = self._write()

    def _most_rows(self, blocks: int) -> int:
        return min(MOST_ROWS, self.most // (blocks * self.gates))

    def _tile(self, blocks: int, rows: int) -> Any:
        """Write ``sums += A W`` for so many blocks and rows."""
        v, gates = self.vectors, self.gates
        kinds = [POINTER, I64, POINTER, I64, POINTER, I64, I64]
        f = Function(v, f"tile_{gates}_{blocks}_{rows}", kinds)
        sums, sums_step, a, a_row, weight, weight_step, steps = f.function.args
        lanes, columns = v.lanes, blocks * gates
        starts = [f.address(a, f.times(index(row), a_row)) for row in range(rows)]
        panels = [f.address(weight, f.times(index(u), weight_step)) for u in range(blocks)]
        places = [
            f.address(sums, f.times(index(u), sums_step), index((row * gates + g) * lanes))
            for row in range(rows)
            for u in range(blocks)
            for g in range(gates)
        ]
        with f.loop(steps, values=[f.load(place) for place in places]) as loop:
            k, at = loop.at, f.times(loop.at, index(gates * lanes))

            def column(i: int) -> Value:
                return f.load(panels[i // gates], at, index(i % gates * lanes))

            def number(row: int) -> Value:
                return f.number(starts[row], k)

            # What there is less of stays in registers, and the other passes through one.
            found = loop.values
            if columns <= rows:
                weights = [column(i) for i in range(columns)]
                for row in range(rows):
                    x = number(row)
                    for i in range(columns):
                        place = row * columns + i
                        found[place] = v.fma(weights[i], x, found[place])
            else:
                numbers = [number(row) for row in range(rows)]
                for i in range(columns):
                    w = column(i)
                    for row in range(rows):
                        place = row * columns + i
                        found[place] = v.fma(w, numbers[row], found[place])
        for place, value in zip(places, loop.values, strict=True):
            f.store(value, place)
        f.builder.ret_void()
        return f.function

    def _write(self) -> Any:
        """Write ``product(sums, A, a_row, rows, W, weight_step, steps, count, blocks)``.

        Sums are those of ``count`` blocks of units, block after block, in each row after row, and
        there gate after gate. ``blocks`` of them go into a tile.
        """
        v, gates = self.vectors, self.gates
        kinds = [POINTER, POINTER, I64, I64, POINTER, I64, I64, I64, I64]
        f = Function(v, f"product_{gates}", kinds)
        sums, a, a_row, rows, weight, weight_step, steps, count, blocks = f.function.args
        b = f.builder
        row_step = index(gates * v.lanes)
        sums_step = f.times(rows, row_step)
        with f.loop(f.times(count, sums_step), v.lanes) as loop:
            f.store(v.splat(0.0), sums, loop.at)
        height = index(1)
        for mode in self._modes:
            is_mode = b.icmp_signed("==", blocks, index(mode))
            height = b.select(is_mode, index(self._most_rows(mode)), height)
        # Tiles of heights that differ by 1 at most: none is too low to be fast.
        tiles = b.sdiv(b.sub(f.sum(rows, height), index(1)), height)
        low = b.sdiv(rows, tiles)
        high = b.sub(rows, f.times(low, tiles))  # how many are one higher
        one = b.icmp_signed("==", tiles, index(1))
        of_step = f.times(blocks, row_step, index(v.bytes))
        piece = b.select(one, steps, b.sdiv(index(PIECE), of_step))
        piece = b.select(b.icmp_signed(">", piece, index(0)), piece, index(1))
        with f.loop(count, blocks) as columns, f.loop(steps, piece) as pieces:
            left = b.sub(steps, pieces.at)
            some = b.select(b.icmp_signed("<", left, piece), left, piece)
            panel = f.times(columns.at, weight_step)
            part = f.address(weight, panel, f.times(pieces.at, row_step))
            column = f.times(columns.at, sums_step)
            with f.loop(tiles, values=[index(0)]) as tile:
                (row,) = tile.values
                tall = f.sum(low, b.zext(b.icmp_signed("<", tile.at, high), I64))
                self._switch(
                    f,
                    (blocks, tall),
                    f.address(sums, column, f.times(row, row_step)),
                    sums_step,
                    f.address(a, f.times(row, a_row), pieces.at),
                    *(a_row, part, weight_step, some),
                )
                tile.values = [f.sum(row, tall)]
        b.ret_void()
        return f.function

    def _switch(self, f: Function, size: tuple[Value, Value], *args: Value) -> None:
        """Call the tile of a size."""
        b, (blocks, rows) = f.builder, size
        after = b.append_basic_block()
        switch = b.switch(f.sum(f.times(blocks, index(MOST_ROWS + 1)), rows), after)
        for (of_blocks, of_rows), tile in self._tiles.items():
            case = b.append_basic_block()
            switch.add_case(index(of_blocks * (MOST_ROWS + 1) + of_rows), case)
            b.position_at_end(case)
            b.call(tile, args)
            b.branch(after)
        b.position_at_end(after)


def pack_forward(vectors: Vectors, gates: int) -> None:
    """Write ``pack_forward(out, W, units, inputs)``, of W (gates * units, inputs)."""
    v = vectors
    f = Function(v, "pack_forward", [POINTER, POINTER, I64, I64], public=True)
    out, weight, units, inputs = f.function.args
    b, lanes = f.builder, v.lanes
    last = b.sub(units, index(1))
    with f.loop(units, lanes) as blocks:
        panel = f.address(out, f.times(blocks.at, inputs, index(gates)))
        rows = []  # of W; where there are no more, the last one again, whose sums nobody reads
        for gate in range(gates):
            for lane in range(lanes):
                unit = f.sum(blocks.at, index(lane))
                unit = b.select(b.icmp_signed("<", unit, last), unit, last)
                row = f.sum(f.times(index(gate), units), unit)
                rows.append(f.address(weight, f.times(row, inputs)))
        with f.loop(inputs) as loop:
            for gate in range(gates):
                vector = v.splat(0.0)
                for lane in range(lanes):
                    address = f.address(rows[gate * lanes + lane], loop.at)
                    number = b.load(address, typ=v.number, align=v.bytes)
                    vector = b.insert_element(vector, number, index(lane))
                place = f.times(loop.at, index(gates * lanes))
                f.store(vector, panel, place, index(gate * lanes))
    b.ret_void()


def pack_backward(vectors: Vectors) -> None:
    """Write ``pack_backward(out, W, units, rows)``, of W (rows, units)."""
    v = vectors
    f = Function(v, "pack_backward", [POINTER, POINTER, I64, I64], public=True)
    out, weight, units, rows = f.function.args
    with f.loop(units, v.lanes) as blocks:
        mask = f.first_lanes(f.builder.sub(units, blocks.at))
        panel = f.address(out, f.times(blocks.at, rows))
        with f.loop(rows) as loop:
            vector = f.load(weight, f.times(loop.at, units), blocks.at, mask=mask)
            f.store(vector, panel, f.times(loop.at, index(v.lanes)))
    f.builder.ret_void()
