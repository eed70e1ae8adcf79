"""Which tests run on which rows, and which of them can run here at all."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from .backend import Unavailable
from .backends import BACKENDS

__all__ = [
    "full_precision",
    "keep_what_can_run",
    "keep_what_was_asked_for",
    "named",
    "parametrize",
    "why_not",
]

TESTS = Path(__file__).parent.parent / "tests"
MISSING: dict[str, str | None] = {}  # results of `why_not`


def named(config):
    """Return the ids of the named rows: one that cannot run is a failure."""
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


def no_oracle(item):
    """Return the reason why a test has nothing to compare with here, or None."""
    names = [name for marker in item.iter_markers("oracle") for name in marker.args]
    lacking = [name for name in names if find_spec(name) is None]
    return f"the oracle, {lacking[0]}, is not installed" if lacking else None


def full_precision(row):
    """Return float64 and float32, or one of them where every operation or shape takes long.

    Test modules use this as their ``dtypes``; half precision is left to the gradients.
    """
    found = [dtype for dtype in row.dtypes if dtype in ("float64", "float32")]
    return found[:1] if row.slow else found


def parametrize(metafunc):
    """Run a test with a ``backend`` on all rows, and one with a ``dtype`` in each of them."""
    marker = metafunc.definition.get_closest_marker("rows")
    rows = [BACKENDS[name] for name in named(metafunc.config)] or list(BACKENDS.values())
    # A row without arrays has tests of its own.
    rows = [row for row in rows if (row.id in marker.args if marker else row.dtypes)]
    choose = getattr(metafunc.module, "cases", None)
    names: tuple[str, ...]
    cases: list[tuple[Any, ...]]
    if choose is not None and "problem" in metafunc.fixturenames:
        names = "backend", "dtype", "problem"
        cases = [
            (row, dtype, p) for row in rows for dtype in row.dtypes for p in choose(row, dtype)
        ]
    elif "dtype" in metafunc.fixturenames:
        names = "backend", "dtype"
        dtypes = getattr(metafunc.module, "dtypes", lambda row: row.dtypes)
        cases = [(row, dtype) for row in rows for dtype in dtypes(row)]
    else:
        names, cases = ("backend",), [(row,) for row in rows]
    if not named(metafunc.config) and not metafunc.config.getoption("--suite"):
        cases = [case for case in cases if not _left(metafunc.module, *case)]
    params = [pytest.param(*case, id="-".join(map(_id, case))) for case in cases]
    no_rows = [pytest.param(*[None] * len(names), id="no_rows", marks=pytest.mark.no_rows)]
    metafunc.parametrize(names, params or no_rows, indirect=["backend"])


def _left(module, row, dtype=None, *problem):
    """Return whether a case is left to the session that names its row.

    A row may list the modules it runs on every change. Variants then run a single dtype, since the
    dtype makes no difference to them; a module's function `when_named` decides what else is left.
    """
    if row.every_change and module.__name__.rpartition(".")[2] not in row.every_change:
        return True
    if dtype is None:
        return False
    if row.variant and "float32" in row.dtypes and dtype != "float32":
        return True
    choose = getattr(module, "when_named", None)
    return choose is not None and choose(row, dtype, *problem)


def _id(value):
    return value if isinstance(value, str) else value.id


def keep_what_was_asked_for(config, items):
    """Deselect what does not run on the named rows, or is not of the suite itself.

    The tests of the library, when collected together with the suite, have no rows and are kept.
    """
    every = items
    items = [item for item in every if not item.path.is_relative_to(TESTS)]
    wanted = [item for item in items if not item.get_closest_marker("no_rows")]
    if config.getoption("--suite"):  # and what needs an oracle that other environments lack
        wanted = [
            item
            for item in wanted
            if "backend" not in item.fixturenames or item.get_closest_marker("oracle")
        ]
    elif named(config):
        wanted = [item for item in wanted if "backend" in item.fixturenames]
    else:
        wanted = [item for item in wanted if not _waits_for_its_name(item)]
    _keep(config, every, [*wanted, *(item for item in every if item.path.is_relative_to(TESTS))])


def _waits_for_its_name(item):
    """Return whether a test marked `when_named` is left to the session that names its row.

    Those of slow rows are. A test of no row that has the mark is left to `--suite`.
    """
    row = item.callspec.params.get("backend") if hasattr(item, "callspec") else None
    return (row is None or row.slow) and item.get_closest_marker("when_named") is not None


def keep_what_can_run(config, items):
    """Deselect all but one test of each function on each row that cannot run here.

    That one is skipped with the reason, on behalf of all.
    """
    seen, wanted = set(), []
    for item in items:
        row = item.callspec.params.get("backend") if hasattr(item, "callspec") else None
        key = (row.id, item.parent.nodeid, item.originalname) if row else None
        idle = key is not None and bool(no_oracle(item) or why_not(row))
        if not (idle and key in seen):
            wanted.append(item)
        if idle:
            seen.add(key)
    _keep(config, items, wanted)


def _keep(config, items, wanted):
    kept = set(wanted)
    if dropped := [item for item in items if item not in kept]:
        config.hook.pytest_deselected(items=dropped)
        items[:] = [item for item in items if item in kept]
