"""Optimizers made of others, and plain versions of them that follow one number.

A plain optimizer is made for one number and takes ``(p, g)`` to the next ``p``.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from portable_rnn.optimizers import (
    accumulate,
    adam,
    by_name,
    clip_norm,
    ema,
    mixed_precision,
    scale_lr,
    sgd,
)

from .optimizers import RULES

__all__ = ["CASES", "COMBINATORS", "Case"]

LR = 0.125
Plain = Callable[[float, float], float]


def rule(name: str, *, lr: float = LR, **options: Any) -> Callable[[], Plain]:
    """Return a maker of plain optimizers that follow a rule."""

    def make() -> Plain:
        kept: dict[str, float] = {}
        taken = [0]

        def step(p: float, g: float) -> float:
            taken[0] += 1
            return RULES[name].step(p, g, kept, taken[0], lr=lr, **options)

        return step

    return make


def by_chunks(inner: Callable[[], Plain], every: int) -> Callable[[], Plain]:
    """Return a maker of plain optimizers that step with the mean of each few gradients."""

    def make() -> Plain:
        waiting: list[float] = []
        own = inner()

        def step(p: float, g: float) -> float:
            waiting.append(g)
            if len(waiting) < every:
                return p
            mean = math.fsum(waiting) / every
            waiting.clear()
            return own(p, mean)

        return step

    return make


def frozen() -> Plain:
    return lambda p, g: p


@dataclass(frozen=True)
class Case:
    """An optimizer, and what it does to the parameters ``weight`` and ``bias``.

    Attributes
    ----------
    optimizer : callable
    weight, bias : callables
        Make the plain optimizer of each number.
    max_norm : float, optional
        Gradients of ``weight`` are clipped to this joint norm first.
    scales : tuple of float
        If gradients are scaled, by how much at each step; NaN where one is not finite.
    """

    optimizer: Any
    weight: Callable[[], Plain]
    bias: Callable[[], Plain]
    max_norm: float | None = None
    scales: tuple[float, ...] = ()


HEAVY: dict[str, Any] = {"momentum": 0.75}
ADAM: dict[str, Any] = {"betas": (0.75, 0.875), "eps": 2.0**-8}
heavy = functools.partial(sgd, **HEAVY)
own_adam = functools.partial(adam, **ADAM)
CASES = {
    "nested": Case(
        ema(
            by_name(
                {
                    "bias": scale_lr(accumulate(own_adam, 2), 0.5),
                    "*": clip_norm(heavy, 2.0),
                }
            ),
            0.75,
            debias=True,
        ),
        rule("sgd", **HEAVY),
        by_chunks(rule("adam", lr=LR / 2, **ADAM), 2),
        max_norm=2.0,
    ),
    # The first gradient is not finite, and so is the fourth; in between the scale grows once.
    "dynamic": Case(
        mixed_precision(accumulate(own_adam, 2), loss_scale=8.0, growth_interval=2),
        by_chunks(rule("adam", **ADAM), 2),
        by_chunks(rule("adam", **ADAM), 2),
        scales=(math.nan, 4.0, 4.0, math.nan, 4.0, 4.0, 8.0),
    ),
    "scaled": Case(
        mixed_precision(heavy, loss_scale=4.0),
        rule("sgd", **HEAVY),
        rule("sgd", **HEAVY),
        scales=(4.0,) * 4,
    ),
    "average": Case(ema(heavy, 0.75), rule("sgd", **HEAVY), rule("sgd", **HEAVY)),
    "frozen": Case(
        by_name({"w?ight": heavy, "[ab]*": None}),
        rule("sgd", **HEAVY),
        frozen,
    ),
}
COMBINATORS = {"accumulate", "by_name", "clip_norm", "ema", "mixed_precision", "scale_lr"}
