"""The gradient of an embedding: the sum of the cotangents of rows, token by token.

No function of the standard scatters. Rows are sorted by token, and those of one token are added in
pairs, pairs of pairs, and so on: rounding grows with the logarithm of how often a token occurs, and
the result does not depend on the order in which a device happens to add.
"""

from .._arrays.functions import has_64_bits, to_accumulation_dtype
from .._arrays.namespace import PLAIN, Array, Namespace, device_of, dtype_name, is_jax_namespace

__all__ = ["one_hot_sums", "sums_by_token"]


def sums_by_token(xp: Namespace, tokens: Array, d: Array, count: int) -> Array:
    """Return the sum of the rows of ``d`` (..., I) for each of ``count`` tokens (...).

    Half-precision sums are float32.
    """
    tokens, d = _flat(xp, tokens, d)
    device = device_of(d)
    tokens, order = _sorted(xp, tokens, count)
    d = xp.take(d, order, axis=0)
    if PLAIN.get(type(d)) is xp:
        return _sums_of_numpy(xp, tokens, d, count)
    step = 1
    while step < tokens.shape[0]:  # each row gets the sum of itself and some that follow
        same = xp.expand_dims(tokens[:-step] == tokens[step:], axis=1)
        second = xp.where(same, d[step:, :], xp.zeros_like(d[step:, :]))
        d = xp.concat([d[:-step, :] + second, d[-step:, :]])
        step *= 2
    every = xp.arange(count, dtype=tokens.dtype, device=device)
    first = _first_at_least(xp, tokens, every)
    first = xp.where(first < tokens.shape[0], first, xp.zeros_like(first))
    occurs = xp.expand_dims(xp.take(tokens, first, axis=0) == every, axis=1)
    rows = xp.take(d, first, axis=0)
    return xp.where(occurs, rows, xp.zeros_like(rows))


def _sums_of_numpy(xp: Namespace, tokens: Array, d: Array, count: int) -> Array:
    """Return the same sums; rows that have been added to others are left out of the next round."""
    place = xp.arange(tokens.shape[0]) - tokens.searchsorted(tokens)  # among those of its token
    while (tokens[1:] == tokens[:-1]).any():
        left = (place % 2 == 0).nonzero()[0]
        following = xp.concat([tokens[1:], tokens[:1] - 1])  # the last one has none
        pairs = (tokens[left] == following[left]).nonzero()[0]
        right, d_left = left[pairs] + 1, d[left]
        d_left[pairs] += d[right]
        tokens, place, d = tokens[left], place[left] // 2, d_left
    sums = xp.zeros((count, d.shape[1]), dtype=d.dtype)
    sums[tokens] = d
    return sums


def one_hot_sums(xp: Namespace, tokens: Array, d: Array, count: int) -> Array:
    """Return `sums_by_token` as one product, for libraries that cannot sort.

    An infinite or NaN row then makes other sums NaN too.
    """
    if is_jax_namespace(xp):  # not traced; it can sort
        return sums_by_token(xp, tokens, d, count)
    tokens, d = _flat(xp, tokens, d)
    every = xp.arange(count, dtype=tokens.dtype, device=device_of(d))
    one_hot = xp.astype(xp.expand_dims(every, axis=1) == xp.expand_dims(tokens, axis=0), d.dtype)
    return xp.matmul(one_hot, d)


def _sorted(xp: Namespace, tokens: Array, count: int) -> tuple[Array, Array]:
    """Return tokens in order, and where each was; those that are equal in the order they had.

    Numbers are sorted that are made of both: some libraries lack a stable ``argsort``, or have one
    of 64 bits only. If the numbers are too large for the library's integers, it has one.
    """
    rows = tokens.shape[0]
    if count * rows >= 2**31:
        if dtype_name(tokens.dtype) != "int64" and not has_64_bits(xp):
            order = xp.argsort(tokens, stable=True)
            return xp.take(tokens, order), xp.astype(order, tokens.dtype)
        tokens = xp.astype(tokens, xp.int64)
    both = tokens * rows + xp.arange(rows, dtype=tokens.dtype, device=device_of(tokens))
    both = xp.sort(both)
    tokens = both // rows
    return tokens, both - tokens * rows


def _first_at_least(xp: Namespace, ascending: Array, values: Array) -> Array:
    """Return for each value the first place of a number that is not below it (``searchsorted``).

    That function came with the standard of 2023, and has 64 bits.
    """
    size, found = ascending.shape[0], xp.zeros_like(values)
    for step in (2**n for n in reversed(range(size.bit_length()))):
        last = found + (step - 1)
        below = xp.take(ascending, xp.where(last < size, last, size - 1 + 0 * last)) < values
        found = xp.where((last < size) & below, found + step, found)
    return found


def _flat(xp: Namespace, tokens: Array, d: Array) -> tuple[Array, Array]:
    """Return tokens (N,), and rows (N, I) in the dtype of sums."""
    d = to_accumulation_dtype(xp, xp.reshape(d, (-1, d.shape[-1])))
    return xp.reshape(tokens, (-1,)), d
