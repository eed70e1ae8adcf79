"""The loop of a layer on CuPy's arrays: in each step one product of cuBLAS and one kernel.

The kernel is made from the cell's own source (``cuda_step.py``), and compiled by NVRTC when first
used. The products for all steps of a chunk stay around the loop. What cannot be fused runs as on
`Eager`; `why_not` of ``programs.py`` says why. All work is enqueued on the current stream, and
nothing waits for it.
"""

import logging
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cupy as cp

from .._arrays.functions import stack
from .._arrays.namespace import Array, Namespace, dtype_name
from .._engine.affine import GPU_SUMS, Products, matmul
from .._engine.bptt import Inputs
from .._engine.recurrence import Recurrence, Weights, added
from .._engine.setup import Sequence, Setup
from ..cells import State
from .cublas import product, product_over_rows
from .cuda_step import BACKWARD, FORWARD, source
from .eager import Eager
from .program import Program
from .programs import NotCompiled, NotNow, code_of, kind_of_update
from .record import Record, rows_of

__all__ = ["PASSING", "Fused", "FusedLayer", "Kernels", "kernels_of"]

logger = logging.getLogger("portable_rnn")

THREADS = 128  # of a block
# Errors of compilation that may be gone the next time: of memory, files, and the device.
PASSING = (MemoryError, OSError, cp.cuda.runtime.CUDARuntimeError, cp.cuda.driver.CUDADriverError)


def _weight_sum(xp: Namespace, x: Array, d_y: Array) -> Array:
    """Return the cotangent of a weight, (O, I)."""
    rows = (cp.ascontiguousarray(a).reshape(-1, a.shape[-1]) for a in (d_y, x))
    return product_over_rows(*rows)


SUMS = GPU_SUMS._replace(weight=_weight_sum)


@dataclass(frozen=True)
class Kernels:
    """The kernels of one cell, for one dtype."""

    program: Program
    scaled: bool
    forward: Any
    backward: Any


@dataclass(frozen=True)
class Fused(Eager):
    """One kernel a step where a cell can be written as one.

    Attributes
    ----------
    asked : bool
        Whether it was asked for by name: what cannot be fused is then refused.
    """

    gpu: bool = True
    asked: bool = False

    @property
    def sums(self) -> Products:
        """Products that add to a sum."""
        return SUMS

    def prepare(self, setup: Setup, w: Weights, size: tuple[int, int]) -> Weights:
        """Add the kernels, or nothing if there are none."""
        dtype, held = dtype_name(w.hh.weight.dtype), kind_of_update(setup)
        found = kernels_of(setup.recurrence, dtype, held=held, scaled=bool(setup.recurrent))
        if isinstance(found, str):
            if self.asked or dtype == "bfloat16":  # which CuPy's own functions would widen
                why = "was asked for" if self.asked else "is needed for bfloat16"
                raise ValueError(f"executor: fused {why}; {found}")
            return super().prepare(setup, w, size)
        own = cp.concatenate(w.own) if w.own else None
        return w._replace(prepared=FusedLayer(found, w, own))

    def layer(
        self, setup: Setup, w: Weights, given: Inputs, state: State
    ) -> tuple[Sequence, State, Any]:
        """Project the input of all steps, then run the loop."""
        if w.prepared is None:
            return super().layer(setup, w, given, state)
        xp, (steps, batch, inputs) = setup.xp, given.x.shape
        ax = matmul(xp, given.x.reshape(-1, inputs), w.ih.weight.T)
        found: tuple[Sequence, State, Any] = w.prepared.forward(
            *(ax, (steps, batch), state, given.update, w.hh.scale),
            reverse=setup.reverse,
            keep=setup.keep,
        )
        return found

    def layer_vjp(
        self,
        setup: Setup,
        w: Weights,
        given: Inputs,
        record: Any,
        d_hidden: Array | None,
        d_state: State,
        total: Weights | None,
    ) -> tuple[Weights, Array | None, State]:
        """Run the loop back, then the products for the gradients."""
        if not isinstance(record, Record):
            return super().layer_vjp(setup, w, given, record, d_hidden, d_state, total)
        if w.prepared is None:
            raise ValueError("tape: made by fused kernels, which cannot run here")
        xp, h = setup.xp, record.hidden_before
        rows, d_before = w.prepared.backward(record, d_hidden, d_state)
        d_w, d_ax = setup.recurrence.weights_vjp(xp, w, given.x, h, rows, setup.products)
        return added(total, d_w), w.ih.vjp_x(xp, d_ax) if setup.grad_x else None, d_before

    def step(
        self, setup: Setup, w: Weights, x: Array, state: State, update: tuple[Array, ...]
    ) -> State:
        """Run the loop once."""
        layer: FusedLayer | None = w.prepared
        if layer is not None and update:  # perhaps of this step only, and of one kind or the other
            held = "choose" if all(u.dtype == setup.xp.bool for u in update) else "mix"
            if layer.kernels.program.held != held:
                dtype = dtype_name(x.dtype)
                other = kernels_of(setup.recurrence, dtype, held=held, scaled=layer.kernels.scaled)
                layer = None if isinstance(other, str) else FusedLayer(other, w, layer.own)
        if layer is None:
            return super().step(setup, w, x, state, update)
        ax = matmul(setup.xp, x, w.ih.weight.T)
        given = (ax, (1, x.shape[0]), state, tuple(u[None, ...] for u in update), w.hh.scale)
        _, after, _ = layer.forward(*given, reverse=False, keep=False)
        found: State = after
        return found

    def join(self, xp: Namespace, sequence: Sequence) -> Array:
        """Return the steps as one array, which is a part of the record where the loop wrote it."""
        return stack(xp, sequence) if isinstance(sequence, list) else sequence


class FusedLayer:
    """A layer: its kernels, and its weights as they take them."""

    def __init__(self, kernels: Kernels, w: Weights, own: Array | None) -> None:
        self.kernels, self.weight = kernels, cp.ascontiguousarray(w.hh.weight)
        self.biases = tuple(
            None if bias is None else cp.ascontiguousarray(bias) for bias in (w.ih.bias, w.hh.bias)
        )
        self.own = own
        self.own_sizes = tuple(each.shape[0] for each in w.own)

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
        """Return the hidden states of all steps, the final state, and the record.

        Parameters
        ----------
        ax : array (T·B, G·H)
            The product of the input, without bias.
        size : (T, B)
        state : tuple of arrays (B, H)
        update : tuple of arrays (T, B, 1), (T, 1, 1) or (T, B, H)
            For each state array, if the state may be held.
        scale : array (B, H), optional
            Factors of the hidden state before it is multiplied.
        reverse : bool
        keep : bool
            Whether `backward` will be called.
        """
        p, (steps, batch), units = self.kernels.program, size, self.weight.shape[1]
        dtype = self.weight.dtype
        if ax.dtype != dtype:  # the kernels read it by a pointer
            raise TypeError(f"x: expected dtype {dtype} like the weights, got {ax.dtype}")
        ax = cp.ascontiguousarray(ax)
        states = cp.empty((p.states, steps + 1, batch, units), dtype)
        slots = steps if keep else 1
        stored = cp.empty((len(p.stored), slots, batch, units), dtype)
        ah = cp.empty((batch, p.gates * units), dtype)
        first = steps if reverse else 0
        for of_all, given in zip(states, state, strict=True):
            of_all[first] = given
        held = tuple(self.each_sequence(each, size) for each in update)
        scale = None if scale is None else cp.ascontiguousarray(scale)
        record = Record(reverse, held, scale, states, stored)
        options = self._options(record)
        scaled = () if scale is None else (states[0, first] * scale,)
        grid, sizes = _grid(batch * units), (steps, slots, batch, units)
        bias_ax, bias_ah = self.biases
        arrays = (ax, bias_ax, ah, bias_ah, states, stored, *options, *scaled)
        multiply, run = product(self.weight, batch, transposed=True), self.kernels.forward
        # The hidden state of each step, or what it is scaled to, which is written over.
        h, out = (scaled[0] if scaled else states).data.ptr, ah.data.ptr
        size_of_step = 0 if scaled else batch * units * dtype.itemsize
        for t in range(steps - 1, -1, -1) if reverse else range(steps):
            before, after = (t + 1, t) if reverse else (t, t + 1)
            multiply(h + before * size_of_step, out)
            run(grid, (THREADS,), (*arrays, t, before, after, t if keep else 0, *sizes))
        last = 0 if reverse else steps
        return record.hidden, tuple(each[last].copy() for each in states), record

    def backward(
        self, record: Record, d_hidden: Array | None, d_state: State
    ) -> tuple[tuple[Array, ...], State]:
        """Return what the gradients of weights need of each step, and the cotangent of the state.

        Parameters
        ----------
        record : Record
        d_hidden : array (T, B, H), optional
        d_state : tuple of arrays (B, H)
            Of the final state.
        """
        p, (_, slots, batch, units) = self.kernels.program, record.states.shape
        steps, dtype, reverse = slots - 1, record.states.dtype, record.reverse
        if record.stored.shape[1] != steps:
            raise ValueError("record: nothing was kept")
        rows = (steps, batch, p.gates * units)
        d_ax = cp.empty(rows, dtype)
        d_ah = d_ax if p.same else cp.empty(rows, dtype)
        d_own = [cp.empty((steps, batch, p.own * units), dtype)] if p.own else []
        wide = cp.float64 if dtype == cp.float64 else cp.float32
        d_before = cp.empty((p.states, batch, units), wide)
        for mine, given in zip(d_before, d_state, strict=True):
            mine[...] = given
        if d_hidden is not None:
            d_hidden = cp.ascontiguousarray(d_hidden)
        d_product = cp.empty((batch, units), dtype)
        arrays = (record.states, record.stored, *self._options(record), d_hidden)
        into = (d_before, d_ax, *(() if p.same else (d_ah,)), *d_own)
        grid, sizes, run = _grid(batch * units), (steps, batch, units), self.kernels.backward
        multiply, given = product(self.weight, batch, transposed=False), None  # none at first
        d, size_of_step = d_ah.data.ptr, batch * p.gates * units * dtype.itemsize
        for t in range(steps) if reverse else range(steps - 1, -1, -1):
            before, after = (t + 1, t) if reverse else (t, t + 1)
            run(grid, (THREADS,), (*arrays, given, *into, t, before, after, *sizes))
            multiply(d + t * size_of_step, d_product.data.ptr)
            given = d_product
        if steps:
            d_before[0] += d_product if record.scale is None else d_product * record.scale
        found = rows_of(d_own[0] if d_own else None, self.own_sizes, d_ax, d_ah)
        return found, tuple(each.astype(dtype, copy=False) for each in d_before)

    def each_sequence(self, update: Array, size: tuple[int, int]) -> Array:
        """Return an update (T, B, 1) or (T, B, H) as the kernels read it: booleans or numbers."""
        if self.kernels.program.held == "mix":
            update = update.astype(self.weight.dtype, copy=False)
        return cp.ascontiguousarray(cp.broadcast_to(update, (*size, update.shape[2])))

    def _options(self, record: Record) -> tuple[Any, ...]:
        """Return the arguments of what the layer may have more, in the order of the kernels."""
        updates = tuple(part for each in record.update for part in (each, each.shape[-1]))
        own = () if self.own is None else (self.own,)
        return (*own, *updates, *(() if record.scale is None else (record.scale,)))


def kernels_of(
    recurrence: Recurrence, dtype: str, *, held: str = "", scaled: bool = False
) -> Kernels | str:
    """Return the kernels of a layer, or why there are none.

    Parameters
    ----------
    recurrence : Recurrence
    dtype : {"float32", "float64", "float16", "bfloat16"}
    held : {"", "choose", "mix"}
        Whether there are updates, of booleans or of numbers.
    scaled : bool
        Whether there are factors of what the recurrent weights multiply.
    """
    return code_of(recurrence, held, _kernels, dtype, scaled)


@lru_cache(maxsize=64)
def _kernels(program: Program, dtype: str, scaled: bool) -> Kernels:
    text = source(program, dtype, scaled=scaled)
    try:
        module = cp.RawModule(code=text, options=("-std=c++17",))
        forward, backward = (module.get_function(name) for name in (FORWARD, BACKWARD))
    except Exception as error:  # such as NVRTC without the headers of half precision
        said = f"NVRTC cannot compile its kernels: {error}"
        logger.warning("the steps are CuPy's: %s", said)
        raise (NotNow if isinstance(error, PASSING) else NotCompiled)(said) from error
    return Kernels(program, scaled, forward, backward)


def _grid(count: int) -> tuple[int]:
    return (max(1, -(-count // THREADS)),)
