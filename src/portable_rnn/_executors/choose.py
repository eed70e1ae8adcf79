"""Which executor serves a call."""

import os
import platform
import threading
from collections.abc import Iterable, Iterator
from contextlib import nullcontext, suppress
from contextvars import ContextVar
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import Any

from .._arrays import scalars as check
from .._arrays.contexts import reusable
from .._arrays.namespace import (
    Array,
    Namespace,
    dtype_name,
    is_cupy_namespace,
    is_jax_namespace,
    is_numpys,
    is_on_gpu,
    is_traced,
    library_name,
)
from .._arrays.tracing import make_static, whole_sequence
from .base import Executor
from .eager import EAGER, ON_GPU, WHOLE
from .lax import LAX
from .onnx_scan import ONNX_SCAN

__all__ = [
    "COMPILED_DTYPES",
    "NAMES",
    "OF_CUPY",
    "asked",
    "choose",
    "no_compiler",
    "threads",
    "use",
]

NAMES = ("auto", "eager", "compiled", "fused", "persistent")
OF_CUPY = ("fused", "persistent")  # the names that are for its arrays
COMPILED_DTYPES = ("float32", "float64")
FUSED_DTYPES = ("float32", "float64", "float16", "bfloat16")
OLDEST = [0, 46]  # of llvmlite
VARIABLE, THREADS_VARIABLE = "PORTABLE_RNN_EXECUTOR", "PORTABLE_RNN_THREADS"

_asked: ContextVar[str] = ContextVar("portable_rnn_executor")
_threads: ContextVar[int] = ContextVar("portable_rnn_threads")


def threads() -> int:
    """Return how many threads compiled loops may use now."""
    try:
        return _threads.get()
    except LookupError:
        return _threads_by_environment()


def asked() -> str:
    """Return the name of the executor that is asked for now."""
    try:
        return _asked.get()
    except LookupError:
        return _by_environment()


@reusable
def use(name: str, threads: int | None = None) -> Iterator[None]:
    """Have calls served by an executor, of `NAMES`, with some threads; see `executors.use`."""
    of_name, of_threads = _asked.set(name), threads and _threads.set(threads)
    try:
        with _one_blas_thread if threads and threads > 1 else nullcontext():
            yield
    finally:
        _asked.reset(of_name)
        if of_threads:
            _threads.reset(of_threads)


class _OneBlasThread:
    """Limits BLAS to one thread: its threads would wait, busily, where those of loops could run.

    The limit is of the process: the first that enters sets it, and the last that leaves undoes it.
    """

    def __init__(self) -> None:
        self._lock, self._inside = threading.Lock(), 0
        self._limit: Any = None

    def __enter__(self) -> None:
        with self._lock:
            self._inside += 1
            if self._inside == 1:
                with suppress(ImportError):  # the package comes with the extra that compiles
                    self._limit = _blas().limit(limits=1, user_api="blas")

    def __exit__(self, *error: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside and self._limit is not None:
                self._limit.restore_original_limits()
                self._limit = None


_one_blas_thread = _OneBlasThread()


@lru_cache(maxsize=1)
def _blas() -> Any:
    """Return the libraries with threads that are loaded, among them NumPy's BLAS."""
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()


def choose(xp: Namespace, arrays: Iterable[Array], name: str | None = None) -> Executor:
    """Return the executor for a call on these arrays, of a name or of the one that is asked for.

    Raises
    ------
    ValueError
        If an executor was asked for by name, and cannot serve them.
    """
    name = name or asked()
    if name == "persistent" and not is_cupy_namespace(xp):
        name = "auto"
    if name == "eager" and is_numpys(xp):
        return EAGER
    arrays = tuple(arrays)
    reason = _not_by(name, xp, arrays)
    if not reason and is_cupy_namespace(xp):
        return _on_cupy(name)
    if not reason:
        return _compiled(name == "compiled", threads())
    if name not in ("auto", "eager", "persistent"):  # the last one runs the rest as the first does
        raise ValueError(f"executor: {name} was asked for; {reason}")
    if not whole_sequence(xp):
        if is_cupy_namespace(xp) and dtype_name(arrays[0].dtype) == "bfloat16":
            # A number times such an array would be one of float32.
            raise ValueError(f"executor: only fused steps compute with CuPy's bfloat16; {reason}")
        return ON_GPU if is_on_gpu(arrays[0]) else EAGER
    found: Executor = WHOLE
    if is_traced(xp, *arrays):
        found = LAX if is_jax_namespace(xp) else WHOLE if name == "eager" else ONNX_SCAN
    make_static(xp, type(found))  # it stands on the tape, which may leave a compiled function
    return found


def _not_by(name: str, xp: Namespace, arrays: tuple[Array, ...]) -> str:
    """Return why a call on these arrays is run in Python, or by its library; "" if it is not."""
    if name == "eager":
        return "eager was asked for"
    dtypes: tuple[str, ...]
    if name in ("auto", *OF_CUPY) and is_cupy_namespace(xp):
        dtypes, missing = FUSED_DTYPES, ""
    elif name in ("auto", "compiled") and is_numpys(xp):
        dtypes, missing = COMPILED_DTYPES, no_compiler(name == "compiled")
    else:
        whose = "CuPy's" if name in OF_CUPY else "NumPy's"
        computed = library_name(xp)
        return f"it is for {whose} arrays, and these are of {computed}"
    dtype = dtype_name(arrays[0].dtype)
    return missing if dtype in dtypes else f"it is for {' and '.join(dtypes)}, got {dtype}"


@lru_cache(maxsize=2)
def no_compiler(by_name: bool) -> str:
    """Return why nothing can be compiled here; "" if it can.

    Parameters
    ----------
    by_name : bool
        Whether it is asked for by name, and so also where it is not yet the default.
    """
    if find_spec("llvmlite") is None:
        return "llvmlite is not installed: pip install 'portable-rnn[fast]'"
    try:
        found = version("llvmlite")
    except PackageNotFoundError:  # a folder of that name
        return "llvmlite is not installed, though something of that name is"
    if [int(part) for part in found.split(".")[:2]] < OLDEST:
        wanted = ".".join(map(str, OLDEST))
        return f"llvmlite {found} is too old: {wanted} or newer is needed"
    from .llvm_target import Unavailable, host

    try:
        host()
    except Unavailable as reason:
        return str(reason)
    except (OSError, RuntimeError) as error:
        return f"llvmlite does not work here: {error}"
    machine = platform.machine()
    if not by_name and machine.lower() not in ("x86_64", "amd64"):
        return f"on {machine} it is off by default; it runs if asked for by name"
    return ""


@lru_cache(maxsize=16)
def _compiled(by_name: bool, threads: int) -> Executor:
    from .compiled import Compiled  # what it imports, only who compiles needs

    return Compiled(asked=by_name, threads=threads)


@lru_cache(maxsize=4)
def _on_cupy(name: str) -> Executor:
    if name == "persistent":
        from .persistent import Persistent

        return Persistent()
    from .fused import Fused  # CuPy with it

    return Fused(asked=name == "fused")


@lru_cache(maxsize=1)
def _by_environment() -> str:
    return check.choice(VARIABLE, os.environ.get(VARIABLE) or "auto", NAMES)


@lru_cache(maxsize=1)
def _threads_by_environment() -> int:
    given = os.environ.get(THREADS_VARIABLE) or "1"
    return check.count(THREADS_VARIABLE, int(given) if given.isdecimal() else given)
