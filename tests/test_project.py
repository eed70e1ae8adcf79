"""Settings of the forge and of the packaging agree with the project."""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import portable_rnn

pytestmark = pytest.mark.no_products

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SESSIONS = {
    node.name
    for node in ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8")).body
    if isinstance(node, ast.FunctionDef) and node.decorator_list
}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_actions_are_pinned_and_sessions_exist(path):
    text = path.read_text(encoding="utf-8")
    used = re.findall(r"uses: (.*)", text)
    assert used
    for action in used:
        assert re.fullmatch(r"actions/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action
    commands = re.findall(r"nox(?: -s ([\w ]+)| -t (\w+))?$", text, re.MULTILINE)
    assert commands
    for sessions, tag in commands:
        assert set(sessions.split()) <= SESSIONS
        assert tag in ("", "cpu", "gpu")


def test_every_python_that_is_promised_is_tried():
    promised = {c.rpartition(" ")[2] for c in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", c)}
    tried = set(re.findall(r'"(3\.\d+)"', WORKFLOWS[-1].read_text(encoding="utf-8")))
    assert promised == tried
    assert min(promised, key=lambda v: int(v[2:])) == PROJECT["requires-python"].removeprefix(">=")


def test_the_version_is_the_same_everywhere():
    cited = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert f"\nversion: {portable_rnn.__version__}\n" in cited
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert re.search(r"^## (\S+)", changes, re.MULTILINE)[1] == portable_rnn.__version__


def test_the_rows_of_the_suite_are_read_where_no_library_is_installed():
    """As by nox, in an environment of its own."""
    hidden = ("numpy", "array_api_compat", "cupy", "pytest", "portable_rnn")
    code = f"""
import sys
sys.modules.update(dict.fromkeys({hidden}))
from conformance.backends import by_environment
print(len(by_environment()))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10
