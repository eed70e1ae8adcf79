"""The least time that a step could take, from a device's rates: a model, not a measurement.

A step waits for the one before it, so it costs one synchronisation, and then what is larger of
arithmetic and traffic of its own arrays, and the recurrent weights that do not stay on the chip:

    step = wait + max(2·B·g·H²/P, traffic·B·H·s/M) + max(0, g·H²·s - R)/L

with g blocks of gates, s bytes of a number, P operations a second, M and L bytes a second of memory
and second cache, and R bytes of registers and shared memory. Forward, traffic is g + S numbers: the
projected input is read, and S values are kept (1, 5 and 6 for Elman, GRU and LSTM). Back, the
cotangent of the output is read besides. Forward and backward together are two such steps and four
more products of the same size, for all steps at once (as many inputs as units):

    both = step + step_back + 4·2·B·g·H²/P
"""

from dataclasses import dataclass

__all__ = ["GATES", "H100", "Chip", "floor"]

GATES = {"elman": 1, "gru": 3, "lstm": 4}
KEPT = {"elman": 1, "gru": 5, "lstm": 6}
BYTES = {"float32": 4, "tf32": 4, "bfloat16": 2}


@dataclass(frozen=True)
class Chip:
    """Rates of a device.

    Attributes
    ----------
    operations : dict
        Per second, for each precision.
    memory, cache : float
        Bytes per second.
    resident : float
        Bytes of weights that can stay in registers and shared memory.
    wait : float
        Seconds of one synchronisation.
    """

    operations: dict[str, float]
    memory: float
    cache: float
    resident: float
    wait: float


# bfloat16 and memory as measured on one H100 SXM, float32 nine tenths of its data sheet; the wait
# and the rate of the cache are estimates. TF32 has half the rate of bfloat16.
H100 = Chip(
    {"float32": 60e12, "tf32": 399e12, "bfloat16": 798e12}, 3.0e12, 5.5e12, 30 * 2**20, 1e-6
)


def floor(
    cell: str, batch: int, hidden: int, precision: str, chip: Chip = H100
) -> tuple[float, float]:
    """Return microseconds of a step: forward, and forward and backward.

    Parameters
    ----------
    cell : {"elman", "gru", "lstm"}
    batch, hidden : int
    precision : {"float32", "tf32", "bfloat16"}
    chip : Chip
    """
    gates, size = GATES[cell], BYTES[precision]
    product = 2 * batch * gates * hidden**2 / chip.operations[precision]
    moved = batch * hidden * size / chip.memory
    absent = max(0.0, gates * hidden**2 * size - chip.resident) / chip.cache
    forward, back = (
        chip.wait + max(product, traffic * moved) + absent
        for traffic in (gates + KEPT[cell], gates + KEPT[cell] + 1)
    )
    return 1e6 * forward, 1e6 * (forward + back + 4 * product)
