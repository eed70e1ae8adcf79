"""What ``portable-rnn book`` prints of the claims of a file, next to what is right."""

from collections.abc import Sequence
from decimal import MAX_EMAX, MIN_EMIN, Context, localcontext
from typing import Any

from rich.table import Table

from ..book import Claim
from ..book.latex import number
from .terminal import Console

__all__ = ["print_claims"]

SHOWN = 12  # rows of numbers of a claim; --all shows the rest


def print_claims(
    console: Console, claims: Sequence[Claim], digits: int, everything: bool = False
) -> None:
    """Print every claim next to the right values, and which are wrong."""
    if not claims:
        return
    console.print("\n[bold]your claims[/]")
    for claim in claims:
        verdict = "[green]right[/]" if claim.right else "[bold red]wrong[/]"
        if claim.looks_like:
            verdict += f": {claim.looks_like}"
        console.print(
            f"\n[bold]{claim.name}[/]  {verdict}   "
            f"(off by {claim.off:.1e}, allowed {claim.allowed:.1e})",
            highlight=False,
        )
        if claim.right:
            continue
        every = list(zip(_rows(claim.got), _rows(claim.want), strict=True))
        shown = slice(None) if everything else _around_the_worst(every)
        got, want = zip(*every[shown], strict=True)
        # As many decimals as show the difference.
        enough = min(max(digits, 1 - claim.off.adjusted()), 20)
        sides = [[_line(row, enough) for row in rows] for rows in (got, want)]
        beside = sum(max(map(len, side)) for side in sides) + 4 <= console.width
        table = Table(show_edge=False, pad_edge=False, box=None, padding=(0, 2, 0, 0))
        table.add_column("claimed" if beside else "claimed, and below it right", no_wrap=True)
        if beside:
            table.add_column("right", no_wrap=True)
        for left, right in zip(*sides, strict=True):
            table.add_row(*((left, right) if beside else (f"{left}\n[dim]{right}[/]",)))
        console.print(table, highlight=False)
        if len(every) > len(got):
            first, last = shown.start + 1, shown.start + len(got)
            console.print(
                f"rows {first} to {last} of {len(every)}, around the largest difference: --all"
            )
    wrong = [claim.name for claim in claims if not claim.right]
    console.print()
    if wrong:
        console.print(
            f"[bold red]{len(wrong)} of {len(claims)} claims wrong: {', '.join(wrong)}[/]",
            highlight=False,
        )
    else:
        console.print(f"[bold green]all {len(claims)} claims right[/]", highlight=False)


def _around_the_worst(rows: list[tuple[list[Any], list[Any]]]) -> slice:
    """Return which rows to show: the one with the largest difference is in their middle."""
    with localcontext(Context(Emax=MAX_EMAX, Emin=MIN_EMIN)):  # the right one may be any number
        off = [max(abs(g - w) for g, w in zip(got, want, strict=True)) for got, want in rows]
    first = max(0, min(off.index(max(off)) - SHOWN // 2, len(rows) - SHOWN))
    return slice(first, first + SHOWN)


def _rows(tree: Any) -> list[list[Any]]:
    """Return the numbers row by row; of three dimensions, one matrix after the other."""
    if not isinstance(tree, list):
        return [[tree]]
    if not isinstance(tree[0], list):
        return [tree]
    return [row for branch in tree for row in _rows(branch)]


def _line(row: list[Any], digits: int) -> str:
    return " ".join(f"{number(value, digits):>{digits + 3}}" for value in row)
