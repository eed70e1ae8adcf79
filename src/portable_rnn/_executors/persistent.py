"""The loop of a layer on CuPy's arrays as one kernel, where its weights fit into shared memory.

A layer that has a plan (``cuda_plan.py``) runs as `Layer` of ``persistent_layer.py``, all steps of
a chunk in one launch; any other, and what is too short to gain, as on `Fused`. Both keep the same
record, so that one may run back what the other has run.
"""

import logging
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from .._arrays.namespace import Array, dtype_name
from .._engine.recurrence import Weights
from .._engine.setup import Setup
from ..cells import State
from .cuda_plan import Limits, Plan, plan
from .fused import PASSING, Fused, FusedLayer, Kernels
from .persistent_layer import Layer, device, limits
from .program import Program
from .record import Record, rows_of

__all__ = ["Persistent"]

logger = logging.getLogger("portable_rnn")

SHORT = 2  # steps that are not worth reading the weights for


@dataclass(frozen=True)
class Persistent(Fused):
    """One kernel for all steps of a layer, where there is a plan for it."""

    def prepare(self, setup: Setup, w: Weights, size: tuple[int, int]) -> Weights:
        """Add the kernels, or nothing if there are none."""
        w = super().prepare(setup, w, size)
        if w.prepared is None:
            return w
        return w._replace(prepared=PersistentLayer(w.prepared.kernels, w, w.prepared.own))


@lru_cache(maxsize=256)
def _plan(program: Program, batch: int, units: int, dtype: str, device: Limits) -> Plan | str:
    return plan(program, batch, units, dtype, device)


_refused: dict[Any, str] = {}  # what could not be compiled, on which device, and why


class PersistentLayer(FusedLayer):
    """A layer: kernels of all steps besides those of one."""

    def __init__(self, kernels: Kernels, w: Weights, own: Array | None) -> None:
        super().__init__(kernels, w, own)
        self._found: dict[int, Layer | None] = {}

    def of_all_steps(self, steps: int, batch: int) -> Layer | None:
        """Return the kernels for all steps at once, or None if each is to be launched.

        As the sequences of a batch end, chunks have fewer of them: not each number has a plan of
        its own.
        """
        if steps <= SHORT or not batch:
            return None
        many = batch if batch < 8 else -(-batch // 8) * 8
        if many not in self._found:
            self._found[many] = self._planned(many)
        return self._found[many]

    def _planned(self, batch: int) -> Layer | None:
        program, units = self.kernels.program, self.weight.shape[1]
        found = _plan(program, batch, units, dtype_name(self.weight.dtype), limits())
        if isinstance(found, str):
            logger.info("each step is a kernel of its own: %s", found)
            return None
        scaled, key = self.kernels.scaled, (program, found, self.kernels.scaled, device())
        if key in _refused:
            return None
        arrays = (self.weight, *self.biases, self.own)
        try:
            return Layer(program, found, *arrays, scaled=scaled)
        except Exception as error:  # such as registers of this device that do not suffice
            logger.warning("each step is a kernel of its own: %s", error)
            if not isinstance(error, PASSING):
                _refused[key] = str(error)
            return None

    def forward(
        self,
        ax: Array,
        size: tuple[int, int],
        state: State,
        update: tuple[Array, ...],
        scale: Array | None,
        *,
        reverse: bool,
        keep: bool,
    ) -> tuple[Array, State, Record]:
        """Return the hidden states of all steps, the final state, and the record."""
        layer = self.of_all_steps(*size)
        if layer is None:
            return super().forward(ax, size, state, update, scale, reverse=reverse, keep=keep)
        record = layer.forward(
            *(ax.reshape(*size, -1), state),
            *(tuple(self.each_sequence(each, size) for each in update), scale),
            reverse=reverse,
            keep=keep,
        )
        last = 0 if reverse else size[0]
        return record.hidden, tuple(each[last].copy() for each in record.states), record

    def backward(
        self, record: Record, d_hidden: Array | None, d_state: State
    ) -> tuple[tuple[Array, ...], State]:
        """Return what gradients of weights need of each step, and the cotangent of the state."""
        _, slots, batch, _ = record.states.shape
        layer = self.of_all_steps(slots - 1, batch)
        if layer is None:
            return super().backward(record, d_hidden, d_state)
        found = layer.backward(record, d_hidden, d_state)
        rows = rows_of(found.d_own, self.own_sizes, found.d_ax, found.d_ah)
        dtype = record.states.dtype
        return rows, tuple(each.astype(dtype, copy=False) for each in found.d_state)
