"""The time loop compiled for this processor, for NumPy's arrays.

What of a layer can be compiled runs as `Layer` of ``compiled_layer.py``, with the products for all
steps of a chunk around it. What cannot runs as on `Eager`; `why_not` of ``programs.py`` says why.
"""

import logging
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from .._arrays.functions import stack
from .._arrays.namespace import Array, Namespace, dtype_name
from .._engine.affine import Linear, Products, matmul
from .._engine.bptt import Inputs
from .._engine.recurrence import Recurrence, Weights, added
from .._engine.setup import Sequence, Setup
from ..cells import State
from .compiled_layer import Cotangents, Layer
from .compiled_step import Stepper
from .eager import Eager
from .kernel import Kernel, of_program
from .llvm_target import host
from .program import Program
from .programs import NotCompiled, code_of, kind_of_update
from .record import Record
from .sums import Sums, sums
from .tables import PIECE
from .workers import evenly, run_together, useful_threads

__all__ = ["Compiled", "loops_of"]

logger = logging.getLogger("portable_rnn")


def _weight_sum(xp: Namespace, x: Array, d_y: Array) -> Array:
    """Return the cotangent of a weight, (O, I)."""
    total = xp.zeros((d_y.shape[-1], x.shape[-1]), dtype=d_y.dtype)
    _sums(d_y).add(d_y, None, (total, x))
    return total


def _bias_sum(xp: Namespace, bias: Array | None, d_y: Array) -> Array | None:
    """Return the cotangent of a bias, (O,)."""
    if bias is None:
        return None
    total = xp.zeros((d_y.shape[-1],), dtype=d_y.dtype)
    _sums(d_y).add(d_y, total)
    return total


def _sums(array: Array) -> Sums:
    return sums(dtype_name(array.dtype), host())


def _token_sums(xp: Namespace, tokens: Array, d: Array, count: int) -> Array:
    """Return the cotangent of an embedding, (V, I)."""
    found: Array = _sums(d).by_token(tokens, d, count)
    return found


SUMS = Products(weight=_weight_sum, bias=_bias_sum, tokens=_token_sums)


@dataclass(frozen=True)
class Compiled(Eager):
    """Loops of machine code where a cell can be compiled.

    Attributes
    ----------
    asked : bool
        Whether it was asked for by name: what cannot be compiled is then refused.
    threads : int
        At most so many at a time.
    """

    asked: bool = False
    threads: int = 1
    # In both passes a chunk took 0.15 ms of Python, and a million products 0.1 ms.
    products_of_a_chunk = 2**20

    @property
    def sums(self) -> Products:
        """Sums by a compiled loop."""
        return SUMS

    def prepare(self, setup: Setup, w: Weights, size: tuple[int, int]) -> Weights:
        """Add the layer whose loops will run, or nothing if it cannot be compiled."""
        dtype = dtype_name(w.hh.weight.dtype)
        held = kind_of_update(setup)
        loops = loops_of(setup.recurrence, dtype, held=held, scaled=bool(setup.recurrent))
        if isinstance(loops, str):
            if self.asked:
                raise ValueError(f"executor: expected a model that can be compiled; {loops}")
            return super().prepare(setup, w, size)
        biases, exact = (w.ih.bias, w.hh.bias), bool(setup.segments)
        layer = Layer(loops, w.hh.weight, *biases, w.own, exact=exact, threads=self.threads)
        return w._replace(prepared=_PreparedLayer(layer))

    def begin(self, w: Weights) -> None:
        """Take new slabs."""
        if w.prepared is not None:
            w.prepared.layer.begin()

    def layer(
        self, setup: Setup, w: Weights, given: Inputs, state: State
    ) -> tuple[Sequence, State, Any]:
        """Project the input of all steps, then run the loop."""
        if w.prepared is None:
            return super().layer(setup, w, given, state)
        # The loop adds the bias.
        ax = w.prepared.product(setup.xp, "ax", (given.x, w.ih.weight.T))
        how = {"reverse": setup.reverse, "keep": setup.keep}
        found: tuple[Sequence, State, Any] = w.prepared.layer.forward(
            ax, state, given.update, w.hh.scale, **how
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
            raise ValueError("tape: made by the compiled loop, which cannot run here")
        xp, x, h = setup.xp, given.x, record.hidden_before
        summed, d_x = setup.products is SUMS, None
        found = w.prepared.backward(record, d_hidden, d_state, again=summed)
        if setup.grad_x:
            # That of the first chunk may be handed out, if there is no other.
            d_x = w.prepared.product(xp, "d_x", (found.d_ax, w.ih.weight), new=total is None)
        if summed:
            gradients = w.prepared.add(total, w, (x, w.hh.scaled(h)), found)
        else:
            rows = (*found.d_own, found.d_ax)
            rows = rows if found.d_ah is found.d_ax else (*rows, found.d_ah)
            d_w, _ = setup.recurrence.weights_vjp(xp, w, x, h, rows, setup.products)
            gradients = added(total, d_w)
        return gradients, d_x, found.d_state

    def step(
        self, setup: Setup, w: Weights, x: Array, state: State, update: tuple[Array, ...]
    ) -> State:
        """Run the loop once, unless an old state may be held."""
        if update and self.asked:
            raise ValueError(
                "executor: compiled was asked for; a step that may hold its state (a mask, "
                "zoneout) is run in Python"
            )
        if w.prepared is None or update:
            return super().step(setup, w, x, state, update)
        ax = matmul(setup.xp, x, w.ih.weight.T)
        found: State = w.prepared.stepper(x.shape[0])(ax, state)
        return found

    def join(self, xp: Namespace, sequence: Sequence) -> Array:
        """Return the steps as one array, which is a part of the record where the loop wrote it."""
        return stack(xp, sequence) if isinstance(sequence, list) else sequence


class _PreparedLayer:
    """A layer, and what is used again: what the chunk before has written, and single steps."""

    def __init__(self, layer: Layer) -> None:
        self.layer = layer
        self._sums = layer.kernel.sums
        self._before: Cotangents | None = None
        self._products: dict[str, Array] = {}
        self._steppers: dict[int, Stepper] = {}

    def stepper(self, batch: int) -> Stepper:
        """Return single steps of so many sequences."""
        if batch not in self._steppers:
            self._steppers = {batch: Stepper(self.layer, batch)}
        return self._steppers[batch]

    def product(
        self, xp: Namespace, name: str, factors: tuple[Array, Array], *, new: bool = False
    ) -> Array:
        """Multiply all rows of a chunk, into the memory of the chunk before if they are as many.

        What was written there is no longer needed: the projected input, since the loop has run, the
        cotangent of the input, since the layer below has taken it or it was copied into the whole.
        Unless a ``new`` array is asked for, which nothing but the chunks of this pass writes into.
        """
        rows, weight = factors
        steps, batch, inputs = rows.shape
        found = None if new else self._products.get(name)
        if found is None or found.shape[:2] != (steps, batch):
            found = np.empty((steps, batch, weight.shape[1]), self.layer.kernel.dtype)
            self._products[name] = found
        rows, outputs = rows.reshape(-1, inputs), found.reshape(-1, weight.shape[1])
        parts = useful_threads(self.layer.threads, rows.shape[0] * weight.size)
        if parts == 1:
            xp.matmul(rows, weight, out=outputs)  # NumPy's, or what stands for it
            return found
        ranges = evenly(rows.shape[0], parts)
        run_together([partial(xp.matmul, rows[a:b], weight, out=outputs[a:b]) for a, b in ranges])
        return found

    def backward(
        self, record: Record, d_hidden: Array | None, d_state: State, *, again: bool
    ) -> Cotangents:
        """Return cotangents, in the memory of those before if nothing refers to them."""
        found = self.layer.backward(record, d_hidden, d_state, into=self._before)
        self._before = found if again else None
        return found

    def add(
        self, total: Weights | None, w: Weights, inputs: tuple[Array, Array], d: Cotangents
    ) -> Weights:
        """Add the gradients of a chunk to a total; ``inputs`` are of both products.

        With one piece of rows, into the total; with several, the chunk is summed first, so that a
        memory budget gives the same bits.
        """
        if total is not None and d.d_ax.shape[0] * d.d_ax.shape[1] > PIECE:
            return added(total, self.add(None, w, inputs, d))  # type: ignore[no-any-return]
        if total is None:
            total = Weights(_zeros(w.ih), _zeros(w.hh), own=tuple(map(np.zeros_like, w.own)))
        x, h = inputs
        (d_ih, d_b, *_), (d_hh, d_c, *_) = total.ih, total.hh
        add = partial(self._sums.add, threads=self.layer.threads)
        if d.d_ah is d.d_ax:
            add(d.d_ax, d_c if d_b is None else d_b, (d_ih, x), (d_hh, h))
            if d_b is not None and d_c is not None:
                d_c[...] = d_b
        else:
            add(d.d_ax, d_b, (d_ih, x))
            add(d.d_ah, d_c, (d_hh, h))
        for d_own, given in zip(total.own, d.d_own, strict=True):
            add(given, d_own)
        return total


def _zeros(linear: Linear) -> Linear:
    """Return gradients to be added to."""
    (outputs, inputs), dtype = linear.weight.shape, linear.weight.dtype
    bias = None if linear.bias is None else np.zeros(outputs, dtype)
    return Linear(np.zeros((outputs, inputs), dtype), bias)


def loops_of(
    recurrence: Recurrence, dtype: str, *, held: str = "", scaled: bool = False
) -> Kernel | str:
    """Return the compiled loops of a layer, or why there are none.

    Parameters
    ----------
    recurrence : Recurrence
    dtype : str
    held : {"", "choose", "mix"}
        Whether there are updates, of booleans or of numbers.
    scaled : bool
        Whether there are factors of what the recurrent weights multiply.
    """
    return code_of(recurrence, held, _kernel, dtype, scaled)


def _kernel(program: Program, dtype: str, scaled: bool) -> Kernel:
    try:
        return of_program(program, dtype, host(), scaled)
    except Exception as error:  # such as a system in which no new code may run
        said = f"LLVM cannot make its code: {error}"
        logger.warning("the time loop is Python's: %s", said)
        raise NotCompiled(said) from error
