"""The page: one self-contained HTML file, readable offline."""

from html import escape
from pathlib import Path
from string import Template
from typing import Any

from .document import ratio
from .plots import figures
from .verdict import (
    blank,
    caveats,
    cell,
    count,
    dtypes,
    judge,
    number,
    passed,
    survivors,
    table,
    tests_run,
    verdict,
)

__all__ = ["html", "write_html"]

TEMPLATE = Path(__file__).with_name("page.html")
SIGNS = {
    "good": "✓",
    "near": "△",
    "failed": "✗",
    "shapes only": "◇",
    "not run": "–",
    "nothing": "?",
}
SAYS = {
    "good": "at most half of what is allowed",
    "near": "allowed, but above half of it",
    "failed": "a test failed, or an error is above what is allowed",
    "shapes only": "dtypes and shapes checked, no numbers",
    "nothing": "nothing compared",
    "not run": "not run",
}


def write_html(document: dict[str, Any], path: str | Path) -> None:
    """Write the page."""
    Path(path).write_text(html(document), encoding="utf-8")


def html(document: dict[str, Any]) -> str:
    """Return the page."""
    good = passed(document)
    dates = [session["date"] for session in document["sessions"]]
    return Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        outcome="passed" if good else "failed",
        sign="✓" if good else "✗",
        word="Passed" if good else "Failed",
        verdict=escape(verdict(document)),
        date=escape(_minute(max(dates, default=""))),
        tiles="\n".join(_tiles(document)),
        matrix=_matrix(document),
        legend="\n".join(
            f'<li><span class="key {_name(word)}">{SIGNS[word]}</span> {says}</li>'
            for word, says in SAYS.items()
        ),
        figures=figures(document) if document["errors"] else "<p>No numbers were compared.</p>",
        worst=_worst(document),
        caveats="".join(f"<p>{escape(text)}</p>" for text in caveats(document)),
        failures=_failures(document),
        notes=_notes(document),
        sessions="\n".join(_session(document, session) for session in document["sessions"]),
    )


def _tiles(document):
    rows, results = document["rows"], document["results"]
    ran = sum(row["status"] == "ran" for row in rows)
    yield _tile(f"{ran}<small> of {len(rows)}</small>", "backends ran")
    worst = max((r["worst"] for r in results if r["worst"]), key=ratio, default=None)
    if worst:
        allowed = f"<small> of {worst['allowed']:g} eps</small>"
        yield _tile(number(worst["eps"]) + allowed, "worst error")
    wrong = sum(result["failed"] + result["error"] for result in results)
    failed = f"{wrong:,} failed" if wrong else "none failed"
    yield _tile(f"{sum(map(tests_run, results)):,}", f"tests, {failed}")
    yield _tile(f"{sum(result['compared'] for result in results):,}", "arrays compared")
    if planted := len(document["planted"]):
        caught = planted - len(survivors(document))
        yield _tile(f"{caught}<small> of {planted}</small>", "planted bugs caught")


def _tile(value, label):
    return f'<div class="tile"><strong>{value}</strong><span>{label}</span></div>'


def _matrix(document):
    columns = dtypes(document)
    # The roles are there because the page lays the table out as blocks in a narrow window.
    head = "".join(
        f'<th role="columnheader" scope="col">{escape(name)}</th>'
        for name in ("backend", *(dtype or "other checks" for dtype in columns))
    )
    lines = [
        f'<thead role="rowgroup"><tr role="row">{head}</tr></thead>',
        '<tbody role="rowgroup">',
    ]
    for row, results in table(document):
        about = " ".join(escape(row[n]) for n in ("version", "device") if row[n])
        name = f"<b>{escape(row['backend'])}</b><span>{about}</span>"
        if row["status"] == "not run" and not any(map(tests_run, results.values())):
            cells = (
                f'<td role="cell" class="not-run" colspan="{max(len(columns), 1)}"><b>– not run</b>'
                f"<span>{escape(row['reason'])}</span></td>"
            )
        else:
            cells = "".join(_cell(row, results.get(dtype), dtype) for dtype in columns)
        lines.append(f'<tr role="row"><th role="rowheader" scope="row">{name}</th>{cells}</tr>')
    return "\n".join([*lines, "</tbody>"])


def _cell(row, result, dtype):
    if blank(row, result, dtype):
        return '<td role="cell"></td>'
    how, column = judge(row, result), escape(dtype or "other checks")
    first, second = cell(row, result)
    meter = where = ""
    if result and result["worst"] and row["status"] == "ran" and row["kind"] == "values":
        worst = result["worst"]
        part = min(ratio(worst), 1.0)
        meter = f'<i class="meter"><i style="width:{100 * part:.0f}%"></i></i>'
        first += f"<small> of {worst['allowed']:g}</small>"
        where = f' title="{escape(_told(worst))}"'
    if row["status"] == "not run" and row["reason"]:
        second = "; ".join(part for part in (escape(row["reason"]), second) if part)
    return (
        f'<td role="cell" class="{_name(how)}" data-dtype="{column}"{where}>'
        f"<b>{SIGNS[how]} {first}</b>{meter}<span>{second}</span></td>"
    )


def _told(worst):
    return f"{worst['array']} of {worst['problem']}"


def _worst(document):
    """List the worst array of every cell of the matrix, with its problem."""
    out = []
    for row, results in table(document):
        for dtype, result in results.items():
            if worst := result["worst"]:
                eps = f"{number(worst['eps'])} of {worst['allowed']:g} eps"
                out.append(
                    f"<li><b>{escape(row['backend'])} {escape(dtype)}</b>: {eps}, "
                    f"<code>{escape(_told(worst))}</code></li>"
                )
    return "\n".join(out)


def _failures(document):
    failed = [note for note in document["notes"] if note["outcome"] in ("failed", "error")]
    if not failed:
        return ""
    groups = "\n".join(_groups(failed, opened=True))
    if alive := survivors(document):
        groups = f"<p>Planted bugs that no test noticed: {escape(', '.join(alive))}.</p>\n{groups}"
    return f'<section id="failures"><h2>What failed</h2>\n{groups}\n</section>'


def _notes(document):
    notes = [note for note in document["notes"] if note["outcome"] in ("skipped", "xfailed")]
    if not notes:
        return "<p>No test was skipped.</p>"
    by_backend: dict[str, list[Any]] = {}
    for note in notes:
        by_backend.setdefault(note["backend"], []).append(note)
    out = []
    for backend in ["", *(row["backend"] for row in document["rows"])]:
        if same := by_backend.get(backend):
            out += [f"<h3>{escape(backend) or 'the suite itself'}</h3>", *_groups(same)]
    return "\n".join(out)


def _groups(notes, opened=False):
    """List tests under their reason, those of all dtypes together."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for note in notes:
        key = (note["backend"], note["outcome"], note["reason"])
        found.setdefault(key, []).extend(note["tests"])
    return [_group(key, list(dict.fromkeys(tests)), opened) for key, tests in found.items()]


def _group(key, tests, opened):
    backend, outcome, reason = key
    words = {"xfailed": "failed as expected", "error": "broke off"}
    reason = reason or ("no reason given" if outcome != "failed" else "")
    what = f"{count(len(tests), 'test')} {words.get(outcome, outcome)}"
    who = f"<b>{escape(backend or 'the suite itself')}</b> " if opened else ""
    why = f"<q>{escape(reason)}</q>" if reason else ""
    functions: dict[str, list[str]] = {}
    for nodeid in tests:
        function, _, case = nodeid.partition("[")
        functions.setdefault(function, []).append(case.removesuffix("]"))
    items = "".join(
        f"<li><code>{escape(function)}</code> <span>{escape(', '.join(filter(None, cases)))}</span>"
        "</li>"
        for function, cases in functions.items()
    )
    is_open = " open" if opened else ""
    return f"<details{is_open}><summary>{who}{what}{why}</summary><ul>{items}</ul></details>"


def _session(document, session):
    ran = [
        row["backend"]
        for row in document["rows"]
        for run in row["runs"]
        if run["session"] == session["id"] and run["status"] == "ran"
    ]
    packages = ", ".join(f"{name} {v}" for name, v in session["packages"].items())
    fields = {
        "ran": ", ".join(ran) or "nothing",
        "date": session["date"],
        "commit": session["commit"] or "unknown",
        "platform": session["platform"],
        "Python": session["python"],
        "packages": packages or "unknown",
    }
    lines = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in fields.items())
    return f"<dl>{lines}</dl>"


def _minute(date):
    return date[:16].replace("T", " ") + " UTC" if date else "unknown"


def _name(word):
    return word.replace(" ", "-")
