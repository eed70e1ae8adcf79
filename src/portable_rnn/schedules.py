"""Learning-rate schedules: the rate as a function of the number of steps already taken.

With the options fixed by :func:`functools.partial`, a schedule is a function ``step -> lr``, which
:func:`portable_rnn.training.train` takes. One that has an argument ``run``, as `plateau`, is given
the state of the run too.
"""

import math
from collections.abc import Callable
from typing import Any

from ._arrays import checks as check

__all__ = ["constant", "cosine", "exponential", "linear_warmup", "one_cycle", "plateau"]


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
    part = (step - warmup) / (steps - warmup) if step < steps else 1.0
    return _half_wave(lr, final, part)


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


@check.named_options
def linear_warmup(step: int, *, schedule: Callable[[int], float], warmup: int) -> float:
    """Return the rate of another schedule, after a linear rise to its first one.

    Parameters
    ----------
    step : int
        Steps already taken.
    schedule : callable from the step to a float
        It counts its steps from the end of the rise: its own 0 is the step ``warmup``.
    warmup : int
        Steps over which the rate rises, in a straight line that starts above 0.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If an argument is not such a number or function, or the function does not return a number
        of at least 0; the message names it.

    Examples
    --------
    >>> from functools import partial
    >>> from portable_rnn.schedules import exponential, linear_warmup
    >>> lr = partial(linear_warmup, schedule=partial(exponential, lr=1.0, rate=0.5), warmup=4)
    >>> [lr(step) for step in range(7)]
    [0.25, 0.5, 0.75, 1.0, 1.0, 0.5, 0.25]
    """
    step = check.integer("step", step, least=0)
    warmup = check.integer("warmup", warmup, least=0)
    check.function("schedule", schedule, "(step)", "step")
    rate = check.number("schedule", schedule(max(0, step - warmup)), least=0.0)
    return rate * _rise(step, warmup)


@check.named_options
def one_cycle(
    step: int,
    *,
    lr: float,
    steps: int,
    pct_start: float = 0.3,
    div_factor: float = 25.0,
    final_div_factor: float = 1e4,
) -> float:
    """Return a rate that rises to ``lr`` and then falls to almost 0, each half a cosine wave.

    Smith and Topin, arXiv 1708.07120, as ``torch.optim.lr_scheduler.OneCycleLR``.

    Parameters
    ----------
    step : int
        Steps already taken.
    lr : float
        The largest rate, at least 0.
    steps : int
        Steps in all, after which the rate keeps its last value.
    pct_start : float in [0, 1]
        The part of the steps in which it rises.
    div_factor : float
        The first rate is ``lr / div_factor``; above 0.
    final_div_factor : float
        The last rate is the first one over this; above 0.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If an argument is not such a number; the message names it.

    Examples
    --------
    >>> from portable_rnn.schedules import one_cycle
    >>> [round(one_cycle(step, lr=1.0, steps=10), 3) for step in range(10)]
    [0.04, 0.52, 1.0, 0.95, 0.812, 0.611, 0.389, 0.188, 0.05, 0.0]
    """
    step, _, lr = _checked(step, 0, lr)
    steps = check.count("steps", steps)
    rise = check.number("pct_start", pct_start, least=0.0, most=1.0) * steps - 1.0
    first = lr / check.number("div_factor", div_factor, above=0.0)
    last = first / check.number("final_div_factor", final_div_factor, above=0.0)
    step = min(step, steps - 1)
    if step <= rise:
        return _half_wave(first, lr, step / rise if rise else 1.0)
    return _half_wave(lr, last, (step - rise) / (steps - 1 - rise))


@check.named_options
def plateau(
    step: int,
    *,
    run: Any,
    lr: float,
    factor: float = 0.1,
    patience: int = 10,
    final: float = 0.0,
    warmup: int = 0,
) -> float:
    """Return ``lr``, multiplied by ``factor`` whenever evaluations stop improving.

    As ``torch.optim.lr_scheduler.ReduceLROnPlateau`` with a threshold of 0: the rate changes after
    ``patience`` evaluations without a new best, and again after as many more. (torch allows one
    more than its ``patience``.) All it needs is in the run, and so in its checkpoints: a resumed
    run has the same rates.

    Parameters
    ----------
    step : int
        Steps already taken.
    run : Run
        Given by :func:`portable_rnn.training.train`, whose validation batches are evaluated. The
        last rate is read from it: a callback that sets ``run.learning_rate`` sets that of the
        steps to come.
    lr : float
        The rate after the warm-up, at least 0.
    factor : float in [0, 1]
    patience : int
        At least 1.
    final : float
        The rate is not lowered further than this.
    warmup : int
        Steps over which the rate rises to ``lr``, in a straight line that starts above 0; before
        its end it is not lowered.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If an argument is not such a number, or ``run`` is not a run with evaluations; the message
        names it.

    Examples
    --------
    >>> from functools import partial
    >>> from portable_rnn.schedules import plateau
    >>> lr = partial(plateau, lr=0.01, factor=0.5, patience=3)  # an argument of `train`
    """
    step, warmup, lr = _checked(step, warmup, lr)
    factor = check.number("factor", factor, least=0.0, most=1.0)
    patience = check.count("patience", patience)
    final = check.number("final", final, least=0.0)
    names = ("learning_rate", "best_step", "evaluate_every")
    rate, best_step, every = (getattr(run, name, None) for name in names)
    if rate is None or best_step is None or every is None:
        got = "none" if every is None and rate is not None else check.said(run)
        raise ValueError(f"run: expected that of train, with validation batches, got {got}")
    if step <= warmup:
        return lr * _rise(step, warmup)
    # Evaluations are made after every so many steps, and one has just been made if this is one.
    waited = step - best_step
    if step % every == 0 and waited > 0 and waited % (patience * every) == 0:
        rate = max(rate * factor, min(rate, final))
    return float(rate)


def _half_wave(start: float, end: float, part: float) -> float:
    return end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * part))


def _rise(step: int, warmup: int) -> float:
    return min(1.0, (step + 1) / warmup) if warmup else 1.0


def _checked(step: int, warmup: int, lr: float) -> tuple[int, int, float]:
    return (
        check.integer("step", step, least=0),
        check.integer("warmup", warmup, least=0),
        check.number("lr", lr, least=0.0),
    )
