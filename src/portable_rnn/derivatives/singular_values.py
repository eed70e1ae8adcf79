"""How much one step can lengthen a gradient: the largest singular value of its Jacobian."""

from dataclasses import replace
from typing import Any

from .._arrays import checks as check
from .._arrays.functions import accumulation_dtype, concatenate, stack
from .._arrays.namespace import Array, Namespace, device_of
from .._arrays.norms import norm, unit_of
from .._calls.call import Call, CallOptions, prepare, run, run_vjp, without_vocabulary
from .._calls.dropout_masks import Masks
from ..cells import State
from ..initializers import uniform
from .curvature import push

__all__ = ["singular_values"]


def singular_values(call: Call, before: State, iterations: int) -> Array:
    """Run the power method on JᵀJ, layer by layer, with all steps side by side in the batch."""
    xp, (steps, batch) = call.setup.xp, call.x.shape[:2]
    call, state = _all_steps(call, before)
    _, _, records = run(call, keep=True)
    x, parts = call.x, check.state_parts(state)
    shapes = {str(i): (1, *part.shape[1:]) for i, part in enumerate(parts)}
    start = uniform(
        shapes, 1.0, 0, xp=xp, dtype=accumulation_dtype(xp, x.dtype), device=device_of(x)
    )
    found = []
    for layer in range(parts[0].shape[0]):
        v = tuple(xp.astype(start[str(i)], x.dtype, copy=False) for i in range(len(parts)))
        v, _ = _normalised(xp, v)
        for _ in range(iterations):
            pushed = push(call, state, {}, None, _only(xp, v, layer, parts))
            u, length = _normalised(xp, _part(pushed.d_state, layer))
            d_state = _only(xp, u, layer, parts)
            _, _, pulled = run_vjp(call, records, None, d_state, grad_x=False)
            v, _ = _normalised(xp, _part(pulled, layer))
        found.append(xp.reshape(length, (steps, batch)))
    return stack(xp, found, axis=1)


def _all_steps(call: Call, before: State) -> tuple[Call, Any]:
    """Return a call of one step on all steps side by side in the batch, and the states before."""
    s, (steps, batch) = call.setup, call.x.shape[:2]
    xp = s.xp

    def flat(array: Array) -> Array:  # (T, B, ...), or with one sequence for all
        whole = xp.broadcast_to(array, (steps, batch, array.shape[2]))
        return xp.reshape(whole, (1, steps * batch, array.shape[2]))

    masks = Masks(
        tuple(map(flat, s.between)),
        tuple(flat(xp.expand_dims(factors, axis=0))[0, ...] for factors in s.recurrent),
        tuple(tuple(map(flat, update)) for update in s.update),
    )
    mask = None if s.mask is None else flat(s.mask)[..., 0]
    parts = (xp.permute_dims(part, (1, 0, 2, 3)) for part in before)
    state = check.state_of(
        tuple(xp.reshape(p, (p.shape[0], steps * batch, p.shape[3])) for p in parts)
    )
    model, params, _ = without_vocabulary(call)
    model = replace(model, dropout=0.0, recurrent_dropout=0.0, zoneout=0.0)  # masks are given
    options = CallOptions(mask=mask, dropout=masks)
    return prepare(model, params, flat(call.x), state, options), state


def _normalised(xp: Namespace, parts: State) -> tuple[State, Array]:
    """Divide each row of a state (1, N, H) by its length; return the lengths (N,) too."""
    length = norm(xp, xp.concat(list(parts), axis=2), 2)
    divisor = xp.expand_dims(unit_of(xp, length), axis=2)
    return tuple(part / divisor for part in parts), length[0, ...]


def _only(xp: Namespace, parts: State, layer: int, like: State) -> Any:
    """Place the state (1, N, H) of one layer among zeros for the others."""
    layers = like[0].shape[0]

    def place(part: Array) -> Array:
        zero = xp.zeros_like(part)
        return concatenate(xp, [part if i == layer else zero for i in range(layers)])

    return check.state_of(tuple(map(place, parts)))


def _part(state: Any, layer: int) -> State:
    return tuple(part[layer : layer + 1, ...] for part in check.state_parts(state))
