"""Embeddings: a vector for each integer token, as a function with its derivative.

A model with ``vocabulary_size`` embeds its input itself; these are for networks put together by
hand, such as one whose embedding is shared with something else.
"""

from ._arrays import checks as check
from ._arrays.devices import with_device_of_arguments
from ._arrays.functions import where
from ._arrays.host import is_kind
from ._arrays.namespace import (
    Array,
    check_array,
    check_library_and_device,
    dtype_name,
    namespace_of,
)
from ._calls.embedding import check_token_values, vectors_of
from ._executors.choose import choose

__all__ = ["embed", "embed_vjp"]


@check.named_options
@with_device_of_arguments
def embed(weight: Array, tokens: Array) -> Array:
    """Return the row of a matrix for each token.

    Parameters
    ----------
    weight : floating array, shape (V, I)
    tokens : integer array, any shape (...)
        From 0 to V - 1. On the host, others are refused; elsewhere their vectors are NaN.

    Returns
    -------
    array, shape (..., I)

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> prnn.embed(np.asarray([[0.0, 1.0], [2.0, 3.0]]), np.asarray([1, 0, 1]))
    array([[2., 3.],
           [0., 1.],
           [2., 3.]])
    """
    xp = namespace_of(weight=weight)
    check.floating("weight", weight, xp)
    if weight.ndim != 2 or 0 in weight.shape:
        raise ValueError(f"weight: expected shape (V, I), got {tuple(weight.shape)}")
    _check_tokens(tokens, "weight", weight)
    tokens, wrong = check_token_values(xp, "tokens", tokens, weight.shape[0])
    return vectors_of(xp, weight, tokens, wrong)


@check.named_options
@with_device_of_arguments
def embed_vjp(tokens: Array, d_vectors: Array, vocabulary_size: int) -> Array:
    """Return the cotangent of the matrix of `embed`: the sum of the rows of each token.

    It is deterministic, and rounding grows with the logarithm of how often a token occurs (compiled
    for NumPy, with leaves of 48 rows).

    Parameters
    ----------
    tokens : integer array, any shape (...)
        From 0 to V - 1. Others are refused on the host, and left out elsewhere.
    d_vectors : floating array, shape (..., I)
        The cotangent of the vectors.
    vocabulary_size : int
        V.

    Returns
    -------
    array, shape (V, I)

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> prnn.embed_vjp(np.asarray([1, 0, 1]), np.asarray([[1.0], [2.0], [3.0]]), 3)
    array([[2.],
           [4.],
           [0.]])
    """
    xp, count = namespace_of(d_vectors=d_vectors), check.count("vocabulary_size", vocabulary_size)
    check.floating("d_vectors", d_vectors, xp)
    if not d_vectors.ndim or 0 in d_vectors.shape:
        raise ValueError(
            f"d_vectors: expected shape (..., I) without a 0, got {tuple(d_vectors.shape)}"
        )
    _check_tokens(tokens, "d_vectors", d_vectors)
    if d_vectors.ndim != tokens.ndim + 1 or tuple(d_vectors.shape[:-1]) != tuple(tokens.shape):
        wanted = f"({', '.join(map(str, (*tokens.shape, 'I')))})"
        raise ValueError(f"d_vectors: expected shape {wanted}, got {tuple(d_vectors.shape)}")
    tokens, wrong = check_token_values(xp, "tokens", tokens, count)
    if wrong is not None:
        d_vectors = where(xp, xp.expand_dims(wrong, axis=-1), xp.zeros_like(d_vectors), d_vectors)
    found = choose(xp, (d_vectors,)).sums.tokens(xp, tokens, d_vectors, count)
    return xp.astype(found, d_vectors.dtype, copy=False)


def _check_tokens(tokens: Array, other_name: str, other: Array) -> None:
    """Check dtype, library and device of tokens, and that there are some."""
    check_array("tokens", tokens)
    if not is_kind("tokens", tokens, "integral"):
        raise TypeError(f"tokens: expected integers, got dtype {dtype_name(tokens.dtype)}")
    check_library_and_device("tokens", tokens, other_name, other)
    if 0 in tokens.shape:
        raise ValueError(f"tokens: expected at least one, got shape {tuple(tokens.shape)}")
