"""Layouts: each is the time-major, batched one with its axes moved."""

import numpy as np
import pytest
from conformance.problems import TORCH_CELLS, Inputs, Problem
from conformance.subject import solve
from conformance.tolerances import assert_close

PLAIN = {"steps": 6, "batch": 3, "inputs": 4, "hidden": 5, "cotangents": "both"}


def problem(cell, outputs, **options):
    drawn = Problem(cell=cell, seed=2, outputs=outputs, zero_state=False, **PLAIN | options)
    return drawn.model, drawn.arrays("float64")


def each(f, state):
    return tuple(map(f, state)) if isinstance(state, tuple) else f(state)


def turn(sequence):
    return sequence.transpose(1, 0, 2)


def assert_same(got, want):
    assert set(got) == set(want)
    for name, array in got.items():
        assert_close(array, want[name], name, scale=3.0, k=4)


@pytest.mark.parametrize("outputs", [None, 2])
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_batch_first_is_a_transposition(cell, outputs):
    """Only of sequences: states are (1, B, H) either way, as in torch."""
    model, inputs = problem(cell, outputs)
    turned, _ = problem(cell, outputs, batch_first=True)
    want = solve(model, inputs)
    found = solve(turned, inputs._replace(x=turn(inputs.x), d_outputs=turn(inputs.d_outputs)))
    assert found["outputs"].shape == (3, 6, outputs or 5)
    assert found["state[0]"].shape == (1, 3, 5)
    assert_same(found, want | {name: turn(want[name]) for name in ("outputs", "d_x")})


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("outputs", [None, 2])
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_unbatched_is_a_batch_of_one(cell, outputs, batch_first):
    model, inputs = problem(cell, outputs, batch=1)
    lone, _ = problem(cell, outputs, batch_first=batch_first)

    def squeeze(array):
        return array[:, 0]

    want = solve(model, inputs)
    found = solve(lone, Inputs(inputs.params, *(each(squeeze, value) for value in inputs[1:5])))
    assert found["state[0]"].shape == (1, 5)
    assert_same(
        found,
        {n: array if n.startswith("d_params") else squeeze(array) for n, array in want.items()},
    )


@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_without_bias_is_with_zero_bias(cell):
    model, inputs = problem(cell, 2)
    bare, _ = problem(cell, 2, bias=False)
    kept = {name: a for name, a in inputs.params.items() if "bias" not in name}
    zeros = {name: np.zeros_like(a) for name, a in inputs.params.items()} | kept
    want = solve(model, inputs._replace(params=zeros))
    found = solve(bare, inputs._replace(params=kept))
    assert {name for name in want if name not in found} == {
        f"d_params[{name}]" for name in zeros if name not in kept
    }
    assert_same(found, {name: want[name] for name in found})
