"""What is measured: sizes of a record, and of a rehearsal."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["NotAvailable", "Save", "Settings"]

Save = Callable[[dict[str, Any]], None]  # keeps what was found so far, if the rest fails


class NotAvailable(Exception):
    """What a stage needs is not on this machine; the message is the reason."""


@dataclass(frozen=True)
class Settings:
    """The sizes of all stages.

    Attributes
    ----------
    rehearse : bool
        Whether the device is the emulated one.
    sizes : tuple of (B, H)
        Of the table of times; as many inputs as units.
    steps : tuple of int
        Of the sequences that are timed; times are divided by it.
    rounds, iterations : int
        Contenders alternate by rounds, in each of which they run at most so often.
    repeats : int
        Operations of one measurement of a single operation.
    """

    rehearse: bool = False
    cells: tuple[str, ...] = ("elman", "gru", "lstm")
    sizes: tuple[tuple[int, int], ...] = (
        *((1, 256), (16, 128), (16, 512), (64, 256)),
        *((64, 512), (64, 1024), (60, 500)),
    )
    steps: tuple[int, ...] = (512, 128)
    rounds: int = 15
    iterations: int = 20
    warm_up: int = 10
    repeats: int = 1000
    nodes: tuple[int, ...] = (512, 1024, 4096)
    barriers: tuple[int, int] = (1000, 11000)
    grid: tuple[int, ...] = (8, 32, 64, 128)  # blocks, which must all fit on the device at once
    threads: int = 256
    spin: int = 20_000_000  # cycles, about 10 ms: what is enqueued meanwhile waits on the device
    agreement: tuple[tuple[int, int, int], ...] = (
        *((1, 1, 256), (37, 16, 128), (64, 64, 512), (64, 60, 500), (128, 33, 65)),
    )


REHEARSAL = Settings(
    rehearse=True,
    sizes=((2, 8),),
    steps=(3, 2),
    rounds=2,
    iterations=2,
    warm_up=1,
    repeats=3,
    nodes=(4,),
    barriers=(1, 3),
    grid=(2, 3),
    threads=32,
    spin=1000,
    agreement=((1, 1, 8), (3, 2, 5)),
)


def of(*, rehearse: bool) -> Settings:
    """Return the settings of a rehearsal, or of a record."""
    return REHEARSAL if rehearse else Settings()
