"""The loop a user runs: batches, evaluation, early stopping, checkpoints, resume.

A run is a pure function of the model, the first parameters, the batches and the options:
`train` can be stopped at any moment, by Ctrl-C or by kill -9, and called again with
``resume=True``, and it ends with the same parameters, bit for bit, as if nothing had happened.
"""

import functools
import math
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import _check as check
from ._namespace import Array, as_one_unit, detached, device_of
from .api import bptt, predict
from .batches import Batches
from .checkpoints import check_savable, load_checkpoint, save_checkpoint
from .dropout import Masks, draw
from .losses import softmax_cross_entropy
from .model import RNN
from .optimizers import Optimizer, adam, clip_by_global_norm
from .passes import Loss, step_weights
from .schedules import constant
from .sources import check_source, checked_batch

__all__ = ["Callback", "Run", "evaluate", "train"]

Schedule = Callable[[int], float]


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
        Mean training loss since the last log; NaN before the first.
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
        Losses since the last log, not read yet.

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


def train(
    model: RNN,
    params: Mapping[str, Array],
    batches: Batches,
    *,
    steps: int,
    optimizer: Optimizer = adam,
    lr: float | Schedule = 1e-3,
    loss: Loss = softmax_cross_entropy,
    max_norm: float | None = None,
    seed: int = 0,
    validation: Batches | None = None,
    evaluate_every: int | None = None,
    patience: int | None = None,
    log_every: int = 10,
    callbacks: Iterable[Callback] = (),
    checkpoint: str | os.PathLike[str] | None = None,
    save_every: int = 100,
    resume: bool = False,
) -> Run:
    """Train a network.

    Parameters
    ----------
    model : RNN
    params : dict of str to array
        The first parameters, from ``model.init``; not written to. Their library, dtype and
        device are those of the run.
    batches : Batches
        Such as `Shuffled` or `Windows` of :mod:`portable_rnn.batches`.
    steps : int
        Updates in all, those before a resume included.
    optimizer : callable ``(params, grads, state, lr=...) -> (params, state)``
    lr : float, or callable from the step to a float
    loss : callable
        As for :func:`portable_rnn.bptt`; a batch's ``weights`` are passed on if there are any.
    max_norm : float, optional
        Clip the gradient to this joint norm.
    seed : int
        Of dropout and zoneout, if the model has any: step n draws its masks by ``(seed, n)``.
    validation : Batches, optional
        Evaluated every ``evaluate_every`` steps, and after the last one, unless the run is
        stopped before.
    evaluate_every : int, optional
        Steps between two evaluations; by default there are ten in a run.
    patience : int, optional
        Stop after this many evaluations without a new best.
    log_every : int
        Steps between two readings of the loss, each of which waits for the device.
    callbacks : iterable of Callback
    checkpoint : path, optional
        File to save to every ``save_every`` steps, at the end, and when interrupted: with a
        checkpoint, the first Ctrl-C finishes the step, saves and returns. Without ``resume`` a
        file that is there is an error: it may be hours of work.
    save_every : int
        Steps between two saves.
    resume : bool
        Go on from the checkpoint if there is one. Model, batches and optimizer are compared
        with those it was made with; that data, ``lr`` and loss are the same is for you to see to.

    Returns
    -------
    Run

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.
    ImportError
        If there is a ``checkpoint``, and safetensors is not installed (extra ``checkpoint``).
    FloatingPointError
        If the loss is no longer finite. The last checkpoint stays as it is.
    portable_rnn.serialization.CheckpointError
        If the checkpoint cannot be read, or belongs to another model or other batches.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=1, hidden_size=8, output_size=1)
    >>> x = np.sin(np.linspace(0, 20, 200, dtype=np.float32)).reshape(20, 10, 1)
    >>> run = prnn.training.train(
    ...     model,
    ...     model.init(seed=0),
    ...     prnn.batches.Shuffled(x[:-1], x[1:], batch_size=5),
    ...     steps=50,
    ...     lr=0.01,
    ...     loss=prnn.losses.mean_squared_error,
    ... )
    >>> run.step, run.loss < 0.5
    (50, True)
    """
    xp = check.parameters(model, params)
    for name, value in (("steps", steps), ("log_every", log_every), ("save_every", save_every)):
        check.count(name, value)
    for name, option in (("evaluate_every", evaluate_every), ("patience", patience)):
        if option is not None:
            check.count(name, option)
            if validation is None:
                raise ValueError(f"{name}: needs validation batches, got none")
    schedule = lr if callable(lr) else functools.partial(constant, lr=lr)
    evaluate_every = evaluate_every or max(1, steps // 10)
    callbacks = tuple(callbacks)
    path = None if checkpoint is None else Path(checkpoint)
    if path is not None and not path.parent.is_dir():
        raise ValueError(f"checkpoint: expected an existing folder, got {path.parent}")

    if resume and path is None:
        raise ValueError("resume: needs a checkpoint to go on from, got none")
    check_source("batches", batches, model)
    if validation is not None:
        check_source("validation", validation, model)

    if path is not None and path.exists() and not resume:
        raise ValueError(f"checkpoint: {path} exists; pass resume=True to go on, or another path")
    for name, function in (("optimizer", optimizer), ("loss", loss)):
        if not callable(function):
            raise TypeError(f"{name}: expected a callable, got {function!r}")

    run = Run(model, {name: detached(p) for name, p in params.items()}, steps, optimizer)
    run.seed = check.integer("seed", seed, least=0)
    if path is not None:
        check_savable(run, batches)
    if resume and path is not None and path.exists():
        load_checkpoint(path, run, batches, xp, device_of(next(iter(params.values()))))
    update = as_one_unit(xp, functools.partial(_update, model, optimizer, loss, max_norm))

    def tell(event: str, *args: Any) -> None:
        for callback in callbacks:
            getattr(callback, event)(run, *args)

    def save() -> None:
        if path is not None:
            _refuse_nonfinite(run)
            save_checkpoint(path, run, batches)
            tell("on_save", path)

    if validation is not None:
        _lose_patience(run, evaluate_every, patience)  # the run may have ended before
    tell("on_start")
    with _interruptible(run, enabled=path is not None):
        while not run.done and run.stop_reason is None:
            batch = checked_batch("batches", batches, run.step, model, run.params, run.state)
            run.learning_rate = float(schedule(run.step))
            run.params, run.optimizer_state, run.state, value = update(
                run.params,
                run.optimizer_state,
                None if batch.fresh else run.state,
                batch.x,
                batch.targets,
                batch.weights,
                batch.lengths,
                draw(model, batch.x, (run.seed, run.step)),
                run.learning_rate,
            )
            if path is not None and run.step == 0:
                check_savable(run, batches)  # the optimizer's state too, now that there is one
            run.pending.append(value)
            run.step += 1
            tell("on_step")
            if run.step % log_every == 0 or run.done:
                run.loss = _refuse_nonfinite(run)
                run.pending.clear()
                tell("on_log")
            if validation is not None and (run.step % evaluate_every == 0 or run.done):
                _evaluate(run, validation, loss)
                tell("on_evaluate")
                _lose_patience(run, evaluate_every, patience)
            if run.step % save_every == 0 and not run.done:
                save()
    save()
    tell("on_end")
    return run


def evaluate(
    model: RNN,
    params: Mapping[str, Array],
    batches: Batches,
    *,
    loss: Loss = softmax_cross_entropy,
) -> float:
    """Return the mean loss over one epoch of batches.

    Each batch counts by the sum of its weights or, where it has none, by its steps: of a ragged
    one, by those that there are. (A loss that leaves out steps by itself, by ``ignore_index``, does
    so within a batch only.)

    Parameters
    ----------
    model, params, batches, loss
        As for `train`. The state is carried where the batches say so.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If parameters or batches do not fit the model; the message names the argument.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=1, hidden_size=8, output_size=2)
    >>> x, labels = np.zeros((5, 4, 1), np.float32), np.zeros((5, 4), np.int64)
    >>> source = prnn.batches.Shuffled(x, labels, batch_size=2)
    >>> bool(prnn.training.evaluate(model, model.init(seed=0), source) > 0)
    True
    """
    check.parameters(model, params)
    check_source("batches", batches, model, described=False)
    return _mean_loss("batches", model, params, batches, loss)


def _mean_loss(
    name: str, model: RNN, params: Mapping[str, Array], batches: Batches, loss: Loss
) -> float:
    """Do what `evaluate` does, on batches that are called ``name`` in errors."""
    xp = check.parameters(model, params)
    measure = as_one_unit(xp, functools.partial(_measure, model, loss))
    state = None
    values: list[Array] = []
    counts: list[float] = []
    for step in range(batches.steps_per_epoch):
        batch = checked_batch(name, batches, step, model, params, state)
        weights = batch.weights
        if batch.lengths is not None:
            weights = step_weights(model, batch.x, batch.lengths, None, weights)
        before = None if batch.fresh else state
        value, state = measure(params, before, batch.x, batch.targets, weights, batch.lengths)
        weight = math.prod(batch.x.shape[:-1])
        if weights is not None:
            weight = float(xp.sum(xp.astype(weights, batch.x.dtype)))
        values.append(value)
        counts.append(weight)
    # The mean of nothing is NaN, and must not make the mean of everything so.
    total: float = sum(float(v) * n for v, n in zip(values, counts, strict=True) if n)
    return total / sum(counts)


def _update(
    model: RNN,
    optimizer: Optimizer,
    loss: Loss,
    max_norm: float | None,
    params: dict[str, Array],
    optimizer_state: dict[str, Any] | None,
    state: Any,
    x: Array,
    targets: Any,
    weights: Array | None,
    lengths: Any,
    masks: Masks,
    lr: Any,
) -> tuple[dict[str, Array], dict[str, Any], Any, Array]:
    """One step of training, as a pure function of arrays."""
    options = {} if weights is None else {"weights": weights}
    given = {"state": state, "lengths": lengths, "dropout": masks, "grad_x": False}
    result = bptt(model, params, x, targets, loss=loss, **given, **options)
    grads = result.grads
    if max_norm is not None:
        grads, _ = clip_by_global_norm(grads, max_norm)
    params, optimizer_state = optimizer(params, grads, optimizer_state, lr=lr)
    return params, optimizer_state, result.state, result.loss


def _measure(
    model: RNN,
    loss: Loss,
    params: dict[str, Array],
    state: Any,
    x: Array,
    targets: Any,
    weights: Array | None,
    lengths: Any,
) -> tuple[Array, Any]:
    """The loss of one batch without its gradient; ``weights`` know of the lengths."""
    options = {} if weights is None else {"weights": weights}
    outputs, state = predict(model, params, x, state, lengths=lengths, return_state=True)
    return loss(outputs, targets, **options)[0], state


def _evaluate(run: Run, validation: Batches, loss: Loss) -> None:
    run.evaluation = _mean_loss("validation", run.model, run.params, validation, loss)
    if run.evaluation < run.best_evaluation:
        run.best_evaluation, run.best_step = run.evaluation, run.step
        run.best_params = run.params


def _lose_patience(run: Run, evaluate_every: int, patience: int | None) -> None:
    waited = run.step - run.best_step
    if patience is not None and run.best_params and waited >= patience * evaluate_every:
        run.stop(f"no better evaluation since step {run.best_step}")


def _refuse_nonfinite(run: Run) -> float:
    """Return the mean of the pending losses; a run that has diverged is never saved."""
    if not run.pending:
        return run.loss
    mean: float = sum(map(float, run.pending)) / len(run.pending)
    if not math.isfinite(mean):
        raise FloatingPointError(
            f"loss: expected a finite number, got {mean} by step {run.step}, and nothing was "
            "saved; see that inputs are finite and labels in range, lower lr, or set max_norm"
        )
    return mean


@contextmanager
def _interruptible(run: Run, *, enabled: bool) -> Iterator[None]:
    """Turn the first Ctrl-C into a request to stop; the second is a KeyboardInterrupt."""
    if not enabled or threading.current_thread() is not threading.main_thread():
        yield
        return

    def request(signum: int, frame: Any) -> None:
        run.stop("interrupted")
        signal.signal(signal.SIGINT, before)

    before = signal.signal(signal.SIGINT, request)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
