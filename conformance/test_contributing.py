"""CONTRIBUTING is followed word for word: a cell is added to a copy, held to references, broken."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .cells import KINDS

ROOT = Path(__file__).parent.parent
PAGE = re.compile(r"^<!-- (\S+\.py) -->\n```py\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NEEDED = ("src/portable_rnn", "conformance", "docs/catalogue.py", "docs/cells.md")
REGISTRY, CELL = "src/portable_rnn/cells/__init__.py", "src/portable_rnn/cells/leaky.py"
WRITTEN = (
    ("from .lstm import LSTM\n", "from .leaky import Leaky\nfrom .lstm import LSTM\n"),
    ('    "LayerNormLSTM",\n', '    "LayerNormLSTM",\n    "Leaky",\n'),
    ('    "mgu": MGU,\n', '    "mgu": MGU,\n    "leaky": Leaky,\n'),
)


@pytest.fixture(scope="module")
def house(tmp_path_factory):
    """A copy of what is needed of the project, with the cell of the page in it."""
    house = tmp_path_factory.mktemp("house")
    for name in (*NEEDED, "conftest.py", "pyproject.toml"):
        (house / name).parent.mkdir(parents=True, exist_ok=True)
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, house / name)
    pages = PAGE.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    assert [name for name, _ in pages] == [CELL, "conformance/cells/leaky.py"]
    for name, text in pages:
        (house / name).write_text(text, encoding="utf-8")
    for right, more in WRITTEN:
        change(house / REGISTRY, right, more)
    return house


def change(path, old, new):
    text = path.read_text(encoding="utf-8")
    assert text.count(old) == 1
    path.write_text(text.replace(old, new), encoding="utf-8")


def run(house, *command):
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=house,
        env=os.environ | {"PYTHONPATH": str(house / "src")},
        capture_output=True,
        text=True,
        check=False,
    )


def suite(house):
    numpy = ("--backend=numpy", "-p", "no:cacheprovider", "-q")
    return run(house, "pytest", "conformance/test_gradients.py", "-k", "leaky", *numpy).stdout


def test_a_cell_is_added_by_following_the_page(house):
    assert "has no results of leaky-default" in suite(house)
    assert run(house, "conformance.references").returncode == 0
    passed = suite(house)
    assert re.search(r"^\d{2} passed", passed, re.M), passed
    assert run(house, "docs.catalogue").returncode == 0
    assert "| `leaky` | `Leaky` | 1 | h |" in (house / "docs/cells.md").read_text(encoding="utf-8")

    code = (
        "from conformance.mutants import MUTANTS\n"
        "(bug,) = [m for m in MUTANTS if m.module == 'cells/leaky.py']\n"
        "print(bug.right, bug.wrong, bug.caught_by, sep='\\n')"
    )
    (house / "bug.py").write_text(code)
    right, wrong, caught_by = run(house, "bug").stdout.splitlines()
    change(house / CELL, right, wrong)
    assert f"FAILED {caught_by}" in suite(house)


def test_each_cell_draws_its_arrays_from_a_seed_of_its_own():
    assert len({kind.seed for kind in KINDS.values()}) == len(KINDS)
    assert max(kind.seed for kind in KINDS.values()) + 1 == len(KINDS), (
        "CONTRIBUTING names the next"
    )
