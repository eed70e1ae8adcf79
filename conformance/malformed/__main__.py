"""Make many malformed calls, and print their outcomes: python -m conformance.malformed."""

import argparse
import sys

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TimeElapsedColumn

from ..backends import BACKENDS
from ..selection import why_not
from .campaign import FINE, PLACES, SHARES
from .run import run
from .table import print_outcomes


def main(arguments: list[str] | None = None) -> int:
    """Return 0 if every call had a right outcome, else 1."""
    parser = argparse.ArgumentParser(prog="python -m conformance.malformed")
    parser.add_argument("--count", type=int, default=2000, help="calls in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rows", default=",".join(SHARES), help="such as numpy,torch")
    parser.add_argument("--only", default="", help="prefixes of functions, such as losses,bptt")
    parser.add_argument(
        "--all", action="store_true", help="all calls with one wrong argument, until one is wrong"
    )
    chosen = parser.parse_args(arguments)
    rows = chosen.rows.split(",")
    if unknown := [row for row in rows if row not in BACKENDS]:
        parser.error(f"--rows: no row {', '.join(unknown)}; there are {', '.join(BACKENDS)}")
    places = [place for place in PLACES if place[0].startswith(tuple(chosen.only.split(",")))]
    if not places:
        parser.error(f"--only: no function begins with {chosen.only}")
    console, outcomes = Console(), []
    columns = (*Progress.get_default_columns()[:2], MofNCompleteColumn(), TimeElapsedColumn())
    shares = {
        row: SHARES.get(row, min(SHARES.values())) for row in rows if not why_not(BACKENDS[row])
    }
    for row in rows:
        if row not in shares:
            console.print(f"{row}: {why_not(BACKENDS[row])}", style="yellow")
    with Progress(*columns, console=console) as progress:
        for row, share in shares.items():
            count = None if chosen.all else round(chosen.count * share / sum(shares.values()))
            task = progress.add_task(row, total=count)
            outcomes += run(
                row,
                places,
                count=count,
                seed=chosen.seed,
                on_outcome=lambda outcome, task=task: progress.advance(task),
            )
    print_outcomes(outcomes, console)
    return int(any(one.outcome not in FINE for one in outcomes))


if __name__ == "__main__":
    sys.exit(main())
