"""Beam search: the most likely sequences of tokens, of those that few hypotheses lead to."""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ._arrays import checks as check
from ._arrays.devices import with_device_of_arguments
from ._arrays.functions import (
    accumulation_dtype,
    concatenate,
    largest_number,
    to_accumulation_dtype,
)
from ._arrays.namespace import Array, Namespace, device_of, dtype_name, read_flag
from ._arrays.shown import short_repr
from ._calls.sampling import check_numbers, largest, reads
from ._generated import checked_network
from .api import predict
from .decoders import AttentionDecoder
from .losses.classification import log_softmax
from .model import RNN

__all__ = ["Beams", "beam_search"]

Step = Callable[[Array, Any], tuple[Array, Any]]


class Beams(NamedTuple):
    """What `beam_search` returns: for each sequence W hypotheses, the best one first.

    Attributes
    ----------
    tokens : integer array, shape (T, B, W)
        Without the first token; the end symbol from where a hypothesis ends.
    lengths : integer array, shape (B, W)
        How many tokens each has, with its end symbol.
    scores : array, shape (B, W)
        Log-probabilities, divided by the length penalty. -inf if there are not so many hypotheses;
        their tokens mean nothing.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> prnn.Beams._fields
    ('tokens', 'lengths', 'scores')
    """

    tokens: Array
    lengths: Array
    scores: Array

    def __repr__(self) -> str:
        return short_repr(self)


class _Hypotheses(NamedTuple):
    tokens: Array  # (B, N, T), the end symbol where there is none yet
    lengths: Array  # (B, N)
    scores: Array  # (B, N)


@check.named_options
@with_device_of_arguments
def beam_search(
    model: RNN | AttentionDecoder,
    params: Mapping[str, Array],
    start: Array,
    steps: int,
    *,
    end: int,
    width: int = 4,
    length_penalty: float = 0.0,
    state: Any = None,
    memory: Array | None = None,
    memory_lengths: Any = None,
    memory_mask: Any = None,
) -> Beams:
    """Search for the most likely sequences of tokens after a first one.

    At each step the ``width`` most likely hypotheses that have not ended are kept, and apart from
    them the ``width`` best ones that have. Scores are log-probabilities divided by
    ``((5 + n) / 6) ** length_penalty`` for n tokens, as of Wu et al. (arXiv 1609.08144, equation
    14). A search as wide as there are hypotheses is exhaustive.

    Parameters
    ----------
    model : RNN or AttentionDecoder
        With a vocabulary, as many outputs, and one direction.
    params : dict of str to array
    start : integer array, shape (B,)
        The first tokens.
    steps : int
        T, the most tokens that a sequence may have. One that has not ended then is a hypothesis
        too.
    end : int
        The token that ends a sequence.
    width : int
        W.
    length_penalty : float
        From 0, for none, to 100, if the penalty of all ``steps`` is a number of the dtype of the
        scores. With more, long sequences have better scores.
    state : array, shape (L, B, H); for LSTM a pair, optional
        Before ``start``, such as of an encoder; zeros if None.
    memory, memory_lengths, memory_mask : optional
        As for `generate`: what a decoder attends to.

    Returns
    -------
    Beams
        ``tokens`` (T, B, W), or (B, T, W) with ``batch_first``, ``lengths`` and ``scores`` (B, W).
        Scores of half precision are float32.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or, where values are on the host, the largest output of a step
        is infinite or NaN. Elsewhere scores are NaN then.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=8, hidden_size=16, output_size=5, vocabulary_size=5)
    >>> found = prnn.beam_search(model, model.init(seed=0), np.asarray([0, 0]), 10, end=4, width=3)
    >>> found.tokens.shape, found.scores.shape
    ((10, 2, 3), (2, 3))
    """
    length_penalty = check.number("length_penalty", length_penalty, least=0.0, most=100.0)
    steps, width = check.count("steps", steps), check.count("width", width)
    given = memory, memory_lengths, memory_mask
    network = checked_network(model, params, start, state, given, "beam search")
    xp, rnn, tokens = network.xp, network.rnn, network.start
    if rnn.vocabulary_size is None or rnn.vocabulary_size != network.outputs:
        raise ValueError(
            "model: expected tokens, and as many outputs, for beam search, got "
            f"vocabulary_size={rnn.vocabulary_size} and {network.outputs} outputs"
        )
    if tokens.ndim != 1:
        raise ValueError(f"start: expected tokens of shape (B,), got {tuple(start.shape)}")
    end = check.integer("end", end, least=0, most=network.outputs - 1)
    dtype = accumulation_dtype(xp, next(iter(network.params.values())).dtype)
    _check_penalty(xp, length_penalty, steps, dtype)
    count, axis = tokens.shape[0] * width, 1 if rnn.batch_first else 0
    # Indices have the default integer type, the only one that all libraries take rows by.
    sequences = xp.arange(count, device=device_of(tokens)) // width
    read = network.read(sequences)

    def step(tokens: Array, state: Any) -> tuple[Array, Any]:
        x = xp.expand_dims(tokens, axis=axis)
        outputs, state = predict(rnn, network.params, x, state, return_state=True)
        return read(outputs[:, 0, :] if axis else outputs[0, ...]), state

    found = _search(xp, step, tokens, state, sequences, steps, end, length_penalty, dtype)
    order = (0, 2, 1) if axis else (2, 0, 1)
    return Beams(xp.permute_dims(found.tokens, order), found.lengths, found.scores)


def _search(
    xp: Namespace,
    step: Step,
    start: Array,
    state: Any,
    sequences: Array,
    steps: int,
    end: int,
    penalty: float,
    dtype: Any,
) -> _Hypotheses:
    """Return the best hypotheses of each sequence; all arrays are of one size throughout.

    ``sequences`` (B·W,) are those that the rows of a step are of.
    """
    device, batch = device_of(start), start.shape[0]
    width = sequences.shape[0] // batch
    last = xp.take(start, sequences)
    state = _take(xp, state, sequences)
    tokens = xp.full((batch, width, steps), end, dtype=start.dtype, device=device)
    scores, ended = _none_but_first(xp, tokens, dtype)
    for n in range(1, steps + 1):
        outputs, state = step(last, state)
        outputs = to_accumulation_dtype(xp, outputs)
        check_numbers(xp, outputs)
        log_p = log_softmax(xp, outputs)
        log_p = xp.reshape(log_p, (batch, width, -1))
        total = scores[:, :, None] + log_p
        ended = _best(xp, ended, tokens, n, total[:, :, end] / _penalty(n, penalty))
        scores, parents, new = _continued(xp, total, end, width)
        from_rows = xp.reshape(parents, (-1,)) + sequences * width
        state, new = _take(xp, state, from_rows), xp.astype(new, start.dtype, copy=False)
        tokens = _rows(xp, xp.reshape(tokens, (batch * width, steps)), from_rows)
        here = xp.arange(steps, dtype=xp.int32, device=device)[None, None, :] == n - 1
        tokens = xp.where(here, new[:, :, None], xp.reshape(tokens, (batch, width, steps)))
        last = xp.reshape(new, (-1,))
        # The best that any of them may become.
        ceiling = scores / _penalty(steps, penalty)
        done = ceiling[:, 0] <= ended.scores[:, -1]
        if n < steps and reads(xp, done) and read_flag(xp.all(done)):
            return ended
    return _best(xp, ended, tokens, steps, ceiling)


def _none_but_first(xp: Namespace, tokens: Array, dtype: Any) -> tuple[Array, _Hypotheses]:
    """Return the scores of what a search begins with, and hypotheses that have ended: none yet.

    All hypotheses are the same then, and only the first of each sequence counts.
    """
    batch, width, _ = tokens.shape
    first = xp.arange(width, dtype=xp.int32, device=device_of(tokens))[None, :] == 0
    none = xp.full((batch, width), -float("inf"), dtype=dtype, device=device_of(tokens))
    lengths = xp.zeros((batch, width), dtype=xp.int32, device=device_of(tokens))
    return xp.where(first, xp.zeros_like(none), none), _Hypotheses(tokens, lengths, none)


def _check_penalty(xp: Namespace, exponent: float, steps: int, dtype: Any) -> None:
    """Refuse an exponent by which all scores would be divided by infinity."""
    most, base = math.log(largest_number(xp, dtype)), math.log((5.0 + steps) / 6.0)
    if exponent * base >= most:
        raise ValueError(
            f"length_penalty: expected a number below {most / base:.3g} for {steps} steps and "
            f"scores of {dtype_name(dtype)}, got {exponent:g}"
        )


def _penalty(length: int, exponent: float) -> float:
    return float(((5.0 + length) / 6.0) ** exponent)


def _continued(xp: Namespace, total: Array, end: int, width: int) -> tuple[Array, Array, Array]:
    """Return scores (B, W) of the best hypotheses that go on, which they continue, and tokens."""
    batch, _, count = total.shape
    every = xp.arange(count, dtype=xp.int32, device=device_of(total))[None, None, :]
    total = xp.where(every == end, xp.full_like(total, -float("inf")), total)
    scores, places = largest(xp, xp.reshape(total, (batch, -1)), width)
    parents = places // count
    return scores, parents, places - parents * count


def _best(
    xp: Namespace, one: _Hypotheses, tokens: Array, length: int, scores: Array
) -> _Hypotheses:
    """Return the best of some hypotheses and of others of one length, as many as there were."""
    batch, width, steps = one.tokens.shape
    lengths = xp.full_like(one.lengths, length)
    every = concatenate(xp, [one.scores, scores], axis=1)
    scores, places = largest(xp, every, width)
    first = xp.arange(batch, device=device_of(places))[:, None] * (2 * width)
    rows = xp.reshape(places + first, (-1,))
    both = xp.reshape(concatenate(xp, [one.tokens, tokens], axis=1), (-1, steps))
    lengths = xp.reshape(concatenate(xp, [one.lengths, lengths], axis=1), (-1,))
    return _Hypotheses(
        xp.reshape(_rows(xp, both, rows), (batch, width, steps)),
        xp.reshape(_rows(xp, lengths, rows), (batch, width)),
        scores,
    )


def _rows(xp: Namespace, array: Array, rows: Array) -> Array:
    return xp.take(array, rows, axis=0)


def _take(xp: Namespace, state: Any, rows: Array) -> Any:
    """Return a state of the given sequences."""
    if state is None:
        return None
    parts = check.state_parts(state)
    return check.state_of([xp.take(part, rows, axis=1) for part in parts])
