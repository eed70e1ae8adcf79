"""Losses, optimizers and metrics by name: what `train` and `evaluate` take for the function."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias

from .. import losses, metrics, optimizers
from .._arrays import checks as check
from .._arrays.namespace import is_array
from .._calls.loss import Loss
from ..metrics import Metric

__all__ = ["Metrics", "loss_of", "metrics_of", "optimizer_of"]

Metrics: TypeAlias = Mapping[str, Metric | Callable[..., Any] | str] | Iterable[str]

# A loss goes by its name; these are the names of others, most of them Keras's.
LOSSES: dict[str, Loss] = {
    "cross_entropy": losses.softmax_cross_entropy,
    "sparse_categorical_crossentropy": losses.softmax_cross_entropy,
    "categorical_crossentropy": losses.softmax_cross_entropy,
    "binary_crossentropy": losses.binary_cross_entropy,
    "binary_focal_crossentropy": losses.binary_focal_cross_entropy,
    "mse": losses.mean_squared_error,
    "poisson": losses.poisson_nll,
    "quantile": losses.pinball,
}
METRICS: dict[str, Callable[[], Metric]] = {
    "accuracy": metrics.Accuracy,
    "binary_accuracy": metrics.BinaryAccuracy,
    "top_5_accuracy": metrics.TopKAccuracy,
    "f1": metrics.F1,
    "perplexity": metrics.Perplexity,
    "mae": metrics.MeanAbsoluteError,
    "mean_absolute_error": metrics.MeanAbsoluteError,
    "rmse": metrics.RootMeanSquaredError,
    "root_mean_squared_error": metrics.RootMeanSquaredError,
    "r2": metrics.R2,
}
_MEASURED = ("step", "loss", "gradient_norm", "learning_rate")  # without being asked for
_NO_LOSS = ("ctc_greedy_decode", "one_hot")
_NO_OPTIMIZER = (
    *("Optimizer", "accumulate", "averaged_params", "by_name", "clip_by_global_norm", "clip_norm"),
    *("ema", "from_optax", "mixed_precision", "scale_lr", "scaled_loss"),
)


def loss_of(loss: Any) -> Any:
    """Return the loss of a name; anything else as it is."""
    named = {name: getattr(losses, name) for name in losses.__all__ if name not in _NO_LOSS}
    return _named("loss", loss, named | LOSSES)


def optimizer_of(optimizer: Any, argument: str = "optimizer") -> Any:
    """Return the optimizer of a name; anything else as it is. Errors name the ``argument``."""
    every = [name for name in optimizers.__all__ if name not in _NO_OPTIMIZER]
    return _named(argument, optimizer, {name: getattr(optimizers, name) for name in every})


def _named(argument: str, value: Any, known: Mapping[str, Any]) -> Any:
    return known[check.choice(argument, value, known)] if isinstance(value, str) else value


def metrics_of(given: Any) -> dict[str, Any]:
    """Return metrics by name, given a mapping or names alone."""
    if given is None:
        return {}
    try:
        if isinstance(given, str) or is_array(given):
            raise TypeError
        pairs = given.items() if isinstance(given, Mapping) else [(name, name) for name in given]
    except Exception:  # any object may be given, and raise anything
        wanted = "a dict of metrics, or names such as ['accuracy']"
        raise TypeError(f"metrics: expected {wanted}, got {check.said(given)}") from None
    found: dict[str, Any] = {}
    for name, metric in pairs:
        if not isinstance(name, str):
            raise TypeError(f"metrics: expected names of metrics, got {check.said(name)}")
        if name in _MEASURED or name.startswith("validation_"):
            taken = ", ".join(map(repr, _MEASURED))
            raise ValueError(
                f"metrics: expected names other than {taken} and 'validation_...', which are those "
                f"of other numbers, got {name!r}"
            )
        found[name] = _metric(f"metrics[{name!r}]", metric)
    return found


def _metric(label: str, metric: Any) -> Metric:
    """Check a metric, and make one of a name or of a function."""
    if isinstance(metric, str):
        return METRICS[check.choice(label, metric, METRICS)]()
    if isinstance(metric, type):
        raise TypeError(f"{label}: expected a metric, got the class {metric.__name__}")
    if hasattr(metric, "measure") and hasattr(metric, "combine"):
        form = "(outputs, targets, weights=None)"
        check.function(f"{label}.measure", metric.measure, form, "outputs", "targets", weights=None)
        check.function(f"{label}.combine", metric.combine, "(measured)", "measured")
        return metric  # type: ignore[no-any-return]
    wanted = "a metric of portable_rnn.metrics, its name, or an object with measure and combine"
    raise TypeError(f"{label}: expected {wanted}, got {check.said(metric)}")
