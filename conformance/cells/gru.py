"""Gated recurrent units: rows of the weights are reset, update, new."""

from portable_rnn.cells import GRU, ResetBeforeGRU

from ..mutant import Mutant, gradients
from ..oracles.scalars import affine, clip, elu_half, hard_sigmoid_quarter, recurrent, softsign
from .kind import Kind

__all__ = ["KINDS", "MUTANTS"]


def gru(num, w, ax, state):
    """As torch.nn.GRU has it: the reset gate comes after the product."""
    (h,) = state
    size, ah, after = len(h), recurrent(w, h), []
    for j in range(size):
        r = num.sigmoid(ax[j] + ah[j])
        z = num.sigmoid(ax[size + j] + ah[size + j])
        n = num.tanh(ax[2 * size + j] + r * ah[2 * size + j])
        after.append((1 - z) * n + z * h[j])
    return (after,)


def onnx_gru(num, w, ax, state):
    """ONNX's formulas with linear_before_reset=1."""
    (h,), size = state, len(state[0])
    ah, after = recurrent(w, h), []
    for j in range(size):
        r = hard_sigmoid_quarter(num, clip(num, ax[j] + ah[j]))
        z = hard_sigmoid_quarter(num, clip(num, ax[size + j] + ah[size + j]))
        n = elu_half(num, clip(num, ax[2 * size + j] + r * ah[2 * size + j]))
        after.append((1 - z) * n + z * h[j])
    return (after,)


def reset_before(num, w, ax, state, sigma, tanh, held):
    """Cho et al. as printed: ``U (r ∘ h)``; Keras' reset_after=False."""
    (h,), size = state, len(state[0])
    ah, bias = recurrent(w, h), w.get("bias_hh")
    r = [sigma(num, held(num, ax[j] + ah[j])) for j in range(size)]
    rh = [r[j] * h[j] for j in range(size)]
    rest = None if bias is None else bias[2 * size :]
    un, after = affine(w["weight_hh"][2 * size :], rest, rh), []
    for j in range(size):
        z = sigma(num, held(num, ax[size + j] + ah[size + j]))
        n = tanh(num, held(num, ax[2 * size + j] + un[j]))
        after.append((1 - z) * n + z * h[j])
    return (after,)


def reset_before_gru(num, w, ax, state):
    return reset_before(
        num, w, ax, state, lambda num, a: num.sigmoid(a), lambda num, a: num.tanh(a), unheld
    )


def onnx_reset_before_gru(num, w, ax, state):
    return reset_before(num, w, ax, state, hard_sigmoid_quarter, softsign, clip)


def unheld(num, a):
    return a


KINDS = [
    Kind("gru", gru, {"cell": "gru"}, seed=1),
    Kind("reset_before_gru", reset_before_gru, {"cell": "reset_before_gru"}, seed=4),
    Kind(
        "onnx_gru",
        onnx_gru,
        {"cell": GRU((("hard_sigmoid", 0.25), ("elu", 0.5)), clip=1.5)},
        seed=11,
    ),
    Kind(
        "onnx_reset_before_gru",
        onnx_reset_before_gru,
        {"cell": ResetBeforeGRU((("hard_sigmoid", 0.25), "softsign"), clip=1.5)},
        seed=12,
    ),
]
MUTANTS = [
    Mutant(
        "reset gate on the wrong side",
        "cells/gru.py",
        "a_n = ax[:, 2 * size :] + reset",
        "a_n = r * ax[:, 2 * size :] + ah[:, 2 * size :]",
        gradients("gru-default"),
    ),
    Mutant(
        "reset gate's derivative lost",
        "cells/gru.py",
        "xp.concat([d_ar, d_az, d_an * r], axis=1)",
        "xp.concat([d_ar, d_az, d_an], axis=1)",
        gradients("gru-default"),
    ),
    Mutant(
        "update gate's derivative off by a factor",
        "cells/gru.py",
        "d_az = d_h * (h - n) * f_derivative(xp, z)\n        if inside",
        "d_az = 0.5 * d_h * (h - n) * f_derivative(xp, z)\n        if inside",
        gradients("gru-one_step"),
    ),
    Mutant(
        "state gradient lost",
        "cells/gru.py",
        "return d_ax, d_ah, (d_h * z,)",
        "return d_ax, d_ah, (None,)",
        gradients("gru-state_only"),
    ),
    Mutant(
        "reset state without its cotangent",
        "cells/gru.py",
        "return d_a, d_a, (d_v * r,)",
        "return d_a, d_a, (None,)",
        gradients("reset_before_gru-default"),
    ),
    Mutant(
        "slope of softsign not squared",
        "nonlinearities.py",
        "return rest * rest",
        "return rest",
        gradients("onnx_reset_before_gru-default"),
    ),
    Mutant(
        "reset gate's clip forgotten on the way back",
        "cells/gru.py",
        "d_a = clip_vjp(tuple(inside), d_v * h * f_derivative(xp, r))",
        "d_a = d_v * h * f_derivative(xp, r)",
        gradients("onnx_reset_before_gru-saturated"),
    ),
]
