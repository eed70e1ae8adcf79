"""What is imported, by whom: the core knows no array library by name."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import portable_rnn

pytestmark = pytest.mark.no_products

SOURCE = Path(portable_rnn.__file__).parent
LIBRARIES = {"numpy", "cupy", "torch", "jax", "dask", "ndonnx", "array_api_strict"}
# By their nature these work on the host: they draw numbers, plan, and read and write files.
HOST_SIDE = {
    *("_host", "_safetensors", "initializers", "dropout", "memory", "steps", "ragged"),
    *("batches", "text", "serialization", "backends", "plots", "cli"),
}


def imported_by(path, level=None):
    """Return the absolute modules a file imports, wherever in it, and those of the library.

    Of the latter, only those imported with so many dots if ``level`` is given.
    """
    others, siblings = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            others |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            others.add(node.module)
        elif isinstance(node, ast.ImportFrom) and level in (None, node.level):
            names = [node.module] if node.module else [alias.name for alias in node.names]
            siblings |= {name.split(".")[0] for name in names}
    return {name.split(".")[0] for name in others}, siblings


FILES = sorted(
    path for place in ("", "cells/", "training/") for path in SOURCE.glob(f"{place}*.py")
)
CORE = [path for path in FILES if path.stem not in HOST_SIDE]


@pytest.mark.parametrize("path", CORE, ids=lambda path: path.stem)
def test_the_core_names_no_array_library(path):
    others, _ = imported_by(path)
    assert not others & LIBRARIES


def test_the_core_is_all_there():
    core = {"activations", "affine", "api", "bptt", "layout", "losses", "lstm", "model", "scan"}
    assert core <= {path.stem for path in CORE}


def test_one_module_asks_which_library_an_array_belongs_to():
    asking = {path.stem for path in FILES if "array_api_compat" in imported_by(path)[0]}
    assert asking == {"_namespace"}


@pytest.mark.parametrize(
    ("module", "allowed"),
    [
        ("_scalars", set()),
        ("_namespace", {"_scalars"}),
        ("activations", {"_namespace"}),
        ("nonlinearities", {"_namespace", "_scalars", "activations"}),
        ("affine", {"_namespace"}),
        ("scan", {"_namespace"}),
        *[
            (
                f"cells/{page}",
                {
                    *("_namespace", "_scalars", "activations", "nonlinearities"),
                    *("options", "protocol"),
                },
            )
            for page in ("elman", "gru", "layer_norm", "lstm", "mgu", "options", "protocol")
        ],
        ("recurrence", {"_namespace", "affine", "cells", "select"}),
        ("select", {"_namespace", "cells"}),
        ("bptt", {"_namespace", "affine", "cells", "recurrence", "scan"}),
        ("stretches", {"_namespace", "cells"}),
        ("recompute", set()),
        (
            "network",
            {
                *("_namespace", "affine", "bptt", "cells", "recompute", "recurrence", "scan"),
                *("select", "stretches"),
            },
        ),
        ("_labels", {"_namespace", "_check"}),
        ("_reduction", {"_namespace", "_check", "norms"}),
        ("losses", {"_namespace", "_check", "_labels", "_reduction", "norms"}),
    ],
)
def test_imports_run_one_way(module, allowed):
    assert imported_by(SOURCE / f"{module}.py")[1] <= allowed


@pytest.mark.parametrize("package", ["cells", "cli", "training"])
def test_the_modules_of_a_package_import_each_other_in_no_circle(package):
    paths = list((SOURCE / package).glob("*.py"))
    names = {path.stem for path in paths}
    graph = {path.stem: imported_by(path, level=1)[1] & names for path in paths}
    assert any(graph.values())
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_what_training_is_made_of_does_not_import_the_loop():
    graph = {path.stem: imported_by(path)[1] for path in SOURCE.glob("training/*.py")}
    assert {name for name, imported in graph.items() if "loop" in imported} == {"__init__"}
    assert "training" not in set().union(*graph.values())


def test_the_engine_knows_no_cell_by_name():
    for module in ("bptt", "network", "recurrence"):
        source = (SOURCE / f"{module}.py").read_text(encoding="utf-8")
        names = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
        assert not names & {"Elman", "GRU", "LSTM", "CELLS"}


def test_importing_the_package_imports_nothing_heavy():
    heavy = ["cupy", "torch", "jax", "safetensors", "matplotlib", "typer", "rich", "dask"]
    code = f"import sys, portable_rnn; print([m for m in {heavy} if m in sys.modules])"
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[]"


def test_every_public_name_is_there():
    for name in portable_rnn.__all__:
        assert hasattr(portable_rnn, name)
    assert sorted(portable_rnn.__all__) == sorted(set(portable_rnn.__all__))
