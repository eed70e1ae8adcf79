"""Outcomes of malformed calls: tables by function and by kind, and the calls that went wrong."""

from collections import Counter
from collections.abc import Callable, Iterable

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .campaign import ACCEPTED, CLEAR, FINE, HUNG, OBSCURE, TAKEN, Outcome

__all__ = ["describe", "print_outcomes"]

COLUMNS = {CLEAR: "green", TAKEN: "green", OBSCURE: "yellow", ACCEPTED: "red", HUNG: "bold red"}
MOST = 200  # calls that are shown


def print_outcomes(outcomes: list[Outcome], console: Console | None = None) -> None:
    """Print the tables, and each call with a wrong outcome."""
    console = console or Console()
    console.print(_table("function", outcomes, lambda one: [one.function]))
    console.print(_table("kind", outcomes, lambda one: [kind for _, kind, _ in one.replaced]))
    wrong = [one for one in outcomes if one.outcome not in FINE]
    for one in wrong[:MOST]:
        console.print(escape(describe(one)), style=COLUMNS[one.outcome])
    if len(wrong) > MOST:
        console.print(f"and {len(wrong) - MOST} more")
    rows = Counter(one.row for one in outcomes)
    where = ", ".join(f"{count:,} on {row}" for row, count in rows.items())
    style = "bold red" if wrong else "bold green"
    console.print(
        f"{len(outcomes):,} calls ({where}): {len(wrong):,} with a wrong outcome", style=style
    )


def describe(one: Outcome) -> str:
    """Describe a call with a wrong outcome on one line."""
    given = ", ".join(f"{argument}={label}" for argument, _, label in one.replaced)
    said = " ".join(one.said.split())
    return f"{one.outcome}: {one.function}({given}) on {one.row}: {said[:200] or 'no error'}"


def _table(title: str, outcomes: list[Outcome], keys: Callable[[Outcome], Iterable[str]]) -> Table:
    counts = Counter((key, one.outcome) for one in outcomes for key in keys(one))
    table = Table(title=f"malformed calls by {title}", title_justify="left")
    table.add_column(title, no_wrap=True)
    for column in ("calls", *COLUMNS):
        table.add_column(column, justify="right")
    for key in sorted({key for key, _ in counts}):
        of = [counts[key, outcome] for outcome in COLUMNS]
        shown = [
            f"[{style}]{count:,}[/]" if count else ""
            for count, style in zip(of, COLUMNS.values(), strict=True)
        ]
        table.add_row(key, f"{sum(of):,}", *shown)
    return table
