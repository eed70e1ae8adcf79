"""Learning-rate schedules: the rate as a function of the number of steps already taken.

With the options fixed by :func:`functools.partial`, a schedule is a function ``step -> lr``, which
:func:`portable_rnn.training.train` takes.
"""

import math

from ._arrays import checks as check

__all__ = ["constant", "cosine", "exponential"]


@check.named_options
def constant(step: int, *, lr: float, warmup: int = 0) -> float:
    """Return ``lr``, after a linear rise over the first ``warmup`` steps.

    Parameters
    ----------
    step : int
        Steps already taken.
    lr : float
        The rate after the warm-up, at least 0.
    warmup : int
        Steps over which the rate rises to ``lr``, in a straight line that starts above 0.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If an argument is not such a number; the message names it.

    Examples
    --------
    >>> from portable_rnn.schedules import constant
    >>> [constant(step, lr=1.0, warmup=4) for step in range(6)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 1.0]
    """
    step, warmup, lr = _checked(step, warmup, lr)
    return lr * _rise(step, warmup)


@check.named_options
def cosine(step: int, *, lr: float, steps: int, warmup: int = 0, final: float = 0.0) -> float:
    """Return a rate that falls from ``lr`` to ``final`` over ``steps``, half a cosine wave.

    Loshchilov and Hutter, arXiv 1608.03983, without restarts, after a linear rise over the
    first ``warmup`` steps.

    Parameters
    ----------
    step : int
        Steps already taken.
    lr : float
        The rate after the warm-up, at least 0.
    warmup : int
        Steps over which the rate rises to ``lr``, in a straight line that starts above 0.
    steps : int
        Steps in all, after which the rate stays at ``final``.
    final : float
        The last rate, at least 0.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If an argument is not such a number; the message names it.

    Examples
    --------
    >>> from portable_rnn.schedules import cosine
    >>> [round(cosine(step, lr=1.0, steps=4), 3) for step in range(5)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    """
    step, warmup, lr = _checked(step, warmup, lr)
    steps, final = check.count("steps", steps), check.number("final", final, least=0.0)
    if step < warmup:
        return lr * _rise(step, warmup)
    part = min(1.0, (step - warmup) / max(1, steps - warmup))
    return final + (lr - final) * 0.5 * (1.0 + math.cos(math.pi * part))


@check.named_options
def exponential(step: int, *, lr: float, rate: float, every: int = 1, warmup: int = 0) -> float:
    """Return ``lr`` multiplied by ``rate`` once every ``every`` steps.

    Parameters
    ----------
    step : int
        Steps already taken.
    lr : float
        The rate after the warm-up, at least 0.
    warmup : int
        Steps over which the rate rises to ``lr``, in a straight line that starts above 0.
    rate : float
        Factor of at least 0; below 1 for a decay.
    every : int
        Steps between two changes, at least 1.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If an argument is not such a number, or the rate becomes infinite; the message says which.

    Examples
    --------
    >>> from portable_rnn.schedules import exponential
    >>> [exponential(step, lr=1.0, rate=0.5, every=2) for step in range(5)]
    [1.0, 1.0, 0.5, 0.5, 0.25]
    """
    step, warmup, lr = _checked(step, warmup, lr)
    rate, changes = check.number("rate", rate, least=0.0), step // check.count("every", every)
    try:
        found = lr * _rise(step, warmup) * rate**changes
    except OverflowError:
        found = math.inf
    if found == math.inf:
        raise ValueError(f"rate: expected one by which lr stays finite, got {rate} at step {step}")
    return found


def _rise(step: int, warmup: int) -> float:
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def _checked(step: int, warmup: int, lr: float) -> tuple[int, int, float]:
    return (
        check.integer("step", step, least=0),
        check.integer("warmup", warmup, least=0),
        check.number("lr", lr, least=0.0),
    )
