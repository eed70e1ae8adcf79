"""Rules whose steps are gradients, their running means, or the signs of these."""

from typing import Any

from .._arrays import checks as check
from .._arrays.namespace import Array
from .step import Arrays, Rule, State, Update, checked_betas, take_step

__all__ = ["lion", "sgd"]


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
def lion(
    params: Arrays,
    grads: Arrays,
    state: State | None = None,
    *,
    lr: Any = 1e-4,
    betas: tuple[float, float] = (0.9, 0.99),
    weight_decay: float = 0.0,
) -> tuple[dict[str, Array], State]:
    """Take one step of Lion (Chen et al., arXiv 2302.06675): each number moves by ``lr``.

    ``p -= lr sign(beta1 m + (1 - beta1) g)``, and then ``m = beta2 m + (1 - beta2) g``.

    Parameters
    ----------
    params, grads, state, lr
        As for `sgd`. The paper advises a rate 3 to 10 times smaller than for `adamw`.
    betas : pair of floats in [0, 1)
        Weight of the mean in the step, and decay of the mean.
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
    >>> from portable_rnn.optimizers import lion
    >>> params, _ = lion({"w": np.ones(2)}, {"w": np.asarray([5.0, -1e-9])}, lr=0.1)
    >>> print(params["w"])
    [0.9 1.1]
    """
    beta1, beta2 = checked_betas(betas)
    weight_decay = check.number("weight_decay", weight_decay, least=0.0)

    def step(u: Update) -> tuple[Array, ...]:
        mean, xp = u.slots[0], u.xp
        # The sign needs neither size: small numbers are enlarged, as their parts would vanish.
        small = (xp.abs(mean) < 1.0) & (xp.abs(u.g) < 1.0)
        one = xp.ones_like(mean)
        unit = xp.where(small, 2.0**24 * one, one)
        mixed = beta1 * (mean * unit) + (1.0 - beta1) * (u.g * unit)
        # For CuPy, array-api-compat's `sign` waits for the device to find NaN.
        direction = xp.where(mixed > 0, one, xp.where(mixed < 0, -one, mixed))
        p = u.p - u.lr * weight_decay * u.p if weight_decay else u.p
        return p - u.lr * direction, beta2 * mean + (1.0 - beta2) * u.g

    return take_step(params, grads, state, lr, Rule(step, ("mean",)))
