"""Planted bugs: each a change of one line of the library, and the test that must notice.

The mistakes are those that people make, and some that published code has been found to contain. A
suite that lets one live would prove little; test_mutants.py plants them one by one.
"""

from dataclasses import dataclass

__all__ = ["MUTANTS", "Mutant"]

GRADIENTS = "conformance/test_gradients.py::test_equals_the_reference[{}]"
LOSSES = "conformance/test_losses.py::test_a_loss_is_its_definition[{}]"


@dataclass(frozen=True)
class Mutant:
    """What is wrong, where, the right line and the wrong one, and the test that catches it."""

    bug: str
    module: str
    right: str
    wrong: str
    caught_by: str

    @property
    def id(self) -> str:
        return self.bug.replace(" ", "-")


def gradients(problem, backend="numpy", dtype="float64"):
    return GRADIENTS.format(f"{backend}-{dtype}-{problem}")


def losses(case, reduction="mean", steps="all", backend="numpy", dtype="float64"):
    return LOSSES.format(f"{backend}-{dtype}-{case}-{reduction}-{steps}")


MUTANTS = [
    Mutant(
        "first step dropped",
        "products.py",
        "d_w_hh = products.weight(xp, h, d_ah)",
        "d_w_hh = products.weight(xp, h[1:, ...], d_ah[1:, ...])",
        gradients("elman-default"),
    ),
    Mutant(
        "last cotangent ignored",
        "network.py",
        "stretch.of(d_outputs))\n",
        "stretch.of(d_outputs))\n"
        "            d_y = xp.concat([d_y[:-1, ...], 0.0 * d_y[-1:, ...]])\n",
        gradients("lstm-outputs_only"),
    ),
    Mutant(
        "h_t for h_t-1",
        "bptt.py",
        "join(xp, shift(xp, record.before[0], record.hidden, reverse=options.reverse))",
        "join(xp, record.hidden)",
        gradients("gru-default"),
    ),
    Mutant(
        "zero for the first state",
        "scan.py",
        "else [first, *sequence[:-1]]",
        "else [0.0 * first, *sequence[:-1]]",
        gradients("elman-default"),
    ),
    Mutant(
        "transposed weights in the recursion",
        "bptt.py",
        "d_h = affine_vjp_x(xp, w.weight_hh, d_ah)",
        "d_h = affine_vjp_x(xp, w.weight_hh.T, d_ah)",
        gradients("elman-square"),
    ),
    Mutant(
        "transposed input weights",
        "affine.py",
        "y = _matmul(xp, x, weight.T)",
        "y = _matmul(xp, x, weight if weight.shape[0] == weight.shape[1] else weight.T)",
        gradients("elman-square"),
    ),
    Mutant(
        "tanh derivative without the square",
        "activations.py",
        "return 1.0 - h * h",
        "return 1.0 - h",
        gradients("elman-default"),
    ),
    Mutant(
        "constant wrong by 1e-5 in float32",
        "activations.py",
        "return 1.0 - h * h",
        "return 1.00001 - h * h",
        gradients("elman-default", dtype="float32"),
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
        "a_o = a_o + p[split:] * c\n",
        "a_o = a_o + p[split:] * c_before\n",
        gradients("peephole_lstm-default"),
    ),
    Mutant(
        "peephole's way to the cell state lost",
        "cells/lstm.py",
        "d_c = d_c + d_ao * p[split:]",
        "d_c = d_c + 0.0 * d_ao * p[split:]",
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
        "late gates with the state's product",
        "products.py",
        "products.weight(xp, v, of_v)",
        "products.weight(xp, h, of_v)",
        gradients("reset_before_gru-default"),
    ),
    Mutant(
        "projection's gradient a step late",
        "products.py",
        "products.weight(xp, *projected)",
        "products.weight(xp, projected[0][:-1, ...], projected[1][1:, ...])",
        gradients("projected_lstm-default"),
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
        "final state's cotangent ignored",
        "passes.py",
        "_states(xp, model, d_state, x, order, batched=batched)",
        "_states(xp, model, None, x, order, batched=batched)",
        gradients("elman-state_only"),
    ),
    Mutant(
        "accumulator started from the parameters",
        "network.py",
        "Column(tuple(Weights(None, None, None, None) for _ in column.layers))",
        "Column(column.layers)",
        gradients("elman-default"),
    ),
    Mutant(
        "only the last stretch's weight gradients",
        "network.py",
        "d_column = _plus(d_column, d_part)",
        "d_column = d_part",
        gradients("elman-600_steps"),
    ),
    Mutant(
        "hidden bias with the input's gradient",
        "products.py",
        "bias_hh=products.bias(xp, w.bias_hh, d_ah)",
        "bias_hh=products.bias(xp, w.bias_hh, d_ax)",
        gradients("gru-default"),
    ),
    Mutant(
        "batch and time confused",
        "layout.py",
        "    sequence = xp.permute_dims(sequence, (1, 0, 2)) if model.batch_first else sequence\n"
        "    return _sorted(xp, sequence, order",
        "    return _sorted(xp, sequence, order",
        gradients("gru-batch_first"),
    ),
    Mutant(
        "device forgotten",
        "passes.py",
        "xp.zeros(shape[1:], dtype=x.dtype, device=device_of(x))",
        "xp.zeros(shape[1:], dtype=x.dtype)",
        gradients("elman-zero_state", "array-api-strict-device1"),
    ),
    Mutant(
        "dtype forgotten",
        "passes.py",
        "xp.zeros(shape[1:], dtype=x.dtype, device=device_of(x))",
        "xp.zeros(shape[1:], device=device_of(x))",
        gradients("elman-zero_state", dtype="float32"),
    ),
    Mutant(
        "host constant mixed in",
        "activations.py",
        "return 1.0 - h * h",
        "return __import__('numpy').ones(h.shape[-1]) - h * h",
        gradients("elman-default", "array-api-strict"),
    ),
    Mutant(
        "float in the hot path",
        "network.py",
        "hidden)\n            if column",
        "hidden)\n            float(y[0, 0, 0])\n            if column",
        gradients("elman-default", "torch-meta"),
    ),
    Mutant(
        "write into the caller's array",
        "passes.py",
        "    sequence = layout.time_major(xp, model, x, steps.order)\n",
        "    x *= 1.0\n    sequence = layout.time_major(xp, model, x, steps.order)\n",
        gradients("elman-default", "numpy-readonly"),
    ),
    Mutant(
        "second direction read forwards",
        "network.py",
        "                reverse=reverse,\n",
        "                reverse=False,\n",
        gradients("gru-both_directions"),
    ),
    Mutant(
        "next step's state for the reversed direction",
        "scan.py",
        "[*sequence[1:], first] if reverse else",
        "",
        gradients("elman-both_directions"),
    ),
    Mutant(
        "directions' halves of the readout exchanged",
        "network.py",
        "d_v = walk.products.beside(xp, d_one.readout_weight, d_other.readout_weight)",
        "d_v = walk.products.beside(xp, d_other.readout_weight, d_one.readout_weight)",
        gradients("lstm-readout-both_directions"),
    ),
    Mutant(
        "one direction's gradient of x lost",
        "network.py",
        "            d_y = d_y + d_y_other\n",
        "",
        gradients("elman-two_layers-both_directions"),
    ),
    Mutant(
        "upper layer fed with x",
        "network.py",
        "y = join(xp, records[number - 1].hidden) if number else",
        "y = join(xp, records[number].hidden) if number else",
        gradients("lstm-two_layers"),
    ),
    Mutant(
        "state not carried over a gap",
        "bptt.py",
        "            new = choose(xp, update_t, new, state)\n",
        "            new = choose(xp, update_t, new, tuple(0.0 * part for part in state))\n",
        gradients("elman-mask"),
    ),
    Mutant(
        "cotangent not carried over a gap",
        "bptt.py",
        "            d_state = tuple(map(xp.add, d_state, d_held))\n",
        "            d_state = d_state\n",
        gradients("gru-mask"),
    ),
    Mutant(
        "padding's cotangents let in",
        "network.py",
        "d_y = where_true(xp, _part(walk.mask, stretch), stretch.of(d_outputs))",
        "d_y = stretch.of(d_outputs)",
        gradients("lstm-readout-mask"),
    ),
    Mutant(
        "batch not brought back to the caller's order",
        "layout.py",
        "    sequence = _sorted(xp, sequence, inverse, axis=1)\n",
        "",
        gradients("elman-lengths"),
    ),
    Mutant(
        "row sum left out of the softmax gradient",
        "losses.py",
        "xp.exp(log_p) * total - y",
        "xp.exp(log_p) - y",
        losses("rows-of-any-sum"),
    ),
    Mutant(
        "mean over the masked steps too",
        "losses.py",
        "exp(log_p) * total - y, _sum(xp, scale), reduction)",
        "exp(log_p) * total - y, _sum(xp, xp.ones_like(scale)), reduction)",
        losses("labels", steps="masked"),
    ),
    Mutant(
        "no shift in the softmax",
        "losses.py",
        "z = z - xp.astype(xp.max(real_part(xp, z), axis=-1, keepdims=True), z.dtype)",
        "z = z",
        "conformance/test_losses.py::test_extreme_logits_do_not_overflow[numpy]",
    ),
    Mutant(
        "squares' gradient without the 2",
        "losses.py",
        "2.0 * weighted, count",
        "weighted, count",
        losses("squares"),
    ),
]
