"""The document: built from the records of a session, or merged from other documents.

Both ways end in the same few functions, so a merged document is like any other and can be
merged again, in any grouping. The fields are described in schema.md.
"""

import copy
import json
import math
import uuid
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .environment import environment as here
from .records import OUTCOMES, Error, Planted, Row, Test

__all__ = ["NOT_ASKED", "SCHEMA", "build", "merge", "ratio", "read_json", "write_json"]

SCHEMA = "portable-rnn-conformance/1"
LOWEST, HIGHEST = -8, 40  # bins of the histograms: 2^-8 eps and all below, 2^40 and all above
RUN = OUTCOMES[:-1]
NOT_ASKED, ABSENT = "not asked for in this run", " is not installed"


def build(
    rows: Iterable[Row],
    tests: Iterable[Test],
    errors: Iterable[Error],
    planted: Iterable[Planted] = (),
    environment: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the document of one session.

    Parameters
    ----------
    rows, tests, errors, planted
        Every backend that exists, every outcome, every comparison, and every planted bug that
        was tried. Comparisons of backends that did not run, or of kind "shapes only", are
        dropped: they mean nothing.
    environment : dict, optional
        Replaces what is found out here: "date", "commit", "platform", "python", "packages".

    Raises
    ------
    ValueError
        If a test or an error names a backend that has no row, or an unknown outcome.
    """
    rows, tests, errors = list(rows), list(tests), list(errors)
    _consistent(rows, tests, errors)
    session = {"id": uuid.uuid4().hex, **here([row.library for row in rows], environment)}
    entries = [_row(row, tests, session["id"]) for row in rows]
    numeric = {r["backend"] for r in entries if (r["status"], r["kind"]) == ("ran", "values")}
    errors = [error for error in errors if error.backend in numeric]
    return _document(
        [session],
        entries,
        [*map(_result_of_test, tests), *map(_result_of_error, errors)],
        map(_distribution, errors),
        [_note(test) for test in tests if test.outcome != "passed"],
        map(asdict, planted),
    )


def merge(documents: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Return one document of several sessions.

    A backend that ran in one session and not in another ran, and its skips in the session
    where it did not run are dropped. Counts add up, and the worst error is kept; a planted bug is
    caught if it was in every session that tried it.

    Raises
    ------
    ValueError
        If a document has another schema, a session is given twice, or a backend compares
        values in one document and only shapes in another.
    """
    documents = list(documents)
    for document in documents:
        if document.get("schema") != SCHEMA:
            raise ValueError(f"expected a document of {SCHEMA}, got {document.get('schema')!r}")
    sessions = [session for document in documents for session in document["sessions"]]
    for name, times in Counter(session["id"] for session in sessions).items():
        if times > 1:
            raise ValueError(f"session {name} is given {times} times: was it merged before?")
    rows = _merge_rows(documents)
    results, notes = [], []
    for document in documents:
        idle = {row["backend"] for row in document["rows"] if row["status"] == "not run"}
        ran_elsewhere = {row["backend"] for row in rows if row["status"] == "ran"} & idle
        results += document["results"]
        notes += [
            note
            for note in document["notes"]
            if not (note["outcome"] == "skipped" and note["backend"] in ran_elsewhere)
        ]
    errors = (error for document in documents for error in document["errors"])
    planted = (bug for document in documents for bug in document["planted"])
    return _document(sessions, rows, results, errors, notes, planted)


def write_json(document: dict[str, Any], path: str | Path) -> None:
    """Write the document, one entry to a line."""
    parts = []
    for name, value in document.items():
        if isinstance(value, list):
            lines = ",\n".join(f"  {_json(entry)}" for entry in value)
            parts.append(f"{_json(name)}: [\n{lines}\n ]" if lines else f"{_json(name)}: []")
        else:
            parts.append(f"{_json(name)}: {_json(value)}")
    text = "{\n " + ",\n ".join(parts) + "\n}\n"
    Path(path).write_text(text, encoding="utf-8")


def read_json(path: str | Path) -> dict[str, Any]:
    """Read a document back."""
    return json.loads(Path(path).read_text(encoding="utf-8"))


def ratio(worst: dict[str, Any]) -> float:
    """Return how much of what is allowed an error takes: above 1 is too much."""
    eps, allowed = float(worst["eps"]), float(worst["allowed"])
    if allowed == 0.0:
        return 0.0 if eps == 0.0 else math.inf
    return eps / allowed


def _document(sessions, rows, results, errors, notes, planted):
    notes = _add_up(notes, ("backend", "dtype", "outcome", "reason"), _join_notes)
    for note in notes:
        note["tests"] = list(dict.fromkeys(note["tests"]))
    results = _add_up(results, ("backend", "dtype"), _join_results)
    for result in results:
        # Counted where they are listed: a test skipped in three sessions is one skip.
        key = (result["backend"], result["dtype"], "skipped")
        same = [n for n in notes if (n["backend"], n["dtype"], n["outcome"]) == key]
        result["skipped"] = len({name for note in same for name in note["tests"]})
    return {
        "schema": SCHEMA,
        "sessions": sessions,
        "rows": rows,
        "results": results,
        "errors": _add_up(errors, ("backend", "dtype", "cell", "array", "steps"), _join_errors),
        "notes": notes,
        "planted": _add_up(planted, ("bug",), _join_planted),
    }


def _add_up(entries, names, join):
    """Return one entry per value of ``names``, in order of first appearance.

    There are hundreds of thousands, so ``join(total, entry)`` adds to a copy of the first.
    """
    found: dict[tuple[Any, ...], Any] = {}
    for entry in entries:
        key = tuple(entry[name] for name in names)
        if key in found:
            join(found[key], entry)
        else:
            found[key] = copy.deepcopy(entry)
    return list(found.values())


def _join_results(total, entry):
    for name in (*RUN, "compared"):
        total[name] += entry[name]
    worst = entry["worst"]
    if worst and (total["worst"] is None or _badness(worst) > _badness(total["worst"])):
        total["worst"] = dict(worst)


def _join_errors(total, entry):
    total["count"] += entry["count"]
    for name, count in entry["bins"].items():
        total["bins"][name] = total["bins"].get(name, 0) + count
    if _badness(entry) > _badness(total):
        total |= {name: entry[name] for name in ("eps", "allowed")}


def _join_planted(total, entry):
    total["caught"] = total["caught"] and entry["caught"]


def _join_notes(total, entry):
    total["tests"] += entry["tests"]


def _badness(entry):
    return ratio(entry), float(entry["eps"])


def _row(row, tests, session):
    """Return a row; without any test that ran it is "not run", whatever its status."""
    row = {**asdict(row), "dtypes": list(row.dtypes)}
    own = [test for test in tests if test.backend == row["backend"]]
    if row["status"] == "ran" and not any(test.outcome in RUN for test in own):
        reasons = dict.fromkeys(test.reason for test in own if test.reason)
        why = f"every test of it was skipped: {'; '.join(reasons)}" if own else "no test of it ran"
        row |= {"status": "not run", "reason": why}
    run = {name: row[name] for name in ("version", "device", "status", "reason")}
    return {**row, "runs": [{"session": session, **run}]}


def _merge_rows(documents):
    found: dict[str, list[dict[str, Any]]] = {}
    for row in (row for document in documents for row in document["rows"]):
        found.setdefault(row["backend"], []).append(row)
    rows = []
    for backend, same in found.items():
        if len({row["kind"] for row in same}) > 1:
            raise ValueError(f"{backend} compares values in one document, only shapes in another")
        ran = [row for row in same if row["status"] == "ran"]
        entry = {
            # From the sessions that ran it, if any did.
            name: ", ".join(dict.fromkeys(row[name] for row in ran or same if row[name]))
            for name in ("library", "version", "device")
        }
        reasons = dict.fromkeys(row["reason"] for row in same if row["reason"])
        # Irrelevant if another environment has the library.
        known = [reason for reason in reasons if reason != NOT_ASKED and ABSENT not in reason]
        absent = [reason for reason in reasons if ABSENT in reason]
        entry |= {"status": "ran" if ran else "not run"}
        entry |= {"reason": "" if ran else "; ".join(known or absent or reasons)}
        rows.append({**same[0], **entry, "runs": [run for row in same for run in row["runs"]]})
    return rows


def _result_of_test(test):
    counts = {name: int(test.outcome == name) for name in RUN}
    counts |= {"skipped": 0, "compared": 0}
    return {"backend": test.backend, "dtype": test.dtype, **counts, "worst": None}


def _result_of_error(error):
    counts = {**dict.fromkeys(RUN, 0), "skipped": 0, "compared": 1}
    worst = {name: getattr(error, name) for name in ("cell", "problem", "array", "steps")}
    worst |= {"eps": _finite(error.eps), "allowed": error.allowed}
    return {"backend": error.backend, "dtype": error.dtype, **counts, "worst": worst}


def _distribution(error):
    names = ("backend", "dtype", "cell", "array", "steps", "allowed")
    bins = {_bin(error.eps): 1}
    entry = {name: getattr(error, name) for name in names}
    return {**entry, "eps": _finite(error.eps), "count": 1, "bins": bins}


def _note(test):
    entry = {name: getattr(test, name) for name in ("backend", "dtype", "outcome", "reason")}
    return {**entry, "tests": [test.nodeid]}


def _finite(eps):
    """Return a number, or "inf", which JSON has no number for and ``float`` understands."""
    return float(eps) if math.isfinite(eps) else "inf"


def _bin(eps):
    if not math.isfinite(eps):
        return "inf"
    if eps == 0.0:
        return "zero"
    return str(min(max(math.frexp(eps)[1] - 1, LOWEST), HIGHEST))  # floor(log2(eps)), exactly


def _consistent(rows, tests, errors):
    known = {row.backend for row in rows}
    for record in (*tests, *errors):
        if record.backend not in known and (record.backend or isinstance(record, Error)):
            raise ValueError(f"no row of backend {record.backend!r}, named by {record}")
    for test in tests:
        if test.outcome not in OUTCOMES:
            raise ValueError(f"outcome {test.outcome!r} is none of {', '.join(OUTCOMES)}")
    for row in rows:
        if row.kind not in ("values", "shapes only") or row.status not in (
            "ran",
            "not run",
        ):
            raise ValueError(f"kind or status unknown: {row}")


def _json(value):
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
