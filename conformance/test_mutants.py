"""No planted bug survives."""

import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import portable_rnn

from .mutants import MUTANTS

SOURCE = Path(portable_rnn.__file__).parent
ROOT = Path(__file__).parent.parent


def run(nodeid, source):
    """Run one test on a copy of the library."""
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", nodeid],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(source), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.id for mutant in MUTANTS])
def test_is_caught(mutant, tmp_path):
    shutil.copytree(SOURCE, tmp_path / "portable_rnn")
    module = tmp_path / "portable_rnn" / mutant.module
    text = module.read_text(encoding="utf-8")
    assert text.count(mutant.right) == 1, f"the line to change is not in {mutant.module}"
    module.write_text(text.replace(mutant.right, mutant.wrong), encoding="utf-8")
    ended = run(mutant.caught_by, tmp_path)
    assert "SKIPPED" not in ended.stdout, ended.stdout
    assert ended.returncode == pytest.ExitCode.TESTS_FAILED, f"survived:\n{ended.stdout}"
    assert "1 failed" in ended.stdout, ended.stdout


def test_the_library_itself_passes_what_catches_them(tmp_path):
    """Else a test would catch its mutant by failing always."""
    shutil.copytree(SOURCE, tmp_path / "portable_rnn")
    chosen = sorted({mutant.caught_by for mutant in MUTANTS})
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *chosen],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert f"{len(chosen)} passed" in ended.stdout


def test_there_are_many_and_each_is_one_of_a_kind():
    assert len(MUTANTS) >= 20
    assert max(Counter(mutant.id for mutant in MUTANTS).values()) == 1
