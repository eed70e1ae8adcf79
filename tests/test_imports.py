"""Imports of modules: no array library by name in the core, and nothing from a higher level."""

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
# These work on the host: they draw numbers, plan, and read and write files.
HOST_SIDE = {
    *("_arrays.choices", "_arrays.cublas", "_arrays.host", "_arrays.libraries"),
    *("_calls.valid_steps", "_files.safetensors"),
    *("_executors.compiled", "_executors.compiled_layer", "_executors.compiled_step"),
    *(
        "_executors.kernel",
        "_executors.buffers",
        "_executors.sums",
        "_executors.fused",
        "_executors.cublas",
        "_executors.cuda_graph",
        "_executors.persistent_layer",
    ),
    *("initializers", "dropout", "memory", "ragged", "text", "serialization", "plots"),
    "distributed.dask",
    *("torch", "jax", "interop.gates", "interop.keras", "interop.flax", "interop.equinox"),
    *("interop.onnx", "interop.onnx_export", "interop.onnx_nodes", "interop.onnx_sizes"),
    "interop.onnx_training",
    *("metrics.classification", "metrics.metric", "metrics.regression"),
    *("batches.chunked", "batches.shuffled"),
    *("book.computed", "book.files"),
    *("sklearn.classifier", "sklearn.forecaster", "sklearn.network", "sklearn.regressor"),
    *("sklearn.sequences", "sklearn.targets"),
}
# A module imports from its own level and from lower ones, which come first here. Where modules of a
# package are on several levels, they are listed by name.
LEVELS = [
    {"_arrays"},
    {"_files", "activations", "nonlinearities", "schedules", "initializers"},
    {"cells", "_labels", "_reduction", "serialization", "plots"},
    {
        "_engine.embedding",
        "_engine.affine",
        "_engine.select",
        "_engine.recurrence",
        "_engine.setup",
        "_engine.bptt",
    },
    {"_executors"},
    {"_engine"},
    {"model", "_draws", "_parameter_names", "_summary"},
    {"_calls.checks", "_calls.layout", "_calls.dropout_masks"},
    {"dropout", "executors", "memory"},
    {"_calls"},
    {
        *("api", "attention", "embedding", "pooling"),
        *("losses", "ragged", "optimizers", "batches"),
    },
    {"decoders", "vectors", "metrics", "model_files"},
    {
        *("derivatives", "streaming", "truncated", "_windows", "training", "text", "book"),
        *("torch", "jax"),
    },
    {"interop"},
    {"_generated", "distributed"},
    {"generation", "beams"},
    {"sklearn"},
    {""},
    {"cli"},
]


def name_of(path):
    """Return the dotted name of a module within the package; "" for the package."""
    parts = path.relative_to(SOURCE).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


PATHS = {name_of(path): path for path in sorted(SOURCE.rglob("*.py"))}
CORE = [name for name in PATHS if name not in HOST_SIDE and not name.startswith("cli")]


def imports(name):
    """Yield for each import of a module, wherever in it, what it names and whether for types."""
    path = PATHS[name]
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    package = [part for part in package if part]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, False, False) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield node.module, False, False
        elif isinstance(node, ast.ImportFrom):
            base = [*package[: len(package) - node.level + 1], *filter(None, [node.module])]
            for alias in node.names:
                whole = ".".join([*base, alias.name])
                yield whole if whole in PATHS else ".".join(base), True, id(node) in for_types


def others(name):
    """Return the packages that a module imports, besides its own."""
    return {module.split(".")[0] for module, own, _ in imports(name) if not own}


def siblings(name, *, with_types=True):
    """Return the modules of the library that a module imports."""
    return {module for module, own, types in imports(name) if own and (with_types or not types)}


def level(name):
    """Return the number of the level of a module."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        for number, modules in enumerate(LEVELS):
            if ".".join(parts[:length]) in modules:
                return number
    raise AssertionError(f"{name} is on no level")


@pytest.mark.parametrize("name", CORE)
def test_the_core_names_no_array_library(name):
    assert not others(name) & LIBRARIES


def test_the_core_contains_the_main_modules():
    core = {"activations", "api", "cells.lstm", "losses", "model"}
    assert core | {"_engine.affine", "_engine.bptt", "_executors.eager"} <= set(CORE)


def test_one_module_asks_which_library_an_array_belongs_to():
    assert {name for name in PATHS if "array_api_compat" in others(name)} == {"_arrays.namespace"}


@pytest.mark.parametrize("name", PATHS)
def test_imports_point_downwards(name):
    above = {module for module in siblings(name) if level(module) > level(name)}
    assert not above, f"{name}, on level {level(name)}, imports {above} from a higher one"


def test_imports_have_no_cycle():
    graph = {name: siblings(name, with_types=False) - {name} for name in PATHS}
    assert sum(map(len, graph.values())) > 200
    TopologicalSorter(graph).prepare()  # raises CycleError


def test_every_module_of_a_level_exists():
    for module in set().union(*LEVELS):
        assert module in PATHS, f"there is no {module}"


def test_modules_of_training_do_not_import_its_loop():
    made_of = [name for name in PATHS if name.startswith("training.")]
    assert not [name for name in made_of if "training.loop" in siblings(name)]
    assert not [name for name in made_of if "training" in siblings(name)]


def test_the_engine_knows_no_cell_by_name():
    for name in (name for name in PATHS if name.startswith("_engine.")):
        tree = ast.parse(PATHS[name].read_text(encoding="utf-8"))
        used = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
        assert not used & {"Elman", "GRU", "LSTM", "CELLS"}


def test_importing_the_package_imports_nothing_heavy():
    heavy = ["cupy", "torch", "jax", "safetensors", "matplotlib", "typer", "rich", "dask"]
    heavy += ["sklearn", "scipy", "distributed"]
    code = f"import sys, portable_rnn; print([m for m in {heavy} if m in sys.modules])"
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True
    )
    assert ended.stdout.strip() == "[]"


def test_estimators_name_the_library_that_they_need():
    code = """
import sys
sys.modules["sklearn"] = None
try:
    import portable_rnn.sklearn
except ImportError as error:
    print(error)
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    wanted = "needs scikit-learn 1.6 or later: pip install 'portable-rnn[sklearn]'"
    assert ended.stdout.strip() == f"portable_rnn.sklearn {wanted}"


def test_every_public_name_is_there():
    for name in portable_rnn.__all__:
        assert hasattr(portable_rnn, name)
    assert sorted(portable_rnn.__all__) == sorted(set(portable_rnn.__all__))
