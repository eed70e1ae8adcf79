"""NumPy against torch.nn: outputs, final state and every gradient, on hundreds of problems.

Each cell is held to 200 problems with the very layout of torch.nn, 20 with readout,
batch_first, unbatched, without bias, or relu, and 2 of many steps. The oracle always runs in
float64.
"""

import pytest

import portable_rnn as prnn

from .backends import BACKENDS
from .problems import CELLS, GROUPS, Problem, draw, group
from .subject import check


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("backend", ["numpy"], indirect=True)
def test_equals_torch(backend, cell, dtype, name, reference, record_error):
    for problem in group(cell, name):
        error = check(backend, problem, dtype, reference(problem, dtype))
        record_error(f"{backend.id} {cell} {dtype}", error)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_relu_equals_torch(dtype, reference, record_error):
    for seed in range(40):
        problem = Problem(**{**vars(draw("elman", seed)), "nonlinearity": "relu"})
        error = check(BACKENDS["numpy"], problem, dtype, reference(problem, dtype))
        record_error(f"numpy elman-relu {dtype}", error)


def test_problems_cover_what_they_promise():
    """The draw is random: say what it must contain, lest a change of it empties a claim."""
    for cell in CELLS:
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
    assert any(p.nonlinearity == "relu" for p in group("elman", "layouts"))


def test_long_problems_are_cut_into_stretches():
    """By the number of rows; whatever that is, a group must be above it."""
    for cell in CELLS:
        for problem in group(cell, "long"):
            host = problem.arrays("float32")
            fwd = prnn.forward(problem.model, host.params, host.x)
            assert len(fwd.tape.stretches) > 2
