"""The commands and their options. What they do is in the modules beside this one."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from .. import __version__
from ..backends import BackendUnavailable
from .book import Options, show_book
from .info import show_info
from .sample import print_sample
from .settings import DEFAULTS, Settings
from .train import train_text

__all__ = ["app", "run"]

app = typer.Typer(
    name="portable-rnn",
    help="Train recurrent networks by exact backpropagation through time, on your arrays.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"portable-rnn {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show and exit.")
    ] = False,
) -> None:
    """Take the options before the command."""


def _default(name: str) -> str:
    return f"(default: {getattr(DEFAULTS, name)})"


@app.command()
def train(
    more: Annotated[
        list[Path] | None, typer.Argument(metavar="FILE", help="More files, after --text.")
    ] = None,
    text: Annotated[
        list[Path] | None,
        typer.Option(help="UTF-8 file to learn, or several. (default: Python's own help texts)"),
    ] = None,
    cell: Annotated[
        str | None, typer.Option(help=f"elman, gru, lstm, mgu, ... {_default('cell')}")
    ] = None,
    hidden: Annotated[int | None, typer.Option(help=f"Hidden units. {_default('hidden')}")] = None,
    layers: Annotated[
        int | None, typer.Option(help=f"Layers on one another. {_default('layers')}")
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(help=f"Chance to drop between layers. {_default('dropout')}")
    ] = None,
    steps: Annotated[int | None, typer.Option(help=f"Updates to make. {_default('steps')}")] = None,
    minutes: Annotated[
        float | None, typer.Option(help="Train for this long instead; with --steps, at most.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help=f"Sequences side by side. {_default('batch_size')}")
    ] = None,
    window: Annotated[
        int | None, typer.Option(help=f"Steps the gradient flows through. {_default('window')}")
    ] = None,
    lr: Annotated[float | None, typer.Option(help=f"Learning rate. {_default('lr')}")] = None,
    backend: Annotated[
        str | None, typer.Option(help=f"numpy, cupy, torch or jax. {_default('backend')}")
    ] = None,
    dtype: Annotated[
        str | None, typer.Option(help=f"float32 or float64. {_default('dtype')}")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="In the backend's words, such as cuda:1.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help=f"Of parameters and dropout. {_default('seed')}")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the run. (default: runs/DATE-TIME)")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out.")] = False,
) -> None:
    """Learn a text character by character, and show how well."""
    files = [str(path.absolute()) for path in (*(text or ()), *(more or ()))]
    given: dict[str, Any] = {
        "text": files or None,
        "cell": cell,
        "hidden": hidden,
        "layers": layers,
        "dropout": dropout,
        "steps": steps,
        "minutes": minutes,
        "batch_size": batch_size,
        "window": window,
        "lr": lr,
        "backend": backend,
        "dtype": dtype,
        "device": device,
        "seed": seed,
    }
    given = {name: value for name, value in given.items() if value is not None}
    folder, settings = Settings.resolve(out, given, resume=resume)
    train_text(folder, settings, Console())


@app.command()
def sample(
    run_folder: Annotated[Path, typer.Argument(metavar="RUN", help="Folder of a run.")],
    prompt: Annotated[
        str | None, typer.Option(help="What the network reads first. (default: the run's own)")
    ] = None,
    length: Annotated[int, typer.Option(min=1, help="Characters to draw.")] = 500,
    temperature: Annotated[float, typer.Option(help="0 takes the likeliest every time.")] = 0.8,
    seed: Annotated[int, typer.Option(min=0, help="Of the draws.")] = 0,
) -> None:
    """Draw text from a trained run."""
    print_sample(run_folder, prompt, length, temperature, seed)


@app.command()
def book(
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Your own numbers: U, W, b, V, c, h0, x, y as JSON or .npz, and your claims.",
        ),
    ] = None,
    to: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the numbers as JSON, to change, and stop."),
    ] = None,
    inputs: Annotated[int | None, typer.Option(help="I, the size of x. (default: 4)")] = None,
    hidden: Annotated[int | None, typer.Option(help="H, the size of h. (default: 5)")] = None,
    outputs: Annotated[int | None, typer.Option(help="O, the size of o. (default: 3)")] = None,
    steps: Annotated[int | None, typer.Option(help="T, called τ in the book. (default: 3)")] = None,
    seed: Annotated[int | None, typer.Option(help="Of all numbers. (default: 0)")] = None,
    targets: Annotated[
        str | None,
        typer.Option(help="one-hot, or general: rows y of any positive sum. (default: one-hot)"),
    ] = None,
    backend: Annotated[str, typer.Option(help="numpy, cupy, torch or jax.")] = "numpy",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float64",
    device: Annotated[
        str | None, typer.Option(help="In the backend's words, such as cuda:1.")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(help="An equation, such as 10.21; or several.")
    ] = None,
    digits: Annotated[int, typer.Option(min=1, max=40, help="Decimals that are shown.")] = 5,
    everything: Annotated[
        bool, typer.Option("--all", help="Leave nothing out of long vectors and sequences.")
    ] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print a LaTeX document.")] = False,
) -> None:
    """Show equations 10.8 to 10.28 of Deep Learning with numbers, and check every one.

    Each quantity is shown next to a value found by other means with 50 digits.
    The exit status is 1 if any is more than 8 eps off, except by rounding
    that the numbers amplify, or if a claim of the file is wrong.
    """
    options = Options(
        source=source,
        to=to,
        inputs=inputs,
        hidden=hidden,
        outputs=outputs,
        steps=steps,
        seed=seed,
        targets=targets,
        backend=backend,
        dtype=dtype,
        device=device,
        only=only or (),
        digits=digits,
        everything=everything,
        latex=latex,
    )
    if not show_book(options, Console()):
        raise typer.Exit(1)


@app.command()
def info() -> None:
    """Show versions, backends, and the BLAS library that does the work."""
    show_info(Console())


# What a person at the command line can put right.
_MENDABLE = (
    ValueError,
    FloatingPointError,
    ImportError,
    OSError,
    BackendUnavailable,
)


def run() -> None:
    """Run the app; errors that the user can mend are one line, not a traceback."""
    try:
        app()
    except _MENDABLE as error:
        Console(stderr=True, highlight=False, soft_wrap=True).print(
            f"[bold red]error:[/] {escape(str(error))}"
        )
        sys.exit(2)
