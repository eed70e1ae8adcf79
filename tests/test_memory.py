"""Memory that a pass takes, planned and measured with tracemalloc, on NumPy's arrays."""

import numpy as np
import pytest
from conformance.tolerances import assert_close

import portable_rnn as prnn

from .memory_problem import TAPE, inputs, measure

pytestmark = pytest.mark.usefixtures("short_chunks")

GATES = {"elman": 1, "gru": 3, "lstm": 4}


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
    one_array = (long - short) * 64 * 4  # what stored hidden states would add
    assert extra[long] - extra[short] <= 0.05 * one_array, f"{cell}: peaks of {extra} bytes"


@pytest.mark.no_products
@pytest.mark.parametrize("cell", TAPE)
def test_a_tape_holds_the_documented_number_of_arrays(cell):
    steps, batch, hidden = 64, 16, 64
    model = prnn.RNN(16, hidden, cell=cell)
    params = model.init(seed=0)
    x = np.zeros((steps, batch, 16), dtype=np.float32)
    prnn.forward(model, params, x)  # caches of the first call are not part of the tape
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
    """Sequences between layers are never held for all steps."""
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
def test_a_ragged_tape_holds_only_the_valid_steps(cell):
    steps, batch, hidden = 64, 32, 256  # large compared with the overhead of an array object
    model = prnn.RNN(4, hidden, cell=cell)
    params = model.init(seed=0)
    x = np.zeros((steps, batch, 4), dtype=np.float32)
    lengths = np.random.default_rng(0).integers(0, steps, batch)
    fwd, held, _ = measure(lambda: prnn.forward(model, params, x, lengths=lengths))
    row = hidden * 4
    got = (held - fwd.outputs.nbytes) / row
    # A state of the whole batch is stored before each chunk, that is, once per length.
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
    # Smaller by the tape of the padding: no sequence is sorted as a whole.
    allowed = peaks[0] - 0.9 * (1 - share) * TAPE[cell] * segment + 0.3 * segment
    assert peaks[1] <= allowed, f"{cell}: peaks of {peaks} bytes, allowed {allowed:.0f}"


# --------------------------------------------------------------------------- under a budget


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
    """It changes no bit, unless chunks must be smaller."""
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
    """Several layers and one sequence: gradients of a chunk are larger than its residuals."""
    steps, model = 160, prnn.RNN(64, 384, cell="lstm", num_layers=4)
    params = model.init(seed=0)
    x = np.zeros((steps, 1, 64), dtype=np.float32)
    d_outputs = np.ones((steps, 1, 384), dtype=np.float32)
    packed = prnn.executors.explain(model).startswith("compiled")  # two more copies of each weight
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
        ((1, 2000, 64), {}),  # one large step: its working memory
        ((2, 2000, 64), {"checkpoint_every": 1}),
        ((700, 1, 1), {"checkpoint_every": 1}),  # many small ones: Python's objects
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
    [(64, 16, 64), (500, 1, 16), (500, 1, 1)],  # most of the others is Python's objects
)
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", [*TAPE, "layer_norm_lstm", "reset_before_gru"])
def test_the_full_tape_is_as_large_as_planned(cell, layers, steps, batch, hidden):
    model = prnn.RNN(16, hidden, cell=cell, num_layers=layers)
    params, x, _ = inputs(model, steps, batch, "float32")
    prnn.forward(model, params, x)  # imports and caches of the first call are not part of the tape
    fwd, held, _ = measure(lambda: prnn.forward(model, params, x))
    taken = held - fwd.outputs.nbytes
    planned = prnn.memory.plan(model, steps, batch).full_tape
    assert 0.95 * taken <= planned <= (1.25 if hidden < 64 else 1.1) * taken


@pytest.mark.no_products
@pytest.mark.parametrize("hidden", [1, 16])
@pytest.mark.parametrize("cell", TAPE)
def test_a_budget_is_kept_by_a_small_network(cell, hidden):
    """There the overhead of an array object is larger than its numbers."""
    # So many that a quarter of the full peak is more than the smallest budget.
    steps = 5500 if cell == "elman" else 2000
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
