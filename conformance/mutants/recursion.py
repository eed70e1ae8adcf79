"""One layer through time: the recursion, and the gradients of its weights."""

from .mutant import Mutant, gradients

__all__ = ["RECURSION"]


RECURSION = [
    Mutant(
        "first step dropped",
        "recurrence.py",
        "d_w_hh = products.weight(xp, h, d_ah)",
        "d_w_hh = products.weight(xp, h[1:, ...], d_ah[1:, ...])",
        gradients("elman-default"),
    ),
    Mutant(
        "last cotangent ignored",
        "network.py",
        "            d_part, d_x_part, d_states = _retreat(\n",
        "            d_y = xp.concat([d_y[:-1, ...], 0.0 * d_y[-1:, ...]])\n"
        "            d_part, d_x_part, d_states = _retreat(\n",
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
        "late gates with the state's product",
        "recurrence.py",
        "products.weight(xp, v, of_v)",
        "products.weight(xp, h, of_v)",
        gradients("reset_before_gru-default"),
    ),
    Mutant(
        "projection's gradient a step late",
        "recurrence.py",
        "products.weight(xp, *projected)",
        "products.weight(xp, projected[0][:-1, ...], projected[1][1:, ...])",
        gradients("projected_lstm-default"),
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
        "return _plus(d_column, d_block), d_x",
        "return d_block, d_x",
        gradients("elman-600_steps"),
    ),
    Mutant(
        "hidden bias with the input's gradient",
        "recurrence.py",
        "bias_hh=products.bias(xp, w.bias_hh, d_ah)",
        "bias_hh=products.bias(xp, w.bias_hh, d_ax)",
        gradients("gru-default"),
    ),
]
