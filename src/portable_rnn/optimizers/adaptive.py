"""Rules that divide each gradient by the root of a mean or sum of its squares."""

import math
from typing import Any

from .._arrays import checks as check
from .._arrays.namespace import Array
from .._arrays.norms import hypotenuse, root_mean_square
from .step import Arrays, Rule, State, Update, bias_correction, checked_betas, take_step

__all__ = ["adagrad", "adam", "adamw", "rmsprop"]


@check.named_options
def adagrad(
    params: Arrays,
    grads: Arrays,
    state: State | None = None,
    *,
    lr: Any = 1e-2,
    eps: float = 1e-10,
    weight_decay: float = 0.0,
) -> tuple[dict[str, Array], State]:
    """Take one step of Adagrad (Duchi et al., JMLR 12, 2011): ``p -= lr g / (r + eps)``.

    ``r`` is the root of the sum of all squares so far.

    Parameters
    ----------
    params, grads, state, lr
        As for `sgd`.
    eps : float
        Above 0; keeps the quotient finite.
    weight_decay : float
        Added to the gradient times the parameter.

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
    >>> from portable_rnn.optimizers import adagrad
    >>> params, state = adagrad({"w": np.ones(2)}, {"w": np.full(2, 3.0)}, lr=0.1)
    >>> params, state = adagrad(params, {"w": np.full(2, 4.0)}, state, lr=0.1)
    >>> print(params["w"].round(6), state["root_sum_square"]["w"])
    [0.82 0.82] [5. 5.]
    """
    eps = check.number("eps", eps, above=0.0)
    weight_decay = check.number("weight_decay", weight_decay, least=0.0)

    def step(u: Update) -> tuple[Array, ...]:
        g = u.g + weight_decay * u.p if weight_decay else u.g
        root = hypotenuse(u.xp, u.slots[0], g)
        return u.p - u.lr * (g / (root + eps)), root

    return take_step(params, grads, state, lr, Rule(step, ("root_sum_square",), eps))


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
    amsgrad: bool = False,
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
    amsgrad : bool
        Divide by the largest root of the mean square so far (Reddi et al., arXiv 1904.09237).

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
    return adamw(
        params, grads, state, lr=lr, betas=betas, eps=eps, weight_decay=0.0, amsgrad=amsgrad
    )


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
    amsgrad: bool = False,
) -> tuple[dict[str, Array], State]:
    """Take one step of Adam with decoupled weight decay (Loshchilov and Hutter, 1711.05101).

    Parameters
    ----------
    params, grads, state, lr, betas, eps, amsgrad
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
    beta1, beta2 = checked_betas(betas)
    eps = check.number("eps", eps, above=0.0)
    weight_decay = check.number("weight_decay", weight_decay, least=0.0)
    amsgrad = check.flag("amsgrad", amsgrad)

    def step(u: Update) -> tuple[Array, ...]:
        mean = beta1 * u.slots[0] + (1.0 - beta1) * u.g
        root = root_mean_square(u.xp, u.slots[1], u.g, beta2)
        divisor = u.xp.where(root > u.slots[2], root, u.slots[2]) if amsgrad else root
        bias1, bias2 = (bias_correction(u.xp, u.step, beta, u.p.dtype) for beta in (beta1, beta2))
        bias2 = bias2**0.5
        p = u.p - u.lr * weight_decay * u.p if weight_decay else u.p
        # Both sides of the paper's quotient, mean / bias1 and root / bias2 + eps, times bias2.
        moved = p - u.lr * bias2 / bias1 * (mean / (divisor + eps * bias2))
        return (moved, mean, root, divisor) if amsgrad else (moved, mean, root)

    slots = ("mean", "root_mean_square", *(("largest_root_mean_square",) if amsgrad else ()))
    share = math.sqrt(1.0 - beta2)  # bias2 of the first step
    return take_step(params, grads, state, lr, Rule(step, slots, eps, share, counts=True))
