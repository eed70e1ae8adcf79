"""Find the library, dtype and device of arrays, and compare those of two arrays.

The only module that imports array-api-compat. Everything else receives the namespace
``xp`` found here and calls the array API standard on it, so no other line of the
calculus depends on the array library.
"""

import sys
from collections.abc import Iterator
from contextlib import suppress
from contextvars import ContextVar
from types import ModuleType
from typing import Any, TypeAlias
from weakref import WeakKeyDictionary

from array_api_compat import array_namespace as own_namespace
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

from .contexts import reusable
from .scalars import as_array_remedy, said, type_name

__all__ = [
    "DTYPES",
    "PLAIN",
    "Array",
    "Namespace",
    "check_array",
    "check_dtype",
    "check_library_and_device",
    "check_like",
    "check_namespace",
    "check_of_namespace",
    "check_shape",
    "check_shaped",
    "conversion",
    "device_of",
    "dtype_name",
    "is_array",
    "is_array_api_strict_namespace",
    "is_cupy_array",
    "is_cupy_namespace",
    "is_dask_namespace",
    "is_jax_namespace",
    "is_ndonnx_namespace",
    "is_numpy_array",
    "is_numpy_namespace",
    "is_numpys",
    "is_on_gpu",
    "is_torch_array",
    "is_traced",
    "library_name",
    "namespace_of",
    "own_namespace",
    "read_flag",
    "resolve_namespace",
    "same_device",
    "use_namespace",
]

# The standard has no runtime type for "an array of some conforming library".
Array: TypeAlias = Any
Namespace: TypeAlias = Any

# The supported dtypes. NumPy has wider ones, which no other library has, and 8-bit ones are too
# narrow for sums.
DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128")

is_array = is_array_api_obj

_chosen: ContextVar[Namespace | None] = ContextVar("portable_rnn_namespace", default=None)
_of_modules: WeakKeyDictionary[ModuleType, Namespace] = WeakKeyDictionary()
# Namespaces of array types that have only one; array-api-compat takes longer.
_known: dict[type, Namespace] = {}
# The type of NumPy's own arrays, once one was seen, and their namespace. All are on the host, and
# their methods are faster than the functions of that namespace.
PLAIN: dict[type, Namespace] = {}
_names: dict[Any, str] = {}  # of dtypes; NumPy builds the name on every access


@reusable
def use_namespace(xp: Namespace) -> Iterator[None]:
    """Compute with ``xp`` instead of the arrays' own namespace.

    For array libraries that need an adapter, and for trying out changed functions on the arrays
    of an existing one. Applies to the current thread or task.

    Parameters
    ----------
    xp : module
        Has the functions of the array API standard, for the arrays that will be passed.

    Returns
    -------
    context manager
        Can be entered again, also while it is.

    Raises
    ------
    TypeError
        On entering, if ``xp`` is not such a module.

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
    """Check that ``xp`` is a namespace of array functions."""
    if not callable(getattr(xp, "matmul", None)):
        wanted = "a namespace with the functions of the standard"
        raise TypeError(f"xp: expected {wanted}, got {said(xp)}")


def device_of(array: Array) -> Any:
    """Return the device of an array; None if it is traced or its library has only one."""
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
    """Return the namespace of one array; refuse non-arrays, and arrays unlike others."""
    kind = type(array)
    xp = _known.get(kind)
    if xp is not None:
        return xp
    if not is_array(array):
        raise TypeError(
            f"{name}: expected an array of an array API library, "
            f"got {type_name(array)}{as_array_remedy(name, array)}"
        )
    if reason := _unlike_others(name, array):
        raise TypeError(f"{name}: expected an array like any other, got {reason}")
    xp = own_namespace(array)
    if is_numpy_namespace(xp) or is_cupy_namespace(xp) or is_jax_namespace(xp):
        _known[kind] = xp  # torch tensors and lazy arrays of one type may differ
        if kind is getattr(sys.modules.get("numpy"), "ndarray", None):
            PLAIN[kind] = xp
    return xp


def _unlike_others(name: str, array: Array) -> str:
    """Describe an array that does not add and multiply as others do; return '' if it does.

    A masked array would lose its mask, ``numpy.matrix`` multiplies differently, and sparse arrays
    have few of the functions. Subclasses that only store their numbers elsewhere, such as
    ``numpy.memmap``, are accepted.
    """
    kind = type(array)
    if is_dask_array(array):
        return _unlike_others(name, array._meta)  # an array like its blocks
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
    remedy = f"{name}.filled(...), and the mask as mask= or weights=" if masked else ""
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
        if type(xp) is not ModuleType:
            return own_namespace(xp.zeros(1))
        if xp not in _of_modules:  # an array, on a device, only once
            _of_modules[xp] = own_namespace(xp.zeros(1))
        return _of_modules[xp]
    except (AttributeError, TypeError):
        raise TypeError(
            f"xp: expected an array module such as numpy, cupy, torch or jax.numpy, got {said(xp)}"
        ) from None


def library_name(xp: Namespace) -> str:
    """Return the name of a library for messages: 'torch' for ``array_api_compat.torch`` too."""
    return str(getattr(xp, "__name__", xp)).removeprefix("array_api_compat.")


def dtype_name(dtype: Any) -> str:
    """Return the standard name of a dtype: ``float32`` for ``torch.float32`` too."""
    key = (type(dtype), dtype)  # dtypes of two libraries must not be compared
    try:
        return _names[key]
    except (KeyError, TypeError):  # TypeError: not hashable
        pass
    # A NumPy dtype has a name, a NumPy or JAX scalar type a __name__, a torch dtype neither.
    name = getattr(dtype, "name", None) or getattr(dtype, "__name__", str(dtype))
    name = str(name).rsplit(".", 1)[-1]
    with suppress(TypeError):
        _names[key] = name
    return name


def same_device(a: Array, b: Array) -> bool:
    """Return whether two arrays share a device; arrays without one, such as traced ones, do."""
    if type(a) in PLAIN and type(a) is type(b):
        return True
    device_a, device_b = device_of(a), device_of(b)
    return device_a is None or device_b is None or bool(device_a == device_b)


def is_on_gpu(array: Array) -> bool:
    """Return whether an array is one of CuPy's, or of torch on a CUDA device."""
    if is_cupy_array(array):
        return True
    return bool(is_torch_array(array) and array.device.type == "cuda")


def is_numpys(xp: Namespace) -> bool:
    """Return whether ``xp`` is NumPy's namespace and no other is in use."""
    return bool(is_numpy_namespace(xp)) and _chosen.get() is None


def check_array(name: str, array: Any) -> None:
    """Check that ``array`` is an array of some library."""
    if type(array) not in PLAIN:
        namespace_of(**{name: array})


def check_of_namespace(name: str, array: Any, xp: Namespace) -> Namespace:
    """Check that an array belongs to the library ``xp``; return its namespace."""
    found = namespace_of(**{name: array})
    if xp is not found and resolve_namespace(xp) is not found:
        raise TypeError(
            f"{name}: expected an array of {library_name(xp)} like xp, got one of "
            f"{library_name(found)}"
        )
    return found


def check_shape(name: str, array: Array, shape: tuple[int, ...]) -> None:
    """Check the shape of an array."""
    if array.shape != shape and tuple(array.shape) != shape:
        raise ValueError(f"{name}: expected shape {shape}, got {tuple(array.shape)}")


def check_shaped(
    name: str, array: Any, shape: tuple[int, ...], other_name: str, other: Array
) -> None:
    """Check that an array has a shape, and shares library, dtype and device with another."""
    check_array(name, array)
    check_shape(name, array, shape)
    check_like(name, array, other_name, other)


def check_like(name: str, array: Array, other_name: str, other: Array, remedy: str = "") -> None:
    """Check that two arrays share library, dtype and device.

    ``remedy`` says what to do about a different dtype, if the array should not be converted.
    """
    if type(array) in PLAIN and type(array) is type(other) and array.dtype is other.dtype:
        return
    check_library_and_device(name, array, other_name, other)
    check_dtype(name, array, other_name, other, remedy)


def check_library_and_device(name: str, array: Array, other_name: str, other: Array) -> None:
    """Check that two arrays share library and device."""
    namespace_of(**{other_name: other, name: array})
    # An empty slice of CuPy's is on the current device, and holds nothing.
    empty = is_cupy_array(array) and 0 in array.shape
    if not same_device(array, other) and not empty:
        raise ValueError(
            f"{name}: expected device {device_of(other)} like {other_name}, got {device_of(array)}"
        )


def check_dtype(name: str, array: Array, other_name: str, other: Array, remedy: str = "") -> None:
    if array.dtype != other.dtype:
        wanted, got = dtype_name(other.dtype), dtype_name(array.dtype)
        remedy = f"; {remedy or f'give {conversion(name, array, wanted)}'}"
        if wanted == got:  # NumPy's other byte order
            wanted, got = str(other.dtype), str(array.dtype)
        elif other_name == "params" and got in DTYPES:
            remedy += f", or params of model.init(dtype={got!r})"
        raise TypeError(f"{name}: expected dtype {wanted} like {other_name}, got {got}{remedy}")


def conversion(name: str, array: Array, dtype: str) -> str:
    """Return code that converts an array to a dtype with its library."""
    if hasattr(array, "astype"):
        return f"{name}.astype({dtype!r})"
    library = library_name(namespace_of(**{name: array}))
    return f"{name}.to(torch.{dtype})" if library == "torch" else f"xp.astype({name}, xp.{dtype})"


def is_traced(xp: Namespace, *arrays: Array) -> bool:
    """Return whether any array has no value yet: a tracer of JAX, or one of a graph of ndonnx."""
    if is_jax_namespace(xp):  # whoever passes a tracer has imported jax already
        return any(isinstance(array, sys.modules["jax"].core.Tracer) for array in arrays)
    return bool(is_ndonnx_namespace(xp)) and not all(map(_has_value, arrays))


def _has_value(array: Array) -> bool:
    try:
        array.unwrap_numpy()
    except ValueError:
        return False
    return True


def read_flag(array: Array) -> bool | None:
    """Return an array () as a bool; None if it cannot be read, as under ``torch.func.vmap``.

    JAX and torch raise different errors when a value is read under a transformation.
    """
    try:
        return bool(array)
    except (TypeError, RuntimeError):
        return None
