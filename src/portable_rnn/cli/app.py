"""The commands and their options. What they do is in the other modules of this folder."""

import re
import sys
import traceback
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.markup import escape

from .. import __version__
from .._arrays import checks as check
from .._arrays.libraries import BackendUnavailable
from .book import Options, show_book
from .cluster import SHARDS, check_cluster, connected
from .info import show_info
from .sample import print_sample
from .settings import DEFAULTS, Settings
from .terminal import Console, printable, write
from .train import train_text
from .usage import Commands, Interrupted

__all__ = ["app", "run"]


app = typer.Typer(
    name="portable-rnn",
    cls=Commands,
    help="Train recurrent networks by exact backpropagation through time, on your arrays.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _version(wanted: bool) -> None:
    if wanted:
        write(f"portable-rnn {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options before the command."""


def _path(name: str, value: str | None) -> Path | None:
    """Return a path that was given; an empty one would be the current folder."""
    return None if value is None else check.path(name, value)


def _default(name: str) -> str:
    return f"(default: {getattr(DEFAULTS, name)})"


@app.command()
def train(
    more: Annotated[
        list[str] | None,
        typer.Argument(metavar="FILE", help="More files to learn, after those of --text."),
    ] = None,
    text: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="UTF-8 file to learn; repeat for several. (default: Python's own help texts)",
        ),
    ] = None,
    cell: Annotated[
        str | None, typer.Option(help=f"elman, gru, lstm, mgu, ... {_default('cell')}")
    ] = None,
    embedding: Annotated[
        int | None, typer.Option(help=f"Numbers for each character. {_default('embedding')}")
    ] = None,
    hidden: Annotated[int | None, typer.Option(help=f"Hidden units. {_default('hidden')}")] = None,
    layers: Annotated[
        int | None, typer.Option(help=f"Number of stacked layers. {_default('layers')}")
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(help=f"Dropout probability between layers. {_default('dropout')}"),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help=f"Number of updates. {_default('steps')}")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(help="Train for this long instead; with --steps, at most this long."),
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help=f"Sequences per batch. {_default('batch_size')}")
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
        str | None, typer.Option(help="As the backend names it, such as cuda:1.")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help=f"Seed for parameters and dropout. {_default('seed')}")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(metavar="FOLDER", help="Folder of the run. (default: runs/DATE-TIME)"),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    workers: Annotated[
        int | None, typer.Option(help="Train on so many processes of this machine, by Dask.")
    ] = None,
    scheduler: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Train on the workers of a scheduler of Dask's."),
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option(
            help="Parts of a batch on a cluster, which determine the run; workers do not. "
            f"(default: as many as --workers, or {SHARDS})"
        ),
    ] = None,
) -> None:
    """Learn a text character by character, and report how well."""
    files = [str(check.path("text", f).absolute()) for f in (*(text or ()), *(more or ()))]
    given: dict[str, Any] = {
        "text": files or None,
        "cell": cell,
        "embedding": embedding,
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
    on_cluster = check_cluster(workers, scheduler)
    if shards is None and on_cluster and not resume:
        shards = workers or SHARDS
    given = {n: value for n, value in {**given, "shards": shards}.items() if value is not None}
    folder, settings = Settings.resolve(_path("out", out), given, resume=resume)
    if on_cluster != (settings.shards is not None):
        wanted = "none, for a run in one process" if on_cluster else "a number, or --scheduler"
        raise ValueError(f"workers: expected {wanted}; see --shards")
    console = Console()
    with connected(workers, scheduler, console) as client:
        train_text(folder, settings, console, resume=resume, client=client)


@app.command()
def sample(
    run_folder: Annotated[str, typer.Argument(metavar="RUN", help="Folder of a run.")],
    prompt: Annotated[
        str | None, typer.Option(help="Text the network reads first. (default: the run's prompt)")
    ] = None,
    length: Annotated[int, typer.Option(min=1, help="Number of characters to draw.")] = 500,
    temperature: Annotated[
        float, typer.Option(help="0 always takes the likeliest character.")
    ] = 0.8,
    seed: Annotated[int, typer.Option(min=0, help="Seed for the draws.")] = 0,
) -> None:
    """Draw text from a trained run."""
    print_sample(check.path("run", run_folder), prompt, length, temperature, seed)


@app.command()
def book(
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="Your own numbers: U, W, b, V, c, h0, x, y as JSON or .npz, and your claims.",
        ),
    ] = None,
    to: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Write the numbers as JSON, for editing, and exit."),
    ] = None,
    inputs: Annotated[int | None, typer.Option(help="I, the size of x. (default: 4)")] = None,
    hidden: Annotated[int | None, typer.Option(help="H, the size of h. (default: 5)")] = None,
    outputs: Annotated[int | None, typer.Option(help="O, the size of o. (default: 3)")] = None,
    steps: Annotated[int | None, typer.Option(help="T, called τ in the book. (default: 3)")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed for all numbers. (default: 0)")] = None,
    targets: Annotated[
        str | None,
        typer.Option(help="one-hot, or general: rows y with any positive sum. (default: one-hot)"),
    ] = None,
    backend: Annotated[str, typer.Option(help="numpy, cupy, torch or jax.")] = "numpy",
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float64",
    device: Annotated[
        str | None, typer.Option(help="As the backend names it, such as cuda:1.")
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="An equation, such as 10.21; repeat for several. Q1 to Q3 are not in the "
            "book: they show how 10.18 and 10.19 agree with differentiating through ŷ."
        ),
    ] = None,
    digits: Annotated[int, typer.Option(min=1, max=40, help="Decimals to show.")] = 5,
    everything: Annotated[
        bool, typer.Option("--all", help="Show long vectors and sequences in full.")
    ] = False,
    latex: Annotated[bool, typer.Option("--latex", help="Print a LaTeX document.")] = False,
) -> None:
    """Show equations 10.8 to 10.28 of Deep Learning with numbers, and check every one.

    Each quantity is shown next to an independent value with 50 digits.
    The exit status is 1 if any is off by more than 8 eps, except for rounding
    that the numbers amplify, or if a claim in the file is not right.
    """
    options = Options(
        source=_path("from", source),
        to=_path("to", to),
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
def bench(
    work: Annotated[
        str,
        typer.Option(help="train (forward and backward), predict, or step (of a stream)."),
    ] = "train",
    cell: Annotated[
        list[str] | None, typer.Option(help="Cell; repeat for several. (default: gru)")
    ] = None,
    batch: Annotated[
        list[int] | None, typer.Option(help="B; repeat for several. (default: 1, 16, 64)")
    ] = None,
    hidden: Annotated[
        list[int] | None, typer.Option(help="H; repeat for several. (default: 32, 128, 512)")
    ] = None,
    inputs: Annotated[int | None, typer.Option(help="I. (default: the same as H)")] = None,
    steps: Annotated[
        list[int] | None, typer.Option(help="T; repeat for several. (default: 128)")
    ] = None,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    rounds: Annotated[int, typer.Option(help="Rounds; each times every contender once.")] = 7,
    threads: Annotated[
        int, typer.Option(help="Threads of each contender, except the floor and the Python loop.")
    ] = 1,
    workers: Annotated[
        int | None,
        typer.Option(help="Compare a step of training on so many workers of Dask's, instead."),
    ] = None,
    to: Annotated[
        str | None, typer.Option("--json", metavar="FILE", help="Write a record.")
    ] = None,
) -> None:
    """Time a layer of your sizes, also in torch, JAX and onnxruntime if they are installed.

    The floor is the time of the same matrix products by BLAS alone. With --workers, a step of
    training is compared with that of one process, and extrapolated to more workers.
    """
    several = {"cells": cell, "batches": batch, "hidden": hidden, "steps": steps}
    given: dict[str, Any] = {"dtype": dtype, "rounds": rounds}
    given |= {name: tuple(value) for name, value in several.items() if value}
    if workers is not None:
        from .bench_cluster import ClusterSizes, bench_cluster

        if work != "train" or threads != 1:
            name = "threads" if threads != 1 else "work"
            raise ValueError(f"{name}: expected its default with --workers, got another")
        cluster_sizes = ClusterSizes(workers, inputs=inputs, **given)
        check_cluster(workers, None)
        bench_cluster(cluster_sizes, Console(), _path("json", to))
        return
    from .bench import Sizes
    from .bench import bench as measure

    given["threads"] = threads
    sizes = Sizes(work=work, inputs=inputs, **given)
    measure(sizes, Console(), _path("json", to))


@app.command()
def info() -> None:
    """Show versions, backends, and the BLAS library in use."""
    show_info(Console())


# What a person at the command line can put right.
_USER_ERRORS = (
    ValueError,
    FloatingPointError,
    ImportError,
    OSError,
    BackendUnavailable,
)
# What libraries say that have a RuntimeError for it.
_NO_MEMORY = re.compile("out of memory|can't allocate|cannot allocate|RESOURCE_EXHAUSTED", re.I)


def run() -> None:
    """Run the app; errors that the user can fix are one line, not a traceback."""
    try:
        app()
    except Interrupted:
        raise KeyboardInterrupt from None
    except _USER_ERRORS as error:
        _end(str(error))
    except (MemoryError, RuntimeError, OverflowError) as error:
        if isinstance(error, RuntimeError) and not _NO_MEMORY.search(str(error)):
            _fail()
        _end(f"memory: not enough for this command ({error})")
    except Exception:
        _fail()


def _end(message: str) -> NoReturn:
    Console(stderr=True, highlight=False, soft_wrap=True).print(
        f"[bold red]error:[/] {escape(message)}"
    )
    sys.exit(2)


def _fail() -> NoReturn:
    """Show a fault of the program as Python does, in printable characters."""
    sys.stderr.write(printable(traceback.format_exc()))
    sys.exit(1)
