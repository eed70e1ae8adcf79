"""Class indices as targets: distinguished from rows, checked, and encoded as one-hot rows."""

from typing import Any

from ._arrays import checks as check
from ._arrays.devices import on_host
from ._arrays.functions import dtype_is_kind, has_64_bits, nan_where, real_part, row
from ._arrays.namespace import (
    Array,
    Namespace,
    check_library_and_device,
    check_shaped,
    device_of,
    dtype_name,
    is_cupy_array,
    is_traced,
    namespace_of,
    read_flag,
)
from ._reduction import counted_steps, zero_uncounted

__all__ = [
    "UNREADABLE",
    "check_in_range",
    "check_labels",
    "is_index",
    "mark_wrong",
    "one_hot_rows",
    "signed",
]

UNREADABLE = "check_targets: values cannot be read under jax.jit or torch.func.vmap"


def is_index(xp: Namespace, outputs: Array, targets: Array) -> bool:
    """Return whether targets are class indices, not rows, by their dtype; check their shape."""
    namespace_of(outputs=outputs, targets=targets)
    shape = tuple(outputs.shape)
    if dtype_is_kind(xp, targets.dtype, "integral"):
        if tuple(targets.shape) != shape[:-1]:
            rows = "; rows are of the dtype of outputs" if tuple(targets.shape) == shape else ""
            raise ValueError(
                f"targets: expected class indices of shape {shape[:-1]}, "
                f"got {tuple(targets.shape)}{rows}"
            )
        if is_cupy_array(targets):  # which computes with arrays of two devices in some cases
            check_library_and_device("targets", targets, "outputs", outputs)
        return True
    if targets.dtype != outputs.dtype or targets.ndim < outputs.ndim:
        raise TypeError(
            f"targets: expected integer class indices, or rows of shape {shape} and dtype "
            f"{dtype_name(outputs.dtype)}, got {dtype_name(targets.dtype)} of shape "
            f"{tuple(targets.shape)}"
        )
    check_shaped("targets", targets, shape, "outputs", outputs)
    return False


def check_labels(
    xp: Namespace,
    labels: Array,
    classes: int,
    ignore_index: int | None,
    wanted: bool | None,
) -> bool:
    """Check class indices if ``wanted``, by default if on the host; return whether it was done."""
    if not (on_host(labels) if wanted is None else wanted):
        return False
    good = (labels >= 0) & (labels < classes)
    if ignore_index is not None:
        good = good | (labels == ignore_index)
    good = xp.all(good)
    # Under jit even a comparison of constants is traced; torch.func.vmap hides values too.
    all_good = None if is_traced(xp, good) else read_flag(good)
    if all_good is None:
        if wanted:
            raise ValueError(UNREADABLE)
        return False
    if not all_good:
        low, high = int(xp.min(labels)), int(xp.max(labels))
        # Other libraries leave steps out by one negative value: torch by -100.
        lone = low < 0 and not bool(xp.any((labels < 0) & (labels != low)))
        remedy = f"; to leave steps out, give ignore_index={low}" if lone and high < classes else ""
        if ignore_index is not None:
            remedy = ""
        raise ValueError(
            f"targets: expected class indices from 0 to {classes - 1}, "
            f"got values from {low} to {high}{remedy}"
        )
    return True


def check_in_range(
    xp: Namespace,
    targets: Array,
    weights: Array | None,
    wanted: Any,
    most: float = 1.0,
    what: str = "probabilities from 0 to 1",
) -> None:
    """Check that targets that count are from 0 to a number, or NaN.

    The option ``check_targets``, which is checked too, says whether they are; by default they are
    if they are on the host.
    """
    wanted = wanted if wanted is None else check.flag("check_targets", wanted)
    if not (on_host(targets) if wanted is None else wanted):
        return
    real = real_part(xp, zero_uncounted(xp, targets, counted_steps(xp, weights)))
    good = xp.all(~((real < 0) | (real > most)))
    all_good = None if is_traced(xp, good) else read_flag(good)
    if all_good is None:
        if wanted:
            raise ValueError(UNREADABLE)
        return
    if not all_good:
        low, high = (float(f(real[~xp.isnan(real)])) for f in (xp.min, xp.max))
        raise ValueError(f"targets: expected {what}, got values from {low!r} to {high!r}")


def mark_wrong(
    xp: Namespace, labels: Array, classes: int, counts: Array | None, losses: Array, total: Array
) -> tuple[Array, Array]:
    """Return losses and sums of rows, NaN where a label that counts is out of range.

    Not in the weights, since XLA simplifies the product of a one-hot 0 and NaN to 0.
    """
    wrong = (labels < 0) | (labels >= classes)
    if counts is not None:
        wrong = wrong & counts
    return nan_where(xp, wrong, losses), nan_where(xp, xp.expand_dims(wrong, axis=-1), total)


def one_hot_rows(xp: Namespace, labels: Array, classes: int, dtype: Any) -> Array:
    """Return one-hot rows of labels, zero where a label is out of range."""
    labels = xp.expand_dims(signed(xp, labels), axis=-1)
    axis = xp.arange(classes, dtype=labels.dtype, device=device_of(labels))
    return xp.astype(labels == row(xp, axis, labels.ndim), dtype)


def signed(xp: Namespace, labels: Array) -> Array:
    """Return labels in a signed type that holds any class, and a negative ``ignore_index``.

    One that is too large for it becomes its largest number, which is no class either; it would be a
    negative one, such as padding has.
    """
    name = dtype_name(labels.dtype)
    if name in ("int32", "int64"):
        return labels
    if name not in ("uint32", "uint64"):
        return xp.astype(labels, xp.int32)
    found = xp.astype(labels, xp.int64 if has_64_bits(xp) else xp.int32)
    return xp.where(found < 0, xp.full_like(found, xp.iinfo(found.dtype).max), found)
