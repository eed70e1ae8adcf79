"""A decoder that attends to a memory, such as the outputs of an encoder, with its derivative.

The recurrent layers read the inputs of all steps; then each hidden state attends to the memory, and
its context and itself make the outputs (Luong, Pham and Manning, arXiv 1508.04025). Attention
follows the recurrent layers, and does not enter them again: all steps are computed at once, in
training. `portable_rnn.generate` and `portable_rnn.beam_search` take a decoder with its memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from ._arrays import checks as check
from ._arrays.devices import with_device_of_arguments
from ._arrays.namespace import Array, Namespace, check_array, check_shaped
from ._arrays.shown import short_repr
from ._calls.attention import score_shapes, valid_memory
from ._calls.checks import check_arrays, check_model, check_record, check_sequence, check_state
from ._calls.embedding import like_embedded
from ._calls.tape import check_tape
from ._calls.valid_steps import valid_steps_of_outputs
from ._draws import draws_of
from ._engine.attention import SCORES, Residuals
from ._engine.decoder import ATTENTION, DecoderTape, read_memory, read_memory_vjp
from ._engine.select import where_true
from .api import Tape, backward, forward
from .initializers import uniform
from .model import RNN

__all__ = ["AttentionDecoder", "Decoded", "DecoderGradients", "decode", "decode_vjp"]


@check.named_options
@dataclass(frozen=True)
class AttentionDecoder:
    """The description of a decoder with attention: sizes and score, without any array.

    Parameters
    ----------
    rnn : RNN
        Its recurrent layers: unidirectional, time-major, without readout or pool. With a
        vocabulary, it takes tokens.
    memory_size : int
        M, the size of a vector of the memory: of the outputs of an encoder.
    output_size : int
        O.
    score : {"general", "dot", "scaled_dot", "additive"}
        See :mod:`portable_rnn.attention`.
    attention_size : int, optional
        A, of additive scores.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value; the message names it.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> decoder = prnn.AttentionDecoder(prnn.RNN(4, 5, cell="gru"), memory_size=6, output_size=3)
    >>> for name, shape in list(decoder.parameter_shapes.items())[4:]:
    ...     print(name, shape)
    attention.weight (5, 6)
    combine.weight (5, 11)
    readout.weight (3, 5)
    readout.bias (3,)
    """

    rnn: RNN
    memory_size: int
    output_size: int
    score: str = "general"
    attention_size: int | None = None

    def __post_init__(self) -> None:
        check_model(self.rnn, "rnn")
        for name in ("bidirectional", "batch_first"):
            if getattr(self.rnn, name):
                raise ValueError(f"rnn: expected {name}=False for a decoder, got True")
        for name in ("pool", "output_size"):
            if (got := getattr(self.rnn, name)) is not None:
                raise ValueError(f"rnn: expected {name}=None for a decoder, got {got!r}")
        for name in ("memory_size", "output_size"):
            object.__setattr__(self, name, check.count(name, getattr(self, name)))
        check.choice("score", self.score, SCORES)
        if self.attention_size is not None:
            size = check.count("attention_size", self.attention_size)
            object.__setattr__(self, "attention_size", size)
        score_shapes(self.score, self.rnn.feature_size, self.memory_size, self.attention_size)

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all parameters: of the recurrent layers, and of what follows."""
        f, m = self.rnn.feature_size, self.memory_size
        own = score_shapes(self.score, f, m, self.attention_size)
        return self.rnn.parameter_shapes | {
            **{f"{ATTENTION}{name}": shape for name, shape in own.items()},
            **{"combine.weight": (f, m + f), "readout.weight": (self.output_size, f)},
            "readout.bias": (self.output_size,),
        }

    @check.named_options
    def init(
        self,
        seed: int = 0,
        *,
        inputs: str = "uniform",
        recurrent: str = "uniform",
        biases: str = "uniform",
        forget_bias: float | None = None,
        xp: Namespace | None = None,
        dtype: Any = "float32",
        device: Any = None,
    ) -> dict[str, Array]:
        """Draw initial parameters on the host, those of the recurrent layers first.

        These are what their own ``init`` draws; the others are uniform in ±1/√H.

        Parameters
        ----------
        seed, inputs, recurrent, biases, forget_bias, xp, dtype, device
            As for :meth:`portable_rnn.RNN.init`; schemes are for the recurrent layers.

        Returns
        -------
        dict of str to array
            Shapes as in `parameter_shapes`.

        Raises
        ------
        TypeError, ValueError
            As :meth:`portable_rnn.RNN.init` does.
        """
        draws = draws_of(self.rnn, inputs, recurrent, biases, forget_bias)
        options = {"xp": xp, "dtype": dtype, "device": device}
        bound = self.rnn.hidden_size**-0.5
        return uniform(self.parameter_shapes, bound, seed, draws, **options)


class Decoded(NamedTuple):
    """What `decode` returns.

    Attributes
    ----------
    outputs : array, shape (T, B, O)
        Zero at steps that are not valid.
    state : array, shape (L, B, H), for LSTM a pair
        After the last step.
    weights : array, shape (T, B, S)
        How much of each output is of each step of the memory; zero like the outputs.
    tape : tuple
        For `decode_vjp`. It refers to the arrays that were given and to ``weights``: do not write
        into them before.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> prnn.Decoded._fields
    ('outputs', 'state', 'weights', 'tape')
    """

    outputs: Array
    state: Any
    weights: Array
    tape: tuple[Tape, DecoderTape]

    def __repr__(self) -> str:
        return short_repr(self)


class DecoderGradients(NamedTuple):
    """What `decode_vjp` returns: a cotangent for each input of `decode`.

    Attributes
    ----------
    params : dict of str to array
        With the names, shapes and order of the parameters.
    x : array, shape (T, B, I), or None for tokens
    memory : array, shape (S, B, M)
        The cotangent of an encoder's outputs.
    state : array, shape (L, B, H), for LSTM a pair
        The cotangent of the initial state: of an encoder's final state.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> prnn.DecoderGradients._fields
    ('params', 'x', 'memory', 'state')
    """

    params: dict[str, Array]
    x: Array | None
    memory: Array
    state: Any

    def __repr__(self) -> str:
        return short_repr(self)


@check.named_options
@with_device_of_arguments
def decode(
    decoder: AttentionDecoder,
    params: Mapping[str, Array],
    x: Array,
    memory: Array,
    state: Any = None,
    *,
    lengths: Any = None,
    mask: Any = None,
    memory_lengths: Any = None,
    memory_mask: Any = None,
    dropout: Any = None,
) -> Decoded:
    """Run a decoder over a sequence and a memory, keeping what `decode_vjp` needs.

    Parameters
    ----------
    decoder : AttentionDecoder
    params : dict of str to array
        Names and shapes as in ``decoder.parameter_shapes``.
    x : array, shape (T, B, I), or integer tokens (T, B)
        In training, what is to be said, one step late (teacher forcing).
    memory : array, shape (S, B, M)
    state : array, shape (L, B, H), for LSTM a pair, optional
        The initial state, such as the final one of an encoder; zeros if None.
    lengths, mask, dropout : optional
        Of the decoder's own steps, as for `forward`.
    memory_lengths, memory_mask : optional
        The valid steps of the memory, as for `attend`.

    Returns
    -------
    Decoded
        ``outputs``, ``state``, ``weights`` and ``tape``.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> decoder = prnn.AttentionDecoder(prnn.RNN(4, 5, cell="gru"), memory_size=5, output_size=3)
    >>> encoder = prnn.RNN(2, 5, cell="gru")
    >>> memory, state, _ = prnn.forward(encoder, encoder.init(), np.ones((7, 2, 2), np.float32))
    >>> x = np.ones((6, 2, 4), np.float32)
    >>> prnn.decode(decoder, decoder.init(), x, memory, state).weights.shape
    (6, 2, 7)
    """
    xp = _check(decoder, params)
    check_array("x", x)
    check_sequence(decoder.rnn, params, x)
    axes = 3 if decoder.rnn.vocabulary_size is None else 2
    if x.ndim != axes:
        wanted = "(T, B, I)" if axes == 3 else "(T, B)"
        raise ValueError(f"x: expected shape {wanted}, got {tuple(x.shape)}")
    like = like_embedded(xp, decoder.rnn, params, x)
    memory_valid = valid_memory(
        xp, memory, decoder.memory_size, like, memory_lengths, memory_mask, "x"
    )
    if state is not None:
        check_state(decoder.rnn, "state", state, like)
    valid = valid_steps_of_outputs(xp, "x", like, lengths, mask)
    own, others = split_params(decoder, params)
    steps = {"lengths": lengths, "mask": mask}
    hidden, state, tape = forward(decoder.rnn, own, x, state, dropout=dropout, **steps)
    outputs, kept = read_memory(xp, decoder.score, others, hidden, memory, memory_valid, valid)
    weights = xp.permute_dims(kept.attention.weights, (1, 0, 2))
    weights = where_true(xp, None if valid is None else valid[..., None], weights)
    return Decoded(outputs, state, xp.astype(weights, hidden.dtype, copy=False), (tape, kept))


@check.named_options
@with_device_of_arguments
def decode_vjp(
    decoder: AttentionDecoder,
    params: Mapping[str, Array],
    tape: tuple[Tape, DecoderTape],
    d_outputs: Array,
    d_state: Any = None,
    *,
    grad_x: bool = True,
) -> DecoderGradients:
    """Pull cotangents of the outputs, and of the final state, back through `decode`.

    Parameters
    ----------
    decoder, params
        Those of the forward pass.
    tape : tuple
        From `decode`.
    d_outputs : array, shape (T, B, O)
        Ignored at steps that are not valid.
    d_state : shape of the final state, for LSTM a pair, optional
    grad_x : bool
        Whether to compute the cotangent of ``x``.

    Returns
    -------
    DecoderGradients
        ``params``, ``x``, ``memory`` and ``state``. The last two are the cotangents that `backward`
        takes for an encoder.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> decoder = prnn.AttentionDecoder(prnn.RNN(4, 5), memory_size=5, output_size=3)
    >>> params = decoder.init(dtype="float64")
    >>> outputs, _, _, tape = prnn.decode(decoder, params, np.ones((6, 2, 4)), np.ones((7, 2, 5)))
    >>> found = prnn.decode_vjp(decoder, params, tape, np.ones_like(outputs))
    >>> found.memory.shape, found.state.shape, found.params.keys() == params.keys()
    ((7, 2, 5), (1, 2, 5), True)
    """
    grad_x, xp = check.flag("grad_x", grad_x), _check(decoder, params)
    if not isinstance(tape, tuple) or len(tape) != 2:
        raise TypeError(f"tape: expected what decode returned, got {check.said(tape)}")
    of_rnn, kept = tape
    check_record("tape", kept, DecoderTape, "decode", ("joined", "attentional"))
    used = ("query", "memory", "weights")
    check_record("tape", kept.attention, Residuals, "decode", used)
    own, others = split_params(decoder, params)
    check_tape(decoder.rnn, own, of_rnn, kept.attention.query, d_state)
    _check_score(decoder, kept.attention)
    first = next(iter(params.values()))
    shape = (*kept.joined.shape[:2], decoder.output_size)
    check_shaped("d_outputs", d_outputs, shape, "params", first)
    d_others, d_hidden, d_memory = read_memory_vjp(xp, others, kept, d_outputs)
    found = backward(decoder.rnn, own, of_rnn, d_hidden, d_state, grad_x=grad_x)
    grads = found.params | d_others
    return DecoderGradients({name: grads[name] for name in params}, found.x, d_memory, found.state)


def split_params(
    decoder: AttentionDecoder, params: Mapping[str, Array]
) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return checked parameters of the recurrent layers, and the others."""
    names = decoder.rnn.parameter_shapes
    return (
        {name: params[name] for name in names},
        {name: array for name, array in params.items() if name not in names},
    )


def _check_score(decoder: AttentionDecoder, kept: Residuals) -> None:
    """Check that a tape is of a decoder's score and size of memory."""
    sizes = decoder.rnn.feature_size, decoder.memory_size, decoder.attention_size
    wanted = score_shapes(decoder.score, *sizes), decoder.memory_size, decoder.score == "scaled_dot"
    shapes = {name: tuple(array.shape) for name, array in kept.params.items()}
    if wanted != (shapes, kept.memory.shape[2], kept.scale is not None):
        raise ValueError(
            f"tape: expected one of the same decoder, with score={decoder.score!r} and "
            f"memory_size={decoder.memory_size}, got one of another"
        )


def _check(decoder: Any, params: Any) -> Namespace:
    """Check a decoder and its parameters."""
    if not isinstance(decoder, AttentionDecoder):
        raise TypeError(f"decoder: expected an AttentionDecoder, got {check.said(decoder)}")
    return check_arrays(decoder.parameter_shapes, params)
