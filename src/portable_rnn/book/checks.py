"""Compare what the library computed with the independent values, in eps."""

from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import accumulate
from typing import Any

from .._arrays.signatures import named_options
from . import arguments
from .equations import EQUATIONS, Equation, Part, Quantities
from .exact import differentiate
from .example import Example
from .parse import flat

__all__ = [
    "ALLOWED",
    "EPS",
    "Check",
    "compare",
    "error_in_eps",
    "flat",
    "gradient_scale",
    "left_out",
]

EPS = {"float32": Decimal(2) ** -23, "float64": Decimal(2) ** -52}
SMALLEST = {"float32": Decimal(2) ** -126, "float64": Decimal(2) ** -1022}  # of full precision
DECIMALS = {"float32": 7, "float64": 16}  # approximate digits of the dtype
ALLOWED = 8.0  # eps
NO_DIGITS = 1e-3  # relative rounding error above which any finite number is allowed


@dataclass(frozen=True)
class Check:
    """One quantity of one step, as computed and as it should be.

    Parameters
    ----------
    equation : Equation
    part : Part
        Which quantity of the equation.
    step : int or None
        From 1 to T, as the book counts; None for a quantity without steps.
    got : nested lists of float
    want : nested lists of Decimal
    error : float
        ``max|got - want| / (eps · max(max|want|, scale))``. The scale for a value of the forward
        pass is the largest parameter, or sum of a unit's |U| |x|. For a gradient it is the largest
        entry of ∇_o L or of y, the cotangent of ln ŷ, because ∇_o L is a difference of numbers of
        that size; for U it is that times the largest |x|, if this is above 1.
    allowed : float
        The largest error that passes, in the same unit: 8, or more if the numbers of the example
        amplify rounding, as determined by `compare`.

    Examples
    --------
    >>> from portable_rnn import book
    >>> example = book.draw()
    >>> exact = book.differentiate(example)
    >>> check = book.compare(example, book.compute(example), exact)[0]
    >>> check.equation.number, check.step, check.passed, check.amplified
    ('10.8', 1, True, False)
    """

    equation: Equation
    part: Part
    step: int | None
    got: Any
    want: Any
    error: float
    allowed: float = ALLOWED

    @property
    def passed(self) -> bool:
        """Whether the error is finite and at most what is allowed."""
        return self.error <= self.allowed and self.error < float("inf")

    @property
    def amplified(self) -> bool:
        """Whether the error is above 8 eps, and rounding explains it."""
        return self.passed and self.error > ALLOWED


@named_options
def compare(
    example: Example, found: Quantities, exact: Quantities, dtype: str = "float64"
) -> list[Check]:
    """Check every quantity of every equation.

    An error above 8 eps is a rounding error if the independent computation has one as large with no
    more digits than the dtype: chaotic weights, or sums that cancel, amplify rounding in any
    computation. So if there is such an error, the independent computation is repeated with 16
    digits for float64 or 7 for float32. The allowed error is then 8 times its largest error: in the
    forward pass up to the step in question; for a gradient at any step, times the largest parameter
    if it is above 1, since the backward pass multiplies rounding by it. If the repeated computation
    is wrong in its third digit, any finite number is allowed.

    Parameters
    ----------
    example : Example
    found : Quantities
        From `compute`.
    exact : Quantities
        From `differentiate`.
    dtype : {"float64", "float32"}
        The dtype in which ``found`` was computed.

    Returns
    -------
    list of Check
        In the order of the equations; those that `left_out` names have no check.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, or the quantities belong to another example.
    ValueError
        If the dtype is neither, or does not hold the numbers of the example exactly: their
        rounding would count as an error (see `Example.rounded`).

    Examples
    --------
    >>> from portable_rnn import book
    >>> example = book.draw()
    >>> checks = book.compare(example, book.compute(example), book.differentiate(example))
    >>> [check.step for check in checks if check.equation.number == "10.21"]
    [1, 2]
    """
    arguments.instance("example", example, Example)
    arguments.quantities("found", found, example)
    arguments.quantities("exact", exact, example)
    arguments.dtype(dtype)
    if example != example.rounded(dtype):
        raise ValueError(
            f"example: expected numbers that {dtype} holds exactly, got others: "
            f"first take example.rounded({dtype!r})"
        )
    checks = _errors(example, found, exact, dtype)
    if all(check.passed for check in checks):
        return checks
    rough = _errors(example, differentiate(example, DECIMALS[dtype]), exact, dtype)
    steps = len(example.x)
    of_step = [1.0] * (steps + 1)
    for check in rough:
        if check.equation.forward:
            step = steps if check.step is None else check.step
            of_step[step] = max(of_step[step], check.error)
    until = list(accumulate(of_step, max))
    most = max(1.0, *(check.error for check in rough))

    largest = float(max(Decimal(1), _largest(example)))

    def allowed(check: Check) -> float:
        forward = check.equation.forward and check.step is not None
        error = until[check.step or 0] if forward else most * largest
        return ALLOWED * error if error * float(EPS[dtype]) <= NO_DIGITS else float("inf")

    return [replace(check, allowed=allowed(check)) for check in checks]


@named_options
def left_out(example: Example, exact: Quantities, dtype: str = "float64") -> dict[str, str]:
    """Return the equations that have no check at some step, by number, with the reason.

    Parameters
    ----------
    example : Example
    exact : Quantities
        From `differentiate`.
    dtype : {"float64", "float32"}

    Returns
    -------
    dict of str to str

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, or the quantities belong to another example.

    Examples
    --------
    >>> from portable_rnn import book
    >>> example = book.draw(steps=1)
    >>> book.left_out(example, book.differentiate(example))["10.21"]
    'which need longer sequences'
    """
    arguments.instance("example", example, Example)
    arguments.quantities("exact", exact, example)
    arguments.dtype(dtype)
    reasons = {}
    for equation in EQUATIONS:
        if not _steps(equation, example):
            short = len(example.x) < 2
            reasons[equation.number] = (
                f"which need {'longer sequences' if short else 'one-hot targets'}"
            )
    steps = [str(t + 1) for t, row in enumerate(exact.y_hat) if min(row) < SMALLEST[dtype]]
    if steps:
        shown = ", ".join(steps if len(steps) <= 6 else [*steps[:5], "..."])
        reasons["Q3"] = f"for it divides by ŷ, which is too small for {dtype} at step {shown}"
    return reasons


def gradient_scale(example: Example, exact: Quantities) -> Decimal:
    """Return the largest cotangent."""
    return max(abs(Decimal(value)) for value in flat([exact.d_o, example.y]))


def _forward_scale(example: Example) -> Decimal:
    """Return the largest parameter, or sum of |U| |x|: not x itself, which may have any unit."""
    sums = (
        sum((abs(Decimal(u) * Decimal(v)) for u, v in zip(row, x, strict=True)), Decimal(0))
        for x in example.x
        for row in example.U
    )
    return max(_largest(example), *sums)


def _largest(example: Example) -> Decimal:
    letters = (example.U, example.W, example.b, example.V, example.c, example.h0)
    return max(abs(Decimal(value)) for value in flat(letters))


def _errors(example: Example, found: Quantities, exact: Quantities, dtype: str) -> list[Check]:
    """Return the checks of all quantities that ``found`` has, with 8 eps allowed."""
    parameters, cotangents = _forward_scale(example), gradient_scale(example, exact)
    inputs = max(Decimal(1), *(abs(Decimal(value)) for value in flat(example.x)))
    checks = []
    for equation in EQUATIONS:
        scale = parameters if equation.forward else cotangents
        for step in _steps(equation, example):
            if equation.number == "Q3" and step and min(exact.y_hat[step - 1]) < SMALLEST[dtype]:
                continue
            for part in equation.parts:
                want = getattr(exact, part.same_as or part.field)
                got = getattr(found, part.field)
                if got is None:  # independent values have it by another name
                    got = getattr(found, part.same_as)
                if step is not None:
                    got, want = got[step - 1], want[step - 1]
                times_x = inputs if part.field in ("d_U", "d_U_t") else Decimal(1)
                error = error_in_eps(got, want, scale * times_x, EPS[dtype])
                checks.append(Check(equation, part, step, got, want, error))
    return checks


def _steps(equation: Equation, example: Example) -> list[int | None]:
    """Return the steps to which an equation applies."""
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


def error_in_eps(got: Any, want: Any, scale: Decimal, eps: Decimal) -> float:
    """Return ``max|got - want| / (eps · max(max|want|, scale))``, or infinity for NaN."""
    pairs = list(zip(flat(got), flat(want), strict=True))
    if not all(Decimal(g).is_finite() for g, _ in pairs):
        return float("inf")
    worst = max(abs(Decimal(g) - w) for g, w in pairs)
    largest = max(scale, *(abs(w) for _, w in pairs))
    if not worst:
        return 0.0  # also if all numbers are 0
    return float(worst / (eps * largest)) if largest else float("inf")
