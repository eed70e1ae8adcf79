"""Results of one's own, held against the right ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from operator import sub
from typing import Any

from .checks import ALLOWED, DECIMALS, EPS, flat, gradient_scale
from .equations import EQUATIONS, Quantities
from .exact import differentiate
from .example import Example
from .parse import check_shape, parse, shape_of, to_lists

__all__ = ["SHAPES", "Claim", "check_claims", "judge"]

LEAST = Decimal("0.01")  # of the largest number: fewer digits say too little
# By the names of Quantities.
SHAPES = {
    **dict.fromkeys(("a", "h", "d_h", "from_later", "from_output", "by_way_of_y_hat"), "TH"),
    **dict.fromkeys(("o", "y_hat", "d_o", "d_y_hat", "matrix_times_y"), "TO"),
    **dict.fromkeys(("loss_t", "log_p", "d_loss_t"), "T"),
    **dict.fromkeys(("loss", "log_joint"), ""),
    **{"d_c": "O", "d_b": "H", "d_V": "OH", "d_W": "HH", "d_U": "HI"},
    **{"d_W_t": "THH", "d_U_t": "THI", "jacobian": "TOH"},
}
FORWARD = {part.field for equation in EQUATIONS if equation.forward for part in equation.parts}
SAME = {"matrix_times_y": "d_o", "by_way_of_y_hat": "from_output"}


@dataclass(frozen=True)
class Claim:
    """A result of one's own, and the right one.

    Parameters
    ----------
    name : str
        As in `Quantities`.
    got : nested lists of Decimal
    want : nested lists of Decimal
    off : Decimal
        The largest difference.
    allowed : Decimal
        One unit of the last decimal that is written (of the number that has most of them), but at
        most a hundredth of the largest right number. Of more digits, half of those of the dtype
        suffice; and 32 eps of 1, or of the largest cotangent if it is a gradient, pass in any case.
        Where that calls a claim wrong, and the numbers of the example amplify rounding, it is 8
        times what an independent computation with no more digits than the dtype is off by, if
        that is more; of this, too, at most a hundredth of the largest right number.
    looks_like : str
        What one that is not right is instead, such as "the negative of the right one"; or empty.

    Examples
    --------
    >>> from portable_rnn import book
    >>> example = book.draw()
    >>> exact = book.differentiate(example)
    >>> (claim,) = book.judge(example, exact, {"loss": 3.933})
    >>> claim.name, claim.right
    ('loss', True)
    """

    name: str
    got: Any
    want: Any
    off: Decimal
    allowed: Decimal
    looks_like: str = ""

    @property
    def right(self) -> bool:
        """Whether the difference is at most what is allowed."""
        return self.off <= self.allowed


def check_claims(example: Example, claims: Mapping[str, Any]) -> None:
    """Check the names, shapes and numbers of claims, before any work is done.

    Parameters
    ----------
    example : Example
    claims : dict of str to array or nested lists
        By the names of `Quantities`.

    Raises
    ------
    TypeError, ValueError
        Which name the claim.

    Examples
    --------
    >>> from portable_rnn import book
    >>> book.check_claims(book.draw(), {"d_c": [0.15994, 1.26904, -1.42898]})
    """
    (outputs, hidden), (steps, inputs) = shape_of(example.V), shape_of(example.x)
    sizes = {"I": inputs, "H": hidden, "O": outputs, "T": steps}
    for name, value in claims.items():
        if name not in SHAPES:
            raise ValueError(f"claims: expected names from {', '.join(SHAPES)}, got {name!r}")
        tree = parse(f"claims.{name}", value)
        check_shape(f"claims.{name}", tree, [sizes[letter] for letter in SHAPES[name]], {})


def judge(
    example: Example, exact: Quantities, claims: Mapping[str, Any], dtype: str = "float64"
) -> list[Claim]:
    """Compare results of one's own with the right ones.

    Parameters
    ----------
    example : Example
    exact : Quantities
        From `differentiate`.
    claims : dict of str to array or nested lists
        By the names of `Quantities`. Numbers may be `decimal.Decimal`, which knows how many digits
        were written.
    dtype : {"float64", "float32"}
        In which claims with many digits were computed.

    Returns
    -------
    list of Claim

    Raises
    ------
    TypeError, ValueError
        If a claim does not fit, or the dtype is neither.

    Examples
    --------
    >>> from portable_rnn import book
    >>> example = book.draw()
    >>> exact = book.differentiate(example)
    >>> (claim,) = book.judge(example, exact, {"d_c": [-0.15994, -1.26904, 1.42898]})
    >>> claim.right, claim.looks_like
    (False, 'the negative of the right one')
    """
    if dtype not in EPS:
        raise ValueError(f"dtype: expected float32 or float64, got {dtype!r}")
    check_claims(example, claims)
    with localcontext(Context(prec=50, Emax=MAX_EMAX, Emin=MIN_EMIN)):  # as the right ones have
        judged = [_judged(example, exact, name, value, dtype) for name, value in claims.items()]
        if all(claim.right for claim in judged):
            return judged
        rough = differentiate(example, DECIMALS[dtype])
        return [
            _judged(example, exact, name, value, dtype, rough) for name, value in claims.items()
        ]


def _judged(
    example: Example,
    exact: Quantities,
    name: str,
    value: Any,
    dtype: str,
    rough: Quantities | None = None,
) -> Claim:
    got, want = _decimals(to_lists(value)), getattr(exact, SAME.get(name, name))
    # An array in float32 cannot hold more digits than that.
    own = EPS.get(str(getattr(value, "dtype", "")).split(".")[-1], Decimal(0))
    largest = max(map(abs, flat(want)))
    unit = Decimal(10) ** min(_exponent(number) for number in flat(got))
    scale = Decimal(1) if name in FORWARD else gradient_scale(example, exact)
    digits = max(min(unit, LEAST * largest), max(own, EPS[dtype].sqrt()) * largest)
    allowed, off = max(digits, 32 * EPS[dtype] * scale), _off(got, want)
    if rough is not None:
        amplified = Decimal(ALLOWED) * _off(getattr(rough, SAME.get(name, name)), want)
        allowed = max(allowed, min(amplified, LEAST * largest))
    looks_like = "" if off <= allowed else _looks_like(got, want, allowed)
    if not looks_like and allowed < off <= unit / 2:
        looks_like = "right as far as it is written; more digits are needed to tell"
    return Claim(name, got, want, off, allowed, looks_like)


def _decimals(tree: Any) -> Any:
    """Return nested lists of Decimal; of floats, with the digits that Python writes."""
    if isinstance(tree, (list, tuple)):
        return [_decimals(item) for item in tree]
    return Decimal(tree) if isinstance(tree, (int, Decimal)) else Decimal(repr(float(tree)))


def _exponent(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


def _off(got: Any, want: Any) -> Decimal:
    difference: Decimal = max(map(abs, map(sub, flat(got), flat(want))))
    return difference


def _looks_like(got: Any, want: Any, allowed: Decimal) -> str:
    """Return which common mistake makes the claim right, if one does."""

    def negative(tree: Any) -> Any:
        return [negative(item) for item in tree] if isinstance(tree, list) else -tree

    if _off(negative(got), want) <= allowed:
        return "the negative of the right one"
    square = len(shape_of(want)) == 2 and len(want) == len(want[0])
    if square and _off([list(row) for row in zip(*got, strict=True)], want) <= allowed:
        return "the transpose of the right one"
    return ""
