"""How a layer is shared out among the blocks of a persistent kernel, if its weights fit.

A group of C blocks holds all rows of the recurrent weight, each block those of U units, in shared
memory for all steps; it runs BT of the sequences. Groups know nothing of each other.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from .cuda_product import SIZES, Tile, tile
from .program import Program

__all__ = ["Limits", "Plan", "plan", "why_not"]

CLUSTERS = (2, 4, 8)  # blocks of a cluster, on every device that has clusters
ITEMS = 4  # units of a thread in a step, whose numbers are held in registers
SUMS = 64  # registers of a thread for sums of tensor cores
RESERVED = 1024  # bytes of shared memory that the system takes of each block


@dataclass(frozen=True)
class Limits:
    """What a device has.

    Attributes
    ----------
    capability : int
        10 times the compute capability: 90 of 9.0.
    multiprocessors : int
    shared_per_block : int
        Bytes of shared memory that a block may have, when it asks for it.
    shared_per_multiprocessor : int
    threads_per_multiprocessor : int
    """

    capability: int = 90
    multiprocessors: int = 132
    shared_per_block: int = 227 << 10
    shared_per_multiprocessor: int = 228 << 10
    threads_per_multiprocessor: int = 2048

    def resident(self, threads: int, shared: int) -> int:
        """Return how many blocks the device runs at once, by the plan's own reckoning.

        Registers are those that ``__launch_bounds__`` of one block leaves: a multiprocessor has
        65,536.
        """
        each = min(
            self.shared_per_multiprocessor // (shared + RESERVED),
            self.threads_per_multiprocessor // threads,
            max(1, 65536 // (threads * 255)),
        )
        return self.multiprocessors * each


@dataclass(frozen=True)
class Plan:
    """How a layer is run.

    Attributes
    ----------
    dtype : str
    gates, units, batch : int
        Of the layer: G, H and B.
    blocks : int
        C, of a group.
    block_units : int
        U; the last blocks may have fewer.
    sequences : int
        BT, of a group.
    threads : int
        Of a block.
    barrier : {"block", "cluster", "global"}
    padded : int
        H filled up with zeros, as rows in shared memory are.
    chunk : int
        Of how many gates a block has the cotangents in shared memory at a time.
    forward, backward : Tile
        Of the products of a step.
    cycles : float
        An estimate for a step forward and back, by which plans are ranked; no measurement.
    """

    dtype: str
    gates: int
    units: int
    batch: int
    blocks: int
    block_units: int
    sequences: int
    threads: int
    barrier: str
    padded: int
    chunk: int
    forward: Tile
    backward: Tile
    cycles: float

    @property
    def groups(self) -> int:
        """How many groups of sequences there are."""
        return math.ceil(self.batch / self.sequences)

    @property
    def grid(self) -> int:
        """Blocks of a launch."""
        return self.groups * self.blocks

    @property
    def items(self) -> int:
        """Units of a thread in a step, over all of its sequences."""
        return math.ceil(self.sequences * self.block_units / self.threads)

    def strides(self, *, back: bool) -> tuple[int, int]:
        """Return the numbers from row to row in shared memory: of weights, and of sequences."""
        each = self.backward if back else self.forward
        columns = (self.gates, self.chunk) if back else (1, 1)
        weights, rows = (each.stride(count * self.padded, self.dtype) for count in columns)
        return weights, rows

    def shared(self, *, back: bool) -> int:
        """Return the bytes of shared memory of a block."""
        each, size = (self.backward if back else self.forward), SIZES[self.dtype]
        weights, rows = self.strides(back=back)
        sums = each.parts * self.sequences * each.padded * max(4, size)
        return (each.padded * weights + self.sequences * rows) * size + sums + 16


def why_not(program: Program, batch: int, units: int, dtype: str, limits: Limits) -> str:
    """Return why a layer has no persistent kernel; "" if it has one."""
    found = plan(program, batch, units, dtype, limits)
    return found if isinstance(found, str) else ""


def plan(
    program: Program,
    batch: int,
    units: int,
    dtype: str,
    limits: Limits,
    *,
    blocks: int = 0,
    sequences: int = 0,
    threads: int = 0,
    barrier: str = "",
) -> Plan | str:
    """Return the plan that is estimated to take the shortest time, or why there is none.

    The number of steps is not asked for: it changes nothing.

    Parameters
    ----------
    program : Program
    batch, units : int
        B and H.
    dtype : {"float32", "float64", "float16", "bfloat16"}
    limits : Limits
    blocks, sequences, threads : int
        C, BT, and threads of a block; 0: of all that can be chosen.
    barrier : {"", "block", "cluster", "global"}
        The kind of barrier; by default one that suits.
    """
    if dtype not in SIZES:
        return f"there is no arithmetic of {dtype} for it"
    if SIZES[dtype] == 2 and limits.capability < 80:
        return f"products of {dtype} need compute capability 8.0, and this device has less"
    if not (batch and units):
        return "there is nothing to compute"
    if _weight(program, dtype, units, limits.multiprocessors) > limits.shared_per_block:
        size = program.gates * units * units * SIZES[dtype]
        return f"its recurrent weight of {size:,} bytes does not fit into shared memory"
    found = [
        one
        for one in _candidates(program, batch, units, dtype, limits, (blocks, sequences, threads))
        if one.barrier == (barrier or one.barrier) and _fits(one, limits)
    ]
    if not found:
        return f"no grid for {batch} sequences of {units} units can be on this device at once"
    return min(found, key=lambda one: one.cycles)


def _weight(program: Program, dtype: str, units: int, blocks: int) -> int:
    return program.gates * math.ceil(units / blocks) * units * SIZES[dtype]


def _counts(batch: int, units: int, limits: Limits) -> list[int]:
    """Return how many blocks a group may have: powers of 2, and as many as the device has."""
    found = {2**i for i in range(8)}
    for groups in {math.ceil(batch / 2**i) for i in range(6)}:
        if most := limits.multiprocessors // groups:
            found.add(math.ceil(units / math.ceil(units / most)))
    return sorted(found)


def _sizes(
    batch: int, units: int, dtype: str, limits: Limits, asked: tuple[int, int, int]
) -> Iterator[tuple[int, int, int]]:
    """Yield numbers of blocks and sequences of a group, and of threads of a block."""
    blocks, sequences, threads = asked
    counts = [blocks] if blocks else _counts(batch, units, limits)
    # A tile of tensor cores has 8 sequences.
    many = [sequences] if sequences else [8, 16, 32] if SIZES[dtype] == 2 else [1, 2, 4, 8, 16, 32]
    for c, bt in product((c for c in counts if c <= units), many):
        if bt <= 8 or bt < 2 * batch:
            yield from ((c, bt, nt) for nt in ([threads] if threads else [128, 256, 512]))


def _candidates(
    program: Program,
    batch: int,
    units: int,
    dtype: str,
    limits: Limits,
    asked: tuple[int, int, int],
) -> Iterator[Plan]:
    """Yield plans, among them such as do not fit."""
    gates, whole = program.gates, 16 if SIZES[dtype] == 2 else 16 // SIZES[dtype]
    padded = math.ceil(units / whole) * whole
    for c, bt, nt in _sizes(batch, units, dtype, limits, asked):
        if _weight(program, dtype, units, c) > limits.shared_per_block:
            continue
        u = math.ceil(units / c)
        barriers = ["block"] if c == 1 else ["global"]
        if c in CLUSTERS and limits.capability >= 90:
            barriers.append("cluster")
        forward = tile(dtype, gates * u, padded, bt, nt)
        backward = tile(dtype, u, gates * padded, bt, nt)
        for barrier, chunk in product(barriers, sorted({gates, 1})):
            one = Plan(
                dtype=dtype,
                gates=gates,
                units=units,
                batch=batch,
                blocks=c,
                block_units=u,
                sequences=bt,
                threads=nt,
                barrier=barrier,
                padded=padded,
                chunk=chunk,
                forward=forward,
                backward=backward,
                cycles=0.0,
            )
            yield _estimated(one, limits)


def _fits(one: Plan, limits: Limits) -> bool:
    shared = max(one.shared(back=False), one.shared(back=True))
    if shared > limits.shared_per_block or one.items > ITEMS:
        return False
    if SIZES[one.dtype] == 2:
        for each in (one.forward, one.backward):
            items = math.ceil(each.padded // 16 * each.ks / (one.threads // 32))
            if items * one.sequences // 2 > SUMS:
                return False
    # Those that wait for each other must all be there. Clusters need not: they are independent.
    return one.barrier != "global" or one.grid <= limits.resident(one.threads, shared)


def _estimated(one: Plan, limits: Limits) -> Plan:
    """Return the plan with an estimate: products, exchange, barrier, and the cell."""
    barrier = {"block": 60.0, "cluster": 600.0, "global": 1500.0 + 8 * one.blocks}[one.barrier]
    row = one.padded * SIZES[one.dtype] * one.sequences
    # From the cache of the device: some 40 bytes a cycle for a block, and the way there.
    exchange = [600 * one.gates / one.chunk + one.gates * row / 40, 600 + row / 40]
    if one.blocks == 1:
        exchange = [0.0, 0.0]
    cell = 200.0 * one.items
    shared = max(one.shared(back=False), one.shared(back=True))
    resident = max(1, limits.resident(one.threads, shared))
    waves = math.ceil(one.grid / resident)
    # Blocks of one multiprocessor share what it can do, and wait at the same time.
    sharing = math.ceil(min(one.grid, resident) / limits.multiprocessors)
    products = sharing * (one.forward.cycles + one.backward.cycles)
    total = products + sum(exchange) + 2 * (barrier + cell)
    return replace(one, cycles=waves * total)
