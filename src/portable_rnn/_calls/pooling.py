"""The pool of a network and the readout behind it, with what a call knows of its valid steps."""

from .._arrays.namespace import Array, device_of
from .._engine.affine import AT_ONCE, SUMS, Linear
from .._engine.pooling import Pooled, pool, pool_vjp
from .._engine.setup import Setup
from ..model import RNN

__all__ = ["run_pool", "run_pool_vjp"]


def run_pool(s: Setup, model: RNN, readout: Linear | None, features: Array) -> tuple[Array, Pooled]:
    """Return the outputs (1, B, O) for features (T, B, F), and what the backward pass needs."""
    valid, reverse = _valid(s, features), model.reversed_directions
    products = AT_ONCE if s.executor.whole_sequence else SUMS
    pooled = pool(s.xp, str(model.pool), features, valid, reverse, products)
    return pooled.features if readout is None else readout(s.xp, pooled.features), pooled


def run_pool_vjp(
    s: Setup, readout: Linear | None, pooled: Pooled, d_outputs: Array
) -> tuple[Array, Linear | None]:
    """Return the cotangents of the features (T, B, F), and of the readout."""
    xp = s.xp
    d = xp.reshape(d_outputs, (1, pooled.features.shape[1], d_outputs.shape[-1]))
    d_readout = None
    if readout is not None:
        d_readout = readout.vjp_parameters(xp, pooled.features, d, s.products)
        d = readout.vjp_x(xp, d)
    return pool_vjp(xp, pooled, d), d_readout


def _valid(s: Setup, features: Array) -> Array | None:
    """Return the valid steps as a mask (T, B), or None for all."""
    if s.mask is not None:
        return s.mask[..., 0]
    if s.widths is None:
        return None
    # Of sequences sorted by length, the first ones have each step.
    xp, device, batch = s.xp, device_of(features), features.shape[1]
    widths = xp.asarray(s.widths, dtype=xp.int32, device=device)
    place = xp.arange(batch, dtype=xp.int32, device=device) if s.inverse is None else s.inverse
    return xp.expand_dims(place, axis=0) < xp.expand_dims(widths, axis=1)
