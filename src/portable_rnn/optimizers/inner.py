"""Call an optimizer inside another, always or where an array says so."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from .._arrays import checks as check
from .._arrays.functions import where
from .._arrays.namespace import Array, Namespace, check_shaped, device_of, is_array
from .step import Arrays, State, listed

__all__ = ["Optimizer", "check_optimizer", "loss_scale_of", "refuse_scaled", "step_where", "taken"]

Optimizer: TypeAlias = Callable[..., tuple[dict[str, Array], State]]
"""Any ``(params, grads, state, lr=...) -> (params, state)``, such as `sgd`."""


def check_optimizer(name: str, value: Any) -> Optimizer:
    """Check that ``value`` can be called as an optimizer whose rate is given at each step."""
    form = "(params, grads, state, lr=...)"
    check.function(name, value, form, "params", "grads", "state", lr=0.0)
    given = value.keywords if isinstance(value, functools.partial) else {}
    if "lr" in given:
        raise ValueError(
            f"{name}: lr={given['lr']!r} is fixed in it, and would be replaced; give it to "
            "train, lr=..."
        )
    found: Optimizer = value
    return found


def taken(
    optimizer: Optimizer,
    params: Arrays,
    grads: Arrays,
    state: Any,
    lr: Any,
    name: str = "optimizer",
) -> tuple[dict[str, Array], Any]:
    """Take a step of an inner optimizer, the argument ``name``; check what it returns."""
    returned: Any = optimizer(params, grads, state, lr=lr)
    if not isinstance(returned, (tuple, list)) or len(returned) != 2:
        raise TypeError(
            f"{name}: expected it to return (params, state), got {type(returned).__name__}"
        )
    updated, after = returned
    if not isinstance(updated, Mapping):
        got = type(updated).__name__
        raise TypeError(f"{name}: expected it to return a dict of parameters, got {got}")
    if set(updated) != set(params):
        raise ValueError(
            f"{name}: expected it to return the names {listed(params)}, got {listed(updated)}"
        )
    for key, p in params.items():
        label, other = f"{name}: what it returned as params[{key!r}]", f"params[{key!r}]"
        check_shaped(label, updated[key], tuple(p.shape), other, p)
    return dict(updated), after


def step_where(
    xp: Namespace,
    due: Array,
    first: Array,
    optimizer: Optimizer,
    params: Arrays,
    grads: Arrays,
    state: Any,
    lr: Any,
) -> tuple[dict[str, Array], Any]:
    """Take a step of an inner optimizer if the array ``due`` is true; it is not read.

    ``first`` says whether it is the first one. No state can stand for None in a compiled function,
    so before the first step ``state`` is whatever a first step would leave, and has no meaning:
    this is why a first step is computed every time.
    """
    fresh = taken(optimizer, params, grads, None, lr)
    if state is None:
        state, after = fresh[1], fresh
    else:
        later = taken(optimizer, params, grads, state, lr)
        after = _selected(xp, first, fresh[0], later[0]), _selected(xp, first, fresh[1], later[1])
    return _selected(xp, due, after[0], dict(params)), _selected(xp, due, after[1], state)


def _selected(xp: Namespace, condition: Array, one: Any, other: Any) -> Any:
    """Return the first of two trees of arrays and numbers if ``condition``, else the second."""
    if isinstance(one, Mapping) and isinstance(other, Mapping) and set(one) == set(other):
        return {key: _selected(xp, condition, one[key], other[key]) for key in one}
    if isinstance(one, (tuple, list)) and type(one) is type(other) and len(one) == len(other):
        make: Any = getattr(type(one), "_make", type(one))  # the former of a named tuple
        return make(_selected(xp, condition, *pair) for pair in zip(one, other, strict=True))
    if is_array(one) or is_array(other):
        like = one if is_array(one) else other
        a, b = (_as_array(xp, value, like) for value in (one, other))
        if a.shape == b.shape and a.dtype == b.dtype:
            return where(xp, condition, a, b)
    elif type(one) is type(other) and type(one) in (int, float):
        # With a dtype, since JAX compiles again for numbers that have none of their own.
        device = device_of(condition)
        dtype = xp.full((), one, device=device).dtype
        a, b = (xp.full((), value, dtype=dtype, device=device) for value in (one, other))
        return where(xp, condition, a, b)
    elif type(one) is type(other) and one == other:
        return one
    raise TypeError(
        "optimizer: expected a state whose structure, shapes and dtypes stay the same, got "
        f"{check.said(other)} and then {check.said(one)}"
    )


def _as_array(xp: Namespace, value: Any, like: Array) -> Array:
    return value if is_array(value) else xp.full_like(like, value)


def loss_scale_of(optimizer: Any, state: Any) -> Any:
    """Return the number or array by which an optimizer divides gradients; None if it does not."""
    while isinstance(optimizer, functools.partial):
        optimizer = optimizer.func
    found = getattr(optimizer, "loss_scale_in", None)
    return None if found is None else found(state)


def refuse_scaled(name: str, optimizer: Any, remedy: str) -> None:
    """Refuse an optimizer that divides its gradients by a loss scale."""
    if loss_scale_of(optimizer, None) is not None:
        raise ValueError(f"{name}: expected an optimizer without a loss scale; {remedy}")
