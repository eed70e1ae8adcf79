"""The valid steps of a batch whose sequences have different lengths, or gaps."""

from typing import Any, NamedTuple

import numpy as np

from .._arrays import checks as check
from .._arrays.devices import on_host
from .._arrays.host import from_host, is_kind, to_host
from .._arrays.namespace import (
    Array,
    Namespace,
    check_library_and_device,
    check_shape,
    device_of,
    dtype_name,
    is_array,
    namespace_of,
)
from .._arrays.scalars import as_array_remedy, type_name
from ..model import RNN
from .layout import mask_inward, mask_outward, time_major

__all__ = [
    "Steps",
    "check_lengths",
    "check_mask",
    "mask_of",
    "mask_on_device",
    "read_lengths",
    "resolve",
    "spare_rows",
    "valid_steps_of",
    "valid_steps_of_outputs",
]


class Steps(NamedTuple):
    """The valid steps: a staircase of sorted sequences, or a mask."""

    widths: tuple[int, ...] | None = None  # sequences that have a step t, for each t
    order: Array | None = None  # (B,); where each sorted sequence comes from
    inverse: Array | None = None  # (B,); where each one went
    mask: Array | None = None  # (T, B, 1)


def read_lengths(
    value: Any, steps: int, batch: int, name: str = "lengths", unit: str = "steps"
) -> np.ndarray[Any, Any] | None:
    """Check the lengths of a batch; return them as a NumPy array, or None if on a device."""
    wanted = f"{name}: expected {batch} ints of 0 to {steps} {unit}, shape ({batch},)"
    if not is_array(value):
        try:
            found = np.asarray(value)
            if found.dtype == np.object_:
                raise TypeError
        except Exception:  # a list of lists, or an object that fails
            raise TypeError(f"{wanted}, got {_unread(name, value)}") from None
        # The dtype of an empty list says nothing.
        value = found if found.size else found.astype(np.int64)
    if not is_kind(name, value, "integral"):
        raise TypeError(f"{wanted}, got dtype {dtype_name(value.dtype)}")
    # A plain number is accepted for a single sequence.
    if tuple(value.shape) != (batch,) and not (batch == 1 and value.ndim == 0):
        raise ValueError(f"{wanted}, got shape {tuple(value.shape)}")
    if not on_host(value):
        return None
    try:
        values = to_host(value)
    except RuntimeError:  # values cannot be read under torch.func.vmap
        return None
    values = values.astype(np.int64).reshape(batch)
    if wrong := [int(n) for n in values if not 0 <= n <= steps]:
        raise ValueError(f"{wanted}, got {wrong[0]}")
    return values


def _unread(name: str, value: Any) -> str:
    """Describe what NumPy makes no numbers of, and how its own library makes an array of it."""
    remedy = "" if isinstance(value, (list, tuple)) else as_array_remedy(name, value)
    return f"{type_name(value)}{remedy}" if remedy else check.said(value)


def check_lengths(
    value: Any, steps: int, batch: int, x: Array, name: str = "lengths", other: str = "x"
) -> None:
    """Check the lengths of a batch, and of lengths on a device their library and device."""
    if read_lengths(value, steps, batch, name) is None:
        check_library_and_device(name, value, other, x)


def check_mask(
    value: Any, shape: tuple[int, ...], x: Array, name: str = "mask", other: str = "x"
) -> None:
    """Check a mask: boolean, with the steps and sequences of ``x``, from its library or NumPy."""
    if not is_kind(name, value, "bool"):
        raise TypeError(f"{name}: expected dtype bool, got {dtype_name(value.dtype)}")
    check_shape(name, value, shape)
    if not isinstance(value, np.ndarray):
        check_library_and_device(name, value, other, x)


def mask_on_device(mask: Any, x: Array) -> Any:
    """Return a mask of NumPy's as an array of the library and device of ``x``.

    It is then moved once, for all who need it. What is no mask is returned as it is.
    """
    plain = isinstance(mask, np.ndarray) and not isinstance(x, np.ndarray) and is_array(x)
    if not plain or mask.dtype != np.bool_:
        return mask
    return namespace_of(x=x).asarray(mask, device=device_of(x))


def resolve(
    xp: Namespace, x: Array, lengths: Any, mask: Any, *, whole: bool, spare: int = 0
) -> Steps:
    """Convert checked ``lengths`` (B,) or a ``mask`` (T, B) to the valid steps.

    ``x`` is time-major. Lengths on the host become a staircase, unless the whole sequence is
    one computation, or the staircase saves fewer than ``spare`` rows of padding by each chunk.
    """
    if lengths is None and mask is None:
        return Steps()
    steps, batch = x.shape[:2]
    values = None if lengths is None else read_lengths(lengths, steps, batch)
    if values is not None and not whole:
        padding = steps * batch - int(values.sum())
        whole = padding < spare * (len(np.unique(values)) - 1)
    if values is None or whole:
        valid = mask_of(xp, x, lengths, mask)
        return Steps(mask=xp.expand_dims(valid, axis=2))
    widths = tuple(int(n) for n in (values[None, :] > np.arange(steps)[:, None]).sum(axis=1))
    order = np.argsort(-values, kind="stable")
    if np.array_equal(order, np.arange(batch)):
        return Steps(widths)
    # 32 bits, for devices without 64-bit integers.
    both = np.stack((order, np.argsort(order))).astype(np.int32)
    moved = from_host(both, xp, device=device_of(x))  # at once
    return Steps(widths, moved[0, :], moved[1, :])


def spare_rows(model: RNN, products: int) -> int:
    """Return of how many rows a layer computes so many products of numbers."""
    inputs = model.input_size + model.recurrent_size
    return products // (model.cell_object.gates * model.hidden_size * inputs)


def mask_of(xp: Namespace, x: Array, lengths: Any, mask: Any) -> Array:
    """Return the valid steps, (T, B) boolean, with the library and device of ``x``."""
    steps, batch = x.shape[:2]
    values = read_lengths(lengths, steps, batch) if mask is None else None
    if values is not None:
        mask = values[None, :] > np.arange(steps)[:, None]
    if mask is not None:
        moved = isinstance(mask, np.ndarray) and not isinstance(x, np.ndarray)
        return xp.asarray(mask, device=device_of(x)) if moved else mask
    # Not in the dtype of the lengths, which may be too narrow to count the steps.
    time = xp.arange(steps, dtype=xp.int32, device=device_of(lengths))
    counts = xp.reshape(xp.astype(lengths, xp.int32), (1, batch))
    return xp.expand_dims(time, axis=1) < counts


def valid_steps_of(xp: Namespace, model: RNN, x: Array, lengths: Any, mask: Any) -> Array:
    """Return the valid steps, from lengths or a mask, as a mask in the layout of ``x``."""
    valid = mask_of(xp, time_major(xp, model, x), lengths, mask_inward(model, mask))
    return mask_outward(model, valid, batched=x.ndim == 3)


def valid_steps_of_outputs(
    xp: Namespace, name: str, y: Array, lengths: Any, mask: Any, prefix: str = ""
) -> Array | None:
    """Check lengths or a mask of a time-major ``y`` (T, B, F); return valid steps, None for all.

    ``name`` is that of ``y``; the prefix begins those of the others.
    """
    names = f"{prefix}lengths", f"{prefix}mask"
    if lengths is not None and mask is not None:
        raise ValueError(f"{', '.join(names)}: expected one of them, got both")
    if lengths is None and mask is None:
        return None
    if lengths is not None:
        steps, batch = y.shape[:2]
        check_lengths(lengths, steps, batch, y, names[0], name)
    else:
        check_mask(mask, tuple(y.shape[:2]), y, names[1], name)
    return mask_of(xp, y, lengths, mask)
