"""What the library computed, held against the independent value, in eps."""

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from .equations import EQUATIONS, Equation, Part, Quantities
from .example import Example

__all__ = ["ALLOWED", "EPS", "Check", "compare", "flat"]

EPS = {"float32": Decimal(2) ** -23, "float64": Decimal(2) ** -52}
ALLOWED = 8.0  # eps


@dataclass(frozen=True)
class Check:
    """One quantity of one step, from both sides.

    Parameters
    ----------
    equation : Equation
    part : Part
        Which quantity of the equation.
    step : int or None
        From 1 to T, as the book counts; None for what has no step.
    got : nested lists of float
    want : nested lists of Decimal
    error : float
        ``max|got - want| / (eps · max(max|want|, scale))``. The scale is the largest parameter for
        a value of the forward pass. For a gradient it is the largest cotangent: of ∇_o L, and of
        y, the cotangent of ln ŷ, because ∇_o L is a difference of numbers of that size.
    """

    equation: Equation
    part: Part
    step: int | None
    got: Any
    want: Any
    error: float

    @property
    def passed(self) -> bool:
        """Whether the error is at most 8 eps (and not NaN)."""
        return self.error <= ALLOWED


def compare(
    example: Example, found: Quantities, exact: Quantities, dtype: str = "float64"
) -> list[Check]:
    """Check every quantity of every equation.

    Parameters
    ----------
    example : Example
    found : Quantities
        From `compute`.
    exact : Quantities
        From `differentiate`.
    dtype : {"float64", "float32"}
        In which ``found`` was computed.

    Returns
    -------
    list of Check
        In the order of the equations; an equation that has no quantity here has no check
        (10.20 and 10.21 if T is 1; 10.15 and 10.16 also if the targets are not one-hot).

    Raises
    ------
    ValueError
        If the dtype is neither.

    Examples
    --------
    >>> from portable_rnn import book
    >>> example = book.draw()
    >>> checks = book.compare(example, book.compute(example), book.differentiate(example))
    >>> [check.step for check in checks if check.equation.number == "10.21"]
    [1, 2]
    """
    if dtype not in EPS:
        raise ValueError(f"dtype: expected float32 or float64, got {dtype!r}")
    letters = (example.U, example.W, example.b, example.V, example.c, example.h0, example.x)
    parameters = max(abs(Decimal(value)) for value in flat(letters))
    cotangents = max(abs(Decimal(value)) for value in flat([exact.d_o, example.y]))
    checks = []
    for equation in EQUATIONS:
        scale = parameters if equation.forward else cotangents
        for step in _steps(equation, example):
            for part in equation.parts:
                got = getattr(found, part.field)
                want = getattr(exact, part.same_as or part.field)
                if step is not None:
                    got, want = got[step - 1], want[step - 1]
                error = _error(got, want, scale, EPS[dtype])
                checks.append(Check(equation, part, step, got, want, error))
    return checks


def flat(tree: Any) -> Iterator[Any]:
    """Yield the numbers of nested lists, or a lone one."""
    if isinstance(tree, (list, tuple)):
        for branch in tree:
            yield from flat(branch)
    else:
        yield tree


def _steps(equation: Equation, example: Example) -> list[int | None]:
    """Return the steps an equation speaks of."""
    last = len(example.x)
    if equation.one_hot and (last < 2 or not example.one_hot):
        return []
    steps: dict[str, list[int | None]] = {
        "all": [None],
        "each": list(range(1, last + 1)),
        "last": [last],
        "before last": list(range(1, last)),
        "first two": [1, 2],
    }
    return steps[equation.steps]


def _error(got: Any, want: Any, scale: Decimal, eps: Decimal) -> float:
    pairs = list(zip(flat(got), flat(want), strict=True))
    if not all(Decimal(g).is_finite() for g, _ in pairs):
        return float("inf")
    worst = max(abs(Decimal(g) - w) for g, w in pairs)
    return float(worst / (eps * max(scale, max(abs(w) for _, w in pairs))))
