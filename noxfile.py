"""All checks of the project: ``nox`` runs those a change must pass, ``nox -l`` lists all.

With ``nox --no-venv`` nothing is installed, and the packages of the current environment are used.
"""

import os
import platform
import sys
from pathlib import Path

import nox

sys.path.insert(0, str(Path(__file__).parent))
from conformance.backends import BACKENDS, by_environment

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "tests"]

PROJECT = nox.project.load_toml("pyproject.toml")
# BLAS threads and test workers would compete for the same cores.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


# uv does not read pip's settings; it should use the package indexes that the environment sets for
# pip.
FROM = {f"UV_{of}": os.environ.get(f"PIP_{of}", "") for of in ("INDEX_URL", "EXTRA_INDEX_URL")}
FROM["UV_FIND_LINKS"] = ",".join(os.environ.get("PIP_FIND_LINKS", "").split())


def install(session: nox.Session, *packages: str, groups: tuple[str, ...] = ()) -> None:
    """Install packages and dependency groups, unless the environment is the caller's own."""
    if session.venv_backend != "none":
        needed = nox.project.dependency_groups(PROJECT, *groups)
        session.install(
            *packages, *needed, env={name: value for name, value in FROM.items() if value}
        )


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting, lint (which keeps array libraries out of the core), types, and the changes."""
    install(session, "-e.[cli,plot]", groups=("lint",))
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")
    session.run("towncrier", "build", "--draft", "--version", "next", silent=True)


@nox.session
def tests(session: nox.Session) -> None:
    """The tests, the examples in docstrings and README, and the conformance suite."""
    install(session, "-e.[cli,plot]", groups=("test", "peers"))
    # Hundreds of processes import the same packages, and each would compile them if the environment
    # forbids writing bytecode. The programs that JAX compiles are small, and optimising them takes
    # most of the time: only the session that names its rows compiles them as users do.
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0"
    quick = ONE_THREAD | {"PYTHONDONTWRITEBYTECODE": "", "XLA_FLAGS": flags.strip()}
    session.run("pytest", "-n", "auto", *session.posargs, env=quick)
    if not session.posargs:  # again, compiled, and with other matrix products around the loop
        other = ("python", "-m", "conformance.kernels", "--other", "--threads=1")
        compiled = {"PYTHONDONTWRITEBYTECODE": "", "PORTABLE_RNN_EXECUTOR": "auto"}
        session.run(*other, "--", "tests", "-m", "not no_products", env=compiled)


@nox.session(default=False, tags=["cpu"])
def interop(session: nox.Session) -> None:
    """Networks of other libraries, converted both ways; none of them may be absent."""
    others = ("keras", "flax", "equinox", "onnxscript")
    install(session, "-e.[cli,plot,onnx]", *others, groups=("test", "peers"))
    files = map(str, sorted(Path("tests").glob("test_interop*.py")))
    required = ONE_THREAD | {"INTEROP_REQUIRED": "1"}
    session.run("pytest", "-n", "auto", *files, *session.posargs, env=required)
    examples = ("tests/test_documents.py", "-k", "interop or onnx")
    session.run("pytest", *examples, env=required | {"KERAS_BACKEND": "torch"})


@nox.session(default=False, tags=["cpu"])
def data(session: nox.Session) -> None:
    """Frames and stored arrays of other libraries; none of them may be absent."""
    others = ("h5py", "pandas", "polars", "pyarrow", "xarray", "zarr")
    install(session, "-e.[checkpoint]", *others, groups=("test", "peers"))
    files = ("tests/test_frames.py", "tests/test_chunked.py")
    required = ONE_THREAD | {"INTEROP_REQUIRED": "1"}
    session.run("pytest", *files, *session.posargs, env=required)


@nox.session(default=False)
def kernels(session: nox.Session) -> None:
    """The NumPy tests under every BLAS kernel that this processor can run, 1 thread and 2."""
    install(session, "-e.[cli,plot]", groups=("test",))
    arguments = session.posargs or ("--", "tests", "conformance", "--backend=numpy")
    session.run("python", "-m", "conformance.kernels", *arguments)


@nox.session(default=False)
def reliability(session: nox.Session) -> None:
    """Runs killed 300 times and at every call of a save; 20,000 damages; stops after every step."""
    install(session, "-e.[cli,plot]", groups=("test",))
    full = ONE_THREAD | {"RELIABILITY": "full"}
    session.run("pytest", "-n", "auto", "-m", "reliability", "tests", *session.posargs, env=full)


@nox.session(default=False)
def distributed(session: nox.Session) -> None:
    """Training on a cluster whose workers, driver and size change 20 times each, or so often."""
    install(session, "-e.[cli,distributed]", groups=("test", "peers"))
    count = session.posargs[0] if session.posargs else "20"
    session.run("pytest", "tests/test_distributed.py", "tests/test_cli_cluster.py", env=ONE_THREAD)
    session.run(
        "pytest", "tests/test_distributed_kills.py", "-s", env=ONE_THREAD | {"KILLS": count}
    )


@nox.session(default=False)
def compiled(session: nox.Session) -> None:
    """Every cell compiled, and the functions of vectors on all 2**32 numbers of float32."""
    install(session, "-e.", groups=("test",))
    every = ONE_THREAD | {"EVERY_CELL": "1", "EXHAUSTIVE": "1"}
    files = map(str, sorted(Path("tests").glob("test_compiled*.py")))
    session.run("pytest", "-n", "auto", *files, "tests/test_threads.py", env=every)


ENVIRONMENTS = by_environment() | {"custom": []}
RECORDS = Path("build/bench")
REPORTS, COMMITTED = Path("build/conformance"), Path("conformance/reports")


@nox.session(default=False)
@nox.parametrize(
    "environment",
    [
        nox.param(
            name, id=name, tags=["gpu" if any(r.gpu for r in rows) else "cpu"] if rows else []
        )
        for name, rows in ENVIRONMENTS.items()
    ],
)
def conformance(session: nox.Session, environment: str) -> None:
    """The conformance suite on one library; `-t cpu` or `-t gpu` for all of a kind."""
    rows = ENVIRONMENTS[environment]
    packages = dict.fromkeys(package for row in rows for package in row.packages)
    install(session, "-e.[cli]", *packages, groups=("test",))
    REPORTS.mkdir(parents=True, exist_ok=True)
    bin_folder = session.bin if session.venv_backend != "none" else ""
    named = [f"--backend={','.join(row.id for row in rows)}"] if rows else []
    session.run(
        *("pytest", "conformance", "-n", "auto", "--dist", "worksteal", "-q", *named),
        *(f"--report-json={REPORTS / environment}.json", *session.posargs),
        env=ONE_THREAD | {name: value for row in rows for name, value in row.environ(bin_folder)},
    )


@nox.session(default=False, tags=["cpu"])
def oracles(session: nox.Session) -> None:
    """The oracles against each other, random problems against torch, and the planted bugs."""
    install(session, "-e.[cli,plot]", groups=("test", "peers"))
    REPORTS.mkdir(parents=True, exist_ok=True)
    session.run(
        *("pytest", "conformance", "-n", "auto", "-q", "--suite"),
        *(f"--report-json={REPORTS / 'oracles.json'}", *session.posargs),
        env=ONE_THREAD,
    )


@nox.session(default=False)
def malformed(session: nox.Session) -> None:
    """20,000 malformed calls on four libraries: each must be refused by name, or rightly taken."""
    install(session, "-e.[cli,plot]", groups=("test", "peers"))
    arguments = session.posargs or ("--count=20000",)
    session.run("python", "-m", "conformance.malformed", *arguments, env=ONE_THREAD)


@nox.session(default=False, tags=["gpu"])
def gpu(session: nox.Session) -> None:
    """All that a GPU must be asked, as one record and one page, in build/gpu or --out."""
    peers = ("jax[cuda13]", "pytest-xdist")
    install(session, "-e.[cli,plot]", *BACKENDS["cupy"].packages, *peers, groups=("test", "peers"))
    session.run("python", "-m", "benchmarks.gpu", *session.posargs)


@nox.session(default=False, tags=["cpu"])
def gpu_rehearsal(session: nox.Session) -> None:
    """The session gpu on the emulated device, in tiny sizes; persistent kernels of every cell."""
    packages = BACKENDS["cupy-host"].packages
    install(session, "-e.[cli,plot]", *packages, groups=("test", "peers"))
    files = ("tests/test_gpu.py", "tests/test_cuda_persistent.py")
    every = ONE_THREAD | {"REHEARSE": "1", "EVERY_CELL": "1"}
    session.run("pytest", *files, *session.posargs, env=every)


@nox.session(default=False, tags=["cpu"])
def cuda_code(session: nox.Session) -> None:
    """Kernels of every cell, compiled by the real NVRTC for three GPUs, and what they take."""
    install(session, "-e.[cli]", "nvidia-cuda-nvrtc", "nvidia-cuda-runtime", groups=("test",))
    every = ONE_THREAD | {"EVERY_CELL": "1"}
    session.run("pytest", "tests/test_cuda_code.py", *session.posargs, env=every)
    session.run("python", "-m", "tests.kernel_resources")


@nox.session(default=False, tags=["cpu", "gpu"])
def report(session: nox.Session) -> None:
    """One matrix and one page with the results of the conformance sessions."""
    install(session, "-e.", "rich")
    names = (*(name for name, rows in ENVIRONMENTS.items() if rows), "oracles")
    found = [str(path) for name in names if (path := REPORTS / f"{name}.json").exists()]
    out = (f"--json={REPORTS / 'all.json'}", f"--html={REPORTS / 'all.html'}")
    session.run("python", "-m", "conformance.report", *found, *out)


@nox.session(default=False)
def sklearn(session: nox.Session) -> None:
    """The estimators: scikit-learn's own checks, and what sktime and skorch do with them."""
    others = ("array-api-strict", "jax>=0.6", "pandas", "skorch", "sktime", "torch==2.13.0")
    install(session, "-e.[sklearn]", *others, groups=("test",))
    session.run("python", "-c", "import portable_rnn.sklearn, skorch, sktime")  # none is left out
    files = map(str, sorted(Path("tests").glob("test_sklearn*.py")))
    pages = ("tests/test_documents.py", "-k", "sklearn")
    session.run("pytest", "-n", "auto", *files, *pages, *session.posargs, env=ONE_THREAD)


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """The site, in build/site: tutorials run, links checked, warnings are errors."""
    install(session, "-e.[cli,plot,sklearn,onnx]", "rich", groups=("docs", "peers", "test"))
    if not list(COMMITTED.glob("*.json")):
        REPORTS.mkdir(parents=True, exist_ok=True)
        numpy = ("--backend=numpy", f"--report-json={REPORTS / 'numpy.json'}")
        session.run("pytest", "conformance", "-n", "auto", "-q", *numpy, env=ONE_THREAD)
    quiet = {"NO_MKDOCS_2_WARNING": "1"}  # a warning about the tool, not about these pages
    session.run(
        "mkdocs", "build", "--site-dir=build/site", *session.posargs, env=ONE_THREAD | quiet
    )


@nox.session(default=False)
def minimums(session: nox.Session) -> None:
    """The NumPy tests on the oldest supported versions."""
    oldest = [requirement.replace(">=", "==") for requirement in PROJECT["project"]["dependencies"]]
    install(session, ".[cli]", *oldest, groups=("test",))
    session.run("pytest", "tests", "-n", "auto", *session.posargs, env=ONE_THREAD)


@nox.session(default=False)
def numpy(session: nox.Session) -> None:
    """The tests, and the suite on NumPy's arrays alone: what runs on every system."""
    install(session, "-e.[cli,plot]", groups=("test",))
    compiled = platform.machine() in ("x86_64", "AMD64") and sys.platform != "darwin"
    only = ("tests", "conformance", f"--backend=numpy{',numpy-compiled' * compiled}")
    session.run("pytest", "-n", "auto", *only, *session.posargs, env=ONE_THREAD)


@nox.session(default=False)
def wheel(session: nox.Session) -> None:
    """The wheel, built and installed alone: it imports, trains, and contains py.typed."""
    build = session.create_tmp()
    install(session, "build")
    session.run("python", "-m", "build", "--wheel", f"--outdir={build}")
    (built,) = Path(build).glob("*.whl")
    session.install("--force-reinstall", f"{built}[cli]")
    session.chdir(build)  # otherwise the source would be imported
    code = (
        "import portable_rnn, pathlib; here = pathlib.Path(portable_rnn.__file__).parent;"
        "assert (here / 'py.typed').exists() and 'src' not in here.parts, here"
    )
    session.run("python", "-c", code)
    session.run("portable-rnn", "train", "--hidden=8", "--steps=20", "--out=run")


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """The coverage of the library by the tests of NumPy; it fails below the minimum."""
    install(session, "-e.[cli,plot,sklearn]", "pytest-cov", groups=("test",))
    only = ("tests", "conformance", "--backend=numpy,numpy-compiled")
    shown = ("--cov=src/portable_rnn", "--cov-branch", "--cov-report=term", "--cov-fail-under=94")
    session.run("pytest", "-n", "auto", "-q", *only, *shown, env=ONE_THREAD)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Time per step of ours, torch and JAX, of ragged batches and budgets, on an idle machine."""
    install(session, "-e.[cli,plot]", "keras", groups=("test", "peers"))
    RECORDS.mkdir(parents=True, exist_ok=True)
    cells = [f"--cell={name}" for name in ("elman", "gru", "lstm")]
    sizes = [f"--hidden={size}" for size in (32, 64, 128, 256, 512)]
    for work, batches in (("train", (1, 16, 64)), ("predict", (1, 16)), ("step", (1,))):
        given = [*cells, *sizes, *(f"--batch={batch}" for batch in batches)]
        record = f"--json={RECORDS / work}.json"
        session.run("portable-rnn", "bench", f"--work={work}", *given, record, *session.posargs)
    given = [*cells, "--hidden=128", "--hidden=256", "--hidden=512", "--threads=2"]
    if (os.cpu_count() or 1) > 1:
        record = f"--json={RECORDS / 'threads'}.json"
        session.run("portable-rnn", "bench", *given, record, *session.posargs)
    session.run("python", "benchmarks/train_time.py")
    session.run("python", "benchmarks/programs.py")
    session.run("python", "benchmarks/tokens_time.py")
    session.run("python", "benchmarks/torch_layer_time.py")
    session.run("python", "benchmarks/ragged_time.py")
    session.run("python", "benchmarks/memory_time.py")
