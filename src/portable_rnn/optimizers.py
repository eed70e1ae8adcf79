"""Optimizers: pure functions ``(params, grads, state) -> (params, state)`` over dicts of arrays.

The state starts as None, and is a plain dict ever after: ``{"step": int, slot: {name: array}}``.
Nothing is updated in place, so what you passed in is still what it was; rules and defaults
are those of ``torch.optim``. Learning rates may be Python numbers or 0-d arrays.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from ._namespace import Array, Namespace, is_array, is_traced, namespace_of

__all__ = ["Optimizer", "adam", "adamw", "clip_by_global_norm", "rmsprop", "sgd"]

Arrays: TypeAlias = Mapping[str, Array]
State: TypeAlias = dict[str, Any]
Optimizer: TypeAlias = Callable[..., tuple[dict[str, Array], State]]
# One parameter: (xp, p, g, slots) -> (new p, new slots)
Rule: TypeAlias = Callable[[Namespace, Array, Array, tuple[Array, ...]], tuple[Array, ...]]


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
    lr : float
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
    _check_fraction("momentum", momentum)
    if nesterov and not momentum:
        raise ValueError(f"nesterov: expected a momentum above 0, got {momentum!r}")

    def rule(xp: Namespace, p: Array, g: Array, slots: tuple[Array, ...]) -> tuple[Array, ...]:
        g = g + weight_decay * p if weight_decay else g
        if not momentum:
            return (p - lr * g,)
        m = momentum * slots[0] + g
        return p - lr * (g + momentum * m if nesterov else m), m

    lr = _learning_rate(lr)
    return _update(params, grads, state, ("momentum",) if momentum else (), rule)


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
    _check_fraction("alpha", alpha)

    def rule(xp: Namespace, p: Array, g: Array, slots: tuple[Array, ...]) -> tuple[Array, ...]:
        v = alpha * slots[0] + (1.0 - alpha) * g * g
        return p - lr * g / (xp.sqrt(v) + eps), v

    lr = _learning_rate(lr)
    return _update(params, grads, state, ("mean_square",), rule)


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
    beta1, beta2 = betas
    _check_fraction("betas", beta1)
    _check_fraction("betas", beta2)
    step = (state["step"] if state else 0) + 1
    lr = _learning_rate(lr)

    def rule(xp: Namespace, p: Array, g: Array, slots: tuple[Array, ...]) -> tuple[Array, ...]:
        mean = beta1 * slots[0] + (1.0 - beta1) * g
        square = beta2 * slots[1] + (1.0 - beta2) * g * g
        # Under jax.jit the step is an array, whose dtype must not widen the parameters'.
        bias1, bias2 = (_as(xp, 1.0 - beta**step, p) for beta in betas)
        if weight_decay:
            p = p - lr * weight_decay * p
        return p - lr / bias1 * mean / (xp.sqrt(square / bias2) + eps), mean, square

    return _update(params, grads, state, ("mean", "mean_square"), rule)


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
        The norm before scaling.

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
    if not max_norm > 0:
        raise ValueError(f"max_norm: expected a number above 0, got {max_norm!r}")
    if not grads:
        raise ValueError("grads: expected at least one array, got none")
    xp = namespace_of(**{f"grads[{name!r}]": g for name, g in grads.items()})
    peak = xp.max(xp.stack([xp.max(xp.abs(g)) for g in grads.values()]))
    unit = xp.where(peak > 0, peak, xp.ones_like(peak))
    squares = [xp.sum((g / unit) * (g / unit), dtype=g.dtype) for g in grads.values()]
    norm = xp.sqrt(xp.sum(xp.stack(squares), dtype=peak.dtype)) * unit
    limit = xp.full_like(norm, float(max_norm))
    # The larger of the two as divisor: the factor is 1 at most, and there is no branch.
    factor = limit / xp.max(xp.stack([norm, limit]))
    return {name: g * factor for name, g in grads.items()}, norm


def _update(
    params: Arrays,
    grads: Arrays,
    state: State | None,
    slots: tuple[str, ...],
    rule: Rule,
) -> tuple[dict[str, Array], State]:
    """Apply ``rule`` to every parameter, after checking that the three dicts fit together."""
    xp = namespace_of(
        **{f"params[{name!r}]": p for name, p in params.items()},
        **{f"grads[{name!r}]": g for name, g in grads.items()},
    )
    if set(params) != set(grads):
        raise ValueError(f"grads: expected the names {', '.join(params)}, got {', '.join(grads)}")
    for name, p in params.items():
        if grads[name].shape != p.shape:
            raise ValueError(
                f"grads[{name!r}]: expected shape {tuple(p.shape)}, got {tuple(grads[name].shape)}"
            )
    if state is None:
        state = {"step": 0} | {
            slot: {name: xp.zeros_like(p) for name, p in params.items()} for slot in slots
        }
    if set(state) != {"step", *slots}:
        raise ValueError(
            f"state: expected the entries {', '.join(('step', *slots))} of this optimizer, "
            f"got {', '.join(map(str, state))}"
        )
    updated: dict[str, Array] = {}
    after: State = {"step": state["step"] + 1} | {slot: {} for slot in slots}
    for name, p in params.items():
        held = tuple(state[slot][name] for slot in slots)
        updated[name], *values = rule(xp, p, grads[name], held)
        for slot, value in zip(slots, values, strict=True):
            after[slot][name] = value
    return updated, after


def _learning_rate(lr: Any) -> Any:
    """Return ``lr`` as a Python float, or as the traced array it is."""
    if is_array(lr) and is_traced(namespace_of(lr=lr), lr):
        return lr
    value = float(lr)  # a NumPy scalar would widen float32 arrays
    if not value >= 0:
        raise ValueError(f"lr: expected a number of at least 0, got {lr!r}")
    return value


def _as(xp: Namespace, value: Any, like: Array) -> Any:
    return xp.astype(value, like.dtype) if is_array(value) else value


def _check_fraction(name: str, value: float) -> None:
    if not 0.0 <= value < 1.0:
        raise ValueError(f"{name}: expected a number in [0, 1), got {value!r}")
