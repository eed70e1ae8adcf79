"""The engine: results do not change when time, the batch or the cotangents are split."""

import math
from importlib import import_module

import numpy as np
import pytest
from conformance.complex_step import gradient
from conformance.problems import TORCH_CELLS, Inputs, Problem
from conformance.subject import solve
from conformance.tolerances import assert_close

import portable_rnn as prnn

from .own_cell import MinimalGated

pytestmark = pytest.mark.usefixtures("short_chunks")

engine = import_module("portable_rnn._engine.chunks")
STEPS, BATCH = 11, 3


def problem(cell):
    drawn = Problem(cell, 0, STEPS, BATCH, 4, 5, 2, cotangents="both", zero_state=False)
    return drawn.model, drawn.arrays("float64")


def each(f, state):
    """Apply ``f`` to the array of a state, or to both of a pair."""
    return tuple(map(f, state)) if isinstance(state, tuple) else f(state)


def assert_same(got, want, *, k=8):
    """Compare up to rounding: both may be a few eps off, in different directions."""
    assert set(got) == set(want)
    for name, array in got.items():
        assert_close(array, want[name], name, scale=3.0, k=k)


@pytest.mark.parametrize("rows", [1, BATCH, 4 * BATCH + 1, STEPS * BATCH - 1])
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_chunks_change_nothing(cell, rows, monkeypatch):
    """Chunks of 1, 1, 4 and 10 steps, of 11: the last one is shorter."""
    model, inputs = problem(cell)
    monkeypatch.setattr(engine, "ROWS", 10**9)
    fwd = prnn.forward(model, inputs.params, inputs.x, inputs.state)
    assert len(fwd.tape.stack_tapes[0].records) == 1
    whole = solve(model, inputs)
    monkeypatch.setattr(engine, "ROWS", rows)
    fwd = prnn.forward(model, inputs.params, inputs.x, inputs.state)
    assert len(fwd.tape.stack_tapes[0].records) == math.ceil(STEPS / max(1, rows // BATCH))
    assert_same(solve(model, inputs), whole)
    predicted = prnn.predict(model, inputs.params, inputs.x, inputs.state)
    assert_close(predicted, whole["outputs"], "predict", scale=1.0, k=4)


def test_a_chunk_has_more_rows_where_rows_are_short(monkeypatch):
    assert engine.most_rows(1024) == engine.most_rows(10**9) == engine.ROWS
    monkeypatch.setattr(engine, "NUMBERS", 3 * 2**16)  # as without the fixture of all tests
    assert {n: engine.most_rows(n) for n in (32, 100, 256, 512, 513)} == {
        **{32: 6144, 100: 1920, 256: 768, 512: 384, 513: 384}
    }


@pytest.mark.parametrize("missing", ["d_outputs", "d_state"])
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_chunks_change_nothing_with_only_one_cotangent(cell, missing, monkeypatch):
    model, inputs = problem(cell)
    inputs = inputs._replace(**{missing: None})
    whole = solve(model, inputs)
    monkeypatch.setattr(engine, "ROWS", 2 * BATCH)
    assert_same(solve(model, inputs), whole)


@pytest.mark.parametrize("cut", [1, 6, STEPS - 1])
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_time_can_be_split_if_the_state_is_carried(cell, cut):
    model, inputs = problem(cell)
    params, x, state, d_outputs, d_state = inputs[:5]
    early = prnn.forward(model, params, x[:cut], state)
    late = prnn.forward(model, params, x[cut:], early.state)
    last = prnn.backward(model, params, late.tape, d_outputs[cut:], d_state)
    first = prnn.backward(model, params, early.tape, d_outputs[:cut], last.state)

    whole = solve(model, inputs)
    assert_close(np.concat([early.outputs, late.outputs]), whole["outputs"], "outputs", k=4)
    assert_close(np.concat([first.x, last.x]), whole["d_x"], "d_x", scale=3.0, k=4)
    for name, want in whole.items():
        kind, index = name.rstrip("]").split("[") if "[" in name else (name, "")
        if kind == "d_params":
            assert_close(first.params[index] + last.params[index], want, name, scale=3.0, k=8)
        elif kind in ("state", "d_state"):
            state = late.state if kind == "state" else first.state
            part = state[int(index)] if cell == "lstm" else state
            assert_close(part, want, name, scale=3.0, k=4)


@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_sequences_of_a_batch_are_independent(cell):
    model, inputs = problem(cell)

    def only(b):
        def pick(array):
            return array[:, b : b + 1]

        return solve(model, Inputs(inputs.params, *(each(pick, value) for value in inputs[1:5])))

    alone = [only(b) for b in range(BATCH)]
    joined = {
        name: sum(one[name] for one in alone)
        if name.startswith("d_params")
        else np.concat([one[name] for one in alone], axis=1)
        for name in alone[0]
    }
    assert_same(joined, solve(model, inputs))


@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_cotangents_add_up(cell):
    model, inputs = problem(cell)
    both = solve(model, inputs)
    outputs = solve(model, inputs._replace(d_state=None))
    states = solve(model, inputs._replace(d_outputs=None))
    for name in both:
        if name.startswith("d_"):
            assert_close(outputs[name] + states[name], both[name], name, scale=3.0, k=8)
            # A final state does not depend on the readout: zeros, but of the right shape.
            assert np.any(states[name]) != ("readout" in name)


# ------------------------------------------------------------------------- a custom cell


@pytest.mark.parametrize("rows", [1, 10**9])
def test_a_custom_cell_runs_in_the_same_engine(rows, monkeypatch):
    monkeypatch.setattr(engine, "ROWS", rows)
    model = prnn.RNN(4, 5, 2, cell=MinimalGated())
    params = model.init(seed=0, dtype="float64")
    _, (_, x, state, d_outputs, d_state, *_) = problem("gru")
    found = solve(model, Inputs(params, x, state, d_outputs, d_state))
    arrays = {f"d_params[{name}]": array for name, array in params.items()}
    arrays |= {"d_x": x, "d_state[0]": state}

    def value(*arrays):
        *weights, x, h = arrays
        fwd = prnn.forward(model, dict(zip(params, weights, strict=True)), x, h)
        return np.sum(fwd.outputs * d_outputs) + np.sum(fwd.state * d_state)

    for index, name in enumerate(arrays):
        want = gradient(value, list(arrays.values()), index)
        assert_close(found[name], want, name, scale=np.abs(d_outputs).max())


def test_half_precision_adds_up_in_float32():
    """Over 1000 steps: the sum of the first half would overflow, and that of the second too."""
    model = prnn.RNN(1, 1, 1)
    params = {name: np.zeros(shape, np.float16) for name, shape in model.parameter_shapes.items()}
    params["readout.weight"] += 1
    x = np.ones((1000, 384, 1), np.float16)
    d_outputs = np.zeros_like(x)
    d_outputs[:500, 0], d_outputs[500:, 0] = 4096, -4094
    grads = prnn.backward(model, params, prnn.forward(model, params, x).tape, d_outputs).params
    want = d_outputs.sum(dtype=np.float64)[None]  # h is zero, and tanh' is one
    for name in ("readout.bias", "bias_ih_l0", "bias_hh_l0", "weight_ih_l0"):
        assert grads[name].dtype == np.float16
        assert_close(grads[name], want.reshape(grads[name].shape), name, k=2)
