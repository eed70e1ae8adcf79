"""Optimizers: pure functions ``(params, grads, state) -> (params, state)`` over dicts of arrays.

The state starts as None, and is a plain dict from then on: ``{"step": int, slot: {name: array}}``.
Nothing is updated in place, so the arguments are unchanged; rules and defaults are those of
``torch.optim``. Learning rates may be Python numbers or 0-d arrays; one on the GPU of the
parameters is not read.

Steps are computed in float32 for parameters of float16 and bfloat16, and rounded once; their state
stays in float32. Where torch keeps the mean of squares, which is 0 or infinity for a float32
gradient of 1e-25 or 1e25, the state has its root.
"""

import math
from collections.abc import Callable
from typing import Any, TypeAlias

from ._arrays import checks as check
from ._arrays.devices import with_device_of_arguments
from ._arrays.functions import accumulation_dtype, largest_number, stack
from ._arrays.namespace import Array, Namespace, check_like, is_array, namespace_of, same_device
from ._arrays.norms import root_mean_square, square_unit_of
from ._optimizer_step import (
    Arrays,
    Rule,
    State,
    Update,
    check_dict,
    check_real,
    listed,
    stays_on_device,
    take_step,
)

__all__ = ["Optimizer", "adam", "adamw", "clip_by_global_norm", "rmsprop", "sgd"]

Optimizer: TypeAlias = Callable[..., tuple[dict[str, Array], State]]
"""Any ``(params, grads, state, lr=...) -> (params, state)``, such as `sgd`."""


@check.named_options
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
        With the same names, shapes and real floating dtypes.
    state : dict, optional
        As returned by the previous step; None for the first.
    lr : float, or array of shape ()
        Learning rate, at least 0. The value of an array on the parameters' GPU is not checked.
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
        differ, or an option has the wrong type.
    ValueError
        If names, shapes or devices differ, an option is out of range, or ``state`` belongs to
        another optimizer or other parameters.

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

    def step(u: Update) -> tuple[Array, ...]:
        g = u.g + weight_decay * u.p if weight_decay else u.g
        if not momentum:
            return (u.p - u.lr * g,)
        m = momentum * u.slots[0] + g
        if nesterov:  # not the sum of both, which may overflow although the step does not
            return u.p - u.lr * g - u.lr * momentum * m, m
        return u.p - u.lr * m, m

    slots = ("momentum",) if momentum else ()
    return take_step(params, grads, state, lr, Rule(step, slots))


@check.named_options
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

    def step(u: Update) -> tuple[Array, ...]:
        root = root_mean_square(u.xp, u.slots[0], u.g, alpha)
        return u.p - u.lr * (u.g / (root + eps)), root

    return take_step(params, grads, state, lr, Rule(step, ("root_mean_square",), eps))


@check.named_options
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


@check.named_options
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
        The parameters are multiplied by ``1 - lr weight_decay`` first.

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

    def step(u: Update) -> tuple[Array, ...]:
        mean = beta1 * u.slots[0] + (1.0 - beta1) * u.g
        root = root_mean_square(u.xp, u.slots[1], u.g, beta2)
        bias1, bias2 = (_bias_correction(u, beta) for beta in (beta1, beta2))
        bias2 = bias2**0.5
        p = u.p - u.lr * weight_decay * u.p if weight_decay else u.p
        # Both sides of the paper's quotient, mean / bias1 and root / bias2 + eps, times bias2.
        return p - u.lr * bias2 / bias1 * (mean / (root + eps * bias2)), mean, root

    slots, share = ("mean", "root_mean_square"), math.sqrt(1.0 - beta2)  # bias2 of the first step
    return take_step(params, grads, state, lr, Rule(step, slots, eps, share, counts=True))


@check.named_options
@with_device_of_arguments
def clip_by_global_norm(grads: Arrays, max_norm: Any) -> tuple[dict[str, Array], Array]:
    """Scale all gradients by one factor so that their joint 2-norm is at most ``max_norm``.

    Pascanu, Mikolov, Bengio, arXiv 1211.5063. The norm is computed without overflow, so gradients
    of any finite size are scaled, not turned into zeros. Infinite and NaN entries become NaN.

    Parameters
    ----------
    grads : dict of str to array
        Of one real floating dtype, and on one device.
    max_norm : float, or array of shape ()
        Above 0; infinity leaves the gradients as they are. An array on the gradients' GPU is not
        read, nor is its value checked.

    Returns
    -------
    grads : dict of str to array
    norm : array, shape ()
        The norm before scaling, in the gradients' dtype. Infinite if a gradient is, or if the norm
        is larger than any number of the dtype; NaN if a gradient is. (If an entry is infinite, all
        finite ones become 0: check that the norm is finite before taking a step with them.)

    Raises
    ------
    TypeError, ValueError
        If ``max_norm`` is not above 0, or ``grads`` is not a dict of one or more such arrays.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.optimizers import clip_by_global_norm
    >>> clipped, norm = clip_by_global_norm({"w": np.asarray([3.0, 4.0])}, 1.0)
    >>> print(clipped["w"], norm)
    [0.6 0.8] 5.0
    """
    on_device = stays_on_device("max_norm", max_norm, grads)
    if not on_device:
        max_norm = check.number("max_norm", max_norm, above=0.0, infinite=True)
    check_dict("grads", grads)
    if not grads:
        raise ValueError("grads: expected at least one array, got none")
    labelled = {f"grads[{name!r}]": g for name, g in grads.items()}
    xp = namespace_of(**labelled)
    other, first = next(iter(labelled.items()))
    check_real(xp, other, first)
    for label, g in labelled.items():
        if g.dtype != first.dtype or not same_device(g, first):
            check_like(label, g, other, first)
    if empty := [name for name, g in grads.items() if 0 in g.shape]:
        raise ValueError(f"grads: expected arrays with values, got none in {listed(empty)}")
    dtype = accumulation_dtype(xp, first.dtype)
    wide = {name: xp.astype(g, dtype, copy=False) for name, g in grads.items()}
    unit = square_unit_of(xp, xp.max(stack(xp, [xp.max(xp.abs(g)) for g in wide.values()])))
    squares = [xp.sum((part := g / unit) * part, dtype=dtype) for g in wide.values()]
    in_units = xp.sqrt(xp.sum(stack(xp, squares), dtype=dtype))
    norm = _product(xp, in_units, unit, dtype)
    found = xp.astype(_product(xp, norm, xp.ones_like(norm), first.dtype), first.dtype, copy=False)
    if not on_device and max_norm >= largest_number(xp, dtype):
        return dict(grads), found
    # If the norm is small enough already, divide and multiply by 1; there is no branch.
    limit = xp.astype(max_norm, dtype) if on_device else xp.full_like(norm, max_norm)
    one = xp.ones_like(norm)
    short = norm <= limit
    divisor = xp.where(short, one, unit)
    factor = xp.where(short, one, limit) / xp.where(short, one, in_units)
    scaled = {name: g / divisor * factor for name, g in wide.items()}
    return {name: xp.astype(g, first.dtype, copy=False) for name, g in scaled.items()}, found


def _product(xp: Namespace, a: Array, b: Array, dtype: Any) -> Array:
    """Return ``a b`` for numbers of at least 0; infinity beyond ``dtype``, without a warning."""
    one = xp.ones_like(a)
    beyond = a > largest_number(xp, dtype) / xp.where(b > one, b, one)
    return xp.where(beyond, xp.full_like(a, float("inf")), xp.where(beyond, one, a) * b)


def _bias_correction(u: Update, beta: float) -> Any:
    """Return ``1 - beta**step``, under jax.jit in a form without cancellation."""
    if not is_array(u.step):
        return 1.0 - beta**u.step
    step = u.xp.astype(u.step, u.p.dtype)
    return -u.xp.expm1(step * math.log(beta)) if beta else u.xp.ones_like(step)
