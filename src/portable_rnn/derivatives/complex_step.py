"""Derivatives along a direction, by running the same source with a small imaginary step.

Everything in this library is analytic, so for a step ``h`` so small that ``1 + h²`` is
1, ``Im f(a + i h v) / h`` is the derivative of ``f`` along ``v`` and no digit is lost to
subtraction (Squire and Trapp, *Using complex variables to estimate derivatives of real
functions*, SIAM Review 40, 1998). Applied to the hand-written gradient it gives products
with the Hessian that are as exact as the gradient itself.

=====================  =========================  ==========================================
arrays                 computed as                error
=====================  =========================  ==========================================
float64                complex128, step 2⁻¹⁰⁰     rounding of float64
float32                complex64, step 2⁻⁴⁰       rounding of float32
float16, bfloat16      complex64, step 2⁻⁴⁰       one rounding to half
of a library without   central differences of     about 1e-12 of the largest entry for
complex numbers        fourth order               float64, 1e-5 for float32
=====================  =========================  ==========================================

The direction is scaled to a largest entry of 1 first, so its length does not matter: the
result for ``1e-20 v`` is that for ``v``, times 1e-20.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from .._arrays.functions import accumulation_dtype, dtype_is_kind, stack
from .._arrays.namespace import Array, Namespace, dtype_name, is_array, namespace_of
from .._arrays.norms import unit_of

__all__ = ["directional", "lifted"]

Arrays: TypeAlias = tuple[Array, ...]
Lift: TypeAlias = Callable[[Any], Any]

# 1 plus the square of a step is 1, and numbers 1e-26 (1e-270) times the largest are normal.
STEPS = {"complex64": 2.0**-40, "complex128": 2.0**-100}
# The fifth root of eps balances truncation and rounding errors.
DIFFERENCES = {"float32": 2.0**-7, "float64": 2.0**-12}


def directional(
    xp: Namespace,
    f: Callable[[Arrays, Lift], Arrays],
    points: Arrays,
    tangents: tuple[Array | None, ...],
    *,
    values: bool = False,
) -> tuple[Arrays, Arrays]:
    """Return the values of ``f`` and its derivatives along ``tangents``.

    Parameters
    ----------
    xp : module
    f : callable, ``f(arrays, lift) -> arrays``
        Called with the moved points, perhaps in another dtype; ``lift`` converts whatever else it
        uses (arrays, or dicts, tuples and lists of them) to that dtype.
    points : tuple of arrays
        Real, and all of one dtype.
    tangents : tuple of arrays or None
        One per point, of its shape; None counts as zero. At least one is an array.
    values : bool
        Whether to return the values; otherwise the first result is empty.

    Returns
    -------
    values, derivatives : tuples of arrays
        In the dtype of ``points``.
    """
    dtype = points[0].dtype
    working = accumulation_dtype(xp, dtype)  # half precision is rounded only once
    points = tuple(lifted(xp, points, working))
    tangents = tuple(lifted(xp, tangents, working))
    scale = _largest(xp, [v for v in tangents if v is not None])
    units = tuple(None if v is None else v / scale for v in tangents)
    method = _complex_step if _has_complex(xp) else _differences
    found, slopes = method(xp, f, points, units, values=values)
    return (
        tuple(xp.astype(y, dtype, copy=False) for y in found),
        tuple(xp.astype(d * scale, dtype, copy=False) for d in slopes),
    )


def lifted(xp: Namespace, tree: Any, dtype: Any) -> Any:
    """Convert the real floating arrays of a tree to another dtype; leave all else as it is.

    If that dtype is real, complex arrays are converted to their real parts.
    """
    if isinstance(tree, Mapping):
        return {name: lifted(xp, value, dtype) for name, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        parts = [lifted(xp, value, dtype) for value in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    if not is_array(tree) or namespace_of(array=tree) is not xp:
        return tree
    if dtype_is_kind(xp, tree.dtype, "complex floating") and dtype_is_kind(
        xp, dtype, "real floating"
    ):
        return xp.astype(xp.real(tree), dtype, copy=False)
    real = dtype_is_kind(xp, tree.dtype, "real floating")
    return xp.astype(tree, dtype, copy=False) if real else tree


def _complex_step(
    xp: Namespace,
    f: Callable[[Arrays, Lift], Arrays],
    points: Arrays,
    units: tuple[Array | None, ...],
    *,
    values: bool,
) -> tuple[Arrays, Arrays]:
    dtype = xp.complex128 if dtype_name(points[0].dtype) == "float64" else xp.complex64
    step = STEPS[dtype_name(dtype)]

    def lift(tree: Any) -> Any:
        return lifted(xp, tree, dtype)

    moved = tuple(
        lift(point) if unit is None else lift(point) + lift(unit) * (step * 1j)
        for point, unit in zip(points, units, strict=True)
    )
    found = f(moved, lift)
    # A copy: the real part of an array is a view that keeps all of it alive.
    kept = tuple(xp.asarray(xp.real(y), copy=True) for y in found) if values else ()
    return kept, tuple(xp.imag(y) * (1.0 / step) for y in found)


def _differences(
    xp: Namespace,
    f: Callable[[Arrays, Lift], Arrays],
    points: Arrays,
    units: tuple[Array | None, ...],
    *,
    values: bool,
) -> tuple[Arrays, Arrays]:
    """Return central differences of fourth order, from four evaluations."""
    dtype = points[0].dtype
    step = DIFFERENCES[dtype_name(dtype)]

    def lift(tree: Any) -> Any:
        return lifted(xp, tree, dtype)

    def at(steps: float) -> Arrays:
        moved = (
            point if unit is None else point + unit * (steps * step)
            for point, unit in zip(points, units, strict=True)
        )
        return f(tuple(moved), lift)

    slopes = tuple(
        (8.0 * (near - near_before) - (far - far_before)) * (1.0 / (12.0 * step))
        for near, near_before, far, far_before in zip(
            at(1.0), at(-1.0), at(2.0), at(-2.0), strict=True
        )
    )
    return (at(0.0) if values else ()), slopes


def _has_complex(xp: Namespace) -> bool:
    return hasattr(xp, "complex64")


def _largest(xp: Namespace, arrays: list[Array]) -> Array:
    """Return the largest magnitude of all, 0-d; 1 if they are zero."""
    flat = [xp.reshape(xp.abs(a), (-1,)) for a in arrays]
    return unit_of(xp, xp.max(stack(xp, [xp.max(a) for a in flat])))
