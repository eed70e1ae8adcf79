"""A training run in progress, and its callbacks."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._arrays import checks as check
from .._arrays.namespace import Array
from .._arrays.shown import short_repr
from ..batches import Batch
from ..model import RNN
from ..optimizers import Optimizer, adam

__all__ = ["Callback", "Run"]

# What is of interest when a run is shown.
MEASURED = (
    *("model", "step", "steps", "loss", "metrics", "gradient_norm"),
    *("evaluation", "evaluation_metrics", "best_evaluation", "best_step", "stop_reason"),
)


@check.named_options
@dataclass
class Run:
    """A training run in progress: what callbacks are given, and what `train` returns.

    Attributes
    ----------
    model : RNN or None
    params : dict of str to array
        Parameters after ``step`` updates.
    optimizer : callable
    optimizer_state : dict or None
    state : hidden state carried to the next batch, or None
    step, steps : int
        Updates made, and to be made in total.
    loss : float
        Mean training loss since the last log, over batches in which something counts; NaN if there
        was none, and before the first log.
    metrics : dict of str to float
        Metrics of the training batches since the last log, as ``loss``.
    gradient_norm : float
        Joint norm of the gradient at the last log, before it was clipped; NaN without ``max_norm``.
        (With ``max_norm=math.inf`` it is measured, and nothing is clipped.)
    learning_rate : float
        Learning rate of the last update.
    batch : Batch or None
        The batch of the last update; None before the first one of this call of `train`.
    seconds : float
        Time since this call of `train` began, at its last log, evaluation or step.
    evaluation : float
        Latest loss on the validation batches; NaN before the first evaluation.
    evaluation_metrics : dict of str to float
        Metrics of the validation batches at that evaluation.
    best_evaluation, best_step : float, int
        The lowest evaluation, and the step at which it was reached.
    best_params : dict or None
        The parameters at that step.
    evaluate_every : int or None
        Steps between two evaluations.
    stop_reason : str or None
        Why the run ended before ``steps``, or None.
    seed : int
        Used with the step to draw the dropout masks.
    pending : list of arrays, shape ()
        Losses since the last log, not read yet; NaN for batches in which nothing counts, and
        infinity instead of any other NaN.
    pending_norm : array, shape (), or None
        Norm of the last gradient, not read yet.
    pending_metrics : list of dicts of arrays
        What metrics have measured since the last log, not read yet.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(4, 5)
    >>> run = prnn.training.Run(model, model.init(seed=0), steps=100)
    >>> run.step, run.done
    (0, False)
    """

    model: RNN | None
    params: dict[str, Array]
    steps: int
    optimizer: Optimizer = adam
    optimizer_state: dict[str, Any] | None = None
    state: Any = None
    step: int = 0
    loss: float = float("nan")
    learning_rate: float = float("nan")
    evaluation: float = float("nan")
    best_evaluation: float = float("inf")
    best_step: int = 0
    best_params: dict[str, Array] | None = None
    evaluate_every: int | None = None
    stop_reason: str | None = None
    pending: list[Array] = field(default_factory=list, repr=False)
    seed: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    gradient_norm: float = float("nan")
    batch: Batch | None = field(default=None, repr=False)
    seconds: float = 0.0
    evaluation_metrics: dict[str, float] = field(default_factory=dict)
    pending_norm: Array | None = field(default=None, repr=False)
    pending_metrics: list[dict[str, Array]] = field(default_factory=list, repr=False)

    def __repr__(self) -> str:
        """Return what was measured, and how many arrays the rest are."""
        return short_repr(
            self, first=MEASURED, counted=("params", "optimizer_state", "best_params")
        )

    def stop(self, reason: str) -> None:
        """End the run after the current step; the first reason given is kept.

        Raises
        ------
        TypeError, ValueError
            If the reason is not a string, or is empty.
        """
        self.stop_reason = self.stop_reason or check.text("reason", reason, least=1)

    @property
    def done(self) -> bool:
        """Whether all steps have been made."""
        return self.step >= self.steps


class Callback:
    """Watch a run: override the methods you need, and call ``run.stop(reason)`` to end it.

    Examples
    --------
    >>> from portable_rnn.training import Callback
    >>> class GoodEnough(Callback):
    ...     def on_log(self, run):
    ...         if run.loss < 0.01:
    ...             run.stop("good enough")
    >>> callbacks = [GoodEnough()]  # an argument of `train`
    """

    def on_start(self, run: Run) -> None:
        """Called before the first step of a new or resumed run."""

    def on_step(self, run: Run) -> None:
        """Called after every step; reading an array here waits for the device."""

    def on_log(self, run: Run) -> None:
        """Called every ``log_every`` steps, when ``run.loss`` is new."""

    def on_evaluate(self, run: Run) -> None:
        """Called every ``evaluate_every`` steps, when ``run.evaluation`` is new."""

    def on_save(self, run: Run, path: Path) -> None:
        """Called after a checkpoint has been saved."""

    def on_end(self, run: Run) -> None:
        """Called after the last step, or the one at which the run was stopped."""
