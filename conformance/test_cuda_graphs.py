"""Calls captured in a CUDA graph compute what they compute otherwise, on the values of the moment.

On the emulated device, where a graph that reads or writes memory of others is noticed, and on a
GPU.
"""

import gc
from types import SimpleNamespace

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import executors, losses, optimizers

from . import cuda_on_host
from .cuda_calls import BUDGETS, CALLS, Given, leaves

pytestmark = pytest.mark.rows("cupy-host", "cupy")
# What has a state of its own goes on from that of the capture, again and again.
STATEFUL = {call for call in CALLS if "of a stream" in call}
# The number of its step is Python's.
COUNTS = {"an average of parameters", "a dynamic loss scale"}
COUNTS |= {call for call in CALLS if call.startswith("adam")}
CAPTURED = [call for call in CALLS if call not in BUDGETS.keys() | STATEFUL | COUNTS]
EXECUTORS = ["eager", "auto", "persistent"]
# Kernels are of layers.
CASES = [(call, "eager") for call in CAPTURED]
CASES += [(call, "auto") for call in CAPTURED if "bptt" in call or "ward" in call]
CASES += [(f"bptt {what}", "persistent") for what in ("of gru", "with a mask", "with lengths")]


def dtypes(row):
    return ("float32",)


@pytest.fixture
def cp(backend):
    return backend.xp


@pytest.fixture
def given(backend, dtype):
    return Given(backend.xp, backend.put)


def changed(cp, array):
    """Write other values, which are valid for the same calls, to an array."""
    if array.dtype.kind == "f":
        array *= 0.75
    else:
        array[...] = array[::-1].copy()


def check_same(found, wanted):
    """Check that two results are the same, on a GPU up to the rounding of other products."""
    found, wanted = dict(leaves(found)), dict(leaves(wanted))
    assert found.keys() == wanted.keys()
    close = {} if cuda_on_host.installed() else {"rtol": 1e-3, "atol": 1e-3}
    for name, array in wanted.items():
        got, want = (one.get() if hasattr(one, "get") else one for one in (found[name], array))
        check = np.testing.assert_allclose if close else np.testing.assert_array_equal
        check(got, want, err_msg=name, **close)


def launched(captured):
    """Launch a graph; on the emulated device, check that this is all that the host enqueues."""
    if not cuda_on_host.installed():
        return captured.launch()
    with cuda_on_host.Log() as log:
        result = captured.launch()
    assert log.counts == {"graph": 1}
    return result


# ----------------------------------------------------------------------------- each function


@pytest.mark.parametrize(("call", "executor"), CASES)
def test_a_captured_call_computes_with_the_values_of_the_moment(backend, dtype, cp, call, executor):
    arrays = []

    def put(array):
        arrays.append(backend.put(array))
        return arrays[-1]

    with executors.use(executor):
        compute = CALLS[call](Given(cp, put))
        wanted = compute()
        captured = executors.capture(lambda arrays: compute(), arrays)
        check_same(launched(captured), wanted)
        for array in arrays:
            changed(cp, array)
        check_same(launched(captured), compute())


@pytest.mark.parametrize("call", BUDGETS)
def test_a_call_that_waits_or_sends_is_refused_by_its_line(backend, dtype, cp, given, call):
    compute, stream = CALLS[call](given), cp.cuda.Stream(non_blocking=True)
    text = r"^function: expected work that a CUDA graph can contain, got '.*' in \w+\.py, line "
    with pytest.raises(RuntimeError, match=text):
        executors.capture(lambda x: compute(), given.x, stream=stream)
    assert not stream.is_capturing()


# ------------------------------------------------------------------------------- an update


def update(model):
    """Return an update of parameters and of the state of an optimizer, in place."""

    def step(params, state, x, labels, weights, lr):
        result = prnn.bptt(model, params, x, labels, weights=weights, grad_x=False)
        grads, norm = optimizers.clip_by_global_norm(result.grads, 0.05)
        old, new = (params, state), optimizers.adam(params, grads, state, lr=lr)
        for (_, array), (_, values) in zip(leaves(old), leaves(new), strict=True):
            array[...] = values
        return result.loss, norm

    return step


@pytest.fixture
def training(given):
    """A network, its update, and arguments for it, twice."""
    model, params = given.network("gru", num_layers=2)

    def arguments():
        first = {name: array.copy() for name, array in params.items()}
        _, state = optimizers.adam(first, given.direction(first, 0.1))
        state["step"] = given.put(np.asarray(1))
        weights, rate = np.ones(given.labels.shape, "float32"), np.asarray(0.1, "float32")
        return (
            first,
            state,
            given.x.copy(),
            given.labels.copy(),
            given.put(weights),
            given.put(rate),
        )

    return SimpleNamespace(update=update(model), first=arguments(), second=arguments())


@pytest.mark.rows("cupy-host-stream", "cupy-stream")
@pytest.mark.parametrize("executor", EXECUTORS)
def test_updates_by_launches_of_a_graph_are_those_of_calls(backend, dtype, cp, training, executor):
    with executors.use(executor):
        captured = executors.capture(training.update, *training.first)
        check_same(training.first, training.second)  # nothing has been updated yet
        for _ in range(3):
            check_same(launched(captured), training.update(*training.second))
            check_same(training.first, training.second)
            for arguments in (training.first, training.second):
                for array in arguments[2:5]:
                    changed(cp, array)
    assert int(training.first[1]["step"]) == 4


@pytest.mark.parametrize("call", sorted(COUNTS))
def test_a_step_of_adam_that_is_a_number_is_refused(backend, dtype, given, call):
    compute = CALLS[call](given)
    with pytest.raises(RuntimeError, match=r"state\['step'\]: expected an integer array of shape"):
        executors.capture(lambda x: compute(), given.x)


def test_masks_of_dropout_and_lengths_are_read_at_each_launch(backend, dtype, cp, given):
    model, params = given.network("lstm", num_layers=2, dropout=0.5, zoneout=0.2)
    masks = prnn.dropout.draw(model, given.x, 0)
    lengths = given.put(np.asarray([10, 3, 7, 1]))

    def step(params, x, targets, masks, lengths):
        options = {"dropout": masks, "lengths": lengths, "loss": losses.mean_squared_error}
        return prnn.bptt(model, params, x, targets, **options)

    arguments = params, given.x, given.rows, masks, lengths
    captured = executors.capture(step, *arguments)
    others = prnn.dropout.draw(model, given.x, 1)
    for (_, old), (_, new) in zip(leaves(masks), leaves(others), strict=True):
        old[...] = new
    lengths[...] = given.put(np.asarray([1, 10, 2, 9]))
    check_same(launched(captured), step(*arguments))


# ----------------------------------------------------------------------------------- memory


def test_nobody_else_is_given_the_memory_of_a_graph(backend, dtype, cp, given):
    pool = cp.cuda.MemoryPool()
    with cp.cuda.using_allocator(pool.malloc), cp.cuda.Stream(non_blocking=True) as stream:
        compute = given.bptt("gru", {"num_layers": 2})
        captured = executors.capture(lambda x: compute(), given.x, stream=stream)
        pool.free_all_blocks()
        others = [cp.full(16 << i, i, dtype=cp.float32) for i in range(12) for _ in range(4)]
        found = launched(captured)
        alike = [bool((array == i // 4).all()) for i, array in enumerate(others)]
        assert not (cuda_on_host.installed() and cuda_on_host.memory_check())
        assert all(alike), alike
        check_same(found, compute())


def test_a_captured_call_keeps_what_it_reads(backend, dtype, cp, given):
    model, params = given.network("gru")

    def work(out, params, x):
        out[...] = prnn.predict(model, params, x)

    out = cp.zeros_like(given.rows)
    copies = {name: array.copy() for name, array in params.items()}
    captured = executors.capture(work, out, copies, given.x.copy())
    del copies
    gc.collect()
    cp.get_default_memory_pool().free_all_blocks()
    others = [cp.zeros(16 << i, dtype=cp.float32) for i in range(12) for _ in range(4)]
    launched(captured)
    check_same(out, prnn.predict(model, params, given.x))
    assert not any(bool(array.any()) for array in others)
    assert not (cuda_on_host.installed() and cuda_on_host.memory_check())


@pytest.mark.rows("cupy-host")  # a GPU has other users
def test_the_memory_of_a_graph_is_given_back_with_its_last_array(backend, dtype, cp, given):
    compute = given.bptt("gru")
    wanted = compute()

    def free():
        gc.collect()
        return cp.cuda.Device().mem_info[0]

    before = free()
    captured = executors.capture(lambda x: compute(), given.x)
    result = launched(captured)
    held = before - free()
    assert held > 0
    del captured
    check_same(result, wanted)
    loss = result.loss
    del result
    assert 0 < before - free() <= held
    del loss
    assert free() == before


def test_the_null_stream_waits_for_a_capture_and_a_launch_goes_where_it_is_told(
    backend, dtype, cp, given
):
    compute = given.bptt("elman")
    captured = executors.capture(lambda x: compute(), given.x)
    stream = cp.cuda.Stream(non_blocking=True)
    wanted = compute()
    stream.wait_event(cp.cuda.get_current_stream().record())
    found = captured.launch(stream)
    stream.synchronize()
    check_same(found, wanted)


def test_a_graph_of_another_device_is_launched_there(backend, dtype, cp):
    if cp.cuda.runtime.getDeviceCount() < 2:
        pytest.skip("not run: needs a second device")

    def put(array):
        with cp.cuda.Device(1):
            return cp.asarray(array)

    given = Given(cp, put)
    compute = given.bptt("lstm")
    captured = executors.capture(lambda x: compute(), given.x)
    with cp.cuda.Device(1):
        changed(cp, given.labels)
    if cuda_on_host.installed():
        with cuda_on_host.Log() as log:
            captured.launch()
        assert log.devices == {1: 1}
    found = captured.launch()
    assert {array.device.id for _, array in leaves(found)} == {1}
    check_same(found, compute())


# --------------------------------------------------------------------- a graph of the caller's


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_call_can_be_a_part_of_the_callers_own_graph(backend, dtype, cp, given, executor):
    model, params = given.network("gru")
    pool = cp.cuda.MemoryPool()

    def work():
        scaled = given.x * 2.0
        result = prnn.bptt(model, params, scaled, given.labels)
        return scaled, result.loss, result.grads

    stream = cp.cuda.Stream(non_blocking=True)
    stream.wait_event(cp.cuda.get_current_stream().record())
    with executors.use(executor), stream:
        with cp.cuda.using_allocator(pool.malloc):  # for the graph, and for nothing else
            work()  # kernels are compiled
            stream.begin_capture()
            found = work()
            graph = stream.end_capture()
        changed(cp, given.x)
        wanted = work()
        graph.launch()
        stream.synchronize()
        check_same(found, wanted)


# --------------------------------------------------------------------------------- refusals


def test_wrong_arguments_are_refused_by_name(backend, dtype, cp, given):
    x, host, elsewhere = given.x, np.ones(3), None
    if cp.cuda.runtime.getDeviceCount() > 1:
        with cp.cuda.Device(1):
            elsewhere = cp.ones(3), cp.cuda.Stream()
    cases = [
        (TypeError, "function: expected a callable, got 1", (1, x), {}),
        (TypeError, "arguments: expected CuPy arrays, got one of numpy", (len, {"x": [host]}), {}),
        (TypeError, "arguments: expected at least one CuPy array, got none", (len, "x"), {}),
        (TypeError, "stream: expected a cupy.cuda.Stream, got 3", (len, x), {"stream": 3}),
        (ValueError, "null stream", (len, x), {"stream": cp.cuda.Stream.null}),
    ]
    if elsewhere:
        array, stream = elsewhere
        cases += [
            (ValueError, "arguments: expected arrays of one device", (len, x, array), {}),
            (ValueError, "stream: expected one of device 0", (len, x), {"stream": stream}),
        ]
    for error, message, arguments, options in cases:
        with pytest.raises(error, match=message):
            executors.capture(*arguments, **options)


def test_a_launch_on_what_is_no_stream_of_its_device_is_refused(backend, dtype, cp, given):
    captured = executors.capture(lambda x: x + 1.0, given.x)
    with pytest.raises(TypeError, match=r"^stream: expected a cupy.cuda.Stream, got 3$"):
        captured.launch(3)
    captured.launch(cp.cuda.Stream.null)
    if cp.cuda.runtime.getDeviceCount() > 1:
        with cp.cuda.Device(1):
            stream = cp.cuda.Stream()
        with pytest.raises(ValueError, match=r"^stream: expected one of device 0"):
            captured.launch(stream)


def test_a_capture_within_a_capture_is_refused(backend, dtype, cp, given):
    stream = cp.cuda.Stream(non_blocking=True)
    stream.begin_capture()
    with pytest.raises(ValueError, match=r"^stream: expected one that is not captured already"):
        executors.capture(len, given.x, stream=stream)
    with stream, pytest.raises(ValueError, match=r"^stream: expected a current stream that is not"):
        executors.capture(len, given.x)
    stream.end_capture()


def test_an_error_of_the_call_itself_is_raised_as_it_is(backend, dtype, given):
    def fails(x):
        x *= 2.0
        raise KeyError("mine")

    before = given.x.copy()
    with pytest.raises(KeyError, match="mine"):
        executors.capture(fails, given.x)
    check_same(given.x, before)
