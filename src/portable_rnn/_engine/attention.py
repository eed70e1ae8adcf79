"""Attention over a memory: scores, their softmax over valid steps, and a weighted sum of values.

Inside, arrays are batch-major, so that each product is one for every sequence: queries (B, T, H),
a memory (B, S, M), values (B, S, V), scores and weights (B, T, S). Half precision is widened before
the first product and rounded once, at the end. Steps that are not valid are zero before anything
looks at them, and have no weight: what stood there reaches nothing.
"""

from collections.abc import Mapping
from typing import NamedTuple

from .._arrays.functions import real_part, row, sum_over, to_accumulation_dtype
from .._arrays.namespace import Array, Namespace
from .._arrays.shown import short_repr
from .affine import SUMS, Linear
from .select import where_true

__all__ = ["SCORES", "Residuals", "attend", "attend_vjp"]

SCORES = ("dot", "scaled_dot", "general", "additive")


class Residuals(NamedTuple):
    """What the backward pass needs of an attention: given arrays, and two computed ones.

    No text says which score it is: ``jax.jit`` may return all this.
    """

    query: Array  # (T, B, H)
    memory: Array  # (S, B, M)
    values: Array | None  # (S, B, V), if they are not the memory
    params: Mapping[str, Array]
    valid: Array | None  # (S, B), booleans
    weights: Array  # (B, T, S), in the accumulation dtype
    hidden: Array | None  # (B, T, S, A), of additive scores
    scale: float | None  # of scaled dot products

    def __repr__(self) -> str:
        return short_repr(self)


def attend(
    xp: Namespace,
    score: str,
    query: Array,
    memory: Array,
    values: Array | None,
    params: Mapping[str, Array],
    valid: Array | None,
) -> tuple[Array, Residuals]:
    """Return the context (T, B, V), in the accumulation dtype, and what the backward pass needs."""
    w = {name: to_accumulation_dtype(xp, array) for name, array in params.items()}
    q, m = _rows(xp, query), _rows(xp, memory, valid)
    hidden, scale = None, q.shape[-1] ** -0.5 if score == "scaled_dot" else None
    if score == "additive":
        hidden = _hidden(xp, w, q, m)
        scores = Linear(w["weight_score"])(xp, hidden)[..., 0]
    else:
        scores = xp.matmul(_keys(xp, w, q, scale), _transposed(xp, m))
    weights = _softmax(xp, scores, _pairs(valid))
    v = m if values is None else _rows(xp, values, valid)
    context = xp.permute_dims(xp.matmul(weights, v), (1, 0, 2))
    return context, Residuals(query, memory, values, dict(params), valid, weights, hidden, scale)


def attend_vjp(
    xp: Namespace, r: Residuals, d_context: Array, d_weights: Array | None
) -> tuple[Array, Array, Array | None, dict[str, Array]]:
    """Return the cotangents of queries, memory, values and parameters, in the accumulation dtype.

    That of the values is part of the memory's if they are the memory.
    """
    w = {name: to_accumulation_dtype(xp, array) for name, array in r.params.items()}
    q, m = _rows(xp, r.query), _rows(xp, r.memory, r.valid)
    v = m if r.values is None else _rows(xp, r.values, r.valid)
    d_context = _rows(xp, d_context)
    d_v = xp.matmul(_transposed(xp, r.weights), d_context)
    d_p = xp.matmul(d_context, _transposed(xp, v))
    if d_weights is not None:
        d_p = d_p + where_true(xp, _pairs(r.valid), _rows(xp, d_weights))
    d_scores = _softmax_vjp(xp, r.weights, d_p)
    d_w: dict[str, Array] = {}
    if r.hidden is not None:
        d_q, d_m, d_w = _additive_vjp(xp, w, q, m, r.hidden, d_scores)
    else:
        d_keys = xp.matmul(d_scores, m)
        d_m = xp.matmul(_transposed(xp, d_scores), _keys(xp, w, q, r.scale))
        d_q = _keys_vjp(xp, w, d_keys, r.scale)
        if w:
            d_w = {"weight": Linear(w["weight"]).vjp_weight(xp, d_keys, q, SUMS)}
    if r.values is None:
        d_m, d_v = d_m + d_v, None
    d_q, d_m = _steps(xp, d_q), _steps(xp, d_m, r.valid)
    return d_q, d_m, None if d_v is None else _steps(xp, d_v, r.valid), d_w


def _keys(xp: Namespace, w: Mapping[str, Array], q: Array, scale: float | None) -> Array:
    """Return what the memory is multiplied with, (B, T, M): queries, or their products ``q W``."""
    if w:
        return Linear(w["weight"].T)(xp, q)
    return q if scale is None else q * scale


def _keys_vjp(xp: Namespace, w: Mapping[str, Array], d: Array, scale: float | None) -> Array:
    """Return the cotangent of the queries, (B, T, H)."""
    if w:
        return Linear(w["weight"].T).vjp_x(xp, d)
    return d if scale is None else d * scale


def _hidden(xp: Namespace, w: Mapping[str, Array], q: Array, m: Array) -> Array:
    """Return ``tanh(W_q q + W_m m)`` for each query and step, (B, T, S, A)."""
    queries = Linear(w["weight_query"])(xp, q)
    return xp.tanh(queries[:, :, None, :] + Linear(w["weight_memory"])(xp, m)[:, None, :, :])


def _additive_vjp(
    xp: Namespace, w: Mapping[str, Array], q: Array, m: Array, hidden: Array, d_scores: Array
) -> tuple[Array, Array, dict[str, Array]]:
    """Return the cotangents of queries, memory and parameters of additive scores."""
    d_scores = d_scores[..., None]
    d = (1.0 - hidden * hidden) * (d_scores * row(xp, w["weight_score"], 4))
    d_queries, d_memory = sum_over(xp, d, axis=2), sum_over(xp, d, axis=1)
    of_query, of_memory = Linear(w["weight_query"]), Linear(w["weight_memory"])
    flat = (-1, hidden.shape[-1])
    d_w = {
        "weight_query": of_query.vjp_weight(xp, q, d_queries, SUMS),
        "weight_memory": of_memory.vjp_weight(xp, m, d_memory, SUMS),
        "weight_score": Linear(w["weight_score"]).vjp_weight(
            xp, xp.reshape(hidden, flat), xp.reshape(d_scores, (-1, 1)), SUMS
        ),
    }
    return of_query.vjp_x(xp, d_queries), of_memory.vjp_x(xp, d_memory), d_w


def _softmax(xp: Namespace, scores: Array, valid: Array | None) -> Array:
    """Return the softmax over the last axis; 0 where not valid, in all of a row without any."""
    if valid is None:
        shifted = scores - _largest(xp, scores, None)
        weights = xp.exp(shifted)
        return weights / sum_over(xp, weights, axis=-1, keepdims=True)
    shifted = where_true(xp, valid, scores - _largest(xp, scores, valid))
    weights = where_true(xp, valid, xp.exp(shifted))
    total = sum_over(xp, weights, axis=-1, keepdims=True)
    some = xp.any(valid, axis=-1, keepdims=True)
    return weights / xp.where(some, total, xp.ones_like(total))


def _largest(xp: Namespace, scores: Array, valid: Array | None) -> Array:
    """Return the largest valid score of each row, 0 if there is none.

    The shift cancels, so its derivative is not needed, and the real part suffices.
    """
    values = real_part(xp, scores)
    if valid is None:
        return xp.astype(xp.max(values, axis=-1, keepdims=True), scores.dtype, copy=False)
    values = xp.where(valid, values, xp.full_like(values, -float("inf")))
    top = xp.max(values, axis=-1, keepdims=True)
    top = where_true(xp, xp.any(valid, axis=-1, keepdims=True), top)
    return xp.astype(top, scores.dtype, copy=False)


def _softmax_vjp(xp: Namespace, weights: Array, d: Array) -> Array:
    """Return the cotangent of the scores; it is 0 where there is no weight."""
    d = weights * d
    return d - weights * sum_over(xp, d, axis=-1, keepdims=True)


def _rows(xp: Namespace, steps: Array, valid: Array | None = None) -> Array:
    """Return steps (T, B, F) batch-major, in the accumulation dtype, with zeros if not valid."""
    if valid is not None:
        steps = where_true(xp, valid[..., None], steps)
    return xp.permute_dims(to_accumulation_dtype(xp, steps), (1, 0, 2))


def _steps(xp: Namespace, rows: Array, valid: Array | None = None) -> Array:
    """Undo `_rows`, for cotangents."""
    steps = xp.permute_dims(rows, (1, 0, 2))
    return steps if valid is None else where_true(xp, valid[..., None], steps)


def _pairs(valid: Array | None) -> Array | None:
    """Return the valid steps as a mask of pairs of a query and a step, (B, 1, S)."""
    return None if valid is None else valid.T[:, None, :]


def _transposed(xp: Namespace, matrices: Array) -> Array:
    return xp.permute_dims(matrices, (0, 2, 1))
