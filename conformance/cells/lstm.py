"""Long short-term memory: rows of the weights are input, forget, cell, output."""

from portable_rnn.cells import LSTM

from ..mutant import Mutant, gradients
from ..oracles.scalars import affine, clip, hard_sigmoid_quarter, recurrent, scaled_tanh, softsign
from .kind import Kind

__all__ = ["KINDS", "MUTANTS"]


def lstm(num, w, ax, state):
    (h, c), size = state, len(state[1])
    ah, h_after, c_after = recurrent(w, h), [], []
    for j in range(size):
        i = num.sigmoid(ax[j] + ah[j])
        f = num.sigmoid(ax[size + j] + ah[size + j])
        g = num.tanh(ax[2 * size + j] + ah[2 * size + j])
        o = num.sigmoid(ax[3 * size + j] + ah[3 * size + j])
        c_after.append(f * c[j] + i * g)
        h_after.append(o * num.tanh(c_after[j]))
    return h_after, c_after


def projected_lstm(num, w, ax, state):
    """``h`` is smaller than ``c``: torch's proj_size."""
    m, c_after = lstm(num, w, ax, state)
    return affine(w["weight_hr"], None, m), c_after


def peephole_lstm(num, w, ax, state):
    """Gers and Schmidhuber: o looks at the new cell state."""
    (h, c), size = state, len(state[1])
    ah, p, h_after, c_after = recurrent(w, h), w["weight_peephole"], [], []
    for j in range(size):
        a = [ax[k * size + j] + ah[k * size + j] for k in range(4)]
        i = num.sigmoid(a[0] + p[j] * c[j])
        f = num.sigmoid(a[1] + p[size + j] * c[j])
        c_after.append(f * c[j] + i * num.tanh(a[2]))
        o = num.sigmoid(a[3] + p[2 * size + j] * c_after[j])
        h_after.append(o * num.tanh(c_after[j]))
    return h_after, c_after


def coupled_lstm(num, w, ax, state):
    """Input, cell, output; what is not let in is kept."""
    (h, c), size = state, len(state[1])
    ah, h_after, c_after = recurrent(w, h), [], []
    for j in range(size):
        i = num.sigmoid(ax[j] + ah[j])
        g = num.tanh(ax[size + j] + ah[size + j])
        o = num.sigmoid(ax[2 * size + j] + ah[2 * size + j])
        c_after.append((1 - i) * c[j] + i * g)
        h_after.append(o * num.tanh(c_after[j]))
    return h_after, c_after


def onnx_lstm(num, w, ax, state):
    """ONNX's formulas with P and input_forget=1; rows of the weights are i, g, o."""
    (h, c), size = state, len(state[1])
    ah, p, h_after, c_after = recurrent(w, h), w["weight_peephole"], [], []
    for j in range(size):
        a = [ax[k * size + j] + ah[k * size + j] for k in range(3)]
        i = hard_sigmoid_quarter(num, clip(num, a[0] + p[j] * c[j]))
        c_after.append((1 - i) * c[j] + i * softsign(num, clip(num, a[1])))
        o = hard_sigmoid_quarter(num, clip(num, a[2] + p[size + j] * c_after[j]))
        h_after.append(o * scaled_tanh(num, c_after[j]))
    return h_after, c_after


KINDS = [
    Kind("lstm", lstm, {"cell": "lstm"}, seed=2),
    Kind("peephole_lstm", peephole_lstm, {"cell": LSTM(peepholes=True)}, seed=5),
    Kind("coupled_lstm", coupled_lstm, {"cell": LSTM(coupled=True)}, seed=6),
    Kind("projected_lstm", projected_lstm, {"cell": "lstm", "projection_size": 3}, seed=7),
    Kind(
        "onnx_lstm",
        onnx_lstm,
        {
            "cell": LSTM(
                peepholes=True,
                coupled=True,
                activations=(("hard_sigmoid", 0.25), "softsign", ("scaled_tanh", 1.5, 0.5)),
                clip=1.5,
            )
        },
        seed=13,
    ),
]
MUTANTS = [
    Mutant(
        "sigmoid derivative without 1-s",
        "activations.py",
        "return s * (1.0 - s)",
        "return s",
        gradients("lstm-default"),
    ),
    Mutant(
        "gates never filled",
        "cells/lstm.py",
        "return d_a, d_a, (None, d_c_before)\n",
        "return 0.0 * d_a, 0.0 * d_a, (None, d_c_before)\n",
        gradients("lstm-default"),
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
]
