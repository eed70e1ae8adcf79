"""Clipping of gradients by their joint norm."""

from typing import Any

from .._arrays import checks as check
from .._arrays.devices import with_device_of_arguments
from .._arrays.functions import accumulation_dtype, largest_number, stack
from .._arrays.namespace import Array, Namespace, check_like, namespace_of, same_device
from .._arrays.norms import square_unit_of
from .step import Arrays, check_dict, check_real, listed, stays_on_device

__all__ = ["clip_by_global_norm"]


@check.named_options
@with_device_of_arguments
def clip_by_global_norm(grads: Arrays, max_norm: Any) -> tuple[dict[str, Array], Array]:
    """Scale all gradients by one factor so that their joint 2-norm is at most ``max_norm``.

    Pascanu, Mikolov, Bengio, arXiv 1211.5063. The norm is computed without overflow, so gradients
    of any finite size are scaled, not turned into zeros. Infinite and NaN entries become NaN.

    Parameters
    ----------
    grads : dict of str to array
        Of one real floating dtype, and on one device.
    max_norm : float, or array of shape ()
        Above 0; infinity leaves the gradients as they are. An array on the gradients' GPU is not
        read, nor is its value checked.

    Returns
    -------
    grads : dict of str to array
    norm : array, shape ()
        The norm before scaling, in the gradients' dtype. Infinite if a gradient is, or if the norm
        is larger than any number of the dtype; NaN if a gradient is. (If an entry is infinite, all
        finite ones become 0: check that the norm is finite before taking a step with them.)

    Raises
    ------
    TypeError, ValueError
        If ``max_norm`` is not above 0, or ``grads`` is not a dict of one or more such arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.optimizers import clip_by_global_norm
    >>> clipped, norm = clip_by_global_norm({"w": np.asarray([3.0, 4.0])}, 1.0)
    >>> print(clipped["w"], norm)
    [0.6 0.8] 5.0
    """
    on_device = stays_on_device("max_norm", max_norm, grads)
    if not on_device:
        max_norm = check.number("max_norm", max_norm, above=0.0, infinite=True)
    check_dict("grads", grads)
    if not grads:
        raise ValueError("grads: expected at least one array, got none")
    labelled = {f"grads[{name!r}]": g for name, g in grads.items()}
    xp = namespace_of(**labelled)
    other, first = next(iter(labelled.items()))
    check_real(xp, other, first)
    for label, g in labelled.items():
        if g.dtype != first.dtype or not same_device(g, first):
            check_like(label, g, other, first)
    if empty := [name for name, g in grads.items() if 0 in g.shape]:
        raise ValueError(f"grads: expected arrays with values, got none in {listed(empty)}")
    dtype = accumulation_dtype(xp, first.dtype)
    wide = {name: xp.astype(g, dtype, copy=False) for name, g in grads.items()}
    unit = square_unit_of(xp, xp.max(stack(xp, [xp.max(xp.abs(g)) for g in wide.values()])))
    squares = [xp.sum((part := g / unit) * part, dtype=dtype) for g in wide.values()]
    in_units = xp.sqrt(xp.sum(stack(xp, squares), dtype=dtype))
    norm = _product(xp, in_units, unit, dtype)
    found = xp.astype(_product(xp, norm, xp.ones_like(norm), first.dtype), first.dtype, copy=False)
    if not on_device and max_norm >= largest_number(xp, dtype):
        return dict(grads), found
    # If the norm is small enough already, divide and multiply by 1; there is no branch.
    limit = xp.astype(max_norm, dtype) if on_device else xp.full_like(norm, max_norm)
    one = xp.ones_like(norm)
    short = norm <= limit
    divisor = xp.where(short, one, unit)
    factor = xp.where(short, one, limit) / xp.where(short, one, in_units)
    scaled = {name: g / divisor * factor for name, g in wide.items()}
    return {name: xp.astype(g, first.dtype, copy=False) for name, g in scaled.items()}, found


def _product(xp: Namespace, a: Array, b: Array, dtype: Any) -> Array:
    """Return ``a b`` for numbers of at least 0; infinity beyond ``dtype``, without a warning."""
    one = xp.ones_like(a)
    beyond = a > largest_number(xp, dtype) / xp.where(b > one, b, one)
    return xp.where(beyond, xp.full_like(a, float("inf")), xp.where(beyond, one, a) * b)
