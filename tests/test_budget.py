"""Results under a memory budget: the same as without one; and budgets that are refused."""

import dataclasses
import re

import numpy as np
import pytest
from conformance.tolerances import assert_close

import portable_rnn as prnn
from portable_rnn._engine.stack import StackChunk

from .memory_problem import TAPE, inputs, measure

pytestmark = pytest.mark.usefixtures("short_chunks")


def assert_same_bits(got, want):
    for name, array in results(want).items():
        assert np.array_equal(results(got)[name], array), name


def results(result):
    """Return all arrays of a result by name."""
    states = {"state": result.state, "d_state": result.grad_state}
    parts = {
        f"{name}[{i}]": part
        for name, state in states.items()
        for i, part in enumerate(state if isinstance(state, tuple) else (state,))
    }
    return result.grads | parts | {n: getattr(result, n) for n in ("loss", "outputs", "grad_x")}


@pytest.mark.parametrize(
    "options", [{}, {"num_layers": 2}, {"num_layers": 2, "bidirectional": True}]
)
@pytest.mark.parametrize("cell", TAPE)
def test_a_budget_changes_no_bit(cell, options):
    """Segments of whole chunks: here of 3 steps of 128 sequences."""
    model = prnn.RNN(3, 8, 4, cell=cell, **options)
    params, x, targets = inputs(model, 40, 128)
    want = prnn.bptt(model, params, x, targets)
    for every in (3, 6, 21, 40, 100):
        plan = prnn.memory.plan(model, 40, 128, checkpoint_every=every, dtype="float64")
        assert plan.same_bits
        assert_same_bits(prnn.bptt(model, params, x, targets, checkpoint_every=every), want)
    for checkpoints in (0, 1, 3):
        whole = prnn.memory.plan(model, 40, 128, checkpoint_every=3, dtype="float64")
        plan = dataclasses.replace(whole, checkpoints=checkpoints)
        assert_same_bits(prnn.bptt(model, params, x, targets, memory=plan), want)


@pytest.mark.parametrize(
    "options",
    [
        {"cell": "reset_before_gru"},
        {"cell": "layer_norm_lstm"},
        {"cell": prnn.cells.LSTM(peepholes=True), "projection_size": 3},
    ],
    ids=str,
)
def test_a_budget_changes_no_bit_for_cells_with_more_in_a_step(options):
    model = prnn.RNN(3, 8, 4, num_layers=2, **options)
    params, x, targets = inputs(model, 40, 128)
    want = prnn.bptt(model, params, x, targets)
    full = prnn.memory.plan(model, 40, 128, checkpoint_every=40, dtype="float64").full_tape
    (_, held, _) = measure(lambda: prnn.forward(model, params, x).tape)
    assert 0.9 * held <= full <= 1.1 * held
    for every in (3, 21):  # whole chunks
        assert_same_bits(prnn.bptt(model, params, x, targets, checkpoint_every=every), want)


@pytest.mark.parametrize("cell", TAPE)
def test_segments_of_parts_of_a_chunk_change_rounding_only(cell):
    model = prnn.RNN(3, 8, 4, cell=cell)
    params, x, targets = inputs(model, 61, 5)
    want = prnn.bptt(model, params, x, targets)
    for every in (1, 7, 60):
        got = prnn.bptt(model, params, x, targets, checkpoint_every=every)
        for name, array in (got.grads | {"x": got.grad_x}).items():
            assert_close(array, (want.grads | {"x": want.grad_x})[name], name, k=16)


def test_gradients_of_single_steps_are_added_by_chunks():
    """One after another, 4096 equal numbers would all round the same way, and be 339 eps off."""
    model = prnn.RNN(1, 1, nonlinearity="relu", bias=False)
    params = {"weight_ih_l0": np.ones((1, 1)), "weight_hh_l0": np.zeros((1, 1))}
    params = {name: array.astype("float32") for name, array in params.items()}
    x, d_outputs = np.ones((4096, 1, 1), "float32"), np.full((4096, 1, 1), 0.7, "float32")
    tape = prnn.forward(model, params, x, checkpoint_every=1).tape
    got = prnn.backward(model, params, tape, d_outputs).params["weight_ih_l0"]
    assert_close(got, d_outputs.astype("float64").sum(axis=0), "weight_ih_l0", k=32)


@pytest.mark.parametrize(("batch", "every"), [(16, 23), (16, 64), (7, 9), (64, 5), (500, 2)])
def test_each_step_is_run_twice(batch, every, monkeypatch):
    """For any number of steps in a chunk, and of chunks in a segment."""
    model, steps, ran = prnn.RNN(2, 3), 200, []
    run_chunk = StackChunk.run

    def counted(one, states):
        ran.append(one.chunk.rows.stop - one.chunk.rows.start)
        return run_chunk(one, states)

    monkeypatch.setattr(StackChunk, "run", counted)
    params, x, targets = inputs(model, steps, batch)
    prnn.bptt(model, params, x, targets, checkpoint_every=every)
    segments = -(-steps // every)
    assert sum(ran) == 2 * steps - (steps - (segments - 1) * every)  # except in the last segment
    assert prnn.memory.plan(model, steps, batch, checkpoint_every=every).segments == segments


@pytest.mark.parametrize("ragged", ["lengths", "mask"])
def test_a_budget_on_a_ragged_batch(ragged):
    model = prnn.RNN(3, 8, 4, cell="gru", num_layers=2, dropout=0.3)
    params, x, targets = inputs(model, 30, 6)
    there = np.random.default_rng(1).random((30, 6)) < 0.7
    steps = {"mask": there} if ragged == "mask" else {"lengths": there.sum(axis=0)}
    want = prnn.bptt(model, params, x, targets, dropout=3, **steps)
    got = prnn.bptt(model, params, x, targets, dropout=3, checkpoint_every=4, **steps)
    for name, array in (got.grads | {"x": got.grad_x}).items():
        assert_close(array, (want.grads | {"x": want.grad_x})[name], name, k=16)
    nothing = prnn.forward(model, params, x, lengths=[0] * 6, dropout=False, checkpoint_every=4)
    assert not np.any(nothing.outputs)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"memory": "10 KiB"}, ValueError, r"^memory: expected at least \d+ bytes .*got '10 KiB'"),
        ({"memory": "much"}, ValueError, "^memory: expected bytes, or a text .*got 'much'"),
        ({"memory": "1.2.3 MB"}, ValueError, "^memory: .*got '1.2.3 MB'"),
        ({"memory": "."}, ValueError, "^memory: expected bytes, or a text .*got '.'"),
        ({"memory": 1.5}, TypeError, "^memory: .*got 1.5"),
        ({"memory": 0}, ValueError, "^memory: .*got 0"),
        ({"checkpoint_every": 0}, ValueError, "^checkpoint_every: expected at least 1, got 0"),
        (
            {"memory": "1 GB", "checkpoint_every": 4},
            ValueError,
            "^memory, checkpoint_every: .*both",
        ),
    ],
)
def test_a_budget_that_cannot_be_kept_is_named(options, error, message):
    model = prnn.RNN(16, 64, 4, cell="lstm")
    params, x, targets = inputs(model, 100, 4, "float32")
    with pytest.raises(error, match=message):
        prnn.bptt(model, params, x, targets, **options)


def test_a_plan_for_something_else_is_refused():
    model = prnn.RNN(3, 8, 4, cell="gru")
    params, x, targets = inputs(model, 40, 6)
    plan = prnn.memory.plan(model, 40, 6, checkpoint_every=4)
    prnn.bptt(model, params, x, targets, memory=plan)
    for part, got in (
        ((slice(20), slice(None)), "20 steps of 6"),
        ((slice(None), [0]), "40 .*of 1"),
    ):
        with pytest.raises(
            ValueError, match=rf"^memory: .* {got} sequences on cpu, got .* of 6 on cpu$"
        ):
            prnn.bptt(model, params, x[part], targets[part], memory=plan)
    with pytest.raises(ValueError, match=r"^memory: .*20 steps of 1 .*got one for 40 of 6 on"):
        prnn.forward(model, params, x[:20, 0], memory=plan)
    elsewhere = prnn.memory.plan(model, 40, 6, checkpoint_every=4, device="cuda")
    with pytest.raises(ValueError, match=r"^memory: .* on cpu, got one for 40 of 6 on cuda$"):
        prnn.forward(model, params, x, memory=elsewhere)
    other = dataclasses.replace(model, cell="lstm")
    with pytest.raises(ValueError, match=r"^memory: expected .*cell='lstm'.*got .*cell='gru'"):
        prnn.forward(other, other.init(seed=0, dtype="float64"), x, memory=plan)
    with pytest.raises(ValueError, match=r"^memory, checkpoint_every: expected one of them"):
        prnn.forward(model, params, x, memory=plan, checkpoint_every=4)


def test_the_smallest_budget_that_is_named_works():
    model = prnn.RNN(16, 64, 4, cell="lstm")
    with pytest.raises(ValueError, match="expected at least") as raised:
        prnn.memory.plan(model, 400, 4, memory=1)
    least = int(re.search(r"at least (\d+) bytes", str(raised.value))[1])
    params, x, targets = inputs(model, 400, 4, "float32")
    want = prnn.bptt(model, params, x, targets)
    got = prnn.bptt(model, params, x, targets, memory=least)
    for name, array in got.grads.items():
        assert_close(array, want.grads[name].astype("float64"), name, scale=0.0, k=8)
    with pytest.raises(ValueError, match="expected at least"):
        prnn.memory.plan(model, 400, 4, memory=least - 1)


def test_a_tape_under_a_budget_is_used_up():
    model = prnn.RNN(3, 4)
    params, x, _ = inputs(model, 20, 2)
    fwd = prnn.forward(model, params, x, checkpoint_every=5)
    prnn.backward(model, params, fwd.tape, np.ones_like(fwd.outputs))
    with pytest.raises(ValueError, match=r"^tape: under a memory budget .* only once"):
        prnn.backward(model, params, fwd.tape, np.ones_like(fwd.outputs))
