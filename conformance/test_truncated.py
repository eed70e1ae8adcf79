"""Truncated BPTT on every backend, against its definition, written out with torch in float64.

Each loss of each sequence is run on its own: the state where its window begins is computed without
a gradient, the window with one, and torch differentiates. Where steps are missing, the window
consists of the valid ones.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.losses import mean_squared_error

from .problems import TORCH_CELLS, Problem
from .selection import full_precision
from .subject import put, results
from .tolerances import allowed_eps, assert_close
from .torch_oracle import modules_of

dtypes = full_precision


torch = pytest.importorskip("torch", reason="not run: the oracle of truncated BPTT is torch")


@dataclass(frozen=True)
class Case:
    """A problem, whose cotangents of the outputs serve as targets, and its windows."""

    problem: Problem
    k1: int
    k2: int

    @property
    def id(self):
        p = self.problem
        words = (p.cell, f"{p.layers}_layers", p.ragged, "batch_first" * p.batch_first)
        return f"{'-'.join(filter(None, words))}-k1_{self.k1}-k2_{self.k2}"

    @property
    def static(self):
        return self.problem.model, self.k1, self.k2


def make(cell, k1, k2, **options):
    # (12 steps) a multiple of some k1, and not of others
    plain = {"zero_state": False, "layers": 1, "ragged": ""} | options
    return Case(Problem(cell, 40, 12, 4, 3, 5, 2, "outputs", **plain), k1, k2)


def all_cases(cell):
    return [
        *(make(cell, k1, k2) for k1, k2 in ((1, 1), (1, 4), (3, 3), (4, 6), (5, 7), (3, 12))),
        make(cell, 1, 4, layers=2, ragged="lengths"),
        make(cell, 2, 5, layers=3, ragged="mask"),
        make(cell, 5, 7, layers=2, ragged="lengths", batch_first=True, zero_state=True),
        make(cell, 2, 2, ragged="mask", batch_first=True),
    ]


def cases(row, dtype):
    if dtype not in ("float64", "float32"):
        return []
    if row.slow or row.shapes_only or row.variant:
        one = make("lstm", 4, 6, layers=2, ragged="lengths")
        return [one] if dtype == row.dtypes[0] else []
    return [case for cell in TORCH_CELLS for case in all_cases(cell)]


def solve(static, inputs):
    model, k1, k2 = static
    found = prnn.truncated_bptt(
        *(model, inputs.params, inputs.x, inputs.d_outputs),
        **{"k1": k1, "k2": k2, "loss": mean_squared_error, "state": inputs.state},
        **{"lengths": inputs.lengths, "mask": inputs.mask},
    )
    named = results(found.outputs, found.state, found.grads, found.grad_x, found.grad_state)
    return named | {"loss": found.loss}


@lru_cache
def reference(case, dtype):
    """Return the results by name, and the largest cotangent of the outputs."""
    p = case.problem
    host, there = p.arrays(dtype), p.there()
    rnn, readout = modules_of(p, host).values()
    first = (lambda a: np.moveaxis(a, 0, 1)) if p.batch_first else (lambda a: a)
    leaf = lambda a: torch.tensor(np.ascontiguousarray(a)).double().requires_grad_()  # noqa: E731
    x, targets = leaf(first(host.x)), torch.tensor(first(host.d_outputs)).double()
    parts = 2 if p.cell == "lstm" else 1
    zeros = (np.zeros(p.model.state_shape(p.batch)),) * parts
    state = host.state if host.state is not None else zeros if parts == 2 else zeros[0]
    start = [leaf(a) for a in (state if parts == 2 else (state,))]
    count = there.sum() * p.outputs
    rows = torch.zeros(p.steps, p.batch, p.outputs, dtype=torch.float64)
    after = [torch.zeros_like(part) for part in start]
    loss = 0.0

    def run(b, state, steps):
        """Run a sequence through some steps; return their outputs and the state after them."""
        if not len(steps):
            return None, state
        h, state = rnn(x[steps, b], tuple(state) if parts == 2 else state[0])
        return readout(h), list(state) if parts == 2 else [state]

    for b in range(p.batch):
        steps = np.flatnonzero(there[:, b])
        before = [part[:, b] for part in start]
        with torch.no_grad():
            y, ended = run(b, before, steps)
            for held, part in zip(after, ended, strict=True):
                held[:, b] = part
            if y is not None:
                rows[steps, b] = y
        for stop in [*range(case.k1, p.steps, case.k1), p.steps]:
            counted = stop - ((stop - 1) % case.k1 + 1)
            begin = max(0, stop - case.k2)
            state = before
            if begin:
                with torch.no_grad():
                    _, state = run(b, before, steps[steps < begin])
            inside = steps[(steps >= begin) & (steps < stop)]
            y, _ = run(b, state, inside)
            if (inside >= counted).any():
                wrong = (y - targets[inside, b])[torch.tensor(inside >= counted)]
                loss = loss + (wrong**2).sum() / count
    loss.backward()
    learned = {f"rnn.{n}": v for n, v in rnn.named_parameters()}
    learned |= {f"readout.{n}": v for n, v in readout.named_parameters()}
    wanted = results(
        first(rows.numpy()),
        tuple(part.numpy() for part in after),
        {n: (learned.get(f"rnn.{n}", learned.get(n))).grad.numpy() for n in host.params},
        first(x.grad.numpy()),
        tuple(part.grad.numpy() for part in start),
    )
    wanted["loss"] = loss.detach().numpy()
    cotangent = np.where(there[..., None], 2 * (rows - targets).numpy() / count, 0)
    return wanted, float(np.abs(cotangent).max())


def test_equals_the_definition(backend, dtype, problem, record):
    inputs = put(backend, problem.problem.arrays(dtype))
    found = backend.call(solve, problem.static, inputs)
    wanted, cotangent = reference(problem, dtype)
    parameters = max(float(np.abs(a).max()) for a in problem.problem.arrays(dtype).params.values())
    assert set(found) == set(wanted)
    for name, array in found.items():
        what = f"{backend.id}: {name} of {problem.id}"
        assert array.dtype == inputs.x.dtype, what
        assert tuple(array.shape) == wanted[name].shape, what
        if backend.shapes_only:
            continue
        scale = cotangent if name.startswith("d_") else parameters
        allowed = allowed_eps(backend.id, dtype)
        eps = assert_close(backend.get(array), wanted[name], what, scale=scale, k=allowed)
        record(problem.problem.cell, problem.id, name, problem.problem.steps, eps, allowed)


@pytest.mark.parametrize("ragged", ["", "lengths", "mask"])
def test_windows_of_all_steps_equal_bptt_bit_for_bit(backend, dtype, ragged):
    slow = backend.slow
    case = make("elman" if slow else "lstm", 3, 12, layers=1 if slow else 2, ragged=ragged)
    inputs = put(backend, case.problem.arrays(dtype))
    whole = backend.call(full, case.problem.model, inputs)
    for k2 in (12,) if slow else (12, 99):
        found = backend.call(solve, (case.problem.model, 3, k2), inputs)
        for name, array in found.items():
            if not backend.shapes_only:
                assert backend.get(array).tobytes() == backend.get(whole[name]).tobytes(), name


def full(model, inputs):
    steps = {"lengths": inputs.lengths, "mask": inputs.mask, "state": inputs.state}
    given = model, inputs.params, inputs.x, inputs.d_outputs
    found = prnn.bptt(*given, loss=mean_squared_error, **steps)
    named = results(found.outputs, found.state, found.grads, found.grad_x, found.grad_state)
    return named | {"loss": found.loss}
