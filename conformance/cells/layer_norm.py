"""The layer-normalised cells of Ba, Kiros and Hinton."""

from ..mutant import Mutant, gradients
from ..oracles.scalars import norm, recurrent
from .kind import Kind

__all__ = ["KINDS", "MUTANTS"]


def layer_norm_elman(num, w, ax, state):
    """Equation 4 of Ba et al."""
    ah = recurrent(w, state[0])
    normal = norm(num, [x + h for x, h in zip(ax, ah, strict=True)])
    gain, bias = w["weight_norm"], w["bias_norm"]
    return ([num.tanh(gain[j] * a + bias[j]) for j, a in enumerate(normal)],)


def layer_norm_lstm(num, w, ax, state):
    """Equations 20 to 22 of Ba et al."""
    (h, c), size = state, len(state[1])
    nx, nh = norm(num, ax), norm(num, recurrent(w, h))
    gain_x, gain_h, bias = w["weight_norm_ih"], w["weight_norm_hh"], w["bias_norm"]
    a = [gain_x[j] * nx[j] + gain_h[j] * nh[j] + bias[j] for j in range(4 * size)]
    c_after = [
        num.sigmoid(a[size + j]) * c[j] + num.sigmoid(a[j]) * num.tanh(a[2 * size + j])
        for j in range(size)
    ]
    gain, bias = w["weight_norm_c"], w["bias_norm_c"]
    return [
        num.sigmoid(a[3 * size + j]) * num.tanh(gain[j] * n + bias[j])
        for j, n in enumerate(norm(num, c_after))
    ], c_after


KINDS = [
    Kind("layer_norm_elman", layer_norm_elman, {"cell": "layer_norm_elman"}, seed=8),
    Kind("layer_norm_lstm", layer_norm_lstm, {"cell": "layer_norm_lstm"}, seed=9),
]
MUTANTS = [
    Mutant(
        "normalisation with its deviation held fixed",
        "cells/layer_norm.py",
        "d_centred = d_normal - normal * _mean(xp, d_normal * normal)",
        "d_centred = d_normal",
        gradients("layer_norm_elman-default"),
    ),
    Mutant(
        "gain left out on the way back",
        "cells/layer_norm.py",
        "norm_vjp(xp, kept_c, d_y * w_c)",
        "norm_vjp(xp, kept_c, d_y)",
        gradients("layer_norm_lstm-default"),
    ),
    Mutant(
        "normalisation with its mean held fixed",
        "cells/layer_norm.py",
        "scale * (d_centred - _mean(xp, d_normal))",
        "scale * d_centred",
        gradients("layer_norm_elman-default"),
    ),
]
