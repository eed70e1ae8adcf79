"""Attention: for each query a weighted mean of the steps of a memory, with its derivative.

The memory is usually the outputs of an encoder, the queries those of a decoder. The score of a
query ``q`` and a step ``m`` of the memory is one of

dot
    ``q·m`` (Luong, Pham and Manning, arXiv 1508.04025). Queries and memory have one size.
scaled_dot
    ``q·m / √H`` (Vaswani et al., arXiv 1706.03762).
general
    ``q·W m`` (Luong et al.), with ``weight`` W (H, M).
additive
    ``v·tanh(W_q q + W_m m)`` (Bahdanau, Cho and Bengio, arXiv 1409.0473), with ``weight_query``
    (A, H), ``weight_memory`` (A, M) and ``weight_score`` v (1, A).

and the weights are the softmax of the scores over the memory's valid steps.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from ._arrays import checks as check
from ._arrays.devices import with_device_of_arguments
from ._arrays.namespace import Array, Namespace, check_shape, check_shaped, namespace_of
from ._arrays.shown import short_repr
from ._calls.attention import check_memory, checked_params, score_shapes
from ._calls.checks import check_record
from ._calls.valid_steps import valid_steps_of_outputs
from ._engine import attention
from ._engine.attention import SCORES, Residuals
from .initializers import SCHEMES, matrix, uniform

__all__ = ["Attention", "AttentionGradients", "attend", "attend_vjp", "init"]


class Attention(NamedTuple):
    """What `attend` returns.

    Attributes
    ----------
    context : array, shape (T, B, V), or (B, V) for queries of one step
    weights : array, shape (T, B, S), or (B, S)
        For each query those of the steps of the memory. They sum to 1, or are all 0 if no step is
        valid.
    residuals : NamedTuple
        For `attend_vjp`. It refers to the arrays that were given and to ``weights``: do not write
        into them before.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> context, weights, _ = prnn.attend(np.zeros((2, 3)), np.ones((4, 2, 3)))
    >>> context.shape, weights.shape
    ((2, 3), (2, 4))
    """

    context: Array
    weights: Array
    residuals: Residuals

    def __repr__(self) -> str:
        return short_repr(self)


class AttentionGradients(NamedTuple):
    """What `attend_vjp` returns: a cotangent for each array that `attend` took.

    Attributes
    ----------
    query : array, shape (T, B, H), or (B, H)
    memory : array, shape (S, B, M)
        Includes that of the values if they are the memory.
    values : array, shape (S, B, V), or None
        None if no values were given.
    params : dict of str to array
        Empty for dot products.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> *_, residuals = prnn.attend(np.ones((2, 3)), np.ones((4, 2, 3)))
    >>> found = prnn.attend_vjp(residuals, np.ones((2, 3)))
    >>> found.memory[:, 0, 0], found.values, found.params
    (array([0.25, 0.25, 0.25, 0.25]), None, {})
    """

    query: Array
    memory: Array
    values: Array | None
    params: dict[str, Array]

    def __repr__(self) -> str:
        return short_repr(self)


@check.named_options
@with_device_of_arguments
def attend(
    query: Array,
    memory: Array,
    params: Mapping[str, Array] | None = None,
    *,
    score: str = "dot",
    values: Array | None = None,
    lengths: Any = None,
    mask: Any = None,
) -> Attention:
    """Return for each query the mean of a memory, weighted by the softmax of scores.

    Parameters
    ----------
    query : floating array, shape (T, B, H), or (B, H) for one step
    memory : floating array, shape (S, B, M)
        Such as the outputs of an encoder.
    params : dict of str to array, optional
        Of "general" and "additive" scores, such as `attention.init` draws; none for others.
    score : {"dot", "scaled_dot", "general", "additive"}
        See :mod:`portable_rnn.attention`.
    values : floating array, shape (S, B, V), optional
        What the mean is taken of, if not the memory itself.
    lengths : sequence of B ints, or integer array (B,), optional
        How many steps of the memory are valid, as for `forward`.
    mask : boolean array, shape (S, B), optional
        The valid steps instead. Others have a weight of exactly 0 and no gradient, whatever stands
        there, even NaN. For a sequence without any, all weights and the context are 0.

    Returns
    -------
    Attention
        ``context`` (T, B, V), ``weights`` (T, B, S), ``residuals``. Half precision is computed in
        float32 and rounded once.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> memory = np.asarray([[1.0, 0.0], [0.0, 1.0], [np.nan, 5.0]]).reshape(3, 1, 2)
    >>> context, weights, _ = prnn.attend(np.asarray([[9.0, 0.0]]), memory, lengths=[2])
    >>> print(context.round(3), weights.round(3))
    [[1. 0.]] [[1. 0. 0.]]
    """
    check.choice("score", score, SCORES)
    xp = namespace_of(query=query)
    check.floating("query", query, xp)
    if query.ndim not in (2, 3) or 0 in query.shape:
        raise ValueError(
            f"query: expected shape (T, B, H) or (B, H) without a 0, got {tuple(query.shape)}"
        )
    batch, size = query.shape[-2:]
    check_memory("memory", memory, batch, query)
    if score in ("dot", "scaled_dot") and memory.shape[2] != size:
        raise ValueError(
            f"memory: expected vectors of size {size} like query, for a {score} score, "
            f"got {memory.shape[2]}"
        )
    if values is not None:
        check_memory("values", values, batch, query)
        check_shape("values", values, (*memory.shape[:2], values.shape[2]))
    given = checked_params(score, params, size, memory, query)
    valid = valid_steps_of_outputs(xp, "memory", memory, lengths, mask)
    rows = query if query.ndim == 3 else query[None, ...]
    context, residuals = attention.attend(xp, score, rows, memory, values, given, valid)
    weights = xp.permute_dims(residuals.weights, (1, 0, 2))
    found = (xp.astype(array, query.dtype, copy=False) for array in (context, weights))
    context, weights = found if query.ndim == 3 else (array[0, ...] for array in found)
    return Attention(context, weights, residuals._replace(query=query))


@check.named_options
@with_device_of_arguments
def attend_vjp(
    residuals: Residuals, d_context: Array, d_weights: Array | None = None
) -> AttentionGradients:
    """Pull cotangents of the context, and of the weights, back through `attend`.

    Parameters
    ----------
    residuals : NamedTuple
        From `attend`.
    d_context : floating array, shape of the context
    d_weights : floating array, shape of the weights, optional
        For a loss that looks at the weights too.

    Returns
    -------
    AttentionGradients
        ``query``, ``memory``, ``values`` and ``params``.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> query, memory = np.ones((5, 2, 3)), np.ones((7, 2, 4))
    >>> params = prnn.attention.init("additive", 3, 4, 6, dtype="float64")
    >>> context, _, residuals = prnn.attend(query, memory, params, score="additive")
    >>> found = prnn.attend_vjp(residuals, np.ones_like(context))
    >>> {name: array.shape for name, array in found.params.items()}
    {'weight_query': (6, 3), 'weight_memory': (6, 4), 'weight_score': (1, 6)}
    """
    check_record("residuals", residuals, Residuals, "attend", ("query", "memory", "weights"))
    query, one = residuals.query, residuals.query.ndim == 2
    values = residuals.memory if residuals.values is None else residuals.values
    shape = tuple(query.shape[:-1])
    check_shaped("d_context", d_context, (*shape, values.shape[2]), "query", query)
    if d_weights is not None:
        wanted = (*shape, residuals.memory.shape[0])
        check_shaped("d_weights", d_weights, wanted, "query", query)
    xp = namespace_of(d_context=d_context)
    if one:
        residuals = residuals._replace(query=query[None, ...])
        d_context = d_context[None, ...]
        d_weights = None if d_weights is None else d_weights[None, ...]
    found = attention.attend_vjp(xp, residuals, d_context, d_weights)

    def rounded(array: Array) -> Array:
        return xp.astype(array, query.dtype, copy=False)

    d_query, d_memory, d_values, d_params = found
    d_query = rounded(d_query[0, ...] if one else d_query)
    d_values = None if d_values is None else rounded(d_values)
    d_params = {name: rounded(d) for name, d in d_params.items()}
    return AttentionGradients(d_query, rounded(d_memory), d_values, d_params)


@check.named_options
def init(
    score: str,
    query_size: int,
    memory_size: int,
    attention_size: int | None = None,
    *,
    seed: int = 0,
    weights: str = "glorot",
    xp: Namespace | None = None,
    dtype: Any = "float32",
    device: Any = None,
) -> dict[str, Array]:
    """Draw initial parameters of a score, on the host: one seed gives the same on every library.

    Parameters
    ----------
    score : {"dot", "scaled_dot", "general", "additive"}
    query_size, memory_size : int
        H and M.
    attention_size : int, optional
        A, of additive scores, which require it.
    seed : int
    weights : {"uniform", "glorot", "he", "lecun", "orthogonal"}
        How matrices are drawn, as by :meth:`portable_rnn.RNN.init`; "uniform" is in ±1/√H.
    xp, dtype, device
        As for :meth:`portable_rnn.RNN.init`.

    Returns
    -------
    dict of str to array
        Empty for dot products.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> prnn.attention.init("general", 3, 4)["weight"].shape
    (3, 4)
    """
    shapes = score_shapes(score, query_size, memory_size, attention_size)
    check.choice("weights", weights, SCHEMES)
    others = {} if weights == "uniform" else dict.fromkeys(shapes, matrix(weights))
    options = {"xp": xp, "dtype": dtype, "device": device}
    return uniform(shapes, query_size**-0.5, seed, others, **options)
