"""How much memory a pass takes beyond what it is given, as tracemalloc sees NumPy."""

import tracemalloc

import numpy as np
import pytest

import portable_rnn as prnn

# Arrays of T·B·H numbers on the tape, and rows of the weights in units of H.
TAPE = {"elman": 1, "gru": 5, "lstm": 6}
GATES = {"elman": 1, "gru": 3, "lstm": 4}


def measure(function):
    """Return the result of a call, the bytes it holds, and the most that were held meanwhile."""
    tracemalloc.start()
    try:
        result = function()
        held, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return result, held, peak


@pytest.mark.parametrize(
    ("cell", "short", "long"),
    [("elman", 10_000, 100_000), ("gru", 5_000, 20_000), ("lstm", 5_000, 20_000)],
)
def test_predict_does_not_grow_with_time(cell, short, long):
    model = prnn.RNN(16, 64, 8, cell=cell)
    params = model.init(seed=0)
    extra = {}
    for steps in (short, long):
        x = np.zeros((steps, 1, 16), dtype=np.float32)
        outputs, _, peak = measure(lambda x=x: prnn.predict(model, params, x))
        extra[steps] = peak - outputs.nbytes
    one_array = (long - short) * 64 * 4  # what keeping the hidden states would add
    assert extra[long] - extra[short] <= 0.05 * one_array, f"{cell}: peaks of {extra} bytes"


@pytest.mark.parametrize("cell", TAPE)
def test_a_tape_holds_what_it_says(cell):
    steps, batch, hidden = 64, 16, 64
    model = prnn.RNN(16, hidden, cell=cell)
    params = model.init(seed=0)
    x = np.zeros((steps, batch, 16), dtype=np.float32)
    fwd, held, _ = measure(lambda: prnn.forward(model, params, x))
    ratio = (held - fwd.outputs.nbytes) / (steps * batch * hidden * 4)
    assert ratio <= 1.1 * TAPE[cell], f"{cell}: the tape holds {ratio:.2f} arrays of T·B·H"


@pytest.mark.parametrize("cell", TAPE)
def test_bptt_takes_little_more_than_its_tape(cell):
    steps, batch, hidden, features = 512, 64, 256, 64
    model = prnn.RNN(features, hidden, features, cell=cell)
    params = model.init(seed=0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((steps, batch, features), dtype=np.float32)
    targets = rng.integers(0, features, (steps, batch))
    _, _, peak = measure(lambda: prnn.bptt(model, params, x, targets))
    unit = steps * batch * hidden * 4
    allowed = 1.3 * TAPE[cell] + GATES[cell]
    arrays = peak / unit
    assert arrays <= allowed, (
        f"{cell}: a peak of {arrays:.2f} arrays of T·B·H, or {arrays / TAPE[cell]:.2f} tapes; "
        f"allowed are {allowed:.1f} arrays"
    )


def test_predict_on_a_stack_does_not_grow_with_time():
    """What lies between two layers is never there for all of time."""
    model = prnn.RNN(16, 64, 8, cell="gru", num_layers=3)
    params = model.init(seed=0)
    extra = {}
    for steps in (5_000, 20_000):
        x = np.zeros((steps, 1, 16), dtype=np.float32)
        outputs, _, peak = measure(lambda x=x: prnn.predict(model, params, x))
        extra[steps] = peak - outputs.nbytes
    one_array = 15_000 * 64 * 4
    assert extra[20_000] - extra[5_000] <= 0.05 * one_array, f"peaks of {extra} bytes"


@pytest.mark.parametrize("cell", TAPE)
def test_a_ragged_tape_holds_the_steps_that_are_there(cell):
    steps, batch, hidden = 64, 32, 256  # wide, beside what Python needs for an array object
    model = prnn.RNN(4, hidden, cell=cell)
    params = model.init(seed=0)
    x = np.zeros((steps, batch, 4), dtype=np.float32)
    lengths = np.random.default_rng(0).integers(0, steps, batch)
    fwd, held, _ = measure(lambda: prnn.forward(model, params, x, lengths=lengths))
    row = hidden * 4
    got = (held - fwd.outputs.nbytes - x.nbytes) / row
    # A state of the whole batch stands before each stretch, that is, for each length there is.
    states = len(set(lengths.tolist())) * batch * model.cell_object.states
    wanted = 1.1 * TAPE[cell] * lengths.sum() + states
    assert got <= wanted, f"{cell}: the tape holds {got:.0f} rows of H, not {wanted:.0f}"
    d_y = np.zeros((steps, batch, hidden), dtype=np.float32)
    peaks = [
        measure(
            lambda given=given: prnn.backward(
                model, params, prnn.forward(model, params, x, **given).tape, d_y
            )
        )[2]
        for given in ({}, {"lengths": lengths})
    ]
    unit, share = steps * batch * hidden * 4, lengths.sum() / (steps * batch)
    # Less by the tape of what is not there; more by outputs and cotangents, brought into order.
    allowed = peaks[0] - 0.9 * (1 - share) * TAPE[cell] * unit + 1.5 * unit
    assert peaks[1] <= allowed, f"{cell}: peaks of {peaks} bytes, allowed {allowed:.0f}"
