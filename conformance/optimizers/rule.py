"""The contents of an optimizer's page."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Rule"]


@dataclass(frozen=True)
class Rule:
    """An optimizer, an independent version of its formula, and the options to test.

    ``step(p, g, kept, step, **options)`` is one step of one number, as in the paper: a parameter,
    its gradient, the numbers kept from the step before (a dict, empty at first), and the step
    counted from 1. It returns the new parameter, and updates ``kept``.
    """

    step: Callable[..., float]
    # By name: ordinary options, exact in binary; five steps are tested, in half precision too.
    cases: Mapping[str, Mapping[str, Any]]
    # Options for gradients of any size, from the smallest to the largest.
    any_size: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # Options whose steps are not exact in half precision: for torch, and for strict settings.
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    torch: str | None = None  # the class of torch.optim that takes the same steps
    optax: str | None = None  # the function of optax, where torch has none
    sums: bool = False  # whether the state holds a sum of gradients or of their squares
    jumps: bool = False  # whether the step of a number below those of full precision may be 0

    @property
    def name(self) -> str:
        return self.step.__name__
