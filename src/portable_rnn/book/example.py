"""The numbers of the worked example: weights, inputs, initial state and targets."""

import math
import random
from dataclasses import dataclass
from typing import TypeAlias

__all__ = ["Example", "Matrix", "Vector", "draw"]

Vector: TypeAlias = tuple[float, ...]
Matrix: TypeAlias = tuple[Vector, ...]


@dataclass(frozen=True)
class Example:
    """A network and its sequence, in the book's letters; all floats are multiples of 1/16 or less.

    Such numbers are exact in every floating type, as decimals and as fractions, so an error that
    is measured is one of the computation, and not of its inputs.

    Parameters
    ----------
    U : shape (H, I)
    W : shape (H, H)
    b : shape (H,)
    V : shape (O, H)
    c : shape (O,)
    h0 : shape (H,)
        The state before the first step, h(0).
    x : shape (T, I)
    y : shape (T, O)
        A row of target weights per step; 1 for one class and 0 for the others if one-hot.
    """

    U: Matrix
    W: Matrix
    b: Vector
    V: Matrix
    c: Vector
    h0: Vector
    x: Matrix
    y: Matrix

    @property
    def one_hot(self) -> bool:
        """Whether every target names one class."""
        return all(sorted(row)[-1] == 1.0 == sum(map(abs, row)) for row in self.y)


def draw(
    inputs: int = 4,
    hidden: int = 5,
    outputs: int = 3,
    *,
    steps: int = 3,
    seed: int = 0,
    targets: str = "one-hot",
) -> Example:
    """Draw an example. The same seed gives the same numbers on every machine.

    Parameters
    ----------
    inputs, hidden, outputs, steps : int
        I, H, O and T. The default is the network of the derivation: x in R⁴, h in R⁵, o in R³.
    seed : int
    targets : {"one-hot", "general"}
        One class per step, or rows of weights of any positive sum.

    Returns
    -------
    Example

    Raises
    ------
    ValueError
        If a size is below 1 (2 for the outputs), the seed below 0, or ``targets`` neither.

    Examples
    --------
    >>> from portable_rnn import book
    >>> book.draw(inputs=2, hidden=2, outputs=2, steps=1).x
    ((0.625, 0.8125),)
    """
    sizes = {"inputs": inputs, "hidden": hidden, "outputs": outputs, "steps": steps}
    for name, size in sizes.items():
        least = 2 if name == "outputs" else 1  # of one class, the loss is always 0
        if size < least:
            raise ValueError(f"{name}: expected at least {least}, got {size}")
    if seed < 0:
        raise ValueError(f"seed: expected at least 0, got {seed}")
    if targets not in ("one-hot", "general"):
        raise ValueError(f"targets: expected 'one-hot' or 'general', got {targets!r}")
    rng = random.Random(seed)

    def vector(size: int, scale: float = 1.0, low: int = -12, high: int = 12) -> Vector:
        # Of Python's generators only random() is promised never to change.
        return tuple(
            scale * (low + math.floor(rng.random() * (high - low + 1))) / 16 for _ in range(size)
        )

    def matrix(rows: int, columns: int, gain: float = 1.0) -> Matrix:
        # A power of two keeps the numbers exact, and what a row sums to of one size.
        scale = gain * 2.0 ** -max(0, round(math.log2(math.sqrt(columns / 5))))
        return tuple(vector(columns, scale) for _ in range(rows))

    def target() -> Vector:
        if targets == "general":
            return vector(outputs, low=1, high=20)
        label = math.floor(rng.random() * outputs)
        return tuple(float(i == label) for i in range(outputs))

    return Example(
        U=matrix(hidden, inputs),
        # A spectral radius well below 1 as a rule, for a network with one well above it is
        # chaotic: after tens of steps it has amplified rounding, whoever computes it.
        W=matrix(hidden, hidden, gain=0.5),
        b=vector(hidden),
        V=matrix(outputs, hidden),
        c=vector(outputs),
        h0=vector(hidden),
        x=tuple(vector(inputs, low=-16, high=16) for _ in range(steps)),
        y=tuple(target() for _ in range(steps)),
    )
