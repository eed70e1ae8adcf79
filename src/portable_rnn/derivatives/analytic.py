"""Check that complex steps are right for a loss of the user's.

`directional` differentiates the gradient of a loss by a step off the real axis. That is the
derivative along the real axis if the gradient is analytic on each piece, which no array library
can tell from its source. So it is compared with differences, at the given outputs and along the
direction in which they move: about four evaluations of the loss, and none of the network.

Only certain errors are refused. A difference counts only where steps ahead and back, and steps half
as long, agree: neither at a kink, nor where rounding dominates.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from .. import losses
from .._arrays import checks as check
from .._arrays.devices import on_host
from .._arrays.functions import stack
from .._arrays.namespace import Array, Namespace, dtype_name, is_array, namespace_of, read_flag
from .._arrays.norms import unit_of
from .complex_step import STEPS, lifted

__all__ = ["watched"]

NO_LOSSES = ("ctc_greedy_decode", "one_hot")
OURS = tuple(getattr(losses, name) for name in losses.__all__ if name not in NO_LOSSES)
EPS = {"float32": 2.0**-23, "float64": 2.0**-52}
# Relative to the largest output: at this length, errors of rounding and curvature are about equal.
LENGTHS = {"float32": 2.0**-7, "float64": 2.0**-18}
CLOSE = 2.0**-5  # relative difference below which two derivatives count as the same


def watched(loss: Callable[..., Any]) -> Callable[..., Any]:
    """Return a loss, to be called with complex outputs, that refuses to give a wrong slope.

    The check reads values, so it is made only where that costs nothing: on the host, and not under
    ``jax.jit``. The losses of this library are known to be analytic.
    """
    inner = loss
    while isinstance(inner, partial):
        inner = inner.func
    if inner in OURS:
        return loss

    def call(outputs: Array, targets: Any, **options: Any) -> Any:
        returned = loss(outputs, targets, **options)
        step = STEPS.get(dtype_name(outputs.dtype))  # None: differences are used in any case
        if step is None or not on_host(outputs):
            return returned
        if isinstance(returned, tuple) and len(returned) == 2 and is_array(returned[1]):
            check.numeric("d_outputs returned by the loss", returned[1])
            gradient = partial(_gradient, loss, targets, options)
            if slopes := _differing_slopes(gradient, outputs, returned[1], step):
                raise ValueError(
                    "loss: expected a gradient that is analytic in the outputs, got one of "
                    f"{check.said(inner)} with a slope of {slopes[0]:.3g}, and {slopes[1]:.3g} by "
                    "a complex step; compare real parts (xp.real(d) < 1), and use no abs, sign or "
                    "conj of what depends on the outputs"
                )
        return returned

    return call


def _gradient(loss: Callable[..., Any], targets: Any, options: dict[str, Any], at: Array) -> Array:
    xp = namespace_of(outputs=at)
    given = lifted(xp, (targets, options), at.dtype)
    return loss(at, given[0], **given[1])[1]


def _differing_slopes(
    gradient: Callable[[Array], Array], outputs: Array, d_outputs: Array, step: float
) -> tuple[float, float] | None:
    """Return the slopes by differences and by a complex step, if they differ for certain."""
    xp = namespace_of(outputs=outputs)
    y, along = xp.real(outputs), xp.imag(outputs)
    size = unit_of(xp, _largest(xp, along))
    along = along / size
    slope = xp.imag(d_outputs) / size
    largest = _largest(xp, y)
    one = xp.ones_like(largest)
    length = LENGTHS[dtype_name(y.dtype)]
    longest = length * xp.where(largest > one, largest, one)
    try:
        ahead, back = (gradient(y + along * s) for s in (longest, -longest))
    except Exception:  # the loss does not accept these outputs: nothing is known
        return None
    found = (ahead - back) / (2.0 * longest)
    bound = CLOSE * xp.abs(found) + 2.0**-10 * _largest(xp, found)
    if read_flag(xp.all(~(xp.abs(found - slope) > bound))) is not False:
        return None  # the same, or not readable
    for scale in (longest, length * largest, length * one):
        try:
            wrong, found, slope = _differ(xp, gradient, y, along, scale, step)
            # Two steps that are both too long may agree on a wrong slope, so try a short one too.
            wrong = wrong & _differ(xp, gradient, y, along, scale / 16.0, step)[0]
        except Exception:
            continue
        if read_flag(xp.any(wrong)):
            errors = xp.where(wrong, xp.abs(found - slope), xp.zeros_like(slope))
            worst = int(xp.argmax(xp.reshape(errors, (-1,))))
            right, other = (float(xp.reshape(a, (-1,))[worst]) for a in (found, slope))
            return right, other
    return None


def _differ(
    xp: Namespace,
    gradient: Callable[[Array], Array],
    y: Array,
    along: Array,
    length: Array,
    step: float,
) -> tuple[Array, Array, Array]:
    """Return where two derivatives differ for certain, and both of them."""
    eps = EPS[dtype_name(y.dtype)]
    # Entries that would not move because of rounding stay where they are in both.
    moves = length * xp.abs(along) > 64.0 * eps * xp.abs(y)
    along = xp.where(moves, along, xp.zeros_like(along))
    length = unit_of(xp, length)
    # Steps and half steps, ahead and back: they agree where there is a slope that they resolve.
    here, ahead, back = gradient(y), gradient(y + along * length), gradient(y - along * length)
    half = 0.5 * length
    near, near_back = gradient(y + along * half), gradient(y - along * half)
    long = ((ahead - here) / length, (here - back) / length)
    short = ((near - here) / half, (here - near_back) / half)
    spread = _spread(xp, *long, *short)
    found = (near - near_back) / length
    # Complex steps of two lengths: the remainder of a cancelling difference is no slope.
    dtype = xp.complex128 if dtype_name(y.dtype) == "float64" else xp.complex64
    z, direction = xp.astype(y, dtype), xp.astype(along, dtype)
    slopes = [xp.imag(gradient(z + direction * (s * 1j))) / s for s in (step, 0.7 * step)]
    # Values of the gradient at other outputs: it may be small compared with them, but round alike.
    others = (here, ahead, back, gradient(xp.zeros_like(y)), gradient(-y))
    sizes = xp.max(xp.abs(stack(xp, others)), axis=0)
    rounding = _largest(xp, sizes) * (16.0 * eps)
    noise = rounding / length
    # Nor does a slope count that would not change the gradient over a whole unit.
    least = xp.where(noise > rounding, noise, rounding)
    slope, error = slopes[0], xp.abs(found - slopes[0])
    wrong = (
        (error > 2.0 * CLOSE * (xp.abs(found) + xp.abs(slope)) + least)
        & (spread <= CLOSE * xp.abs(found) + noise)
        & (error * length <= 4.0 * sizes)  # else the step is too long for this entry
        & (_spread(xp, *slopes) <= CLOSE * xp.abs(slope))
    )
    return wrong, found, slope


def _largest(xp: Namespace, array: Array) -> Array:
    """Return the largest finite magnitude."""
    return xp.max(xp.where(xp.isfinite(array), xp.abs(array), xp.zeros_like(array)))


def _spread(xp: Namespace, *arrays: Array) -> Array:
    both = stack(xp, arrays)
    return xp.max(both, axis=0) - xp.min(both, axis=0)
