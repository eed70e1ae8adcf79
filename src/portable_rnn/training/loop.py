"""The training loop: updates, with logs, evaluations and saves between them."""

import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from .._arrays import checks as check
from .._arrays.devices import device_context
from .._arrays.namespace import Array, device_of
from .._arrays.tracing import detached
from .._calls.loss import Loss
from .._files.atomic import previous
from ..batches import Batches
from ..losses import softmax_cross_entropy
from ..metrics.metric import combined
from ..model import RNN
from ..optimizers import Optimizer, adam
from .checkpoints import (
    MEASURED,
    check_savable,
    load_checkpoint,
    lock_checkpoint,
    said_of_previous,
    save_checkpoint,
)
from .description import describe
from .evaluation import evaluate_objective
from .guards import check_finite_params, finite_mean_loss, interruptible, read_pending
from .names import Metrics
from .options import Options, Schedule
from .progress import shown
from .run import Callback, Run
from .update import make_update

__all__ = ["train"]


@check.named_options
def train(
    model: RNN | None,
    params: Mapping[str, Array],
    batches: Batches,
    *,
    steps: int | None = None,
    epochs: int | None = None,
    optimizer: Optimizer | str = adam,
    lr: float | Schedule = 1e-3,
    loss: Loss | str = softmax_cross_entropy,
    metrics: Metrics | None = None,
    gradients: Callable[..., Any] | None = None,
    predict: Callable[..., Any] | None = None,
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
    progress: bool | str = "auto",
) -> Run:
    """Train a network.

    Parameters
    ----------
    model : RNN, or None with ``gradients``
    params : dict of str to array
        The initial parameters, from ``model.init``; not written to. Their library, dtype and
        device are those of the run.
    batches : Batches
        Such as `Shuffled` or `Windows` of :mod:`portable_rnn.batches`.
    steps : int
        Total number of updates, including those before a resume.
    epochs : int
        In place of ``steps``: how often all batches are seen.
    optimizer : callable ``(params, grads, state, lr=...) -> (params, state)``, or str
        Set other options by ``functools.partial``, but not ``lr``. A name such as "adam" is that of
        a function of :mod:`portable_rnn.optimizers`.
    lr : float, or callable from the step to a float
        Learning rate, 0.001 by default. A callable with an argument ``run``, such as
        `portable_rnn.schedules.plateau`, is given the `Run` too.
    loss : callable or str
        As for :func:`portable_rnn.bptt`; a batch's ``weights`` are passed on if there are any. A
        name is that of a function of :mod:`portable_rnn.losses`, or one of Keras's: "mse",
        "categorical_crossentropy", "sparse_categorical_crossentropy", "binary_crossentropy" (all
        of outputs before a softmax or sigmoid).
    metrics : dict of str to Metric, or names, optional
        Metrics of :mod:`portable_rnn.metrics`, or their names, such as ``["accuracy"]``; measured
        on the training batches, before the update (but not with ``gradients``), and on those of
        ``validation``.
    gradients : callable ``(params, batch, state) -> (loss, grads, state)``, optional
        In place of the model and its loss: returns the loss of a batch, an array () or a float,
        its gradient with respect to ``params``, which may then have any names, and what is passed
        as ``state`` to the next batch (dicts, tuples and lists of arrays and plain numbers, or
        None, as for the first batch and those with ``fresh=True``). If it has a parameter
        ``seed``, that is ``(seed, n)`` at step n, for masks. The batch is passed as ``batches``
        made it, unchecked. It is not compiled: with JAX, put ``jax.jit`` around it. Those of
        :mod:`portable_rnn.distributed` compute the parts of a batch in several processes; they have
        a model, a loss and metrics of their own, and need no ``predict``.
    predict : callable ``(params, batch, state) -> (outputs, state)``, optional
        With ``gradients`` and ``validation``: makes the outputs that ``loss`` and ``metrics`` are
        given there, with the batch's targets and weights. A batch counts by the sum of its weights
        or, without weights, by the size of its targets.
    max_norm : float, optional
        Clip the gradient to this joint norm. Infinity only measures it, as ``run.gradient_norm``.
    seed : int
        For dropout and zoneout, if the model has any: step n draws its masks from ``(seed, n)``.
    validation : Batches, optional
        Evaluated every ``evaluate_every`` steps, and after the last one, unless the run is
        stopped before.
    evaluate_every : int, optional
        Steps between two evaluations; by default there are ten in a run. A run that is resumed
        keeps its first value.
    patience : int, optional
        Stop after this many evaluations without a new best.
    log_every : int
        Steps between two readings of the loss, each of which waits for the device.
    callbacks : iterable of Callback
    checkpoint : path, optional
        File to save to every ``save_every`` steps, at the end, and when interrupted. The one before
        it is kept beside it, as ``<name>.previous``. With a checkpoint, the first Ctrl-C finishes
        the step, saves and returns; SIGTERM finishes and saves likewise, and ends the process with
        SystemExit, unless you have a handler for it. Without ``resume`` an existing file is an
        error: it may be hours of work. During the run, a lock (a hidden file next to it) protects
        the checkpoint from other runs; the system releases it however this process ends, even by
        kill -9. A file system without locks does not protect it from other processes.
    save_every : int
        Steps between two saves.
    resume : bool
        Continue from the checkpoint if there is one. What determines the run must be the same as
        when it started: ``model``, ``seed``, ``max_norm``, ``evaluate_every``; for optimizer, loss
        and ``lr``, the names of functions and the options fixed by :func:`functools.partial`, and
        the last rate; for batches and validation, what ``describe`` returns and a checksum of the
        first batch. Whether functions of the same name, and further data, are the same is not
        checked. ``steps`` may be more than before.
    progress : bool or "auto"
        Whether to show a progress bar, on standard error: rich's, or tqdm's in a notebook (extra
        ``progress``). "auto" does so in a terminal and in a notebook, if the library is installed.

    Returns
    -------
    Run

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or another run is training with this checkpoint; the
        message names the argument.
    ImportError
        If there is a ``checkpoint``, and safetensors is not installed (extra ``checkpoint``), or
        ``progress`` is true, and neither rich nor tqdm is.
    FloatingPointError
        If the loss, or a parameter that would be saved, is no longer finite. The last checkpoint
        is unchanged. (A loss of NaN with gradients of zero is the mean of a batch in which
        nothing counts, by lengths, weights or labels: the optimizer takes a step with these zeros,
        and the loss is left out.)
    portable_rnn.serialization.CheckpointError
        If the checkpoint cannot be read, is damaged, or belongs to another run.
    OSError
        If the checkpoint cannot be written. The last one is unchanged.

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
    options = Options(
        model,
        params,
        batches,
        steps=steps,
        epochs=epochs,
        optimizer=optimizer,
        lr=lr,
        loss=loss,
        metrics=metrics,
        gradients=gradients,
        predict=predict,
        max_norm=max_norm,
        seed=seed,
        validation=validation,
        evaluate_every=evaluate_every,
        patience=patience,
        log_every=log_every,
        callbacks=callbacks,
        checkpoint=checkpoint,
        save_every=save_every,
        resume=resume,
        progress=progress,
    )
    writes = options.path is not None and options.objective.writes
    locked = lock_checkpoint(options.path) if writes and options.path else nullcontext()
    with locked, device_context(next(iter(options.params.values()))):
        loop = _Loop(options)
        with shown(options.progress, loop.run) as bars:
            loop.callbacks = (*options.callbacks, *bars)
            return loop.complete()


class _Loop:
    """A run, with its updates, logs, evaluations and saves."""

    def __init__(self, options: Options) -> None:
        own = {name: detached(p) for name, p in options.params.items()}
        self.options, self.objective = options, options.objective
        self.callbacks = tuple(options.callbacks)
        self.run = Run(options.model, own, options.steps, options.optimizer, seed=options.seed)
        self.started = time.monotonic()
        self.described: dict[str, Any] = {}
        self.evaluate_every = options.evaluate_every
        if options.validation is not None and self.evaluate_every is None:
            self.evaluate_every = max(1, options.steps // 10)
        # After its last step, a run logs and evaluates once more. With more steps it would not have
        # done so, and it may be resumed with more: the file keeps the run from before that.
        self.before_end: Run | None = None
        if options.path is not None:
            self.open_checkpoint(options.path)
        self.run.evaluate_every = self.evaluate_every
        self.update = make_update(options.xp, self.objective, options.optimizer, options.max_norm)

    def complete(self) -> Run:
        """Make the remaining steps."""
        run, options = self.run, self.options
        self.check_patience()  # the run may have ended before
        self.notify("on_start")
        with interruptible(run, enabled=options.path is not None) as signals:
            while not run.done and run.stop_reason is None:
                self.make_step()
                if run.step % options.log_every == 0:
                    self.log()
                if self.evaluate_every is not None and run.step % self.evaluate_every == 0:
                    self.evaluate()
                if run.step % options.save_every == 0 and not run.done:
                    self.save(run)
            if self.before_end is None:
                self.before_end = replace(run)
                if run.done:
                    self.finish()
        self.save(self.before_end)
        self.notify("on_end")
        if signal.SIGTERM in signals:
            raise SystemExit(128 + signal.SIGTERM)  # as a shell reports it
        return run

    def make_step(self) -> None:
        """Update the parameters with one batch."""
        run, options, objective = self.run, self.options, self.objective
        batch = objective.batch("batches", options.batches, run.step, run.params, run.state)
        objective.check_loss(train, batch)
        run.learning_rate = options.rate(run)
        run.batch = batch
        updated = self.update(
            run.params,
            run.optimizer_state,
            None if batch.fresh else run.state,
            batch._replace(fresh=False),  # one compiled function for both
            objective.drawn(options.xp, run.params, batch, (run.seed, run.step)),
            run.learning_rate,
        )
        run.params, run.optimizer_state, run.state = updated[:3]
        if options.path is not None and run.step == 0:
            check_savable(run, self.described)  # the optimizer's state too, now that there is one
        run.pending.append(updated.loss)
        run.pending_norm = updated.norm
        run.pending_metrics.extend(updated.measured)
        run.step += 1
        self.notify("on_step")

    def log(self) -> None:
        """Read the losses since the last log."""
        run = self.run
        run.loss, run.gradient_norm = read_pending(run)
        if run.pending_metrics:
            run.metrics = combined(self.objective.metrics, run.pending_metrics)
        run.pending, run.pending_norm, run.pending_metrics = [], None, []
        self.notify("on_log")

    def evaluate(self) -> None:
        """Evaluate on the validation batches, and stop a run that no longer improves."""
        run, options = self.run, self.options
        if options.validation is not None:
            found = evaluate_objective(
                self.objective, run.params, options.validation, name="validation"
            )
            _record_evaluation(run, *found)
            self.notify("on_evaluate")
            self.check_patience()

    def finish(self) -> None:
        """Log and evaluate after the last step, if that has not been done."""
        if self.run.pending:
            self.log()
        if self.evaluate_every is not None and self.run.step % self.evaluate_every:
            self.evaluate()

    def check_patience(self) -> None:
        """Stop a run that has waited too long for a better evaluation."""
        run, patience = self.run, self.options.patience
        if patience is None or self.evaluate_every is None or not run.best_params:
            return
        if run.step - run.best_step >= patience * self.evaluate_every:
            run.stop(f"no better evaluation since step {run.best_step}")

    def notify(self, event: str, *args: Any) -> None:
        """Call a method of every callback."""
        self.run.seconds = time.monotonic() - self.started
        for callback in self.callbacks:
            getattr(callback, event)(self.run, *args)

    def open_checkpoint(self, path: Path) -> None:
        """Check that the run can be saved; if it is resumed, restore it to where it was saved."""
        run, options = self.run, self.options
        begun = path.exists()
        if begun and not options.resume:
            raise ValueError(
                f"checkpoint: {path} exists; pass resume=True to go on, or another path"
            )
        if not begun and previous(path).exists():  # which saves would replace
            raise ValueError(
                f"checkpoint: there is no {path}, but {previous(path).name} beside it"
                f"{said_of_previous(path)}; or delete it to begin anew, or use another path"
            )
        self.described = describe(
            run,
            self.objective,
            options.batches,
            options.validation,
            lr=options.schedule,
            max_norm=options.max_norm,
        )
        check_savable(run, self.described)
        if not begun:
            return
        self.evaluate_every, ended = load_checkpoint(
            path,
            run,
            self.objective,
            self.described,
            options.xp,
            device_of(next(iter(options.params.values()))),
            lr=None if options.reads_run else options.schedule,
            evaluate_every=options.evaluate_every,
        )
        if run.done and ended:
            self.before_end = replace(run)
            run.pending, run.pending_norm, run.pending_metrics = [], None, []
            for name, value in ended.items():
                setattr(run, name, value)
            _record_evaluation(run, run.evaluation, run.evaluation_metrics)

    def save(self, run: Run) -> None:
        """Save a run, unless it has diverged."""
        path = self.options.path
        if path is None or not self.options.objective.writes:
            return
        finite_mean_loss(run)
        check_finite_params(self.options.xp, run)
        ended = {name: getattr(self.run, name) for name in MEASURED} if self.run.done else None
        save_checkpoint(path, run, self.described, evaluate_every=self.evaluate_every, ended=ended)
        self.notify("on_save", path)


def _record_evaluation(run: Run, evaluation: float, metrics: dict[str, float]) -> None:
    """Record an evaluation, and whether it is the best."""
    run.evaluation, run.evaluation_metrics = evaluation, metrics
    if evaluation < run.best_evaluation:
        run.best_evaluation, run.best_step = evaluation, run.step
        run.best_params = run.params
