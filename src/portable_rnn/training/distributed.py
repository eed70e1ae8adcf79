"""What `train` minimises if the parts of each batch are computed elsewhere, and added."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .._arrays import checks as check
from .._arrays.devices import device_context
from .._arrays.host import from_host
from .._arrays.namespace import Array, Namespace, device_of, namespace_of
from .._calls.checks import check_model, check_parameters
from .._calls.loss import Loss, weighs_steps
from ..batches import Batch, Batches
from ..metrics import Metric
from ..model import RNN
from .names import Metrics, loss_of, metrics_of
from .objective import Found
from .sources import check_batch, check_fits

__all__ = ["DistributedObjective", "PartResult", "Sums"]

Params = Mapping[str, Array]


class PartResult(NamedTuple):
    """What is known of one part of a batch, besides its gradient.

    Attributes
    ----------
    loss : float
        The mean loss over what counts in the part.
    counted : float
        How much counts: what the loss has divided by, up to a factor that all parts share.
    weight : float
        The weight of the part in an evaluation.
    state : None, or as the model returns it
    measured : dict of str to arrays on the host
        What each metric has measured.
    """

    loss: float
    counted: float
    weight: float
    state: Any
    measured: dict[str, Any]


class Sums(NamedTuple):
    """The parts of a batch, added in their order.

    Attributes
    ----------
    grads : dict of str to arrays on the host, or of the parameters' library
        Sum of each part's gradient, times its count; empty for an evaluation.
    parts : list of PartResult
    """

    grads: dict[str, Any]
    parts: list[PartResult]

    @property
    def counted(self) -> float:
        """How much counts in all parts."""
        return math.fsum(part.counted for part in self.parts)

    @property
    def loss(self) -> float:
        """The mean loss over what counts in all parts, NaN if that is nothing."""
        total = self.counted
        counted = (part.loss * part.counted for part in self.parts if part.counted)
        return sum(counted) / total if total else math.nan


class DistributedObjective(ABC):
    """The loss of a model over batches of which each is computed in parts.

    A subclass adds the parts. It is what `train` is given as ``gradients``.
    """

    compiled = False  # what is called is no function of arrays alone
    sizes = None
    writes = True  # whether this process writes checkpoints

    def __init__(self, model: RNN, loss: Loss | str, metrics: Metrics | None) -> None:
        check_model(model)
        self.model = model
        self.loss: Loss = loss_of(loss)
        check.loss(type(self), self.loss, {}, weighted=False)
        self.metrics: dict[str, Metric] = metrics_of(metrics)

    @abstractmethod
    def _sums(self, params: Params, batch: Batch, state: Any, seed: tuple[int, int] | None) -> Sums:
        """Return the sums over the parts of a batch; without a seed, for an evaluation."""

    def __call__(
        self, params: Params, batch: Batch, state: Any = None, seed: tuple[int, int] = (0, 0)
    ) -> tuple[Array, dict[str, Array], Any]:
        """Return the loss of a batch, its gradient and the state after it.

        Parameters
        ----------
        params : dict of str to array
        batch : Batch
        state : as returned for the batch before, or None
        seed : tuple of two ints
            That of the run, and the step: for dropout.

        Returns
        -------
        loss : array, shape ()
        grads : dict of str to array
        state : list, one for each part
        """
        self.check_params(params)
        with device_context(next(iter(params.values()))):
            found = self.gradients(params, None if batch.fresh else state, batch, seed)
        return found.loss, found.grads, found.state

    def gradients(self, params: Params, state: Any, batch: Batch, drawn: tuple[int, int]) -> Found:
        """Return the gradients of a batch, from the sums over its parts."""
        first = next(iter(params.values()))
        xp, device = namespace_of(params=first), device_of(first)
        sums = self._sums(params, batch, state, drawn)
        divisor = sums.counted or 1.0  # without any, all gradients are zero
        grads = {
            key: xp.astype(_moved(sums.grads[key] / divisor, xp, device), p.dtype, copy=False)
            for key, p in params.items()
        }
        loss = xp.asarray(sums.loss, dtype=first.dtype, device=device)
        empty = xp.asarray(not sums.counted, device=device)
        return Found(loss, empty, grads, _states(sums), _measured(sums, xp, device))

    def evaluated(
        self, params: Params, state: Any, batch: Batch
    ) -> tuple[float, float, Any, list[dict[str, Array]]]:
        """Return the loss of a batch, how much it counts, the state, and what metrics measure."""
        first = next(iter(params.values()))
        sums = self._sums(params, batch, state, None)
        weight = math.fsum(part.weight for part in sums.parts) if sums.counted else 0.0
        measured = _measured(sums, namespace_of(params=first), device_of(first))
        return sums.loss, weight, _states(sums), measured

    def check_params(self, params: Params) -> Namespace:
        """Check parameters; return their namespace."""
        return check_parameters(self.model, params)

    def batch(self, name: str, source: Batches, step: int, params: Params, state: Any) -> Batch:
        """Return the batch of a step; shards that are loaded elsewhere are checked there."""
        batch = check_batch(name, source, step)
        if not getattr(batch.x, "in_shards", False):
            check_fits(f"{name}.batch({step})", batch, self.model, params, None)
        return batch

    def check_loss(self, caller: Callable[..., Any], batch: Batch) -> None:
        """Check that the loss takes what it will be given."""
        weighted = batch.weights is not None or weighs_steps(self.model, batch.lengths, None)
        check.loss(caller, self.loss, {}, weighted=weighted)

    def drawn(
        self, xp: Namespace, params: Params, batch: Batch, seed: tuple[int, int]
    ) -> tuple[int, int]:
        """Return the seed of a step: masks are drawn where they are used."""
        return seed

    def described(self) -> dict[str, Any]:
        """Return what determines a run besides its loss and data."""
        own = {"gradients": {"name": type(self).__name__, **self._described()}}
        return {"model": self.model.to_dict(), **own}

    @abstractmethod
    def _described(self) -> dict[str, Any]:
        """Return what determines a run besides its model, loss and data."""


def _moved(array: Any, xp: Namespace, device: Any) -> Array:
    """Return an array in the library of the parameters, if it is on the host."""
    return array if namespace_of(grads=array) is xp else from_host(array, xp, device=device)


def _states(sums: Sums) -> Any:
    """Return the states of all parts; None if there are none."""
    states = [part.state for part in sums.parts]
    return None if all(state is None for state in states) else states


def _measured(sums: Sums, xp: Namespace, device: Any) -> list[dict[str, Array]]:
    """Return what metrics have measured of each part, as arrays of the parameters' library."""
    return [
        {name: from_host(array, xp, device=device) for name, array in part.measured.items()}
        for part in sums.parts
        if part.measured
    ]
