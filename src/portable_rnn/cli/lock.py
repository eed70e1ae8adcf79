"""One process at a time in the folder of a run."""

from contextlib import AbstractContextManager
from pathlib import Path

from .._files.locks import hold

__all__ = ["LOCK", "locked"]

LOCK = ".lock"


def locked(folder: Path) -> AbstractContextManager[None]:
    """Hold the lock of a folder.

    Raises
    ------
    ValueError
        If another process holds it.
    """
    return hold(
        folder / LOCK,
        f"out: another process is training in {folder}; wait for it, or use another --out",
    )
