"""The steps of CONTRIBUTING work: a cell is added to a copy, checked, and broken."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .cells import KINDS
from .pages import by_name

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^<!-- (\S+\.py) -->\n```py\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDED = ("src/portable_rnn", "conformance", "tests", "docs", "conftest.py", "pyproject.toml")
IGNORED = shutil.ignore_patterns("__pycache__", "reports")
REGISTRY, CELL = "src/portable_rnn/cells/__init__.py", "src/portable_rnn/cells/leaky.py"
# The lines of the registry below which its new lines go.
ABOVE = (
    "from .layer_norm import LayerNormElman, LayerNormLSTM\n",
    '    "LSTM",\n',
    '    "mgu": MGU,\n',
)
TESTS = ("conformance/test_gradients.py", "tests/test_cells.py", "tests/test_public_names.py")


@pytest.fixture(scope="module")
def project_copy(tmp_path_factory):
    """A copy of the needed parts of the project, with the cell of the page added."""
    copy = tmp_path_factory.mktemp("project")
    for name in NEEDED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=IGNORED)
        else:
            shutil.copy(ROOT / name, copy / name)
    blocks = dict(BLOCK.findall(PAGE))
    for above, line in zip(ABOVE, blocks.pop(REGISTRY).splitlines(), strict=True):
        replace_once(copy / REGISTRY, above, f"{above}{line}\n")
    assert set(blocks) == {CELL, "conformance/cells/leaky.py"}
    for name, text in blocks.items():
        # The seed on the page stands for one more than the largest seed in use.
        text = re.sub(r"seed=\d+", f"seed={1 + max(k.seed for k in KINDS.values())}", text)
        (copy / name).write_text(text, encoding="utf-8")
    return copy


def replace_once(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def run(copy, *command):
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=copy,
        env=os.environ | {"PYTHONPATH": str(copy / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


def run_tests(copy):
    """Return the output of the tests of the cell, on NumPy."""
    command = ("pytest", *TESTS, "-k", "leaky and not relu", "--backend=numpy")
    return run(copy, *command, "-p", "no:cacheprovider", "-q").stdout


def test_a_cell_is_added_by_following_the_page(project_copy):
    assert "has no results of leaky-default" in run_tests(project_copy)
    assert run(project_copy, "conformance.references").returncode == 0
    passed = run_tests(project_copy)
    assert re.search(r"^\d{2} passed", passed, re.M), passed
    assert "failed" not in passed
    assert run(project_copy, "docs.catalogue").returncode == 0
    table = (project_copy / "docs/cells.md").read_text(encoding="utf-8")
    assert "| `leaky` | `Leaky` | 1 | h |" in table

    code = (
        "from conformance.mutants import MUTANTS\n"
        "(bug,) = [m for m in MUTANTS if m.module == 'cells/leaky.py']\n"
        "print(bug.right, bug.wrong, bug.caught_by, sep='\\n')"
    )
    (project_copy / "bug.py").write_text(code)
    right, wrong, caught_by = run(project_copy, "bug").stdout.splitlines()
    replace_once(project_copy / CELL, right, wrong)
    assert f"FAILED {caught_by}" in run_tests(project_copy)


def test_two_pages_with_the_same_name_are_refused():
    with pytest.raises(ValueError, match=r"^two pages of the suite have 'seed=3'"):
        by_name([("seed=3", 1), ("seed=4", 2), ("seed=3", 3)])
