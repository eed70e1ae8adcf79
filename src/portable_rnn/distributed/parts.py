"""What a worker computes: the gradient of one shard, and how much the shard counts."""

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any

from .._arrays.devices import device_context
from .._arrays.functions import accumulation_dtype, row
from .._arrays.host import from_host, to_host
from .._arrays.namespace import Array, device_of, dtype_name, is_array, namespace_of
from .._arrays.tracing import compile_step
from .._calls.loss import Loss
from .._labels import one_hot_rows, signed
from ..batches import Batch
from ..losses import ctc, softmax_cross_entropy
from ..metrics import Metric
from ..model import RNN
from ..optimizers import Optimizer
from ..optimizers.inner import taken
from ..training.distributed import PartResult, Sums
from ..training.objective import Found, ModelObjective, evaluated
from ..training.sources import check_fits
from .shards import ToLoad

__all__ = ["HostParams", "Local", "Work", "add", "from_params", "limit_threads", "part"]


@dataclass(frozen=True)
class HostParams:
    """Parameters on the host, in the dtype in which gradients are added, and their own dtype."""

    arrays: dict[str, Any]
    dtype: str


@dataclass(frozen=True)
class Local:
    """Steps that a worker takes by itself."""

    steps: int
    optimizer: Optimizer
    lr: float


@dataclass(frozen=True)
class Work:
    """What is to be computed of each shard."""

    model: RNN
    loss: Loss
    metrics: Mapping[str, Metric]
    local: Local | None = None

    @functools.cached_property  # one function, which is compiled once
    def differentiate(self) -> Callable[..., tuple[Found, Any]]:
        """Gradients ``(params, state, batch, masks) -> (Found, count)``."""

        def differentiate(*args: Any) -> tuple[Found, Any]:
            objective, counts = self._objective()
            return objective.gradients(*args), counts[-1]

        return differentiate

    @functools.cached_property
    def evaluate(self) -> Callable[..., tuple[Any, Any]]:
        """Evaluation ``(params, state, batch) -> ((value, empty, state, measured), count)``."""

        def evaluate(*args: Any) -> tuple[Any, Any]:
            objective, counts = self._objective()
            return evaluated(objective, *args), counts[-1]

        return evaluate

    def _objective(self) -> tuple[ModelObjective, list[Any]]:
        """Return an objective that records how much counts; threads must not share one."""
        loss, counts = _counting(self.loss)
        return ModelObjective(self.model, loss, self.metrics), counts

    def __getstate__(self) -> dict[str, Any]:
        return {field.name: getattr(self, field.name) for field in fields(self)}


def from_params(params: Mapping[str, Array]) -> HostParams:
    """Return parameters as they are sent; half precision as float32, which every host has."""
    first = next(iter(params.values()))
    xp = namespace_of(params=first)
    wide = accumulation_dtype(xp, first.dtype)
    arrays = {name: to_host(xp.astype(p, wide, copy=False)) for name, p in params.items()}
    return HostParams(arrays, dtype_name(first.dtype))


def part(
    work: Work,
    params: HostParams | Mapping[str, Array],
    batch: Batch,
    state: Any,
    step: int,
    shard: int,
    seed: int | None,
) -> Sums:
    """Return the sums over one shard: its gradient times its count, and the rest of it.

    Without a seed, evaluate it. If the parameters come from another process, they are put where the
    inputs are, and all that is returned is on the host; otherwise gradients and states stay there.
    """
    loader = batch.x if isinstance(batch.x, ToLoad) else None
    try:
        if loader is not None:
            batch = loader.batch(shard)
        with device_context(batch.x):
            sent = isinstance(params, HostParams)
            own = _placed(params, batch.x) if isinstance(params, HostParams) else params
            sums = _part(work, own, batch, state, (seed, step, shard), loader)
            if loader is not None and not loader.carry:
                sums = Sums(sums.grads, [sums.parts[0]._replace(state=None)])
            return _on_host(sums) if sent else sums
    except (TypeError, ValueError) as error:
        kind = ValueError if isinstance(error, ValueError) else TypeError
        raise kind(f"{error} (shard {shard} of step {step})") from error


def _part(
    work: Work,
    params: Mapping[str, Array],
    batch: Batch,
    state: Any,
    key: tuple[int | None, int, int],
    loader: ToLoad | None,
) -> Sums:
    if key[0] is None:
        return Sums({}, [_evaluated(work, params, batch, state)])
    if work.local is None:
        grads, found = _differentiated(work, params, batch, state, key)
    else:
        assert loader is not None  # checked before
        grads, found = _stepped(work, work.local, params, batch, state, key, loader)
    return Sums({name: _times(g, found.counted) for name, g in grads.items()}, [found])


def _on_host(sums: Sums) -> Sums:
    """Return sums over one part, with gradients and state on the host."""
    (one,) = sums.parts
    grads = {name: to_host(g) for name, g in sums.grads.items()}
    return Sums(grads, [one._replace(state=_mapped(to_host, one.state))])


def _differentiated(
    work: Work, params: Mapping[str, Array], batch: Batch, state: Any, key: tuple[Any, ...]
) -> tuple[dict[str, Array], PartResult]:
    """Return the gradient of a shard, and the rest of it."""
    batch, state = _checked(work.model, params, batch, state)
    xp = namespace_of(params=next(iter(params.values())))
    masks = ModelObjective(work.model, work.loss, {}).drawn(xp, params, batch, key)
    found, count = compile_step(xp, work.differentiate)(params, state, batch, masks)
    count = 0.0 if bool(found.empty) else float(count)
    measured = {name: to_host(a) for one in found.measured for name, a in one.items()}
    return found.grads, PartResult(float(found.loss), count, count, found.state, measured)


def _stepped(
    work: Work,
    local: Local,
    params: Mapping[str, Array],
    batch: Batch,
    state: Any,
    key: tuple[Any, ...],
    loader: ToLoad,
) -> tuple[dict[str, Array], PartResult]:
    """Take steps on a shard alone; return how far the parameters have moved back, and the rest."""
    seed, step, shard = key
    now: dict[str, Array] = dict(params)
    optimizer_state, found, states = None, [], state
    for later in range(local.steps):
        if later:
            batch = loader.batch(shard, later=later)
        grads, one = _differentiated(work, now, batch, states, (seed, step, shard, later))
        now, optimizer_state = taken(local.optimizer, now, grads, optimizer_state, local.lr)
        states = one.state
        found.append(one)
    sums = Sums({}, found)
    measured = found[-1].measured
    moved = {name: params[name] - now[name] for name in params}
    return moved, PartResult(sums.loss, sums.counted, sums.counted, states, measured)


def _evaluated(work: Work, params: Mapping[str, Array], batch: Batch, state: Any) -> PartResult:
    """Return the loss of a shard, and what metrics measure."""
    batch, state = _checked(work.model, params, batch, state)
    xp = namespace_of(params=next(iter(params.values())))
    weights, weight = ModelObjective(work.model, work.loss, {}).weights(xp, params, batch)
    batch = batch._replace(weights=weights)
    (value, empty, after, measured), count = compile_step(xp, work.evaluate)(params, state, batch)
    count = 0.0 if bool(empty) else float(count)
    host = {name: to_host(array) for name, array in measured.items()}
    return PartResult(float(value), count, float(weight), after, host)


def _placed(params: HostParams, x: Array) -> dict[str, Array]:
    """Return parameters in the library and on the device of a shard's inputs."""
    xp, device = namespace_of(x=x), device_of(x)
    return {name: from_host(a, xp, params.dtype, device) for name, a in params.arrays.items()}


def _checked(
    model: RNN, params: Mapping[str, Array], batch: Batch, state: Any
) -> tuple[Batch, Any]:
    """Check that a shard fits the model; return it, and the state to begin with."""
    if batch.fresh or state is None:
        state = None
    else:
        xp, device = namespace_of(x=batch.x), device_of(batch.x)
        state = _mapped(lambda a: _moved(a, xp, device), state)
    check_fits("batch", batch, model, params, state)
    return batch._replace(fresh=False), state


def _moved(array: Array, xp: Any, device: Any) -> Array:
    """Return an array of a state in the library and on the device of a shard's inputs."""
    same = namespace_of(state=array) is xp and device_of(array) == device
    return array if same else from_host(to_host(array), xp, device=device)


def _mapped(f: Any, state: Any) -> Any:
    if state is None or is_array(state):
        return None if state is None else f(state)
    return tuple(_mapped(f, one) for one in state)


def _times(gradient: Array, count: float) -> Array:
    """Return a gradient times a count, in the dtype in which gradients are added."""
    xp = namespace_of(gradient=gradient)
    return xp.astype(gradient, accumulation_dtype(xp, gradient.dtype), copy=False) * count


def add(sums: list[Sums]) -> Sums:
    """Add sums of parts, in their order."""
    first, *rest = sums
    grads = dict(first.grads)
    for one in rest:
        grads = {name: g + one.grads[name] for name, g in grads.items()}
    return Sums(grads, [part for one in sums for part in one.parts])


def _counting(loss: Loss) -> tuple[Loss, list[Any]]:
    """Return a loss that records how much counts, and the record."""
    record: list[Any] = []

    @functools.wraps(loss)
    def counting(outputs: Array, targets: Any, **options: Any) -> Any:
        returned = loss(outputs, targets, **options)
        record.append(_count(loss, outputs, targets, options.get("weights")))
        return returned

    return counting, record


def _count(loss: Any, outputs: Array, targets: Any, weights: Any) -> Any:
    """Return by what the mean of a loss divides, up to a factor that all shards share.

    That is the weight of all steps, without those that the loss itself leaves out.
    """
    options: dict[str, Any] = {}
    while isinstance(loss, functools.partial):
        options, loss = {**loss.keywords, **options}, loss.func
    steps = tuple(outputs.shape[:-1])
    xp = namespace_of(outputs=outputs)
    if loss is ctc:  # sequences, of which some may have no step
        axis = 1 if options.get("batch_first") else 0
        if weights is None:
            return float(steps[1 - axis])
        return xp.sum(xp.astype(xp.any(weights, axis=axis), xp.int32))
    ignored, of_classes = options.get("ignore_index"), options.get("class_weights")
    if loss is not softmax_cross_entropy or not _are_labels(targets, steps):
        ignored = of_classes = None
    if weights is None and ignored is None and of_classes is None:
        return float(math.prod(steps))
    wide = accumulation_dtype(xp, outputs.dtype)
    if weights is None:
        weights = xp.ones(steps, dtype=wide, device=device_of(outputs))
    weights = xp.astype(weights, wide)
    if ignored is not None:
        weights = xp.where(signed(xp, targets) != ignored, weights, xp.zeros_like(weights))
    if of_classes is not None:
        classes = outputs.shape[-1]
        rows = one_hot_rows(xp, targets, classes, wide)
        weights = weights * xp.sum(rows * row(xp, xp.astype(of_classes, wide), rows.ndim), axis=-1)
    return xp.sum(weights)


def _are_labels(targets: Any, steps: tuple[int, ...]) -> bool:
    return tuple(targets.shape) == steps


_limited: list[int] = []


def limit_threads(threads: int) -> None:
    """Have the BLAS libraries of this process use so many threads, from now on.

    Their number may change the last bits of a product. Workers started by Dask's nanny have one.
    """
    if _limited == [threads]:
        return
    _limited[:] = [threads]
    try:
        import threadpoolctl
    except ImportError:
        return
    threadpoolctl.threadpool_limits(threads)
