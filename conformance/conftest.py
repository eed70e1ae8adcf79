"""Options, the ``backend`` fixture, and the report at the end."""

from pathlib import Path

import pytest

from . import report
from .backends import BACKENDS, Custom, Unavailable

MISSING: dict[str, str | None] = {}  # what `why_not` has found out


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
        "--xfails-file",
        metavar="FILE",
        help="tests that are known to fail: a part of a test's id on each line, # for comments",
    )
    group.addoption("--report-json", metavar="FILE", help="write the report as JSON")


def pytest_configure(config):
    if name := config.getoption("--xp"):
        BACKENDS[name] = Custom(name, name, proves="the module named")
    if unknown := [name for name in named(config) if name not in BACKENDS]:
        known = ", ".join(BACKENDS)
        raise pytest.UsageError(f"--backend: no row {', '.join(unknown)}; there are {known}")
    if not hasattr(config, "workerinput"):  # with xdist, the workers' reports come together here
        config.pluginmanager.register(Collector(), "conformance-collector")


def named(config):
    """Return the ids that were asked for by name: one that cannot run is a failure."""
    chosen = [part for value in config.getoption("--backend") for part in value.split(",")]
    return chosen + ([config.getoption("--xp")] if config.getoption("--xp") else [])


def why_not(row):
    """Return the reason why a row cannot run here, or None."""
    if row.id not in MISSING:
        try:
            row.probe()
            MISSING[row.id] = None
        except Unavailable as reason:
            MISSING[row.id] = str(reason)
    return MISSING[row.id]


def pytest_generate_tests(metafunc):
    """Run a test that asks for a backend on all rows, and one that asks for a dtype in each."""
    if "backend" not in metafunc.fixturenames:
        return
    rows = [BACKENDS[name] for name in named(metafunc.config)] or list(BACKENDS.values())
    choose = getattr(metafunc.module, "cases", None)
    if choose is not None and "problem" in metafunc.fixturenames:
        cases = [
            (row, dtype, p) for row in rows for dtype in row.dtypes for p in choose(row, dtype)
        ]
        ids = [f"{row.id}-{dtype}-{problem.id}" for row, dtype, problem in cases]
        metafunc.parametrize(("backend", "dtype", "problem"), cases, ids=ids, indirect=["backend"])
    elif "dtype" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("dtypes")
        wanted = marker.args if marker else ("float64", "float32", "float16")
        cases = [(row, dtype) for row in rows for dtype in row.dtypes if dtype in wanted]
        ids = [f"{row.id}-{dtype}" for row, dtype in cases]
        metafunc.parametrize(("backend", "dtype"), cases, ids=ids, indirect=["backend"])
    else:
        metafunc.parametrize("backend", rows, ids=[row.id for row in rows], indirect=True)


def pytest_collection_modifyitems(config, items):
    if named(config):  # what does not run on a backend has its place in the runs of all
        chosen = [item for item in items if "backend" in item.fixturenames]
        config.hook.pytest_deselected(items=[item for item in items if item not in set(chosen)])
        items[:] = chosen
    for pattern, reason in _xfails(config):
        matching = [item for item in items if pattern in item.nodeid]
        if not matching:
            raise pytest.UsageError(f"--xfails-file: no test has {pattern!r} in its id")
        for item in matching:
            item.add_marker(pytest.mark.xfail(reason=reason, strict=True))


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
    """A row of BACKENDS, in session for the test; skipped, or failed if named, if it cannot run."""
    row = request.param
    record_property("backend", row.id)
    if "dtype" in request.fixturenames:
        record_property("dtype", request.getfixturevalue("dtype"))
    if reason := why_not(row):
        if row.id in named(request.config):
            pytest.fail(f"named, but cannot run: {reason}")
        pytest.skip(f"not run: {reason}")
    record_property("ran_on", [row.version(), row.device()])
    with row.session():
        yield row


@pytest.fixture
def record(record_property):
    """Call with cell, problem, array, steps, error and allowed error (in eps) of a comparison."""
    errors = []
    record_property("errors", errors)
    return lambda *values: errors.append(tuple(map(_plain, values)))


def _plain(value):
    """Turn NumPy's numbers into Python's, which pass between processes."""
    return value.item() if hasattr(value, "item") else value


@pytest.fixture
def record_error(record_property):
    """Call with a label and an error of one oracle beside another; the worst are printed."""
    return lambda label, error, unit="eps": record_property(
        "measured", (f"{label} [{unit}]", float(error))
    )


class Collector:
    """Gathers what every test recorded, prints the matrix and writes the report."""

    def __init__(self):
        self.tests, self.errors, self.ran_on, self.reasons = [], [], {}, {}
        self.measured = {}

    def pytest_runtest_logreport(self, report):
        if report.when != "call" and (report.when != "setup" or report.outcome == "passed"):
            return
        for label, error in [v for name, v in report.user_properties if name == "measured"]:
            self.measured[label] = max(error, self.measured.get(label, 0.0))
        found = dict(report.user_properties)
        if "backend" not in found:
            return
        self.add(found, report)

    def add(self, found, outcome):
        backend, dtype = found["backend"], found.get("dtype", "")
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
        if state != "xfailed":
            self.errors += [report.Error(backend, dtype, *e) for e in found.get("errors", [])]

    def rows(self, names):
        for row in (BACKENDS[name] for name in names or BACKENDS):
            kind = "shapes only" if row.shapes_only else "values"
            version, device = self.ran_on.get(row.id, ("", ""))
            ran = row.id in self.ran_on
            reason = "" if ran else self.reasons.get(row.id, "not asked for in this run")
            status = "ran" if ran else "not run"
            yield report.Row(row.id, row.library, version, device, kind, status, reason)

    def pytest_terminal_summary(self, terminalreporter, config):
        for label, error in sorted(self.measured.items()):
            terminalreporter.write_line(f"worst of {label:45}{error:6.2f}")
        if not self.tests:
            return
        document = report.build(list(self.rows(named(config))), self.tests, self.errors)
        terminalreporter.section("conformance")
        report.print_matrix(document)
        if path := config.getoption("--report-json"):
            report.write_json(document, path)

    def pytest_sessionfinish(self, session):
        idle = [name for name in named(session.config) if name not in self.ran_on]
        if idle and not session.config.getoption("collectonly") and session.exitstatus == 0:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
