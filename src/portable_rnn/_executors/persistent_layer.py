"""One layer of a pointwise cell as two persistent kernels, on the arrays of CuPy.

As `Layer` of ``compiled_layer.py``: the products outside of the loops are left to who calls.
"""

from functools import lru_cache
from typing import Any, NamedTuple

import cupy as cp

from .._arrays.namespace import Array, dtype_name
from .cuda_barrier import WORDS
from .cuda_persistent import BACKWARD, FORWARD, source
from .cuda_plan import Limits, Plan
from .program import Program
from .record import Record

__all__ = ["Cotangents", "Layer", "device", "limits"]

PATIENCE = 1 << 35  # some 20 seconds


class Cotangents(NamedTuple):
    """What `Layer.backward` returns."""

    d_ax: Array  # (T, B, G·H)
    d_ah: Array  # the same object if the cell sees only the sum
    d_own: Array  # (T, B, k·H), of all of the cell's own vectors
    d_state: Array  # (S, B, H) of the state before all steps, in the dtype of arithmetic


def device() -> int:
    """Return the number of the current device."""
    found: int = cp.cuda.Device().id
    return found


def limits() -> Limits:
    """Return what the current device has."""
    return _limits(device())


@lru_cache(maxsize=64)
def _limits(device: int) -> Limits:
    found = cp.cuda.runtime.getDeviceProperties(device)
    return Limits(
        capability=10 * found["major"] + found["minor"],
        multiprocessors=found["multiProcessorCount"],
        shared_per_block=found["sharedMemPerBlockOptin"],
        shared_per_multiprocessor=found["sharedMemPerMultiprocessor"],
        threads_per_multiprocessor=found["maxThreadsPerMultiProcessor"],
    )


@lru_cache(maxsize=64)
def _module(text: str, together: bool) -> Any:
    how = {"options": ("-std=c++17",), "enable_cooperative_groups": together}
    return cp.RawModule(code=text, **how)


@lru_cache(maxsize=256)
def _kernel(name: str, text: str, shared: int, device: int, together: bool) -> Any:
    """Return a kernel on the current device, which may have so much shared memory."""
    kernel = _module(text, together).get_function(name)
    if kernel.max_dynamic_shared_size_bytes < shared:
        kernel.max_dynamic_shared_size_bytes = shared
    return kernel


class Layer:
    """A layer: kernels, and what they are given in every call.

    Launches go to the current stream; one layer runs on one stream at a time, since the counters of
    its barrier are its own.

    Parameters
    ----------
    program : Program
    plan : Plan
    weight : array (G·H, H)
        Of the hidden state.
    bias_ax, bias_ah : array (G·H,), optional
        Added to the projected input, and to the product.
    own : array (k·H,), optional
        The cell's own vectors, one after another.
    scaled : bool
        Whether factors of what the weight multiplies will be given.
    patience : int
        Clock cycles that a block waits for others before it gives up.
    text : str
        Another source, for tests.

    Raises
    ------
    ValueError
        If the blocks of a grid that wait for each other cannot be on the device at once.
    """

    def __init__(
        self,
        program: Program,
        plan: Plan,
        weight: Array,
        bias_ax: Array | None = None,
        bias_ah: Array | None = None,
        own: Array | None = None,
        *,
        scaled: bool = False,
        patience: int = PATIENCE,
        text: str = "",
    ) -> None:
        self.program, self.plan, self.patience = program, plan, patience
        shape = (plan.gates * plan.units, plan.units)
        if weight.shape != shape or dtype_name(weight.dtype) != plan.dtype:
            got = f"{weight.dtype} {weight.shape}"
            raise ValueError(f"weight: expected {plan.dtype} {shape}, got {got}")
        self._weights = tuple(
            None if one is None else cp.ascontiguousarray(one)
            for one in (weight, bias_ax, bias_ah, own)
        )
        self.dtype = weight.dtype
        self.wide = cp.float64 if plan.dtype == "float64" else cp.float32
        self._text = text or source(program, plan, scaled=scaled)
        self._words = cp.zeros((plan.groups + 1) * WORDS, dtype=cp.uint32)
        self._check_grid()

    # -------------------------------------------------------------------------------- a layer

    def forward(
        self,
        ax: Array,
        state: tuple[Array, ...],
        update: tuple[Array, ...] = (),
        scale: Array | None = None,
        *,
        reverse: bool = False,
        keep: bool = True,
        stepwise: bool = False,
    ) -> Record:
        """Return the states of all steps, and what is stored besides.

        Parameters
        ----------
        ax : array (T, B, G·H)
            The projected input, without ``bias_ax``.
        state : tuple of arrays (B, H)
        update : tuple of arrays that broadcast to (T, B, H), one for each state
            Where, or how much, a new state takes the place of the old.
        scale : array (B, H), optional
            Factors of what the weight multiplies.
        reverse : bool
            From the last step to the first.
        keep : bool
            Whether `backward` will be called.
        stepwise : bool
            Whether each step is a launch of its own, which can be captured in a graph.
        """
        p = self.program
        (steps, batch, _), units = ax.shape, self.plan.units
        self._check_batch(batch)
        shape = (steps, batch, units)
        states = cp.empty((p.states, steps + 1, batch, units), dtype=self.dtype)
        for mine, given in zip(states, state, strict=True):
            mine[steps if reverse else 0] = given
        stored = cp.empty((len(p.stored), steps if keep else 0, *shape[1:]), dtype=self.dtype)
        update = tuple(map(cp.ascontiguousarray, update))
        if scale is not None:
            scale = cp.ascontiguousarray(cp.broadcast_to(scale, shape[1:]))
        record = Record(reverse, update, scale, states, stored)
        weight, bias_ax, bias_ah, own = self._weights
        arguments = [weight, bias_ax, bias_ah, own, scale, cp.ascontiguousarray(ax)]
        arguments += [*self._updates(update, shape), states, stored if keep and p.stored else None]
        self._run(FORWARD, arguments, shape, reverse=reverse, stepwise=stepwise)
        return record

    def backward(
        self,
        record: Record,
        d_hidden: Array | None,
        d_state: tuple[Array, ...],
        *,
        stepwise: bool = False,
    ) -> Cotangents:
        """Return the cotangents of both projections, of own vectors, and of the state before.

        Parameters
        ----------
        record : Record
        d_hidden : array (T, B, H), optional
        d_state : tuple of arrays (B, H)
            Of the final state.
        stepwise : bool
            Whether each step is a launch of its own.
        """
        p, (weight, _, _, own) = self.program, self._weights
        _, slots, batch, units = record.states.shape
        shape = (slots - 1, batch, units)
        if record.stored.shape[1] != shape[0]:
            raise ValueError("record: nothing was kept")
        d_before = cp.empty((p.states, batch, units), dtype=self.wide)
        for mine, given in zip(d_before, d_state, strict=True):
            mine[...] = given
        d_ax = cp.empty((*shape[:2], p.gates * units), dtype=self.dtype)
        d_ah = d_ax if p.same else cp.empty_like(d_ax)
        d_own = cp.empty((*shape[:2], p.own * units), dtype=self.dtype)
        arguments = [weight, own, record.scale, record.states, record.stored]
        arguments += [*self._strided(d_hidden), *self._updates(record.update, shape)]
        arguments += [d_before, d_ax, d_ah, d_own]
        self._run(BACKWARD, arguments, shape, reverse=record.reverse, stepwise=stepwise)
        return Cotangents(d_ax, d_ah, d_own, d_before)

    def check(self) -> None:
        """Wait for the device, and raise if blocks of a launch have waited too long.

        Raises
        ------
        RuntimeError
        """
        if int(self._words[0]):
            self._words[...] = 0
            raise RuntimeError("a persistent kernel gave up: a block waited for others too long")

    # ------------------------------------------------------------------------------- launches

    def _run(
        self,
        name: str,
        arguments: list[Any],
        shape: tuple[int, int, int],
        *,
        reverse: bool,
        stepwise: bool,
    ) -> None:
        """Launch a kernel for all steps, or once for each step, and once more to finish."""
        steps, batch, _ = shape
        parts = [(begin, 1, 0) for begin in range(steps)] if stepwise else [(0, steps, 1)]
        if stepwise:
            parts.append((steps, 0, 1))
        kernel = self._kernel(name, together=self.plan.barrier == "global" and not stepwise)
        plan, back = self.plan, name == BACKWARD
        grid = -(-batch // plan.sequences) * plan.blocks
        given = [*arguments, self._words, self.patience]
        if self.plan.barrier == "global":
            self._words.data.memset_async(0, self._words.nbytes)
        for begin, count, finish in parts:
            numbers = [steps, batch, int(reverse), begin, count]
            if back:
                numbers.append(finish)
            elif not count:
                continue
            values = [*given, *map(cp.int32, numbers)]
            kernel(
                (grid,),
                (plan.threads,),
                tuple(0 if value is None else value for value in values),
                shared_mem=plan.shared(back=back),
            )

    def _kernel(self, name: str, *, together: bool) -> Any:
        shared = self.plan.shared(back=name == BACKWARD)
        return _kernel(name, self._text, shared, cp.cuda.Device().id, together)

    def _check_grid(self) -> None:
        """Compile both kernels, and ask how many of their blocks the device runs at once."""
        plan, resident = self.plan, cp.cuda.driver.occupancyMaxActiveBlocksPerMultiprocessor
        together = plan.barrier == "global"
        for name in (FORWARD, BACKWARD):
            kernel, shared = (
                self._kernel(name, together=together),
                plan.shared(back=name == BACKWARD),
            )
            each = resident(kernel.kernel.ptr, plan.threads, shared)
            most = each * limits().multiprocessors
            if together and plan.grid > most:
                raise ValueError(f"grid: expected at most {most} blocks at once, got {plan.grid}")

    def _check_batch(self, batch: int) -> None:
        if batch > self.plan.batch:
            raise ValueError(f"batch: expected at most {self.plan.batch} sequences, got {batch}")

    def _updates(self, update: tuple[Array, ...], shape: tuple[int, int, int]) -> list[Any]:
        return [part for each in update for part in self._strided(cp.broadcast_to(each, shape))]

    def _strided(self, array: Array | None) -> list[Any]:
        """Return an array and its strides, counted in numbers."""
        if array is None:
            return [None, 0, 0, 0]
        return [array, *(stride // array.itemsize for stride in array.strides)]
