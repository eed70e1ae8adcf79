"""Tokens chosen from the outputs of a network: the most likely, drawn ones, the best few."""

from .._arrays.choices import Choices
from .._arrays.devices import on_host
from .._arrays.functions import to_accumulation_dtype
from .._arrays.namespace import (
    Array,
    Namespace,
    device_of,
    is_dask_namespace,
    is_traced,
    read_flag,
)

__all__ = ["check_numbers", "choose_tokens", "largest", "reads"]

_GUMBEL = 3  # the stream of random bits; those before are of dropout
_HOT = 1e30  # all tokens are equally likely, and an infinite logit is no 0 times infinity


def choose_tokens(
    xp: Namespace,
    logits: Array,
    temperature: float,
    top_k: int | None,
    seed: tuple[int, ...],
    number: int,
) -> Array:
    """Return a token for each row (..., V): the largest logit's, or drawn by the softmax.

    ``number`` is that of the draw: each has random bits of its own. Where the largest output is
    infinite or NaN, the token is -1, unless values can be read: then that is an error.
    """
    shape = tuple(logits.shape[:-1])
    logits = to_accumulation_dtype(xp, xp.reshape(logits, (-1, logits.shape[-1])))
    check_numbers(xp, logits)
    wrong = ~xp.isfinite(xp.max(logits, axis=1))
    if temperature:
        if top_k is not None and top_k < logits.shape[1]:
            logits = _largest_only(xp, logits, top_k)
        # Drawn as the largest of l / t + g, or of l + t g: no quotient by a small number.
        drawn = Choices(xp, logits, seed).gumbel(tuple(logits.shape), _GUMBEL, number)
        if temperature <= 1.0:
            logits = logits + temperature * drawn
        else:
            logits = logits * (1.0 / min(temperature, _HOT)) + drawn
    tokens = _without_largest(xp, logits)[1][:, 0]
    return xp.reshape(xp.where(wrong, xp.full_like(tokens, -1), tokens), shape)


def check_numbers(xp: Namespace, outputs: Array) -> None:
    """Refuse outputs (N, V) without a softmax, if values can be read.

    The largest of a row is NaN or infinite then. Others may be -inf: tokens that are not possible.
    """
    if not reads(xp, outputs):
        return
    top = xp.max(outputs, axis=1)
    if read_flag(xp.all(xp.isfinite(top))) is False:
        got = float(xp.sum(xp.where(xp.isfinite(top), xp.zeros_like(top), top)))
        raise ValueError(f"params: expected a network with a finite largest output, got {got}")


def reads(xp: Namespace, array: Array) -> bool:
    """Return whether the values of an array can be read at no cost."""
    return on_host(array) and not is_traced(xp, array)


def largest(xp: Namespace, values: Array, count: int) -> tuple[Array, Array]:
    """Return the largest numbers of each row (N, V) in order, (N, count), and their places.

    Of equal ones the first is first. The standard has no such function, and some libraries cannot
    sort: the largest is taken ``count`` times. Once a row has no more, -inf follow.
    """
    column = xp.arange(count, dtype=xp.int32, device=device_of(values))[None, :]
    found = places = None
    for n in range(count):
        top, place, values = _without_largest(xp, values)
        # Not joined: Dask would take each of many small arrays for a task.
        found = top if found is None else xp.where(column == n, top, found)
        places = place if places is None else xp.where(column == n, place, places)
    shape = (values.shape[0], count)
    return xp.broadcast_to(found, shape), xp.broadcast_to(places, shape)


def _without_largest(xp: Namespace, values: Array) -> tuple[Array, Array, Array]:
    """Return the largest number of each row (N, V), its place, and the row with -inf there.

    The place is the first; 0 for a row with NaN. Those of the standard's ``argmax`` have 64 bits,
    which some devices lack.
    """
    count = values.shape[1]
    every = xp.arange(count, dtype=xp.int32, device=device_of(values))[None, :]
    top = xp.max(values, axis=1, keepdims=True)
    place = xp.where(values == top, every, xp.full_like(every, count))
    place = xp.min(place, axis=1, keepdims=True) % count
    return top, place, xp.where(every == place, xp.full_like(values, -float("inf")), values)


def _largest_only(xp: Namespace, logits: Array, count: int) -> Array:
    """Return logits (N, V) with -inf in place of all below the ``count`` th largest."""
    if is_dask_namespace(xp):  # which cannot sort
        least = largest(xp, logits, count)[0][:, count - 1 :]
    else:
        size = logits.shape[1]
        least = xp.sort(logits, axis=1)[:, size - count : size - count + 1]
    return xp.where(logits < least, xp.full_like(logits, -float("inf")), logits)
