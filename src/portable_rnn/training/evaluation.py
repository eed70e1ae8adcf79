"""The mean loss over batches, on its own or during a run."""

import functools
import math
from collections.abc import Mapping
from typing import Any

from .._arrays import checks as check
from .._arrays.devices import device_context
from .._arrays.functions import accumulation_dtype
from .._arrays.host import numbers_to_host
from .._arrays.namespace import Array, device_of, is_array, namespace_of
from .._arrays.tracing import compile_step
from .._calls.checks import check_parameters
from .._calls.embedding import like_embedded
from .._calls.layout import outputs_shape
from .._calls.loss import Loss, returned_by_loss, step_weights, weighs_steps
from ..api import predict
from ..batches import Batch, Batches
from ..losses import softmax_cross_entropy
from ..model import RNN
from .sources import check_source, checked_batch

__all__ = ["evaluate", "mean_loss", "value_and_empty"]


@check.named_options
def evaluate(
    model: RNN,
    params: Mapping[str, Array],
    batches: Batches,
    *,
    loss: Loss = softmax_cross_entropy,
) -> float:
    """Return the mean loss over one epoch of batches.

    Each batch counts by the sum of its weights or, without weights, by its number of valid steps.
    (A loss that leaves out steps by itself, with ``ignore_index``, does so only within a batch.) A
    batch in which nothing counts is left out.

    Parameters
    ----------
    model, params, batches, loss
        As for `train`. The state is carried over if the batches say so.

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
    check_parameters(model, params)
    check_source("batches", batches, model, evaluated=True, described=False)
    return mean_loss(model, params, batches, loss)


def mean_loss(
    model: RNN,
    params: Mapping[str, Array],
    batches: Batches,
    loss: Loss,
    *,
    name: str = "batches",
) -> float:
    """Return what `evaluate` does; errors call the batches ``name``."""
    check_parameters(model, params)
    with device_context(next(iter(params.values()))):
        values, weights, empty = _losses(model, params, batches, loss, name)
        numbers = numbers_to_host([*values, *empty, *weights])
    count = len(values)
    # The mean of nothing is NaN, and must not make the overall mean NaN.
    rows = zip(numbers[:count], numbers[count : 2 * count], numbers[2 * count :], strict=True)
    counted = [(value, weight) for value, none, weight in rows if weight and not none]
    total = sum(weight for _, weight in counted)
    return sum(value * weight for value, weight in counted) / total if counted else math.nan


def _losses(
    model: RNN, params: Mapping[str, Array], batches: Batches, loss: Loss, name: str
) -> tuple[list[Array], list[Any], list[Array]]:
    """Return the loss of each batch, its weight, and whether nothing counts in it; read nothing."""
    xp = check_parameters(model, params)
    batch_loss = compile_step(xp, functools.partial(_batch_loss, model, loss))
    state = None
    values: list[Array] = []
    counts: list[Any] = []
    empties: list[Array] = []
    for step in range(batches.steps_per_epoch):
        batch = checked_batch(name, batches, step, model, params, state)
        weights, x = batch.weights, like_embedded(xp, model, params, batch.x)
        if weighs_steps(model, batch.lengths, None):
            weights = step_weights(model, x, batch.lengths, None, weights)
        check.loss(evaluate, loss, {}, weighted=weights is not None)
        before = None if batch.fresh else state
        batch = batch._replace(weights=weights, fresh=False)  # one compiled function for both
        value, empty, state = batch_loss(params, before, batch)
        weight: Any = float(math.prod(outputs_shape(model, x)[:-1]))
        if weights is not None:
            weight = xp.sum(xp.astype(weights, accumulation_dtype(xp, x.dtype)))
        values.append(value)
        counts.append(weight)
        empties.append(empty)
    return values, counts, empties


def _batch_loss(
    model: RNN,
    loss: Loss,
    params: dict[str, Array],
    state: Any,
    batch: Batch,
) -> tuple[Array, Array, Any]:
    """Return the loss of a batch, whether nothing counts in it, and the state after it."""
    x, options = batch.x, {} if batch.weights is None else {"weights": batch.weights}
    outputs, state = predict(model, params, x, state, lengths=batch.lengths, return_state=True)
    returned = returned_by_loss(loss(outputs, batch.targets, **options), outputs, outputs)
    return *value_and_empty(returned), state


def value_and_empty(returned: tuple[Any, Array]) -> tuple[Array, Array]:
    """Return the value a loss returned, and whether it is NaN because nothing counts."""
    value, d_outputs = returned
    xp = namespace_of(d_outputs=d_outputs)
    if not is_array(value):  # from a user's loss
        value = xp.asarray(value, dtype=d_outputs.dtype, device=device_of(d_outputs))
    return value, xp.isnan(value) & ~xp.any(d_outputs != 0)
