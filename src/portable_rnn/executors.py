"""What runs the time loop: Python, or machine code that is made from the cell's own source.

By default (``"auto"``) a call on NumPy's arrays of float32 or float64 is compiled where the model
can be, on x86-64, and llvmlite is installed (``pip install portable-rnn[fast]``); all else is
``"eager"``, the loop in Python, and arrays that JAX traces go through ``jax.lax.scan``. Results of
both agree to rounding, and each gives the same bits again for the same call.

The first call of a cell takes a second or two, in which its code is made; the logger
``portable_rnn`` says so at level INFO. Code is kept for later processes in the user's folder of
caches, or in what the environment variable ``PORTABLE_RNN_CACHE`` names.

A cell of one's own is compiled too, if it is pointwise by unit. It is then called on symbols: what
it does besides computing, such as printing, it does at that time alone. One that changes what it
holds as it is called is left to Python.
"""

from contextlib import AbstractContextManager

from ._arrays import checks as check
from ._executors.choose import COMPILED_DTYPES, NAMES, asked, no_compiler
from ._executors.choose import use as _use
from .model import RNN

__all__ = ["explain", "use"]


def use(name: str) -> AbstractContextManager[None]:
    """Have calls served by an executor, for the current thread or task.

    Parameters
    ----------
    name : {"auto", "eager", "compiled"}
        With ``"compiled"``, a call that cannot be compiled is refused. Arrays of JAX, Dask and
        ndonnx are computed with as these libraries do, whether ``"auto"`` or ``"eager"``. The
        environment variable ``PORTABLE_RNN_EXECUTOR`` says what is used elsewhere.

    Returns
    -------
    context manager

    Raises
    ------
    TypeError, ValueError
        If there is none of that name.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=3, hidden_size=5)
    >>> with prnn.executors.use("eager"):
    ...     print(prnn.executors.explain(model))
    eager: asked for by name
    """
    return _use(check.choice("name", name, NAMES))


@check.named_options
def explain(model: RNN, dtype: str = "float32") -> str:
    """Say what runs a model on NumPy's arrays, and if it is not compiled, why.

    Parameters
    ----------
    model : RNN
    dtype : str
        Name of the dtype of the arrays.

    Returns
    -------
    str
        Begins with ``"compiled"``, ``"eager"``, or, where it is asked for by name and cannot be
        compiled, ``"refused"``.

    Raises
    ------
    TypeError, ValueError
        If ``model`` is no RNN, or ``dtype`` none that an array may have.

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
    if name == "eager":
        return "eager: asked for by name"
    other = "refused" if name == "compiled" else "eager"
    if dtype not in COMPILED_DTYPES:
        return f"{other}: only {' and '.join(COMPILED_DTYPES)} are compiled, not {dtype}"
    if reason := no_compiler(name == "compiled"):
        return f"{other}: {reason}"
    from ._executors.compiled import why_not
    from ._executors.llvm_target import host

    if reason := why_not(model.recurrences[0]):
        return f"{other}: {reason}"
    return f"compiled: for {host().cpu}, vectors of {host().bits} bits"
