"""The numbers of an example: weights, inputs, initial state and targets."""

import math
import random
import struct
from dataclasses import dataclass
from typing import Any

from .._arrays import checks as check
from . import arguments
from .parse import Matrix, Vector, check_shape, parse, shape_of

__all__ = ["Example", "Matrix", "Vector", "draw"]


@check.named_options
@dataclass(frozen=True, init=False)
class Example:
    """A network and its sequence, in the book's letters.

    Each argument may be an array of any library or nested lists of numbers, and is kept as nested
    tuples of floats, exactly. The sizes I, H, O and T are those of the arrays.

    Parameters
    ----------
    U : shape (H, I)
    W : shape (H, H)
    b : shape (H,), optional
        Zeros by default.
    V : shape (O, H)
        O is at least 2: the softmax of one output is always 1.
    c : shape (O,), optional
        Zeros by default.
    h0 : shape (H,), optional
        The state before the first step, h(0). Zeros by default.
    x : shape (T, I)
    y : shape (T, O), or (T,)
        A row of target weights per step, of any sum; or the class of each step, from 0 to O - 1,
        which is kept as a row that is 1 for the class and 0 elsewhere.

    Raises
    ------
    TypeError
        If something is not a real number. All messages name the array.
    ValueError
        If a shape does not fit, rows differ in length, or a number is infinite or NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn import book
    >>> rng = np.random.default_rng(0)
    >>> U, W, V = rng.normal(size=(5, 4)), rng.normal(size=(5, 5)), rng.normal(size=(3, 5))
    >>> example = book.Example(U=U, W=W, V=V, x=rng.normal(size=(2, 4)), y=[2, 0])
    >>> example.y
    ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0))
    >>> print(len(book.differentiate(example).d_h[0]))
    5
    """

    U: Matrix
    W: Matrix
    b: Vector
    V: Matrix
    c: Vector
    h0: Vector
    x: Matrix
    y: Matrix

    def __init__(
        self,
        *,
        U: Any,
        W: Any,
        V: Any,
        x: Any,
        y: Any,
        b: Any = None,
        c: Any = None,
        h0: Any = None,
    ) -> None:
        given = {"U": U, "W": W, "b": b, "V": V, "c": c, "h0": h0, "x": x, "y": y}
        numbers: dict[str, Any] = {
            name: None if value is None and name in ("b", "c", "h0") else parse(name, value)
            for name, value in given.items()
        }
        _check_shapes(numbers)
        outputs = len(numbers["V"])
        for name, size in (("b", len(numbers["W"])), ("c", outputs), ("h0", len(numbers["W"]))):
            if numbers[name] is None:
                numbers[name] = (0.0,) * size
        if len(shape_of(numbers["y"])) == 1:
            numbers["y"] = tuple(_one_hot(label, outputs) for label in numbers["y"])
        for name, value in numbers.items():
            object.__setattr__(self, name, value)

    @property
    def one_hot(self) -> bool:
        """Whether every target names one class."""
        return all(sorted(row)[-1] == 1.0 == sum(map(abs, row)) for row in self.y)

    def rounded(self, dtype: str) -> "Example":
        """Round every number to a dtype.

        `compute` rounds to these numbers in float32. An error is one of the computation only if
        the independent values are computed from the same numbers.

        Parameters
        ----------
        dtype : {"float64", "float32"}
            float64 changes nothing.

        Returns
        -------
        Example

        Raises
        ------
        ValueError
            If the dtype is neither, or a number is too large for it.

        Examples
        --------
        >>> from portable_rnn import book
        >>> example = book.Example(U=[[0.1]], W=[[0]], V=[[1], [2]], x=[[1]], y=[0])
        >>> example.rounded("float32").U
        ((0.10000000149011612,),)
        """
        if arguments.dtype(dtype) == "float64":
            return self
        return Example(**{name: _to_float32(name, tree) for name, tree in vars(self).items()})


def _check_shapes(numbers: dict[str, Any]) -> None:
    """Check the shapes of all arrays; b, c and h0 may be None."""
    sizes: dict[str, str] = {}

    def fit(name: str, *shape: int | str) -> None:
        if numbers[name] is not None:
            known = {letter: text for letter, text in sizes.items() if letter in used[name]}
            check_shape(name, numbers[name], shape, known)

    used = {"W": "", "U": "H", "V": "H", "x": "I", "b": "H", "c": "O", "h0": "H", "y": "TO"}
    fit("W", "H", "H")
    hidden = len(numbers["W"])
    fit("W", hidden, hidden)
    sizes["H"] = f"{hidden}, as in W"
    fit("U", hidden, "I")
    inputs = shape_of(numbers["U"])[1]
    sizes["I"] = f"{inputs}, as in U"
    fit("V", "O", hidden)
    outputs = len(numbers["V"])
    if outputs < 2:
        raise ValueError("V: expected at least 2 rows (the softmax of 1 output is always 1), got 1")
    sizes["O"] = f"{outputs}, as in V"
    fit("b", hidden)
    fit("c", outputs)
    fit("h0", hidden)
    fit("x", "T", inputs)
    steps = len(numbers["x"])
    sizes["T"] = f"{steps}, as in x; ({steps},) of classes fits as well"
    if len(shape_of(numbers["y"])) == 1 and len(numbers["y"]) == steps:
        for label in numbers["y"]:
            if label not in range(outputs):
                shown = int(label) if label.is_integer() else label
                raise ValueError(
                    f"y: expected classes from 0 to {outputs - 1}, got {check.said(shown)}"
                )
    else:
        fit("y", steps, outputs)


def _one_hot(label: float, outputs: int) -> Vector:
    return tuple(float(i == label) for i in range(outputs))


def _to_float32(name: str, tree: Any) -> Any:
    if isinstance(tree, tuple):
        return tuple(_to_float32(name, item) for item in tree)
    try:
        return struct.unpack("<f", struct.pack("<f", tree))[0]
    except OverflowError:
        raise ValueError(f"{name}: expected numbers that float32 can hold, got {tree}") from None


@check.named_options
def draw(
    inputs: int = 4,
    hidden: int = 5,
    outputs: int = 3,
    *,
    steps: int = 3,
    seed: int = 0,
    targets: str = "one-hot",
) -> Example:
    """Draw an example; the same seed gives the same numbers on every machine.

    All are multiples of 1/16 or of a smaller power of 2: exact in every floating type, as decimals
    and as fractions.

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
    TypeError
        If a size or the seed is not an int, or ``targets`` is not a string.
    ValueError
        If a size is below 1 (2 for the outputs), the seed is below 0, or ``targets`` is neither; or
        if the independent values would take more than about half a minute.

    Examples
    --------
    >>> from portable_rnn import book
    >>> book.draw(inputs=2, hidden=2, outputs=2, steps=1).x
    ((0.625, 0.8125),)
    """
    inputs, hidden = check.count("inputs", inputs), check.count("hidden", hidden)
    outputs = check.integer("outputs", outputs, least=2)  # for one class, the loss is always 0
    steps, seed = check.count("steps", steps), check.integer("seed", seed, least=0)
    check.choice("targets", targets, ("one-hot", "general"))
    arguments.size(inputs, hidden, outputs, steps)
    rng = random.Random(seed)

    def vector(size: int, scale: float = 1.0, low: int = -12, high: int = 12) -> Vector:
        # Of Python's generators, only random() is guaranteed never to change.
        return tuple(
            scale * (low + math.floor(rng.random() * (high - low + 1))) / 16 for _ in range(size)
        )

    def matrix(rows: int, columns: int, gain: float = 1.0) -> Matrix:
        # A power of two keeps the numbers exact; the scale keeps row sums of similar size.
        scale = gain * 2.0 ** -max(0, round(math.log2(math.sqrt(columns / 5))))
        return tuple(vector(columns, scale) for _ in range(rows))

    def target() -> Vector:
        if targets == "general":
            return vector(outputs, low=1, high=20)
        return _one_hot(math.floor(rng.random() * outputs), outputs)

    return Example(
        U=matrix(hidden, inputs),
        # Usually a spectral radius well below 1, since a network with one well above 1 is
        # chaotic: after tens of steps it has amplified rounding, in any computation.
        W=matrix(hidden, hidden, gain=0.5),
        b=vector(hidden),
        V=matrix(outputs, hidden),
        c=vector(outputs),
        h0=vector(hidden),
        x=tuple(vector(inputs, low=-16, high=16) for _ in range(steps)),
        y=tuple(target() for _ in range(steps)),
    )
