"""Learning-rate schedules: the rate as a function of the number of steps already taken.

Fix the options with :func:`functools.partial` and what is left, ``step -> lr``, is what
:func:`portable_rnn.training.train` takes.
"""

import math

from . import _check as check

__all__ = ["constant", "cosine", "exponential"]


def constant(step: int, *, lr: float, warmup: int = 0) -> float:
    """Return ``lr``, after a linear rise over the first ``warmup`` steps.

    Parameters
    ----------
    step : int
        Steps already taken.
    lr : float
        The rate after the warm-up.
    warmup : int
        Steps over which the rate rises to ``lr``, in a straight line that starts above 0.

    Returns
    -------
    float

    Examples
    --------
    >>> from portable_rnn.schedules import constant
    >>> [constant(step, lr=1.0, warmup=4) for step in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """
    return lr * _rise(step, warmup)


def cosine(step: int, *, lr: float, steps: int, warmup: int = 0, final: float = 0.0) -> float:
    """Return a rate that falls from ``lr`` to ``final`` over ``steps``, half a cosine wave.

    Loshchilov and Hutter, arXiv 1608.03983, without restarts, after a linear rise over the
    first ``warmup`` steps.

    Parameters
    ----------
    step : int
        Steps already taken.
    lr : float
        The rate after the warm-up.
    warmup : int
        Steps over which the rate rises to ``lr``, in a straight line that starts above 0.
    steps : int
        Steps in all, after which the rate stays at ``final``.
    final : float
        The last rate.

    Returns
    -------
    float

    Examples
    --------
    >>> from portable_rnn.schedules import cosine
    >>> [round(cosine(step, lr=1.0, steps=4), 3) for step in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    """
    if step < warmup:
        return lr * _rise(step, warmup)
    part = min(1.0, (step - warmup) / max(1, steps - warmup))
    return final + (lr - final) * 0.5 * (1.0 + math.cos(math.pi * part))


def exponential(step: int, *, lr: float, rate: float, every: int = 1, warmup: int = 0) -> float:
    """Return ``lr`` multiplied by ``rate`` once every ``every`` steps.

    Parameters
    ----------
    step : int
        Steps already taken.
    lr : float
        The rate after the warm-up.
    warmup : int
        Steps over which the rate rises to ``lr``, in a straight line that starts above 0.
    rate : float
        Factor, below 1 to fall.
    every : int
        Steps between two changes, at least 1.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If ``every`` is below 1.

    Examples
    --------
    >>> from portable_rnn.schedules import exponential
    >>> [exponential(step, lr=1.0, rate=0.5, every=2) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    return lr * _rise(step, warmup) * rate ** (step // check.count("every", every))


def _rise(step: int, warmup: int) -> float:
    return min(1.0, (step + 1) / warmup) if warmup else 1.0
