"""Gradient transformations of optax as optimizers."""

import functools
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .._arrays import checks as check
from .._arrays.namespace import Array, is_array, is_jax_namespace
from .inner import Optimizer
from .step import Arrays, State, check_arrays, check_entries, checked_rate

__all__ = ["from_optax"]


@dataclass(frozen=True)
class FromOptax:
    """What `from_optax` returns; its state has the arrays of the transformation's state.

    ``options`` are what the functions of the transformation refer to: a checkpoint compares them.
    """

    transformation: Any
    options: Any = field(compare=False)

    def __call__(
        self, params: Arrays, grads: Arrays, state: State | None = None, *, lr: Any
    ) -> tuple[dict[str, Array], State]:
        """Take a step: add the updates of the transformation, times ``lr``."""
        lr = checked_rate(lr, params)
        xp, _ = check_arrays(params, grads)
        if not is_jax_namespace(xp):
            raise TypeError(
                f"params: expected arrays of JAX, which optax computes with, got {xp.__name__}"
            )
        jax = sys.modules["jax"]
        params, grads = dict(params), dict(grads)
        if state is None:
            held = self.transformation.init(params)
        else:
            check_entries(state, ("leaves",))
            held = self._restored(jax, params, state["leaves"])
        updates, held = self.transformation.update(grads, held, params)
        updated = {}
        for name, p in params.items():
            u = updates[name]
            rate = xp.astype(lr, u.dtype) if is_array(lr) else lr
            updated[name] = xp.astype(p + rate * u, p.dtype, copy=False)
        return updated, {"leaves": jax.tree_util.tree_leaves(held)}

    def _restored(self, jax: Any, params: Arrays, leaves: Any) -> Any:
        """Return the state of the transformation, whose structure follows from the parameters."""
        shaped = jax.eval_shape(self.transformation.init, params)
        wanted, structure = jax.tree_util.tree_flatten(shaped)
        shapes = [tuple(one.shape) for one in wanted]
        if (
            not isinstance(leaves, (list, tuple))
            or [tuple(getattr(one, "shape", ())) for one in leaves] != shapes
        ):
            raise ValueError(
                f"state['leaves']: expected arrays of the shapes {shapes}, those of this "
                "transformation and these parameters, got others; a state of None begins anew"
            )
        return jax.tree_util.tree_unflatten(structure, leaves)


def from_optax(transformation: Any) -> Optimizer:
    """Return an optimizer that takes the steps of a gradient transformation of optax.

    For JAX arrays. Nothing is imported: a transformation is any pair of functions ``init(params)
    -> state`` and ``update(grads, state, params) -> (updates, state)``.

    Parameters
    ----------
    transformation : optax.GradientTransformation
        With a learning rate of 1, such as ``optax.adam(1.0)``: ``lr`` multiplies its updates. (Or
        with a rate or schedule of its own, and ``lr=1.0``.)

    Returns
    -------
    optimizer : callable ``(params, grads, state, lr=...) -> (params, state)``
        Its state is a dict with a list of arrays, the leaves of that of the transformation, so it
        can be saved. A checkpoint also compares the numbers and functions that the transformation
        is made of. It can be pickled only if the transformation can. Parameters of half precision
        are updated in half precision, unless it is inside of `mixed_precision`.

    Raises
    ------
    TypeError
        If ``transformation`` is not such a pair.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> import optax
    >>> from portable_rnn.optimizers import from_optax
    >>> optimizer = from_optax(optax.chain(optax.clip(1.0), optax.sgd(1.0)))
    >>> params, state = optimizer({"w": jnp.ones(2)}, {"w": jnp.full(2, 5.0)}, None, lr=0.25)
    >>> print(params["w"])
    [0.75 0.75]
    """
    init, update = (getattr(transformation, name, None) for name in ("init", "update"))
    if isinstance(transformation, type) or not (callable(init) and callable(update)):
        raise TypeError(
            "transformation: expected a gradient transformation of optax, with functions init and "
            f"update, got {check.said(transformation)}"
        )
    check.function("transformation.init", init, "(params)", "params")
    check.function("transformation.update", update, "(grads, state, params)", "g", "s", "p")
    return FromOptax(transformation, _described((init, update), ()))


def _described(value: Any, within: tuple[int, ...]) -> Any:
    """Return what a value is made of, as names, numbers and arrays; for a function, its closure.

    ``within`` are the objects that it is part of, by identity: one that contains itself ends there.
    """
    if value is None or isinstance(value, (bool, int, float, str)) or is_array(value):
        return value
    if id(value) in within:
        return "recursive"
    within = (*within, id(value))
    if isinstance(value, (tuple, list)):
        return [_described(one, within) for one in value]
    if isinstance(value, Mapping):
        return {str(key): _described(one, within) for key, one in value.items()}
    if isinstance(value, functools.partial):
        parts = (value.func, value.args, value.keywords)
        return {"partial": [_described(one, within) for one in parts]}
    found: dict[str, Any] = {"name": getattr(value, "__qualname__", type(value).__qualname__)}
    code, closure = getattr(value, "__code__", None), getattr(value, "__closure__", None)
    for name, cell in zip(getattr(code, "co_freevars", ()), closure or (), strict=True):
        try:
            found[name] = _described(cell.cell_contents, within)
        except ValueError:  # a variable that has no value yet
            found[name] = None
    return found
