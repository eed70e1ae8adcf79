"""What follows the recurrent layers of a decoder with attention, for all steps at once.

The hidden states are the queries. A context and the state of the same step make the attentional
state ``a = tanh(W_c [c; h])``, of which the readout is (Luong et al., arXiv 1508.04025, equation
5). Nothing of a step enters the next one, so that there is no loop. Half precision is widened
before the first product and rounded once, at the end.
"""

from collections.abc import Mapping
from typing import NamedTuple

from .._arrays.functions import row, to_accumulation_dtype
from .._arrays.namespace import Array, Namespace
from .._arrays.shown import short_repr
from . import attention
from .affine import SUMS, Linear
from .select import where_true

__all__ = ["ATTENTION", "DecoderTape", "read_memory", "read_memory_vjp"]

ATTENTION = "attention."  # how the names of the parameters of the score begin


class DecoderTape(NamedTuple):
    """What the backward pass needs of all that follows the recurrent layers."""

    attention: attention.Residuals
    joined: Array  # (T, B, V + F), contexts and hidden states
    attentional: Array  # (T, B, F)
    valid: Array | None  # (T, B), the decoder's own steps

    def __repr__(self) -> str:
        return short_repr(self)


def read_memory(
    xp: Namespace,
    score: str,
    params: Mapping[str, Array],
    hidden: Array,
    memory: Array,
    memory_valid: Array | None,
    valid: Array | None,
) -> tuple[Array, DecoderTape]:
    """Return outputs (T, B, O), 0 at steps that are not valid, and what the backward pass needs."""
    own = {n.removeprefix(ATTENTION): a for n, a in params.items() if n.startswith(ATTENTION)}
    context, residuals = attention.attend(xp, score, hidden, memory, None, own, memory_valid)
    joined = xp.concat([context, to_accumulation_dtype(xp, hidden)], axis=2)
    combine, readout = _maps(xp, params)
    attentional = xp.tanh(combine(xp, joined))
    outputs = xp.astype(readout(xp, attentional), hidden.dtype, copy=False)
    tape = DecoderTape(residuals, joined, attentional, valid)
    return where_true(xp, _last_axis(valid), outputs), tape


def read_memory_vjp(
    xp: Namespace, params: Mapping[str, Array], tape: DecoderTape, d_outputs: Array
) -> tuple[dict[str, Array], Array, Array]:
    """Return the cotangents of the parameters, hidden states and memory, rounded."""
    dtype, (combine, readout) = d_outputs.dtype, _maps(xp, params)
    d_y = to_accumulation_dtype(xp, where_true(xp, _last_axis(tape.valid), d_outputs))
    a = tape.attentional
    d_readout = readout.vjp_parameters(xp, a, d_y, SUMS)
    d_a = (1.0 - a * a) * readout.vjp_x(xp, d_y)
    d_joined = combine.vjp_x(xp, d_a)
    size = tape.joined.shape[2] - a.shape[2]
    d_hidden, d_memory, _, d_score = attention.attend_vjp(
        xp, tape.attention, d_joined[:, :, :size], None
    )
    d_hidden = d_hidden + d_joined[:, :, size:]
    grads = {f"{ATTENTION}{name}": d for name, d in d_score.items()}
    grads["combine.weight"] = combine.vjp_weight(xp, tape.joined, d_a, SUMS)
    grads["readout.weight"], grads["readout.bias"] = d_readout.weight, d_readout.bias
    grads = {name: xp.astype(d, dtype, copy=False) for name, d in grads.items()}
    return grads, *(xp.astype(d, dtype, copy=False) for d in (d_hidden, d_memory))


def _maps(xp: Namespace, params: Mapping[str, Array]) -> tuple[Linear, Linear]:
    """Return the products that make the attentional state, and the outputs."""
    combine, weight, bias = (
        to_accumulation_dtype(xp, params[name])
        for name in ("combine.weight", "readout.weight", "readout.bias")
    )
    return Linear(combine), Linear(weight, row(xp, bias, 2))


def _last_axis(valid: Array | None) -> Array | None:
    return None if valid is None else valid[..., None]
