"""Reverse-mode autodiff over scalars, after micrograd, for any kind of `Numbers`.

A `Value` is a number that records which values it was made from, each with the slope of the number
with respect to it. The tape lists the values as they are made, so each comes after its parents,
and the derivative is one walk back along it: no graph is sorted, and nothing recurses.
"""

__all__ = ["Tape", "Value"]


class Value:
    """A number on a tape; ``parents`` are pairs of a value and the slope by it."""

    __slots__ = ("data", "grad", "parents", "tape")

    def __init__(self, tape, data, parents=()):
        self.tape, self.data, self.parents, self.grad = tape, data, parents, 0
        tape.values.append(self)

    def _lift(self, other):
        return other if isinstance(other, Value) else Value(self.tape, other)

    def __add__(self, other):
        other = self._lift(other)
        return Value(self.tape, self.data + other.data, ((self, 1), (other, 1)))

    def __sub__(self, other):
        other = self._lift(other)
        return Value(self.tape, self.data - other.data, ((self, 1), (other, -1)))

    def __mul__(self, other):
        other = self._lift(other)
        return Value(self.tape, self.data * other.data, ((self, other.data), (other, self.data)))

    def __truediv__(self, other):
        other = self._lift(other)
        ratio = self.data / other.data
        slopes = ((self, 1 / other.data), (other, -ratio / other.data))
        return Value(self.tape, ratio, slopes)

    def __neg__(self):
        return Value(self.tape, -self.data, ((self, -1),))

    def __radd__(self, other):
        return self._lift(other) + self

    def __rsub__(self, other):
        return self._lift(other) - self

    def __rmul__(self, other):
        return self._lift(other) * self

    def __rtruediv__(self, other):
        return self._lift(other) / self


class Tape:
    """The values in the order they were made; itself a kind of `Numbers`, whose are recorded."""

    def __init__(self, numbers):
        self.numbers, self.values = numbers, []

    def number(self, number):
        return Value(self, self.numbers.number(number))

    def tanh(self, a):
        y = self.numbers.tanh(a.data)
        return Value(self, y, ((a, 1 - y * y),))

    def sigmoid(self, a):
        y = self.numbers.sigmoid(a.data)
        return Value(self, y, ((a, y * (1 - y)),))

    def exp(self, a):
        y = self.numbers.exp(a.data)
        return Value(self, y, ((a, y),))

    def log(self, a):
        return Value(self, self.numbers.log(a.data), ((a, 1 / a.data),))

    def relu(self, a):
        return Value(self, self.numbers.relu(a.data), ((a, 1 if a.data.real > 0 else 0),))

    def pull_back(self, cotangents):
        """Add to every ``grad`` the derivative of ``Σ value · cotangent`` over the given pairs."""
        for value, cotangent in cotangents:
            value.grad += cotangent
        for value in reversed(self.values):
            for parent, slope in value.parents:
                parent.grad += slope * value.grad
