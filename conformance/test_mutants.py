"""No planted bug survives."""

import re
import shutil
from collections import Counter
from pathlib import Path

import pytest

import portable_rnn

from . import cuda_on_host
from .backends import BACKENDS
from .forked import Forked
from .mutants import MUTANTS, compiled_here
from .selection import why_not

SOURCE = Path(portable_rnn.__file__).parent
NO_CACHE = shutil.ignore_patterns("__pycache__")  # in which other processes write


@pytest.fixture(scope="module")
def forked():
    with Forked() as process:
        yield process


def run(forked, nodeids, source):
    """Run tests, all of the suite or none, on a copy of the library.

    Of the suite, only the rows of these tests are collected.
    """
    rows = sorted({row_of(nodeid) for nodeid in nodeids if of_the_suite(nodeid)})
    only = ("--backend", ",".join(rows)) if rows else ()
    return forked.run([*only, *nodeids], source)


def of_the_suite(nodeid):
    return nodeid.startswith("conformance/")


def row_of(nodeid):
    case = nodeid.partition("[")[2].removesuffix("]")
    fitting = [row for row in BACKENDS if case == row or case.startswith((f"{row}-float",))]
    assert len(fitting) == 1, f"{nodeid} is of the rows {fitting}"
    return fitting[0]


def not_here(mutant):
    """Return why the test that catches a bug is not run on this machine, or ''."""
    if of_the_suite(mutant.caught_by):
        reason = why_not(BACKENDS[row_of(mutant.caught_by)])
        return f"not run: {reason}" if reason else ""
    if mutant.caught_by.startswith("tests/test_fused"):
        reason = cuda_on_host.why_not()
        return f"not run: {reason}" if reason else ""
    compiled = mutant.caught_by.startswith(("tests/test_compiled", "tests/test_executors"))
    return compiled_here.why_not() if compiled else ""


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.id for mutant in MUTANTS])
def test_is_caught(mutant, forked, tmp_path, record_property):
    if reason := not_here(mutant):
        pytest.skip(reason)
    record_property("bug", (mutant.bug, mutant.caught_by))
    shutil.copytree(SOURCE, tmp_path / "portable_rnn", ignore=NO_CACHE)
    module = tmp_path / "portable_rnn" / mutant.module
    text = module.read_text(encoding="utf-8")
    assert text.count(mutant.right) == 1, f"the line to change is not in {mutant.module}"
    module.write_text(text.replace(mutant.right, mutant.wrong), encoding="utf-8")
    ended = run(forked, [mutant.caught_by], tmp_path)
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED, f"survived:\n{ended.stdout}"
    assert re.search(r"^1 failed\b(?!.*(skipped|error))", ended.stdout, re.M), ended.stdout
    assert "cannot run" not in ended.stdout, "it failed, but not for the bug"


def test_the_library_itself_passes_the_tests_that_catch_mutants(forked, tmp_path):
    """Otherwise a test that always fails would catch its mutant."""
    shutil.copytree(SOURCE, tmp_path / "portable_rnn", ignore=NO_CACHE)
    chosen = {mutant.caught_by for mutant in MUTANTS if not not_here(mutant)}
    suite = set(filter(of_the_suite, chosen))
    for part in (suite, chosen - suite):
        ended = run(forked, sorted(part), tmp_path)
        assert ended.returncode == 0, ended.stdout
        assert f"{len(part)} passed" in ended.stdout


def test_there_are_many_mutants_with_unique_ids():
    assert len(MUTANTS) >= 20
    assert max(Counter(mutant.id for mutant in MUTANTS).values()) == 1
