"""Capture the work of a call on CuPy's arrays in a CUDA graph.

A graph keeps the addresses of all arrays that it reads and writes, so none of its memory may be
given to anyone else: during the capture, arrays come from a pool of its own.
"""

import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import cupy as cp

from .._arrays.namespace import Array

__all__ = ["capture"]


def capture(
    function: Callable[..., Any], arguments: tuple[Any, ...], arrays: list[Array], stream: Any
) -> tuple[Any, Any, Any]:
    """Return the result of a call, its graph, and what owns the memory of both.

    Runs on the current device. The current stream waits for all that is done here.

    Parameters
    ----------
    function : callable
    arguments : tuple
    arrays : list of arrays
        Those among the arguments; they have the same values afterwards.
    stream : cupy.cuda.Stream, optional
        Which one to capture; by default a new one.

    Raises
    ------
    RuntimeError
        If something that ``function`` does cannot be captured.
    """
    memory = _Memory()
    current = cp.cuda.get_current_stream()
    stream = stream or cp.cuda.Stream(non_blocking=True)
    stream.wait_event(current.record())
    with stream, cp.cuda.using_allocator(memory.malloc):
        before = [array.copy() for array in arrays]
        try:
            function(*arguments)  # compiles kernels, and makes what is kept for later calls
        finally:
            for array, values in zip(arrays, before, strict=True):
                array[...] = values
        del before
        result, graph = _captured(function, arguments, stream)
    current.wait_event(stream.record())
    return result, graph, memory


class _Memory:
    """Memory of its own, which lives as long as this object or an array in it.

    Arrays that are gone leave room for others of the same capture. The blocks that they are cut
    from are held, since the pool would free them when memory runs out.
    """

    def __init__(self) -> None:
        self._held: list[Any] = []
        held = self._held

        def more(size: int) -> Any:
            held.append(cp.cuda.Memory(size))
            return cp.cuda.MemoryPointer(held[-1], 0)

        self._pool = cp.cuda.MemoryPool(more)

    def malloc(self, size: int) -> Any:
        """Return a pointer to so many bytes."""
        found = self._pool.malloc(size)
        if not size:
            return found
        owner = (self, found)  # a tuple lets its last entry go first
        memory = cp.cuda.UnownedMemory(found.ptr, size, owner, found.device_id)
        return cp.cuda.MemoryPointer(memory, 0)

    def __del__(self) -> None:
        self._pool.free_all_blocks()  # a pool of CuPy that is gone does not


def _captured(
    function: Callable[..., Any], arguments: tuple[Any, ...], stream: Any
) -> tuple[Any, Any]:
    """Return the result and the graph of a call that has run once without an error."""
    stream.begin_capture()
    try:
        result = function(*arguments)
    except BaseException as error:
        with suppress(RuntimeError):  # if what the call did has spoilt the capture
            stream.end_capture()
        if not isinstance(error, Exception):
            raise
        raise RuntimeError(f"{_CANNOT}, got {_place_of(error)}{_text(error)}") from error
    try:
        return result, stream.end_capture()
    except RuntimeError as error:
        raise RuntimeError(f"{_CANNOT}, got {_text(error)}") from error


_CANNOT = "function: expected work that a CUDA graph can contain"


def _text(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"


def _place_of(error: Exception) -> str:
    """Return the line that has raised an error, of whoever called CuPy."""
    cupy = str(Path(cp.__file__).parent)
    for frame in reversed(traceback.extract_tb(error.__traceback__)):
        of_cupy = frame.filename.startswith(("cupy", cupy))  # the first if it is compiled
        if not of_cupy and frame.filename != __file__:
            return f"{frame.line!r} in {Path(frame.filename).name}, line {frame.lineno}: "
    return ""
