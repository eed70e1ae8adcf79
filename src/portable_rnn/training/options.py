"""Check the arguments of `train`."""

import functools
import inspect
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._arrays import checks as check
from .._arrays.namespace import Array, Namespace
from .._calls.checks import check_model
from ..batches import Batches
from ..losses import softmax_cross_entropy
from ..model import RNN
from ..optimizers.inner import check_optimizer, refuse_scaled
from ..schedules import constant
from .distributed import DistributedObjective
from .names import loss_of, metrics_of, optimizer_of
from .objective import ModelObjective, Objective, OwnObjective, takes_seed
from .progress import check_progress
from .run import Callback, Run
from .sources import check_source

__all__ = ["Options", "Schedule"]

Schedule = Callable[[int], float]


@dataclass
class Options:
    """The arguments of `train`, checked; errors name the argument.

    ``schedule`` is ``lr`` as a function of the step, and of the run too if ``reads_run``; ``path``
    is ``checkpoint`` as an absolute path, and ``xp`` is the library of the parameters.
    """

    model: RNN | None
    params: Mapping[str, Array]
    batches: Batches
    steps: Any  # a number, once checked
    epochs: int | None
    optimizer: Any  # a function, once checked, as the loss
    lr: float | Schedule
    loss: Any
    metrics: Any
    gradients: Callable[..., Any] | None
    predict: Callable[..., Any] | None
    max_norm: float | None
    seed: int
    validation: Batches | None
    evaluate_every: int | None
    patience: int | None
    log_every: int
    callbacks: Iterable[Callback]
    checkpoint: str | os.PathLike[str] | None
    save_every: int
    resume: bool
    progress: Any
    objective: Objective = field(init=False)
    xp: Namespace = field(init=False)
    schedule: Callable[..., float] = field(init=False)
    reads_run: bool = field(init=False, default=False)
    path: Path | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.loss, self.metrics = loss_of(self.loss), metrics_of(self.metrics)
        self.optimizer = optimizer_of(self.optimizer)
        self.objective = self._objective()
        self.xp = self.objective.check_params(self.params)
        self.progress = check_progress(self.progress)
        self._check_steps()
        for name in ("log_every", "save_every"):
            setattr(self, name, check.count(name, getattr(self, name)))
        for name in ("evaluate_every", "patience"):
            if (value := getattr(self, name)) is not None:
                setattr(self, name, check.count(name, value))
                if self.validation is None:
                    raise ValueError(f"{name}: needs validation batches, got none")
        if self.max_norm is not None:
            self.max_norm = check.number("max_norm", self.max_norm, above=0.0, infinite=True)
        if callable(self.lr):
            self.reads_run = _takes_run(self.lr)
            given = {"run": None} if self.reads_run else {}
            check.function("lr", self.lr, "(step)", "step", **given)
            self.schedule = self.lr
        else:
            rate = check.number("lr", self.lr, least=0.0)
            self.schedule = functools.partial(constant, lr=rate)
        self.callbacks = checked_callbacks(self.callbacks)
        self._check_checkpoint()
        self._check_sources()
        if self.epochs is not None:
            self.steps = self.epochs * self.batches.steps_per_epoch
        check_optimizer("optimizer", self.optimizer)
        if self.max_norm is not None:
            remedy = "clip inside it, mixed_precision(clip_norm(...)), instead of by max_norm"
            refuse_scaled("optimizer", self.optimizer, remedy)
        if self.gradients is not None:
            remedy = "gradients=... does not know the scale"
            refuse_scaled("optimizer", self.optimizer, remedy)
        if not callable(self.loss):
            raise TypeError(f"loss: expected a callable, got {check.said(self.loss)}")
        self.seed = check.integer("seed", self.seed, least=0)

    def rate(self, run: Run) -> float:
        """Return the learning rate of the next update."""
        rate = self.schedule(run.step, run=run) if self.reads_run else self.schedule(run.step)
        return check.number("lr", rate, least=0.0)

    def _objective(self) -> Objective:
        """Return what is minimised."""
        if self.gradients is None:
            if self.predict is not None:
                raise ValueError("predict: expected gradients=... with it, got none")
            return ModelObjective(self.model, self.loss, self.metrics)  # type: ignore[arg-type]
        if self.model is not None:
            check_model(self.model)
        if isinstance(self.gradients, DistributedObjective):
            return self._distributed(self.gradients)
        three, form = ("params", "batch", "state"), "(params, batch, state)"
        seed = {"seed": (0, 0)} if callable(self.gradients) and takes_seed(self.gradients) else {}
        check.function("gradients", self.gradients, form, *three, **seed)
        if self.predict is not None:
            check.function("predict", self.predict, form, *three)
        elif self.validation is not None:
            raise ValueError("predict: expected one for validation with gradients=..., got none")
        elif self.metrics:
            raise ValueError("metrics: with gradients=... they need predict and validation")
        elif self.loss is not softmax_cross_entropy:
            raise ValueError("loss: with gradients=... it needs predict and validation")
        return OwnObjective(self.model, self.loss, self.metrics, self.gradients, self.predict)

    def _distributed(self, gradients: DistributedObjective) -> Objective:
        """Return gradients that have a model, a loss and metrics of their own."""
        kind = type(gradients).__name__
        if self.model is not None and self.model != gradients.model:
            raise ValueError(f"model: expected that of {kind}, or None, got another")
        if self.predict is not None or self.metrics or self.loss is not softmax_cross_entropy:
            name = "predict" if self.predict else "metrics" if self.metrics else "loss"
            raise ValueError(f"{name}: expected none with {kind}, which has its own")
        self.model = gradients.model
        return gradients

    def _check_steps(self) -> None:
        """Check that there is a number of steps, or one of epochs."""
        if self.epochs is None and self.steps is None:
            raise TypeError("steps: expected steps or epochs, got neither")
        if self.epochs is None:
            self.steps = check.count("steps", self.steps)
        elif self.steps is None:
            self.epochs = check.count("epochs", self.epochs)
        else:
            raise TypeError(f"epochs: expected none with steps, got {check.said(self.epochs)}")

    def _check_checkpoint(self) -> None:
        self.resume = check.flag("resume", self.resume)
        if self.checkpoint is not None:
            # A callback may change the working directory.
            self.path = check.path("checkpoint", self.checkpoint).absolute()
            if not self.path.parent.is_dir():
                folder = self.path.parent
                raise ValueError(f"checkpoint: expected an existing folder, got {folder}")
            if self.path.is_dir():
                raise ValueError(f"checkpoint: expected a file, got the folder {self.path}")
        elif self.resume:
            raise ValueError("resume: needs a checkpoint to go on from, got none")

    def _check_sources(self) -> None:
        described = self.path is not None
        whole = self.epochs is not None
        check_source("batches", self.batches, self.model, evaluated=whole, described=described)
        if self.validation is not None:
            check_source(
                "validation", self.validation, self.model, evaluated=True, described=described
            )


def checked_callbacks(callbacks: Any) -> tuple[Callback, ...]:
    """Check that every callback has a method for every event; return them as a tuple."""
    try:
        found = tuple(callbacks)
    except Exception:  # any object may be given, and raise anything
        wanted = "an iterable of Callback"
        raise TypeError(f"callbacks: expected {wanted}, got {check.said(callbacks)}") from None
    for i, callback in enumerate(found):
        if isinstance(callback, type):
            name = callback.__name__
            raise TypeError(f"callbacks[{i}]: expected a Callback, got the class {name}")
        for event in (name for name in vars(Callback) if name.startswith("on_")):
            taken = ("run", "path") if event == "on_save" else ("run",)
            method = getattr(callback, event, None)
            check.function(f"callbacks[{i}].{event}", method, f"({', '.join(taken)})", *taken)
    return found


def _takes_run(schedule: Any) -> bool:
    """Return whether a schedule is to be given the run besides the step."""
    try:
        run = inspect.signature(schedule).parameters.get("run")
    except (TypeError, ValueError):  # functions not written in Python may have no signature
        return False
    return run is not None and run.default is run.empty
