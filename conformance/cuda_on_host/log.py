"""What reaches the emulated device."""

import ctypes
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from .install import State, device
from .install import settings as _settings

__all__ = ["Log", "failure", "memory_check", "settings"]

_HOOK = ctypes.CFUNCTYPE(
    None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_long, ctypes.c_void_p, ctypes.c_int
)
_open: list[Any] = []  # hooks of logs; the innermost counts
# What is executed on a stream.
ON_STREAM = ("launch", "cooperative launch", "gemm", "memset", "d2d", "graph")


class Log:
    """Count what reaches the device, inside a ``with``.

    Parameters
    ----------
    root : str
        A part of the paths of the files whose lines are noted for what costs a wait: transfers and
        synchronisations.

    Attributes
    ----------
    counts : Counter
        Of "launch", "cooperative launch", "gemm", "memset", "d2d", "h2d", "d2h", "p2p", "sync",
        "query", "wait", "record", "malloc", "free", "hostalloc", "stream", "graph".
    kernels : Counter
        Launches by the name of the kernel.
    bytes : Counter
        Of what has a size.
    streams, devices : Counter
        Where operations were enqueued: pointers (None for the null stream), and numbers.
    lines : Counter
        Where transfers and synchronisations come from.
    """

    def __init__(self, root: str = "portable_rnn") -> None:
        self.root = root
        self.counts: Counter[str] = Counter()
        self.kernels: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.streams: Counter[int | None] = Counter()
        self.devices: Counter[int] = Counter()
        self.lines: Counter[str] = Counter()

    @property
    def operations(self) -> int:
        """How many operations were enqueued."""
        return sum(self.counts[kind] for kind in ON_STREAM)

    @property
    def waits(self) -> dict[str, int]:
        """What makes the host wait for the device, or moves memory between them; {} if nothing."""
        kinds = ("h2d", "d2h", "sync", "query")
        return {kind: self.counts[kind] for kind in kinds if self.counts[kind]}

    def _note(self, kind: bytes, name: bytes, size: int, stream: int | None, number: int) -> None:
        what = kind.decode()
        self.counts[what] += 1
        self.bytes[what] += size
        if what in ON_STREAM:
            self.streams[stream] += 1
            self.devices[number] += 1
        if "launch" in what:
            self.kernels[name.decode()] += 1
        if what in ("h2d", "d2h", "sync"):
            self.lines[f"{what}: {self._caller()}"] += 1

    def _caller(self) -> str:
        frame: FrameType | None = sys._getframe(2)
        found: list[str] = []
        while frame is not None:
            if self.root in frame.f_code.co_filename:
                name = frame.f_code.co_filename.rpartition("/")[2]
                found.append(f"{name}:{frame.f_lineno}")
            frame = frame.f_back
        return " < ".join(found[:4])

    def __enter__(self) -> "Log":
        self._hook = _HOOK(self._note)
        _open.append(self._hook)
        device().host_hook(self._hook)
        return self

    def __exit__(self, *error: object) -> None:
        _open.remove(self._hook)
        device().host_hook(_open[-1] if _open else _HOOK())


@contextmanager
def settings(*, lazy: bool = False, dry: bool = False, peers: bool = False) -> Iterator[None]:
    """Change how the device behaves.

    Parameters
    ----------
    lazy : bool
        Whether operations run only when something waits for them, or at random before.
    dry : bool
        Whether nothing is computed: what remains is the work of the host.
    peers : bool
        Whether each device can read the memory of the others.

    Raises
    ------
    RuntimeError
        At the end, if something failed and nobody has been told, or memory was written where
        nobody may.
    """
    before = State.settings
    _settings(devices=State.devices, lazy=lazy, dry=dry, peers=peers)
    try:
        yield
    except BaseException:
        memory_check()
        raise
    else:
        if wrong := memory_check():
            raise RuntimeError(wrong)
    finally:
        _settings(devices=State.devices, **before)


def failure() -> str:
    """Return the first failure of an operation, and forget it; "" if there was none."""
    text = device().host_failure().decode()
    device().host_forget_failure()
    return text


def memory_check() -> str:
    """Run all that is enqueued, and return what was written where nobody may; "" if nothing was."""
    wrong = device().host_check_memory()
    text = failure()  # without a failure, why some call was refused
    return text if wrong else ""
