"""Optimizers: pure functions ``(params, grads, state) -> (params, state)`` over dicts of arrays.

The state starts as None, and is a plain dict ever after: ``{"step": int, slot: {name: array}}``.
Nothing is updated in place, so what you passed in is still what it was; rules and defaults
are those of ``torch.optim``. Learning rates may be Python numbers or 0-d arrays.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from . import _check as check
from ._namespace import (
    Array,
    Namespace,
    dtype_name,
    is_array,
    is_traced,
    namespace_of,
    on_their_device,
)

__all__ = ["Optimizer", "adam", "adamw", "clip_by_global_norm", "rmsprop", "sgd"]

Arrays: TypeAlias = Mapping[str, Array]
State: TypeAlias = dict[str, Any]
Optimizer: TypeAlias = Callable[..., tuple[dict[str, Array], State]]
"""Any ``(params, grads, state, lr=...) -> (params, state)``, such as `sgd`."""


class Update(NamedTuple):
    """What the rule of an optimizer is given for one parameter."""

    xp: Namespace
    p: Array
    g: Array
    slots: tuple[Array, ...]
    step: Any  # counted from 1; an array under jax.jit
    lr: Any


Rule: TypeAlias = Callable[[Update], tuple[Array, ...]]


def sgd(
    params: Arrays,
    grads: Arrays,
    state: State | None = None,
    *,
    lr: Any,
    momentum: float = 0.0,
    nesterov: bool = False,
    weight_decay: float = 0.0,
) -> tuple[dict[str, Array], State]:
    """Take one step of stochastic gradient descent.

    Parameters
    ----------
    params, grads : dict of str to array
        Same names, shapes and dtypes.
    state : dict, optional
        As returned by the previous step; None for the first.
    lr : float, or array of shape ()
        Learning rate, at least 0.
    momentum : float in [0, 1)
        Heavy-ball momentum (Polyak 1964): ``m = momentum m + g``, ``p -= lr m``.
    nesterov : bool
        Look ahead (Nesterov 1983; Sutskever et al. 2013): ``p -= lr (g + momentum m)``.
    weight_decay : float
        Added to the gradient times the parameter.

    Returns
    -------
    params, state : dicts

    Raises
    ------
    TypeError
        If ``params`` or ``grads`` is not a dict of arrays, or their libraries or dtypes differ.
    ValueError
        If names or shapes differ, or an option is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.optimizers import sgd
    >>> params, state = sgd({"w": np.ones(2)}, {"w": np.ones(2)}, lr=0.1, momentum=0.9)
    >>> params, state = sgd(params, {"w": np.ones(2)}, state, lr=0.1, momentum=0.9)
    >>> print(params["w"])
    [0.71 0.71]
    """
    momentum = _fraction("momentum", momentum)
    weight_decay = _at_least_zero("weight_decay", weight_decay)
    if nesterov and not momentum:
        raise ValueError(f"nesterov: expected a momentum above 0, got {momentum!r}")

    def rule(u: Update) -> tuple[Array, ...]:
        g = u.g + weight_decay * u.p if weight_decay else u.g
        if not momentum:
            return (u.p - u.lr * g,)
        m = momentum * u.slots[0] + g
        return u.p - u.lr * (g + momentum * m if nesterov else m), m

    return _update(params, grads, state, lr, ("momentum",) if momentum else (), rule)


def rmsprop(
    params: Arrays,
    grads: Arrays,
    state: State | None = None,
    *,
    lr: Any = 1e-2,
    alpha: float = 0.99,
    eps: float = 1e-8,
) -> tuple[dict[str, Array], State]:
    """Take one step of RMSProp (Hinton 2012): ``p -= lr g / (sqrt(v) + eps)``.

    Parameters
    ----------
    params, grads, state, lr
        As for `sgd`.
    alpha : float in [0, 1)
        Decay of the mean square: ``v = alpha v + (1 - alpha) g**2``.
    eps : float
        Keeps the quotient finite.

    Returns
    -------
    params, state : dicts

    Raises
    ------
    ValueError
        If names or shapes differ, or an option is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.optimizers import rmsprop
    >>> params, state = rmsprop({"w": np.ones(2)}, {"w": np.ones(2)}, lr=0.01)
    >>> print(params["w"].round(6))
    [0.9 0.9]
    """
    alpha, eps = _fraction("alpha", alpha), _at_least_zero("eps", eps)

    def rule(u: Update) -> tuple[Array, ...]:
        v = alpha * u.slots[0] + (1.0 - alpha) * u.g * u.g
        return u.p - u.lr * u.g / (u.xp.sqrt(v) + eps), v

    return _update(params, grads, state, lr, ("mean_square",), rule, eps=eps)


def adam(
    params: Arrays,
    grads: Arrays,
    state: State | None = None,
    *,
    lr: Any = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
) -> tuple[dict[str, Array], State]:
    """Take one step of Adam (Kingma and Ba, arXiv 1412.6980).

    Parameters
    ----------
    params, grads, state, lr
        As for `sgd`.
    betas : pair of floats in [0, 1)
        Decay of the mean and of the mean square of the gradient.
    eps : float
        Keeps the quotient finite.

    Returns
    -------
    params, state : dicts

    Raises
    ------
    ValueError
        If names or shapes differ, or an option is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.optimizers import adam
    >>> params, state = adam({"w": np.ones(2)}, {"w": np.full(2, 5.0)}, lr=0.1)
    >>> print(params["w"].round(6), state["step"])
    [0.9 0.9] 1
    """
    return adamw(params, grads, state, lr=lr, betas=betas, eps=eps, weight_decay=0.0)


def adamw(
    params: Arrays,
    grads: Arrays,
    state: State | None = None,
    *,
    lr: Any = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 1e-2,
) -> tuple[dict[str, Array], State]:
    """Take one step of Adam with decoupled weight decay (Loshchilov and Hutter, 1711.05101).

    Parameters
    ----------
    params, grads, state, lr, betas, eps
        As for `adam`.
    weight_decay : float
        The parameters shrink by the factor ``1 - lr weight_decay`` first.

    Returns
    -------
    params, state : dicts

    Raises
    ------
    ValueError
        If names or shapes differ, or an option is out of range.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.optimizers import adamw
    >>> params, _ = adamw({"w": np.ones(2)}, {"w": np.full(2, 5.0)}, lr=0.1, weight_decay=0.5)
    >>> print(params["w"].round(6))
    [0.85 0.85]
    """
    beta1, beta2 = (_fraction("betas", beta) for beta in betas)
    eps, weight_decay = _at_least_zero("eps", eps), _at_least_zero("weight_decay", weight_decay)

    def rule(u: Update) -> tuple[Array, ...]:
        mean = beta1 * u.slots[0] + (1.0 - beta1) * u.g
        square = beta2 * u.slots[1] + (1.0 - beta2) * u.g * u.g
        bias1, bias2 = (_bias_correction(u, beta) for beta in (beta1, beta2))
        p = u.p - u.lr * weight_decay * u.p if weight_decay else u.p
        return p - u.lr / bias1 * mean / (u.xp.sqrt(square / bias2) + eps), mean, square

    return _update(params, grads, state, lr, ("mean", "mean_square"), rule, eps=eps)


@on_their_device
def clip_by_global_norm(grads: Arrays, max_norm: float) -> tuple[dict[str, Array], Array]:
    """Scale all gradients by one factor so that their joint 2-norm is at most ``max_norm``.

    Pascanu, Mikolov, Bengio, arXiv 1211.5063. The norm is computed without overflow, so a
    gradient of 1e30 in float32 is scaled, not turned into zero.

    Parameters
    ----------
    grads : dict of str to array
    max_norm : float
        Above 0.

    Returns
    -------
    grads : dict of str to array
    norm : array, shape ()
        The norm before scaling; NaN if any gradient is infinite or NaN.

    Raises
    ------
    ValueError
        If ``max_norm`` is not above 0, or there are no gradients.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.optimizers import clip_by_global_norm
    >>> clipped, norm = clip_by_global_norm({"w": np.asarray([3.0, 4.0])}, 1.0)
    >>> print(clipped["w"], norm)
    [0.6 0.8] 5.0
    """
    max_norm = check.number("max_norm", max_norm)
    if not max_norm > 0:
        raise ValueError(f"max_norm: expected a number above 0, got {max_norm!r}")
    _check_dict("grads", grads)
    if not grads:
        raise ValueError("grads: expected at least one array, got none")
    xp = namespace_of(**{f"grads[{name!r}]": g for name, g in grads.items()})
    if empty := [name for name, g in grads.items() if 0 in g.shape]:
        raise ValueError(f"grads: expected arrays with values, got none in {', '.join(empty)}")
    peak = xp.max(xp.stack([xp.max(xp.abs(g)) for g in grads.values()]))
    unit = xp.where(peak > 0, peak, xp.ones_like(peak))
    squares = [xp.sum((g / unit) * (g / unit), dtype=g.dtype) for g in grads.values()]
    norm = xp.sqrt(xp.sum(xp.stack(squares), dtype=peak.dtype)) * unit
    limit = xp.full_like(norm, max_norm)
    # The larger of the two as divisor: the factor is 1 at most, and there is no branch.
    factor = limit / xp.max(xp.stack([norm, limit]))
    return {name: g * factor for name, g in grads.items()}, norm


@on_their_device
def _update(
    params: Arrays,
    grads: Arrays,
    state: State | None,
    lr: Any,
    slots: tuple[str, ...],
    rule: Rule,
    *,
    eps: float | None = None,
) -> tuple[dict[str, Array], State]:
    """Apply ``rule`` to every parameter, after checking that everything fits together."""
    _check_dict("params", params)
    _check_dict("grads", grads)
    xp = namespace_of(**{f"params[{name!r}]": p for name, p in params.items()})
    lr = _learning_rate(lr)
    if set(params) != set(grads):
        raise ValueError(f"grads: expected the names {', '.join(params)}, got {_listed(grads)}")
    if state is None:
        state = {"step": 0} | {
            slot: {name: xp.zeros_like(p) for name, p in params.items()} for slot in slots
        }
    _check_state(params, state, slots)
    updated: dict[str, Array] = {}
    after: State = {"step": state["step"] + 1} | {slot: {} for slot in slots}
    for name, p in params.items():
        check.shaped(f"grads[{name!r}]", grads[name], tuple(p.shape), f"params[{name!r}]", p)
        _check_eps(xp, p, eps)
        held = tuple(state[slot][name] for slot in slots)
        rate = xp.astype(lr, p.dtype) if is_array(lr) else lr
        update = Update(xp, p, grads[name], held, after["step"], rate)
        updated[name], *values = rule(update)
        for slot, value in zip(slots, values, strict=True):
            after[slot][name] = value
    return updated, after


def _check_dict(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        hint = f"; give its .{name}" if hasattr(value, name) else ""
        raise TypeError(f"{name}: expected a dict of arrays, got {type(value).__name__}{hint}")


def _check_state(params: Arrays, state: Any, slots: tuple[str, ...]) -> None:
    if not isinstance(state, Mapping) or set(state) != {"step", *slots}:
        got = ", ".join(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
        raise ValueError(
            f"state: expected the entries {', '.join(('step', *slots))} of this optimizer, "
            f"got {got}"
        )
    for slot in slots:
        if set(state[slot]) != set(params):
            raise ValueError(
                f"state[{slot!r}]: expected the names {', '.join(params)}, "
                f"got {_listed(state[slot])}"
            )


def _check_eps(xp: Namespace, p: Array, eps: float | None) -> None:
    """An eps that is 0 in the parameters' dtype turns every zero gradient into NaN."""
    if eps and eps < (least := float(xp.finfo(p.dtype).smallest_normal)):
        raise ValueError(
            f"eps: expected at least {least:.2g} for {dtype_name(p.dtype)} parameters, got {eps}"
        )


def _bias_correction(u: Update, beta: float) -> Any:
    """Return ``1 - beta**step``, which under jax.jit would cancel if computed like that."""
    if not is_array(u.step):
        return 1.0 - beta**u.step
    step = u.xp.astype(u.step, u.p.dtype)
    return -u.xp.expm1(step * math.log(beta)) if beta else u.xp.ones_like(step)


def _learning_rate(lr: Any) -> Any:
    """Return ``lr`` as a Python float, or as the traced array it is."""
    if is_array(lr) and is_traced(namespace_of(lr=lr), lr):
        return lr
    return _at_least_zero("lr", lr)


def _at_least_zero(name: str, value: Any) -> float:
    number = check.number(name, value)
    if not number >= 0:
        raise ValueError(f"{name}: expected a number of at least 0, got {value!r}")
    return number


def _fraction(name: str, value: Any) -> float:
    number = check.number(name, value)
    if not 0.0 <= number < 1.0:
        raise ValueError(f"{name}: expected a number in [0, 1), got {value!r}")
    return number


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
