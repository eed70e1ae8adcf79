"""How much memory a pass takes beyond what it is given, as tracemalloc sees NumPy."""

import dataclasses
import re
import tracemalloc

import numpy as np
import pytest
from conformance.tolerances import assert_close

import portable_rnn as prnn
from portable_rnn._engine.stack import StackChunk

pytestmark = pytest.mark.usefixtures("short_chunks")

# Arrays of T·B·H numbers on the tape, and rows of the weights in segments of H.
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


@pytest.mark.no_products
@pytest.mark.parametrize(
    ("cell", "short", "long"),
    [("elman", 3_000, 9_000), ("gru", 1_500, 4_500), ("lstm", 1_500, 4_500)],
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


@pytest.mark.no_products
@pytest.mark.parametrize("cell", TAPE)
def test_a_tape_holds_what_it_says(cell):
    steps, batch, hidden = 64, 16, 64
    model = prnn.RNN(16, hidden, cell=cell)
    params = model.init(seed=0)
    x = np.zeros((steps, batch, 16), dtype=np.float32)
    prnn.forward(model, params, x)  # what Python remembers of a first call is not the tape's
    fwd, held, _ = measure(lambda: prnn.forward(model, params, x))
    ratio = (held - fwd.outputs.nbytes) / (steps * batch * hidden * 4)
    assert ratio <= 1.1 * TAPE[cell], f"{cell}: the tape holds {ratio:.2f} arrays of T·B·H"


@pytest.mark.no_products
@pytest.mark.parametrize("cell", TAPE)
def test_bptt_takes_little_more_than_its_tape(cell):
    steps, batch, hidden, features = 512, 64, 256, 64
    model = prnn.RNN(features, hidden, features, cell=cell)
    params = model.init(seed=0)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((steps, batch, features), dtype=np.float32)
    targets = rng.integers(0, features, (steps, batch))
    _, _, peak = measure(lambda: prnn.bptt(model, params, x, targets))
    segment = steps * batch * hidden * 4
    allowed = 1.3 * TAPE[cell] + GATES[cell]
    arrays = peak / segment
    assert arrays <= allowed, (
        f"{cell}: a peak of {arrays:.2f} arrays of T·B·H, or {arrays / TAPE[cell]:.2f} tapes; "
        f"allowed are {allowed:.1f} arrays"
    )


@pytest.mark.no_products
def test_predict_on_a_stack_does_not_grow_with_time():
    """What lies between two layers is never there for all of time."""
    model = prnn.RNN(16, 64, 8, cell="gru", num_layers=3)
    params = model.init(seed=0)
    extra = {}
    for steps in (1_000, 3_000):
        x = np.zeros((steps, 1, 16), dtype=np.float32)
        outputs, _, peak = measure(lambda x=x: prnn.predict(model, params, x))
        extra[steps] = peak - outputs.nbytes
    one_array = 2_000 * 64 * 4
    assert extra[3_000] - extra[1_000] <= 0.05 * one_array, f"peaks of {extra} bytes"


@pytest.mark.no_products
@pytest.mark.parametrize("cell", TAPE)
def test_a_ragged_tape_holds_the_steps_that_are_there(cell):
    steps, batch, hidden = 64, 32, 256  # wide, compared with what Python needs for an array object
    model = prnn.RNN(4, hidden, cell=cell)
    params = model.init(seed=0)
    x = np.zeros((steps, batch, 4), dtype=np.float32)
    lengths = np.random.default_rng(0).integers(0, steps, batch)
    fwd, held, _ = measure(lambda: prnn.forward(model, params, x, lengths=lengths))
    row = hidden * 4
    got = (held - fwd.outputs.nbytes) / row
    # A state of the whole batch stands before each chunk, that is, for each length there is.
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
    segment, share = steps * batch * hidden * 4, lengths.sum() / (steps * batch)
    # Less by the tape of what is not there: nothing is brought into order as a whole.
    allowed = peaks[0] - 0.9 * (1 - share) * TAPE[cell] * segment + 0.3 * segment
    assert peaks[1] <= allowed, f"{cell}: peaks of {peaks} bytes, allowed {allowed:.0f}"


# --------------------------------------------------------------------------- under a budget


def inputs(model, steps, batch, dtype="float64"):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((steps, batch, model.input_size)).astype(dtype)
    targets = rng.integers(0, model.feature_size, (steps, batch))
    return model.init(seed=0, dtype=dtype), x, targets


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
def test_a_budget_for_cells_with_more_to_a_step(options):
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
    """Whatever fits into a chunk, and however many of those into a segment."""
    model, steps, ran = prnn.RNN(2, 3), 200, []
    run_chunk = StackChunk.run

    def counted(one, states):
        ran.append(one.chunk.rows.stop - one.chunk.rows.start)
        return run_chunk(one, states)

    monkeypatch.setattr(StackChunk, "run", counted)
    params, x, targets = inputs(model, steps, batch)
    prnn.bptt(model, params, x, targets, checkpoint_every=every)
    segments = -(-steps // every)
    assert sum(ran) == 2 * steps - (steps - (segments - 1) * every)  # but for the last segment
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


def long_sequence():
    """Return a function that runs both passes over 1024 steps, under a budget or without."""
    steps, batch, hidden = 1024, 64, 64
    model = prnn.RNN(8, hidden, cell="lstm")
    params, rng = model.init(seed=0), np.random.default_rng(0)
    x = rng.standard_normal((steps, batch, 8), dtype=np.float32)
    d_outputs = rng.standard_normal((steps, batch, hidden), dtype=np.float32)

    def both(**options):
        fwd = prnn.forward(model, params, x, **options)
        grads = prnn.backward(model, params, fwd.tape, d_outputs)
        return {
            **grads.params,
            **{"x": grads.x, "outputs": fwd.outputs},
            **dict(zip(("h", "c", "d_h", "d_c"), (*fwd.state, *grads.state), strict=True)),
        }

    return both, lambda **options: prnn.memory.plan(model, steps, batch, **options)


@pytest.fixture(scope="module")
def without_a_budget():
    return long_sequence()[0]()


@pytest.mark.parametrize(("share", "same_bits"), [(4, True), (16, True), (40, False)])
def test_a_budget_is_kept(share, same_bits, without_a_budget):
    """And changes no bit, unless chunks must be smaller."""
    both, plan = long_sequence()
    budget = plan().full_tape // share
    assert plan(memory=budget).same_bits == same_bits
    got, _, peak = measure(lambda: both(memory=budget))
    results = sum(array.nbytes for array in got.values())
    assert peak - results <= 1.1 * budget, f"{(peak - results) / budget:.2f} of the budget"
    for name, want in without_a_budget.items():
        assert not same_bits or np.array_equal(got[name], want), name
        assert_close(got[name], want.astype("float64"), name, k=16)


def test_a_budget_is_kept_where_weights_are_most_of_it():
    """A stack, and one sequence: the gradients of a chunk are larger than what it keeps."""
    steps, model = 160, prnn.RNN(64, 384, cell="lstm", num_layers=4)
    params = model.init(seed=0)
    x = np.zeros((steps, 1, 64), dtype=np.float32)
    d_outputs = np.ones((steps, 1, 384), dtype=np.float32)
    packed = prnn.executors.explain(model).startswith("compiled")  # each weight twice more
    for options in ({"memory": "52 MiB" if packed else "36 MiB"}, {"checkpoint_every": 32}):
        budget = prnn.memory.plan(model, steps, 1, **options).peak

        def both(options=options):
            fwd = prnn.forward(model, params, x, **options)
            return fwd.outputs, prnn.backward(model, params, fwd.tape, d_outputs)

        (outputs, grads), _, peak = measure(both)
        results = sum(a.nbytes for a in (outputs, grads.x, *grads.params.values()))
        assert peak - results <= 1.1 * budget, f"{(peak - results) / budget:.2f} of the budget"


@pytest.mark.no_products
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cell", TAPE)
@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((1, 2000, 64), {}),  # one large step: what it works with
        ((2, 2000, 64), {"checkpoint_every": 1}),
        ((700, 1, 1), {"checkpoint_every": 1}),  # many small ones: what Python remembers
    ],
    ids=["one step", "large steps", "small steps"],
)
def test_a_plan_is_not_exceeded_and_not_far_above_what_is_taken(shape, options, cell, dtype):
    steps, batch, hidden = shape
    model = prnn.RNN(2, hidden, cell=cell)
    params = model.init(seed=0, dtype=dtype)
    x = np.zeros((steps, batch, 2), dtype=dtype)
    d_outputs = np.ones((steps, batch, hidden), dtype=dtype)

    def both():
        fwd = prnn.forward(model, params, x, **options)
        return fwd.outputs, prnn.backward(model, params, fwd.tape, d_outputs)

    (outputs, grads), _, peak = measure(both)
    taken = peak - sum(a.nbytes for a in (outputs, grads.x, *grads.params.values()))
    planned = prnn.memory.plan(model, steps, batch, dtype=dtype, **options).peak
    assert taken <= planned <= 2.1 * taken, f"planned {planned}, taken {taken}"


@pytest.mark.no_products
@pytest.mark.parametrize(
    ("steps", "batch", "hidden"),
    [(64, 16, 64), (500, 1, 16), (500, 1, 1)],  # of the others most is Python's objects
)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", [*TAPE, "layer_norm_lstm", "reset_before_gru"])
def test_the_full_tape_is_as_large_as_planned(cell, layers, steps, batch, hidden):
    model = prnn.RNN(16, hidden, cell=cell, num_layers=layers)
    params, x, _ = inputs(model, steps, batch, "float32")
    prnn.forward(model, params, x)  # what a first call imports and caches is no tape
    fwd, held, _ = measure(lambda: prnn.forward(model, params, x))
    taken = held - fwd.outputs.nbytes
    planned = prnn.memory.plan(model, steps, batch).full_tape
    assert 0.95 * taken <= planned <= (1.25 if hidden < 64 else 1.1) * taken


@pytest.mark.no_products
@pytest.mark.parametrize("hidden", [1, 16])
@pytest.mark.parametrize("cell", TAPE)
def test_a_budget_is_kept_by_a_small_network(cell, hidden):
    """Where what Python takes for an array is more than its numbers."""
    steps = 5500 if cell == "elman" else 2000  # of which a quarter is more than the least there is
    model = prnn.RNN(2, hidden, cell=cell)
    params = model.init(seed=0)
    x, d_outputs = np.zeros((steps, 1, 2), "float32"), np.ones((steps, 1, hidden), "float32")
    full = prnn.memory.plan(model, steps, 1).full_peak
    for budget in (full // 2, full // 4):

        def both(budget=budget):
            fwd = prnn.forward(model, params, x, memory=budget)
            return fwd.outputs, prnn.backward(model, params, fwd.tape, d_outputs)

        (outputs, grads), _, peak = measure(both)
        results = sum(a.nbytes for a in (outputs, grads.x, *grads.params.values()))
        assert peak - results <= budget


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
        with pytest.raises(ValueError, match=rf"^memory: .* for {got} sequences, got .* 40 of 6$"):
            prnn.bptt(model, params, x[part], targets[part], memory=plan)
    with pytest.raises(ValueError, match=r"^memory: .*20 steps of 1 .*got one for 40 of 6$"):
        prnn.forward(model, params, x[:20, 0], memory=plan)
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
