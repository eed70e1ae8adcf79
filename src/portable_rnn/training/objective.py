"""What a run minimises: the loss of a model, or a function of the user's own.

Both kinds have the same members: they check parameters and batches, return gradients for training
and outputs for evaluation, and describe themselves for a checkpoint.
"""

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from .._arrays import checks as check
from .._arrays.functions import accumulation_dtype
from .._arrays.namespace import (
    Array,
    Namespace,
    check_library_and_device,
    check_shape,
    device_of,
    is_array,
    namespace_of,
    same_device,
)
from .._calls.checks import check_parameters
from .._calls.dropout_masks import Masks
from .._calls.embedding import like_embedded
from .._calls.layout import outputs_shape
from .._calls.loss import Loss, returned_by_loss, step_weights, weighs_steps
from ..api import bptt, predict
from ..batches import Batch, Batches
from ..dropout import draw
from ..metrics import Metric
from ..model import RNN
from ..optimizers.step import check_dict
from .sources import check_batch, checked_batch

if TYPE_CHECKING:
    from .distributed import DistributedObjective

__all__ = ["Found", "ModelObjective", "Objective", "OwnObjective", "evaluated", "takes_seed"]

Params = Mapping[str, Array]


class Found(NamedTuple):
    """The gradients of one batch.

    Attributes
    ----------
    loss : array, shape ()
    empty : array, shape ()
        Whether the loss is NaN because nothing counts.
    grads : dict of str to array
    state : what is passed to the next batch
    measured : list of dicts of str to array
        What each metric has measured: of the batch, or of each of its parts.
    """

    loss: Array
    empty: Array
    grads: dict[str, Array]
    state: Any
    measured: list[dict[str, Array]]


@dataclass(frozen=True)
class ModelObjective:
    """The loss of the outputs of a model."""

    model: RNN
    loss: Loss
    metrics: Mapping[str, Metric]
    compiled = True  # the gradients are of this library's own, and can be traced
    writes = True  # whether this process writes the checkpoints

    def check_params(self, params: Params) -> Namespace:
        """Check parameters; return their namespace."""
        return check_parameters(self.model, params)

    def batch(self, name: str, source: Batches, step: int, params: Params, state: Any) -> Batch:
        """Return the batch of a step, checked."""
        return checked_batch(name, source, step, self.model, params, state)

    def check_loss(self, caller: Callable[..., Any], batch: Batch) -> None:
        """Check that the loss takes what it will be given."""
        weighted = batch.weights is not None or weighs_steps(self.model, batch.lengths, None)
        check.loss(caller, self.loss, {}, weighted=weighted)

    def drawn(self, xp: Namespace, params: Params, batch: Batch, seed: tuple[int, int]) -> Masks:
        """Draw what is random in a step."""
        return draw(self.model, like_embedded(xp, self.model, params, batch.x), seed)

    def gradients(
        self,
        params: Params,
        state: Any,
        batch: Batch,
        drawn: Masks,
        scaled: Callable[[Loss], Loss] | None = None,
    ) -> Found:
        """Return the gradients of a batch, of the loss that ``scaled`` makes of the loss."""
        recorder, record = self._recording
        options = {} if batch.weights is None else {"weights": batch.weights}
        given = {"lengths": batch.lengths, "dropout": drawn, "grad_x": False}
        result = bptt(
            self.model,
            params,
            batch.x,
            batch.targets,
            loss=recorder if scaled is None else scaled(recorder),
            state=state,
            **given,
            **options,
        )
        returned, measured = record.pop()
        several = [measured] if measured else []
        return Found(*value_and_empty(returned), result.grads, result.state, several)

    @functools.cached_property
    def _recording(self) -> tuple[Loss, list[tuple[Any, dict[str, Array]]]]:
        """The loss that records; made once, since its signature has to be looked up."""
        return _recording(self.loss, self.metrics)

    def weights(self, xp: Namespace, params: Params, batch: Batch) -> tuple[Any, Any]:
        """Return the weights of the steps of a batch, or None, and how much the batch counts."""
        weights, x = batch.weights, like_embedded(xp, self.model, params, batch.x)
        if weighs_steps(self.model, batch.lengths, None):
            weights = step_weights(self.model, x, batch.lengths, None, weights)
        if weights is None:
            return None, float(math.prod(outputs_shape(self.model, x)[:-1]))
        return weights, xp.sum(xp.astype(weights, accumulation_dtype(xp, x.dtype)))

    def outputs(self, params: Params, state: Any, batch: Batch) -> tuple[Array, Any]:
        """Return the outputs of a batch, and the state after it."""
        found: tuple[Array, Any] = predict(
            self.model, params, batch.x, state, lengths=batch.lengths, return_state=True
        )
        return found

    def described(self) -> dict[str, Any]:
        """Return what determines a run besides its loss and data."""
        return {"model": self.model.to_dict()}

    @property
    def sizes(self) -> list[int] | None:
        """The sizes of the parts of a state, if they are known."""
        return [shape[-1] for shape in self.model.state_shapes(1)]


@dataclass(frozen=True)
class OwnObjective:
    """Gradients, and outputs for evaluation, by functions of the user's own."""

    model: RNN | None
    loss: Loss
    metrics: Mapping[str, Metric]
    gradients_of: Callable[..., Any] | None
    predict: Callable[..., Any] | None
    compiled = False  # whatever these functions do: JAX users compile them
    writes = True
    sizes = None

    def check_params(self, params: Any) -> Namespace:
        """Check parameters, which may have any names; return their namespace."""
        check_dict("params", params)
        if not params:
            raise ValueError("params: expected at least one array, got none")
        labelled = {f"params[{name!r}]": array for name, array in params.items()}
        xp = namespace_of(**labelled)
        other, first = next(iter(labelled.items()))
        for label, array in labelled.items():
            check.floating(label, array, xp)
            if not same_device(array, first):
                check_library_and_device(label, array, other, first)
        return xp

    def batch(self, name: str, source: Batches, step: int, params: Params, state: Any) -> Batch:
        """Return the batch of a step, which may hold anything."""
        return check_batch(name, source, step)

    def check_loss(self, caller: Callable[..., Any], batch: Batch) -> None:
        """Check that the loss takes what it will be given."""
        check.loss(caller, self.loss, {}, weighted=batch.weights is not None)

    def drawn(
        self, xp: Namespace, params: Params, batch: Batch, seed: tuple[int, int]
    ) -> dict[str, Any]:
        """Return the options of ``gradients``: the seed of the step, if it takes one."""
        return {"seed": seed} if takes_seed(self.gradients_of) else {}

    def gradients(self, params: Params, state: Any, batch: Batch, drawn: dict[str, Any]) -> Found:
        """Return the gradients of a batch, after checking what the function returned."""
        assert self.gradients_of is not None  # for training; evaluation needs only `predict`
        returned = self.gradients_of(params, batch, state, **drawn)
        if not isinstance(returned, (tuple, list)) or len(returned) != 3:
            raise TypeError(
                f"gradients: expected it to return (loss, grads, state), got {check.said(returned)}"
            )
        loss, grads, state = returned
        try:
            xp, first = _check_grads(grads, params)
            check.loss_value(loss, first)
        except (TypeError, ValueError) as error:
            raise type(error)(f"gradients: what it returned has {error}") from None
        if not is_array(loss):
            loss = xp.asarray(loss, dtype=first.dtype, device=device_of(first))
        nonzero = [xp.any(g != 0) for g in grads.values()]
        moved = nonzero[0]
        for one in nonzero[1:]:
            moved = moved | one
        return Found(loss, xp.isnan(loss) & ~moved, dict(grads), state, [])

    def weights(self, xp: Namespace, params: Params, batch: Batch) -> tuple[Any, Any]:
        """Return the weights of a batch, or None, and how much the batch counts."""
        if batch.weights is not None:
            weights = batch.weights
            dtype = next(iter(params.values())).dtype
            return weights, xp.sum(xp.astype(weights, accumulation_dtype(xp, dtype)))
        if batch.lengths is not None:
            raise ValueError(
                "weights: expected those of the steps that count, since the batch has lengths and "
                "predict may return outputs of any steps, got none"
            )
        shape = getattr(batch.targets, "shape", None)
        if not shape:
            raise TypeError(
                "targets: expected an array, by whose size the batch counts, or weights, got "
                f"{check.said(batch.targets)}"
            )
        return None, float(math.prod(shape))

    def outputs(self, params: Params, state: Any, batch: Batch) -> tuple[Array, Any]:
        """Return the outputs of a batch, and the state after it."""
        assert self.predict is not None  # checked before
        returned = self.predict(params, batch, state)
        if not isinstance(returned, (tuple, list)) or len(returned) != 2:
            raise TypeError(
                f"predict: expected it to return (outputs, state), got {check.said(returned)}"
            )
        outputs, state = returned
        name, first = next(iter(params.items()))
        try:
            check_library_and_device("outputs", outputs, f"params[{name!r}]", first)
        except (TypeError, ValueError) as error:
            raise type(error)(f"predict: what it returned has {error}") from None
        return outputs, state

    def described(self) -> dict[str, Any]:
        """Return what determines a run besides its loss and data."""
        model = {} if self.model is None else {"model": self.model.to_dict()}
        return model | {"gradients": self.gradients_of, "predict": self.predict}


Objective: TypeAlias = "ModelObjective | OwnObjective | DistributedObjective"


def takes_seed(function: Any) -> bool:
    """Return whether a function takes ``seed`` by name."""
    try:
        return "seed" in inspect.signature(function).parameters
    except (TypeError, ValueError):  # functions not written in Python may have no signature
        return False


def _check_grads(grads: Any, params: Params) -> tuple[Namespace, Array]:
    """Check that gradients are like the parameters; return their namespace and the first."""
    check_dict("grads", grads)
    if grads.keys() != params.keys():
        lacks, extra = sorted(params.keys() - grads.keys()), sorted(grads.keys() - params.keys())
        got = ", ".join([f"no {name!r}" for name in lacks] + [f"{name!r} too" for name in extra])
        raise ValueError(f"grads: expected the names of params, got {got}")
    for name, param in params.items():
        label = f"grads[{name!r}]"
        check_library_and_device(label, grads[name], f"params[{name!r}]", param)
        check_shape(label, grads[name], tuple(param.shape))
    first = next(iter(grads.values()))
    return namespace_of(grads=first), first


def _recording(
    loss: Loss, metrics: Mapping[str, Metric]
) -> tuple[Loss, list[tuple[Any, dict[str, Array]]]]:
    """Return a loss that records what it returns and what metrics measure, and the record."""
    record: list[tuple[Any, dict[str, Array]]] = []

    @functools.wraps(loss)
    def recorder(outputs: Array, targets: Any, **options: Any) -> Any:
        returned = loss(outputs, targets, **options)
        weights = options.get("weights")
        record[:] = [(returned, measure(metrics, outputs, targets, weights))]
        return returned

    return recorder, record


def measure(
    metrics: Mapping[str, Metric], outputs: Array, targets: Any, weights: Any
) -> dict[str, Array]:
    """Return what each metric measures of a batch."""
    found = {}
    for name, metric in metrics.items():
        try:
            found[name] = metric.measure(outputs, targets, weights=weights)
            if getattr(found[name], "ndim", None) != 1:
                got = check.said(found[name])
                raise TypeError(f"expected measure to return an array of shape (K,), got {got}")
        except (TypeError, ValueError) as error:
            raise type(error)(f"metrics[{name!r}]: {error}") from None
    return found


def value_and_empty(returned: tuple[Any, Array]) -> tuple[Array, Array]:
    """Return the value a loss returned, and whether it is NaN because nothing counts."""
    value, d_outputs = returned
    xp = namespace_of(d_outputs=d_outputs)
    if not is_array(value):  # from a user's loss
        value = xp.asarray(value, dtype=d_outputs.dtype, device=device_of(d_outputs))
    return value, xp.isnan(value) & ~xp.any(d_outputs != 0)


def evaluated(
    objective: ModelObjective | OwnObjective, params: Params, state: Any, batch: Batch
) -> tuple[Any, ...]:
    """Return the loss of a batch, whether nothing counts, the state, and what metrics measure."""
    options = {} if batch.weights is None else {"weights": batch.weights}
    outputs, state = objective.outputs(params, state, batch)
    returned = objective.loss(outputs, batch.targets, **options)
    value, empty = value_and_empty(returned_by_loss(returned, outputs, outputs))
    return value, empty, state, measure(objective.metrics, outputs, batch.targets, batch.weights)
