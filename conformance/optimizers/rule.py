"""What a page of an optimizer holds."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Rule"]


@dataclass(frozen=True)
class Rule:
    """An optimizer, its formula once more, and the options with which it is tried.

    ``step(p, g, kept, step, **options)`` is one step of one number, as the paper has it: a
    parameter, its gradient, the numbers kept from the step before (a dict, empty at first), and
    the step counted from 1. It returns the parameter, and writes what is to be kept.
    """

    step: Callable[..., float]
    # By name: ordinary ones, exact in binary, with which five steps are in half precision too.
    cases: Mapping[str, Mapping[str, Any]]
    # And those with which gradients of any size are tried, from the smallest to the largest.
    any_size: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    # And those whose steps are not exact in half precision: for torch, and for strict settings.
    others: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    torch: str | None = None  # the class of torch.optim that takes the same steps

    @property
    def name(self) -> str:
        return self.step.__name__
