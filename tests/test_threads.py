"""Layers, sums and products by several threads: the same numbers as by one."""

import contextvars
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from conformance.mutants import compiled_here

import portable_rnn as prnn
from portable_rnn import executors

if reason := compiled_here.why_not():
    pytest.skip(reason, allow_module_level=True)

from portable_rnn._executors import choose, workers
from portable_rnn._executors.llvm_target import host
from portable_rnn._executors.sums import sums
from portable_rnn._executors.tables import PANEL, PIECE
from portable_rnn._executors.workers import evenly, run_together

from .compiled_problem import CELLS, KINDS, OPTIONS, Problem
from .small_network import INPUTS, MODEL, PARAMS, H, X

pytestmark = pytest.mark.no_products
THREADS = (2, 3, 16)  # 16: more than there are sequences


@pytest.fixture(autouse=True)
def _any_work_is_enough(monkeypatch):
    monkeypatch.setattr(workers, "WORK", 1)


# Every kind of cell, and every option of one that has most.
LAYERS = [(kind, None) for kind in KINDS] + [("lstm-peepholes", option) for option in OPTIONS]


@pytest.mark.parametrize(("kind", "option"), LAYERS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_layer_has_the_same_bits_by_any_number_of_threads(dtype, kind, option):
    for reverse in (False, True):
        for size in [(7, 5, 17), (2, 16, 64), (3, 1, 3)]:
            problem = Problem(CELLS[kind], dtype, size, **OPTIONS.get(option, {}))
            want = problem.compiled(reverse=reverse)
            for threads in THREADS:
                got = problem.compiled(reverse=reverse, threads=threads)
                for name, array in want.items():
                    np.testing.assert_array_equal(got[name], array, err_msg=name)


def test_cotangents_of_hidden_states_may_have_any_strides():
    problem = Problem(CELLS["gru"], np.float32, (7, 5, 17))
    wide = np.zeros((7, 5, 40), np.float32)
    wide[..., 3:20] = problem.d_hidden
    want = problem.compiled()
    problem.d_hidden = wide[..., 3:20]
    got = problem.compiled(threads=2)
    for name, array in want.items():
        np.testing.assert_array_equal(got[name], array, err_msg=name)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("outputs", [0, 1, PANEL, PANEL + 1, 5 * PANEL - 1])
def test_sums_have_the_same_bits_by_any_number_of_threads(outputs, dtype):
    rng = np.random.default_rng(0)
    d, x, h = (rng.standard_normal((PIECE + 7, n)).astype(dtype) for n in (outputs, 5, 33))

    def added(threads):
        bias, w, u = (np.zeros((outputs, *size), dtype) for size in ((), (5,), (33,)))
        sums(dtype, host()).add(d, bias, (w, x), (u, h), threads=threads)
        return bias, w, u

    for threads in THREADS:
        for one, other in zip(added(1), added(threads), strict=True):
            np.testing.assert_array_equal(one, other)


def test_parts_are_all_of_a_range_and_multiples():
    for size in (0, 1, 7, 12, 100):
        for parts in (1, 2, 3, 50):
            for multiple in (1, 12):
                found = evenly(size, parts, multiple)
                assert [i for a, b in found for i in range(a, b)] == list(range(size))
                assert len(found) <= parts
                assert all(a % multiple == 0 for a, _ in found)


def test_little_work_is_not_divided(monkeypatch):
    monkeypatch.setattr(workers, "WORK", 100)
    assert [workers.useful_threads(4, work) for work in (0, 199, 200, 10**9)] == [1, 1, 2, 4]


def test_jobs_run_at_the_same_time():
    """Each waits for the other: one after the other, they would wait for ever."""
    meet = threading.Barrier(2, timeout=30)
    run_together([meet.wait, meet.wait])


def test_all_jobs_have_ended_when_one_is_slow():
    ended = []

    def slow():
        time.sleep(0.2)
        ended.append("slow")

    run_together([slow, lambda: ended.append("here")])
    assert ended == ["here", "slow"]


@pytest.mark.parametrize("which", [0, 1])
def test_an_error_is_raised_when_all_jobs_have_ended(which):
    ended = []

    def fail():
        raise MemoryError("no more")

    jobs = [lambda: ended.append(0)]
    jobs.insert(which, fail)
    with pytest.raises(MemoryError, match="no more"):
        run_together(jobs)
    assert ended == [0]


@pytest.mark.parametrize("when", ["in a job", "while waiting"])
def test_an_interrupt_is_raised_when_all_jobs_have_ended(when, monkeypatch):
    ended, waited = [], workers.wait

    def slow():
        time.sleep(0.3)
        ended.append(1)

    def here():
        if when == "in a job":
            raise KeyboardInterrupt

    def interrupted(jobs):
        monkeypatch.setattr(workers, "wait", waited)
        raise KeyboardInterrupt

    if when == "while waiting":
        monkeypatch.setattr(workers, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_together([slow, here])
    assert ended == [1]


def test_jobs_run_here_if_there_are_no_more_threads(monkeypatch):
    """A job that could not be started may be in the queue all the same: it is run once."""
    queue = []

    class NoThreads:
        def submit(self, function, *args):
            queue.append((function, args))
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(workers, "_threads", NoThreads)
    ended = []
    run_together([lambda: ended.append(1), lambda: ended.append(2)])
    for function, args in queue:  # a thread that comes later
        function(*args)
    assert ended == [1, 2]


def test_jobs_have_the_error_state_of_the_caller():
    found = []
    with np.errstate(over="raise", invalid="ignore"):
        run_together([lambda: found.append(np.geterr()), lambda: found.append(np.geterr())])
    assert [one["over"] for one in found] == ["raise"] * 2
    assert [one["invalid"] for one in found] == ["ignore"] * 2


AT_EXIT = """
import atexit, threading, time
import numpy as np
import portable_rnn as prnn
from portable_rnn._executors import workers

workers.WORK = 1
model = prnn.RNN(3, 8, cell="gru")
params, x = model.init(seed=0), np.ones((5, 4, 3), np.float32)


def work():
    time.sleep(0.5)  # the main thread has ended
    with prnn.executors.use("auto", threads=2):
        print(prnn.predict(model, params, x).shape)


threading.Thread(target=work).start()
"""


def test_a_call_after_the_main_thread_has_ended():
    environment = {k: v for k, v in os.environ.items() if k != choose.VARIABLE}
    command = [sys.executable, "-c", AT_EXIT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "(5, 4, 8)", done.stderr


def blas_threads():
    """Return the most threads that a BLAS library may use."""
    pools = pytest.importorskip("threadpoolctl").threadpool_info()
    return max(pool["num_threads"] for pool in pools if pool["user_api"] == "blas")


def test_the_limit_of_blas_ends_with_the_last_that_has_it():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        uses = [(contextvars.copy_context(), executors.use(threads=n)) for n in (2, 3)]
        for context, use in uses:  # as in two threads that overlap
            context.run(use.__enter__)
        (first, use), (second, other) = uses
        first.run(use.__exit__, None, None, None)
        assert blas_threads() == 1
        second.run(other.__exit__, None, None, None)
        assert blas_threads() == before


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_a_call_has_the_same_gradients_to_rounding(cell):
    """Products for all steps are by parts, and BLAS may round each as it likes."""
    model = prnn.RNN(INPUTS, H, 2, cell=cell, num_layers=2, bidirectional=True)
    rng = np.random.default_rng(0)
    params = model.init(seed=0, dtype="float64")
    x, targets = rng.standard_normal((50, 9, INPUTS)), rng.integers(0, 2, (50, 9))
    found = []
    for threads in (1, 2, 3):
        with executors.use("compiled", threads=threads):
            lengths = np.arange(50, 5, -5)
            found.append(prnn.bptt(model, params, x, targets, lengths=lengths))
    for other in found[1:]:
        for name in params:
            np.testing.assert_allclose(other.grads[name], found[0].grads[name], rtol=0, atol=1e-14)


def test_what_was_asked_for_last_counts_and_only_inside(monkeypatch):
    assert choose.threads() == 1
    with executors.use("auto", threads=2):
        assert prnn.forward(MODEL, PARAMS, X).tape.executor.threads == 2
        assert executors.explain(MODEL).endswith("2 threads")
        with executors.use("eager"):
            assert choose.threads() == 2
        with executors.use(threads=1):
            assert choose.threads() == 1
        assert choose.threads() == 2
    assert choose.threads() == 1


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        ({"threads": 0}, ValueError, "threads: expected at least 1, got 0"),
        ({"threads": 2.0}, TypeError, "threads: "),
        ({"threads": True}, TypeError, "threads: "),
        ({"name": "eager", "threads": 2}, ValueError, "threads: expected 1 with"),
    ],
)
def test_bad_numbers_of_threads_are_refused(arguments, error, said):
    with pytest.raises(error, match=f"^{said}"):
        executors.use(**arguments)


def test_blas_has_one_thread_inside():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    with threadpoolctl.threadpool_limits(2, user_api="blas"):
        before = blas_threads()
        with executors.use("auto", threads=2):
            assert blas_threads() == 1
        assert blas_threads() == before


CHILD = """
import os
import numpy as np
import portable_rnn as prnn
from portable_rnn._executors import workers

workers.WORK = 1
model = prnn.RNN(3, 8, cell="gru")
params, x = model.init(seed=0), np.ones((5, 4, 3), np.float32)
want = prnn.predict(model, params, x)  # starts the threads
child = os.fork()
if not child:
    os._exit(0 if np.array_equal(prnn.predict(model, params, x), want) else 1)
_, status = os.waitpid(child, 0)
print(prnn.forward(model, params, x).tape.executor.threads, os.waitstatus_to_exitcode(status))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_the_environment_is_read_and_a_forked_process_has_threads_of_its_own():
    environment = os.environ | {choose.THREADS_VARIABLE: "2"}
    environment.pop(choose.VARIABLE, None)
    command = [sys.executable, "-W", "ignore", "-c", CHILD]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["2", "0"], done.stderr


@pytest.mark.parametrize("given", ["0", "two", "-1", "1.5"])
def test_a_bad_environment_is_refused_by_name(given, monkeypatch):
    choose._threads_by_environment.cache_clear()
    monkeypatch.setenv(choose.THREADS_VARIABLE, given)
    expected = pytest.raises((TypeError, ValueError), match=f"^{choose.THREADS_VARIABLE}: expected")
    with executors.use("auto"), expected:
        prnn.predict(MODEL, PARAMS, X)
    monkeypatch.undo()
    choose._threads_by_environment.cache_clear()
