"""One process at a time in the folder of a run, by a lock of the operating system.

The system releases it when the process ends, however that happens: a file that is left behind by
kill -9 locks nobody out.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["LOCK", "locked"]

LOCK = ".lock"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder.

    Raises
    ------
    ValueError
        If another process holds it.
    """
    path = folder / LOCK
    while True:
        held = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(held)
        except BlockingIOError:
            os.close(held)
            raise ValueError(
                f"out: another process is training in {folder}; wait for it, or use another --out"
            ) from None
        # The one before may have taken the file away between the two lines above.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(held), os.stat(path)):
                break
        os.close(held)
    try:
        yield
    finally:
        if os.name == "posix":  # elsewhere no file that is open can be removed
            path.unlink(missing_ok=True)
        os.close(held)


if sys.platform == "win32":
    import msvcrt

    def _lock(held: int) -> None:
        try:
            msvcrt.locking(held, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(*error.args) from None

else:
    import fcntl

    def _lock(held: int) -> None:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise
        except OSError:  # a file system without locks
            pass
