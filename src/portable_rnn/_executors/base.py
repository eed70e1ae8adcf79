"""What an executor is: the one thing in which array libraries differ.

It runs one layer over one chunk of time, forwards and back, and says how gradients are summed over
rows. Which executor serves a call is asked once, by `choose`; nothing else in the engine asks
whether arrays are traced, or whether a library wants the whole sequence at once.
"""

from abc import ABC, abstractmethod
from typing import Any

from .._arrays.namespace import Array, Namespace
from .._engine import bptt
from .._engine.affine import AT_ONCE, GPU_SUMS, SUMS, Products
from .._engine.bptt import Inputs
from .._engine.recurrence import Weights
from .._engine.setup import Sequence, Setup, Step
from ..cells import State

__all__ = ["Executor"]


class Executor(ABC):
    """How a layer is run over a chunk of time.

    One that has only loops is called by the algorithm of ``_engine/bptt.py``, which is what `layer`
    and `layer_vjp` are. One that compiles may override these, for all layers or for those that it
    can compile, and leave the others to them.

    Executors are frozen and hashable: a tape names the one it is of, and may leave ``jax.jit``.

    Attributes
    ----------
    whole_sequence : bool
        Whether the library should see all of time as one computation: it optimises one graph, or
        cannot write into an array. Time is then never cut.
    gpu : bool
        Whether arrays are on a GPU: chunks of time and sums of rows are then larger.
    stepwise : bool
        Whether a step of a cell is a call of Python each time, so that its steps can be recorded.
    products_of_a_chunk : int
        Multiplications that take as long as what Python does for one more chunk. If padding needs
        fewer, a batch of sequences of different lengths is run in one chunk, with a mask.
    """

    whole_sequence: bool
    gpu: bool = False
    stepwise: bool = True
    products_of_a_chunk: int = 0

    @property
    def sums(self) -> Products:
        """How products and biases are summed over rows: by halves, or as the library sums."""
        if self.whole_sequence:
            return AT_ONCE
        return GPU_SUMS if self.gpu else SUMS

    # -------------------------------------------------------------------- a layer at a time

    def prepare(self, setup: Setup, w: Weights, size: tuple[int, int]) -> Weights:
        """Return the weights of a layer as `layer` and `layer_vjp` take them.

        Asked for once in each call, before the first chunk of time; it will be run forwards through
        so many steps of so many sequences.
        """
        return w

    def begin(self, w: Weights) -> None:  # noqa: B027 (most have nothing to do)
        """Have the records of the pass that begins share no memory with those of another."""

    def layer(
        self, setup: Setup, w: Weights, given: Inputs, state: State
    ) -> tuple[Sequence, State, Any]:
        """Return the hidden states of all steps, the final state, and a record for `layer_vjp`.

        The record is for the executor that made it, and for the readout, which takes its
        ``hidden``.
        """
        return bptt.layer(setup, w, given, state)

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
        """Return the cotangents of the weights, of ``x``, and of the state before.

        Those of the weights are added to ``total``, which is of the chunks that come after.
        """
        return bptt.layer_vjp(setup, w, given, record, d_hidden, d_state, total)

    def step(
        self, setup: Setup, w: Weights, x: Array, state: State, update: tuple[Array, ...]
    ) -> State:
        """Return the state after one step, of which nothing is kept; ``x`` is (B, I)."""
        xp = setup.xp
        return setup.recurrence.step(xp, w, state, w.ih(xp, x), *update)[0]

    # --------------------------------------------------------------------- a step at a time

    @abstractmethod
    def scan(
        self, f: Step, carry: Any, xs: tuple[Sequence, ...], *, reverse: bool = False
    ) -> tuple[Any, Any]:
        """Apply ``f`` along time, threading ``carry`` through.

        Parameters
        ----------
        f : callable
            ``f(carry, x_t) -> (carry, y_t)`` where ``x_t`` and ``y_t`` are tuples.
        carry : tuple of arrays
            The value handed to the first step.
        xs : tuple of sequences
            As `split` makes them.
        reverse : bool
            Run from the last step to the first. The order of the ``y_t`` is that of time
            either way.

        Returns
        -------
        carry : tuple of arrays
            The value after the last step run.
        ys : tuple of sequences
            One sequence per entry of ``y_t``.
        """

    @abstractmethod
    def split(self, array: Array | None, steps: int) -> Sequence:
        """Turn an array (T, ...) into a sequence over its first axis, and None into one of None."""

    @abstractmethod
    def join(self, xp: Namespace, sequence: Sequence) -> Array:
        """Turn a sequence of arrays (...) into one array (T, ...), to be read.

        It may be a part of the record.
        """

    @abstractmethod
    def shift(
        self, xp: Namespace, first: Array, sequence: Sequence, *, reverse: bool = False
    ) -> Sequence:
        """Return the sequence one step late: ``first``, then all but the last.

        In reverse, "late" is towards the past: all but the first step, then ``first``.
        """
