"""The matrix in a terminal: with rich if installed, otherwise as plain text."""

from typing import Any

from .document import NOT_ASKED, ratio
from .verdict import blank, caveats, cell, dtypes, judge, passed, table, tests_run, verdict

__all__ = ["plain_cell", "plain_matrix", "print_matrix"]

STYLES = {
    "good": "green",
    "near": "yellow",
    "failed": "bold red",
    "shapes only": "cyan",
    "not run": "dim",
    "nothing": "yellow",
}


def print_matrix(document: dict[str, Any], console=None) -> None:
    """Print backend by dtype: the worst error, coloured, the tests, and why others did not run.

    Parameters
    ----------
    document : dict[str, Any]
    console : rich.console.Console, optional
        By default one of standard output. Without rich, anything with a ``print`` method.
    """
    try:
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        (console.print if console is not None else print)(plain_matrix(document))
        return
    console = console or Console()
    columns = dtypes(document)
    grid = Table(title="worst error and tests, by backend and dtype", title_justify="left")
    grid.add_column("backend", no_wrap=True)
    for dtype in columns:
        grid.add_column(dtype or "other", overflow="fold", min_width=13)
    grid.add_column("", overflow="fold")
    for row, results in _ran(document):
        cells = []
        for dtype in columns:
            result = results.get(dtype)
            cells.append(Text(_text(row, result, dtype), style=STYLES[judge(row, result)]))
        grid.add_row(row["backend"], *cells, Text(_remark(row)))
    console.print(grid)
    if idle := [row for row, results in _idle(document)]:
        why = Table(title="not run", title_justify="left", show_header=False)
        for row in idle:
            why.add_row(row["backend"], Text(row["reason"]), style=STYLES["not run"])
        console.print(why)
    style = "bold green" if passed(document) else "bold red"
    console.print(Text(_last_line(document), style=style))


def plain_matrix(document: dict[str, Any]) -> str:
    """Return the same as text without colours."""
    columns = dtypes(document)
    lines = [["backend", *(dtype or "other" for dtype in columns), ""]]
    for row, results in _ran(document) + _idle(document):
        cells = [plain_cell(row, results.get(dtype), dtype) for dtype in columns]
        lines.append([row["backend"], *cells, _remark(row)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in lines]
    return "\n".join([*text, "", _last_line(document)])


def plain_cell(row: dict[str, Any], result: dict[str, Any] | None, dtype: str) -> str:
    """Return one cell on one line."""
    return _text(row, result, dtype).replace("\n", ", ")


def _ran(document):
    """Return the rows that ran, and those marked as not run of which tests ran."""
    return [(row, r) for row, r in table(document) if row["status"] == "ran" or _tested(r)]


def _idle(document):
    """Return the rows that did not run, except those not asked for, which the last line counts."""
    idle = [(row, r) for row, r in table(document) if row["status"] != "ran" and not _tested(r)]
    return [(row, r) for row, r in idle if row["reason"] != NOT_ASKED]


def _tested(results):
    return any(map(tests_run, results.values()))


def _text(row, result, dtype):
    if blank(row, result, dtype):
        return ""
    first, second = cell(row, result)
    if judge(row, result) == "failed":
        over = result["worst"] and ratio(result["worst"]) > 1.0
        first = f"FAILED {first}" + (f" > {result['worst']['allowed']:g}" if over else "")
    elif judge(row, result) in ("good", "near") and result["worst"]:
        first = f"{first} of {result['worst']['allowed']:g}"
    return "\n".join(part for part in (first, second) if part)


def _remark(row):
    if row["status"] == "not run":
        return row["reason"]
    about = " ".join(row[name] for name in ("version", "device") if row[name])
    return f"shapes only; {about}" if row["kind"] == "shapes only" else about


def _last_line(document):
    line = f"{'PASSED' if passed(document) else 'FAILED'}: {verdict(document)}"
    return "\n".join([line, *caveats(document)])
