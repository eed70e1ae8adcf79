"""What runs the time loop: Python, or code compiled from the cell's own source.

By default (``"auto"``) a call on NumPy arrays of float32 or float64 is compiled if the model
can be, on x86-64, and llvmlite is installed (``pip install portable-rnn[fast]``). On CuPy arrays
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
"""

from contextlib import AbstractContextManager

from ._arrays import checks as check
from ._arrays.namespace import (
    Namespace,
    is_cupy_namespace,
    is_numpys,
    library_name,
    resolve_namespace,
)
from ._arrays.tracing import whole_sequence
from ._executors.choose import COMPILED_DTYPES, FUSED_DTYPES, NAMES, OF_CUPY, asked, no_compiler
from ._executors.choose import threads as _threads
from ._executors.choose import use as _use
from ._executors.programs import why_not
from .model import RNN

__all__ = ["explain", "use"]


@check.named_options
def use(name: str = "auto", *, threads: int | None = None) -> AbstractContextManager[None]:
    """Run calls with an executor, for the current thread or task.

    Parameters
    ----------
    name : {"auto", "eager", "compiled", "fused", "persistent"}
        With ``"compiled"``, for NumPy's arrays, and ``"fused"``, for CuPy's, a call that cannot be
        run so is refused. ``"persistent"`` runs what has no such kernel, and arrays of other
        libraries, as ``"auto"`` does; no GPU has measured yet which is faster. Arrays of JAX, Dask
        and ndonnx are computed by these libraries, with ``"auto"`` and ``"eager"`` alike.
        Elsewhere, the environment variable ``PORTABLE_RNN_EXECUTOR`` sets the executor.
    threads : int, optional
        Maximum number of threads of compiled loops. None keeps the current number, which is that of
        the environment variable ``PORTABLE_RNN_THREADS``, or 1. Each thread runs some of the
        sequences of a batch, if there is enough work; loops have the same bits for any number of
        threads. With more than one, BLAS is limited to one thread inside, for the whole process.

    Returns
    -------
    context manager

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
