"""The loop a user runs: batches, evaluation, early stopping, checkpoints, resume.

A run is a pure function of the model, the first parameters, the batches and the options:
`train` can be stopped at any moment, by Ctrl-C or by kill -9, and called again with
``resume=True``, and it ends with the same `Run`, bit for bit, as if nothing had happened.
"""

import functools
import math
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from . import _check as check
from ._namespace import (
    Array,
    Namespace,
    as_one_unit,
    detached,
    device_of,
    is_array,
    namespace_of,
    wider,
)
from .api import bptt, predict
from .batches import Batches
from .checkpoints import check_savable, describe, load_checkpoint, save_checkpoint
from .dropout import Masks, draw
from .losses import softmax_cross_entropy
from .model import RNN
from .optimizers import Optimizer, adam, clip_by_global_norm
from .passes import Loss, returned_by_loss, step_weights
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
        Steps between two evaluations; by default there are ten in a run. A run that is resumed
        goes on as it was begun.
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
        Go on from the checkpoint if there is one. What fixes the run is compared with what it was
        begun with: ``model``, ``seed``, ``max_norm``, ``evaluate_every``; of optimizer, loss and
        ``lr``, the names of functions and the options fixed by :func:`functools.partial`, and the
        last rate; of batches and validation, what they say of themselves and a checksum of the
        first batch. That functions of the same name, and the data beyond, are the same is for you
        to see to. ``steps`` may be more than before.

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
        If the loss, or a parameter that would be saved, is no longer finite. The last checkpoint
        stays as it is. (A loss of NaN with gradients of zero is the mean of a batch in which
        nothing counts, by lengths, weights or labels: the optimizer takes a step with these zeros,
        and the loss is left out.)
    portable_rnn.serialization.CheckpointError
        If the checkpoint cannot be read, is damaged, or belongs to another run.
    OSError
        If the checkpoint cannot be written. The last one stays as it is.

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
    steps, log_every = check.count("steps", steps), check.count("log_every", log_every)
    save_every = check.count("save_every", save_every)
    if evaluate_every is not None:
        evaluate_every = check.count("evaluate_every", evaluate_every)
    if patience is not None:
        patience = check.count("patience", patience)
    for name, option in (("evaluate_every", evaluate_every), ("patience", patience)):
        if option is not None and validation is None:
            raise ValueError(f"{name}: needs validation batches, got none")
    if max_norm is not None:
        max_norm = check.number("max_norm", max_norm, above=0.0, infinite=True)
    if callable(lr):
        check.function("lr", lr, "(step)", "step")
    else:
        lr = functools.partial(constant, lr=check.number("lr", lr, least=0.0))
    callbacks = _checked_callbacks(callbacks)
    resume = check.flag("resume", resume)
    path = None if checkpoint is None else check.path("checkpoint", checkpoint)
    if path is not None and not path.parent.is_dir():
        raise ValueError(f"checkpoint: expected an existing folder, got {path.parent}")

    if resume and path is None:
        raise ValueError("resume: needs a checkpoint to go on from, got none")
    check_source("batches", batches, model, evaluated=False, described=path is not None)
    if validation is not None:
        check_source("validation", validation, model, evaluated=True, described=path is not None)

    if path is not None and path.exists() and not resume:
        raise ValueError(f"checkpoint: {path} exists; pass resume=True to go on, or another path")
    form = "(params, grads, state, lr=...)"
    check.function("optimizer", optimizer, form, "params", "grads", "state", lr=0.0)
    if not callable(loss):
        raise TypeError(f"loss: expected a callable, got {check.said(loss)}")

    run = Run(model, {name: detached(p) for name, p in params.items()}, steps, optimizer)
    run.seed = check.integer("seed", seed, least=0)
    described: dict[str, Any] = {}
    kept: Run | None = None  # the run as a file has it where its steps have ended
    every = None if validation is None else evaluate_every or max(1, steps // 10)
    if path is not None:
        described = describe(run, batches, validation, loss=loss, lr=lr, max_norm=max_norm)
        check_savable(run, described)
    if resume and path is not None and path.exists():
        device = device_of(next(iter(params.values())))
        every, ended = load_checkpoint(
            path, run, described, xp, device, lr=lr, evaluate_every=evaluate_every
        )
        if run.done and ended:
            kept = replace(run)
            run.pending, run.loss = [], ended["loss"]
            _note(run, ended["evaluation"])
    update = as_one_unit(xp, functools.partial(_update, model, optimizer, *_noted(loss), max_norm))

    def tell(event: str, *args: Any) -> None:
        for callback in callbacks:
            getattr(callback, event)(run, *args)

    def log() -> None:
        run.loss = _refuse_nonfinite(run)
        run.pending = []
        tell("on_log")

    def measure() -> None:
        if validation is not None and every is not None:
            _note(run, _mean_loss("validation", run.model, run.params, validation, loss))
            tell("on_evaluate")
            _lose_patience(run, every, patience)

    def save(kept: Run) -> None:
        if path is not None:
            _refuse_nonfinite(kept)
            _refuse_nonfinite_params(xp, kept)
            ended = {"loss": run.loss, "evaluation": run.evaluation} if run.done else None
            save_checkpoint(path, kept, described, evaluate_every=every, ended=ended)
            tell("on_save", path)

    if every is not None:
        _lose_patience(run, every, patience)  # the run may have ended before
    tell("on_start")
    with _interruptible(run, enabled=path is not None):
        while not run.done and run.stop_reason is None:
            batch = checked_batch("batches", batches, run.step, model, run.params, run.state)
            some = batch.weights is not None or batch.lengths is not None
            check.loss(train, loss, {}, weighted=some)
            run.learning_rate = check.number("lr", lr(run.step), least=0.0)
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
            if not run.pending:
                _check_updated(model, run.params)
            if path is not None and run.step == 0:
                check_savable(run, described)  # the optimizer's state too, now that there is one
            run.pending.append(value)
            run.step += 1
            tell("on_step")
            if run.step % log_every == 0:
                log()
            if every is not None and run.step % every == 0:
                measure()
            if run.step % save_every == 0 and not run.done:
                save(run)
        if kept is None:
            # Where its steps end, a run logs and evaluates once more. It would not have done so
            # with more steps, and may be given more: the file keeps what was before.
            kept = replace(run)
            if run.done and run.pending:
                log()
            if run.done and every is not None and run.step % every:
                measure()
    save(kept)
    tell("on_end")
    return run


def _checked_callbacks(callbacks: Any) -> tuple[Callback, ...]:
    """Return callbacks, each of which has a method for every event."""
    try:
        found = tuple(callbacks)
    except Exception:  # of whatever kind, from an object of whatever kind
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
    so within a batch only.) One in which nothing counts is left out.

    Parameters
    ----------
    model, params, batches, loss
        As for `train`. The state is carried where the batches say so.

    Returns
    -------
    float
        NaN if nothing counts in any batch.

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
    check_source("batches", batches, model, evaluated=True, described=False)
    return _mean_loss("batches", model, params, batches, loss)


def _mean_loss(
    name: str, model: RNN, params: Mapping[str, Array], batches: Batches, loss: Loss
) -> float:
    """Do what `evaluate` does, on batches that are called ``name`` in errors."""
    xp = check.parameters(model, params)
    measure = as_one_unit(xp, functools.partial(_measure, model, loss))
    state = None
    values: list[Array] = []
    counts: list[tuple[float, Array]] = []
    for step in range(batches.steps_per_epoch):
        batch = checked_batch(name, batches, step, model, params, state)
        weights = batch.weights
        if batch.lengths is not None:
            weights = step_weights(model, batch.x, batch.lengths, None, weights)
        check.loss(evaluate, loss, {}, weighted=weights is not None)
        before = None if batch.fresh else state
        value, empty, state = measure(
            params, before, batch.x, batch.targets, weights, batch.lengths
        )
        weight = math.prod(batch.x.shape[:-1])
        if weights is not None:
            weight = float(xp.sum(xp.astype(weights, wider(xp, batch.x.dtype))))
        values.append(value)
        counts.append((weight, empty))
    # The mean of nothing is NaN, and must not make the mean of everything so.
    pairs = zip(values, counts, strict=True)
    counted = [(float(v), n) for v, (n, empty) in pairs if n and not bool(empty)]
    return sum(v * n for v, n in counted) / sum(n for _, n in counted) if counted else math.nan


def _noted(loss: Loss) -> tuple[Loss, list[Any]]:
    """Return a loss that notes what it returned, gradient and all, and the list with the note.

    Made once per run: what a function takes is looked up where it is seen for the first time.
    """
    note: list[Any] = []

    @functools.wraps(loss)
    def noted(*args: Any, **options: Any) -> Any:
        note[:] = [loss(*args, **options)]
        return note[0]

    return noted, note


def _update(
    model: RNN,
    optimizer: Optimizer,
    noted: Loss,
    note: list[Any],
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
    result = bptt(model, params, x, targets, loss=noted, **given, **options)
    grads = result.grads
    if max_norm is not None:
        grads, _ = clip_by_global_norm(grads, max_norm)
    returned = optimizer(params, grads, optimizer_state, lr=lr)
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        raise TypeError(
            f"optimizer: expected it to return (params, state), got {type(returned).__name__}"
        )
    params, optimizer_state = returned
    value, empty = _with_empty(note.pop())
    xp = namespace_of(loss=value)
    value = xp.where(xp.isnan(value) & ~empty, xp.full_like(value, math.inf), value)
    return params, optimizer_state, result.state, value


def _check_updated(model: RNN, params: Any) -> None:
    """Check what an optimizer has made of the parameters, the first time."""
    try:
        check.parameters(model, params)
    except (TypeError, ValueError) as error:
        raise type(error)(f"optimizer: what it returned has {error}") from None


def _measure(
    model: RNN,
    loss: Loss,
    params: dict[str, Array],
    state: Any,
    x: Array,
    targets: Any,
    weights: Array | None,
    lengths: Any,
) -> tuple[Array, Array, Any]:
    """The loss of one batch, and whether nothing counts; ``weights`` know of the lengths."""
    options = {} if weights is None else {"weights": weights}
    outputs, state = predict(model, params, x, state, lengths=lengths, return_state=True)
    returned = returned_by_loss(loss(outputs, targets, **options), outputs, x)
    return *_with_empty(returned), state


def _with_empty(found: tuple[Any, Array]) -> tuple[Array, Array]:
    """Return the value of a loss, and whether it is NaN for want of anything that counts."""
    value, d_outputs = found
    xp = namespace_of(d_outputs=d_outputs)
    if not is_array(value):  # of a loss of one's own
        value = xp.asarray(value, dtype=d_outputs.dtype, device=device_of(d_outputs))
    return value, xp.isnan(value) & ~xp.any(d_outputs != 0)


def _note(run: Run, evaluation: float) -> None:
    """Take down an evaluation, and whether it is the best."""
    run.evaluation = evaluation
    if evaluation < run.best_evaluation:
        run.best_evaluation, run.best_step = evaluation, run.step
        run.best_params = run.params


def _lose_patience(run: Run, evaluate_every: int, patience: int | None) -> None:
    waited = run.step - run.best_step
    if patience is not None and run.best_params and waited >= patience * evaluate_every:
        run.stop(f"no better evaluation since step {run.best_step}")


def _refuse_nonfinite(run: Run) -> float:
    """Return the mean of the pending losses; a run that has diverged is never saved."""
    if not run.pending:
        return run.loss
    losses = [loss for loss in map(float, run.pending) if not math.isnan(loss)]
    mean = sum(losses) / len(losses) if losses else math.nan
    if losses and not math.isfinite(mean):
        raise FloatingPointError(
            f"loss: expected a finite number, got NaN or infinity by step {run.step}, and nothing "
            "was saved; see that inputs are finite and labels in range, lower lr, or set max_norm"
        )
    return mean


def _refuse_nonfinite_params(xp: Namespace, run: Run) -> None:
    """Refuse to save what the last update has made of a loss that was still finite."""
    for name, param in run.params.items():
        if not bool(xp.all(xp.isfinite(param))):
            raise FloatingPointError(
                f"params[{name!r}]: expected finite numbers, got NaN or infinity by step "
                f"{run.step}, and nothing was saved; lower lr, or set max_norm"
            )


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
