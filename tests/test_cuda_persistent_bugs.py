"""Planted bugs in persistent kernels are caught, and a block that never comes ends the kernel.

On the emulated device, where blocks and threads run in random order: on a GPU most of these races
would be lost only now and then, and some would hang.
"""

from contextlib import suppress
from dataclasses import replace

import numpy as np
import pytest
from conformance import cuda_on_host
from conformance.tolerances import K

from portable_rnn.cells import GRU, LSTM

from . import cupy_here

if reason := cupy_here.why_not():
    pytest.skip(reason, allow_module_level=True)

from .persistent_problem import Persistent

if not cuda_on_host.installed():
    pytest.skip("not run: these are for the emulated device", allow_module_level=True)

pytestmark = [pytest.mark.no_products, pytest.mark.usefixtures("emulated_memory")]

CALLS = 20  # a race is not lost in every call
SIZE = (8, 8, 20)
# More units than a warp has threads, and a barrier of each kind.
GROUPS = {
    "block": {"blocks": 1, "sequences": 4, "threads": 64},
    "cluster": {"blocks": 4, "sequences": 8, "threads": 64, "barrier": "cluster"},
    "global": {"blocks": 4, "sequences": 8, "threads": 64, "barrier": "global"},
}
STAGED = """    if (C > 1 || i == begin)
      stage(x, SX_FORWARD, states + before * plane + (long long)first * H, H, rows,
            SCALED ? scale + (long long)first * H : nullptr);
"""
WAITS = "    if (i > begin && !barrier.wait()) return give_up(i);\n"
LAST_WAITS = "    if (count > 0 && !barrier.wait()) return give_up(begin + count);\n"
NEVER_COMES = (
    "if (threadIdx.x == 0) add_release",
    "if (threadIdx.x == 0 && blockIdx.x) add_release",
)
# What is wrong, with which barriers it must be caught, the right text and the wrong one.
BUGS = {
    "no global barrier": (["global"], "int(load_acquire(count) - target) < 0", "false"),
    "no cluster barrier": (["cluster"], "    cluster_wait();\n", ""),
    "no barrier of a block": (["block"], "if (!DIRECT) __syncthreads();", ""),
    "a barrier of too few blocks": (["global"], "target += C;", "target += C - 1;"),
    "a barrier that threads do not enter together": (
        ["global"],
        "target += C;\n    __syncthreads();",
        "target += C;",
    ),
    "the first block's weights": (
        ["global", "cluster"],
        "* H + rank * U + u) * H + k]",
        "* H + u) * H + k]",
    ),
    "the first block's weights, going back": (
        ["global", "cluster"],
        "* H + rank * U + u] : S(0);",
        "* H + u] : S(0);",
    ),
    "hidden states from before the barrier": (["global"], WAITS + STAGED, STAGED + WAITS),
    "no barrier before the last product": (["global", "cluster"], LAST_WAITS, ""),
    "hidden states read before they are written": (
        ["block", "global", "cluster"],
        "    __syncthreads();\n    Forward product;",
        "    Forward product;",
    ),
    "sums read before they are written": (
        ["block", "global", "cluster"],
        "    product.store(total);\n    __syncthreads();\n    #pragma unroll\n    for (int p = 0;"
        " p < ITEMS; p++) {\n      const",
        "    product.store(total);\n    #pragma unroll\n    for (int p = 0;"
        " p < ITEMS; p++) {\n      const",
    ),
}


def changed(right, wrong):
    def change(text):
        assert right in text
        return text.replace(right, wrong)

    return change


@pytest.mark.parametrize("cell", [LSTM(), GRU()])
@pytest.mark.parametrize("group", GROUPS)
def test_kernels_without_a_bug_are_right(group, cell):
    problem = Persistent(cell, np.float32, SIZE)
    assert not not_equal(problem, problem.kernels(problem.plan(**GROUPS[group])))


@pytest.mark.parametrize(("bug", "group"), [(bug, group) for bug in BUGS for group in BUGS[bug][0]])
def test_planted_bug_in_a_kernel_is_caught(bug, group):
    _, right, wrong = BUGS[bug]
    for cell in (LSTM(), GRU()):
        problem = Persistent(cell, np.float32, SIZE)
        plan = problem.plan(**GROUPS[group])
        plan = replace(plan, chunk=1) if bug == "no barrier of a block" else plan
        layer = problem.kernels(plan, changed(right, wrong))
        assert not_equal(problem, layer)
        assert not cuda_on_host.failure()


def not_equal(problem, layer):
    """Return whether a call has wrong results, as the test of a layer finds."""
    for _ in range(CALLS):
        with suppress(AssertionError):
            problem.compare(problem.run(layer), bound=K)
            continue
        return True
    return False


def test_block_that_never_comes_ends_the_kernel_with_an_error():
    problem = Persistent(LSTM(), np.float32, SIZE)
    plan = problem.plan(**GROUPS["global"])
    layer = problem.kernels(plan, changed(*NEVER_COMES), patience=10_000)
    with pytest.raises(RuntimeError, match="gave up"):
        problem.run(layer)
    assert not cuda_on_host.failure()


@pytest.mark.parametrize("reverse", [False, True])
def test_results_of_a_kernel_that_gave_up_are_nan(reverse, monkeypatch):
    problem = Persistent(GRU(), np.float32, SIZE)
    plan = problem.plan(**GROUPS["global"])
    layer = problem.kernels(plan, changed(*NEVER_COMES), patience=10_000)
    monkeypatch.setattr(layer, "check", lambda: None)
    found = problem.run(layer, reverse=reverse)
    assert np.isnan(found["after 0"]).any()
    for name in ("d W_ih", "d W_hh", "d b_ih", "d b_hh", "d before 0"):
        assert np.isnan(found[name]).any(), name
    assert not cuda_on_host.failure()


def test_waiting_for_ever_is_caught():
    problem = Persistent(LSTM(), np.float32, SIZE)

    def change(text):
        text = changed("over = clock64() - start > patience;", "")(text)
        return changed(*NEVER_COMES)(text)

    layer = problem.kernels(problem.plan(**GROUPS["global"]), change, patience=10_000)
    with pytest.raises(Exception, match="wait for ever"):
        problem.run(layer)
    assert "wait for ever" in cuda_on_host.failure()


def test_layer_runs_after_one_that_gave_up():
    problem = Persistent(LSTM(), np.float32, SIZE)
    layer = problem.kernels(problem.plan(**GROUPS["global"]), patience=1)
    with pytest.raises(RuntimeError, match="gave up"):
        problem.run(layer)
    layer.patience = 1 << 35
    problem.compare(problem.run(layer), bound=K)
