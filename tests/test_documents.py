"""The documents are right: every block of code is run, every command tried."""

import ast
import doctest
import importlib
import inspect
import itertools
import json
import os
import pkgutil
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from conformance.backends import BACKENDS, with_support_table
from conformance.libraries import NumPy
from docs import blocks, catalogue

import portable_rnn
from portable_rnn.cells import CELLS

pytestmark = pytest.mark.no_products

ROOT = Path(__file__).parent.parent
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "conformance/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
TEXTS = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in DOCUMENTS}
PAGES = [name for name, text in TEXTS.items() if blocks.find(text, "python")]
OPTIONAL = (
    *("distributed", "jax", "matplotlib", "mpmath", "onnxruntime", "safetensors", "sklearn"),
    *("sympy", "torch"),
)
# Other blocks are shown as they are, and checked below. "py" quotes the library, as
# test_derivation.py checks, or is a file to be written, as conformance/test_contributing.py does.
LANGUAGES = {"python", "py", "sh", "text"}


def require(*modules):
    """Skip where an optional library is missing, as in the session of the oldest versions."""
    for module in modules:
        pytest.importorskip(module)


def imports(name):
    source = "\n".join(block.source for block in blocks.find(TEXTS[name], "python"))
    return [m for m in OPTIONAL if re.search(rf"^\s*(import|from) {m}\b", source, re.MULTILINE)]


# ------------------------------------------------------------------------------ Python


@pytest.mark.parametrize("name", PAGES)
def test_a_page_runs_from_its_first_block_to_its_last(name, tmp_path, monkeypatch):
    require(*imports(name), *(["onnx", "ndonnx"] if name.endswith("howto/onnx.md") else []))
    if name.endswith("tutorials/cupy.md") and "cupy" in sys.modules:
        # No emulated device has CuPy's random numbers.
        runtime = sys.modules["cupy"].cuda.runtime
        monkeypatch.setattr(runtime, "getDeviceCount", lambda: 1 // 0)
    printed = blocks.run(ROOT / name, tmp_path)
    assert len(printed) == len(blocks.find(TEXTS[name], "python"))


def test_the_readme_trains(capsys):
    (block,) = blocks.find(TEXTS["README.md"], "python")
    names = {}
    exec(compile(block.source, "README.md", "exec"), names)
    losses = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 6
    assert losses[-1] < 0.02 * losses[0]
    assert isinstance(names["outputs"], np.ndarray)


def test_the_cell_of_the_tutorial_is_short():
    source = blocks.find(TEXTS["docs/tutorials/cell.md"], "python")[0].source
    assert "class MinimalGatedUnit" in source
    assert len(source.splitlines()) < 40


def test_the_programs_of_the_front_page_are_short_complete_and_measured():
    text = TEXTS["docs/index.md"]
    page = blocks.find(text, "python")
    titles = re.findall(r'^=== "(.*)"$', text, re.MULTILINE)
    programs = dict(zip(titles, (block for block in page if block.indent), strict=True))
    assert len(programs) == 5
    assert count_lines(page[1]) <= 6
    for block in programs.values():
        assert count_lines(block) < 25
        assert "import portable_rnn as prnn\n" in block.source
        assert re.search(r"^assert ", block.source, re.MULTILINE)
    record = ROOT / "benchmarks/records/2026-12-programs.json"
    measured = [row["program"] for row in json.loads(record.read_text(encoding="utf-8"))["rows"]]
    assert measured == ["six lines", *map(str.lower, titles)]
    assert measured == re.findall(r"<!-- table: result of (.*) -->", text)


def count_lines(block):
    """Count lines that are neither empty nor a comment."""
    lines = (line.strip() for line in block.source.splitlines())
    return sum(bool(line) and not line.startswith("#") for line in lines)


def test_a_block_that_fails_names_its_line(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("words\n\n```python\nx = 1\n```\n\n```python\n\nx / 0\n```\n")
    with pytest.raises(ZeroDivisionError) as error:
        blocks.run(page, tmp_path)
    assert error.traceback[-1].lineno + 1 == 9


def test_outputs_are_placed_below_their_blocks():
    text = '=== "tab"\n\n    ```python\n    print(1)\n    ```\n\n```python\nx = 2\n```\nend\n'
    shown = blocks.with_outputs(text, ["1\n", ""])
    assert "    ```\n    ``` { .text .output }\n    1\n    ```\n" in shown
    assert shown.endswith("x = 2\n```\nend\n")


def modules():
    """Return each module but those of the command line; for one that needs what is missing, why."""
    found = {}
    for info in pkgutil.walk_packages(portable_rnn.__path__, "portable_rnn."):
        if not info.name.startswith("portable_rnn.cli"):
            try:
                found[info.name] = importlib.import_module(info.name)
            except ImportError as error:
                found[info.name] = str(error)
    return found


MODULES = modules()


def doctests():
    finder = doctest.DocTestFinder(exclude_empty=True)
    for name, module in MODULES.items():
        if isinstance(module, str):
            reason = pytest.mark.skip(reason=f"not run: {module}")
            yield pytest.param(None, id=name, marks=reason)
            continue
        for test in finder.find(module):
            if test.examples:
                yield pytest.param(test, id=test.name)


@pytest.mark.parametrize("test", list(doctests()))
def test_the_example_of_a_docstring_runs(test):
    if "serialization" in test.name:
        require("safetensors")
    if "interop" in test.name or "portable_rnn.torch" in test.name:
        require("torch")
    if "distributed.dask" in test.name:
        require("distributed")
    if "onnx" in test.name.lower() or "export_training_step" in test.name:
        require("onnx", "ndonnx")
    require(*(name for name in ("keras", "flax", "equinox", "optax") if name in test.name))
    said = []
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    assert runner.run(test, out=said.append).failed == 0, "".join(said)


def test_every_public_name_is_in_the_reference():
    """Under any path: `portable_rnn.api.bptt` is `bptt`."""
    pages = [text for name, text in TEXTS.items() if name.startswith("docs/reference/")]
    shown = {
        name.rpartition(".")[2]
        for text in pages
        for name in re.findall(r"^::: portable_rnn\.([\w.]+)$", text, re.MULTILINE)
    }
    assert set(portable_rnn.__all__) - {"__version__"} <= shown


def test_no_function_has_the_name_of_a_module_which_the_reference_would_show_instead():
    for package in MODULES.values():
        if hasattr(package, "__path__"):
            modules = {found.name for found in pkgutil.iter_modules(package.__path__)}
            for name in modules & set(getattr(package, "__all__", ())):
                assert inspect.ismodule(getattr(package, name)), f"{package.__name__}.{name}"


# ------------------------------------------------------------------------------- shell


def commands():
    """Return every command of every shell block, once, with the page it was first found on."""
    found = {}
    for name, text in TEXTS.items():
        for block in blocks.find(text, "sh"):
            for line in block.source.splitlines():
                for command in line.split("&&"):
                    words = shlex.split(command, comments=True)
                    found.setdefault(shlex.join(words), name)
    return {command: name for command, name in found.items() if command}


def run(*arguments, code=0):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


# Without a plugin that is not used here, and takes a second to import.
QUIET = ("-q", "-p", "no:cacheprovider", "-p", "no:hypothesispytest")


def try_pip(words, tmp_path):
    """Extras and groups exist."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = [e for word in words for e in re.findall(r"^\.\[(.*)\]$", word)]
    for extra in ",".join(extras).split(",") if extras else ():
        assert extra in project["project"]["optional-dependencies"]
    if "--group" in words:
        assert words[words.index("--group") + 1] in project["dependency-groups"]


def try_nox(words, tmp_path):
    """Sessions and tags exist."""
    tree = ast.parse((ROOT / "noxfile.py").read_text(encoding="utf-8"))
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    source = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    environments = {*importlib.import_module("conformance.backends").by_environment(), "custom"}
    for option, value in itertools.pairwise(words):
        if option == "-s":
            session, _, environment = value.rstrip(")").partition("(")
            assert session in functions
            assert not environment or environment in environments
        if option == "-t":
            assert f'"{value}"' in source


def try_pytest(words, tmp_path):
    """The suite takes the options and finds tests: in one file, since collecting all is slow."""
    named = any(word.startswith(("--backend", "--xp")) for word in words)  # a row is named
    file = "conformance/test_functions.py" if named else "conformance/test_suite.py"
    here = {"conformance": file, "auto": "0"}  # no workers: each would collect the tests
    words = [here.get(word, word) for word in words]
    words = [w.replace("your.module", "conformance.examples.right") for w in words]
    if any("known.txt" in word for word in words):
        (tmp_path / "known.txt").write_text("# a reason\ntest_functions.py\n")
        words = [w.replace("known.txt", str(tmp_path / "known.txt")) for w in words]
    out = run("-m", "pytest", *words, "--collect-only", *QUIET)
    assert re.search(r"\d+ tests collected|\d+/\d+ tests collected", out)


def try_python(words, tmp_path):
    """The script or module exists and has these options."""
    if words[0] == "benchmarks/plot.py":
        require("matplotlib")
        run(words[0], str(ROOT / "benchmarks/records/2026-12-train.json"), str(tmp_path / "a.svg"))
        assert (tmp_path / "a.svg").read_text(encoding="utf-8").startswith("<?xml")
        return
    out = run(*words, "--help")
    for word in words:
        assert not word.startswith("--") or word in out


def try_portable_rnn(words, tmp_path):
    """The command runs as it is, but only for a moment."""
    require("typer", "safetensors")
    if words[0] == "train" and "--out" not in words:
        out = blocks.call(shlex.join(["portable-rnn", *words, "--minutes", "0.01"]), tmp_path)
        assert "this network" in out
    if words[0] == "bench":
        few = ("--rounds", "1", "--batch", "2", "--hidden", "8", "--steps", "2")
        words = [word for word in words if not word.startswith("--json")]
        if "--workers" in words:
            require("distributed")
        shown = "extrapolated" if "--workers" in words else "floor"
        assert shown in blocks.call(shlex.join(["portable-rnn", *words, *few]), tmp_path)
    # Commands with a folder depend on each other, and are run with their page.


TRIED = {
    "pip": try_pip,
    "nox": try_nox,
    "pytest": try_pytest,
    "python": try_python,
    "portable-rnn": try_portable_rnn,
}


@pytest.mark.parametrize("command", [pytest.param(c, id=c) for c in commands()])
def test_a_command_can_be_given(command, tmp_path):
    first, *words = shlex.split(command)
    TRIED[first](words, tmp_path)


def test_the_message_of_the_tutorial_is_what_the_suite_says():
    page = TEXTS["docs/tutorials/conformance.md"]
    (shown,) = blocks.find(page, "text")
    (line,) = [
        line
        for block in blocks.find(page, "sh")
        for line in block.source.splitlines()
        if "imprecise_tanh" in line
    ]
    out = run("-m", *shlex.split(line), *QUIET, code=1)
    assert shown.source.strip() in out


def test_ci_runs_the_command_of_the_readme():
    _, command = blocks.find(TEXTS["README.md"], "sh")
    assert command.source in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_nothing_is_left_unchecked():
    fences = {name: re.findall(r"^ *```(\S+)", text, re.MULTILINE) for name, text in TEXTS.items()}
    assert all(set(found) <= LANGUAGES for found in fences.values()), fences
    assert [name for name, text in TEXTS.items() if blocks.find(text, "text")] == [
        "docs/tutorials/conformance.md"
    ]


def test_the_table_of_arrays_is_that_of_the_suite():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_support_table(readme) == readme, "stale: run python -m conformance.backends"


@pytest.mark.parametrize("cell", CELLS)  # so that it is among the tests of a new cell
def test_the_table_of_cells_is_that_of_the_registry(cell):
    page = TEXTS["docs/cells.md"]
    assert f"`{cell}`" in page
    assert catalogue.with_table(page) == page, "stale: run python -m docs.catalogue"


def test_a_row_that_is_not_in_the_table_is_noticed(monkeypatch):
    monkeypatch.setitem(BACKENDS, "another", NumPy("another", proves="something else"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "`another`: something else" in with_support_table(readme)
    with pytest.raises(ValueError, match="expected a line <!-- rows"):
        with_support_table("no marks")


@pytest.mark.parametrize(
    "name", ["README.md", "CONTRIBUTING.md", "conformance/README.md", "docs/cells.md"]
)
def test_links_have_targets(name):
    path = ROOT / name
    links = re.findall(r"\]\((?!https?://)([^)#]*)(#[^)]*)?\)", path.read_text(encoding="utf-8"))
    for target, anchor in links:
        found = path.parent / target if target else path
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor[1:] in {h.lower().replace(" ", "-") for h in headings}, anchor
