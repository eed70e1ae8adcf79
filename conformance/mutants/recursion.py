"""One layer through time: the recursion, and the gradients of its weights."""

from ..mutant import Mutant, gradients

__all__ = ["RECURSION"]


RECURSION = [
    Mutant(
        "first step dropped",
        "_engine/recurrence.py",
        "hh=w.hh.vjp_parameters(xp, h, d_ah, products)",
        "hh=w.hh.vjp_parameters(xp, h[1:, ...], d_ah[1:, ...], products)",
        gradients("elman-default"),
    ),
    Mutant(
        "last cotangent ignored",
        "_engine/run.py",
        "            totals[level], d_x_part, d_states = StackChunk(",
        "            d_y = xp.concat([d_y[:-1, ...], 0.0 * d_y[-1:, ...]])\n"
        "            totals[level], d_x_part, d_states = StackChunk(",
        gradients("lstm-outputs_only"),
    ),
    Mutant(
        "h_t for h_t-1",
        "_engine/bptt.py",
        "loop.shift(xp, record.before[0], record.hidden, reverse=s.reverse)",
        "record.hidden",
        gradients("gru-default"),
    ),
    Mutant(
        "zero for the first state",
        "_executors/eager.py",
        "else [first, *sequence[:-1]]",
        "else [0.0 * first, *sequence[:-1]]",
        gradients("elman-default"),
    ),
    Mutant(
        "transposed weights in the recursion",
        "_engine/recurrence.py",
        "d_h = w.hh.vjp_x(xp, d_ah)",
        "d_h = Linear(w.hh.weight.T).vjp_x(xp, d_ah)",
        gradients("elman-square"),
    ),
    Mutant(
        "transposed input weights",
        "_engine/affine.py",
        "weight_t = self.weight.T if self.transposed is None else self.transposed",
        "weight_t = self.weight if self.weight.shape[0] == x.shape[-1] else self.weight.T",
        gradients("elman-square"),
    ),
    Mutant(
        "transposed weights of the first gates for the last",
        "_engine/affine.py",
        "else self.transposed[:, part]",
        "else self.transposed[:, : self.weight[part, :].shape[0]]",
        "tests/test_recurrence.py::test_transposed_weights_are_the_weights[second product]",
    ),
    Mutant(
        "second product with the state's vector",
        "_engine/recurrence.py",
        "w.hh.vjp_weight(xp, rows[0], of_v, products)",
        "w.hh.vjp_weight(xp, h, of_v, products)",
        gradients("reset_before_gru-default"),
    ),
    Mutant(
        "projection's gradient a step late",
        "_engine/recurrence.py",
        "w.hr.vjp_parameters(xp, m, d_h, products)",
        "w.hr.vjp_parameters(xp, m[:-1, ...], d_h[1:, ...], products)",
        gradients("projected_lstm-default"),
    ),
    Mutant(
        "final state's cotangent ignored",
        "_calls/call.py",
        "states_of(s, model, d_state, call.x, batched=batched)",
        "states_of(s, model, None, call.x, batched=batched)",
        gradients("elman-state_only"),
    ),
    Mutant(
        "accumulator started from the parameters",
        "_engine/run.py",
        "totals: list[Stack | None] = [None, None, None]\n",
        "totals: list[Stack | None] = [None, None, Stack(stack.layers)]\n",
        gradients("elman-default"),
    ),
    Mutant(
        "only the last chunk's weight gradients",
        "_engine/run.py",
        "records.pop(), d_y, d_states, totals[level]\n",
        "records.pop(), d_y, d_states, None\n",
        gradients("elman-600_steps"),
    ),
    Mutant(
        "hidden bias with the input's gradient",
        "_engine/recurrence.py",
        "hh=w.hh.vjp_parameters(xp, h, d_ah, products)",
        "hh=w.hh.vjp_parameters(xp, h, d_ah, products)._replace(\n"
        "                bias=products.bias(xp, w.hh.bias, d_ax)\n"
        "            )",
        gradients("gru-default"),
    ),
]
