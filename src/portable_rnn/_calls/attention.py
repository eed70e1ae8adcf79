"""Checks of what an attention takes: its score, a memory, parameters."""

from collections.abc import Mapping
from typing import Any

from .._arrays import checks as check
from .._arrays.namespace import Array, Namespace, check_array, check_like, check_shaped
from .._engine.attention import SCORES
from .valid_steps import valid_steps_of_outputs

__all__ = ["check_memory", "checked_params", "score_shapes", "valid_memory"]


def score_shapes(
    score: str, query_size: int, memory_size: int, attention_size: int | None
) -> dict[str, tuple[int, ...]]:
    """Check a score and its sizes; return names and shapes of its parameters."""
    check.choice("score", score, SCORES)
    h, m = check.count("query_size", query_size), check.count("memory_size", memory_size)
    if score != "additive" and attention_size is not None:
        raise ValueError(f"attention_size: only additive scores have one, got score={score!r}")
    if score == "additive":
        if attention_size is None:
            raise ValueError("attention_size: expected a size for additive scores, got None")
        a = check.count("attention_size", attention_size)
        return {"weight_query": (a, h), "weight_memory": (a, m), "weight_score": (1, a)}
    if score != "general" and h != m:
        raise ValueError(f"memory_size: expected {h} like query_size for {score}, got {m}")
    return {"weight": (h, m)} if score == "general" else {}


def check_memory(name: str, array: Array, batch: int, like: Array, other: str = "query") -> None:
    """Check a memory, or its values: (S, B, F), for as many sequences as the queries."""
    check_array(name, array)
    if array.ndim != 3 or 0 in array.shape or array.shape[1] != batch:
        wanted = f"(S, {batch}, F), for {batch} sequences like {other}, without a 0"
        raise ValueError(f"{name}: expected shape {wanted}, got {tuple(array.shape)}")
    check_like(name, array, other, like)


def valid_memory(
    xp: Namespace, memory: Any, size: int, like: Array, lengths: Any, mask: Any, other: str
) -> Array | None:
    """Check a memory of vectors of a size for a batch (T, B, I); return valid steps, None for all.

    Errors name the batch ``other``, and lengths and mask with ``memory_``.
    """
    check_memory("memory", memory, like.shape[1], like, other)
    if memory.shape[2] != size:
        raise ValueError(f"memory: expected vectors of size {size}, got {memory.shape[2]}")
    return valid_steps_of_outputs(xp, "memory", memory, lengths, mask, "memory_")


def checked_params(
    score: str, params: Any, size: int, memory: Array, query: Array
) -> dict[str, Array]:
    """Check the parameters of a score: names, shapes, library, dtype and device."""
    if params is not None and not isinstance(params, Mapping):
        raise TypeError(f"params: expected a dict of arrays, got {check.said(params)}")
    given = dict(params or {})
    width = None
    if score == "additive":
        first: Any = given.get("weight_query")
        width = first.shape[0] if getattr(first, "ndim", 0) == 2 and first.shape[0] else 1
    shapes = score_shapes(score, size, memory.shape[2], width)
    if given.keys() != shapes.keys():
        wanted = ", ".join(shapes) or "none"
        got = ", ".join(map(str, given)) or "none"
        raise ValueError(f"params: expected {wanted} for score={score!r}, got {got}")
    for name, shape in shapes.items():
        check_shaped(f"params[{name!r}]", given[name], shape, "query", query)
    return given
