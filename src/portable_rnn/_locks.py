"""One process at a time, by a lock of the operating system.

The system releases it when the process ends, however that happens: a file that is left behind by
kill -9 locks nobody out.
"""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

__all__ = ["hold"]

_HELD: set[int] = set()


@contextmanager
def hold(path: Path, message: str) -> Iterator[None]:
    """Hold the lock that is the file ``path``, made for it and removed after it.

    Raises
    ------
    ValueError
        With ``message``, if another process holds it, or this one does already.
    """
    while True:
        held = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            _lock(held)
        except BlockingIOError:
            os.close(held)
            raise ValueError(message) from None
        # The one before may have taken the file away between the two lines above.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(held), os.stat(path)):
                break
        os.close(held)
    _HELD.add(held)
    try:
        yield
    finally:
        if held in _HELD:  # not so in a process that was forked meanwhile
            _HELD.remove(held)
            if os.name == "posix":  # elsewhere no file that is open can be removed
                path.unlink(missing_ok=True)
            os.close(held)


def _release_in_child() -> None:
    """Release what a process that was forked has of its parent's locks.

    It would hold them too, and longer than the parent if that is killed.
    """
    for held in _HELD:
        os.close(held)
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)


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
