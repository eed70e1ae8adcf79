"""The library, dtype and device that arrays belong to.

The only module that imports array-api-compat. Everything else receives the namespace
``xp`` found here and calls the array API standard on it, so no other line of the
calculus knows whose arrays it is working on.
"""

import functools
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, ParamSpec, TypeAlias, TypeVar

from array_api_compat import array_namespace as _array_namespace
from array_api_compat import device as _device
from array_api_compat import (
    is_array_api_obj,
    is_array_api_strict_namespace,
    is_cupy_array,
    is_cupy_namespace,
    is_dask_array,
    is_dask_namespace,
    is_jax_namespace,
    is_ndonnx_namespace,
    is_numpy_array,
    is_numpy_namespace,
    is_pydata_sparse_array,
    is_torch_array,
)

from .scalars import as_array_remedy, said

__all__ = [
    "DTYPES",
    "PLAIN",
    "Array",
    "Namespace",
    "check_namespace",
    "compile_step",
    "detached",
    "device_of",
    "dtype_name",
    "is_array",
    "is_numpys",
    "is_positive",
    "is_traced",
    "library_name",
    "make_static",
    "namespace_of",
    "nan_where",
    "on_host",
    "read_flag",
    "real_part",
    "resolve_namespace",
    "same_device",
    "uncompilable_argument",
    "use_namespace",
    "whole_sequence",
    "with_device_of_arguments",
]

# The standard has no runtime type for "an array of some conforming library".
Array: TypeAlias = Any
Namespace: TypeAlias = Any

# What the calculus is written for. NumPy has wider ones, which no other library has, and the
# narrow ones of 8 bits hold no sums.
DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")

P = ParamSpec("P")
R = TypeVar("R")

is_array = is_array_api_obj

_chosen: ContextVar[Namespace | None] = ContextVar("portable_rnn_namespace", default=None)
# The namespaces of types whose arrays are all of one; asking array-api-compat takes longer.
_known: dict[type, Namespace] = {}
# The type of NumPy's own arrays, once one was seen, and their namespace. They live together, on the
# host, and what a function of that namespace does at length, a method does at once.
PLAIN: dict[type, Namespace] = {}
_static: set[type] = set()
_names: dict[Any, str] = {}  # of dtypes, which NumPy makes anew each time it is asked


@contextmanager
def use_namespace(xp: Namespace) -> Iterator[None]:
    """Compute with ``xp`` where arrays would name another namespace as their own.

    For array libraries that need an adapter, and for trying out changed functions on the arrays
    of an existing one. Holds for the current thread or task.

    Parameters
    ----------
    xp : module
        Has the functions of the array API standard, for the arrays that will be passed.

    Returns
    -------
    context manager

    Raises
    ------
    TypeError
        On entering, if ``xp`` is no such module.

    Examples
    --------
    >>> import types
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=1, hidden_size=1, bias=False)
    >>> one = np.ones((1, 1))
    >>> linear = types.ModuleType("linear")
    >>> vars(linear).update(vars(np), tanh=lambda a: a)
    >>> params = {"weight_ih_l0": one, "weight_hh_l0": one}
    >>> with prnn.use_namespace(linear):
    ...     print(prnn.predict(model, params, np.ones((2, 1))).T)
    [[1. 2.]]
    """
    check_namespace(xp)
    token = _chosen.set(xp)
    try:
        yield
    finally:
        _chosen.reset(token)


def check_namespace(xp: Any) -> None:
    """Check that ``xp`` is a namespace of functions of arrays."""
    if not callable(getattr(xp, "matmul", None)):
        wanted = "a namespace with the functions of the standard"
        raise TypeError(f"xp: expected {wanted}, got {said(xp)}")


def device_of(array: Array) -> Any:
    """Return the device of an array; None if traced, or of a library that has only one."""
    if type(array) in PLAIN:
        return "cpu"
    try:
        return _device(array)
    except AttributeError:
        return None


def namespace_of(**arrays: Array) -> Namespace:
    """Return the one namespace that all keyword arguments belong to.

    Raises
    ------
    TypeError
        If an argument is not an array, or if two belong to different libraries.
        The message names the arguments.
    """
    first, found = "", None
    for name, array in arrays.items():
        xp = _home(name, array)
        if found is None:
            first, found = name, xp
        elif xp is not found:
            raise TypeError(
                f"{name}: expected an array of {library_name(found)} like {first}, "
                f"got one of {library_name(xp)}; move it first, nothing is copied silently"
            )
    return found if _chosen.get() is None else _chosen.get()


def _home(name: str, array: Any) -> Namespace:
    """Return the namespace of one array; refuse what is none, or only looks like one."""
    kind = type(array)
    xp = _known.get(kind)
    if xp is not None:
        return xp
    if not is_array(array):
        raise TypeError(
            f"{name}: expected an array of an array API library, "
            f"got {kind.__name__}{as_array_remedy(name, array)}"
        )
    if reason := _unlike_others(name, array):
        raise TypeError(f"{name}: expected an array like any other, got {reason}")
    xp = _array_namespace(array)
    if is_numpy_namespace(xp) or is_cupy_namespace(xp) or is_jax_namespace(xp):
        _known[kind] = xp  # tensors and lazy arrays of one type need not be alike
        if kind is getattr(sys.modules.get("numpy"), "ndarray", None):
            PLAIN[kind] = xp
    return xp


def _unlike_others(name: str, array: Array) -> str:
    """Say what is wrong with an array that does not add and multiply as others do; '' if nothing.

    A masked array would lose its mask, a product of matrices is another one than of arrays, and
    what is sparse has few of the functions. Subclasses that only hold their numbers elsewhere,
    such as ``numpy.memmap``, are arrays like others.
    """
    kind = type(array)
    if is_dask_array(array):
        return _unlike_others(name, array._meta)  # of the kind that its blocks are
    if is_pydata_sparse_array(array):
        return f"a sparse one; give {name}.todense()"
    if is_torch_array(array):
        strided = sys.modules["torch"].strided
        if array.is_nested or kind.__name__ == "MaskedTensor":
            return f"a {kind.__name__ if not array.is_nested else 'nested tensor'}; see ragged.pack"
        return "" if array.layout is strided else f"a sparse one; give {name}.to_dense()"
    if not is_numpy_array(array):
        return ""
    plain: Any = sys.modules["numpy"].ndarray
    own: Any = kind if issubclass(kind, plain) else plain
    if own.__mul__ is plain.__mul__ and own.__array_ufunc__ is plain.__array_ufunc__:
        return ""
    masked = hasattr(array, "filled")
    remedy = f"{name}.filled(...), and what is masked as mask= or weights=" if masked else ""
    return f"{kind.__name__}; give {remedy or f'np.asarray({name})'}"


def resolve_namespace(xp: Namespace) -> Namespace:
    """Return the array API namespace of a module such as ``numpy``, ``torch`` or ``cupy``.

    Raises
    ------
    TypeError
        If ``xp`` is not a module with arrays.
    """
    if xp is not None and xp is _chosen.get():
        return xp
    try:
        return _array_namespace(xp.zeros(1))
    except (AttributeError, TypeError):
        raise TypeError(
            f"xp: expected an array module such as numpy, cupy, torch or jax.numpy, got {said(xp)}"
        ) from None


def library_name(xp: Namespace) -> str:
    """``array_api_compat.torch`` and ``torch`` are both 'torch' to a reader."""
    return str(getattr(xp, "__name__", xp)).removeprefix("array_api_compat.")


def dtype_name(dtype: Any) -> str:
    """Return the standard's name of a dtype: ``float32`` for ``torch.float32`` too."""
    key = (type(dtype), dtype)  # those of two libraries are not to be compared
    try:
        return _names[key]
    except (KeyError, TypeError):  # TypeError: one that cannot be hashed
        pass
    # A NumPy dtype has a name, a NumPy or JAX scalar type a __name__, torch's dtypes neither.
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", str(dtype))
    name = str(name).rsplit(".", 1)[-1]
    with suppress(TypeError):
        _names[key] = name
    return name


def same_device(a: Array, b: Array) -> bool:
    """Tell whether two arrays live together; traced arrays have no device and agree."""
    if type(a) in PLAIN and type(a) is type(b):
        return True
    device_a, device_b = device_of(a), device_of(b)
    return device_a is None or device_b is None or bool(device_a == device_b)


def on_host(array: Array) -> bool:
    """Tell whether a value of ``array`` can be read, and without a device transfer."""
    if type(array) in PLAIN:
        return True
    xp = _array_namespace(array)
    if is_torch_array(array):
        return bool(array.device.type == "cpu")
    if is_jax_namespace(xp):
        return not is_traced(xp, array) and {d.platform for d in array.devices()} == {"cpu"}
    return bool(is_numpy_namespace(xp) or is_array_api_strict_namespace(xp))


def is_numpys(xp: Namespace) -> bool:
    """Tell whether NumPy's arrays are computed with by NumPy's own functions."""
    return bool(is_numpy_namespace(xp)) and _chosen.get() is None


def whole_sequence(xp: Namespace) -> bool:
    """Tell whether time is never cut: lazy libraries optimise one graph, JAX writes into none."""
    return bool(is_jax_namespace(xp) or is_dask_namespace(xp) or is_ndonnx_namespace(xp))


def make_static(xp: Namespace, kind: type) -> None:
    """Tell JAX that objects of a type hold no arrays; ``jax.jit`` may then return them."""
    if is_jax_namespace(xp) and kind not in _static:
        _static.add(kind)
        with suppress(ValueError):  # the caller has told it already
            sys.modules["jax"].tree_util.register_static(kind)


def is_traced(xp: Namespace, *arrays: Array) -> bool:
    """Tell whether any array is a JAX tracer, that is, whether XLA will run the loop."""
    # Whoever hands us a tracer has imported jax, so there is nothing left to import.
    return bool(is_jax_namespace(xp)) and any(
        isinstance(array, sys.modules["jax"].core.Tracer) for array in arrays
    )


def read_flag(array: Array) -> bool | None:
    """Return the truth of an array (); None where it cannot be read, as under ``torch.func.vmap``.

    JAX and torch call the values of arrays that a transformation looks through unreadable each by
    an error of its own.
    """
    try:
        return bool(array)
    except (TypeError, RuntimeError):
        return None


def with_device_of_arguments(f: Callable[P, R]) -> Callable[P, R]:
    """Run ``f`` with the device of its first array argument current, if that is CuPy's.

    CuPy allocates on the current device, whatever device the operands live on. NumPy may be told
    to raise where a number underflows (``np.seterr``); here that is rounding, such as a softmax's
    probability of 1e-50 in float32, which is 0, and no error.
    """

    @functools.wraps(f)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        of_numpy = False
        for arg in (*args, *kwargs.values()):
            array: Any = arg
            if type(arg) not in PLAIN and (type(arg) is dict or isinstance(arg, Mapping)):
                array = next(iter(arg.values()), None)
            if type(array) in PLAIN:
                of_numpy = True
                if array is not arg:  # of parameters: then all others are NumPy's, or refused
                    break
                continue
            if not hasattr(array, "dtype"):
                continue
            if is_cupy_array(array):
                with array.device:
                    return f(*args, **kwargs)
            of_numpy = of_numpy or is_numpy_array(array)
        if of_numpy:
            with sys.modules["numpy"].errstate(under="ignore"):
                return f(*args, **kwargs)
        return f(*args, **kwargs)

    return call


def real_part(xp: Namespace, array: Array) -> Array:
    """Return what decides where a function has pieces: an array, or of a complex one the real part.

    So such a function is analytic on each piece, and complex steps go through it.
    """
    return xp.real(array) if xp.isdtype(array.dtype, "complex floating") else array


def is_positive(xp: Namespace, array: Array) -> Array:
    """Return 1 where (the real part of) ``array`` is above zero, else 0, in its dtype."""
    return xp.astype(real_part(xp, array) > 0, array.dtype)


def nan_where(xp: Namespace, wrong: Array, array: Array) -> Array:
    """Return an array with NaN where ``wrong``, without a NaN anywhere on the way if nowhere is.

    JAX may be told to raise at any NaN (``jax_debug_nans``), and does at one among constants too.
    """
    if is_jax_namespace(xp):
        minus_one = -xp.astype(wrong, real_part(xp, array).dtype)  # or -0, whose root it is
        return array + xp.sqrt(minus_one)
    return xp.where(wrong, xp.full_like(array, float("nan")), array)


def detached(array: Array) -> Array:
    """Return a torch tensor without its autograd graph, and any other array as it is."""
    return array.detach() if is_torch_array(array) else array


def uncompilable_argument(xp: Namespace, value: Any) -> Any:
    """Return the first thing in a value that a function of `compile_step` cannot be given, or None.

    JAX compiles a function of arrays and numbers, in containers that it knows.
    """
    leaves = sys.modules["jax"].tree.leaves(value) if is_jax_namespace(xp) else ()
    taken = (bool, int, float, complex)
    return next((one for one in leaves if not isinstance(one, taken) and not is_array(one)), None)


def compile_step(xp: Namespace, f: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``f`` as one unit of work: JAX compiles it, Dask computes all its results at once.

    Elsewhere ``f`` itself. Dask's arrays stay Dask's, and keep only their values: left lazy, what
    one call hands to the next would hold the graph of every call before it, and each reading of
    a value would compute them all over again.
    """
    if is_jax_namespace(xp):
        jitted: Callable[..., Any] = sys.modules["jax"].jit(f)
        return jitted
    if is_dask_namespace(xp):
        persist = sys.modules["dask"].persist
        return lambda *args: persist(f(*args))[0]
    return f
