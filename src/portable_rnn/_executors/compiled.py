"""One layer of a pointwise cell, its time loops compiled for this processor, on NumPy's arrays.

As `layer` and `layer_vjp` of ``_engine/bptt.py``, but that the products outside of the loops are
left to who calls: ``ax`` is given, and what the gradients of weights are made of is returned.
"""

import ctypes
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from .llvm_cache import Code, load
from .llvm_target import Target, host
from .program import Program
from .tables import backward_fields, forward_fields, most_blocks
from .trace import trace

__all__ = ["Cotangents", "Inputs", "Kernel", "Record", "kernel"]

Array = np.ndarray[Any, np.dtype[Any]]
ALIGNMENT = 64  # bytes of a line of the cache


class Inputs(NamedTuple):
    """What a layer is given, besides its input and state. Arrays of one dtype."""

    weight: Array  # (G·H, H), of the hidden state
    bias_ax: Array | None = None  # (G·H,), added to ax
    bias_ah: Array | None = None  # (G·H,), added to the product
    own: tuple[Array, ...] = ()  # (k·H,) each; the cell's own vectors
    update: tuple[Array, ...] = ()  # for each state, what broadcasts to (T, B, H)
    scale: Array | None = None  # what broadcasts to (B, H): factors of what the weight multiplies
    reverse: bool = False  # from the last step to the first


class Record(NamedTuple):
    """What `Kernel.backward` needs of `Kernel.forward`."""

    inputs: Inputs
    own: Array | None
    update: tuple[Array, ...]
    scale: Array | None
    states: Array  # (S, T+1, B, H); in reverse, the state before all steps is the last
    stored: Array  # (R, T, B, H)

    @property
    def steps(self) -> int:
        """Number of steps."""
        return self.states.shape[1] - 1

    @property
    def hidden(self) -> Array:
        """The hidden state after each step, (T, B, H)."""
        found: Array = self.states[0, :-1] if self.inputs.reverse else self.states[0, 1:]
        return found

    @property
    def hidden_before(self) -> Array:
        """The hidden state before each step, (T, B, H)."""
        found: Array = self.states[0, 1:] if self.inputs.reverse else self.states[0, :-1]
        return found


class Cotangents(NamedTuple):
    """What `Kernel.backward` returns."""

    d_ax: Array  # (T, B, G·H)
    d_ah: Array  # the same object if the cell sees only the sum
    d_own: tuple[Array, ...]  # (T, B, k·H) each
    d_state: tuple[Array, ...]  # (B, H) each, of the state before all steps


class Kernel:
    """The compiled loops of one cell, for one dtype and one kind of processor.

    Parameters
    ----------
    program : Program
    dtype : {"float32", "float64"}
    target : Target
    scaled : bool
        Whether there are factors of what the recurrent weights multiply.

    Attributes
    ----------
    reloaded : bool
        Whether the code was found in the cache.
    """

    def __init__(self, program: Program, dtype: str, target: Target, *, scaled: bool) -> None:
        self.program, self.dtype, self.target, self.scaled = program, dtype, target, scaled

        def write() -> str:
            from . import llvm_loop  # llvmlite.ir with it, which loading does without

            return llvm_loop.write(program, dtype, target, scaled=scaled)

        subject = f"{dtype} scaled={scaled}\n{program.text}"
        self._code: Code
        self._code, self.reloaded = load(subject, target, write)
        pointer, integer = ctypes.c_void_p, ctypes.c_int64
        self._forward = self._code.function("forward", pointer)
        self._backward = self._code.function("backward", pointer)
        sizes = (pointer, pointer, integer, integer)
        self._pack_forward = self._code.function("pack_forward", *sizes)
        self._pack_backward = self._code.function("pack_backward", *sizes)

    def forward(
        self, ax: Array, state: tuple[Array, ...], inputs: Inputs, *, keep: bool = True
    ) -> tuple[Array, tuple[Array, ...], Record]:
        """Return the hidden states of all steps, the final state, and a record for `backward`.

        Parameters
        ----------
        ax : array (T, B, G·H)
            The projected input, without ``inputs.bias_ax``.
        state : tuple of arrays (B, H)
        inputs : Inputs
        keep : bool
            Whether the record is needed.
        """
        p, (steps, batch, units) = self.program, (*ax.shape[:2], state[0].shape[1])
        shape = (steps, batch, units)
        states = self._empty(p.states, steps + 1, batch, units)
        stored = self._empty(len(p.stored), steps if keep else 1, batch, units)
        first = -1 if inputs.reverse else 0
        for of_all, of_one in zip(states, state, strict=True):
            of_all[first] = of_one
        record = Record(
            inputs,
            self._joined(inputs.own),
            tuple(self._update(update, shape) for update in inputs.update),
            None if inputs.scale is None else self._whole(inputs.scale, shape[1:]),
            states,
            stored,
        )
        zeros = np.zeros(p.gates * units, self.dtype)
        arrays: dict[str, Array] = {
            "ax": self._whole(ax, ax.shape)[first:],
            "bias_ax": self._vector(inputs.bias_ax, zeros),
            "bias_ah": self._vector(inputs.bias_ah, zeros),
            **{f"state.{i}": each[first:] for i, each in enumerate(states)},
            **{f"stored.{i}": each[first:] for i, each in enumerate(stored)},
            **self._options(record, first),
        }
        if self.scaled:
            scaled = arrays["scaled"] = self._empty(steps + 1, batch, units)[first:]
            np.multiply(states[0, first], record.scale, out=scaled[0])
        arrays["weight"] = self._packed(self._pack_forward, inputs.weight, units, p.gates)
        numbers = {"stored_step": batch * units * (-1 if inputs.reverse else 1) if keep else 0}
        direction = -1 if inputs.reverse else 1
        self._run(self._forward, shape, direction, units, p.gates, arrays, numbers)
        last = 0 if inputs.reverse else -1
        after = tuple(each[last].copy() for each in states)
        return record.hidden, after, record

    def backward(
        self, record: Record, d_hidden: Array | None, d_state: tuple[Array, ...]
    ) -> Cotangents:
        """Return the cotangents of both projections, of own vectors, and of the state before.

        Parameters
        ----------
        record : Record
        d_hidden : array (T, B, H), optional
        d_state : tuple of arrays (B, H)
            Of the final state.
        """
        p, inputs, steps = self.program, record.inputs, record.steps
        _, _, batch, units = record.states.shape
        shape = (steps, batch, units)
        first = 0 if inputs.reverse else -1  # the step that comes first, going back
        direction = 1 if inputs.reverse else -1
        d_ax = self._empty(steps, batch, p.gates * units)
        d_ah = d_ax if p.same else self._empty(*d_ax.shape)
        d_own = self._empty(steps, batch, p.own * units)
        d_before = self._empty(p.states, batch, units)
        for mine, given in zip(d_before, d_state, strict=True):
            mine[...] = given
        if d_hidden is None:
            d_y, d_y_step = np.zeros((1, batch, units), self.dtype), 0
        else:
            d_y = self._rows(d_hidden)
            d_y_step = direction * d_y.strides[0] // d_y.itemsize if steps > 1 else 0
        # The state before a step: one place nearer to the beginning of time.
        before = slice(1, None) if inputs.reverse else slice(-2, None)
        arrays: dict[str, Array] = {
            "d_y": d_y[first:],
            **{f"state.{i}": each[before] for i, each in enumerate(record.states)},
            **{f"stored.{i}": each[first:] for i, each in enumerate(record.stored)},
            **self._options(record, first),
            "d_ax": d_ax[first:],
            "d_ah": d_ah[first:],
            "d_own": d_own[first:],
            **{f"d_state.{i}": each for i, each in enumerate(d_before)},
            "weight": self._packed(self._pack_backward, inputs.weight, units, 1),
        }
        d_y_row = d_y.strides[1] // d_y.itemsize if batch > 1 else 0
        numbers = {"d_y_step": d_y_step, "d_y_row": d_y_row}
        self._run(self._backward, shape, direction, p.gates * units, 1, arrays, numbers)
        return Cotangents(d_ax, d_ah, self._apart(d_own, inputs.own), tuple(d_before))

    # ----------------------------------------------------------------------------------- tables

    def _run(
        self,
        function: Any,
        shape: tuple[int, int, int],
        direction: int,
        a_row: int,
        gates: int,
        arrays: dict[str, Array],
        numbers: dict[str, int],
    ) -> None:
        """Call a loop with a table of numbers and addresses."""
        steps, batch, units = shape
        blocks = most_blocks(gates, self.target.accumulators, batch)
        sums = self._aligned(batch * blocks * gates * self.target.lanes(self.dtype))
        fields = forward_fields if function is self._forward else backward_fields
        values = {
            "steps": steps,
            "batch": batch,
            "units": units,
            "direction": direction,
            "blocks": blocks,
            "a_row": a_row,
            "sums": sums.ctypes.data,
            **numbers,
            **{name: array.ctypes.data for name, array in arrays.items()},
        }
        names = fields(self.program, scaled=self.scaled)
        table = (ctypes.c_int64 * len(names))(*(values[name] for name in names))
        if steps and batch and units:
            function(ctypes.addressof(table))

    def _options(self, record: Record, first: int) -> dict[str, Array]:
        """Return those arrays that a layer may have more, in the step that comes first."""
        found = {f"update.{i}": each[first:] for i, each in enumerate(record.update)}
        if record.own is not None:
            found["own"] = record.own
        if record.scale is not None:
            found["scale"] = record.scale
        return found

    # ----------------------------------------------------------------------------------- arrays

    def _empty(self, *shape: int) -> Array:
        return np.empty(shape, self.dtype)

    def _aligned(self, size: int) -> Array:
        """Return room for numbers that begins where a line of the cache does."""
        itemsize = np.dtype(self.dtype).itemsize
        room = np.empty(size + ALIGNMENT // itemsize, self.dtype)
        first = -room.ctypes.data % ALIGNMENT // itemsize
        return room[first : first + size]

    def _packed(self, pack: Any, weight: Array, units: int, gates: int) -> Array:
        """Return weights as the loop forward, or back, reads them."""
        weight = np.ascontiguousarray(weight, self.dtype)
        lanes = self.target.lanes(self.dtype)
        blocks = -(-units // lanes)
        rows = weight.shape[1] if pack is self._pack_forward else weight.shape[0]
        out = self._aligned(blocks * lanes * gates * rows)
        pack(out.ctypes.data, weight.ctypes.data, units, rows)
        return out

    def _whole(self, array: Array, shape: tuple[int, ...]) -> Array:
        """Return a contiguous array of a shape."""
        return np.ascontiguousarray(np.broadcast_to(array, shape), self.dtype)

    def _vector(self, array: Array | None, zeros: Array) -> Array:
        return zeros if array is None else self._whole(array.reshape(-1), zeros.shape)

    def _update(self, update: Array, shape: tuple[int, ...]) -> Array:
        """Return numbers, or bytes with room behind them for a vector that is read whole."""
        if self.program.held == "mix":
            return self._whole(update, shape)
        size = int(np.prod(shape))
        room = np.zeros(size + self.target.lanes(self.dtype), np.bool_)
        found = room[:size].reshape(shape)
        found[...] = update
        return found

    def _joined(self, own: tuple[Array, ...]) -> Array | None:
        if not own:
            return None
        return np.ascontiguousarray(np.concatenate(own), self.dtype)

    def _apart(self, d_own: Array, own: tuple[Array, ...]) -> tuple[Array, ...]:
        """Return the cotangents of own vectors, one array for each."""
        ends = np.cumsum([each.shape[0] for each in own])
        return tuple(
            d_own[:, :, end - each.shape[0] : end] for each, end in zip(own, ends, strict=True)
        )

    def _rows(self, array: Array) -> Array:
        """Return an array whose rows are contiguous, and need not lie one behind another."""
        if array.dtype == self.dtype and array.strides[-1] == array.itemsize:
            return array
        return np.ascontiguousarray(array, self.dtype)


@lru_cache(maxsize=64)
def kernel(
    cell: Any,
    dtype: str,
    *,
    held: str = "",
    scaled: bool = False,
    target: Target | None = None,
) -> Kernel:
    """Return the compiled loops of a cell; the first time, they are made or reloaded.

    Parameters
    ----------
    cell : Cell
    dtype : {"float32", "float64"}
    held : {"", "choose", "mix"}
        Whether there are updates, of booleans or of numbers.
    scaled : bool
        Whether there are factors of what the recurrent weights multiply.
    target : Target, optional
        This processor by default.

    Raises
    ------
    NotPointwise
        If the cell cannot be compiled.
    Unavailable
        If nothing can.
    ValueError
        If there is no code for the dtype.
    """
    if dtype not in ("float32", "float64"):
        raise ValueError(f"dtype: expected float32 or float64, got {dtype}")
    return Kernel(trace(cell, held), dtype, target or host(), scaled=scaled)


