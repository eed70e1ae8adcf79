"""Which executor serves a call: by default, by name, by environment; and what is said of it."""

import copy
import logging
import os
import pickle
import subprocess
import sys
import threading

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import executors
from portable_rnn._executors import choose, compiled, llvm_cache
from portable_rnn._executors import kernel as kernels
from portable_rnn._executors.compiled import Compiled
from portable_rnn._executors.eager import EAGER

from .own_cell import MinimalGated

if reason := choose.no_compiler(by_name=False):
    pytest.skip(f"not run: {reason}", allow_module_level=True)

T, B, INPUTS, H, OUTPUTS = 5, 3, 4, 6, 2
MODEL = prnn.RNN(INPUTS, H, OUTPUTS, cell="gru")
PARAMS = MODEL.init(seed=0)
RNG = np.random.default_rng(0)
X = RNG.standard_normal((T, B, INPUTS)).astype(np.float32)
D_OUTPUTS = RNG.standard_normal((T, B, OUTPUTS)).astype(np.float32)
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
    assert seen == [os.environ["PORTABLE_RNN_EXECUTOR"]] == [choose.asked()]


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
    kernels._kernel.cache_clear()
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
    with executors.use("compiled"):
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

    monkeypatch.setattr(compiled, "kernel", refuse)
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
