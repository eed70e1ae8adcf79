"""The records of a run of the suite."""

from dataclasses import dataclass

__all__ = ["OUTCOMES", "Error", "Planted", "Row", "Test"]

OUTCOMES = ("passed", "failed", "error", "xfailed", "skipped")


@dataclass(frozen=True)
class Row:
    """One backend, whether it ran or not."""

    backend: str
    library: str
    version: str
    device: str
    kind: str  # "values" | "shapes only"
    status: str  # "ran" | "not run"
    reason: str  # why it was not run, else ""
    dtypes: tuple[str, ...] = ()  # in which it is meant to be tested


@dataclass(frozen=True)
class Test:
    """The outcome of one item of pytest; an empty backend is the suite itself."""

    __test__ = False  # not one of pytest's own

    backend: str
    dtype: str  # "" for a test of no single dtype
    nodeid: str
    outcome: str  # one of OUTCOMES
    reason: str  # of a skip or an expected failure, else ""


@dataclass(frozen=True)
class Error:
    """One array compared with its reference."""

    backend: str
    dtype: str
    cell: str
    problem: str
    array: str
    steps: int
    eps: float
    allowed: float


@dataclass(frozen=True)
class Planted:
    """A bug planted on purpose, and whether the test that should notice it did."""

    bug: str
    test: str
    caught: bool
