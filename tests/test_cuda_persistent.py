"""A layer by persistent kernels equals the engine: cells, options, dtypes, groups and barriers.

It is compared in float64, on numbers that were rounded to the tested dtype, by the measure of the
conformance suite. Blocks and threads of the emulated device run in random order.
"""

from dataclasses import replace

import numpy as np
import pytest
from conformance.mutants import compiled_here
from conformance.tolerances import K

from portable_rnn.cells import GRU, LSTM, MGU, Elman

from . import cupy_here

if reason := cupy_here.why_not():
    pytest.skip(reason, allow_module_level=True)

from .persistent_problem import DTYPES, Persistent

pytestmark = [pytest.mark.no_products, pytest.mark.usefixtures("emulated_memory")]

CELLS = {
    "elman": Elman(),
    "gru": GRU(),
    "lstm": LSTM(),
    "mgu": MGU(),
    "lstm-peepholes": LSTM(peepholes=True),
}
SMALL = {"threads": 64}
# Blocks of a group, sequences of one, and the barrier.
GROUPS = {
    "block": {"blocks": 1, "sequences": 2},
    "cluster": {"blocks": 4, "sequences": 4, "barrier": "cluster"},
    "global": {"blocks": 4, "sequences": 2, "barrier": "global"},
}
TENSOR_GROUPS = {name: asked | {"sequences": 8} for name, asked in GROUPS.items()}
# Of half precision at most 1.9 eps were measured, with up to 40 steps: sums are float32's, and each
# number that an array holds (states, what is stored, cotangents) is rounded once, by at most half
# an eps.
BOUNDS = {"float32": K, "float64": K, "float16": 4.0, "bfloat16": 4.0}


# On every change one cell in every dtype, and the others in one; `nox -s gpu_rehearsal` runs all.
CASES = [
    (cell, dtype)
    for cell in CELLS
    for dtype in DTYPES
    if compiled_here.EVERY or cell == "lstm" or dtype == "float32"
]


def groups(dtype):
    return GROUPS if dtype in ("float32", "float64") else TENSOR_GROUPS


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize(("cell", "dtype"), CASES)
def test_persistent_layer_of_any_cell_and_dtype_equals_the_engine(
    cell, dtype, group, record_property
):
    problem = Persistent(CELLS[cell], DTYPES[dtype], (4, 5, 18))
    plan = problem.plan(**groups(dtype)[group], **SMALL)
    assert plan.barrier == group
    record_property("eps", problem.worst(plan, bound=BOUNDS[dtype]))


@pytest.mark.parametrize("size", [(1, 1, 1), (3, 1, 40), (2, 7, 33), (5, 3, 16)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_persistent_layer_of_odd_sizes_equals_the_engine(dtype, size):
    problem = Persistent(GRU(), DTYPES[dtype], size)
    problem.worst(problem.plan(), bound=BOUNDS[dtype])
    if size[2] > 4:
        asked = {"blocks": 4, "barrier": "global"}
        problem.worst(problem.plan(**asked, **SMALL), bound=BOUNDS[dtype])


@pytest.mark.parametrize("group", GROUPS)
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm-peepholes"])
def test_persistent_layer_in_reverse_equals_the_engine(cell, group):
    problem = Persistent(CELLS[cell], np.float32, (4, 3, 10))
    problem.worst(problem.plan(**GROUPS[group], **SMALL), bound=K, reverse=True)


@pytest.mark.parametrize(
    "options",
    [
        {"held": "choose", "per_sequence": True},
        {"held": "choose"},
        {"held": "mix"},
        {"held": "mix", "mean": True},
        {"scaled": True},
        {"held": "choose", "scaled": True},
    ],
    ids=lambda options: "-".join(f"{key}={value}" for key, value in options.items()),
)
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"] if compiled_here.EVERY else ["lstm"])
def test_persistent_layer_with_options_equals_the_engine(cell, options):
    problem = Persistent(CELLS[cell], np.float32, (3, 3, 10), **options)
    for group in ("block", "global"):
        problem.worst(problem.plan(**GROUPS[group], **SMALL), bound=K)


def test_persistent_layer_without_cotangents_of_outputs_equals_the_engine():
    problem = Persistent(LSTM(), np.float32, (3, 3, 10))
    problem.worst(problem.plan(**GROUPS["global"], **SMALL), bound=K, d_hidden=False)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_steps_in_launches_of_their_own_give_the_same_bits(dtype, reverse):
    problem = Persistent(LSTM(), DTYPES[dtype], (4, 3, 18))
    for group in ("block", "global"):
        plan = problem.plan(**groups(dtype)[group], **SMALL)
        at_once, by_step = (
            problem.by_kernels(plan, reverse=reverse, stepwise=stepwise)
            for stepwise in (False, True)
        )
        for name, array in at_once.items():
            np.testing.assert_array_equal(array, by_step[name], err_msg=name)


@pytest.mark.parametrize("group", GROUPS)
def test_steps_in_a_graph_give_the_same_bits(group):
    cp = pytest.importorskip("cupy")
    problem = Persistent(LSTM(), np.float32, (5, 4, 18))
    layer = problem.kernels(problem.plan(**GROUPS[group], **SMALL))
    rng = np.random.default_rng(1)
    ax = cp.asarray(rng.standard_normal((5, 4, 4 * 18)), dtype=np.float32)
    state, d_state = (tuple(map(cp.asarray, each)) for each in (problem.state, problem.d_state))
    d_hidden = cp.asarray(problem.d_hidden)
    want = layer.forward(ax, state)
    want_back = layer.backward(want, d_hidden, d_state)
    with cp.cuda.Stream(non_blocking=True) as stream:
        stream.begin_capture()
        record = layer.forward(ax, state, stepwise=True)
        back = layer.backward(record, d_hidden, d_state, stepwise=True)
        graph = stream.end_capture()
        graph.launch(stream)
        stream.synchronize()
    cp.testing.assert_array_equal(record.states, want.states)
    cp.testing.assert_array_equal(back.d_ax, want_back.d_ax)
    cp.testing.assert_array_equal(back.d_state, want_back.d_state)


@pytest.mark.parametrize("group", GROUPS)
def test_gates_in_shared_memory_one_after_another_equal_the_engine(group):
    problem = Persistent(GRU(), np.float32, (3, 3, 10))
    found = problem.plan(**GROUPS[group], **SMALL)
    problem.worst(replace(found, chunk=1), bound=K)


def test_a_second_call_of_a_layer_gives_the_same_bits():
    problem = Persistent(LSTM(), np.float32, (6, 5, 18))
    layer = problem.kernels(problem.plan(**GROUPS["global"], **SMALL))
    found = [problem.run(layer) for _ in range(3)]
    for name, array in found[0].items():
        for again in found[1:]:
            np.testing.assert_array_equal(array, again[name], err_msg=name)
