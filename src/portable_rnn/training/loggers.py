"""Callbacks that pass on what a run measures: to a list, TensorBoard, Weights & Biases, MLflow."""

import importlib
import math
import os
from typing import Any

from .._arrays import checks as check
from .run import Callback, Run

__all__ = ["History", "MLflow", "TensorBoard", "WandB"]


def _of_training(run: Run) -> dict[str, float]:
    """Return what was measured at a log, without what is unknown."""
    found = {"loss": run.loss, **run.metrics, "gradient_norm": run.gradient_norm}
    found |= {"learning_rate": run.learning_rate}
    return {name: value for name, value in found.items() if not math.isnan(value)}


def _of_validation(run: Run) -> dict[str, float]:
    """Return what was measured at an evaluation, without what is unknown."""
    found = {"loss": run.evaluation, **run.evaluation_metrics}
    return {f"validation_{name}": one for name, one in found.items() if not math.isnan(one)}


class _Logger(Callback):
    """A callback that logs numbers with their step."""

    def _log(self, values: dict[str, float], step: int) -> None:
        """Log numbers by name."""
        raise NotImplementedError

    def on_log(self, run: Run) -> None:
        """Log what was measured on the training batches."""
        self._log(_of_training(run), run.step)

    def on_evaluate(self, run: Run) -> None:
        """Log what was measured on the validation batches."""
        self._log(_of_validation(run), run.step)


@check.named_options
class History(_Logger):
    """Keep what a run measures, for tables and plots.

    Attributes
    ----------
    rows : list of dicts
        One for each step at which something was measured: ``step``, ``loss``, the metrics,
        ``gradient_norm``, ``learning_rate``, and those of the validation batches with names such as
        ``validation_loss``. A resumed run begins with an empty list.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(1, 4, 2)
    >>> x, labels = np.zeros((5, 4, 1), np.float32), np.zeros((5, 4), np.int64)
    >>> source, history = prnn.batches.Shuffled(x, labels, batch_size=2), prnn.training.History()
    >>> options = {"epochs": 5, "metrics": ["accuracy"], "callbacks": [history]}
    >>> _ = prnn.training.train(model, model.init(seed=0), source, **options)
    >>> [sorted(row) for row in history.rows]
    [['accuracy', 'learning_rate', 'loss', 'step']]
    """

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []

    def _log(self, values: dict[str, float], step: int) -> None:
        """Add numbers to the row of a step."""
        if not self.rows or self.rows[-1]["step"] != step:
            self.rows.append({"step": step})
        self.rows[-1] |= values

    def column(self, name: str) -> tuple[list[float], list[float]]:
        """Return the steps at which a number was measured, and the numbers.

        Raises
        ------
        TypeError, ValueError
            If it never was.
        """
        known = sorted({name for row in self.rows for name in row} - {"step"})
        if not known:
            raise ValueError("name: expected one that was measured, and nothing was yet")
        check.choice("name", name, known)
        rows = [row for row in self.rows if name in row]
        return [row["step"] for row in rows], [row[name] for row in rows]


@check.named_options
class TensorBoard(_Logger):
    """Write what a run measures to a folder of TensorBoard's (package ``tensorboard``).

    Parameters
    ----------
    folder : path
        Where its files are written; made if there is none.

    Raises
    ------
    TypeError, ValueError
        If ``folder`` is not a path, or is a file.
    ImportError
        When a run starts, if ``tensorboard`` is not installed.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> callbacks = [prnn.training.TensorBoard("runs/first")]  # then: tensorboard --logdir runs
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._folder = check.path("folder", folder)
        if self._folder.is_file():
            raise ValueError(f"folder: expected a folder, got the file {self._folder}")
        self._writer: Any = None

    def on_start(self, run: Run) -> None:
        """Open a file."""
        self._writer = _imported("tensorboard.summary").Writer(str(self._folder))

    def _log(self, values: dict[str, float], step: int) -> None:
        """Write scalars."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def on_end(self, run: Run) -> None:
        """Close the file."""
        self._writer.close()


@check.named_options
class WandB(_Logger):
    """Log what a run measures to Weights & Biases (package ``wandb``).

    Parameters
    ----------
    run : wandb run, optional
        What ``wandb.init`` returned; by default one is begun for each training run, and finished.
    **options
        Of ``wandb.init``, without ``run``.

    Raises
    ------
    TypeError
        If both are given.
    ImportError
        When a run starts, if there is no ``run`` and ``wandb`` is not installed.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> callbacks = [prnn.training.WandB(project="parity")]
    """

    def __init__(self, run: Any = None, **options: Any) -> None:
        if run is not None and options:
            raise TypeError(f"run: expected no other options with it, got {', '.join(options)}")
        if run is not None:
            check.function(
                "run.log", getattr(run, "log", None), "(values, step=...)", "values", step=0
            )
        self._given, self._run, self._options = run, run, options

    def on_start(self, run: Run) -> None:
        """Begin a run, unless one was given."""
        if self._given is None:
            self._run = _imported("wandb").init(**self._options)

    def _log(self, values: dict[str, float], step: int) -> None:
        """Log numbers."""
        self._run.log(values, step=step)

    def on_end(self, run: Run) -> None:
        """Finish the run that was begun."""
        if self._given is None:
            self._run.finish()


class MLflow(_Logger):
    """Log what a run measures to the active run of MLflow (package ``mlflow``).

    Without an active run MLflow begins one, as its functions do.

    Raises
    ------
    ImportError
        When a run starts, if ``mlflow`` is not installed.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> callbacks = [prnn.training.MLflow()]
    """

    def on_start(self, run: Run) -> None:
        """Look for the package before any work is done."""
        self._mlflow = _imported("mlflow")

    def _log(self, values: dict[str, float], step: int) -> None:
        """Log numbers."""
        self._mlflow.log_metrics(values, step=step)


def _imported(name: str) -> Any:
    """Import a package that only one logger needs."""
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"callbacks: expected {package} to be installed, and it is not; pip install {package}"
        ) from error
