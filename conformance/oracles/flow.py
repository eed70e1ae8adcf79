"""Gradients with respect to every state, and what every step adds, by the suite's own tape.

Every step has parameters of its own on the tape, and hands copies of its states on: the gradients
of these are those with respect to the state after the step.
"""

import numpy as np

from .numbers import FLOAT
from .scalars import affine
from .tape import Tape

__all__ = ["gradients_by_step"]


def gradients_by_step(model, step, params, x, state, d_outputs, there, masks):
    """Return the loss ``Σ outputs · d_outputs`` and its gradients by name.

    Parameters
    ----------
    model : RNN
    step : callable
        The formulas of its cell, for scalars (``conformance.cells``).
    params : dict of arrays
    x : array (T, B, I), or tokens (T, B)
    state : tuple of arrays (L·D, B, ...)
    d_outputs : array (T, B, O)
    there : boolean array (T, B)
    masks : Masks

    Returns
    -------
    dict of str to array
        ``loss``; ``grad_states[i]``, (T, L·D, B, ...); and ``arrays[name]``, (T, ...).
    """
    grad = np.frompyfunc(lambda value: value.grad, 1, 1)
    steps, loss = len(x), 0.0
    d_states = [np.zeros((steps, *part.shape)) for part in state]
    d_params = {name: np.zeros((steps, *array.shape)) for name, array in params.items()}
    for b in range(x.shape[1]):
        one = _Sequence(model, step, params, masks, b)
        ys = one.run(x[:, b], [part[:, b] for part in state], there[:, b])
        pulled = [pair for t in ys for pair in zip(ys[t], d_outputs[t, b], strict=True)]
        one.tape.pull_back(pulled)
        loss += sum(value.data * d for value, d in pulled)
        for (part, t, i), values in one.states.items():
            d_states[part][t, i, b] = grad(np.asarray(values))
        for (name, t), values in one.params.items():
            d_params[name][t] += grad(values).astype(float)
    found = {f"grad_states[{i}]": array for i, array in enumerate(d_states)}
    return {"loss": np.asarray(loss)} | found | {f"arrays[{n}]": a for n, a in d_params.items()}


class _Sequence:
    """One sequence on a tape of its own."""

    def __init__(self, model, step, params, masks, b):
        self.model, self.step, self.host, self.masks, self.b = model, step, params, masks, b
        self.tape, self.params, self.states = Tape(FLOAT), {}, {}
        self.leaf = np.frompyfunc(self.tape.number, 1, 1)

    def parameter(self, name, t):
        """Return a parameter of one step."""
        if (name, t) not in self.params:
            self.params[name, t] = self.leaf(self.host[name])
        return self.params[name, t]

    def run(self, x, state, there):
        """Return the outputs of the valid steps."""
        steps = [t for t, here in enumerate(there) if here]
        tokens = self.model.vocabulary_size is not None
        ys = {t: self.parameter("embedding.weight", t)[x[t]] if tokens else x[t] for t in steps}
        for i in range(len(state[0])):
            layer, reverse = divmod(i, self.model.directions)
            if not reverse:
                xs, ys = ys, {t: [] for t in steps}
                if layer and self.masks.between:
                    factors = self.masks.between[layer - 1]
                    xs = {
                        t: [a * f for a, f in zip(xs[t], factors[t, self.b], strict=True)]
                        for t in steps
                    }
            now = [self.leaf(part[i]) for part in state]
            for t in reversed(range(len(there))) if reverse else range(len(there)):
                new = self.after(i, t, xs[t], now) if there[t] else now
                now = [[value + 0 for value in part] for part in new]
                for part, values in enumerate(now):
                    self.states[part, t, i] = values
                if there[t]:
                    ys[t] = [*ys[t], *now[0]]
        if self.model.output_size is None:
            return ys
        weight = "embedding.weight" if self.model.tied else "readout.weight"
        return {
            t: affine(self.parameter(weight, t), self.parameter("readout.bias", t), y)
            for t, y in ys.items()
        }

    def after(self, i, t, x, before):
        """Return the state of a layer after a step."""
        layer, reverse = divmod(i, self.model.directions)
        end = f"_l{layer}" + "_reverse" * reverse
        names = [name for name in self.host if name.endswith(end)]
        w = {name.removesuffix(end): self.parameter(name, t) for name in names}
        if self.masks.recurrent:
            w["weight_hh"] = w["weight_hh"] * self.masks.recurrent[i][self.b]
        ax = affine(w["weight_ih"], w.get("bias_ih"), x)
        new = self.step(self.tape, w, ax, tuple(before))
        if not self.masks.update:
            return new
        kept = [update[t, self.b] for update in self.masks.update[i]]
        return [
            [n if one else o for n, o, one in zip(*parts, strict=True)]
            for parts in zip(new, before, kept, strict=True)
        ]
