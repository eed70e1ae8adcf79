"""A layer of fused kernels on CuPy's arrays equals the eager one.

It is compared with `layer` and `layer_vjp` of the engine in float64, by NumPy, on numbers that were
rounded to the tested dtype, by the measure and the bound of the conformance suite. On a CUDA
device; where there is no driver, on the emulated one.
"""

import importlib
import logging

import numpy as np
import pytest
from conformance import cuda_on_host

import portable_rnn as prnn
from portable_rnn import executors
from portable_rnn.cells import GRU, LSTM, Elman

from . import cupy_here

if reason := cupy_here.why_not():
    pytest.skip(reason, allow_module_level=True)

from .compiled_problem import CELLS, FEW_SIZES, OPTIONS
from .cupy_problem import INPUTS, OUTPUTS, H, OnCuPy, cp, network
from .own_cell import MinimalGated

fused = importlib.import_module("portable_rnn._executors.fused")

pytestmark = [pytest.mark.no_products, pytest.mark.usefixtures("emulated_memory")]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CELLS)
def test_a_layer_equals_the_engine(name, dtype):
    for size in FEW_SIZES:
        OnCuPy(CELLS[name], dtype, size).check()


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("name", ["elman-tanh", "gru", "lstm-peepholes"])
def test_a_layer_with_options_of_a_step_equals_the_engine(name, option):
    for size in FEW_SIZES:
        OnCuPy(CELLS[name], np.float32, size, **OPTIONS[option]).check()


@pytest.mark.parametrize("option", ["", "all"])
@pytest.mark.parametrize("name", ["elman-tanh", "gru", "lstm-peepholes"])
def test_a_layer_from_the_last_step_to_the_first_equals_the_engine(name, option):
    for size in FEW_SIZES:
        problem = OnCuPy(CELLS[name], np.float32, size, **OPTIONS.get(option, {}))
        problem.check(reverse=True)
        problem.check(reverse=True, d_hidden=False)
        problem.check(d_hidden=False)


@pytest.mark.parametrize("batch", [1, 16, 256])
@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_a_step_is_about_two_operations_of_the_device(cell, batch):
    model, params, x, targets = network(cell, 96, batch)
    with executors.use("fused"):
        tape = prnn.forward(model, params, x).tape
        _, d = prnn.losses.softmax_cross_entropy(prnn.forward(model, params, x).outputs, targets)
        prnn.backward(model, params, tape, d)  # kernels are compiled
        with cuda_on_host.Log() as forward:
            tape = prnn.forward(model, params, x).tape
        with cuda_on_host.Log() as backward:
            prnn.backward(model, params, tape, d)
    assert forward.operations <= 2.2 * 96
    assert backward.operations <= 2.3 * 96
    assert forward.waits == backward.waits == {}


def test_gradients_of_many_rows_are_as_exact_as_of_few():
    # 16,384 rows, of which products add 512 one after another.
    model, params, x, targets = network("elman", 64, 256)
    with executors.use("fused"):
        found = prnn.bptt(model, params, x, targets, reduction="sum").grads
    exact = {name: array.get().astype("float64") for name, array in params.items()}
    want = prnn.bptt(model, exact, x.get().astype("float64"), targets.get(), reduction="sum").grads
    for name, array in want.items():
        error = np.abs(found[name].get() - array).max() / np.abs(array).max()
        assert error <= 8 * np.finfo("float32").eps, name


def test_a_fused_tape_is_refused_by_the_eager_loop_of_bfloat16():
    model, params, x, _ = network("gru", 3, 2, "float32")
    params = {name: array.astype("bfloat16") for name, array in params.items()}
    with executors.use("eager"), pytest.raises(ValueError, match="executor: only fused steps"):
        prnn.predict(model, params, x.astype("bfloat16"))


@pytest.mark.parametrize("cell", ["reset_before_gru", "layer_norm_lstm"])
def test_a_cell_that_cannot_be_fused_runs_eagerly_or_is_refused_by_name(cell):
    model, params, x, _ = network(cell, 3, 2)
    with executors.use("eager"):
        want = prnn.predict(model, params, x)
    assert executors.explain(model, xp=cp).startswith("eager: ")
    with executors.use("auto"):
        assert cp.array_equal(prnn.predict(model, params, x), want)
    with executors.use("fused"):
        assert executors.explain(model, xp=cp).startswith("refused: ")
        with pytest.raises(ValueError, match="executor: fused was asked for; its cell"):
            prnn.predict(model, params, x)


def test_where_compilation_fails_steps_are_cupys_with_a_warning(monkeypatch, caplog):
    monkeypatch.setattr(fused, "source", lambda *args, **options: "this is not CUDA C")
    cell = GRU(clip=0.123)  # of which there are no kernels yet
    model, params, x, _ = network(cell, 3, 2)
    with executors.use("eager"):
        want = prnn.predict(model, params, x)
    with executors.use("auto"), caplog.at_level(logging.WARNING, "portable_rnn"):
        assert cp.array_equal(prnn.predict(model, params, x), want)
    assert "NVRTC cannot compile" in caplog.text
    with executors.use("fused"), pytest.raises(ValueError, match="NVRTC cannot compile"):
        prnn.predict(model, params, x)


def test_a_failure_of_compilation_that_passes_is_not_kept(monkeypatch, caplog):
    def no_memory(*args, **options):
        raise cp.cuda.memory.OutOfMemoryError(1, 2)

    cell = GRU(clip=0.321)  # of which there are no kernels yet
    model, params, x, _ = network(cell, 3, 2)
    with executors.use("fused"):
        with monkeypatch.context() as patch:
            patch.setattr(cp, "RawModule", no_memory)
            with pytest.raises(ValueError, match="executor: fused was asked for; NVRTC cannot"):
                prnn.predict(model, params, x)
        prnn.predict(model, params, x)


def test_fused_is_for_cupys_arrays():
    model = prnn.RNN(INPUTS, H)
    with executors.use("fused"):
        assert executors.explain(model) == "refused: fused is for CuPy's arrays"
        with pytest.raises(ValueError, match="it is for CuPy's arrays, and these are"):
            prnn.predict(model, model.init(seed=0), np.zeros((2, INPUTS), np.float32))
    with executors.use("compiled"):
        assert executors.explain(model, xp=cp) == "refused: compiled is for NumPy's arrays"


def test_a_stream_of_fused_steps_is_the_whole():
    model, params, x, _ = network("lstm", 6, 4)
    with executors.use("fused"):
        want = prnn.predict(model, params, x)
        stream = prnn.stream(model, params)
        found = cp.stack([stream.step(step) for step in x])
    assert cp.abs(found - want).max() <= 1e-6


@pytest.mark.parametrize("cell", [Elman("relu"), LSTM(peepholes=True), MinimalGated()])
def test_a_cotangent_of_any_layout_is_taken(cell):
    model, params, x, _ = network(cell, 4, 6)
    d = cp.asarray(np.random.default_rng(1).standard_normal((4, OUTPUTS, 6)).astype("float32"))
    with executors.use("fused"):
        tape = prnn.forward(model, params, x).tape
        one = prnn.backward(model, params, tape, d.transpose(0, 2, 1))
        two = prnn.backward(model, params, tape, cp.ascontiguousarray(d.transpose(0, 2, 1)))
    for name, array in one.params.items():
        assert cp.array_equal(array, two.params[name]), name


def on_device(params, dtype):
    return {name: cp.asarray(array).astype(dtype) for name, array in params.items()}


@pytest.mark.parametrize("executor", ["fused", "persistent"])
@pytest.mark.parametrize("cell", ["elman", LSTM(peepholes=True)])
def test_parameters_of_any_layout_give_the_same(cell, executor):
    model, params, x, targets = network(cell, 4, 3)
    apart = {}
    for name, array in params.items():
        wide = cp.full((*array.shape, 2), cp.nan, dtype=array.dtype)
        wide[..., 0] = array
        apart[name] = wide[..., 0]
    with executors.use(executor):
        want = prnn.bptt(model, params, x, targets).grads
        found = prnn.bptt(model, apart, x, targets).grads
    for name, array in want.items():
        assert cp.allclose(found[name], array, rtol=1e-5, atol=1e-6), name


@pytest.mark.parametrize("executor", ["auto", "persistent"])
def test_tokens_in_bfloat16_train_as_in_float64(executor):
    model = prnn.RNN(INPUTS, H, OUTPUTS, cell="gru", vocabulary_size=7)
    host = model.init(seed=0, dtype="float64")
    tokens, targets = np.random.default_rng(0).integers(0, [[[7]], [[OUTPUTS]]], (2, 5, 3))
    want = prnn.bptt(model, host, tokens, targets)
    with executors.use(executor):
        found = prnn.bptt(
            model, on_device(host, "bfloat16"), cp.asarray(tokens), cp.asarray(targets)
        )
    assert abs(float(found.loss) - float(want.loss)) < 0.05
    for name, array in want.grads.items():
        assert found.grads[name].dtype.name == "bfloat16", name
        error = np.abs(found.grads[name].astype("float32").get() - array).max()
        assert error <= 0.05 * np.abs(array).max(), name


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("zoneout", [0.0, 0.25])
def test_a_stream_that_holds_states_keeps_its_dtype(dtype, zoneout):
    model = prnn.RNN(INPUTS, H, OUTPUTS, cell="lstm", zoneout=zoneout)
    host = model.init(seed=0, dtype="float64")
    x = np.random.default_rng(0).standard_normal((4, 3, INPUTS))
    mask = np.asarray([[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0]], dtype=bool)
    wide = prnn.stream(model, host)
    with executors.use("fused"):
        narrow = prnn.stream(model, on_device(host, dtype))
        found = [
            narrow.step(cp.asarray(row).astype(dtype), mask=cp.asarray(valid))
            for row, valid in zip(x, mask, strict=True)
        ]
    for got, row, valid in zip(found, x, mask, strict=True):
        assert got.dtype.name == dtype
        want = wide.step(row, mask=valid)
        allowed = 1e-6 if dtype == "float32" else 0.05
        assert np.abs(got.astype("float32").get() - want).max() <= allowed


def test_updates_of_two_dtypes_are_read_as_numbers():
    model = prnn.RNN(INPUTS, H, OUTPUTS, cell="lstm", zoneout=0.3)
    host = model.init(seed=0, dtype="float64")
    x = np.random.default_rng(0).standard_normal((5, 3, INPUTS))
    masks = prnn.dropout.draw(model, x, 1)
    ((h, c),) = masks.update
    mixed = masks._replace(update=((h, 0.5 * c + 0.25),))
    want = prnn.forward(model, host, x, dropout=mixed).outputs
    there = masks._replace(update=((cp.asarray(h), cp.asarray(0.5 * c + 0.25)),))
    for executor in ("fused", "persistent"):
        with executors.use(executor):
            found = prnn.forward(model, on_device(host, "float64"), cp.asarray(x), dropout=there)
        assert np.allclose(found.outputs.get(), want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("executor", ["auto", "persistent"])
def test_products_of_a_hessian_run_eagerly(executor):
    model, params, x, targets = network("lstm", 4, 3)
    with executors.use("eager"):
        want = prnn.hvp(model, params, x, targets, params)
    with executors.use(executor):
        found = prnn.hvp(model, params, x, targets, params)
    for name, array in want.items():
        assert cp.allclose(found[name], array, rtol=1e-4, atol=1e-6), name


def test_step_weights_in_bfloat16_are_taken_with_lengths():
    model = prnn.RNN(INPUTS, H, OUTPUTS, cell="gru")
    host = model.init(seed=0, dtype="float64")
    x = np.random.default_rng(0).standard_normal((4, 2, INPUTS))
    targets, weights = np.zeros((4, 2), int), np.linspace(0.5, 2.0, 8).reshape(4, 2)
    want = prnn.bptt(model, host, x, targets, weights=weights, lengths=[4, 2]).loss
    there = (cp.asarray(x).astype("bfloat16"), cp.asarray(targets))
    given = {"weights": cp.asarray(weights).astype("bfloat16"), "lengths": [4, 2]}
    with executors.use("auto"):
        found = prnn.bptt(model, on_device(host, "bfloat16"), *there, **given).loss
    assert abs(float(found) - float(want)) < 0.05
