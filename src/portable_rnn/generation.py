"""Sequences that a network makes itself: each output is, or becomes, the next input."""

from collections.abc import Callable, Mapping
from typing import Any

from ._arrays import checks as check
from ._arrays.devices import with_device_of_arguments
from ._arrays.functions import stack
from ._arrays.host import is_kind
from ._arrays.namespace import (
    Array,
    check_array,
    check_library_and_device,
    check_shape,
    check_shaped,
    dtype_name,
)
from ._calls.embedding import check_token_values
from ._calls.sampling import choose_tokens
from ._generated import Network, checked_network
from .decoders import AttentionDecoder
from .model import RNN
from .streaming import Stream

__all__ = ["generate"]

Feedback = Callable[[Array, int], Array]


@check.named_options
@with_device_of_arguments
def generate(
    model: RNN | AttentionDecoder,
    params: Mapping[str, Array],
    start: Array,
    steps: int,
    *,
    state: Any = None,
    memory: Array | None = None,
    memory_lengths: Any = None,
    memory_mask: Any = None,
    feedback: Feedback | None = None,
    temperature: float = 0.0,
    top_k: int | None = None,
    seed: int | tuple[int, ...] = 0,
    return_state: bool = False,
) -> Any:
    """Run a network on its own outputs, a step at a time.

    A network of tokens chooses each next token from the outputs before; one of vectors forecasts,
    if its outputs are its next inputs, or ``feedback`` makes them so.

    Parameters
    ----------
    model : RNN or AttentionDecoder
        Unidirectional, with outputs at each step.
    params : dict of str to array
    start : array, shape (B, I), or (I,) for a single sequence
        The first input. For a model with a vocabulary, integer tokens (B,), or ().
    steps : int
        How many steps to take.
    state : array, shape (L, B, H), or (L, H); for LSTM a pair, optional
        Before ``start``: of what came before it, as `predict` with ``return_state=True`` returns
        it, or of an encoder. Zeros if None.
    memory : array, shape (S, B, M), optional
        What a decoder attends to, which requires it.
    memory_lengths, memory_mask : optional
        Its valid steps, as for `decode`.
    feedback : callable, ``(outputs, step) -> x``, optional
        Returns the input of step 1, 2, ... of the shape of ``start`` from the outputs (B, O) before
        it. By default, these themselves, or the token that was chosen by the options below.
    temperature : float
        Of tokens: 0 takes the most likely one; otherwise they are drawn from the softmax of the
        outputs divided by it.
    top_k : int, optional
        Draw from so many most likely tokens only, and those equal to the last of them.
    seed : int, or tuple of ints
        Of what is drawn. One seed draws the same on every library, except where rounding decides
        between two tokens. The draws of a call begin anew: to go on from a state, give another one,
        such as ``(seed, number)``.
    return_state : bool
        Whether to return the final state too, after the last input.

    Returns
    -------
    array
        Outputs (T, B, O), or for a model with a vocabulary and without ``feedback`` the tokens
        (T, B), without ``start``. In the layout of the model; without B for a single sequence.
    state : only with ``return_state``, like the initial state

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or what ``feedback`` returns; or, where values are on the host,
        if the largest output that a token is chosen from is infinite or NaN. Elsewhere the token is
        then -1.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=8, hidden_size=16, output_size=5, vocabulary_size=5)
    >>> params, start = model.init(seed=0), np.asarray([0, 1, 2])
    >>> prnn.generate(model, params, start, 10, temperature=0.8, top_k=3).shape
    (10, 3)
    """
    given = memory, memory_lengths, memory_mask
    network = checked_network(model, params, start, state, given, "generation")
    xp, rnn, x = network.xp, network.rnn, network.start
    _check_feedback(network, feedback)
    steps = check.count("steps", steps)
    temperature = check.number("temperature", temperature, least=0.0)
    top_k = None if top_k is None else check.count("top_k", top_k)
    key, return_state = check.seed("seed", seed), check.flag("return_state", return_state)
    of_tokens = rnn.vocabulary_size is not None
    if (temperature or top_k is not None) and (feedback is not None or not of_tokens):
        raise ValueError(
            "temperature, top_k: expected none, since nothing is drawn: this network has no tokens "
            "of its own, or feedback chooses them"
        )
    stream, read = Stream(rnn, network.params, state), network.read()
    found: list[Array] = []
    for step in range(steps):
        if step and feedback is not None:
            x = _checked(network, feedback(found[-1], step), start)
        outputs = read(stream.step(x))
        if of_tokens and feedback is None:
            tokens = choose_tokens(xp, outputs, temperature, top_k, key, step)
            outputs = x = xp.astype(tokens, x.dtype, copy=False)
        elif feedback is None:
            x = outputs
        found.append(outputs)
    batched = start.ndim == (1 if of_tokens else 2)
    made = stack(xp, found, axis=1 if rnn.batch_first and batched else 0)
    return (made, stream.state) if return_state else made


def _check_feedback(network: Network, feedback: Any) -> None:
    """Check ``feedback``, which may be None if outputs are like inputs."""
    if feedback is not None:
        check.function("feedback", feedback, "(outputs, step) -> x", None, 1)
        return
    rnn = network.rnn
    inputs = rnn.vocabulary_size or rnn.input_size
    if network.outputs != inputs:
        raise ValueError(
            "feedback: expected a function (outputs, step) -> x, since there are "
            f"{inputs} {'tokens' if rnn.vocabulary_size else 'inputs'} and "
            f"{network.outputs} outputs, got None"
        )


def _checked(network: Network, x: Any, start: Array) -> Array:
    """Check what ``feedback`` returned: like the first input."""
    name, vocabulary_size = "value returned by feedback", network.rnn.vocabulary_size
    if vocabulary_size is None:
        check_shaped(name, x, tuple(start.shape), "start", start)
        return x
    check_array(name, x)
    check_library_and_device(name, x, "start", start)
    check_shape(name, x, tuple(start.shape))
    if not is_kind(name, x, "integral"):
        raise TypeError(f"{name}: expected integers, got dtype {dtype_name(x.dtype)}")
    check_token_values(network.xp, name, x, vocabulary_size)
    return x
