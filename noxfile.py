"""Every check of the project: ``nox`` runs what a change must pass, ``nox -l`` lists the rest.

With ``nox --no-venv`` nothing is installed, and the packages of the current environment are used.
"""

import nox

nox.needs_version = ">=2025.2.9"
nox.options.default_venv_backend = "uv|virtualenv"
nox.options.sessions = ["lint", "tests"]

PROJECT = nox.project.load_toml("pyproject.toml")
# BLAS threads and test workers would fight over the same cores.
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def install(session: nox.Session, *packages: str, groups: tuple[str, ...] = ()) -> None:
    """Install packages and dependency groups, unless the environment is the caller's own."""
    if session.venv_backend != "none":
        session.install(*packages, *nox.project.dependency_groups(PROJECT, *groups))


@nox.session
def lint(session: nox.Session) -> None:
    """Formatting, lint (which keeps array libraries out of the core), and types."""
    install(session, "-e.[cli,plot]", groups=("lint",))
    session.run("ruff", "format", "--check", ".")
    session.run("ruff", "check", ".")
    session.run("mypy")


@nox.session
def tests(session: nox.Session) -> None:
    """The tests, the examples in docstrings and README, and the conformance suite."""
    install(session, "-e.[cli,plot]", groups=("test", "peers"))
    session.run("pytest", "-n", "auto", *session.posargs, env=ONE_THREAD)


@nox.session(default=False)
def minimums(session: nox.Session) -> None:
    """The NumPy tests on the oldest versions that the project says it supports."""
    oldest = [requirement.replace(">=", "==") for requirement in PROJECT["project"]["dependencies"]]
    install(session, ".[cli]", *oldest, groups=("test",))
    session.run("pytest", "tests", "-n", "auto", *session.posargs, env=ONE_THREAD)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Time per step beside torch and JAX. Run it on an idle machine."""
    install(session, "-e.[cli,plot]", groups=("peers",))
    session.run("python", "benchmarks/step_time.py", *session.posargs)
