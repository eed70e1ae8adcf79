"""The executor of a call: by default, by name, by environment; and how it is explained."""

import logging
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import executors
from portable_rnn._arrays.namespace import _chosen
from portable_rnn._executors import choose, compiled, llvm_cache, programs
from portable_rnn._executors import kernel as kernels
from portable_rnn._executors.compiled import Compiled
from portable_rnn._executors.eager import EAGER

from .small_network import INPUTS, MODEL, PARAMS, H, X

if reason := choose.no_compiler(by_name=False):
    pytest.skip(f"not run: {reason}", allow_module_level=True)

# Each with words of its reason.
NOT_COMPILED = {
    "layer_norm_elman": (prnn.RNN(INPUTS, H, cell="layer_norm_elman"), "its cell: "),
    "second product": (prnn.RNN(INPUTS, H, cell="reset_before_gru"), "second product"),
    "projection": (prnn.RNN(INPUTS, H, cell="lstm", projection_size=2), "projection"),
}


def executor_of(model, params, x, name="auto"):
    with executors.use(name):
        return prnn.forward(model, params, x).tape.executor


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_numpys_arrays_are_compiled(dtype):
    found = executor_of(MODEL, MODEL.init(seed=0, dtype=dtype), X.astype(dtype))
    assert isinstance(found, Compiled)
    with executors.use("eager"):
        assert executors.explain(MODEL, dtype) == "eager: asked for by name"
    with executors.use("auto"):
        assert executors.explain(MODEL, dtype).startswith("compiled: for ")


@pytest.mark.parametrize("dtype", ["float16", "complex64", "complex128"])
def test_other_dtypes_are_not_compiled(dtype):
    params = {name: array.astype(dtype) for name, array in PARAMS.items()}
    assert executor_of(MODEL, params, X.astype(dtype)) is EAGER
    with executors.use("auto"):
        assert dtype in executors.explain(MODEL, dtype)
    with pytest.raises(ValueError, match=rf"^executor: compiled was asked for; .*got {dtype}"):
        executor_of(MODEL, params, X.astype(dtype), "compiled")


def test_other_namespaces_and_libraries_are_not_compiled():
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


def test_without_llvmlite_the_python_loop_runs(monkeypatch):
    monkeypatch.setattr(choose, "find_spec", lambda name: None)
    choose.no_compiler.cache_clear()
    try:
        assert executor_of(MODEL, PARAMS, X) is EAGER
        with executors.use("auto"):
            assert "pip install 'portable-rnn[fast]'" in executors.explain(MODEL)
        with pytest.raises(ValueError, match="llvmlite is not installed"):
            executor_of(MODEL, PARAMS, X, "compiled")
    finally:
        choose.no_compiler.cache_clear()


def test_a_chosen_executor_holds_for_its_block_and_thread():
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


def test_a_block_can_be_entered_again_in_itself_and_in_other_threads():
    eager, before = executors.use("eager"), choose.asked()
    for _ in range(2):
        with eager, executors.use("compiled"), eager:
            assert choose.asked() == "eager"
        assert choose.asked() == before
    barrier, seen = threading.Barrier(2), []

    def enter():
        with eager:
            barrier.wait()
            seen.append(choose.asked())
            barrier.wait()
        seen.append(choose.asked())

    threads = [threading.Thread(target=enter) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == ["eager", "eager", before, before]
    assert eager(choose.asked)() == "eager"  # as a decorator
    other = prnn.use_namespace(np)
    for _ in range(2):
        with pytest.raises(KeyError), other, other:  # errors leave it
            raise KeyError
        assert _chosen.get() is None


@pytest.mark.parametrize("name", ["xla", "Eager", ""])
def test_an_unknown_executor_is_refused(name):
    with pytest.raises(
        ValueError, match=r"^name: expected 'auto', 'eager', 'compiled', 'fused' or 'persistent'"
    ):
        executors.use(name)


def test_the_environment_chooses_the_executor():
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


def test_compilation_is_logged_before_it_starts(tmp_path, monkeypatch, caplog):
    monkeypatch.setenv(llvm_cache.FOLDER, str(tmp_path))
    programs._found.cache_clear()
    kernels.of_program.cache_clear()
    with caplog.at_level(logging.INFO, "portable_rnn"), executors.use("compiled"):
        for _ in range(2):
            prnn.predict(prnn.RNN(INPUTS, H), prnn.RNN(INPUTS, H).init(seed=0), X)
    assert [record.message for record in caplog.records] == [
        "compiling the time loop of a cell, which takes a second or two, once"
    ]


def test_where_compilation_fails_the_python_loop_runs_with_a_warning(monkeypatch, caplog):
    def refuse(*args, **options):
        raise RuntimeError("no memory may be made executable")

    monkeypatch.setattr(compiled, "of_program", refuse)
    programs._found.cache_clear()
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
        programs._found.cache_clear()


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


@pytest.mark.parametrize("model", ["mask", "zoneout"])
def test_a_step_that_may_hold_its_state_is_refused_by_name(model):
    mask = np.asarray([True, False, True]) if model == "mask" else None
    network = prnn.RNN(INPUTS, H, zoneout=0.0 if model == "mask" else 0.1)
    params = network.init(seed=0)
    with executors.use("auto"):
        prnn.stream(network, params).step(X[0], mask=mask)
    with executors.use("compiled"), pytest.raises(ValueError, match=r"^executor: compiled was"):
        prnn.stream(network, params).step(X[0], mask=mask)


def test_another_module_named_llvmlite_is_not_used(monkeypatch):
    def missing(name):
        raise choose.PackageNotFoundError(name)

    monkeypatch.setattr(choose, "version", missing)
    choose.no_compiler.cache_clear()
    try:
        assert executor_of(MODEL, PARAMS, X) is EAGER
    finally:
        choose.no_compiler.cache_clear()


@pytest.mark.parametrize("name", ["auto", "eager"])
def test_explain_refuses_a_wrong_dtype(name):
    with executors.use(name):
        for dtype in (1, 0.5, None, [], "text", np.zeros(3), 10**5000, True):
            with pytest.raises((TypeError, ValueError), match=r"^dtype: expected "):
                executors.explain(prnn.RNN(2, 3), dtype)
        assert executors.explain(prnn.RNN(2, 3), np.dtype("float64"))
