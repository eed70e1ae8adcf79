"""Which backends run, and a line for each of them at the end."""

from collections import defaultdict

import pytest

from . import torch_oracle
from .backends import BACKENDS, required, why_not


def pytest_configure(config):
    try:
        required()
    except ValueError as error:
        raise pytest.UsageError(str(error)) from error


@pytest.fixture
def backend(request, record_property):
    """Parametrize indirectly by the id of a row of BACKENDS."""
    record_property("backend", request.param)
    reason = why_not(request.param)
    if reason is not None and request.param in required():
        pytest.fail(f"required, but not run: {reason}")
    if reason is not None:
        pytest.skip(f"not run: {reason}")
    return BACKENDS[request.param]


@pytest.fixture
def reference():
    """The oracle, as a function of problem and dtype."""
    reason = why_not("torch")
    if reason is not None and required():  # else a required backend would go unchecked
        pytest.fail(f"no oracle: {reason}")
    if reason is not None:
        pytest.skip(f"not run: no oracle: {reason}")
    return torch_oracle.reference


@pytest.fixture
def record_error(record_property):
    """Call with a label and a measured error; the worst per label is printed at the end."""
    return lambda label, error, unit="eps": record_property("error", (f"{label} [{unit}]", error))


def pytest_terminal_summary(terminalreporter):
    ran, idle, errors = defaultdict(int), {}, defaultdict(float)
    for outcome in ("passed", "failed", "skipped", "error"):
        for report in terminalreporter.stats.get(outcome, []):
            properties = getattr(report, "user_properties", [])
            for backend in [value for name, value in properties if name == "backend"]:
                if outcome == "skipped":
                    idle[backend] = report.longrepr[2].removeprefix("Skipped: ")
                else:
                    ran[backend] += 1
            for label, error in [value for name, value in properties if name == "error"]:
                errors[label] = max(errors[label], error)
    if not ran and not idle:
        return
    terminalreporter.section("backends")
    for backend in BACKENDS:
        if backend in ran:
            terminalreporter.write_line(f"{backend:17}ran {ran[backend]} tests")
        elif backend in idle:
            terminalreporter.write_line(f"{backend:17}{idle[backend]}")
    if errors:
        terminalreporter.section("worst measured")
    for label, error in sorted(errors.items()):
        terminalreporter.write_line(f"{label:45}{error:6.2f}")
