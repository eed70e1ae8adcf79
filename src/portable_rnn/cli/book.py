"""``portable-rnn book``: the equations of the derivation, with numbers on both sides."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from time import monotonic
from typing import Any

from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from .._arrays import libraries as backends
from .._arrays.scalars import counted
from ..book import (
    EQUATIONS,
    Check,
    Equation,
    Example,
    arguments,
    compare,
    compute,
    differentiate,
    document,
    judge,
    left_out,
    read,
)
from ..book import draw as draw_example
from ..book import write as write_example
from ..book.checks import ALLOWED
from ..book.latex import number
from .claims import print_claims, print_whole
from .terminal import Console, quoted, write

__all__ = ["Options", "show_book"]

SHOWN = 6  # entries of a vector, rows of a matrix, steps of a sequence; --all shows the rest
DRAWN = {"inputs": 4, "hidden": 5, "outputs": 3, "steps": 3, "seed": 0, "targets": "one-hot"}


@dataclass(frozen=True)
class Options:
    """Options of ``portable-rnn book``; those in `DRAWN` are None where none was given."""

    source: Path | None
    to: Path | None
    inputs: int | None
    hidden: int | None
    outputs: int | None
    steps: int | None
    seed: int | None
    targets: str | None
    backend: str
    dtype: str
    device: str | None
    only: Sequence[str]
    digits: int
    everything: bool
    latex: bool


def show_book(options: Options, console: Console) -> bool:
    """Print every quantity and its independent value; return whether all agree.

    Raises
    ------
    ValueError, OSError
        If an option does not fit, or a file.
    """
    arguments.dtype(options.dtype)
    numbers = [equation.number for equation in EQUATIONS]
    for name in options.only:
        if name not in numbers:
            raise ValueError(f"only: expected a number from {', '.join(numbers)}, got {name!r}")
    example, claims, origin = _example(options)
    if options.to is not None:
        if options.latex:
            raise ValueError("latex: expected no --latex with --to, which writes numbers only")
        write_example(options.to, example)
        console.print(
            f"wrote {escape(str(options.to))}; edit it, then: "
            f"portable-rnn book --from {escape(quoted(str(options.to)))}",
            highlight=False,
            soft_wrap=True,
        )
        return True
    try:
        example = example.rounded(options.dtype)
    except ValueError as error:
        raise ValueError(f"{options.source}: {error}") from None
    arguments.size(*arguments.sizes_of(example).values())
    found = backends.find(options.backend, options.device, options.dtype)
    where = f"{options.backend} {found.version}, {found.device_name}, {options.dtype}"
    with _progress() as progress:
        try:
            exact = differentiate(example, progress=progress("independent values, 50 digits"))
        except ValueError as error:
            raise ValueError(f"{options.source}: {error}") from None
        show = progress("values of the library")
        computed = compute(example, found.xp, options.dtype, found.device, progress=show)
        progress("errors")
        checks = compare(example, computed, exact, options.dtype)
    checks = [c for c in checks if not options.only or c.equation.number in options.only]
    judged = judge(example, exact, claims, options.dtype)
    wrong = [claim.name for claim in judged if not claim.right]
    if options.latex:
        inputs, hidden, outputs, steps = arguments.sizes_of(example).values()
        sizes = rf"$x \in \mathbb R^{{{inputs}}}$, $h \in \mathbb R^{{{hidden}}}$"
        title = (
            rf"{sizes}, $o \in \mathbb R^{{{outputs}}}$, $\tau = {steps}$, "
            f"{_latex_text(origin)}, {where}."
        )
        # LaTeX is for a file or a pipe: as it is, whatever the width of the terminal.
        write(document(checks, title, options.digits))
        if wrong:  # the document is of the equations; claims are judged all the same
            Console(stderr=True).print(f"[bold red]claims not right: {', '.join(wrong)}[/]")
    else:
        missing = left_out(example, exact, options.dtype)
        _print_all(console, options, f"{origin}; {where}", example, checks, missing)
        print_claims(console, judged, options.digits, options.everything)
    return all(check.passed for check in checks) and not wrong


def _example(options: Options) -> tuple[Example, dict[str, Any], str]:
    """Return the example, what is claimed of it, and in words where it is from."""
    given = {name: getattr(options, name) for name in DRAWN}
    given = {name: value for name, value in given.items() if value is not None}
    if options.source is None:
        drawn: dict[str, Any] = DRAWN | given
        origin = f"seed {drawn['seed']}, {drawn['targets']} targets"
        return draw_example(**drawn), {}, origin
    if options.to is not None:
        given["to"] = options.to
    for name, value in given.items():
        raise ValueError(
            f"{name}: expected no --{name} with --from, which provides all numbers, got {value}"
        )
    example, claims = read(options.source)
    return example, claims, str(options.source)


@contextmanager
def _progress() -> Iterator[Callable[[str], Callable[[int, int], None]]]:
    """Give what shows how far some work is, by its name, once all takes longer than a second."""
    console, started = Console(stderr=True), monotonic()
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    bar = Progress(*columns, console=console, transient=True)
    task = bar.add_task("")

    def begin(name: str) -> Callable[[int, int], None]:
        bar.update(task, description=name, total=None)
        return show

    def show(done: int, total: int) -> None:
        if console.is_terminal and monotonic() - started > 1.0:
            bar.start()
        bar.update(task, completed=done, total=total)

    try:
        yield begin
    finally:
        if bar.live.is_started:
            bar.stop()


def _latex_text(text: str) -> str:
    """Return text as LaTeX prints it."""
    special: dict[str, str | int | None] = {
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
    special |= {sign: rf"\{sign}" for sign in "#$%&_{}"}
    return text.translate(str.maketrans(special))


def _print_all(
    console: Console,
    options: Options,
    origin: str,
    example: Example,
    checks: list[Check],
    missing: dict[str, str],
) -> None:
    inputs, hidden, outputs, steps = arguments.sizes_of(example).values()
    console.print(
        f"[bold]Deep Learning, chapter 10[/]: x in R{_up(inputs)}, "
        f"h in R{_up(hidden)}, o in R{_up(outputs)}, T = {steps}, {escape(origin)}",
        highlight=False,
    )
    if not options.only:
        _print_example(console, options, example)
    for equation, group in groupby(checks, key=lambda check: check.equation):
        _print_equation(console, options, equation, list(group))
    console.print()
    for why in sorted(set(missing.values())):
        left = [n for n in missing if missing[n] == why and (not options.only or n in options.only)]
        if left:
            console.print(f"[yellow]not checked: {', '.join(left)}, {why}[/]", highlight=False)
    _print_verdict(console, options, checks)


def _print_verdict(console: Console, options: Options, checks: list[Check]) -> None:
    """Print whether all checks passed, and what there is to say of large errors."""
    failed = [check for check in checks if not check.passed]
    amplified = [check for check in checks if check.amplified]
    beyond = [check for check in failed if check.error == float("inf")]
    if amplified:
        worst = max(amplified, key=lambda check: check.error)
        digits = "7" if options.dtype == "float32" else "16"
        console.print(
            f"[yellow]{len(amplified)} of {len(checks)} are more than {ALLOWED:g} eps off, up to "
            f"{_eps(worst.error)} in {_numbers(amplified)}: these numbers amplify rounding, and "
            f"an independent computation with {digits} digits is off by as much[/]",
            highlight=False,
        )
        if worst.allowed == float("inf"):
            console.print(
                f"[yellow]{options.dtype} leaves hardly a correct digit, so these numbers show "
                "nothing; take fewer steps, or a smaller W[/]",
                highlight=False,
            )
    if beyond:
        console.print(
            f"[bold red]too large for {options.dtype}, or computed from what is: "
            f"{_numbers(beyond)}[/]",
            highlight=False,
        )
    if failed:
        off = [check for check in failed if check not in beyond]
        if off:
            console.print(f"[bold red]more than {ALLOWED:g} eps off: {_numbers(off)}[/]")
    elif checks and not amplified:
        worst = max(checks, key=lambda check: check.error)
        console.print(
            f"[bold green]{counted(len(checks), 'check')}, all within {ALLOWED:g} eps[/]; "
            f"the largest error is {worst.error:.1f} eps, in {worst.equation.number}",
            highlight=False,
        )


def _numbers(checks: Sequence[Check]) -> str:
    """Return the numbers of the equations of some checks, each once."""
    return ", ".join(dict.fromkeys(check.equation.number for check in checks))


def _eps(error: float) -> str:
    return f"{error:.1f} eps" if error < 1e4 else f"{error:.1e} eps"


def _print_example(console: Console, options: Options, example: Example) -> None:
    table = Table(title="the numbers", title_justify="left", show_header=False)
    table.add_column(justify="right", style="bold")
    table.add_column(no_wrap=True)
    for letter, numbers in vars(example).items():
        rows = numbers if isinstance(numbers[0], tuple) else [numbers]
        name = {"h0": "h(0)", "x": "x(t)", "y": "y(t)"}.get(letter, letter)
        lines = [_vector(row, 5, options.everything) for row in rows]
        table.add_row(name, "\n".join(_some(lines, options.everything)))
    print_whole(console, table)


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
    table.add_column("library" if beside else "library, with independent below", no_wrap=True)
    if beside:
        table.add_column("independent", no_wrap=True)
    table.add_column("off by", justify="right", no_wrap=True)
    for text, got, want, error in _steps(entries, options.everything):
        left, right = "\n".join(got), "\n".join(want)
        values = (left, right) if beside else (f"{left}\n[dim]{right}[/]" if right else left,)
        table.add_row(text, *values, error)
    print_whole(console, table)


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
    colour = "yellow" if check.amplified else "green" if check.passed else "bold red"
    return symbol, lines(check.got), lines(check.want), f"[{colour}]{_eps(check.error)}[/]"


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


def _up(number: int) -> str:
    return str(number).translate(str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹"))
