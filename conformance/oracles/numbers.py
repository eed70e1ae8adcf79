"""Kinds of numbers: how to make one, and the functions that the formulas need."""

import cmath
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["COMPLEX", "FLOAT", "Numbers", "digits"]


@dataclass(frozen=True)
class Numbers:
    """A kind of number with ``+ - * /``, and its transcendental functions."""

    number: Callable[[Any], Any]  # makes one from a Python number
    tanh: Callable[[Any], Any]
    exp: Callable[[Any], Any]
    log: Callable[[Any], Any]
    dtype: str = "float64"  # what NumPy holds the results in

    def sigmoid(self, a):
        return 1 / (1 + self.exp(-a))

    def relu(self, a):
        return a if a.real > 0 else 0 * a


FLOAT = Numbers(float, math.tanh, math.exp, math.log)
COMPLEX = Numbers(complex, cmath.tanh, cmath.exp, cmath.log, "complex128")


def digits(count) -> Numbers:
    """Return mpmath's numbers of ``count`` decimal digits."""
    from mpmath import MPContext

    context = MPContext()  # its own precision, whatever that of mpmath.mp is
    context.dps = count
    return Numbers(context.mpf, context.tanh, context.exp, context.log)
