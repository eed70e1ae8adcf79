"""Transfer arrays to and from NumPy, for random numbers and files."""

import sys
import zlib
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from .devices import device_context
from .functions import dtype_is_kind, stack, to_accumulation_dtype
from .namespace import (
    DTYPES,
    Array,
    Namespace,
    dtype_name,
    is_array,
    is_cupy_array,
    is_cupy_namespace,
    is_on_gpu,
    library_name,
    namespace_of,
    resolve_namespace,
    same_device,
)
from .scalars import said

__all__ = [
    "all_to_host",
    "bits_to_host",
    "check_device",
    "digest",
    "find_dtype",
    "float64_to_host",
    "from_bits",
    "from_host",
    "has_bfloat16",
    "is_kind",
    "numbers_to_host",
    "to_host",
]


def find_dtype(xp: Namespace, dtype: Any) -> Any:
    """Return a floating dtype of ``xp``, given the dtype or its name.

    Raises
    ------
    TypeError
        If there is no such dtype, or it is not a floating type.
    """
    found = _named(xp, dtype) if isinstance(dtype, str) else dtype
    kinds = ("real floating", "complex floating")
    try:
        inexact = found is not None and dtype_is_kind(xp, found, kinds)
    except Exception:  # any object may be given, and raise anything
        inexact = False
    # NumPy has wider types and other byte orders, which no other library has.
    if not inexact or dtype_name(found) not in DTYPES or not getattr(found, "isnative", True):
        raise TypeError(
            f"dtype: expected a floating type of {library_name(xp)} such as 'float32', "
            f"got {said(dtype)}"
        )
    return found


def has_bfloat16(xp: Namespace) -> bool:
    """Return whether a library has bfloat16."""
    return _named(xp, "bfloat16") is not None


def _named(xp: Namespace, name: str) -> Any:
    """Return the dtype of a library by its name; None if there is none.

    CuPy's bfloat16 is the one that ml_dtypes registers with NumPy.
    """
    if name == "bfloat16" and is_cupy_namespace(xp):
        with suppress(TypeError):
            return np.dtype(name)
    return getattr(xp, name, None)


def is_kind(name: str, array: Array, kind: str) -> bool:
    """Return whether an array's dtype is of a kind that the standard names.

    NumPy tests its own arrays, whatever namespace is in use: lengths and masks may be NumPy's.
    """
    xp = namespace_of(**{name: array})
    return bool((np if isinstance(array, np.ndarray) else xp).isdtype(array.dtype, kind))


def check_device(xp: Namespace, device: Any) -> None:
    """Check that a library has a device; None is its default.

    Raises
    ------
    ValueError
        If it has no such device.
    """
    if device is None:
        return
    try:
        xp.zeros(1, device=device)
    except Exception as error:  # each library raises its own
        raise _no_such_device(xp, device, error) from None
    _check_listed(xp, device)


def _check_listed(xp: Namespace, device: Any) -> None:
    """Check a device against the library's list, if it accepts any object, as ndonnx does."""
    try:
        xp.zeros(1, device=object())
    except Exception:  # the library checks devices itself
        return
    if not hasattr(xp, "__array_namespace_info__"):
        return
    listed = xp.__array_namespace_info__().devices()
    # CuPy's devices may be given by number.
    if all(device != one and device != getattr(one, "id", one) for one in listed):
        raise _no_such_device(xp, device, f"there is {', '.join(map(str, listed))}")


def _no_such_device(xp: Namespace, device: Any, why: object) -> ValueError:
    return ValueError(f"device: expected one of {library_name(xp)}, got {said(device)} ({why})")


def from_host(
    array: np.ndarray[Any, Any],
    xp: Namespace | None = None,
    dtype: Any = None,
    device: Any = None,
) -> Array:
    """Convert a NumPy array to another library, dtype and device (by default unchanged).

    Raises
    ------
    TypeError
        If ``xp`` is not an array module, or ``dtype`` not one of its floating types.
    ValueError
        If the library has no such device, or returned another dtype than requested.
    """
    xp = resolve_namespace(np if xp is None else xp)
    # None if the library does not list the dtype, but it may have it, as Dask has float16.
    target = getattr(xp, array.dtype.name, None) if dtype is None else find_dtype(xp, dtype)
    wanted = array.dtype.name if target is None else dtype_name(target)
    try:
        with np.errstate(under="ignore"):  # rounding, such as of 1e-8 to 0 in float16
            moved = xp.asarray(array, dtype=target, device=device)
    except Exception as error:
        if device is None:
            raise
        raise _no_such_device(xp, device, error) from None
    if dtype_name(moved.dtype) != wanted:
        raise ValueError(
            f"dtype: asked {library_name(xp)} for {wanted}, "
            f"got {dtype_name(moved.dtype)} (for JAX, set jax_enable_x64)"
        )
    return moved


def to_host(array: Array) -> np.ndarray[Any, Any]:
    """Copy an array of any library into a NumPy array.

    Waits for the device. Only for arrays that leave the computation for good.
    """
    if hasattr(array, "get") and hasattr(array, "__cuda_array_interface__"):  # CuPy
        return array.get()  # type: ignore[no-any-return]
    if hasattr(array, "detach"):  # torch
        array = array.detach().cpu()
        return array.numpy()  # type: ignore[no-any-return]
    if hasattr(array, "compute"):  # Dask
        array = array.compute()
    if hasattr(array, "asnumpy"):  # dpnp
        return array.asnumpy()  # type: ignore[no-any-return]
    try:
        return np.asarray(array)
    except (TypeError, ValueError, RuntimeError):  # array-api-strict off its CPU device
        xp = array.__array_namespace__()
        return np.asarray(xp.asarray(array, device=xp.Device("CPU_DEVICE"), copy=True))


def float64_to_host(array: Array) -> np.ndarray[Any, Any]:
    """Copy an array of any floating dtype into a NumPy array in float64.

    NumPy has no bfloat16; and squares of small numbers still count.
    """
    xp = namespace_of(array=array)
    return to_host(to_accumulation_dtype(xp, array)).astype(np.float64)


def all_to_host(arrays: Sequence[Array]) -> list[np.ndarray[Any, Any]]:
    """Copy arrays of any library into NumPy arrays, those of bfloat16 as their bits.

    Waits for a device of CuPy's once.
    """
    found: list[Any] = []
    devices: dict[int, Any] = {}
    for array in arrays:
        half = dtype_name(array.dtype) == "bfloat16"
        if is_cupy_array(array):
            host = array.get(blocking=False)
            found.append(host.view(np.uint16) if half else host)
            devices[array.device.id] = array.device
        else:
            found.append(bits_to_host(array) if half else to_host(array))
    for device in devices.values():
        with device:
            sys.modules["cupy"].cuda.get_current_stream().synchronize()
    return found


def numbers_to_host(numbers: Sequence[Any]) -> list[float]:
    """Read arrays () of numbers or booleans as floats; from a GPU all in one transfer."""
    on_gpu = [a for a in numbers if is_array(a) and is_on_gpu(a)]
    if len(on_gpu) < 2 or not all(same_device(on_gpu[0], a) for a in on_gpu):
        return list(map(_number, numbers))
    xp = namespace_of(**{f"numbers[{i}]": a for i, a in enumerate(on_gpu)})
    with device_context(on_gpu[0]):
        held = stack(xp, [xp.astype(xp.reshape(a, ()), xp.float64) for a in on_gpu])
    read = iter(to_host(held).tolist())
    return [next(read) if is_array(a) and is_on_gpu(a) else _number(a) for a in numbers]


def _number(value: Any) -> float:
    """Return an array () as a float; of a boolean, the standard has no float."""
    return float(bool(value) if is_array(value) and dtype_name(value.dtype) == "bool" else value)


def bits_to_host(array: Array) -> np.ndarray[Any, Any]:
    """Copy the bits of a bfloat16 array to the host as uint16, since NumPy has no bfloat16."""
    if hasattr(array, "detach"):  # torch
        array = array.detach().contiguous().view(namespace_of(array=array).int16)
    try:
        return to_host(array).view(np.uint16)
    except (TypeError, ValueError):  # MLX, whose buffers have no such format
        return to_host(array.view(namespace_of(array=array).uint16))


def from_bits(bits: np.ndarray[Any, Any], xp: Namespace | None = None, device: Any = None) -> Array:
    """Undo `bits_to_host` in a library that has bfloat16.

    Raises
    ------
    TypeError
        If the library has no bfloat16, like NumPy.
    """
    xp = resolve_namespace(np if xp is None else xp)
    target = _named(xp, "bfloat16")
    if target is None:
        raise TypeError(f"{library_name(xp)} has no bfloat16")
    try:
        known = np.dtype(target)  # JAX registers its own with NumPy
    except TypeError:
        return xp.asarray(bits.view(np.int16), device=device).view(target)
    return xp.asarray(bits.view(known), device=device)


def digest(array: Array) -> str:
    """Return the CRC-32 of an array's values, with integers and booleans taken as int64."""
    host = bits_to_host(array) if dtype_name(array.dtype) == "bfloat16" else to_host(array)
    wide = host.astype("int64") if host.dtype.kind in "iub" else host
    return f"{zlib.crc32(wide.tobytes()):08x}"
