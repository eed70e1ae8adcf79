"""Locks of the operating system, for one process at a time.

The system releases a lock however its process ends: a file that is left behind by kill -9 blocks
nobody. If the file system or the operating system has no locks, only threads of one process block
each other.
"""

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .atomic import naming

__all__ = ["hold"]

_HELD: set[int] = set()  # descriptors of files that are locked, or about to be
# Files held without locks, by device and inode, with their descriptors.
_HELD_WITHOUT_LOCK: dict[tuple[int, int], int] = {}
# Errors of systems without locks, or without locks on this file system.
_NO_LOCKS = (errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EINVAL)
_REMOVES_OPEN_FILES = os.name == "posix"


@contextmanager
def hold(path: Path, message: str) -> Iterator[None]:
    """Hold a lock on the file ``path``, which is created for it and removed after it.

    Raises
    ------
    ValueError
        With ``message``, if this or another process already holds it.
    OSError
        If the file cannot be created or locked; the error names it.
    """
    path = path.absolute()  # a relative one names another file after os.chdir
    while (held := _open_and_lock(path, message)) is None:
        pass
    try:
        yield
    finally:
        if held in _HELD:  # not in a process that was forked meanwhile
            _release(held, path)


def _open_and_lock(path: Path, message: str) -> int | None:
    """Return the descriptor of the file, locked; None if its holder has just removed it."""
    with naming(path):
        held = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        _HELD.add(held)
        locked = False
        try:
            _lock(held)
            locked = _is_at(held, path)
        except BlockingIOError:
            raise ValueError(message) from None
        finally:
            if not locked:
                _close(held)
    return held if locked else None


def _is_at(held: int, path: Path) -> bool:
    """Return whether an open file is still the one at ``path``."""
    try:
        return os.path.samestat(os.fstat(held), os.stat(path))
    except FileNotFoundError:
        return False


def _release(held: int, path: Path) -> None:
    """Remove the file, if it still exists, and release its lock; ignore all errors of the system.

    A run's result must not be lost because a file cannot be removed.
    """
    try:
        if _REMOVES_OPEN_FILES:  # before another process can lock it
            with suppress(OSError):
                if _is_at(held, path):
                    path.unlink()
    finally:
        _close(held)
    if not _REMOVES_OPEN_FILES:  # a file that another process has opened meanwhile stays
        with suppress(OSError):
            path.unlink()


def _close(held: int) -> None:
    try:
        for file, other in list(_HELD_WITHOUT_LOCK.items()):
            if other == held:
                del _HELD_WITHOUT_LOCK[file]
    finally:
        with suppress(OSError):
            os.close(held)
        _HELD.discard(held)


def _lock(held: int) -> None:
    """Lock an open file, or raise BlockingIOError."""
    try:
        _lock_by_system(held)
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        found = os.fstat(held)
        # Atomic: no other thread can run in between.
        if _HELD_WITHOUT_LOCK.setdefault((found.st_dev, found.st_ino), held) != held:
            raise BlockingIOError(errno.EAGAIN, "held by this process") from None


def _release_in_child() -> None:
    """Release the parent's locks in a forked process.

    It would hold them too, and longer than the parent if that is killed.
    """
    for held in _HELD:
        with suppress(OSError):
            os.close(held)
    _HELD.clear()
    _HELD_WITHOUT_LOCK.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_release_in_child)


if sys.platform == "win32":
    import msvcrt

    def _lock_by_system(held: int) -> None:
        try:
            msvcrt.locking(held, msvcrt.LK_NBLCK, 1)
        except PermissionError as error:
            raise BlockingIOError(*error.args) from None

else:
    try:
        import fcntl
    except ImportError:  # in WebAssembly

        def _lock_by_system(held: int) -> None:
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    else:

        def _lock_by_system(held: int) -> None:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
