"""Networks as loops over scalars, with the formulas of each cell in `conformance.cells`.

A batch is a loop over its sequences, a product of matrices is a loop over units, and every number
is a Python object of the requested kind: float, complex, or 50 digits.
"""

from functools import partial
from operator import attrgetter
from typing import Any

import numpy as np

from ..cells import KINDS
from . import results
from .numbers import FLOAT
from .scalars import affine
from .tape import Tape

__all__ = ["forward", "gradients"]


def run(problem, num, w, x, state, there):
    """Run one sequence (T, I) over the valid steps; return outputs and states.

    ``state`` has for each layer and direction, in torch's order, its parts concatenated.
    """
    ends = np.cumsum([shape[-1] for shape in problem.model.state_shapes(None)])[:-1]
    step = KINDS[problem.cell].step
    if problem.nonlinearity != "tanh":
        step = partial(step, nonlinearity=problem.nonlinearity)
    steps = [t for t, here in enumerate(there) if here]
    ys, after = dict(enumerate(x)), []
    for i, row in enumerate(state):
        before = tuple(map(list, np.split(row, ends)))
        layer, second = divmod(i, 2) if problem.bidirectional else (i, 0)
        end = f"_l{layer}" + ("_reverse" if second else "")
        if not second:
            xs, ys = ys, {t: [] for t in steps}
        for t in reversed(steps) if second or problem.reverse else steps:
            ax = affine(w["weight_ih" + end], w.get("bias_ih" + end), xs[t])
            here = {name.removesuffix(end): w[name] for name in w if name.endswith(end)}
            before = step(num, here, ax, before)
            ys[t] = [*ys[t], *before[0]]
        after.append([number for part in before for number in part])
    if problem.outputs is not None:
        ys = {t: affine(w["readout.weight"], w.get("readout.bias"), y) for t, y in ys.items()}
    nothing = [num.number(0)] * problem.model.feature_size
    return [ys.get(t, nothing) if here else nothing for t, here in enumerate(there)], after


def forward(problem, inputs, numbers=FLOAT):
    """Return the outputs and the tuple of final states, in the layout of the problem."""
    make = np.frompyfunc(numbers.number, 1, 1)
    w = {name: make(array) for name, array in inputs.params.items()}
    xs, states, _, _ = sequences(problem, inputs)
    there = problem.there().T
    ran = [
        run(problem, numbers, w, make(x), make(s), here)
        for x, s, here in zip(xs, states, there, strict=True)
    ]
    outputs, after = zip(*ran, strict=True)
    return steps(problem, outputs, numbers.dtype), parts(problem, after, numbers.dtype)


def gradients(problem, inputs, numbers=FLOAT):
    """Return all results by name: of the forward pass, and the cotangents pulled back."""
    number, grad = np.frompyfunc(numbers.number, 1, 1), np.frompyfunc(attrgetter("grad"), 1, 1)
    data = np.frompyfunc(attrgetter("data"), 1, 1)
    rows = []
    d_w: dict[str, Any] = dict.fromkeys(inputs.params, 0)
    there = problem.there().T
    for x, state, d_y, d_s, here in zip(*sequences(problem, inputs), there, strict=True):
        tape = Tape(numbers)
        leaf = np.frompyfunc(tape.number, 1, 1)
        w = {name: leaf(array) for name, array in inputs.params.items()}
        x, state = leaf(x), leaf(state)
        ys, ends = map(np.asarray, run(problem, tape, w, x, state, here))
        pulled = [(ys, d_y), (ends, d_s)]
        tape.pull_back(p for v, d in pulled for p in zip(v.flat, number(d).flat, strict=True))
        rows.append((data(ys), data(ends), grad(x), grad(state)))
        d_w = {name: total + grad(w[name]) for name, total in d_w.items()}
    y, after, d_x, d_state = zip(*rows, strict=True)
    dtype = numbers.dtype  # rounded here, and only here
    return results(
        steps(problem, y, dtype),
        parts(problem, after, dtype),
        {name: array.astype(dtype) for name, array in d_w.items()},
        steps(problem, d_x, dtype),
        parts(problem, d_state, dtype),
    )


def sequences(problem, inputs):
    """Return x, state, d_outputs and d_state, each a list of one array per sequence."""
    axis = 0 if problem.batch_first else 1

    def of_steps(array, features):
        if array is None:
            array = np.zeros((*inputs.x.shape[:-1], features))
        return [array] if problem.batch is None else list(np.moveaxis(array, axis, 0))

    def of_state(state):  # (L·D, all parts concatenated) of each
        shapes = problem.model.state_shapes(problem.batch or 1)
        given = tuple(map(np.zeros, shapes)) if state is None else state
        given = given if isinstance(given, tuple) else (given,)
        whole = [part.reshape(shape) for part, shape in zip(given, shapes, strict=True)]
        return list(np.moveaxis(np.concat(whole, axis=2), 1, 0))

    return (
        of_steps(inputs.x, problem.inputs),
        of_state(inputs.state),
        of_steps(inputs.d_outputs, problem.model.feature_size),
        of_state(inputs.d_state),
    )


def steps(problem, rows, dtype):
    """Undo `sequences`, for arrays (T, ...)."""
    rows = np.asarray(rows, dtype=object).astype(dtype)
    return (
        rows[0] if problem.batch is None else np.moveaxis(rows, 0, 0 if problem.batch_first else 1)
    )


def parts(problem, rows, dtype):
    """Undo `sequences`, for states."""
    rows = np.asarray(rows, dtype=object).astype(dtype)  # (B, L·D, all parts concatenated)
    shapes = problem.model.state_shapes(problem.batch)
    pieces = np.split(np.moveaxis(rows, 0, 1), np.cumsum([s[-1] for s in shapes])[:-1], axis=2)
    return tuple(np.reshape(*pair) for pair in zip(pieces, shapes, strict=True))
