"""Optimizers: pure functions ``(params, grads, state) -> (params, state)`` over dicts of arrays.

The state starts as None, and is a plain dict ever after: ``{"step": int, slot: {name: array}}``.
Nothing is updated in place, so what you passed in is still what it was; rules and defaults
are those of ``torch.optim``. Learning rates may be Python numbers or 0-d arrays.

Steps are computed in float32 for parameters of float16 and bfloat16, and rounded once; what the
state holds of them is float32 and stays so. Where torch keeps the mean of squares, which a float32
gradient of 1e-25 or 1e25 leaves with 0 or infinity, the state has its root.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral
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
    same_device,
    wider,
)
from .norms import root_mean_square, square_unit_of

__all__ = ["Optimizer", "adam", "adamw", "clip_by_global_norm", "rmsprop", "sgd"]

Arrays: TypeAlias = Mapping[str, Array]
State: TypeAlias = dict[str, Any]
Optimizer: TypeAlias = Callable[..., tuple[dict[str, Array], State]]
"""Any ``(params, grads, state, lr=...) -> (params, state)``, such as `sgd`."""


class Update(NamedTuple):
    """What the rule of an optimizer is given for one parameter; no array is of half precision."""

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
        Same names, shapes and dtypes, which are real floating ones.
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
        If ``params`` or ``grads`` is not a dict of floating arrays, or their libraries or dtypes
        differ, or an option is of another type.
    ValueError
        If names, shapes or devices differ, an option is out of range, or ``state`` is of another
        optimizer or other parameters.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.optimizers import sgd
    >>> params, state = sgd({"w": np.ones(2)}, {"w": np.ones(2)}, lr=0.1, momentum=0.9)
    >>> params, state = sgd(params, {"w": np.ones(2)}, state, lr=0.1, momentum=0.9)
    >>> print(params["w"])
    [0.71 0.71]
    """
    momentum = check.number("momentum", momentum, least=0.0, below=1.0)
    weight_decay = check.number("weight_decay", weight_decay, least=0.0)
    if check.flag("nesterov", nesterov) and not momentum:
        raise ValueError(f"nesterov: expected a momentum above 0, got {momentum!r}")

    def rule(u: Update) -> tuple[Array, ...]:
        g = u.g + weight_decay * u.p if weight_decay else u.g
        if not momentum:
            return (u.p - u.lr * g,)
        m = momentum * u.slots[0] + g
        if nesterov:  # not their sum, which may be too large although the step is not
            return u.p - u.lr * g - u.lr * momentum * m, m
        return u.p - u.lr * m, m

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
    """Take one step of RMSProp (Hinton 2012): ``p -= lr g / (r + eps)``.

    Parameters
    ----------
    params, grads, state, lr
        As for `sgd`.
    alpha : float in [0, 1)
        Decay of the mean square: ``r**2 = alpha r**2 + (1 - alpha) g**2``.
    eps : float
        Above 0; keeps the quotient finite.

    Returns
    -------
    params, state : dicts

    Raises
    ------
    TypeError, ValueError
        As `sgd` does.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.optimizers import rmsprop
    >>> params, state = rmsprop({"w": np.ones(2)}, {"w": np.ones(2)}, lr=0.01)
    >>> print(params["w"].round(6))
    [0.9 0.9]
    """
    alpha = check.number("alpha", alpha, least=0.0, below=1.0)
    eps = check.number("eps", eps, above=0.0)

    def rule(u: Update) -> tuple[Array, ...]:
        root = root_mean_square(u.xp, u.slots[0], u.g, alpha)
        return u.p - u.lr * (u.g / (root + eps)), root

    return _update(params, grads, state, lr, ("root_mean_square",), rule, eps=eps)


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
        Above 0; keeps the quotient finite.

    Returns
    -------
    params, state : dicts

    Raises
    ------
    TypeError, ValueError
        As `sgd` does.

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
    TypeError, ValueError
        As `sgd` does.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.optimizers import adamw
    >>> params, _ = adamw({"w": np.ones(2)}, {"w": np.full(2, 5.0)}, lr=0.1, weight_decay=0.5)
    >>> print(params["w"].round(6))
    [0.85 0.85]
    """
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise TypeError(f"betas: expected a pair of numbers in [0, 1), got {check.said(betas)}")
    beta1, beta2 = (
        check.number(f"betas[{i}]", beta, least=0.0, below=1.0) for i, beta in enumerate(betas)
    )
    eps = check.number("eps", eps, above=0.0)
    weight_decay = check.number("weight_decay", weight_decay, least=0.0)

    def rule(u: Update) -> tuple[Array, ...]:
        mean = beta1 * u.slots[0] + (1.0 - beta1) * u.g
        root = root_mean_square(u.xp, u.slots[1], u.g, beta2)
        bias1, bias2 = (_bias_correction(u, beta) for beta in (beta1, beta2))
        bias2 = bias2**0.5
        p = u.p - u.lr * weight_decay * u.p if weight_decay else u.p
        # Both sides of the paper's quotient, mean / bias1 and root / bias2 + eps, times bias2.
        return p - u.lr * bias2 / bias1 * (mean / (root + eps * bias2)), mean, root

    slots, share = ("mean", "root_mean_square"), math.sqrt(1.0 - beta2)  # bias2 of the first step
    return _update(params, grads, state, lr, slots, rule, eps=eps, share=share)


@on_their_device
def clip_by_global_norm(grads: Arrays, max_norm: float) -> tuple[dict[str, Array], Array]:
    """Scale all gradients by one factor so that their joint 2-norm is at most ``max_norm``.

    Pascanu, Mikolov, Bengio, arXiv 1211.5063. The norm is computed without overflow, so gradients
    of any finite size are scaled, not turned into zeros. What is infinite or NaN becomes NaN.

    Parameters
    ----------
    grads : dict of str to array
        Of one real floating dtype, and on one device.
    max_norm : float
        Above 0; infinity leaves the gradients as they are.

    Returns
    -------
    grads : dict of str to array
    norm : array, shape ()
        The norm before scaling, of the gradients' dtype. Infinite if a gradient is, or if the norm
        is larger than any number of the dtype; NaN if a gradient is. (If one is infinite, all that
        are finite become 0: see that the norm is finite before a step is taken with them.)

    Raises
    ------
    TypeError, ValueError
        If ``max_norm`` is not above 0, or ``grads`` not a dict of such arrays, with at least one.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.optimizers import clip_by_global_norm
    >>> clipped, norm = clip_by_global_norm({"w": np.asarray([3.0, 4.0])}, 1.0)
    >>> print(clipped["w"], norm)
    [0.6 0.8] 5.0
    """
    max_norm = check.number("max_norm", max_norm, above=0.0, infinite=True)
    _check_dict("grads", grads)
    if not grads:
        raise ValueError("grads: expected at least one array, got none")
    labelled = {f"grads[{name!r}]": g for name, g in grads.items()}
    xp = namespace_of(**labelled)
    other, first = next(iter(labelled.items()))
    _check_real(xp, other, first)
    for label, g in labelled.items():
        if g.dtype != first.dtype or not same_device(g, first):
            check.like(label, g, other, first)
    if empty := [name for name, g in grads.items() if 0 in g.shape]:
        raise ValueError(f"grads: expected arrays with values, got none in {_listed(empty)}")
    dtype = wider(xp, first.dtype)
    wide = {name: xp.astype(g, dtype, copy=False) for name, g in grads.items()}
    unit = square_unit_of(xp, xp.max(xp.stack([xp.max(xp.abs(g)) for g in wide.values()])))
    squares = [xp.sum((part := g / unit) * part, dtype=dtype) for g in wide.values()]
    in_units = xp.sqrt(xp.sum(xp.stack(squares), dtype=dtype))
    norm = _product(xp, in_units, unit, dtype)
    found = xp.astype(_product(xp, norm, xp.ones_like(norm), first.dtype), first.dtype, copy=False)
    if max_norm >= float(xp.finfo(dtype).max):
        return dict(grads), found
    # Where they are short enough already, divided and multiplied by 1; there is no branch.
    limit, one = xp.full_like(norm, max_norm), xp.ones_like(norm)
    short = norm <= limit
    divisor = xp.where(short, one, unit)
    factor = xp.where(short, one, limit) / xp.where(short, one, in_units)
    scaled = {name: g / divisor * factor for name, g in wide.items()}
    return {name: xp.astype(g, first.dtype, copy=False) for name, g in scaled.items()}, found


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
    share: float = 1.0,
) -> tuple[dict[str, Array], State]:
    """Apply ``rule`` to every parameter, after checking that everything fits together.

    Of ``eps`` the rule adds as little as its ``share``.
    """
    lr = _learning_rate(lr)
    xp, wide = _check_arrays(params, grads, eps, share)
    if state is None:
        state = {"step": 0} | {
            slot: {
                name: xp.zeros_like(xp.astype(p, wide[name], copy=False))
                for name, p in params.items()
            }
            for slot in slots
        }
    else:
        state = _checked_state(xp, params, state, slots, wide)
    updated: dict[str, Array] = {}
    after: State = {"step": state["step"] + 1} | {slot: {} for slot in slots}
    for name, p in params.items():
        held = tuple(state[slot][name] for slot in slots)
        p_wide, g = (xp.astype(a, wide[name], copy=False) for a in (p, grads[name]))
        rate = xp.astype(lr, wide[name]) if is_array(lr) else lr
        new, *values = rule(Update(xp, p_wide, g, held, after["step"], rate))
        updated[name] = xp.astype(new, p.dtype, copy=False)
        for slot, value in zip(slots, values, strict=True):
            after[slot][name] = value
    return updated, after


def _product(xp: Namespace, a: Array, b: Array, dtype: Any) -> Array:
    """Return ``a b``, of numbers of at least 0; infinity beyond ``dtype``, without a warning."""
    one = xp.ones_like(a)
    beyond = a > float(xp.finfo(dtype).max) / xp.where(b > one, b, one)
    return xp.where(beyond, xp.full_like(a, float("inf")), xp.where(beyond, one, a) * b)


def _check_dict(name: str, value: Any) -> None:
    if not isinstance(value, Mapping):
        hint = f"; give its .{name}" if hasattr(value, name) else ""
        raise TypeError(f"{name}: expected a dict of arrays, got {type(value).__name__}{hint}")


def _check_arrays(
    params: Arrays, grads: Arrays, eps: float | None, share: float
) -> tuple[Namespace, dict[str, Any]]:
    """Check parameters and gradients; return their namespace, and the dtype of each one's step."""
    _check_dict("params", params)
    _check_dict("grads", grads)
    xp = namespace_of(**{f"params[{name!r}]": p for name, p in params.items()})
    if set(params) != set(grads):
        raise ValueError(f"grads: expected the names {_listed(params)}, got {_listed(grads)}")
    wide: dict[Any, Any] = {}
    for name, p in params.items():
        label = f"params[{name!r}]"
        if p.dtype not in wide:
            _check_real(xp, label, p)
            wide[p.dtype] = wider(xp, p.dtype)
            if eps is not None:
                _check_eps(xp, p, eps, share)
        if not _alike(grads[name], p, p.dtype):
            check.shaped(f"grads[{name!r}]", grads[name], tuple(p.shape), label, p)
    return xp, {name: wide[p.dtype] for name, p in params.items()}


def _alike(array: Any, p: Array, dtype: Any) -> bool:
    """Tell in little time that an array needs no closer look."""
    alike = type(array) is type(p) and array.shape == p.shape and array.dtype == dtype
    return alike and same_device(array, p)


def _check_real(xp: Namespace, name: str, array: Array) -> None:
    try:
        real = xp.isdtype(array.dtype, "real floating")
    except TypeError:  # a dtype the library does not call its own, such as ml_dtypes'
        real = False
    if not real:
        raise TypeError(f"{name}: expected a real floating dtype, got {dtype_name(array.dtype)}")


def _checked_state(
    xp: Namespace, params: Arrays, state: Any, slots: tuple[str, ...], wide: Mapping[str, Any]
) -> State:
    """Return a state, if it is of this optimizer and of these parameters."""
    if not isinstance(state, Mapping) or set(state) != {"step", *slots}:
        got = ", ".join(map(str, state)) if isinstance(state, Mapping) else type(state).__name__
        raise ValueError(
            f"state: expected the entries {', '.join(('step', *slots))} of this optimizer, "
            f"got {got}"
        )
    step = _checked_step(xp, state["step"])
    for slot in slots:
        held = state[slot]
        if not isinstance(held, Mapping):
            raise TypeError(
                f"state[{slot!r}]: expected a dict of arrays, got {type(held).__name__}"
            )
        if set(held) != set(params):
            raise ValueError(
                f"state[{slot!r}]: expected the names {_listed(params)}, got {_listed(held)}"
            )
        for name, p in params.items():
            if _alike(held[name], p, wide[name]):
                continue
            label, array = f"state[{slot!r}][{name!r}]", held[name]
            check.an_array(label, array)
            check.of_shape(label, array, tuple(p.shape))
            check.beside(label, array, f"params[{name!r}]", p)
            if array.dtype != wide[name]:
                raise TypeError(
                    f"{label}: expected dtype {dtype_name(wide[name])} for {dtype_name(p.dtype)} "
                    f"parameters, got {dtype_name(array.dtype)}"
                )
    return {**state, "step": step}


def _checked_step(xp: Namespace, step: Any) -> Any:
    """Return the number of steps taken; of an array, which may be traced, no value is read."""
    name = "state['step']"
    # NumPy's integers are such, and to array libraries arrays of NumPy as well.
    if isinstance(step, Integral) or not is_array(step) or namespace_of(**{name: step}) is not xp:
        return check.integer(name, step, least=0)
    if step.shape or not xp.isdtype(step.dtype, "integral"):
        raise TypeError(
            "state['step']: expected an int, or an integer array of shape (), got "
            f"{dtype_name(step.dtype)} of shape {tuple(step.shape)}"
        )
    return step


def _check_eps(xp: Namespace, p: Array, eps: float, share: float) -> None:
    """An eps that is 0 in the dtype of the step turns every zero gradient into NaN."""
    wide = wider(xp, p.dtype)
    if eps < (least := float(xp.finfo(wide).smallest_normal) / share):
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
    if is_array(lr) and is_traced(xp := namespace_of(lr=lr), lr):
        if lr.shape or not xp.isdtype(lr.dtype, ("integral", "real floating")):
            raise TypeError(
                "lr: expected a number or an array of shape (), got "
                f"{dtype_name(lr.dtype)} of shape {tuple(lr.shape)}"
            )
        return lr
    return check.number("lr", lr, least=0.0)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(map(str, names)) or "none"
