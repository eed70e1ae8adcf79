"""Compiled calls: ownership of memory, arrays of any layout, sums within the bound."""

import copy
import pickle

import numpy as np
import pytest
from conformance.tolerances import assert_close

import portable_rnn as prnn
from portable_rnn import executors
from portable_rnn._calls.valid_steps import resolve
from portable_rnn._engine import chunks
from portable_rnn._executors import choose, compiled_layer, compiled_step
from portable_rnn._executors import kernel as kernels
from portable_rnn._executors.compiled import Compiled
from portable_rnn.cells import GRU

from .small_network import D_OUTPUTS, INPUTS, MODEL, OUTPUTS, PARAMS, RNG, TARGETS, B, H, T, X

if reason := choose.no_compiler(by_name=False):
    pytest.skip(f"not run: {reason}", allow_module_level=True)

PARAMS_17 = prnn.RNN(INPUTS, 17, cell="gru").init(seed=0)["weight_hh_l0"]


def test_a_tape_is_pulled_back_by_its_executor():
    with executors.use("compiled"):
        fwd = prnn.forward(MODEL, PARAMS, X)
        want = prnn.backward(MODEL, PARAMS, fwd.tape, D_OUTPUTS)
    with executors.use("eager"):
        for tape in (fwd.tape, copy.deepcopy(fwd.tape), pickle.loads(pickle.dumps(fwd.tape))):
            got = prnn.backward(MODEL, PARAMS, tape, D_OUTPUTS)
            assert all(np.array_equal(got.params[name], want.params[name]) for name in PARAMS)


@pytest.mark.parametrize("products", [0, 2**20])
@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"pool": "max"}])
def test_sequences_of_different_lengths_are_run_in_many_chunks_or_in_one(
    options, products, monkeypatch
):
    """Small batches are padded, since a chunk takes longer; with a budget, they are as planned."""
    monkeypatch.setattr(Compiled, "products_of_a_chunk", products)
    model = prnn.RNN(INPUTS, H, OUTPUTS, cell="lstm", **options)
    params, lengths = model.init(seed=0), [2, T, 0]
    x = np.where(np.arange(T)[:, None, None] < np.asarray(lengths)[:, None], X, np.nan)
    targets = TARGETS[0] if "pool" in options else TARGETS
    found = {}
    for name in ("eager", "compiled"):
        with executors.use(name):
            tape = prnn.forward(model, params, x, lengths=lengths).tape
            assert (tape.steps.mask is None) == (name == "eager" or not products)
            result = prnn.bptt(model, params, x, targets, lengths=lengths)
            found[name] = {"loss": result.loss, "x": result.grad_x, **result.grads}
            tape = prnn.forward(model, params, x, lengths=lengths, memory=2**20).tape
            assert tape.steps.mask is None
    for name, want in found["eager"].items():
        assert np.abs(want - found["compiled"][name]).max() <= 1e-5 * np.abs(want).max()


def test_a_batch_is_cut_where_padding_takes_longer_than_a_chunk():
    x = np.zeros((10, 3, 1), np.float32)
    for lengths, spare, padded in [
        ([10, 6, 5], 4, False),  # 9 rows of padding, two more chunks
        ([10, 6, 5], 5, True),
        ([6, 6, 6], 1000, False),  # one chunk in any case
        ([10, 10, 10], 1000, False),
    ]:
        steps = resolve(np, x, lengths, None, whole=False, spare=spare)
        assert (steps.mask is not None) == padded


def test_returned_arrays_belong_to_the_caller():
    """Neither outputs nor states share memory with the tape."""
    model = prnn.RNN(INPUTS, H, cell="lstm")
    params = model.init(seed=0)
    d_outputs = np.ones((T, B, H), np.float32)
    with executors.use("compiled"):
        want = prnn.backward(model, params, prnn.forward(model, params, X).tape, d_outputs)
        fwd = prnn.forward(model, params, X)
        fwd.outputs[...] = np.nan
        for part in fwd.state:
            part[...] = np.nan
        got = prnn.backward(model, params, fwd.tape, d_outputs)
    assert all(np.array_equal(got.params[name], want.params[name]) for name in params)


@pytest.mark.parametrize("every", [None, 128])
def test_cotangents_of_chunks_do_not_share_memory(every):
    """Gradients of single sequences need the cotangents of all chunks; sums over chunks do not."""
    model = prnn.RNN(INPUTS, H, OUTPUTS, cell="lstm", num_layers=2)
    params = model.init(seed=0)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((400, 3, INPUTS)).astype(np.float32)  # more rows than a chunk has
    targets = rng.integers(0, OUTPUTS, (400, 3))
    found = {}
    for name in ("eager", "compiled"):
        with executors.use(name):
            found[name] = prnn.per_example_gradients(model, params, x, targets)
            options = {} if every is None else {"checkpoint_every": every}
            found[name, 1] = prnn.bptt(model, params, x, targets, **options).grads
    for name in params:
        for key in ("eager", ("eager", 1)):
            other = "compiled" if key == "eager" else ("compiled", 1)
            want, got = found[key], found[other]
            want, got = (getattr(one, "grads", one)[name] for one in (want, got))
            assert np.abs(want - got).max() <= 1e-5 * np.abs(want).max()


def test_a_stream_equals_predict_whatever_happens_to_its_state():
    model = prnn.RNN(INPUTS, H, OUTPUTS, cell="lstm", num_layers=2)
    params = model.init(seed=0)
    rng = np.random.default_rng(2)
    x = rng.standard_normal((8, B, INPUTS)).astype(np.float32)
    there = np.ones((8, B), dtype=bool)
    there[3, 1] = there[5, 0] = False
    with executors.use("eager"):
        want, _ = prnn.predict(model, params, x, mask=there, return_state=True)
    with executors.use("auto"):
        stream = prnn.stream(model, params)
        found = []
        for t in range(8):
            if t == 2:  # set to its value, and later to that of a step before
                stream.state = stream.state
            if t == 4:
                before = stream.state
                stream.step(x[t])
                stream.state = before
            if t == 6:
                stream = copy.deepcopy(stream)
            mask = None if there[t].all() else there[t]
            found.append(stream.step(x[t], mask=mask))
        with pytest.raises(ValueError, match=r"^x: expected one step"):
            stream.step(x[0][:, :2])
        other = prnn.stream(model, params)
        alone = [other.step(x[t, 2]) for t in range(8)]
    assert np.allclose(np.stack(found), want, rtol=0, atol=1e-6)
    assert np.allclose(np.stack(alone), want[:, 2], rtol=0, atol=1e-6)


def test_outputs_of_a_stream_without_a_readout_are_not_overwritten():
    model = prnn.RNN(INPUTS, H, cell="gru")
    with executors.use("compiled"):
        stream = prnn.stream(model, model.init(seed=0))
        first = stream.step(X[0])
        kept = first.copy()
        for x_t in X[1:]:
            stream.step(x_t)
    assert np.array_equal(first, kept)


def layouts(array):
    """Yield an array in layouts that a compiled loop might read wrongly."""
    yield "every second row", np.repeat(array, 2, axis=1)[:, ::2]
    yield "units apart", np.repeat(array, 2, axis=-1)[..., ::2]
    kind = np.dtype([("flag", "u1"), ("number", array.dtype, array.shape[-1:])])
    record = np.zeros(array.shape[:-1], kind)
    record["number"] = array
    yield "within records, not aligned", record["number"]
    kept = array.copy()
    kept.flags.writeable = False
    yield "read-only", kept


@pytest.mark.parametrize("number", range(4))
def test_the_layout_of_arrays_does_not_matter(number):
    model = prnn.RNN(INPUTS, H, cell="gru")
    params = model.init(seed=0)
    d_outputs = RNG.standard_normal((T, B, H)).astype(np.float32)
    state = RNG.standard_normal((1, B, H)).astype(np.float32)

    def both(params, x, state, d_outputs):
        with executors.use("compiled"):
            fwd = prnn.forward(model, params, x, state)
            grads = prnn.backward(model, params, fwd.tape, d_outputs)
        return [fwd.outputs, fwd.state, grads.x, grads.state, *grads.params.values()]

    def moved(array):
        name, found = list(layouts(array))[number]
        assert np.array_equal(found, array), name
        return found

    want = both(params, X, state, d_outputs)
    weights = {n: moved(a) if a.ndim > 1 else a for n, a in params.items()}
    got = both(weights, moved(X), moved(state), moved(d_outputs))
    for one, other in zip(got, want, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["eager", "compiled"])
def test_a_stream_has_its_own_weights(name):
    params = {key: array.copy() for key, array in PARAMS.items()}
    with executors.use(name):
        want = [prnn.stream(MODEL, PARAMS).step(X[0])]
        stream, other = prnn.stream(MODEL, params), prnn.stream(MODEL, params)
        for array in params.values():
            array[...] = np.nan
        assert np.array_equal(stream.step(X[0]), want[0])
        assert np.allclose(other.feed(X[:1])[0], want[0], rtol=0, atol=1e-6)


def test_a_step_that_is_repeated_gives_the_same():
    """As after an error behind the loop: the previous state is still available, twice."""
    layer = compiled_layer.Layer(kernels.kernel(GRU(), "float32"), PARAMS_17)
    step = compiled_step.Stepper(layer, B)
    ax = RNG.standard_normal((3, B, 51)).astype(np.float32)
    first = step(ax[0], (np.zeros((B, 17), np.float32),))
    before = first[0].copy()
    wanted = step(ax[1], first)[0].copy()
    for _ in range(2):
        assert np.array_equal(step(ax[1], first)[0], wanted)
        assert np.array_equal(first[0], before)


def test_a_copied_tape_of_a_mask_is_read_within_its_memory():
    model = prnn.RNN(INPUTS, 17, cell="gru")
    params = model.init(seed=0)
    there = RNG.random((T, B)) < 0.6
    d_outputs = RNG.standard_normal((T, B, 17)).astype(np.float32)
    with executors.use("compiled"):
        tape = prnn.forward(model, params, X, mask=there).tape
        want = prnn.backward(model, params, tape, d_outputs).params
        (update,) = copy.deepcopy(tape).stack_tapes[0].records[0][0].update
        layer = compiled_layer.Layer(kernels.kernel(GRU(), "float32", held="choose"), PARAMS_17)
        assert layer._with_room(update).base.nbytes >= update.nbytes + layer.kernel.lanes
        got = prnn.backward(model, params, copy.deepcopy(tape), d_outputs).params
    assert all(np.array_equal(got[name], want[name]) for name in want)


def test_masks_of_both_kinds_are_read_as_numbers():
    model = prnn.RNN(INPUTS, H, cell="lstm", zoneout=0.1)
    params = model.init(seed=0)
    update = (RNG.random((T, B, H)) < 0.5, RNG.random((T, B, H)).astype(np.float32))
    masks = prnn.dropout.Masks(update=(update,))
    found = {}
    for name in ("eager", "compiled"):
        with executors.use(name):
            found[name] = prnn.forward(model, params, X, dropout=masks).outputs
    assert np.allclose(found["eager"], found["compiled"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", ["eager", "compiled"])
@pytest.mark.parametrize(("steps", "batch"), [(6144, 1), (96, 64)])
def test_numbers_that_are_all_alike_add_up(name, steps, batch, monkeypatch):
    """Many equal numbers are the worst case of a sum; chunks are as large as for users."""
    monkeypatch.setattr(chunks, "NUMBERS", 3 * 2**16)
    model = prnn.RNN(1, 32)
    params = model.init(seed=0, dtype="float64")
    x = np.full((steps, batch, 1), 0.7)
    d_outputs = np.full((steps, batch, 32), 0.3)

    def gradients(dtype):
        weights = {key: array.astype(np.float32).astype(dtype) for key, array in params.items()}
        inputs = x.astype(np.float32).astype(dtype)
        back = d_outputs.astype(np.float32).astype(dtype)
        return prnn.backward(model, weights, prnn.forward(model, weights, inputs).tape, back).params

    want = gradients("float64")
    with executors.use(name):
        got = gradients("float32")
    for key, array in got.items():
        assert_close(array, want[key], key, k=16)


def test_second_derivatives_take_complex_steps_whatever_is_asked_for():
    with executors.use("eager"):
        want = prnn.hvp(MODEL, PARAMS, X, TARGETS, PARAMS)
    with executors.use("compiled"):
        got = prnn.hvp(MODEL, PARAMS, X, TARGETS, PARAMS)
    for one, other in zip(got, want, strict=True):
        assert one is None or not isinstance(one, np.ndarray) or np.allclose(one, other, atol=1e-5)


@pytest.mark.parametrize(("k1", "k2"), [(5, 10), (4, 8), (2, 6)])
def test_windows_of_one_call_do_not_share_returned_arrays(k1, k2):
    """Windows that overlap, of the same length: each adds to the cotangent of the input."""
    model = prnn.RNN(INPUTS, H, OUTPUTS, cell="lstm")
    params = model.init(seed=0, dtype="float64")
    rng = np.random.default_rng(4)
    x, targets = rng.standard_normal((20, 3, INPUTS)), rng.integers(0, OUTPUTS, (20, 3))
    found = {}
    for name in ("eager", "compiled"):
        with executors.use(name):
            found[name] = prnn.truncated_bptt(model, params, x, targets, k1=k1, k2=k2)
    assert np.abs(found["eager"].grad_x - found["compiled"].grad_x).max() < 1e-14
    for key, want in found["eager"].grads.items():
        assert np.abs(found["compiled"].grads[key] - want).max() < 1e-14
