"""``portable-rnn book``: the equations of the derivation, with numbers on both sides."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from .. import backends
from ..book import EQUATIONS, Check, Equation, Example, compare, compute, differentiate, document
from ..book import draw as draw_example
from ..book.checks import ALLOWED, EPS
from ..book.latex import number

__all__ = ["Options", "show_book"]

SHOWN = 6  # entries of a vector, rows of a matrix, steps of a sequence; --all shows the rest


@dataclass(frozen=True)
class Options:
    """Options of ``portable-rnn book``."""

    inputs: int
    hidden: int
    outputs: int
    steps: int
    seed: int
    targets: str
    backend: str
    dtype: str
    device: str | None
    only: Sequence[str]
    digits: int
    everything: bool
    latex: bool


def show_book(options: Options, console: Console) -> bool:
    """Print every quantity beside its independent value; return whether all agree.

    Raises
    ------
    ValueError
        If an option does not fit.
    """
    if options.dtype not in EPS:
        raise ValueError(f"dtype: expected float32 or float64, got {options.dtype!r}")
    numbers = [equation.number for equation in EQUATIONS]
    for name in options.only:
        if name not in numbers:
            raise ValueError(f"only: expected a number from {', '.join(numbers)}, got {name!r}")
    example = draw_example(
        options.inputs,
        options.hidden,
        options.outputs,
        steps=options.steps,
        seed=options.seed,
        targets=options.targets,
    )
    found = backends.find(options.backend, options.device, options.dtype)
    where = f"{options.backend} {found.version}, {found.device_name}, {options.dtype}"
    checks = compare(
        example,
        compute(example, found.xp, options.dtype, found.device),
        differentiate(example),
        options.dtype,
    )
    checks = [c for c in checks if not options.only or c.equation.number in options.only]
    if options.latex:
        sizes = rf"$x \in \mathbb R^{{{options.inputs}}}$, $h \in \mathbb R^{{{options.hidden}}}$"
        title = (
            rf"{sizes}, $o \in \mathbb R^{{{options.outputs}}}$, $\tau = {options.steps}$, "
            f"seed {options.seed}, {options.targets} targets, {where}."
        )
        # LaTeX is for a file or a pipe: as it is, whatever the width of the terminal.
        print(document(checks, title, options.digits))
    else:
        _print_all(console, options, where, example, checks)
    return all(check.passed for check in checks)


def _print_all(
    console: Console, options: Options, where: str, example: Example, checks: list[Check]
) -> None:
    console.print(
        f"[bold]Deep Learning, chapter 10[/]: x in R{_up(options.inputs)}, "
        f"h in R{_up(options.hidden)}, o in R{_up(options.outputs)}, T = {options.steps}, "
        f"seed {options.seed}, {options.targets} targets; {escape(where)}",
        highlight=False,
    )
    if not options.only:
        _print_example(console, options, example)
    for equation, group in groupby(checks, key=lambda check: check.equation):
        _print_equation(console, options, equation, list(group))
    console.print()
    missing = [
        e.number
        for e in EQUATIONS
        if (not options.only or e.number in options.only)
        and not any(c.equation is e for c in checks)
    ]
    if missing:
        why = "longer sequences" if options.steps < 2 else "one-hot targets"
        console.print(f"[yellow]not checked: {', '.join(missing)}, for want of {why}[/]")
    failed = sorted({c.equation.number for c in checks if not c.passed}, key=_order)
    if failed:
        console.print(f"[bold red]more than {ALLOWED:g} eps off: {', '.join(failed)}[/]")
    elif checks:
        worst = max(checks, key=lambda check: check.error)
        console.print(
            f"[bold green]{len(checks)} checks, all within {ALLOWED:g} eps[/]; "
            f"the largest error is {worst.error:.1f} eps, in {worst.equation.number}",
            highlight=False,
        )


def _print_example(console: Console, options: Options, example: Example) -> None:
    table = Table(title="the numbers", title_justify="left", show_header=False)
    table.add_column(justify="right", style="bold")
    table.add_column(no_wrap=True)
    for letter, numbers in vars(example).items():
        rows = numbers if isinstance(numbers[0], tuple) else [numbers]
        name = {"h0": "h(0)", "x": "x(t)", "y": "y(t)"}.get(letter, letter)
        lines = [_vector(row, 5, options.everything) for row in rows]
        table.add_row(name, "\n".join(_some(lines, options.everything)))
    console.print(table)


def _print_equation(
    console: Console, options: Options, equation: Equation, checks: list[Check]
) -> None:
    console.print()
    console.print(f"[bold]{equation.number}[/]  {equation.says}", highlight=False)
    console.print(Text("      " + equation.text, style="cyan"))
    entries = [_entry(check, options) for check in checks]
    widest = max(len(line) for _, got, want, _ in entries for line in (*got, *want))
    label = max(len(entry[0]) for entry in entries)
    beside = max(label, 6) + 2 * widest + 16 <= console.width
    table = Table(show_edge=False, pad_edge=False, box=None, padding=(0, 2, 0, 0))
    table.add_column("", style="bold", no_wrap=True, min_width=6)
    table.add_column("library" if beside else "library, and below it independent", no_wrap=True)
    if beside:
        table.add_column("independent", no_wrap=True)
    table.add_column("off by", justify="right", no_wrap=True)
    for text, got, want, error in _steps(entries, options.everything):
        left, right = "\n".join(got), "\n".join(want)
        values = (left, right) if beside else (f"{left}\n[dim]{right}[/]" if right else left,)
        table.add_row(text, *values, error)
    console.print(table, highlight=False)


def _entry(check: Check, options: Options) -> tuple[str, list[str], list[str], str]:
    """Return the label, the rows of both sides, and the error, as text."""

    def lines(tree: Any) -> list[str]:
        if not isinstance(tree, list):
            return [_vector([tree], options.digits, True)]
        if not isinstance(tree[0], list):
            return [_vector(tree, options.digits, options.everything)]
        rows = [_vector(row, options.digits, options.everything) for row in tree]
        return _some(rows, options.everything)

    symbol = check.part.text + ("" if check.step is None else f"({check.step})")
    if check.part.text.startswith("∇") and check.step is None:
        symbol = check.part.text
    colour = "green" if check.passed else "bold red"
    return symbol, lines(check.got), lines(check.want), f"[{colour}]{check.error:.1f} eps[/]"


def _steps(
    entries: list[tuple[str, list[str], list[str], str]], everything: bool
) -> list[tuple[str, list[str], list[str], str]]:
    """Leave out what lies in the middle of a long sequence."""
    if everything or len(entries) <= 2 * SHOWN:
        return entries
    left_out = len(entries) - SHOWN
    return [*entries[: SHOWN - 2], ("⋮", [f"{left_out} more"], [], ""), *entries[-2:]]


def _vector(numbers: Sequence[Any], digits: int, everything: bool) -> str:
    return " ".join(_some([f"{number(v, digits):>{digits + 3}}" for v in numbers], everything, "…"))


def _some(items: list[str], everything: bool, sign: str = "⋮") -> list[str]:
    """Return the items, without those in the middle if they are many."""
    if everything or len(items) <= SHOWN:
        return items
    return [*items[: SHOWN - 1], sign, items[-1]]


def _order(number: str) -> int:
    return [equation.number for equation in EQUATIONS].index(number)


def _up(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
