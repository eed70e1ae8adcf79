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
    """Return the graph of a call, its result, and what owns the memory of the graph.

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
    allocate, owner = _private_memory()
    current = cp.cuda.get_current_stream()
    stream = stream or cp.cuda.Stream(non_blocking=True)
    stream.wait_event(current.record())
    with stream, cp.cuda.using_allocator(allocate):
        before = [array.copy() for array in arrays]
        function(*arguments)  # compiles kernels, and makes what is kept for later calls
        for array, values in zip(arrays, before, strict=True):
            array[...] = values
        del before
        graph, result = _captured(function, arguments, stream)
    current.wait_event(stream.record())
    return graph, result, owner


def _private_memory() -> tuple[Callable[[int], Any], Any]:
    """Return an allocator, and what has to live as long as its memory is in use."""
    held: list[Any] = []

    def more(size: int) -> Any:
        held.append(cp.cuda.Memory(size))
        return cp.cuda.MemoryPointer(held[-1], 0)

    pool = cp.cuda.MemoryPool(more)
    return pool.malloc, (pool, held)


def _captured(
    function: Callable[..., Any], arguments: tuple[Any, ...], stream: Any
) -> tuple[Any, Any]:
    """Return the graph and the result of a call that has run once without an error."""
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
        return stream.end_capture(), result
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
