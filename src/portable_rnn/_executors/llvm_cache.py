"""Machine code: made of a module in LLVM's language, kept in a folder, and loaded.

A file is named by a hash of all that its code depends on, and begins with one of its content. So a
file that is there and whole is the right one: files are written under another name and then
renamed, two processes that write the same one write the same bytes, and one that is damaged is
made again. Nothing is ever deleted.
"""

import ctypes
import hashlib
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from .._files.atomic import write_atomically
from .llvm_target import Target, binding

__all__ = ["FOLDER", "Code", "folder", "load"]

# Where to keep code; empty for nowhere.
FOLDER = "PORTABLE_RNN_CACHE"
# The sources that code depends on: all that write it, and these.
OTHERS = ("program", "tables")


class Code:
    """Machine code in memory, as long as this object or one of its functions lives."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine

    def function(self, name: str, *arguments: Any) -> Callable[..., None]:
        """Return a function, by the types of its arguments; Python's lock is open while it runs."""
        address = self._engine.get_function_address(name)
        function: Any = ctypes.CFUNCTYPE(None, *arguments)(address)
        function.code = self  # which lives as long as what can call it
        return function  # type: ignore[no-any-return]


def load(subject: str, target: Target, write: Callable[[], str]) -> tuple[Code, bool]:
    """Return the code of a module, from the folder if it is there.

    Parameters
    ----------
    subject : str
        All that the module depends on, besides the sources of this package and the target.
    target : Target
    write : callable
        Return the module; called only if its code is not in the folder.

    Returns
    -------
    Code
    bool
        Whether it was in the folder.
    """
    where = folder()
    path = None if where is None else where / f"{_key(subject, target)}.o"
    made = None if path is None else _read(path)
    if made is not None:
        # What is whole is right, unless the bytes and their hash were both made by someone else.
        return Code(_link(made, target)), True
    made = compile_module(write(), target)
    if path is not None:
        with suppress(OSError):  # a full or read-only disk: then it is made again next time
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_atomically(path, hashlib.sha256(made).digest(), made)
    return Code(_link(made, target)), False


def folder() -> Path | None:
    """Return where code is kept: what ``PORTABLE_RNN_CACHE`` says, or the user's cache."""
    chosen = os.environ.get(FOLDER)
    if chosen is not None:
        return Path(chosen) if chosen else None
    try:
        if sys.platform == "win32":
            local = os.environ.get("LOCALAPPDATA")
            base = Path(local) if local else Path("~/AppData/Local").expanduser()
        elif sys.platform == "darwin":
            base = Path("~/Library/Caches").expanduser()
        else:
            caches = os.environ.get("XDG_CACHE_HOME")
            base = Path(caches) if caches else Path("~/.cache").expanduser()
    except RuntimeError:  # a user without a home
        return None
    return base / "portable-rnn"


def compile_module(text: str, target: Target, *, assembly: bool = False) -> bytes:
    """Return the object code of a module, or the text of it, to be looked at."""
    llvm, machine = binding(), target.machine()
    module = llvm.parse_assembly(text)
    module.triple = target.triple
    module.verify()
    # Loops are written as they are to be: with vectors, and as wide as registers allow.
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_unrolling = options.loop_vectorization = options.slp_vectorization = False
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    if assembly:
        return str(machine.emit_assembly(module)).encode()
    return bytes(machine.emit_object(module))


def _link(made: bytes, target: Target) -> Any:
    llvm = binding()
    empty = llvm.parse_assembly("")
    empty.triple = target.triple
    engine = llvm.create_mcjit_compiler(empty, target.machine())
    engine.add_object_file(llvm.ObjectFileRef.from_data(made))
    engine.finalize_object()
    return engine


def _read(path: Path) -> bytes | None:
    """Return the code in a file; None if there is none, or it is damaged."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    sum_, made = data[:32], data[32:]
    return made if hashlib.sha256(made).digest() == sum_ else None


def _key(subject: str, target: Target) -> str:
    found = hashlib.sha256()
    for part in (_versions(), target.text, subject):
        found.update(part.encode() + b"\0")
    return found.hexdigest()[:40]


@lru_cache(maxsize=1)
def _versions() -> str:
    """Return what made the code: LLVM, and the sources here."""
    llvm = ".".join(map(str, binding().llvm_version_info))
    here = Path(__file__).parent
    files = [*(here / f"{name}.py" for name in OTHERS), *sorted(here.glob("llvm_*.py"))]
    sources = b"".join(file.read_bytes() for file in files)
    return f"{llvm} {hashlib.sha256(sources).hexdigest()}"
