"""Atomic writes: after any failure, a file is complete or unchanged."""

import hashlib
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from .._arrays import checks as check

__all__ = [
    "NO_CHECKSUM",
    "hidden",
    "keep_previous",
    "leftovers",
    "naming",
    "previous",
    "write_atomically",
]

# A longer name than this is replaced by its hash in the name of a hidden file.
_MAX_KEPT_BYTES = 100

# The message about a file of this library without a checksum.
NO_CHECKSUM = "has no checksum, so it is damaged, or older than checksums"


def write_atomically(path: str | os.PathLike[str], *data: Any) -> None:
    """Write ``data`` so that ``path`` holds either all of it or its previous content.

    A temporary file next to it is written, flushed to disk and renamed over it, and then the folder
    is flushed: a crash at any moment leaves a complete file, and perhaps a hidden ``.part``.

    Parameters
    ----------
    path : path
        In a folder that exists.
    *data : bytes-like
        Written one after the other.

    Raises
    ------
    TypeError, ValueError
        If ``path`` is not a path, or ``data`` are not bytes-like.
    OSError
        If the file cannot be written; it names ``path``, which is then unchanged.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from portable_rnn.serialization import write_atomically
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder) / "note.txt", b"whole")
    ...     (Path(folder) / "note.txt").read_bytes()
    b'whole'
    """
    path = check.path("path", path)
    for part in data:
        if not _has_bytes(part):
            raise TypeError(f"data: expected bytes, or what has a buffer, got {check.said(part)}")
    if not path.parent.is_dir():  # or the message would name the temporary file
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
    temporary = hidden(path, f"{secrets.token_hex(4)}.part")
    try:
        with naming(path):
            with open(temporary, "wb") as file:
                for part in data:
                    file.write(part)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):  # a name too long for a file is too long here too
            temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def previous(path: Path) -> Path:
    """Return the path at which `keep_previous` keeps a file."""
    return path.with_name(f"{_short(path.name)}.previous")


def keep_previous(path: Path) -> None:
    """Give a file, if there is one, a second name, which it keeps when the first is replaced.

    A crash at any moment leaves both names with a complete file.

    Raises
    ------
    OSError
        If the file system has no second names and no space for a copy; it names the file.
    """
    if not path.exists():
        return
    kept = previous(path)
    temporary = hidden(kept, f"{secrets.token_hex(4)}.part")
    with naming(kept):
        try:
            os.link(path, temporary)
        except OSError:  # not all file systems have second names
            write_atomically(kept, path.read_bytes())
        else:
            os.replace(temporary, kept)
            with suppress(OSError):  # it is still there if both were names of one file
                temporary.unlink()


def _has_bytes(part: Any) -> bool:
    try:
        view = memoryview(part)
    except Exception:  # any object may be given, and raise anything
        return False
    return view.c_contiguous and "O" not in view.format  # O: addresses of objects


def hidden(path: Path, suffix: str) -> Path:
    """Return the path of a hidden file next to another, from its name and a suffix.

    File systems allow names of at most 255 bytes, some of 143. To leave room for the suffix, a long
    name is replaced by its hash.
    """
    return path.with_name(f".{_short(path.name)}.{suffix}")


def _short(name: str) -> str:
    encoded = os.fsencode(name)
    return hashlib.sha256(encoded).hexdigest()[:32] if len(encoded) > _MAX_KEPT_BYTES else name


def leftovers(path: Path) -> Iterator[Path]:
    """Yield the files that `write_atomically` left when it was killed while writing ``path``."""
    ours = re.compile(re.escape(hidden(path, "").name) + r"[0-9a-f]{8}\.part")
    for beside in path.parent.iterdir():
        if ours.fullmatch(beside.name):
            yield beside


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Name a file in errors of the system, which omit it for a full disk."""
    try:
        yield
    except OSError as error:
        if error.errno is None:
            raise type(error)(f"{path}: {error}") from error
        raise OSError(error.errno, error.strerror, str(path)) from error
