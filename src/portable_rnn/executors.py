"""What runs the time loop: Python, or code compiled from the cell's own source.

By default (``"auto"``) a call on NumPy arrays of float32 or float64 is compiled if the model
can be, on x86-64, and llvmlite is installed (``pip install 'portable-rnn[fast]'``). On CuPy arrays
each step is one product and one kernel (``"fused"``), compiled by NVRTC; by name, all steps are one
kernel where the weights fit into shared memory (``"persistent"``). All else is ``"eager"``, the
loop in Python, and arrays that JAX traces go through ``jax.lax.scan``. Results of all agree up to
rounding, and each returns the same bits again for the same call.

The first call of a cell takes a second or two to compile; the logger ``portable_rnn`` reports it at
level INFO. Code is kept for later processes in the user's cache folder, or in the folder that the
environment variable ``PORTABLE_RNN_CACHE`` names.

A cell of your own is compiled too, if it is pointwise by unit. It is then called on symbols: other
effects, such as printing, happen only at that time. A cell that changes its own attributes when
called is run in Python.

On CuPy arrays the work of a call, or of several, can be captured in a CUDA graph and launched again
by one call of the driver: see `capture`.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

from ._arrays import checks as check
from ._arrays.devices import device_context, is_captured
from ._arrays.namespace import (
    Array,
    Namespace,
    is_array,
    is_cupy_array,
    is_cupy_namespace,
    is_numpys,
    library_name,
    own_namespace,
    resolve_namespace,
    same_device,
)
from ._arrays.tracing import whole_sequence
from ._executors.choose import COMPILED_DTYPES, FUSED_DTYPES, NAMES, OF_CUPY, asked, no_compiler
from ._executors.choose import threads as _threads
from ._executors.choose import use as _use
from ._executors.programs import why_not
from .model import RNN

__all__ = ["CapturedCall", "capture", "explain", "use"]


@check.named_options
def use(name: str = "auto", *, threads: int | None = None) -> AbstractContextManager[None]:
    """Run calls with an executor, for the current thread or task.

    Parameters
    ----------
    name : {"auto", "eager", "compiled", "fused", "persistent"}
        With ``"compiled"``, for NumPy's arrays, and ``"fused"``, for CuPy's, a call that cannot be
        run so is refused. ``"persistent"`` runs what has no such kernel, and arrays of other
        libraries, as ``"auto"`` does; no GPU has measured yet which is faster. Arrays of JAX, Dask
        and ndonnx are computed by these libraries, with ``"auto"`` and ``"eager"`` alike, but that
        ``"eager"`` unrolls the time loop in a graph of ndonnx. Elsewhere, the environment variable
        ``PORTABLE_RNN_EXECUTOR`` sets the executor.
    threads : int, optional
        Maximum number of threads of compiled loops. None keeps the current number, which is that of
        the environment variable ``PORTABLE_RNN_THREADS``, or 1. Each thread runs some of the
        sequences of a batch, if there is enough work; loops have the same bits for any number of
        threads. With more than one, BLAS is limited to one thread inside, for the whole process.

    Returns
    -------
    context manager
        Can be entered again, also while it is.

    Raises
    ------
    TypeError, ValueError
        If there is no executor of that name, or ``threads`` is not a count, or above 1 with
        ``"eager"``.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=3, hidden_size=5)
    >>> with prnn.executors.use("eager"):
    ...     print(prnn.executors.explain(model))
    eager: asked for by name
    """
    name = check.choice("name", name, NAMES)
    if threads is not None:
        threads = check.count("threads", threads)
        if threads > 1 and name in ("eager", *OF_CUPY):
            raise ValueError(f"threads: expected 1 with the executor {name}, got {threads}")
    return _use(name, threads)


@check.named_options
def explain(model: RNN, dtype: str = "float32", *, xp: Namespace = None) -> str:
    """Return what runs a model on arrays and, if that is the loop in Python, why.

    Parameters
    ----------
    model : RNN
    dtype : str
        Name of the dtype of the arrays.
    xp : module, optional
        The namespace of the arrays, such as ``cupy``; NumPy's by default.

    Returns
    -------
    str
        Begins with ``"compiled"``, ``"fused"``, ``"persistent"``, ``"eager"``, ``"library"`` for
        arrays of JAX, Dask and ndonnx, or ``"refused"`` if calls would be.

    Raises
    ------
    TypeError, ValueError
        If ``model`` is not an RNN, or ``dtype`` is not one that arrays may have.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=3, hidden_size=5, cell="layer_norm_lstm")
    >>> print(prnn.executors.explain(model))  # doctest: +ELLIPSIS
    eager: ...
    """
    if not isinstance(model, RNN):
        raise TypeError(f"model: expected an RNN, got {check.said(model)}")
    dtype = check.named_dtype("dtype", dtype)
    name = asked()
    if xp is not None:
        xp = resolve_namespace(xp)
    if name == "persistent" and (xp is None or not is_cupy_namespace(xp)):
        name = "auto"
    other = "eager" if name in ("auto", "eager") else "refused"
    if xp is not None:
        if whole_sequence(xp):
            if other == "refused":
                return f"refused: {name} is for other arrays than those of {library_name(xp)}"
            return f"library: {library_name(xp)} sees the whole sequence"
        if is_cupy_namespace(xp):
            return _on_cupy(model, dtype, name)
        if not is_numpys(xp):
            return f"{other}: only loops on arrays of NumPy and CuPy are compiled"
    if name == "eager":
        return "eager: asked for by name"
    if name == "fused":
        return "refused: fused is for CuPy's arrays"
    if dtype not in COMPILED_DTYPES:
        return f"{other}: only {' and '.join(COMPILED_DTYPES)} are compiled, not {dtype}"
    if reason := no_compiler(name == "compiled"):
        return f"{other}: {reason}"
    if reason := why_not(model.recurrences[0]):
        return f"{other}: {reason}"
    from ._executors.llvm_target import host

    many = f", {_threads()} threads" if _threads() > 1 else ""
    return f"compiled: for {host().cpu}, vectors of {host().bits} bits{many}"


def _on_cupy(model: RNN, dtype: str, name: str) -> str:
    # CuPy's functions would widen bfloat16.
    other = "refused" if dtype == "bfloat16" or name in ("fused", "compiled") else "eager"
    if name == "eager":
        return f"{other}: asked for by name"
    if name == "compiled":
        return "refused: compiled is for NumPy's arrays"
    if dtype not in FUSED_DTYPES:
        return f"{other}: only {', '.join(FUSED_DTYPES)} are fused, not {dtype}"
    if reason := why_not(model.recurrences[0]):
        return f"{other}: {reason}"
    if name == "persistent":
        return "persistent: one kernel for all steps where the weights fit; elsewhere fused"
    return "fused: one kernel and one product a step"


@dataclass(frozen=True, eq=False, repr=False)
class CapturedCall:
    """A call whose work on a GPU is one CUDA graph; made by `capture`.

    Attributes
    ----------
    function : callable
    arguments : tuple
        What it was called with: write new values into these arrays.
    result : object
        What it has returned when it was captured. Each launch writes its arrays, and nothing else
        of it; before the first, they have no values.
    graph : cupy.cuda.Graph
    memory : object
        What owns the memory of the result and of all that is computed before it. Nobody else is
        given it as long as this object or an array of the result lives.

    Examples
    --------
    >>> from dataclasses import fields
    >>> import portable_rnn as prnn
    >>> [field.name for field in fields(prnn.executors.CapturedCall)]
    ['function', 'arguments', 'result', 'graph', 'memory']
    """

    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    result: Any
    graph: Any
    memory: Any

    @check.named_options
    def launch(self, stream: Any = None) -> Any:
        """Run the graph on what the arguments contain now.

        Parameters
        ----------
        stream : cupy.cuda.Stream, optional
            Where to enqueue it; by default the current one. Nothing waits for it.

        Returns
        -------
        object
            The ``result``.

        Raises
        ------
        TypeError, ValueError
            If ``stream`` is not a stream, or of another device.
        """
        array = next(_arrays_of(self.arguments))
        if stream is not None:
            _check_stream(stream, array)
        with device_context(array):
            self.graph.launch(stream)
        return self.result


@check.named_options
def capture(function: Callable[..., Any], *arguments: Any, stream: Any = None) -> CapturedCall:
    """Capture the work of a call on CuPy arrays in a CUDA graph.

    Each launch of the graph repeats what the call has enqueued, on the same memory: to compute
    with other values, write them into the arrays that were given (``x[...] = batch``). All else
    remains what it was: shapes, lengths that are Python's, options, learning rates that are Python
    numbers, and the executor.

    The function is called twice, on the stream to be captured: once to run, so that kernels are
    compiled, and once to be captured, when nothing runs. Afterwards the arrays among the arguments
    have the values that they had.

    Parameters
    ----------
    function : callable
        It may neither wait for the device nor send anything to it or read anything from it. Its
        work must stay on the current stream, and products of matrices must be of this library:
        CuPy refuses its own (``a @ b``).
    *arguments
        What it is called with: CuPy arrays of one device, at least one, also in dicts, lists,
        tuples and dataclasses; and anything else. For options, give a :func:`functools.partial`.
    stream : cupy.cuda.Stream, optional
        Which stream to capture, by default a new one. Not the null stream.

    Returns
    -------
    CapturedCall

    Raises
    ------
    TypeError
        If ``function`` cannot be called, an array is not CuPy's, there is none, or ``stream`` is
        not a stream.
    ValueError
        If arrays are on several devices, or ``stream`` is the null stream, of another device, or
        is captured already.
    RuntimeError
        If something that the function does cannot be captured: the message quotes its line.

    Notes
    -----
    Nothing waits, and the current stream waits for what is done here. The memory for temporary
    arrays and the result belongs to the returned object. Errors of the first call are its own.

    Examples
    --------
    With CuPy, ``step = prnn.executors.capture(prnn.bptt, model, params, x, targets)``, and for
    each batch ``x[...] = batch``, ``step.launch()``, and ``step.result.grads``.

    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=3, hidden_size=5)
    >>> try:
    ...     prnn.executors.capture(prnn.predict, model, model.init(seed=0), np.zeros((7, 2, 3)))
    ... except TypeError as error:
    ...     print(error)
    arguments: expected CuPy arrays, got one of numpy
    """
    if not callable(function):
        raise TypeError(f"function: expected a callable, got {check.said(function)}")
    arrays = list(_arrays_of(arguments))
    for array in arrays:
        if not is_cupy_array(array):
            raise TypeError(
                f"arguments: expected CuPy arrays, got one of {library_name(own_namespace(array))}"
            )
        if not same_device(array, arrays[0]):
            raise ValueError(
                f"arguments: expected arrays of one device, got {arrays[0].device} and "
                f"{array.device}"
            )
    if not arrays:
        raise TypeError("arguments: expected at least one CuPy array, got none")
    from ._executors.cuda_graph import capture as captured  # CuPy with it

    with device_context(arrays[0]):
        _check_capture(stream, arrays[0])
        return CapturedCall(function, arguments, *captured(function, arguments, arrays, stream))


def _arrays_of(value: Any) -> Iterator[Array]:
    """Yield the arrays in a value, which may be nested."""
    if is_array(value):
        yield value
    elif isinstance(value, Mapping):
        yield from _arrays_of(tuple(value.values()))
    elif isinstance(value, (tuple, list)):
        for each in value:
            yield from _arrays_of(each)
    elif is_dataclass(value) and not isinstance(value, type):
        for field in fields(value):
            yield from _arrays_of(getattr(value, field.name))


def _check_stream(stream: Any, array: Array) -> None:
    """Check that a stream is one of CuPy's, of the device of an array."""
    if not (hasattr(stream, "ptr") and hasattr(stream, "begin_capture")):
        raise TypeError(f"stream: expected a cupy.cuda.Stream, got {check.said(stream)}")
    if stream.device_id not in (-1, array.device.id):
        raise ValueError(
            f"stream: expected one of device {array.device.id} like the arrays, got one of device "
            f"{stream.device_id}"
        )


def _check_capture(stream: Any, array: Array) -> None:
    """Check that a stream of the current device can be captured."""
    if is_captured():
        raise ValueError(
            "stream: expected a current stream that is not captured already; call the function "
            "itself, which is captured as well"
        )
    if stream is None:
        return
    _check_stream(stream, array)
    if stream.ptr in (0, 1):
        raise ValueError("stream: expected one that can be captured, got the null stream")
    if stream.is_capturing():
        raise ValueError("stream: expected one that is not captured already")
