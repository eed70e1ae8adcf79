"""A training run as it stands, and what watches it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .._arrays import checks as check
from .._arrays.namespace import Array
from ..model import RNN
from ..optimizers import Optimizer, adam

__all__ = ["Callback", "Run"]


@check.named_options
@dataclass
class Run:
    """A training run as it stands: what callbacks look at, and what `train` returns.

    Attributes
    ----------
    model : RNN
    params : dict of str to array
        After ``step`` updates.
    optimizer : callable
    optimizer_state : dict or None
    state : hidden state carried to the next batch, or None
    step, steps : int
        Updates made, and to be made in all.
    loss : float
        Mean training loss since the last log, over batches in which something counts; NaN if there
        was none, and before the first log.
    learning_rate : float
        Of the last update.
    evaluation : float
        Latest loss on the validation batches; NaN before the first evaluation.
    best_evaluation, best_step : float, int
        The lowest one, and the step at which it was reached.
    best_params : dict or None
        The parameters at that step.
    stop_reason : str or None
        Why the run ended before ``steps``, or None.
    seed : int
        From which, with the step, the masks of dropout are drawn.
    pending : list of arrays, shape ()
        Losses since the last log, not read yet; NaN of batches in which nothing counts, and
        infinity in the place of any other NaN.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(4, 5)
    >>> run = prnn.training.Run(model, model.init(seed=0), steps=100)
    >>> run.step, run.done
    (0, False)
    """

    model: RNN
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
    stop_reason: str | None = None
    pending: list[Array] = field(default_factory=list, repr=False)
    seed: int = 0

    def stop(self, reason: str) -> None:
        """End the run after the current step; the first reason given is kept.

        Raises
        ------
        TypeError, ValueError
            If the reason is no text, or an empty one.
        """
        self.stop_reason = self.stop_reason or check.text("reason", reason, least=1)

    @property
    def done(self) -> bool:
        """Whether there is no step left to make."""
        return self.step >= self.steps


class Callback:
    """Watches a run. Override what you need; call ``run.stop(reason)`` to end it.

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
        """Before the first step, of a new run or a resumed one."""

    def on_step(self, run: Run) -> None:
        """After every step. Reading an array here waits for the device."""

    def on_log(self, run: Run) -> None:
        """Every ``log_every`` steps: ``run.loss`` is new."""

    def on_evaluate(self, run: Run) -> None:
        """Every ``evaluate_every`` steps: ``run.evaluation`` is new."""

    def on_save(self, run: Run, path: Path) -> None:
        """After a checkpoint is on the disk."""

    def on_end(self, run: Run) -> None:
        """After the last step, or the one at which the run was stopped."""
