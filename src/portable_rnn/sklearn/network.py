"""What the estimators share: a network, trained on sequences and asked for its outputs."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.model_selection import train_test_split
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from .._arrays import checks as check
from .._arrays.devices import device_context
from .._arrays.functions import concatenate
from .._arrays.host import from_host
from .._arrays.namespace import (
    Array,
    device_of,
    dtype_name,
    library_name,
    namespace_of,
    same_device,
)
from ..api import predict
from ..batches import Shuffled
from ..model import RNN
from ..optimizers.inner import check_optimizer
from ..training import Callback, Run, train
from ..training.names import optimizer_of
from .sequences import Sequences, checked_sequences, is_foreign

__all__ = ["Network"]

_AT_ONCE = 1024  # sequences; the hidden states of all their steps are held until they are pooled


class Network(BaseEstimator):  # type: ignore[misc]
    """Parameters, training and outputs; what follows from ``X`` and ``y`` is the subclasses'."""

    model_: RNN
    params_: dict[str, Array]
    n_iter_: int
    loss_curve_: list[float]
    _optimizer_state: Any

    _columns = True  # whether the steps of (N, T) are features to scikit-learn

    def __init__(
        self,
        hidden_size: int = 32,
        *,
        num_layers: int = 1,
        cell: Any = "gru",
        dropout: float = 0.0,
        solver: Any = "adam",
        learning_rate_init: Any = 0.01,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        max_norm: float | None = 1.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool | int = False,
    ) -> None:
        self.hidden_size = hidden_size
        self.num_layers = num_layers
        self.cell = cell
        self.dropout = dropout
        self.solver = solver
        self.learning_rate_init = learning_rate_init
        self.batch_size = batch_size
        self.max_iter = max_iter
        self.max_norm = max_norm
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        tags.array_api_support = True
        return tags

    def _continues(self, partial: bool) -> bool:
        """Return whether this fit starts from the parameters of the last one."""
        return (partial or bool(self.warm_start)) and hasattr(self, "params_")

    def _checked(self, X: Any, *, reset: bool, least: int = 1) -> Sequences:
        """Return the sequences of ``X``."""
        return checked_sequences(self, X, reset=reset, columns=self._columns, least=least)

    def _network(self, input_size: int, output_size: int, **options: Any) -> RNN:
        """Return the network; it refuses sizes by the names they have here."""
        return RNN(
            input_size,
            self.hidden_size,
            output_size,
            cell=self.cell,
            num_layers=self.num_layers,
            dropout=self.dropout,
            batch_first=True,
            **options,
        )

    def _train(
        self,
        model: RNN,
        found: Sequences,
        targets: Array,
        *,
        loss: Any,
        weights: Array | None = None,
        stratify: np.ndarray[Any, Any] | None = None,
        partial: bool = False,
    ) -> None:
        """Train ``model``, from the parameters of the last fit if it is a continuation of it.

        Targets and weights are NumPy's, or like ``x``.
        The shuffles and masks of epoch n are those of a run without an interruption: they depend on
        the seed and on n.
        """
        options = self._checked_options(partial)
        continues = self._continues(partial)
        if continues and model != self.model_:
            which = "partial_fit" if partial else "warm_start=True"
            raise ValueError(
                f"{which}: expected the network of the last fit, {self.model_}, got {model}"
            )
        if not (continues and partial):
            self._seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        x, xp = found.x, namespace_of(X=found.x)
        if continues:
            params = self.params_
            x = self._like_params(x, "partial_fit" if partial else "fit")
        else:
            params = model.init(self._seed, xp=xp, dtype=dtype_name(x.dtype), device=device_of(x))
        epoch, state = (self.n_iter_, self._optimizer_state) if continues and partial else (0, None)
        parts = self._split(x.shape[0], stratify)
        with device_context(x):
            weights = None if weights is None else _like(x, weights)
            arrays = found._replace(x=x), _like(x, targets), weights
            sources = [self._source(part, *arrays) for part in parts]
            each = sources[0].steps_per_epoch
            epochs = _Epochs(epoch, each, state, verbose=bool(self.verbose))
            stopping: dict[str, Any] = {}
            if len(sources) == 2:
                patience = options["n_iter_no_change"]
                stopping = {
                    "validation": sources[1],
                    "evaluate_every": each,
                    "patience": patience,
                }
            run = train(
                model,
                params,
                sources[0],
                steps=(epoch + options["max_iter"]) * each,
                optimizer=options["solver"],
                lr=self.learning_rate_init,
                loss=loss,
                max_norm=self.max_norm,
                seed=self._seed,
                log_every=each,
                callbacks=[epochs],
                progress=False,
                **stopping,
            )
        self.model_, self._optimizer_state = model, run.optimizer_state
        self.params_ = run.best_params or run.params
        self.n_iter_ = run.step // each
        before = self.loss_curve_ if continues and partial else []
        self.loss_curve_ = [*before, *epochs.losses]
        self.loss_ = self.loss_curve_[-1]
        self.validation_loss_curve_ = epochs.validation if stopping else None

    def _checked_options(self, partial: bool) -> dict[str, Any]:
        """Check what `train` knows by other names."""
        for name in ("early_stopping", "warm_start"):
            check.flag(name, getattr(self, name))
        if self.batch_size != "auto":
            check.count("batch_size", self.batch_size)
        rate = "learning_rate_init"
        if callable(self.learning_rate_init):
            check.function(rate, self.learning_rate_init, "(step)", 0)
        else:
            check.number(rate, self.learning_rate_init, least=0.0)
        if partial and self.early_stopping:
            raise ValueError("early_stopping: expected False with partial_fit, got True")
        if not isinstance(self.verbose, bool):
            check.integer("verbose", self.verbose, least=0)
        solver = optimizer_of(self.solver, "solver")
        check_optimizer("solver", solver)
        check.number("validation_fraction", self.validation_fraction, above=0.0, below=1.0)
        return {
            "solver": solver,
            "max_iter": 1 if partial else check.count("max_iter", self.max_iter),
            "n_iter_no_change": check.count("n_iter_no_change", self.n_iter_no_change),
        }

    def _split(
        self, count: int, stratify: np.ndarray[Any, Any] | None
    ) -> list[np.ndarray[Any, Any] | None]:
        """Return which sequences to train on, and with ``early_stopping`` to evaluate on."""
        if not self.early_stopping:
            return [None]
        parts: list[np.ndarray[Any, Any] | None] = train_test_split(
            np.arange(count),
            test_size=self.validation_fraction,
            random_state=self._seed,
            stratify=stratify,
        )
        return parts

    def _source(
        self,
        rows: np.ndarray[Any, Any] | None,
        found: Sequences,
        targets: Array,
        weights: Array | None,
    ) -> Shuffled:
        """Return batches of some sequences, or of all."""
        x, lengths = found.x, found.lengths
        xp = namespace_of(X=x)
        if rows is not None:
            picked = from_host(rows.astype(np.int32), xp, device=device_of(x))
            x, targets = (xp.take(array, picked, axis=0) for array in (x, targets))
            weights = None if weights is None else xp.take(weights, picked, axis=0)
            lengths = None if lengths is None else lengths[rows]
        count = x.shape[0]
        batch_size = min(200 if self.batch_size == "auto" else self.batch_size, count)
        return Shuffled(
            x,
            targets,
            weights=weights,
            lengths=lengths,
            batch_size=int(batch_size),
            seed=self._seed,
            batch_axis=0,
        )

    def _asked(self, X: Any, method: str, least: int = 1) -> Sequences:
        """Check ``X`` of a prediction, like that of the fit."""
        check_is_fitted(self, "params_")
        found = self._checked(X, reset=False, least=least)
        return found._replace(x=self._like_params(found.x, method))

    def _like_params(self, x: Array, method: str) -> Array:
        """Return sequences in the dtype of the parameters; check size, library and device."""
        param = next(iter(self.params_.values()))
        xp, own = namespace_of(X=x), namespace_of(params=param)
        if xp is not own or not same_device(x, param):
            got, wanted = (
                f"{library_name(one)}{'' if (on := device_of(a)) is None else f' on {on}'}"
                for one, a in ((xp, x), (own, param))
            )
            raise ValueError(
                f"Inputs passed to {type(self).__name__}.{method}() must use the same namespace "
                f"and the same device as those passed to fit(): expected {wanted}, got {got}"
            )
        size = self.model_.input_size
        if x.shape[2] != size:
            one = "(N, T)" if size == 1 else f"(N, T, {size})"
            raise ValueError(
                f"X: expected {one} as in fit, got sequences of {x.shape[2]} features; a single "
                "sequence (T, F) is X[None]"
            )
        with device_context(x):
            return x if x.dtype == param.dtype else xp.astype(x, param.dtype)

    def _outputs(self, X: Any, method: str) -> Array:
        """Return the outputs (N, O) of the network."""
        x, lengths, _ = self._asked(X, method)
        parts = []
        for at in range(0, x.shape[0], _AT_ONCE):
            rows = slice(at, min(at + _AT_ONCE, x.shape[0]))
            some = None if lengths is None else lengths[rows]
            parts.append(predict(self.model_, self.params_, x[rows, ...], lengths=some))
        with device_context(x):
            return parts[0] if len(parts) == 1 else concatenate(namespace_of(X=x), parts)


def _like(x: Array, values: Array) -> Array:
    """Return targets or weights in the library and, unless they are integers, the dtype of x."""
    if is_foreign(values):
        return values
    dtype = None if values.dtype.kind == "i" else dtype_name(x.dtype)
    return from_host(values, namespace_of(X=x), dtype, device_of(x))


class _Epochs(Callback):
    """Start a run after an epoch; keep, and with ``verbose`` print, the losses of the next ones."""

    def __init__(self, epoch: int, each: int, optimizer_state: Any, *, verbose: bool) -> None:
        self.epoch, self.each, self.optimizer_state = epoch, each, optimizer_state
        self.verbose = verbose
        self.losses: list[float] = []
        self.validation: list[float] = []

    def on_start(self, run: Run) -> None:
        """Continue: batches, masks and rates depend on the step."""
        run.step, run.optimizer_state = self.epoch * self.each, self.optimizer_state

    def on_log(self, run: Run) -> None:
        """Keep the mean loss of an epoch."""
        self.losses.append(run.loss)
        if self.verbose:
            print(f"Iteration {run.step // self.each}, loss = {run.loss:.8f}")

    def on_evaluate(self, run: Run) -> None:
        """Keep the loss of the sequences held out."""
        self.validation.append(run.evaluation)
        if self.verbose:
            print(f"Validation loss = {run.evaluation:.8f}")
