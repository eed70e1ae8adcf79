"""Tokens as input: checked, and embedded before anything else looks at them.

A model with a vocabulary is given integer tokens where others are given vectors. At the door of a
call the tokens become vectors, of the layout that any input has; from there on only the gradient of
the embedding asks for them again.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from .._arrays.devices import on_host
from .._arrays.functions import nan_where, rows_at
from .._arrays.host import to_host
from .._arrays.namespace import Array, Namespace, device_of, is_traced, read_flag
from .._labels import signed
from ..model import RNN
from .layout import mask_inward
from .valid_steps import valid_steps_of

__all__ = ["NAME", "Tokens", "check_token_values", "embedded", "like_embedded", "vectors_of"]

NAME = "embedding.weight"


class Tokens(NamedTuple):
    """Tokens of a call, time-major."""

    indices: Array  # (T, B), in range
    wrong: Array | None = None  # (T, B), where they were not, if that may be somewhere

    def window(self, a: int, b: int) -> "Tokens":
        """Return the tokens of some steps."""
        return Tokens(self.indices[a:b, ...], None if self.wrong is None else self.wrong[a:b, ...])


def vectors_of(xp: Namespace, weight: Array, tokens: Array, wrong: Array | None) -> Array:
    """Return the vectors of tokens, NaN where they were out of range."""
    vectors = rows_at(xp, weight, tokens)
    return vectors if wrong is None else nan_where(xp, xp.expand_dims(wrong, axis=-1), vectors)


def embedded(
    xp: Namespace,
    model: RNN,
    params: Mapping[str, Array],
    x: Array,
    lengths: Any = None,
    mask: Any = None,
) -> tuple[Array, Tokens | None]:
    """Return an input as vectors, in its layout, and its tokens, if it is tokens.

    Tokens out of range are refused on the host, and give NaN elsewhere, unless they are padding.
    """
    if model.vocabulary_size is None:
        return x, None
    valid = None
    if lengths is not None or mask is not None:
        shape = like_embedded(xp, model, params, x)
        valid = valid_steps_of(xp, model, shape, lengths, mask)
    tokens, wrong = check_token_values(xp, "x", x, model.vocabulary_size, valid)
    vectors = vectors_of(xp, params[NAME], tokens, wrong)
    return vectors, Tokens(mask_inward(model, tokens), mask_inward(model, wrong))


def check_token_values(
    xp: Namespace, name: str, tokens: Array, count: int, valid: Any = None
) -> tuple[Array, Array | None]:
    """Return tokens in a signed dtype with 0 for those out of range, and where these are.

    None if that is known to be nowhere.

    Raises
    ------
    ValueError
        If one is out of range, and values can be read.
    """
    given, tokens = tokens, signed(xp, tokens)
    wrong = (tokens < 0) | (tokens >= count)
    counts = wrong if valid is None else wrong & valid
    reads = on_host(tokens) and not is_traced(xp, tokens)
    some = read_flag(xp.any(counts)) if reads else None
    if some:
        # Not those of the signed dtype, in which a large number is a negative one.
        bad = to_host(given)[to_host(counts)]
        raise ValueError(
            f"{name}: expected tokens from 0 to {count - 1}, "
            f"got values from {bad.min()} to {bad.max()}"
        )
    if some is False and valid is None:
        return tokens, None
    return xp.where(wrong, xp.zeros_like(tokens), tokens), counts if some is None else None


def like_embedded(xp: Namespace, model: RNN, params: Mapping[str, Array], x: Array) -> Array:
    """Return an array like the vectors of tokens, of one number, or ``x`` if it is vectors.

    For checks, which look at shape, dtype and device only.
    """
    if model.vocabulary_size is None:
        return x
    first = next(iter(params.values()))
    one = xp.zeros((1,) * (x.ndim + 1), dtype=first.dtype, device=device_of(first))
    return xp.broadcast_to(one, (*x.shape, model.input_size))
