"""The tape that a caller holds between `forward` and `backward`."""

from typing import Any, NamedTuple

from .._arrays import checks as check
from .._arrays.namespace import Array, check_like, check_shaped, namespace_of
from .._arrays.shown import short_repr
from .._engine.network import StackTape
from .._engine.setup import Segments
from .._executors.base import Executor
from ..model import RNN
from . import layout
from .call import Call, Parameters, setup_of, weights_of
from .checks import check_model, check_parameters, check_same_model, check_state
from .dropout_masks import Masks
from .embedding import Tokens
from .valid_steps import Steps

__all__ = ["Tape", "call_of", "check_tape", "tape_of"]


class Tape(NamedTuple):
    """What `forward` keeps for `backward`.

    Attributes
    ----------
    x : array, shape and layout as given to `forward`
        The array itself, not a copy; for a model with a vocabulary, the embedded tokens.
    model : RNN
        The model of the forward pass.
    steps, masks, segments, stack_tapes, executor, tokens
        The valid steps, the dropout masks, how time was cut, what was kept, what ran the time loop,
        and the tokens (T, B) of a model with a vocabulary. Their form is not part of the interface.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=4, hidden_size=5)
    >>> x = np.ones((7, 2, 4), dtype=np.float32)
    >>> prnn.forward(model, model.init(seed=0), x).tape.x is x
    True
    """

    x: Array
    model: RNN
    steps: Steps  # the valid steps
    masks: Masks  # of dropout
    segments: Segments | None  # under a memory budget
    stack_tapes: tuple[StackTape, ...]  # of each stack of the network
    executor: Executor  # what ran the forward pass
    tokens: Tokens | None = None  # of which x is the embedding

    def __repr__(self) -> str:
        return short_repr(self)


TAPE = {"steps": Steps, "masks": Masks, "stack_tapes": tuple, "executor": Executor}


def check_tape(
    model: RNN, params: Parameters, tape: Tape, d_outputs: Array | None, d_state: Any
) -> None:
    """Check the arguments of a backward pass, before any computation."""
    check_parameters(model, params)
    if d_outputs is None and d_state is None:
        raise ValueError("d_outputs, d_state: expected at least one cotangent, got neither")
    if not isinstance(tape, Tape):
        raise TypeError(
            f"tape: expected the tape of forward, got {type(tape).__name__}"
            f"{'; give its .tape' if hasattr(tape, 'tape') else ''}"
        )
    for name, kind in TAPE.items():
        if not isinstance(held := getattr(tape, name), kind):
            got = f"one with {name}={check.said(held)}"
            raise TypeError(f"tape: expected the tape of forward, got {got}")
    check_model(tape.model, "tape.model")
    check_same_model("tape", model, tape.model)
    again = "run forward with params of that dtype"
    check_like("tape", tape.x, "params", next(iter(params.values())), again)
    # The first states are always kept, until a backward pass under a budget removes them.
    if not any(one.kept.get(0) for one in tape.stack_tapes if isinstance(one, StackTape)):
        raise ValueError("tape: under a memory budget a tape can be pulled back only once")
    if d_outputs is not None:
        shape = layout.outputs_shape(model, tape.x)
        check_shaped("d_outputs", d_outputs, shape, "x", tape.x)
    if d_state is not None:
        check_state(model, "d_state", d_state, tape.x)


def tape_of(call: Call, records: tuple[StackTape, ...]) -> Tape:
    """Return the tape of a call that has been run."""
    s = call.setup
    steps = Steps(s.widths, s.order, s.inverse, s.mask)
    masks = Masks(s.between, s.recurrent, s.update)
    return Tape(call.given, call.model, steps, masks, s.segments, records, s.executor, call.tokens)


def call_of(tape: Tape, params: Parameters) -> Call:
    """Return the call that a checked tape belongs to, for the backward pass."""
    model, xp = tape.model, namespace_of(x=tape.x)
    setup = setup_of(xp, tape.executor, model, tape.steps, tape.masks, tape.segments)
    x = layout.time_major(xp, model, tape.x)
    weights = weights_of(setup, model, params, None if tape.segments is None else x)
    return Call(model, params, tape.x, weights, x, (), setup, tokens=tape.tokens)
