"""``portable-rnn train``: a character-level language model, from a text to a run's folder."""

import functools
import hashlib
import math
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.panel import Panel
from rich.table import Table

from .. import __version__, schedules
from .._arrays import libraries as backends
from .._arrays.namespace import namespace_of
from .._files.atomic import leftovers, write_atomically
from ..batches import Batch, Windows
from ..distributed import DaskGradients
from ..model import RNN
from ..serialization import CheckpointError
from ..text import (
    XZ_CHARACTERS,
    Vocabulary,
    baselines,
    default_text,
    generate,
    read_text,
    split_text,
)
from ..training import Run, evaluate, train
from ..training.checkpoints import lock_checkpoint, said_of_previous
from .callbacks import BITS, Bar, TimeLimit, Weights, progress_bar
from .lock import locked
from .metrics import MetricsFile, read_metrics
from .settings import (
    CHECKPOINT,
    CHECKSUM,
    CONFIG,
    METRICS,
    PLOT,
    PREVIOUS,
    UNLIMITED,
    WEIGHTS,
    Settings,
    read_config,
    read_weights,
    refuse_another_run,
)
from .terminal import Console, messages_on, quoted, styled

__all__ = ["train_text"]

VALIDATION_BATCH_SIZE = 8
EVALUATE_EVERY = 250
SAVE_EVERY = 50
HELD_OUT = 2**20  # characters at most, or evaluations of a large text would take most of the time
PROMPT = "The "


def train_text(
    folder: Path, settings: Settings, console: Console, *, resume: bool, client: Any = None
) -> None:
    """Train, then show what was reached, a sample, and where the files are.

    With a client of Dask's, train on its cluster.
    """
    found = backends.find(settings.backend, settings.device, settings.dtype)
    text = default_text() if settings.text is None else read_text(map(Path, settings.text))
    most = max(HELD_OUT, VALIDATION_BATCH_SIZE * settings.window + 1)
    learned, held_out = split_text(
        text,
        batch_size=settings.batch_size,
        window=settings.window,
        validation_batch_size=VALIDATION_BATCH_SIZE,
        share=min(0.1, most / max(1, len(text))),
    )
    vocabulary = Vocabulary.of(text)
    model = RNN(
        settings.embedding,
        settings.hidden,
        len(vocabulary),
        cell=settings.cell,
        num_layers=settings.layers,
        dropout=settings.dropout,
        vocabulary_size=len(vocabulary),
    )
    _refuse_too_large(model)
    known = set(PROMPT) <= set(vocabulary.characters)
    prompt = PROMPT if known else held_out[:8]
    facts = {
        "prompt": prompt,
        "model": model.to_dict(),
        "vocabulary": vocabulary.characters,
        "text_sha256": _sha256(text),
    }
    del text  # which may be large
    with (
        _opened(folder, settings, facts, found, resume=resume) as config,
        _said_if_interrupted(folder, console),
    ):
        source = "Python's own help texts" if settings.text is None else ", ".join(settings.text)
        console.print(
            f"[bold]{settings.cell}[/], {_size(settings)}, on {settings.backend} "
            f"{found.version} ({found.device_name}, {settings.dtype}): learning {len(learned):,} "
            f"characters of {escape(source)}, {len(held_out):,} held out",
            highlight=False,
            soft_wrap=True,
        )
        with console.status("baselines"):
            levels = baselines(learned, held_out)
        windows = functools.partial(
            _windows,
            found=found,
            vocabulary=vocabulary,
            window=settings.window,
            config=config,
        )
        validation = windows(held_out, batch_size=VALIDATION_BATCH_SIZE)
        batches, characters = windows(learned, batch_size=settings.batch_size), len(learned)
        del learned
        schedule = functools.partial(schedules.constant, lr=settings.lr, warmup=20)
        if settings.steps != UNLIMITED:
            schedule = functools.partial(
                schedules.cosine,
                lr=settings.lr,
                steps=settings.steps,
                warmup=20,
                final=settings.lr / 20,
            )
        # A rate too large is told by the error that it ends in, not by NumPy's warnings before.
        with (
            messages_on(console),
            progress_bar(console) as progress,
            np.errstate(all="ignore"),
        ):
            bar = Bar(progress, settings.batch_size * settings.window)
            run = train(
                model,
                model.init(settings.seed, xp=found.xp, dtype=settings.dtype, device=found.device),
                batches,
                steps=settings.steps,
                lr=schedule,
                max_norm=1.0,
                seed=settings.seed,
                gradients=client and DaskGradients(client, model, shards=settings.shards),
                validation=validation,
                evaluate_every=EVALUATE_EVERY,
                callbacks=(
                    MetricsFile(folder / METRICS, config, EVALUATE_EVERY),
                    Weights(folder / WEIGHTS, config),
                    bar,
                    *([TimeLimit(settings.minutes)] if settings.minutes else []),
                ),
                checkpoint=folder / CHECKPOINT,
                save_every=SAVE_EVERY,
                resume=True,
            )
        if run.done and bar.first == run.step:
            console.print(
                f"[yellow]nothing to do: this run has made all its {run.step} steps; for a longer "
                "one, begin again with another --out[/]",
                highlight=False,
                soft_wrap=True,
            )
        _draw(folder, settings, levels, console)
        read = "the training text"
        if characters > XZ_CHARACTERS:
            read = f"its last {XZ_CHARACTERS:,} characters"
        _report(folder, run, vocabulary, levels, read, validation, prompt, console)


@contextmanager
def _said_if_interrupted(folder: Path, console: Console) -> Iterator[None]:
    """Say what is left of a run that is ended by SIGTERM, or at once by Ctrl-C."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit):
        if (folder / CHECKPOINT).exists():
            console.print(_go_on(folder), markup=False, highlight=False, soft_wrap=True)
        raise


def _sha256(text: str) -> str:
    """Return the checksum of a text in UTF-8, of which there is no copy as a whole."""
    found, part = hashlib.sha256(), 2**20
    for start in range(0, len(text), part):
        found.update(text[start : start + part].encode())
    return found.hexdigest()


def _go_on(folder: Path) -> str:
    return f"go on with: portable-rnn train --out {quoted(str(folder))} --resume"


def _refuse_too_large(model: RNN) -> None:
    """Refuse parameters beyond this machine's memory: where it is promised, nothing else would."""
    count = _parameter_count(model)
    memory = math.inf
    with suppress(AttributeError, ValueError, OSError):  # not all systems tell
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if 8 * count > memory:  # they are drawn in float64
        layers = f" in {model.num_layers:,} layers" if model.num_layers > 1 else ""
        raise ValueError(
            f"hidden: expected a model that fits into {memory / 2**30:.1f} GiB of memory, got "
            f"{model.hidden_size:,} units{layers}, with {count:.1e} parameters"
        )


def _parameter_count(model: RNN) -> int:
    """Count the parameters without naming each layer: from the second on they are alike."""
    few = min(model.num_layers, 3)
    counts = [
        sum(map(math.prod, replace(model, num_layers=n, dropout=0.0).parameter_shapes.values()))
        for n in (few, max(few - 1, 1))
    ]
    return counts[0] + (model.num_layers - few) * (counts[0] - counts[1])


def _size(settings: Settings) -> str:
    layers = f"{settings.layers} layers of " if settings.layers > 1 else ""
    return f"{layers}{settings.hidden} hidden units"


@contextmanager
def _opened(
    folder: Path,
    settings: Settings,
    facts: dict[str, Any],
    found: backends.Available,
    *,
    resume: bool,
) -> Iterator[str]:
    """Hold a run's folder for this process, and give the checksum of its configuration.

    A new run that fails before its first checkpoint leaves nothing: it would be in the way.
    """
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(f"out: cannot create the folder {folder}: {error.strerror}") from None
        with locked(folder):
            if resume:
                _look_over(folder, facts)
            else:
                refuse_another_run(folder)
                settings.write(folder, **facts, versions=_versions(settings, found))
            try:
                yield read_config(folder)[CHECKSUM]
            except BaseException:
                if not resume and not (folder / CHECKPOINT).exists():
                    for name in (CONFIG, METRICS):
                        (folder / name).unlink(missing_ok=True)
                raise
    except BaseException:
        for path in made:
            with suppress(OSError):  # there is something in it
                path.rmdir()
        raise


def _look_over(folder: Path, facts: dict[str, Any]) -> None:
    """See that the run in a folder is of the same text, and whole; clear what a crash left."""
    held = read_config(folder)
    for name, what in (("text_sha256", "text"), ("model", "model"), ("vocabulary", "vocabulary")):
        if held.get(name) != facts[name]:
            raise CheckpointError(f"{what}: the run in {folder} was made with another {what}")
    if (folder / WEIGHTS).exists() and not (folder / CHECKPOINT).exists():
        raise CheckpointError(
            f"{folder / CHECKPOINT}: file not found, but {WEIGHTS} is of a run that had one; "
            "restore it from a copy, or begin again with another --out"
            f"{said_of_previous(folder / CHECKPOINT)}"
        )
    if (folder / WEIGHTS).exists():  # which the next save would replace unseen
        try:
            read_weights(folder, held)
        except CheckpointError as error:
            raise CheckpointError(f"{error}; or delete it, and --resume writes it anew") from None
    with lock_checkpoint(folder / CHECKPOINT):  # or what is not written yet would look left over
        for name in (CONFIG, CHECKPOINT, PREVIOUS, WEIGHTS, METRICS, PLOT):
            for leftover in leftovers(folder / name):
                leftover.unlink()


def _versions(settings: Settings, found: backends.Available) -> dict[str, str]:
    return {
        "portable_rnn": __version__,
        "python": platform.python_version(),
        settings.backend: found.version,
        "device": found.device_name,
    }


class TextWindows(Windows):
    """The windows of a text, of which a checkpoint tells which run they are of.

    The labels of the text take as little memory as they can, and those of a window are int32.
    """

    config = ""

    def batch(self, step: int) -> Batch:
        """Return what `Windows` does, in int32."""
        batch = super().batch(step)
        xp = namespace_of(x=batch.x)
        x, targets = (xp.astype(labels, xp.int32) for labels in (batch.x, batch.targets))
        return batch._replace(x=x, targets=targets)

    def describe(self) -> dict[str, Any]:
        """Return what `Windows` does, and the checksum of the run's configuration."""
        return super().describe() | {"config": self.config}


def _windows(
    text: str,
    *,
    batch_size: int,
    found: backends.Available,
    vocabulary: Vocabulary,
    window: int,
    config: str,
) -> Windows:
    """Return the batches of a text: each character is to predict the next."""
    dtype = "int8" if len(vocabulary) <= 128 else "int16" if len(vocabulary) <= 2**15 else "int32"
    labels = found.xp.asarray(vocabulary.encode(text, dtype=dtype), device=found.device)
    batches = TextWindows(
        labels[:-1],
        labels[1:],
        batch_size=batch_size,
        window=window,
    )
    batches.config = config
    return batches


# ----------------------------------------------------------------------------- report


def _draw(folder: Path, settings: Settings, levels: dict[str, float], console: Console) -> None:
    from ..plots import learning_curve

    title = f"{settings.cell}, {_size(settings)}, {settings.backend}"
    try:
        rows = read_metrics(folder / METRICS)
        bits = ("training_bits", "validation_bits")
        curves = {name: [(row["step"], row[name]) for row in rows if name in row] for name in bits}
        picture = learning_curve(curves, levels, title)
    except ImportError:
        console.print(f"{PLOT} is not drawn: pip install matplotlib", markup=False)
        return
    write_atomically(folder / PLOT, picture)


def _report(
    folder: Path,
    run: Run,
    vocabulary: Vocabulary,
    levels: dict[str, float],
    read: str,
    validation: Windows,
    prompt: str,
    console: Console,
) -> None:
    assert run.model is not None  # it is only with gradients of one's own
    if run.stop_reason:
        console.print(f"[yellow]stopped at step {run.step}: {run.stop_reason}[/]")
    params, step, nats = run.best_params, run.best_step, run.best_evaluation
    if params is None:  # stopped before the first evaluation
        params, step = run.params, run.step
        nats = evaluate(run.model, params, validation)
    table = Table(title="bits per character on the held-out text", title_justify="left")
    table.add_column("model")
    table.add_column("bits", justify="right")
    table.add_row("unigram frequencies", f"{levels['unigram']:.3f}")
    table.add_row("bigram frequencies", f"{levels['bigram']:.3f}")
    table.add_row(f"xz, after reading {read}", f"{levels['xz']:.3f}")
    table.add_row(f"[bold]this network[/] (step {step})", f"[bold]{nats * BITS:.3f}[/]")
    console.print(table)
    drawn = generate(run.model, params, vocabulary, prompt=prompt, length=300, temperature=0.7)
    sample = styled((prompt, "dim"), "".join(drawn))
    console.print(Panel(sample, title="a sample", title_align="left"))

    out = quoted(str(folder))
    files = [f for f in (WEIGHTS, CONFIG, METRICS, PLOT, CHECKPOINT) if (folder / f).exists()]
    lines = [f"in {out}: {', '.join(files)}"]
    if not run.done:
        lines.append(_go_on(folder))
    lines.append(f"more text:  portable-rnn sample {out} --prompt {quoted(prompt)}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)
