"""One step of a cell: its gates, its nonlinearities, its normalisation."""

from .mutant import Mutant, gradients

__all__ = ["CELLS"]


CELLS = [
    Mutant(
        "tanh derivative without the square",
        "activations.py",
        "return 1.0 - h * h",
        "return 1.0 - h",
        gradients("elman-default"),
    ),
    Mutant(
        "sigmoid derivative without 1-s",
        "activations.py",
        "return s * (1.0 - s)",
        "return s",
        gradients("lstm-default"),
    ),
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
        "gates never filled",
        "cells/lstm.py",
        "return d_a, d_a, (None, d_c_before)\n",
        "return 0.0 * d_a, 0.0 * d_a, (None, d_c_before)\n",
        gradients("lstm-default"),
    ),
    Mutant(
        "state gradient lost",
        "cells/gru.py",
        "return d_ax, d_ah, (d_h * z,)",
        "return d_ax, d_ah, (None,)",
        gradients("gru-state_only"),
    ),
    Mutant(
        "cell state's future lost",
        "cells/lstm.py",
        "d_c = d_c + d_h * o * tanh_c_d(xp, squashed)",
        "d_c = d_h * o * tanh_c_d(xp, squashed)",
        gradients("lstm-default"),
    ),
    Mutant(
        "new cell state for the old",
        "cells/lstm.py",
        "xp.concat([d_c * g, d_c * c_before], axis=1)",
        "xp.concat([d_c * g, d_c * c], axis=1)",
        gradients("lstm-default"),
    ),
    Mutant(
        "peephole at the old cell state",
        "cells/lstm.py",
        "a_o = a_o + p[:, split:] * c\n",
        "a_o = a_o + p[:, split:] * c_before\n",
        gradients("peephole_lstm-default"),
    ),
    Mutant(
        "peephole's way to the cell state lost",
        "cells/lstm.py",
        "d_c = d_c + d_ao * p[:, split:]",
        "d_c = d_c + 0.0 * d_ao * p[:, split:]",
        gradients("peephole_lstm-default"),
    ),
    Mutant(
        "coupled gate that only lets in",
        "cells/lstm.py",
        "d_if = d_c * (g - c_before)",
        "d_if = d_c * g",
        gradients("coupled_lstm-default"),
    ),
    Mutant(
        "one gate with one of its two cotangents",
        "cells/mgu.py",
        " + d_an * reset * (1.0 - f)",
        "",
        gradients("mgu-default"),
    ),
    Mutant(
        "reset state without its cotangent",
        "cells/gru.py",
        "return d_a, d_a, (d_v * r,)",
        "return d_a, d_a, (None,)",
        gradients("reset_before_gru-default"),
    ),
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
        "gradient through a clip",
        "nonlinearities.py",
        "return d_a * residuals[0] if residuals else d_a",
        "return d_a",
        gradients("onnx_elman-default"),
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
    Mutant(
        "normalisation with its mean held fixed",
        "cells/layer_norm.py",
        "scale * (d_centred - _mean(xp, d_normal))",
        "scale * d_centred",
        gradients("layer_norm_elman-default"),
    ),
]
