"""Which executor serves a call: by default, by name, by environment; and what is said of it."""

import copy
import dataclasses
import logging
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest
from conformance.tolerances import assert_close

import portable_rnn as prnn
from portable_rnn import executors
from portable_rnn._engine import chunks
from portable_rnn._executors import choose, compiled, compiled_layer, llvm_cache
from portable_rnn._executors import kernel as kernels
from portable_rnn._executors.compiled import Compiled
from portable_rnn._executors.eager import EAGER
from portable_rnn.cells import GRU

from .own_cell import MinimalGated

if reason := choose.no_compiler(by_name=False):
    pytest.skip(f"not run: {reason}", allow_module_level=True)

T, B, INPUTS, H, OUTPUTS = 5, 3, 4, 6, 2
MODEL = prnn.RNN(INPUTS, H, OUTPUTS, cell="gru")
PARAMS = MODEL.init(seed=0)
RNG = np.random.default_rng(0)
X = RNG.standard_normal((T, B, INPUTS)).astype(np.float32)
D_OUTPUTS = RNG.standard_normal((T, B, OUTPUTS)).astype(np.float32)
PARAMS_17 = prnn.RNN(INPUTS, 17, cell="gru").init(seed=0)["weight_hh_l0"]
TARGETS = RNG.integers(0, OUTPUTS, (T, B))
# Each with the words of its reason.
NOT_COMPILED = {
    "layer_norm_elman": (prnn.RNN(INPUTS, H, cell="layer_norm_elman"), "its cell: "),
    "late gates": (prnn.RNN(INPUTS, H, cell="reset_before_gru"), "late gates"),
    "projection": (prnn.RNN(INPUTS, H, cell="lstm", projection_size=2), "projection"),
}


def executor_of(model, params, x, name="auto"):
    with executors.use(name):
        return prnn.forward(model, params, x).tape.executor


# ------------------------------------------------------------------------------ by default


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numpys_arrays_are_compiled(dtype):
    found = executor_of(MODEL, MODEL.init(seed=0, dtype=dtype), X.astype(dtype))
    assert isinstance(found, Compiled)
    with executors.use("eager"):
        assert executors.explain(MODEL, dtype) == "eager: asked for by name"
    with executors.use("auto"):
        assert executors.explain(MODEL, dtype).startswith("compiled: for ")


@pytest.mark.parametrize("dtype", ["float16", "complex64", "complex128"])
def test_other_dtypes_are_not(dtype):
    params = {name: array.astype(dtype) for name, array in PARAMS.items()}
    assert executor_of(MODEL, params, X.astype(dtype)) is EAGER
    with executors.use("auto"):
        assert dtype in executors.explain(MODEL, dtype)
    with pytest.raises(ValueError, match=rf"^executor: compiled was asked for; .*got {dtype}"):
        executor_of(MODEL, params, X.astype(dtype), "compiled")


def test_nor_are_a_namespace_of_the_callers_and_other_libraries():
    strict = pytest.importorskip("array_api_strict")
    with executors.use("auto"), prnn.use_namespace(np):
        assert prnn.forward(MODEL, PARAMS, X).tape.executor is EAGER
    moved = {name: strict.asarray(array) for name, array in PARAMS.items()}
    assert executor_of(MODEL, moved, strict.asarray(X)) is EAGER
    with pytest.raises(ValueError, match=r"^executor: compiled .*NumPy's.* array_api_strict"):
        executor_of(MODEL, moved, strict.asarray(X), "compiled")


@pytest.mark.parametrize("name", NOT_COMPILED)
def test_a_model_that_cannot_be_compiled_runs_and_says_why(name):
    model, words = NOT_COMPILED[name]
    params = model.init(seed=0)
    with executors.use("eager"):
        want = prnn.predict(model, params, X)
    with executors.use("auto"):
        assert words in executors.explain(model)
        assert np.array_equal(prnn.predict(model, params, X), want)
    with executors.use("compiled"), pytest.raises(ValueError, match=r"^executor: .*compiled; "):
        prnn.predict(model, params, X)


def test_without_llvmlite_the_loop_is_pythons(monkeypatch):
    monkeypatch.setattr(choose, "find_spec", lambda name: None)
    choose.no_compiler.cache_clear()
    try:
        assert executor_of(MODEL, PARAMS, X) is EAGER
        with executors.use("auto"):
            assert "pip install portable-rnn[fast]" in executors.explain(MODEL)
        with pytest.raises(ValueError, match="llvmlite is not installed"):
            executor_of(MODEL, PARAMS, X, "compiled")
    finally:
        choose.no_compiler.cache_clear()


# ------------------------------------------------------------------------------- by name


def test_a_name_holds_for_its_block_and_its_thread():
    seen = []
    with executors.use("compiled"):
        with executors.use("eager"):
            assert choose.asked() == "eager"
        assert choose.asked() == "compiled"
        thread = threading.Thread(target=lambda: seen.append(choose.asked()))
        thread.start()
        thread.join()
    inherits = getattr(sys.flags, "thread_inherit_context", 0)  # free-threaded Python does
    assert choose.asked() == os.environ["PORTABLE_RNN_EXECUTOR"]
    assert seen == ["compiled" if inherits else choose.asked()]


@pytest.mark.parametrize("name", ["xla", "Eager", ""])
def test_a_name_that_there_is_not(name):
    with pytest.raises(ValueError, match=r"^name: expected 'auto', 'eager' or 'compiled'"):
        executors.use(name)


def test_the_environment_names_one():
    code = "import portable_rnn as p; print(p.executors.explain(p.RNN(2, 3)))"
    for name, start in (("auto", "compiled"), ("eager", "eager"), ("xla", None)):
        ended = subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PORTABLE_RNN_EXECUTOR": name},
            capture_output=True,
            text=True,
            check=False,
        )
        if start is None:
            assert "PORTABLE_RNN_EXECUTOR: expected 'auto'" in ended.stderr
        else:
            assert ended.stdout.startswith(start), ended.stderr


# ------------------------------------------------------------------------------- results


def test_a_tape_is_pulled_back_by_what_made_it():
    with executors.use("compiled"):
        fwd = prnn.forward(MODEL, PARAMS, X)
        want = prnn.backward(MODEL, PARAMS, fwd.tape, D_OUTPUTS)
    with executors.use("eager"):
        for tape in (fwd.tape, copy.deepcopy(fwd.tape), pickle.loads(pickle.dumps(fwd.tape))):
            got = prnn.backward(MODEL, PARAMS, tape, D_OUTPUTS)
            assert all(np.array_equal(got.params[name], want.params[name]) for name in PARAMS)


def test_what_is_handed_out_is_the_callers():
    """Neither outputs nor states are the memory that the tape will be read from."""
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
def test_cotangents_of_one_chunk_do_not_stand_where_those_of_another_did(every):
    """What the gradients of each sequence are made of is kept; sums over chunks are not."""
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


def test_a_cell_that_is_changed_is_traced_again():
    class Scaled(MinimalGated):
        def __init__(self):
            self.factor = 1.0

        def step(self, xp, ax, ah, state):
            (h,), residuals = super().step(xp, ax * self.factor, ah, state)
            return (h,), residuals

    cell = Scaled()
    model = prnn.RNN(INPUTS, H, cell=cell)
    params = model.init(seed=0)
    for factor in (1.0, 3.0):
        cell.factor = factor
        with executors.use("eager"):
            want = prnn.predict(model, params, X)
        with executors.use("compiled"):
            assert np.allclose(prnn.predict(model, params, X), want, atol=1e-6)


def test_a_cell_that_cannot_be_hashed_is_compiled():
    class Unhashable(MinimalGated):
        __hash__ = None

        def __init__(self):
            self.notes = []

    model = prnn.RNN(INPUTS, H, cell=Unhashable())
    assert isinstance(executor_of(model, model.init(seed=0), X, "compiled"), Compiled)


def test_what_takes_long_is_said_before(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(llvm_cache.FOLDER, str(tmp_path))
    compiled._found.cache_clear()
    kernels.of_program.cache_clear()
    with caplog.at_level(logging.INFO, "portable_rnn"), executors.use("compiled"):
        for _ in range(2):
            prnn.predict(prnn.RNN(INPUTS, H), prnn.RNN(INPUTS, H).init(seed=0), X)
    assert [record.message for record in caplog.records] == [
        "compiling the time loop of a cell, which takes a second or two, once"
    ]


def test_a_stream_is_what_predict_gives_whatever_happens_to_its_state():
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
            if t == 2:  # set to what it is, and to what it was a step before
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


def test_outputs_of_a_stream_without_a_readout_stay_as_they_are():
    model = prnn.RNN(INPUTS, H, cell="gru")
    with executors.use("compiled"):
        stream = prnn.stream(model, model.init(seed=0))
        first = stream.step(X[0])
        kept = first.copy()
        for x_t in X[1:]:
            stream.step(x_t)
    assert np.array_equal(first, kept)


def test_where_no_code_can_be_made_the_loop_is_pythons_and_that_is_said(monkeypatch, caplog):
    def refuse(*args, **options):
        raise RuntimeError("no memory may be made executable")

    monkeypatch.setattr(compiled, "of_program", refuse)
    compiled._found.cache_clear()
    try:
        with executors.use("eager"):
            want = prnn.predict(MODEL, PARAMS, X)
        with executors.use("auto"):
            for _ in range(2):
                assert np.array_equal(prnn.predict(MODEL, PARAMS, X), want)
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        with executors.use("compiled"), pytest.raises(ValueError, match="may be made executable"):
            prnn.predict(MODEL, PARAMS, X)
    finally:
        compiled._found.cache_clear()


# ---------------------------------------------------------------- arrays of any kind, kept apart


def layouts(array):
    """Yield an array in layouts that a loop in machine code might read wrongly."""
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


def test_memory_maps_are_compiled(tmp_path):
    x = np.memmap(tmp_path / "x", np.float32, "w+", shape=X.shape)
    x[...] = X
    code = (
        "import sys, numpy as np, portable_rnn as p; m = p.RNN(4, 6);"
        "w = {k: a.view(np.memmap) for k, a in m.init(seed=0).items()};"
        f"x = np.memmap(sys.argv[1], np.float32, 'r', shape={X.shape});"
        "print(type(p.forward(m, w, x).tape.executor).__name__)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "x"],
        env=os.environ | {"PORTABLE_RNN_EXECUTOR": "auto"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert ended.stdout.strip() == "Compiled"


@pytest.mark.parametrize("name", ["eager", "compiled"])
def test_a_stream_has_weights_of_its_own(name):
    params = {key: array.copy() for key, array in PARAMS.items()}
    with executors.use(name):
        want = [prnn.stream(MODEL, PARAMS).step(X[0])]
        stream, other = prnn.stream(MODEL, params), prnn.stream(MODEL, params)
        for array in params.values():
            array[...] = np.nan
        assert np.array_equal(stream.step(X[0]), want[0])
        assert np.allclose(other.feed(X[:1])[0], want[0], rtol=0, atol=1e-6)


def test_a_step_that_is_taken_again_is_the_same():
    """As after an error behind the loop: the state before it is still there, twice."""
    layer = compiled_layer.Layer(kernels.kernel(GRU(), "float32"), PARAMS_17)
    step = compiled_layer.Stepper(layer, B)
    ax = RNG.standard_normal((3, B, 51)).astype(np.float32)
    first = step(ax[0], (np.zeros((B, 17), np.float32),))
    before = first[0].copy()
    wanted = step(ax[1], first)[0].copy()
    for _ in range(2):
        assert np.array_equal(step(ax[1], first)[0], wanted)
        assert np.array_equal(first[0], before)


@pytest.mark.parametrize("model", ["mask", "zoneout"])
def test_a_step_that_may_hold_its_state_is_refused_by_name(model):
    mask = np.asarray([True, False, True]) if model == "mask" else None
    network = prnn.RNN(INPUTS, H, zoneout=0.0 if model == "mask" else 0.1)
    params = network.init(seed=0)
    with executors.use("auto"):
        prnn.stream(network, params).step(X[0], mask=mask)
    with executors.use("compiled"), pytest.raises(ValueError, match=r"^executor: compiled was"):
        prnn.stream(network, params).step(X[0], mask=mask)


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
    """The worst for a sum is many equal numbers; a chunk is as large as a user has it."""
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


def test_a_cell_that_changes_at_every_call_is_left_to_python():
    class Drifting(MinimalGated):
        def __init__(self):
            self.factor = 1.0

        def step(self, xp, ax, ah, state):
            (h,), residuals = super().step(xp, ax * self.factor, ah, state)
            return (h,), residuals

    cell = Drifting()
    model = prnn.RNN(INPUTS, H, cell=cell)
    params = model.init(seed=0)
    compiled.MOST, before = 2, compiled.MOST
    try:
        for factor in (1.0, 2.0, 3.0, 4.0):
            cell.factor = factor
            with executors.use("eager"):
                want = prnn.predict(model, params, X)
            with executors.use("auto"):
                assert np.allclose(prnn.predict(model, params, X), want, atol=1e-6)
        with executors.use("compiled"), pytest.raises(ValueError, match="changed 2 times"):
            prnn.predict(model, params, X)
    finally:
        compiled.MOST = before


def test_second_derivatives_take_complex_steps_whatever_is_asked_for():
    with executors.use("eager"):
        want = prnn.hvp(MODEL, PARAMS, X, TARGETS, PARAMS)
    with executors.use("compiled"):
        got = prnn.hvp(MODEL, PARAMS, X, TARGETS, PARAMS)
    for one, other in zip(got, want, strict=True):
        assert one is None or not isinstance(one, np.ndarray) or np.allclose(one, other, atol=1e-5)


class Counting(MinimalGated):
    """Cells that are not what they were when they were called before."""

    def __init__(self):
        self.calls, self.seen, self.rng = 0, [], np.random.default_rng(0)

    def step(self, xp, ax, ah, state):
        self.calls += 1
        if self.what == "records":
            self.calls = 0
            self.seen.append(state[0])
        factor = {"counts": 1.0 + (self.calls > 3), "records": 1.0, "draws": 1.0}[self.what]
        if self.what == "draws":
            self.calls = 0
            factor = float(self.rng.random())
        return super().step(xp, ax * factor, ah, state)


@pytest.mark.parametrize("what", ["counts", "records", "draws"])
def test_a_cell_that_changes_as_it_is_called_is_left_as_it_was(what):
    found = {}
    for name in ("eager", "auto"):
        cell = Counting()
        cell.what = what
        model = prnn.RNN(INPUTS, H, cell=cell)
        params = model.init(seed=0)
        with executors.use(name):
            if name == "auto":
                assert executors.explain(model).startswith("eager: its cell: it")
            found[name] = prnn.predict(model, params, X)
            assert len(cell.seen) == (T if what == "records" else 0)
    assert np.array_equal(found["eager"], found["auto"])


def test_a_frozen_cell_is_known_by_its_source_and_the_types_it_holds():
    @dataclasses.dataclass(frozen=True)
    class Leaky(MinimalGated):
        factor: float = 1.0

        def step(self, xp, ax, ah, state):
            return MinimalGated.step(self, xp, ax * self.factor, ah, state)

    params = prnn.RNN(INPUTS, H, cell=Leaky()).init(seed=0)
    with executors.use("auto"):
        one = prnn.predict(prnn.RNN(INPUTS, H, cell=Leaky(0.5)), params, X)
        assert one.dtype == np.float32
        # NumPy's number is not a number of Python's, and makes other dtypes of arrays
        assert executors.explain(prnn.RNN(INPUTS, H, cell=Leaky(np.float64(0.5)))).startswith(
            "eager"
        )
        wide = prnn.forward(prnn.RNN(INPUTS, H, cell=Leaky(np.float64(0.5))), params, X)
        assert wide.outputs.dtype == np.float64
        Leaky.step = lambda self, xp, ax, ah, state: MinimalGated.step(self, xp, -ax, ah, state)
        other = prnn.predict(prnn.RNN(INPUTS, H, cell=Leaky(0.5)), params, X)
    with executors.use("eager"):
        want = prnn.predict(prnn.RNN(INPUTS, H, cell=Leaky(0.5)), params, X)
    assert np.allclose(other, want, atol=1e-6)
    assert not np.allclose(other, one, atol=1e-3)


def test_something_else_of_the_name_of_llvmlite_is_none(monkeypatch):
    def missing(name):
        raise choose.PackageNotFoundError(name)

    monkeypatch.setattr(choose, "version", missing)
    choose.no_compiler.cache_clear()
    try:
        assert executor_of(MODEL, PARAMS, X) is EAGER
    finally:
        choose.no_compiler.cache_clear()


def test_the_librarys_cells_may_have_any_number_of_settings(monkeypatch):
    monkeypatch.setattr(compiled, "MOST", 1)
    with executors.use("compiled"):
        for clip in (1.0, 2.0, 3.0):
            model = prnn.RNN(INPUTS, H, cell=GRU(clip=clip))
            assert np.all(np.isfinite(prnn.predict(model, model.init(seed=0), X)))
