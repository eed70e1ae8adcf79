"""What ``portable-rnn book`` prints of the claims of a file, next to what is right."""

from collections.abc import Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, localcontext
from typing import Any

from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from .._arrays.scalars import counted
from ..book import Claim
from ..book.claims import TOO_FEW
from ..book.latex import number
from .terminal import Console

__all__ = ["print_claims", "print_whole"]

SHOWN = 12  # rows of numbers of a claim; --all shows the rest
MARK = "*"  # at a number that is further off than it is allowed
COLUMNS = 8  # and numbers of a row


def print_claims(
    console: Console, claims: Sequence[Claim], digits: int, everything: bool = False
) -> None:
    """Print every claim next to the right values, and which are wrong."""
    if not claims:
        return
    console.print("\n[bold]your claims[/]")
    for claim in claims:
        verdict = "[green]right[/]" if claim.right else "[bold red]wrong[/]"
        if claim.looks_like == TOO_FEW:
            verdict = f"[yellow]{TOO_FEW}[/]"
        elif claim.looks_like:
            verdict += f": {claim.looks_like}"
        console.print(
            f"\n[bold]{claim.name}[/]  {verdict}   "
            f"(off by {claim.off:.2e}, allowed {claim.allowed:.2e})",
            highlight=False,
        )
        if claim.right:
            continue
        every = list(zip(*map(_rows, (claim.got, claim.want, claim.wrong)), strict=True))
        shown, columns = (slice(None),) * 2 if everything else _around_the_worst(every)
        cut = [[row[columns] for row in rows] for rows in every[shown]]
        got, want, marks = zip(*cut, strict=True)
        # As many decimals as show the difference.
        enough = digits if claim.looks_like else min(max(digits, 1 - claim.off.adjusted()), 20)
        nothing_right = all(map(all, _rows(claim.wrong)))  # then no mark says anything
        sides = [
            [
                _line(row, enough, None if nothing_right else bad)
                for row, bad in zip(got, marks, strict=True)
            ],
            [_line(row, enough) for row in want],
        ]
        widths = [max(Text.from_markup(line).cell_len for line in side) for side in sides]
        beside = sum(widths) + 4 <= console.width
        table = Table(show_edge=False, pad_edge=False, box=None, padding=(0, 2, 0, 0))
        table.add_column("claimed" if beside else "claimed, with right below", no_wrap=True)
        if beside:
            table.add_column("right", no_wrap=True)
        for left, right in zip(*sides, strict=True):
            table.add_row(*((left, right) if beside else (f"{left}\n[dim]{right}[/]",)))
        print_whole(console, table)
        if not nothing_right:
            console.print(
                f"{MARK} {sum(map(sum, _rows(claim.wrong)))} of "
                f"{counted(sum(map(len, _rows(claim.wrong))), 'number')} further off than allowed",
                highlight=False,
            )
        left_out = [
            f"{what} {part.start + 1} to {part.start + number} of {of}"
            for what, part, number, of in (
                ("rows", shown, len(got), len(every)),
                ("columns", columns, len(got[0]), len(every[0][0])),
            )
            if number < of
        ]
        if left_out:
            console.print(f"{', '.join(left_out)}, around the largest difference: --all")
    few = [claim.name for claim in claims if claim.looks_like == TOO_FEW]
    wrong = [claim.name for claim in claims if not claim.right and claim.name not in few]
    console.print()
    of = f"of {len(claims)} claims"
    if wrong:
        console.print(f"[bold red]{len(wrong)} {of} wrong: {', '.join(wrong)}[/]", highlight=False)
    if few:
        console.print(
            f"[yellow]{len(few)} {of} with too few digits: {', '.join(few)}[/]", highlight=False
        )
    if not wrong and not few:
        console.print(f"[bold green]{counted(len(claims), 'claim')}, all right[/]", highlight=False)


def print_whole(console: Console, table: Table) -> None:
    """Print a table in its full width: a terminal that is narrower breaks the lines itself."""
    width = console.width
    needed = Measurement.get(console, console.options.update(max_width=10**6), table).maximum
    console.width = max(width, needed)
    console.print(table, highlight=False)
    console.width = width


def _around_the_worst(rows: list[tuple[list[Any], ...]]) -> tuple[slice, slice]:
    """Return which rows and columns to show: the largest difference is in their middle."""
    with localcontext(Context(Emax=MAX_EMAX, Emin=MIN_EMIN)):  # the right one may be any number
        off = [[abs(g - w) for g, w in zip(got, want, strict=True)] for got, want, _ in rows]
    worst = max(range(len(off)), key=lambda row: max(off[row]))
    column = off[worst].index(max(off[worst]))
    return _middle(worst, len(off), SHOWN), _middle(column, len(off[worst]), COLUMNS)


def _middle(place: int, length: int, shown: int) -> slice:
    first = max(0, min(place - shown // 2, length - shown))
    return slice(first, first + shown)


def _rows(tree: Any) -> list[list[Any]]:
    """Return the numbers row by row; of three dimensions, one matrix after the other."""
    if not isinstance(tree, list):
        return [[tree]]
    if not isinstance(tree[0], list):
        return [tree]
    return [row for branch in tree for row in _rows(branch)]


def _line(row: list[Any], digits: int, wrong: list[bool] | None = None) -> str:
    texts = [f"{number(value, digits):>{digits + 3}}" for value in row]
    if wrong is None:
        return " ".join(texts)
    marked = zip(texts, wrong, strict=True)
    return " ".join(f"[bold red]{text}{MARK}[/]" if bad else f"{text} " for text, bad in marked)
