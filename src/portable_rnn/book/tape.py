"""Reverse-mode differentiation of scalars, on Python's own decimal numbers.

The independent value of every quantity comes from here. It must share no code with the
library and no formula with the derivation, be exact compared with float64, and need nothing
that is not installed with Python: so not autodiff of another array library (it rounds as we do),
not symbolic differentiation (its expressions grow with every step), and not mpmath (one more
package, while the decimals of the standard library, written in C, have any precision).

A tape knows only sums of products, quotients, exp, ln and tanh, with their derivatives, and
nothing of networks, softmax or equations.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal

__all__ = ["Number", "Tape"]


@dataclass(frozen=True, eq=False)
class Number:
    """A value, its place on the tape, and its derivatives with respect to its operands."""

    value: Decimal
    place: int
    slopes: tuple[tuple["Number", Decimal], ...]


class Tape:
    """Numbers in the order in which they were computed, so that operands come first."""

    def __init__(self) -> None:
        self._numbers: list[Number] = []

    def number(self, value: Decimal, *slopes: tuple[Number, Decimal]) -> Number:
        """Put a number on the tape."""
        made = Number(value, len(self._numbers), slopes)
        self._numbers.append(made)
        return made

    def copy(self, a: Number) -> Number:
        """Return a number with the same value, to distinguish the uses of ``a``."""
        return self.number(a.value, (a, Decimal(1)))

    def plus(self, start: Number | None, *pairs: Iterable[tuple[Number, Number]]) -> Number:
        """Return the sum of ``start`` and all products of the pairs."""
        value = Decimal(0) if start is None else start.value
        slopes = [] if start is None else [(start, Decimal(1))]
        for group in pairs:
            for a, b in group:
                value += a.value * b.value
                slopes += [(a, b.value), (b, a.value)]
        return self.number(value, *slopes)

    def total(self, terms: Iterable[Number]) -> Number:
        """Return the sum."""
        terms = list(terms)
        value = sum((a.value for a in terms), Decimal(0))
        return self.number(value, *((a, Decimal(1)) for a in terms))

    def divide(self, a: Number, b: Number) -> Number:
        """Return ``a / b``."""
        ratio = a.value / b.value
        return self.number(ratio, (a, 1 / b.value), (b, -ratio / b.value))

    def exp(self, a: Number) -> Number:
        """Return ``e**a``."""
        value = a.value.exp()
        return self.number(value, (a, value))

    def ln(self, a: Number) -> Number:
        """Return the natural logarithm."""
        return self.number(a.value.ln(), (a, 1 / a.value))

    def tanh(self, a: Number) -> Number:
        """Return ``±(1 - e) / (1 + e)``, ``e = exp(-2|a|)``; its slope is ``4e / (1 + e)**2``."""
        e = (-2 * abs(a.value)).exp()  # at most 1, so that nothing overflows
        value = ((1 - e) / (1 + e)).copy_sign(a.value)
        return self.number(value, (a, 4 * e / (1 + e) ** 2))

    def slopes_of(self, result: Number, down_to: int = 0) -> list[Decimal]:
        """Return the derivative of ``result`` with respect to every number before it, by place.

        The list begins with place ``down_to``; numbers before that are ignored.
        """
        found = [Decimal(0)] * (result.place + 1 - down_to)
        found[-1] = Decimal(1)
        for number in reversed(self._numbers[down_to : result.place + 1]):
            if slope := found[number.place - down_to]:
                for parent, factor in number.slopes:
                    if parent.place >= down_to:
                        found[parent.place - down_to] += factor * slope
        return found
