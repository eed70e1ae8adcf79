"""What the compiled loops are given: the entries of their tables, in order.

Read by who writes the loops and by who calls them; see `llvm_loop`.
"""

from .program import Program

__all__ = [
    "LEAF",
    "LINE",
    "MOST_ROWS",
    "PANEL",
    "PIECE",
    "SUM_FIELDS",
    "TOKEN_FIELDS",
    "backward_fields",
    "blocks_at_a_time",
    "forward_fields",
    "most_blocks",
    "widest",
]

# Of a tile of the recurrent product.
MOST_BLOCKS = 8
MOST_ROWS = 6
FEW_ROWS = 3
# Bytes of a line of the cache, and of the nearest cache what sums may take.
LINE = 64
ROOM = 2**14

# Sizes; the sequences that arrays have, of which ``batch`` are run; +1 or -1; how many blocks of
# units at a time, and in a tile of the product; the size of a row of what is multiplied; room for
# the sums; packed weights.
COMMON = (
    *("steps", "batch", "units", "sequences", "direction", "blocks", "tile", "a_row"),
    *("sums", "weight"),
)


# Of the sums over rows (see `llvm_sums`): the columns of d in a panel, a multiple of the height of
# each tile; rows that are added one after another; and rows whose sums are added to the gradient.
PANEL = 12
LEAF = 48
PIECE = 8 * LEAF
SUM_FIELDS = (
    *("rows", "outputs", "d", "d_row", "bias", "room_d", "room_x", "sums"),
    *(f"{name}.{i}" for i in range(2) for name in ("x", "inputs", "weight")),
)
# Of the sums of each token: ``ends`` has one entry more than there are tokens, 0 at first.
TOKEN_FIELDS = ("tokens", "size", "order", "ends", "d", "sums")


def widest(accumulators: int) -> int:
    """Return how many vectors the widest tile of a gradient has, of at least 6 rows."""
    return _power_of_2(accumulators // 6)


def forward_fields(program: Program, *, scaled: bool) -> tuple[str, ...]:
    """Return the names of what the loop forward reads and writes."""
    return (
        *COMMON,
        *("ax", "bias_ax", "bias_ah"),
        *(f"state.{i}" for i in range(program.states)),  # before the first step; after it, the next
        "stored_step",
        *(f"stored.{i}" for i in range(len(program.stored))),
        *_options(program, scaled),
        *(("scaled",) if scaled else ()),
    )


def backward_fields(program: Program, *, scaled: bool) -> tuple[str, ...]:
    """Return the names of what the loop back reads and writes."""
    return (
        *COMMON,
        *("d_y", "d_y_step", "d_y_row"),
        *(f"state.{i}" for i in range(program.states)),
        *(f"stored.{i}" for i in range(len(program.stored))),
        *_options(program, scaled),
        *(("d_ax",) if program.same else ("d_ax", "d_ah")),
        *(f"d_state.{i}" for i in range(program.states)),
        *(("d_own",) if program.own else ()),
    )


def _options(program: Program, scaled: bool) -> tuple[str, ...]:
    return (
        *(("own",) if program.own else ()),
        *((f"update.{i}" for i in range(program.states)) if program.held else ()),
        *(("scale",) if scaled else ()),
    )


def most_blocks(gates: int, accumulators: int, rows: int = 1) -> int:
    """Return how many blocks a tile of so many rows has, as a power of 2.

    Of few rows as many as there are registers for, so that sums do not wait for each other; of many
    rather fewer, so that more rows use what is loaded of the weights.
    """
    if rows > 2:
        wanted = accumulators // (gates * min(rows, MOST_ROWS))
        wanted = max(wanted, min(2, accumulators // (gates * FEW_ROWS)))
    else:
        wanted = accumulators // (gates * rows)
    return _power_of_2(min(wanted, MOST_BLOCKS))


def blocks_at_a_time(gates: int, rows: int, vector: int, tile: int) -> int:
    """Return for how many blocks there are sums at a time, as a power of 2.

    As many as fit the nearest cache, but so many that their vectors, of so many bytes, fill a line.
    """
    wanted = min(ROOM // (rows * gates * vector), 2 * MOST_BLOCKS)
    return _power_of_2(max(wanted, LINE // vector, tile, 2))


def _power_of_2(most: int) -> int:
    return 1 << max(0, most.bit_length() - 1)
