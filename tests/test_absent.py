"""Where an optional package is absent, one sentence says what to install.

Each package is hidden from a new process, also if it is installed here.
"""

import ast
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import portable_rnn

pytestmark = pytest.mark.no_products

SOURCE = Path(portable_rnn.__file__).parent
SETUP = """
import numpy as np, portable_rnn as prnn
from portable_rnn import executors, interop, plots, serialization, training
model = prnn.RNN(3, 4, 2, cell="gru")
params = model.init(seed=0)
x, y = np.ones((5, 2, 3), np.float32), np.zeros((5, 2), np.int64)
batches = prnn.batches.Shuffled(x, y, batch_size=2)
def train(**options):
    return training.train(model, params, batches, steps=1, **options)
"""
FLOW = "plots.gradient_flow(prnn.gradient_flow(model, params, x, y))"
STEP = "interop.export_training_step('a.onnx', model, params)"
LAYER = "torch is needed for portable_rnn.torch: pip install torch"
JAX_LAYER = "jax is needed for portable_rnn.jax: pip install jax"
TORCH = "torch is needed to convert its modules: pip install torch"
FILES = "safetensors is needed to read and write files: pip install safetensors"
ESTIMATORS = "portable_rnn.sklearn needs scikit-learn 1.6 or later: "
ESTIMATORS += "pip install 'portable-rnn[sklearn]'"
DRAW = "matplotlib is needed to draw: pip install matplotlib (the extra 'plot')"
COMPILED = "executor: compiled was asked for; llvmlite is not installed: "
COMPILED += "pip install 'portable-rnn[fast]'"
SHOWN = "progress: expected rich or tqdm to be installed, found neither; "
SHOWN += "pip install 'portable-rnn[progress]', or give progress=False"


def converted(name):
    return f"{name} is needed to convert its layers: pip install {name}"


def logged(name):
    return f"callbacks: expected {name} to be installed, and it is not; pip install {name}"


LOGGERS = {"tensorboard": "TensorBoard('a')", "wandb": "WandB()", "mlflow": "MLflow()"}
# What is hidden, and what each call must say.
CALLS = {
    "torch": {"import portable_rnn.torch": LAYER, "interop.to_torch(model, params)": TORCH},
    **{
        name: {
            f"interop.to_{name}(model, params)": converted(name),
            f"interop.from_{name}(None)": converted(name),
        }
        for name in ("keras", "flax", "equinox")
    },
    "jax": {"import portable_rnn.jax": JAX_LAYER},
    "jax equinox": {"interop.to_equinox(model, params)": converted("equinox")},
    "onnx": {
        "interop.export_onnx('a.onnx', model, params)": converted("onnx"),
        "interop.load_onnx('a.onnx')": converted("onnx"),
    },
    "ndonnx": {STEP: converted("ndonnx")},
    "spox": {STEP: converted("ndonnx")},
    "sklearn": {"import portable_rnn.sklearn": ESTIMATORS},
    "safetensors": dict.fromkeys(
        (
            "serialization.save_weights('a', params)",
            "serialization.load_weights('a')",
            "serialization.save_arrays('a', params, {})",
            "serialization.load_arrays('a')",
            "prnn.save_model('a', model, params)",
            "prnn.load_model('a')",
            "train(checkpoint='a')",
        ),
        FILES,
    ),
    "matplotlib": {"plots.learning_curve({}, {}, 'title')": DRAW, FLOW: DRAW},
    "rich tqdm": {"train(progress=True)": SHOWN},
    **{
        package: {f"train(callbacks=[training.{logger}])": logged(package)}
        for package, logger in LOGGERS.items()
    },
    "llvmlite": {"with executors.use('compiled'): prnn.predict(model, params, x)": COMPILED},
}


# What hides packages as if they were not installed: nothing finds them, and they may be asked for.
# None in ``sys.modules`` would be a module to those who look there without an import.
HIDE = """
import sys
class Without:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {hidden}:
            return None
        return self.finder.find_spec(name, path, target)
    def __getattr__(self, name):
        return getattr(self.finder, name)
sys.meta_path[:] = map(Without, sys.meta_path)
"""


def run(code, hidden, folder, *arguments):
    """Run code in a process of its own, from which some packages, between spaces, are hidden."""
    code = HIDE.replace("{hidden}", repr(set(hidden.split()))) + code
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("hidden", CALLS)
def test_an_absent_package_is_named_with_what_installs_it(hidden, tmp_path):
    calls = "".join(
        f"""
try:
    {call}
    print("nothing was raised")
except (ImportError, ValueError) as error:
    print(error)
"""
        for call in CALLS[hidden]
    )
    ended = run(SETUP + calls, hidden, tmp_path)
    assert (ended.stdout.splitlines(), ended.stderr) == ([*CALLS[hidden].values()], "")
    assert not [*tmp_path.iterdir()], "a call began to work"


TRAIN = ("train", "--hidden=4", "--steps=2", "--batch-size=2", "--window=4", "--out=run")
CLUSTER = "workers: expected Dask's distributed to be installed; "
CLUSTER += "pip install 'portable-rnn[distributed]'"
CLI = "pip install typer rich threadpoolctl safetensors"
# The error that each command ends with.
COMMANDS = {
    "distributed": ("distributed", (*TRAIN, "--workers=2"), f"error: {CLUSTER}"),
    "typer": ("typer", ("info",), f"portable-rnn needs typer: {CLI}"),
    "rich": ("rich", ("info",), f"portable-rnn needs rich: {CLI}"),
    "threadpoolctl": ("threadpoolctl", ("info",), f"portable-rnn needs threadpoolctl: {CLI}"),
    "safetensors": ("safetensors", TRAIN, f"error: {FILES}"),
    **{
        name: (
            name,
            (*TRAIN, f"--backend={name}"),
            f"error: {name} is not installed (No module named '{name}'): pip install {package}",
        )
        for name, package in {
            "torch": "'torch'",
            "jax": "'jax'",
            "cupy": "'cupy-cuda12x[ctk]' or 'cupy-cuda13x[ctk]'",
        }.items()
    },
}
NEEDED = ("typer", "rich", "threadpoolctl")


def have(*names):
    """Skip a test of the command line where a package that it needs is absent anyway."""
    for name in names:
        pytest.importorskip(name, reason=f"not run: {name} is not installed")


@pytest.mark.parametrize("case", COMMANDS)
def test_a_command_without_a_package_ends_in_one_line(case, tmp_path):
    hidden, arguments, wanted = COMMANDS[case]
    have(*(name for name in NEEDED if name != hidden))
    ended = run("from portable_rnn.cli import main; main()", hidden, tmp_path, *arguments)
    assert ended.returncode in (1, 2)
    assert ended.stderr.strip() == wanted


def test_training_without_matplotlib_says_that_nothing_is_drawn(tmp_path):
    have(*NEEDED, "safetensors")
    ended = run("from portable_rnn.cli import main; main()", "matplotlib", tmp_path, *TRAIN)
    assert ended.returncode == 0, ended.stderr
    assert "loss.png is not drawn: pip install matplotlib\n" in ended.stdout


def test_all_works_without_what_only_makes_it_faster_or_visible(tmp_path):
    """Packages that need not be asked for are not missed."""
    hidden = "llvmlite threadpoolctl rich tqdm"
    ended = run(SETUP + "print(train(progress='auto').step)", hidden, tmp_path)
    assert (ended.stdout.strip(), ended.stderr) == ("1", "")


BASE = {"array_api_compat", "numpy"}  # which the package requires
# Only asked for where they are there: a command that compares libraries leaves others out, and a
# cluster without bokeh has no dashboard. Dask is there where its distributed is.
THEIRS = {"onnxruntime", "bokeh", "dask"}


def imported():
    """Return the packages that the library imports anywhere, in whatever way."""
    calls = ("imported", "_imported", "import_module", "find_spec")
    found = set()
    for path in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                found.add(node.module)
            elif isinstance(node, ast.Call) and node.args:
                name = getattr(node.func, "attr", getattr(node.func, "id", ""))
                value = getattr(node.args[0], "value", None)
                if name in calls and isinstance(value, str):
                    found.add(value)
    return {name.partition(".")[0] for name in found} - sys.stdlib_module_names - {"portable_rnn"}


HIDDEN = {name for packages in CALLS for name in packages.split()}
HIDDEN |= {packages for packages, *_ in COMMANDS.values()}


def test_every_package_that_is_imported_anywhere_is_hidden_here():
    assert imported() == HIDDEN | BASE | THEIRS


def test_every_package_of_an_extra_is_hidden_here():
    project = tomllib.loads((SOURCE.parents[1] / "pyproject.toml").read_text(encoding="utf-8"))
    extras = project["project"]["optional-dependencies"].values()
    names = {re.match(r"[\w-]+", package)[0] for packages in extras for package in packages}
    modules = {"scikit-learn": "sklearn", "cupy-cuda12x": "cupy", "cupy-cuda13x": "cupy"}
    # Users give arrays of Dask, and nothing here imports it.
    ours = {modules.get(name, name) for name in names} - {"portable-rnn", "dask"}
    assert ours <= HIDDEN | THEIRS
