"""A report to keep in the repository: what was measured, where and with what, in Markdown."""

from pathlib import Path
from typing import Any

from .terminal import plain_cell
from .verdict import caveats, dtypes, passed, table, verdict

__all__ = ["markdown", "write_markdown"]


def write_markdown(document: dict[str, Any], path: str | Path) -> None:
    """Write the record."""
    Path(path).write_text(markdown(document), encoding="utf-8")


def markdown(document: dict[str, Any]) -> str:
    """Return the verdict, the matrix, what did not run, and the sessions."""
    sessions = document["sessions"]
    day = max((session["date"][:10] for session in sessions), default="")
    columns = dtypes(document)
    lines = [
        f"# Conformance, {day}",
        "",
        f"{'Passed' if passed(document) else 'FAILED'}: {verdict(document)}",
        *(f"\n{caveat}" for caveat in caveats(document)),
        "",
        "Errors are the worst of any array, in eps of the dtype, and what is allowed.",
        "",
        _row("backend", *(dtype or "other checks" for dtype in columns), "version and device"),
        _row(*["---"] * (len(columns) + 2)),
    ]
    for row, results in table(document):
        cells = [plain_cell(row, results.get(dtype), dtype) for dtype in columns]
        about = " ".join(row[name] for name in ("version", "device") if row[name])
        lines.append(_row(row["backend"], *cells, row["reason"] or about))
    lines += ["", "## Where it ran", ""]
    for name in ("commit", "platform", "python"):
        found = dict.fromkeys(session[name] or "unknown" for session in sessions)
        lines.append(f"- {name}: {', '.join(found)}")
    packages = {f"{n} {v}" for session in sessions for n, v in session["packages"].items()}
    lines.append(f"- packages: {', '.join(sorted(packages))}")
    return "\n".join([*lines, ""])


def _row(*cells):
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
