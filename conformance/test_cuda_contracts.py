"""What a user of CuPy is promised about the device, function by function.

Nothing waits for the device and nothing is moved, except what the table of `cuda_calls` lists; all
work is done on the caller's stream, and on the device of the arrays, whatever is current. Counted
on an emulated device, so that no GPU is needed; see `cuda_on_host`.
"""

import contextlib
import warnings

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import executors

from . import cuda_on_host
from .cuda_calls import BUDGETS, CALLS, Given, leaves

pytestmark = pytest.mark.rows("cupy-host")
each_call = pytest.mark.parametrize("call", CALLS)
each_executor = pytest.mark.parametrize("executor", ["eager", "auto"])


def dtypes(row):
    return ("float32",)


@pytest.fixture
def cp(backend):
    return backend.xp


def warmed(make, given):
    """Return a call that was made once: kernels are compiled, and what is kept is there."""
    call = make(given)
    call()
    return call


@each_executor
@each_call
def test_a_call_moves_and_waits_for_nothing_but_its_budget(backend, dtype, executor, call):
    with executors.use(executor):
        measured = warmed(CALLS[call], Given(backend.xp, backend.put))
        with cuda_on_host.Log() as log:
            measured()
    assert log.waits == BUDGETS.get(call, {}), log.lines


@each_executor
@each_call
def test_a_call_works_on_the_stream_of_the_caller(backend, dtype, cp, executor, call):
    with executors.use(executor):
        measured = warmed(CALLS[call], Given(cp, backend.put))
        with cp.cuda.Stream(non_blocking=True) as stream:
            with cuda_on_host.Log() as log:
                measured()
            stream.synchronize()
    assert set(log.streams) <= {stream.ptr}
    assert log.streams or call in ("unpack", "a batch of windows")  # which are views


@pytest.mark.parametrize("peers", [False, True], ids=["alone", "peers"])
@each_call
def test_results_are_on_the_device_of_the_arguments(backend, dtype, cp, call, peers):
    def put(array):
        with cp.cuda.Device(1):
            return cp.asarray(array)

    with contextlib.ExitStack() as stack:
        stack.enter_context(cuda_on_host.settings(peers=peers))
        stack.enter_context(executors.use("auto"))
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("error")  # CuPy's, where it reads the memory of another device
        measured = warmed(CALLS[call], Given(cp, put))
        with cuda_on_host.Log() as log:
            found = measured()
        assert {array.device.id for _, array in leaves(found) if hasattr(array, "get")} == {1}
        assert set(log.devices) <= {1}
        assert cp.cuda.runtime.getDevice() == 0


@pytest.mark.parametrize("peers", [False, True], ids=["alone", "peers"])
def test_class_indices_of_another_device_are_refused_by_name(backend, dtype, cp, peers):
    given = Given(cp, backend.put)
    with cp.cuda.Device(1):
        labels = cp.zeros(given.labels.shape, dtype=cp.int32)
    refused = pytest.raises(ValueError, match=r"^targets: expected device .* 0> like outputs, got")
    with cuda_on_host.settings(peers=peers):
        with refused:
            prnn.bptt(*given.network(), given.x, labels)
        with refused:
            prnn.losses.softmax_cross_entropy(given.rows, labels)


@each_executor
@each_call
def test_results_are_those_of_numpy(backend, dtype, executor, call):
    with executors.use(executor):
        found = dict(leaves(CALLS[call](Given(backend.xp, backend.put))()))
    wanted = dict(leaves(CALLS[call](Given(np, np.asarray))()))
    assert found.keys() == wanted.keys()
    for name, array in wanted.items():
        # Power iterations have not converged, and amplify rounding.
        close = 2e-3 if call == "gradient flow" else 2e-5
        got = found[name].get() if hasattr(found[name], "get") else found[name]
        np.testing.assert_allclose(got, array, rtol=close, atol=close, err_msg=name)


@each_executor
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_a_steady_step_of_training_takes_no_memory_from_the_driver(
    backend, dtype, cp, executor, cell
):
    cp.cuda.set_allocator(cp.cuda.MemoryPool().malloc)  # the row's own is restored by its session
    given = Given(cp, backend.put)
    model, params = given.network(cell)
    state = None
    with executors.use(executor):
        for _ in range(9):  # until the pool has what any order of allocations takes
            with cuda_on_host.Log() as log:
                grads = prnn.bptt(model, params, given.x, given.labels).grads
                params, state = prnn.optimizers.adam(params, grads, state)
    assert log.counts["launch"] > 0
    assert log.counts["malloc"] == 0
    assert log.counts["hostalloc"] == 0


# Operations of the device a step: launches, products and copies. Copies into the record are some.
STEPS = {"elman": (6, 8), "gru": (19, 32), "lstm": (24, 37), "mgu": (14, 27)}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("cell", STEPS)
def test_a_step_of_the_eager_loop_takes_no_more_operations(backend, dtype, cp, cell, batch):
    given = Given(cp, backend.put)
    model, params = given.network(cell)

    def operations(steps):
        x = given.normal(steps, batch, model.input_size)
        for _ in range(2):
            with cuda_on_host.Log() as onward:
                tape = prnn.forward(model, params, x).tape
            with cuda_on_host.Log() as back:
                prnn.backward(model, params, tape, given.normal(steps, batch, model.output_size))
        return onward.operations, back.operations - 1

    few, many = operations(12), operations(20)
    found = tuple((b - a) / 8 for a, b in zip(few, many, strict=True))
    assert all(got <= most for got, most in zip(found, STEPS[cell], strict=True)), found
