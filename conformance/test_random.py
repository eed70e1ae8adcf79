"""Random problems against torch.nn in float64: outputs, final state and every gradient.

Each cell has 200 problems with exactly the layout of torch.nn, 20 with readout, batch_first,
unbatched, without bias, or relu, 2 of many steps (in float32), and 80 of one to four layers, in one
direction or both, with all steps or as packed sequences. torch has no sequences with gaps: 10 with
a mask are checked against plain loops over scalars. (Rows where every new shape takes long to
compile only run the standard problems of test_gradients.py.)
"""

from functools import lru_cache

import pytest

import portable_rnn as prnn

from .oracles import scalar_loop
from .problems import DEEP, GROUPS, TORCH_CELLS, Problem, draw, group
from .subject import check

pytestmark = pytest.mark.oracle("torch")

# One of each kind of array; all rows have the standard problems.
ROWS = (
    *("numpy", "numpy-compiled", "numpy-readonly", "numpy-strided"),
    *("array-api-strict-device1", "torch", "cupy"),
)
PLAIN = [name for name in GROUPS if isinstance(name, int)]
EVERY_CHANGE = (("numpy", "float64"), ("numpy-compiled", "float32"))


class Group:
    """Twenty problems of one cell, run as one test."""

    def __init__(self, cell, name):
        self.cell, self.name, self.id = cell, name, f"{cell}-{name}"

    def problems(self):
        return group(self.cell, self.name)


def cases(row, dtype):
    if row.id not in ROWS or dtype not in ("float64", "float32"):
        return []
    # Over 600 steps torch adds up gradients one after another, and is 11.6 eps off in float64: the
    # standard problems of as many steps, computed with 50 digits, replace these there.
    names = [name for name in GROUPS if name != "long" or dtype == "float32"]
    return [Group(cell, name) for cell in TORCH_CELLS for name in names]


def when_named(row, dtype, group):
    """Return whether a group is left to the session that names its row.

    So are six in ten of those with exactly the layout of torch.nn.
    """
    return (row.id, dtype) not in EVERY_CHANGE or group.name in PLAIN[4:]


def test_equals_torch(backend, dtype, problem, record):
    from .torch_oracle import reference

    for one in problem.problems():
        found = by_loops(one, dtype) if one.ragged == "mask" else reference(one, dtype)
        check(backend, one, dtype, found, record)


@lru_cache(maxsize=64)
def by_loops(problem, dtype):
    """Return the results of the scalar loop, in float64 from inputs rounded to ``dtype``."""
    return scalar_loop.gradients(problem, problem.arrays(dtype))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_relu_equals_torch(dtype):
    from .backends import BACKENDS
    from .torch_oracle import reference

    backend, record = BACKENDS["numpy"], lambda *values: None
    for seed in range(40):
        problem = Problem(**{**vars(draw("elman", seed)), "nonlinearity": "relu"})
        check(backend, problem, dtype, reference(problem, dtype), record)


def test_problems_cover_all_promised_cases():
    """The draw is random, so that a change of it could lose a case unnoticed."""
    for cell in TORCH_CELLS:
        plain = [problem for name in range(10) for problem in group(cell, name)]
        options = group(cell, "layouts")
        assert len(set(plain)) == 200
        for problems in (plain, options):
            assert {p.cotangents for p in problems} == {"outputs", "state", "both"}
            assert {p.zero_state for p in problems} == {True, False}
        for field, top in (("steps", 64), ("batch", 8), ("inputs", 32), ("hidden", 32)):
            assert {1, top} <= {getattr(p, field) for p in plain}
        assert any(p.batch is None and p.batch_first for p in options)
        assert any(p.batch is not None and p.batch_first for p in options)
        assert {p.bias for p in options} == {True, False}
        assert {p.outputs is None for p in options} == {True, False}
        deep = [problem for name in DEEP for problem in group(cell, name)]
        assert len(set(deep)) == 80
        kinds = {(p.layers, p.bidirectional) for p in deep if p.ragged}
        assert kinds == {(n, both) for n in (1, 2, 3, 4) for both in (True, False)}
        for found in ({p.batch_first for p in deep}, {not p.ragged for p in deep}):
            assert found == {True, False}
        for problems in (deep, group(cell, "gaps")):
            nothing = [not p.there().all(axis=1).any() for p in problems if p.ragged]
            assert any(nothing)  # a sequence without a step
    assert any(p.nonlinearity == "relu" for p in group("elman", "layouts"))


def test_long_problems_are_cut_into_chunks():
    """Chunks have a limited number of rows; the problems of this group must exceed it."""
    for cell in TORCH_CELLS:
        for problem in group(cell, "long"):
            host = problem.arrays("float32")
            fwd = prnn.forward(problem.model, host.params, host.x)
            assert len(fwd.tape.stack_tapes[0].records) > 2
