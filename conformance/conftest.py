"""Options, the ``backend`` fixture, and the report at the end."""

from pathlib import Path
from typing import Any

import pytest

from . import cuda_on_host, report
from .backends import BACKENDS
from .libraries import Custom
from .selection import (
    keep_what_can_run,
    keep_what_was_asked_for,
    named,
    no_oracle,
    parametrize,
    why_not,
)


def pytest_addoption(parser):
    group = parser.getgroup("conformance")
    group.addoption(
        "--backend",
        action="append",
        default=[],
        metavar="ID",
        help="run this row of conformance/backends.py, and fail if it cannot run; repeatable",
    )
    group.addoption(
        "--xp",
        metavar="MODULE",
        help="run on the arrays of any module, by its import name, and on nothing else",
    )
    group.addoption(
        "--suite",
        action="store_true",
        help="run all that belongs to no row (oracles, planted bugs, ...) or needs an oracle",
    )
    group.addoption(
        "--xfails-file",
        metavar="FILE",
        help="tests that are known to fail: a part of a test's id on each line, # for comments",
    )
    group.addoption("--report-json", metavar="FILE", help="write the report as JSON")


def pytest_configure(config):
    if name := config.getoption("--xp"):
        BACKENDS[name] = Custom(name, name, pairs=True, proves="the module named")
    if unknown := [name for name in named(config) if name not in BACKENDS]:
        known = ", ".join(BACKENDS)
        raise pytest.UsageError(f"--backend: no row {', '.join(unknown)}; there are {known}")
    if config.getoption("--suite") and named(config):
        raise pytest.UsageError("--suite: expected neither --backend nor --xp")
    for name, row in BACKENDS.items():
        if name in named(config) or not named(config):
            row.prepare(named=name in named(config))
    if not hasattr(config, "workerinput"):  # with xdist, the controller collects all reports
        config.pluginmanager.register(Collector(), "conformance-collector")


def pytest_generate_tests(metafunc):
    if "backend" in metafunc.fixturenames:
        parametrize(metafunc)


def pytest_collection_modifyitems(config, items):
    keep_what_was_asked_for(config, items)
    for pattern, reason in _xfails(config):
        matching = [item for item in items if pattern in item.nodeid]
        if not matching:
            raise pytest.UsageError(f"--xfails-file: no test has {pattern!r} in its id")
        for item in matching:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))
    keep_what_can_run(config, items)


def _xfails(config):
    """Return the patterns of the file, each with the comment above it as its reason."""
    reason, found = "", []
    if path := config.getoption("--xfails-file"):
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            if line.startswith("#"):
                reason = line.lstrip("# ")
            elif line.strip():
                found.append((line.strip(), reason))
    return found


@pytest.fixture
def backend(request, record_property):
    """A row of BACKENDS, set up for the test. If it cannot run: skip, or fail if it was named."""
    row = request.param
    record_property("backend", row.id)
    dtype = request.getfixturevalue("dtype") if "dtype" in request.fixturenames else ""
    if dtype:
        record_property("dtype", dtype)
    if reason := why_not(row):
        if row.id in named(request.config):
            pytest.fail(f"named, but cannot run: {reason}")
        pytest.skip(f"not run: {reason}")
    record_property("ran_on", [row.version(), row.device()])
    if reason := no_oracle(request.node):
        pytest.skip(f"not run: {reason}")
    if dtype == "bfloat16":
        pytest.importorskip(
            "ml_dtypes", reason="not run: ml_dtypes, for bfloat16, is not installed"
        )
    with row.session():
        yield row


@pytest.fixture
def cp(backend):
    """CuPy on the emulated device, without CuPy's pool: each array is an allocation."""
    yield backend.xp
    cuda_on_host.failure()  # what a test has provoked


@pytest.fixture(autouse=True)
def oracle(request):
    """Skip a test of no row if its oracle is not installed."""
    if "backend" not in request.fixturenames and (reason := no_oracle(request.node)):
        pytest.skip(f"not run: {reason}")


@pytest.fixture
def record(record_property):
    """Call with cell, problem, array, steps, error and allowed error (in eps) of a comparison."""
    errors: list[tuple[Any, ...]] = []
    record_property("errors", errors)
    return lambda *values: errors.append(tuple(map(_plain, values)))


def _plain(value):
    """Convert NumPy's numbers to Python's, which can be sent between processes."""
    return value.item() if hasattr(value, "item") else value


@pytest.fixture
def record_error(record_property):
    """Call with a label and an error of one oracle compared with another; the worst are printed."""
    return lambda label, error, unit="eps": record_property(
        "measured", (f"{label} [{unit}]", float(error))
    )


class Collector:
    """Collect what every test recorded, print the matrix and write the report."""

    def __init__(self):
        self.tests, self.errors, self.ran_on, self.reasons = [], [], {}, {}
        self.measured, self.planted = {}, []

    def pytest_runtest_logreport(self, report):
        if report.when != "call" and (report.when != "setup" or report.outcome == "passed"):
            return
        if not report.nodeid.startswith("conformance/"):
            return
        for label, error in [v for name, v in report.user_properties if name == "measured"]:
            self.measured[label] = max(error, self.measured.get(label, 0.0))
        self.add(dict(report.user_properties), report)

    def add(self, found, outcome):
        backend, dtype = found.get("backend", ""), found.get("dtype", "")
        state, reason = outcome.outcome, ""
        if state == "skipped":
            reason = getattr(outcome, "wasxfail", "") or outcome.longrepr[2]
            reason = reason.removeprefix("Skipped: ")
            state = "xfailed" if hasattr(outcome, "wasxfail") else state
        if "ran_on" in found:
            self.ran_on[backend] = found["ran_on"]
        elif reason:
            self.reasons[backend] = reason.removeprefix("not run: ")
        elif state == "failed":
            self.reasons[backend] = "named, but cannot run"
        self.tests.append(report.Test(backend, dtype, outcome.nodeid, state, reason))
        if "bug" in found and state != "skipped":
            bug, test = found["bug"]
            self.planted.append(report.Planted(bug, test, state == "passed"))
        if state != "xfailed":
            self.errors += [report.Error(backend, dtype, *e) for e in found.get("errors", [])]

    def rows(self, names):
        """Yield all rows, or those of the libraries of the named ones."""
        libraries = {BACKENDS[name].library for name in names}
        for row in BACKENDS.values():
            if names and row.library not in libraries:
                continue
            version, device = self.ran_on.get(row.id, ("", ""))
            ran = row.id in self.ran_on
            reason = "" if ran else self.reasons.get(row.id) or why_not(row) or report.NOT_ASKED
            status = "ran" if ran else "not run"
            kind = "shapes only" if row.shapes_only else "values"
            values = (row.id, row.library, version, device, kind, status, reason)
            yield report.Row(*values, row.dtypes)

    def pytest_terminal_summary(self, terminalreporter, config):
        for label, error in sorted(self.measured.items()):
            terminalreporter.write_line(f"worst of {label:45}{error:6.2f}")
        path = config.getoption("--report-json")
        if not path and not any(test.backend for test in self.tests):
            return  # only tests of the suite itself: there is no matrix
        rows = list(self.rows(named(config)))
        # Finding all packages takes longer than a test, and only the file lists them.
        given: dict[str, Any] | None = None if path else {"packages": {}}
        document = report.build(rows, self.tests, self.errors, self.planted, given)
        terminalreporter.section("conformance")
        report.print_matrix(document)
        if path:
            report.write_json(document, path)

    def pytest_sessionfinish(self, session):
        idle = [name for name in named(session.config) if name not in self.ran_on]
        if idle and not session.config.getoption("collectonly") and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
