"""The mean loss and the metrics over batches, on their own or during a run."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, overload

from .._arrays import checks as check
from .._arrays.devices import device_context
from .._arrays.host import numbers_to_host
from .._arrays.namespace import Array, is_jax_namespace
from .._arrays.tracing import compile_step
from .._calls.loss import Loss
from ..batches import Batches
from ..losses import softmax_cross_entropy
from ..metrics.metric import combined
from ..model import RNN
from .distributed import DistributedObjective
from .names import Metrics, loss_of, metrics_of
from .objective import ModelObjective, Objective, OwnObjective, evaluated
from .sources import check_source

__all__ = ["Evaluation", "evaluate", "evaluate_objective"]


class Evaluation(NamedTuple):
    """The mean loss over batches, and metrics by name."""

    loss: float
    metrics: dict[str, float]


@overload
def evaluate(
    model: RNN | None,
    params: Mapping[str, Array],
    batches: Batches,
    *,
    loss: Loss | str = ...,
    metrics: None = ...,
    predict: Callable[..., Any] | None = ...,
) -> float: ...


@overload
def evaluate(
    model: RNN | None,
    params: Mapping[str, Array],
    batches: Batches,
    *,
    loss: Loss | str = ...,
    metrics: Metrics,
    predict: Callable[..., Any] | None = ...,
) -> dict[str, float]: ...


@check.named_options
def evaluate(
    model: RNN | None,
    params: Mapping[str, Array],
    batches: Batches,
    *,
    loss: Loss | str = softmax_cross_entropy,
    metrics: Metrics | None = None,
    predict: Callable[..., Any] | None = None,
) -> float | dict[str, float]:
    """Return the mean loss over one epoch of batches, and metrics if there are any.

    Each batch counts by the sum of its weights or, without weights, by its number of valid steps.
    (A loss that leaves out steps by itself, with ``ignore_index``, does so only within a batch.) A
    batch in which nothing counts is left out.

    Parameters
    ----------
    model, params, batches, loss
        As for `train`. The state is carried over if the batches say so.
    metrics : dict of str to Metric, or names, optional
        Metrics of :mod:`portable_rnn.metrics`, or their names, such as ``["accuracy"]``.
    predict : callable ``(params, batch, state) -> (outputs, state)``, optional
        What makes the outputs, in place of the model, as for `train`. A batch counts by the sum
        of its weights or, without weights, by the size of its targets.

    Returns
    -------
    float, or dict of str to float
        The mean loss, NaN if nothing counts in any batch. With ``metrics`` a dict of ``"loss"`` and
        each metric.

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
    >>> params = model.init(seed=0)
    >>> bool(prnn.training.evaluate(model, params, source) > 0)
    True
    >>> sorted(prnn.training.evaluate(model, params, source, metrics=["accuracy"]))
    ['accuracy', 'loss']
    """
    objective: Objective
    used, measures = loss_of(loss), metrics_of(metrics)
    if predict is None:
        objective = ModelObjective(model, used, measures)  # type: ignore[arg-type]
    else:
        form = "(params, batch, state)"
        check.function("predict", predict, form, "params", "batch", "state")
        objective = OwnObjective(model, used, measures, None, predict)
    objective.check_params(params)
    check_source("batches", batches, model, evaluated=True, described=False)
    found = evaluate_objective(objective, params, batches)
    return found.loss if metrics is None else {"loss": found.loss, **found.metrics}


def evaluate_objective(
    objective: Objective, params: Mapping[str, Array], batches: Batches, *, name: str = "batches"
) -> Evaluation:
    """Return what `evaluate` does; errors call the batches ``name``."""
    objective.check_params(params)
    with device_context(next(iter(params.values()))):
        values, weights, empty, measured = _losses(objective, params, batches, name)
        numbers = numbers_to_host([*values, *empty, *weights])
    count = len(values)
    # The mean of nothing is NaN, and must not make the overall mean NaN.
    rows = zip(numbers[:count], numbers[count : 2 * count], numbers[2 * count :], strict=True)
    counted = [(value, weight) for value, none, weight in rows if weight and not none]
    total = sum(weight for _, weight in counted)
    mean = sum(value * weight for value, weight in counted) / total if total else math.nan
    return Evaluation(mean, combined(objective.metrics, measured))


def _losses(
    objective: Objective, params: Mapping[str, Array], batches: Batches, name: str
) -> tuple[list[Array], list[Any], list[Array], list[dict[str, Array]]]:
    """Return the loss of each batch, its weight, whether nothing counts, and what is measured."""
    xp = objective.check_params(params)
    if isinstance(objective, DistributedObjective):
        return _losses_of_parts(objective, params, batches, name)
    batch_loss: Callable[..., Any] = functools.partial(evaluated, objective)
    if objective.compiled or not is_jax_namespace(xp):
        batch_loss = compile_step(xp, batch_loss)
    state = None
    values: list[Array] = []
    counts: list[Any] = []
    empties: list[Array] = []
    measured: list[dict[str, Array]] = []
    for step in range(batches.steps_per_epoch):
        batch = objective.batch(name, batches, step, params, state)
        try:
            weights, count = objective.weights(xp, params, batch)
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}.batch({step}).{error}") from None
        batch = batch._replace(weights=weights)
        objective.check_loss(evaluate, batch)
        before = None if batch.fresh else state
        batch = batch._replace(fresh=False)  # one compiled function for both
        value, empty, state, found = batch_loss(params, before, batch)
        values.append(value)
        counts.append(count)
        empties.append(empty)
        measured.append(found)
    return values, counts, empties, measured


def _losses_of_parts(
    objective: DistributedObjective, params: Mapping[str, Array], batches: Batches, name: str
) -> tuple[list[Any], list[Any], list[Any], list[dict[str, Array]]]:
    """Return what `_losses` does."""
    state = None
    values, counts, measured = [], [], []
    for step in range(batches.steps_per_epoch):
        batch = objective.batch(name, batches, step, params, state)
        objective.check_loss(evaluate, batch)
        value, count, state, found = objective.evaluated(
            params, None if batch.fresh else state, batch
        )
        values.append(value)
        counts.append(count)
        measured.extend(found)
    return values, counts, [False] * len(values), measured
