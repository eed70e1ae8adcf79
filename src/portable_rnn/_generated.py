"""What `generate` and `beam_search` share: a network that reads its own outputs, checked."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from ._arrays.namespace import Array, Namespace
from ._calls.attention import valid_memory
from ._calls.checks import check_arrays
from ._calls.embedding import like_embedded
from ._calls.generation import check_start
from ._engine.decoder import read_memory
from .decoders import AttentionDecoder, split_params
from .model import RNN

__all__ = ["Network", "checked_network"]


class Network(NamedTuple):
    """A network whose recurrent layers run a step at a time, and what follows them."""

    xp: Namespace
    rnn: RNN
    params: Mapping[str, Array]  # those of the recurrent layers
    outputs: int  # O
    start: Array  # tokens in a signed dtype
    decoder: AttentionDecoder | None = None
    others: Mapping[str, Array] = {}
    memory: Array | None = None
    memory_valid: Array | None = None

    def read(self, sequences: Array | None = None) -> Callable[[Array], Array]:
        """Return the function from hidden states (N, F), or outputs, to outputs (N, O).

        ``sequences`` says which sequence each of the rows is of, if there are several of one.
        """
        xp, memory, valid = self.xp, self.memory, self.memory_valid
        if self.decoder is None:
            return lambda outputs: outputs
        if sequences is not None:
            memory = xp.take(memory, sequences, axis=1)
            valid = None if valid is None else xp.take(valid, sequences, axis=1)
        score, others = self.decoder.score, self.others

        def outputs(hidden: Array) -> Array:
            found, _ = read_memory(xp, score, others, hidden[None, ...], memory, valid, None)
            return found[0, ...]

        return outputs


def checked_network(
    model: Any,
    params: Mapping[str, Array],
    start: Any,
    state: Any,
    memory: tuple[Any, Any, Any],
    what: str,
) -> Network:
    """Check a model or decoder, its first input, state, and memory with its lengths and mask."""
    if not isinstance(model, AttentionDecoder):
        if any(part is not None for part in memory):
            raise ValueError(
                "memory, memory_lengths, memory_mask: expected none without an AttentionDecoder"
            )
        xp, start = check_start(model, params, start, state, what)
        return Network(xp, model, params, model.feature_size, start)
    check_arrays(model.parameter_shapes, params)
    own, others = split_params(model, params)
    xp, start = check_start(model.rnn, own, start, state, what)
    axes = 2 if model.rnn.vocabulary_size is None else 1
    if start.ndim != axes:
        wanted = "(B, I)" if axes == 2 else "(B,)"
        raise ValueError(f"start: expected shape {wanted} for a decoder, got {tuple(start.shape)}")
    like = like_embedded(xp, model.rnn, own, start[None, ...])
    valid = valid_memory(xp, memory[0], model.memory_size, like, *memory[1:], "start")
    given = model, others, memory[0], valid
    return Network(xp, model.rnn, own, model.output_size, start, *given)
