"""Arrays from the host and back: what draws, reads or writes files goes through here."""

from typing import Any

import numpy as np

from ._namespace import (
    DTYPES,
    Array,
    Namespace,
    dtype_name,
    library_name,
    resolve_namespace,
)

__all__ = ["find_dtype", "from_host", "to_host"]


def find_dtype(xp: Namespace, dtype: Any) -> Any:
    """Return the floating dtype of ``xp`` that ``dtype`` names, or is.

    Raises
    ------
    TypeError
        If there is none of that name, or it is not a floating type.
    """
    found = getattr(xp, dtype, None) if isinstance(dtype, str) else dtype
    try:
        inexact = xp.isdtype(found, ("real floating", "complex floating"))
    except (TypeError, ValueError, AttributeError):
        inexact = False
    # NumPy has wider types, and other orders of bytes, that no other library has.
    plain = dtype_name(found) in DTYPES and getattr(found, "isnative", True)
    if found is None or not inexact or not plain:
        raise TypeError(
            f"dtype: expected a floating type of {library_name(xp)} such as 'float32', "
            f"got {dtype!r}"
        )
    return found


def from_host(
    array: np.ndarray[Any, Any],
    xp: Namespace | None = None,
    dtype: Any = None,
    device: Any = None,
) -> Array:
    """Move a NumPy array to another library, dtype and device (by default as it is).

    Raises
    ------
    TypeError
        If ``xp`` is not an array module, or ``dtype`` not one of its floating types.
    ValueError
        If the library gave another dtype than was asked for.
    """
    xp = resolve_namespace(np if xp is None else xp)
    wanted = dtype if dtype is not None else array.dtype.name
    target = find_dtype(xp, wanted) if dtype is not None else getattr(xp, array.dtype.name)
    try:
        moved = xp.asarray(array, dtype=target, device=device)
    except Exception as error:
        if device is None:
            raise
        raise ValueError(
            f"device: expected one of {library_name(xp)}, got {device!r} ({error})"
        ) from None
    if dtype_name(moved.dtype) != dtype_name(target):
        raise ValueError(
            f"dtype: asked {library_name(xp)} for {dtype_name(target)}, "
            f"got {dtype_name(moved.dtype)} (for JAX, set jax_enable_x64)"
        )
    return moved


def to_host(array: Array) -> np.ndarray[Any, Any]:
    """Copy an array of any library into a NumPy array.

    Waits for the device. Only what leaves the computation for good comes through here.
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
