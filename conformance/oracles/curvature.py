"""Second derivatives by differences of 50-digit gradients: no complex number anywhere.

A central difference with a step of 1e-15 errs by 1e-30 of the third derivative, and loses 15
of the 50 digits.
"""

from dataclasses import replace

import numpy as np

from ..losses import LOSSES
from .numbers import digits
from .scalar_loop import forward, gradients
from .tape import Tape

__all__ = ["derivatives"]

STEP = 15  # digits


def derivatives(problem, inputs, targets, tangents):
    """Return jvp, Hessian and Gauss-Newton product, and gradients by sequence, by name, float64.

    ``tangents`` is an `Inputs` like ``inputs`` without cotangents: a direction of parameters, x
    and state. The loss is the sum of softmax cross-entropies; the products are with the
    direction of the parameters alone.
    """
    numbers = replace(digits(50), dtype="object")
    along = inputs._replace(d_outputs=None, d_state=None)
    only_params = tangents._replace(x=None, state=None)

    d_outputs, d_after = _slope(numbers, lambda at: forward(problem, at, numbers), along, tangents)
    (hessian,) = _slope(
        numbers, lambda at: (_gradient(problem, numbers, at, targets),), along, only_params
    )
    pushed, _ = _slope(numbers, lambda at: forward(problem, at, numbers), along, only_params)
    outputs, after = forward(problem, along, numbers)
    (curved,) = _slope(
        numbers,
        lambda at: (_d_outputs(problem, numbers, at.x, targets),),
        along._replace(params={}, x=outputs, state=None),
        along._replace(params={}, x=pushed, state=None),
    )
    pulled = gradients(problem, along._replace(d_outputs=curved), numbers)
    d_loss = _d_outputs(problem, numbers, outputs, targets)
    each = [
        gradients(problem, along._replace(d_outputs=alone), numbers)
        for alone in _by_sequence(problem, d_loss)
    ]
    found = {"outputs": outputs, "jvp": d_outputs}
    found |= {f"state[{i}]": part for i, part in enumerate(after)}
    found |= {f"jvp_state[{i}]": part for i, part in enumerate(d_after)}
    found |= {f"hvp[{name}]": array for name, array in hessian.items()}
    found |= {f"gnvp[{name}]": pulled[f"d_params[{name}]"] for name in inputs.params}
    squares = 0
    for name in inputs.params:
        rows = np.stack([one[f"d_params[{name}]"] for one in each])
        found[f"each[{name}]"] = rows
        squares = squares + np.sum(rows.reshape(len(rows), -1) ** 2, axis=1)
    found["norms"] = squares**0.5
    return {name: np.asarray(array).astype("float64") for name, array in found.items()}


def _gradient(problem, numbers, inputs, targets):
    outputs, _ = forward(problem, inputs, numbers)
    d_outputs = _d_outputs(problem, numbers, outputs, targets)
    found = gradients(problem, inputs._replace(d_outputs=d_outputs), numbers)
    return {name: found[f"d_params[{name}]"] for name in inputs.params}


def _by_sequence(problem, d_outputs):
    """Return the cotangents of one sequence after another, zero for the others."""
    if problem.batch is None:
        return [d_outputs]
    axis = 0 if problem.batch_first else 1
    found = []
    for b in range(problem.batch):
        alone = np.zeros_like(d_outputs)
        here = (b,) if axis == 0 else (slice(None), b)
        alone[here] = d_outputs[here]
        found.append(alone)
    return found


def _d_outputs(problem, numbers, outputs, targets):
    tape = Tape(numbers)
    there = problem.there().T if problem.batch_first else problem.there()
    rows = np.frompyfunc(tape.number, 1, 1)(outputs.reshape(-1, outputs.shape[-1]))
    total = LOSSES["softmax_cross_entropy"].total
    value, _ = total(tape, rows, targets.reshape(-1), there.reshape(-1))
    tape.pull_back([(value, 1)])
    return np.asarray([v.grad for v in rows.flat], dtype=object).reshape(outputs.shape)


def _slope(numbers, f, point, tangent):
    """Return the derivative of every array that ``f`` returns, by a central difference."""
    step = numbers.number(10) ** -STEP
    exact = np.frompyfunc(numbers.number, 1, 1)

    def at(sign):
        def moved(value, along):
            if value is None or along is None:
                return value
            if isinstance(value, dict):
                return {name: moved(value[name], along[name]) for name in value}
            if isinstance(value, tuple):
                return tuple(map(moved, value, along))
            return exact(value) + exact(along) * (sign * step)

        return f(type(point)(*map(moved, point, tangent)))

    def difference(after, before):
        if isinstance(after, dict):
            return {name: difference(after[name], before[name]) for name in after}
        if isinstance(after, tuple):
            return tuple(map(difference, after, before))
        return (after - before) / (2 * step)

    return tuple(map(difference, at(1), at(-1)))
