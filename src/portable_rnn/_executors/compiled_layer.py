"""One layer of a pointwise cell, its time loops compiled for this processor, on NumPy's arrays.

As `layer` and `layer_vjp` of ``_engine/bptt.py``, but that the products outside of the loops are
left to who calls: ``ax`` is given, and what the gradients of weights are made of is returned.
"""

import ctypes
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .buffers import Array, Slabs, address, whole
from .kernel import Kernel
from .record import Record
from .tables import blocks_at_a_time, most_blocks
from .workers import evenly, run_together, useful_threads

__all__ = ["Cotangents", "Layer", "planes"]


class Cotangents(NamedTuple):
    """What `Layer.backward` returns."""

    d_ax: Array  # (T, B, G·H)
    d_ah: Array  # the same object if the cell sees only the sum
    d_own: tuple[Array, ...]  # (T, B, k·H) each
    d_state: tuple[Array, ...]  # (B, H) each, of the state before all steps


class Layer:
    """A layer: loops, and weights as they read them, made once for all chunks of time.

    For one thread at a time, since it holds what the loops work in.

    Parameters
    ----------
    kernel : Kernel
    weight : array (G·H, H)
        Of the hidden state.
    bias_ax, bias_ah : array (G·H,), optional
        Added to the projected input, and to the product.
    own : tuple of arrays (k·H,)
        The cell's own vectors.
    exact : bool
        Whether to take no more memory than is asked for at once, which takes longer.
    threads : int
        At most so many at a time, each of which runs some of the sequences, if there is enough to
        do. That changes no bit.
    """

    def __init__(
        self,
        kernel: Kernel,
        weight: Array,
        bias_ax: Array | None = None,
        bias_ah: Array | None = None,
        own: tuple[Array, ...] = (),
        *,
        exact: bool = False,
        threads: int = 1,
    ) -> None:
        self.kernel, dtype, (rows, units) = kernel, kernel.dtype, weight.shape
        if rows != kernel.program.gates * units:
            raise ValueError(f"weight: expected {kernel.program.gates} gates, got {weight.shape}")
        self._weight, self.rows, self.units = whole(weight, dtype), rows, units
        self._biases = tuple(
            np.zeros(rows, dtype) if bias is None else whole(bias.reshape(rows), dtype)
            for bias in (bias_ax, bias_ah)
        )
        self._own_sizes = tuple(vector.shape[0] for vector in own)
        if sum(self._own_sizes) != kernel.program.own * units:
            raise ValueError(f"own: expected {kernel.program.own * units} numbers")
        self._own = np.concatenate(own).astype(dtype, copy=False) if own else None
        self._exact = exact
        self.begin()
        self._addresses = {
            "bias_ax": address(self._biases[0]),
            "bias_ah": address(self._biases[1]),
            "own": 0 if self._own is None else address(self._own),
        }
        # Bytes from one sequence to the next in the arrays of a step.
        size, program = dtype.itemsize, kernel.program
        flag = 1 if program.held == "choose" else size
        own = program.own * units * size
        self._sizes = dict.fromkeys(("ax", "d_ax", "d_ah"), rows * size) | {"d_own": own}
        self._sizes |= dict.fromkeys(
            ("state", "stored", "d_state", "scale", "scaled"), units * size
        )
        self._sizes["update"] = units * flag
        self._packed: dict[bool, Array] = {}
        self._tables: dict[tuple[bool, int, int], dict[int, Table]] = {}
        self.threads = threads

    def begin(self) -> None:
        """Take new slabs: those of a pass live no longer than its records."""
        self._slabs = Slabs(self.kernel.dtype, exact=self._exact)

    def forward(
        self,
        ax: Array,
        state: tuple[Array, ...],
        update: tuple[Array, ...] = (),
        scale: Array | None = None,
        *,
        reverse: bool = False,
        keep: bool = True,
    ) -> tuple[Array, tuple[Array, ...], Record]:
        """Return the hidden states of all steps, the final state, and a record for `backward`.

        Parameters
        ----------
        ax : array (T, B, G·H)
            The projected input, without ``bias_ax``.
        state : tuple of arrays (B, H)
        update : tuple of arrays that broadcast to (T, B, H), one for each state
            Where, or how much, a new state takes the place of the old.
        scale : array that broadcasts to (B, H), optional
            Factors of what the weight multiplies.
        reverse : bool
            From the last step to the first.
        keep : bool
            Whether the record is needed.
        """
        p, dtype = self.kernel.program, self.kernel.dtype
        (steps, batch, rows), units = ax.shape, self.units
        if rows != self.rows:
            raise ValueError(f"ax: expected {self.rows} numbers a row, got {rows}")
        shape, plane, direction = (steps, batch, units), batch * units, -1 if reverse else 1
        empty = (self._slabs if keep else Slabs(dtype, exact=True)).empty
        states = empty(p.states, steps + 1, batch, units)
        stored = empty(len(p.stored), steps if keep else 1, batch, units)
        first = steps if reverse else 0
        for all_steps, given in zip(states, state, strict=True):
            all_steps[first] = given
        begin = steps - 1 if reverse else 0
        # If nothing is to be kept, every step writes into the same place.
        stored_first, stored_step = (begin, direction * plane) if keep else (0, 0)
        held = tuple(self._update(each, shape) for each in update) if update else ()
        factors = None if scale is None else self._whole(scale, shape[1:])
        record = Record(reverse, held, factors, states, stored)
        ax = whole(ax, dtype)
        values: dict[str, Any] = {
            "ax": address(ax) + begin * ax.strides[0],
            "stored_step": stored_step,
            **planes("state", states, first),
            **planes("stored", stored, stored_first),
        }
        kept = self._options(record, begin, values)
        if factors is not None:
            scaled = np.empty((steps + 1, batch, units), dtype)
            np.multiply(states[0, first], factors, out=scaled[first])
            values["scaled"] = address(scaled) + first * scaled.strides[0]
        self._run(shape, direction, values, back=False)
        del kept
        last = 0 if reverse else steps
        return record.hidden, tuple(each[last].copy() for each in states), record

    def backward(
        self,
        record: Record,
        d_hidden: Array | None,
        d_state: tuple[Array, ...],
        into: Cotangents | None = None,
    ) -> Cotangents:
        """Return the cotangents of both projections, of own vectors, and of the state before.

        Parameters
        ----------
        record : Record
        d_hidden : array (T, B, H), optional
        d_state : tuple of arrays (B, H)
            Of the final state.
        into : Cotangents, optional
            Of an earlier call, and no longer needed: where ``d_ax`` and ``d_ah`` fit, they are
            written again, which saves the time that new memory takes.
        """
        p, dtype = self.kernel.program, self.kernel.dtype
        _, slots, batch, units = record.states.shape
        steps, reverse = slots - 1, record.reverse
        if record.stored.shape[1] != steps:
            raise ValueError("record: nothing was kept")
        begin, direction = (0, 1) if reverse else (steps - 1, -1)
        rows = (steps, batch, p.gates * units)
        if into is None or into.d_ax.shape != rows:
            d_ax = np.empty(rows, dtype)
            d_ah = d_ax if p.same else np.empty(rows, dtype)
        else:
            d_ax, d_ah = into.d_ax, into.d_ah
        d_own = np.empty((steps, batch, p.own * units), dtype)
        d_before = np.empty((p.states, 1, batch, units), dtype)
        for mine, given in zip(d_before, d_state, strict=True):
            mine[0] = given
        values: dict[str, Any] = {
            **planes("state", record.states, begin + 1 if reverse else begin),
            **planes("stored", record.stored, begin),
            "d_ax": address(d_ax) + begin * d_ax.strides[0],
            **planes("d_state", d_before, 0),
        }
        if not p.same:
            values["d_ah"] = address(d_ah) + begin * d_ah.strides[0]
        if p.own:
            values["d_own"] = address(d_own) + begin * d_own.strides[0]
        shape = (steps, batch, units)
        kept = self._options(record, begin, values)
        kept.append(self._d_hidden(d_hidden, shape, (begin, direction), values))
        self._run(shape, direction, values, back=True)
        del kept
        found, start = [], 0
        for size in self._own_sizes:
            found.append(d_own[:, :, start : start + size])
            start += size
        return Cotangents(d_ax, d_ah, tuple(found), tuple(each[0] for each in d_before))

    # ----------------------------------------------------------------------------------- tables

    def _run(
        self, shape: tuple[int, int, int], direction: int, values: dict[str, Any], *, back: bool
    ) -> None:
        """Call a loop with a table of numbers and addresses, or some threads with one each."""
        (steps, batch, units), kernel = shape, self.kernel
        if not (steps and batch and units):
            return
        values["steps"], values["direction"] = steps, direction
        loop, parts = kernel.backward if back else kernel.forward, 1
        if self.threads > 1:
            parts = min(batch, useful_threads(self.threads, steps * batch * self.rows * units))
        if (back, batch, parts) not in self._tables:
            self._tables[back, batch, parts] = {
                part[0]: self.table(batch, part, back=back) for part in evenly(batch, parts)
            }
        tables = self._tables[back, batch, parts]
        for first, table in tables.items():
            table.write(self._from_sequence(first, values) if first else values)
        if parts == 1:
            loop(tables[0].address)
            return
        run_together([partial(loop, table.address) for table in tables.values()])

    def _from_sequence(self, first: int, values: dict[str, int]) -> dict[str, int]:
        """Return the same with addresses of a sequence other than 0."""
        sizes = self._sizes | {"d_y": self.kernel.dtype.itemsize * values.get("d_y_row", 0)}
        return {
            name: value + first * sizes.get(name.partition(".")[0], 0)
            for name, value in values.items()
        }

    def table(
        self, batch: int, part: tuple[int, int] | None = None, *, back: bool = False
    ) -> "Table":
        """Return a table with what is the same in every call with as many sequences.

        Its loop runs those of a part, from one up to another; all by default.
        """
        kernel, rows, units = self.kernel, self.rows, self.units
        first, end = part or (0, batch)
        gates = 1 if back else kernel.program.gates
        if back not in self._packed:
            self._packed[back] = kernel.packed(self._weight, back=back)
        tile = most_blocks(gates, kernel.target.accumulators, end - first)
        blocks = blocks_at_a_time(gates, end - first, kernel.vector, tile)
        sums = kernel.aligned((end - first) * blocks * gates * kernel.lanes)
        fields = kernel.backward_fields if back else kernel.forward_fields
        table = Table(fields, sums)
        values = {
            **self._addresses,
            "batch": end - first,
            "sequences": batch,
            "units": units,
            "blocks": blocks,
            "tile": tile,
            "a_row": rows if back else units,
            "sums": address(sums),
            "weight": address(self._packed[back]),
        }
        table.write({name: values[name] for name in fields if name in values})
        return table

    def _options(self, record: Record, begin: int, values: dict[str, Any]) -> list[Array]:
        """Add the addresses of what a layer may have more, in the step that comes first.

        Return arrays to be kept until the loop has run.
        """
        kept = []
        for i, each in enumerate(record.update):
            held = self._with_room(each)
            values[f"update.{i}"] = address(held) + begin * held.strides[0]
            kept.append(held)
        if record.scale is not None:
            values["scale"] = address(record.scale)
        return kept

    def _d_hidden(
        self,
        given: Array | None,
        shape: tuple[int, int, int],
        time: tuple[int, int],
        values: dict[str, Any],
    ) -> Array:
        """Add where the cotangents of hidden states are; rows need not lie side by side.

        Return an array to be kept until the loop has run.
        """
        begin, direction = time
        if given is None:
            given = np.zeros(shape[1:], self.kernel.dtype)
            values |= {"d_y": address(given), "d_y_step": 0, "d_y_row": shape[2]}
            return given
        if given.shape != shape:
            raise ValueError(f"d_hidden: expected shape {shape}, got {given.shape}")
        size = self.kernel.dtype.itemsize
        (step, row, one) = given.strides
        if given.dtype != self.kernel.dtype or one != size or step % size or row % size:
            given = whole(given, self.kernel.dtype)
        given = whole(given, self.kernel.dtype) if not given.flags.aligned else given
        step, row, _ = given.strides
        values |= {
            "d_y": address(given) + begin * step,
            "d_y_step": direction * step // size,
            "d_y_row": row // size,
        }
        return given

    # ----------------------------------------------------------------------------------- arrays

    def _whole(self, array: Array, shape: tuple[int, ...]) -> Array:
        """Return a contiguous array of a shape."""
        return whole(np.broadcast_to(array, shape), self.kernel.dtype)

    def _update(self, update: Array, shape: tuple[int, int, int]) -> Array:
        """Return numbers, or bytes with room behind them for a vector that is read whole."""
        if self.kernel.program.held == "mix":
            return self._whole(update, shape)
        size = shape[0] * shape[1] * shape[2]
        room = np.zeros(size + self.kernel.lanes, np.bool_)
        found: Array = room[:size].reshape(shape)
        found[...] = update
        return found

    def _with_room(self, update: Array) -> Array:
        """Return an update as `_update` has made it; a copy of a record has lost the room."""
        if self.kernel.program.held == "mix":
            return update
        room = update.nbytes + self.kernel.lanes
        if update.base is not None and update.base.nbytes >= room:
            return update
        return self._update(update, update.shape)


class Table:
    """What a loop is given: the entries of `tables`, of which many stay from call to call."""

    def __init__(self, fields: tuple[str, ...], sums: Array) -> None:
        self._entries = (ctypes.c_int64 * len(fields))()
        self._places = {name: i for i, name in enumerate(fields)}
        self._sums = sums  # whose address is one of the entries
        self.address = ctypes.addressof(self._entries)

    def write(self, values: dict[str, int]) -> None:
        """Set entries by name."""
        entries, places = self._entries, self._places
        for name, value in values.items():
            entries[places[name]] = value


def planes(name: str, arrays: Array, step: int) -> dict[str, int]:
    """Return the addresses of several arrays (T, ...) in one, in some step."""
    if not (count := arrays.shape[0]):
        return {}
    each, one_step, *_ = arrays.strides
    start = address(arrays) + step * one_step
    return {f"{name}.{i}": start + i * each for i in range(count)}
