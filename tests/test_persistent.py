"""The executor of persistent kernels on CuPy's arrays, executed on the CPU, equals the eager one.

As ``test_fused.py``, whose numbers and comparison it takes.
"""

import importlib

import numpy as np
import pytest
from conformance import cuda_on_host

import portable_rnn as prnn
from portable_rnn import executors

from . import cupy_here

if reason := cupy_here.why_not():
    pytest.skip(reason, allow_module_level=True)

from .compiled_problem import CELLS, FEW_SIZES, OPTIONS
from .cupy_problem import OnCuPy, cp, network

persistent = importlib.import_module("portable_rnn._executors.persistent")

pytestmark = [pytest.mark.no_products, pytest.mark.usefixtures("emulated_memory")]


class Persistent(OnCuPy):
    """The same numbers, by persistent kernels."""

    executor = persistent.Persistent


@pytest.fixture
def any_length(monkeypatch):
    """Run one and two steps too by the kernels."""
    monkeypatch.setattr(persistent, "SHORT", 0)


@pytest.mark.parametrize("name", CELLS)
def test_persistent_executor_with_any_cell_equals_the_engine(name, any_length):
    for size in FEW_SIZES:
        Persistent(CELLS[name], np.float32, size).check()


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", ["elman-tanh", "gru", "lstm-peepholes"])
def test_persistent_executor_with_options_of_a_step_equals_the_engine(name, option, any_length):
    for size in FEW_SIZES:
        Persistent(CELLS[name], np.float32, size, **OPTIONS[option]).check()


@pytest.mark.parametrize("name", ["gru", "lstm-peepholes"])
def test_persistent_executor_in_reverse_equals_the_engine(name, any_length):
    problem = Persistent(CELLS[name], np.float64, FEW_SIZES[0], **OPTIONS["all"])
    problem.check(reverse=True)
    problem.check(reverse=True, d_hidden=False)


def test_persistent_layer_of_all_steps_is_one_launch():
    operations = []
    for steps in (12, 96):
        model, params, x, targets = network("lstm", steps, 16)
        with executors.use("persistent"):
            prnn.bptt(model, params, x, targets)  # kernels are compiled
            with cuda_on_host.Log() as log:
                prnn.bptt(model, params, x, targets)
        assert log.kernels["persistent_forward"] == log.kernels["persistent_backward"] == 1
        assert log.waits == {}
        operations.append(log.operations)
    assert operations[1] - operations[0] <= 5  # sums over more rows


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_gradients_of_a_model_with_persistent_layers_are_those_of_eager_numpy(steps):
    model = prnn.RNN(3, 6, 4, cell="gru", num_layers=2, bidirectional=True)
    params = model.init(seed=0, dtype="float64")
    rng = np.random.default_rng(0)
    x, targets = rng.standard_normal((steps, 5, 3)), rng.integers(0, 4, (steps, 5))
    want = prnn.bptt(model, params, x, targets)
    on_device = {name: cp.asarray(array) for name, array in params.items()}
    with executors.use("persistent"):
        got = prnn.bptt(model, on_device, cp.asarray(x), cp.asarray(targets))
    for name, expected in want.grads.items():
        np.testing.assert_allclose(got.grads[name].get(), expected, rtol=1e-12, atol=1e-14)


def test_backward_pass_of_a_tape_is_one_launch_too():
    model, params, x, targets = network("gru", 6, 3)
    with executors.use("persistent"), cuda_on_host.Log() as log:
        found = prnn.forward(model, params, x)
        _, d = prnn.losses.softmax_cross_entropy(found.outputs, targets)
        prnn.backward(model, params, found.tape, d)
    assert log.kernels["persistent_forward"] == log.kernels["persistent_backward"] == 1


def test_fused_and_persistent_layers_run_back_each_others_records(monkeypatch):
    model, params, x, targets = network("lstm", 6, 5, "float64")
    found = []
    for forward, backward in [(0, 100), (100, 0), (0, 0)]:
        with executors.use("persistent"):
            monkeypatch.setattr(persistent, "SHORT", forward)
            result = prnn.forward(model, params, x)
            _, d = prnn.losses.softmax_cross_entropy(result.outputs, targets)
            monkeypatch.setattr(persistent, "SHORT", backward)
            found.append(prnn.backward(model, params, result.tape, d).params)
    for name, array in found[0].items():
        for other in found[1:]:
            np.testing.assert_allclose(other[name].get(), array.get(), rtol=1e-12, atol=1e-14)


def test_layer_too_large_for_shared_memory_runs_as_fused():
    model, params, x, targets = network("elman", 3, 2)
    with (
        executors.use("persistent"),
        pytest.MonkeyPatch.context() as patch,
        cuda_on_host.Log() as log,
    ):
        patch.setattr(persistent, "limits", lambda: persistent.Limits(shared_per_block=64))
        prnn.bptt(model, params, x, targets)
    assert log.kernels["rnn_step"] == 3
    assert not log.kernels["persistent_forward"]


@pytest.mark.parametrize(("error", "tries"), [(ValueError("too many"), 1), (MemoryError(), 2)])
def test_kernels_that_cannot_be_compiled_are_tried_once_unless_it_may_pass(
    monkeypatch, caplog, error, tries
):
    def fails(*args, **options):
        tried.append(args)
        raise error

    tried = []
    monkeypatch.setattr(persistent, "Layer", fails)
    monkeypatch.setattr(persistent, "_refused", {})
    model, params, x, _ = network("elman", 4, 2)
    with executors.use("persistent"):
        for _ in range(2):
            prnn.predict(model, params, x)
    assert len(tried) == tries


def test_persistent_runs_arrays_of_other_libraries_as_auto_does():
    model = prnn.RNN(3, 4)
    params, x = model.init(seed=0), np.ones((5, 2, 3), np.float32)
    with executors.use("auto"):
        want, how = prnn.predict(model, params, x), executors.explain(model)
    with executors.use("persistent"):
        assert np.array_equal(prnn.predict(model, params, x), want)
        assert executors.explain(model) == how
        assert executors.explain(model, xp=cp).startswith("persistent: ")
        assert executors.explain(model, "complex64", xp=cp).startswith("eager: ")
