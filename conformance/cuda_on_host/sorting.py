"""What CuPy has from Thrust, which is compiled for GPUs: sorting, here by NumPy on the same memory.

It runs when it is called, after all that is enqueued on the current stream, which is one of the
orders that a device may choose; in a capture, whenever the graph does.
"""

import ctypes
from collections.abc import Callable, Sequence
from typing import Any

__all__ = ["replace_thrust"]


_RUN = ctypes.CFUNCTYPE(None)
_captured: list[Any] = []  # a graph holds pointers to them


def replace_thrust(core: Any) -> None:
    """Replace the functions of CuPy's module by those of this one."""
    import cupy
    import numpy as np
    from cupy.cuda import thrust

    def run(name: str, work: Callable[[], None]) -> None:
        stream = cupy.cuda.get_current_stream()
        where = name.encode(), ctypes.c_void_p(stream.ptr)
        if stream.is_capturing():
            _captured.append(_RUN(work))
            core.host_run_captured(*where, _captured[-1])
        else:
            core.host_run_now(*where)
            work()

    def sort(dtype: Any, data: int, keys: int, shape: Sequence[int]) -> None:
        shape = tuple(shape)
        run("thrust sort", lambda: _at(data, dtype, shape).sort(axis=-1, kind="stable"))

    def argsort(dtype: Any, index: int, data: int, keys: int, shape: Sequence[int]) -> None:
        shape = tuple(shape)

        def work() -> None:
            order = np.argsort(_at(data, dtype, shape), axis=-1, kind="stable")
            _at(index, np.intp, shape)[...] = order

        run("thrust argsort", work)

    def lexsort(dtype: Any, index: int, keys: int, count: int, size: int) -> None:
        def work() -> None:
            _at(index, np.intp, (size,))[...] = np.lexsort(_at(keys, dtype, (count, size)))

        run("thrust lexsort", work)

    thrust.sort, thrust.argsort, thrust.lexsort = sort, argsort, lexsort


def _at(pointer: int, dtype: Any, shape: Sequence[int]) -> Any:
    """Return the memory at a pointer as an array of NumPy."""
    import numpy as np  # not above: the rows are read where it is not installed

    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = (ctypes.c_char * size).from_address(pointer) if size else b""
    return np.frombuffer(memory, dtype=dtype).reshape(tuple(shape))
