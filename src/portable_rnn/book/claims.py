"""Compare a user's results with the right ones."""

import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from decimal import MAX_EMAX, MIN_EMIN, Context, Decimal, localcontext
from operator import sub
from typing import Any

from .._arrays import checks as check
from . import arguments
from .checks import ALLOWED, DECIMALS, EPS, gradient_scale
from .equations import EQUATIONS, SAME, Quantities
from .equations import SHAPES as DEFINED
from .exact import differentiate
from .example import Example
from .parse import check_shape, flat, parse, shape_of, to_lists

__all__ = ["SHAPES", "Claim", "check_claims", "judge"]

# Also gradients without an equation that people compute: with respect to a(t), x(t) and h(0).
SHAPES = {**DEFINED, "d_a": "TH", "d_x": "TI", "d_h0": "H"}
LEAST = Decimal("0.01")  # of the largest number: fewer digits say too little
TOO_FEW = "too few digits to tell: right as far as it is written"
HALF = {"float16": Decimal(2) ** -10}
MANY = 9  # digits: a number with more that float32 holds exactly is taken for a float32
FORWARD = {part.field for equation in EQUATIONS if equation.forward for part in equation.parts}


@dataclass(frozen=True)
class Claim:
    """A user's result, and the right one.

    Parameters
    ----------
    name : str
        As in `Quantities`, or d_a, d_x, d_h0.
    got : nested lists of Decimal
    want : nested lists of Decimal
    off, allowed : Decimal
        The difference of the number that is furthest off relative to what it is allowed, and what
        that is: one unit of its last decimal (or none, if the right number has no more decimals),
        but at most a hundredth of the largest right number. In any case, half of the digits of the
        dtype suffice, or of float32 if all are numbers of it; and 32 eps of 1, or of the largest
        cotangent for a gradient, are allowed. If a claim is still wrong, and the numbers of the
        example amplify rounding, 8 times the error of an independent computation with no more
        digits than the dtype is allowed, also at most a hundredth of the largest right number.
    right : bool
        Whether no number is further off than it is allowed.
    looks_like : str
        What a claim that is not right is instead, such as "the negative of the right one", or that
        it has too few digits to tell; or empty.
    wrong : nested lists of bool
        For each number, whether it is further off than it is allowed.

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
    right: bool
    looks_like: str = ""
    wrong: Any = None


def check_claims(example: Example, claims: Mapping[str, Any]) -> None:
    """Check the names, shapes and numbers of claims, before any computation.

    Parameters
    ----------
    example : Example
    claims : dict of str to array or nested lists
        By the names of `Quantities`; or d_a (T, H), d_x (T, I), d_h0 (H,), the gradients with
        respect to a(t), x(t) and h(0).

    Raises
    ------
    TypeError, ValueError
        If a claim does not fit; the message names it.

    Examples
    --------
    >>> from portable_rnn import book
    >>> book.check_claims(book.draw(), {"d_c": [0.15994, 1.26904, -1.42898]})
    """
    arguments.instance("example", example, Example)
    if not isinstance(claims, Mapping):
        raise TypeError(f"claims: expected a dict of arrays, got {type(claims).__name__}")
    sizes = arguments.sizes_of(example)
    for name, value in claims.items():
        if name not in SHAPES:
            got = check.said(name)
            near = _nearest(name)
            raise ValueError(f"claims: expected names from {', '.join(SHAPES)}, got {got}{near}")
        tree = parse(f"claims.{name}", value)
        wanted = [sizes[letter] for letter in SHAPES[name]]
        turned = [*wanted[:-2], *reversed(wanted[-2:])]
        if list(shape_of(tree)) != turned:  # a transpose is a mistake that is recognized
            check_shape(f"claims.{name}", tree, wanted, {})


@check.named_options
def judge(
    example: Example, exact: Quantities, claims: Mapping[str, Any], dtype: str = "float64"
) -> list[Claim]:
    """Compare your own results with the right ones.

    Parameters
    ----------
    example : Example
    exact : Quantities
        From `differentiate`.
    claims : dict of str to array or nested lists
        By the names of `Quantities`. Numbers may be `decimal.Decimal`, which keeps the number of
        digits written.
    dtype : {"float64", "float32"}
        The dtype in which claims with many digits were computed.

    Returns
    -------
    list of Claim

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, a claim or ``exact`` does not fit the example, or the
        dtype is neither.

    Examples
    --------
    >>> from portable_rnn import book
    >>> example = book.draw()
    >>> exact = book.differentiate(example)
    >>> (claim,) = book.judge(example, exact, {"d_c": [-0.15994, -1.26904, 1.42898]})
    >>> claim.right, claim.looks_like
    (False, 'the negative of the right one')
    """
    check_claims(example, claims)
    arguments.quantities("exact", exact, example)
    arguments.dtype(dtype)
    with localcontext(Context(prec=50, Emax=MAX_EMAX, Emin=MIN_EMIN)):  # as for the right ones
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
    got, want = _decimals(to_lists(value)), _right(example, exact, name)
    turned = shape_of(got) != shape_of(want)
    if turned:
        got = _transpose(got)
    largest = max(map(abs, flat(want)))
    scale = Decimal(1) if name in FORWARD else gradient_scale(example, exact)
    digits = max(_own_eps(value, got), EPS[dtype].sqrt())
    anyway = max(min(digits, LEAST) * largest, 32 * EPS[dtype] * scale)
    if rough is not None:
        amplified = Decimal(ALLOWED) * max(
            map(abs, map(sub, flat(_right(example, rough, name)), flat(want)))
        )
        anyway = max(anyway, min(amplified, LEAST * largest))

    def differences(
        tree: Any, most: Decimal = LEAST * largest, share: int = 1
    ) -> list[tuple[Decimal, Decimal]]:
        """Return how far each number is from the right one over ``share``, and may be."""
        numbers = list(flat(tree))
        finest = min((_unit(n) for n in numbers if n), default=Decimal(0))
        found = []
        for number, right in zip(numbers, flat(want), strict=True):
            unit = _unit(number) if number else finest
            exact = _unit((right / share).normalize()) >= unit  # it has no more decimals
            allowed = max(anyway / share, Decimal(0) if exact else min(unit, most / share))
            found.append((abs(number - right / share), allowed))
        return found

    def furthest(tree: Any, **options: Any) -> tuple[Decimal, Decimal]:
        """Return the worst difference, relative to what is allowed."""
        return max(differences(tree, **options), key=lambda d: (d[0] / d[1] if d[1] else d[0], *d))

    off, allowed = furthest(got)
    right = off <= allowed and not turned
    looks_like = "" if right else _looks_like(got, turned, lambda tree: _fits(furthest(tree)))
    steps = len(example.x)
    averaged = name in ("loss", *(n for n in SHAPES if n.startswith("d_") and n != "d_loss_t"))
    divided = not (right or looks_like or turned) and averaged and steps > 1
    if divided and _fits(furthest(got, share=steps)):
        looks_like = (
            f"the right one divided by the {steps} steps: the book's loss is their sum, not "
            "their mean"
        )
    if not right and not looks_like and not turned:
        looks_like = TOO_FEW if _fits(furthest(got, most=Decimal("Infinity"))) else ""
    marks = iter([not _fits(found) for found in differences(got)])
    return Claim(name, got, want, off, allowed, right, looks_like, _like(got, marks))


def _right(example: Example, exact: Quantities, name: str) -> Any:
    """Return a quantity, or what follows from it by one product."""
    if name not in SHAPES.keys() - DEFINED.keys():
        return getattr(exact, SAME.get(name, name))
    d_a = [
        [(1 - h * h) * d_h for h, d_h in zip(*rows, strict=True)]
        for rows in zip(exact.h, exact.d_h, strict=True)
    ]
    if name == "d_a":
        return d_a
    back = [_back(example.U if name == "d_x" else example.W, row) for row in d_a]
    return back if name == "d_x" else back[0]


def _back(matrix: Any, row: list[Decimal]) -> list[Decimal]:
    """Return the product of a transposed matrix and a vector."""
    columns = zip(*matrix, strict=True)
    return [sum((Decimal(v) * d for v, d in zip(c, row, strict=True)), Decimal(0)) for c in columns]


def _nearest(name: Any) -> str:
    """Return '; did you mean ...?' for a claim's name, also in other notations of gradients."""
    if not isinstance(name, str):
        return ""
    if name in ("delta", "deltas"):  # other names of the gradient with respect to a(t)
        return "; did you mean d_a?"
    found = re.fullmatch(r"(?:dL_?d|grad|nabla|∇|d)_?(\w+)", name)
    meant = f"d_{found[1]}" if found else ""
    return f"; did you mean {meant}?" if meant in SHAPES else check.suggestion(name, SHAPES)


def _like(tree: Any, values: Iterator[bool]) -> Any:
    """Return values in nested lists like those of a tree."""
    return [_like(item, values) for item in tree] if isinstance(tree, list) else next(values)


def _fits(found: tuple[Decimal, Decimal]) -> bool:
    off, allowed = found
    return off <= allowed


def _own_eps(value: Any, got: Any) -> Decimal:
    """Return half the digits of an array less precise than float64, as an error; else 0."""
    known = EPS | HALF
    eps = known.get(str(getattr(value, "dtype", "")).split(".")[-1])
    if eps is None and any(len(number.as_tuple().digits) > MANY for number in flat(got)):
        eps = EPS["float32"] if all(map(_is_single, flat(got))) else None
    return Decimal(0) if eps is None else eps.sqrt()


def _is_single(number: Decimal) -> bool:
    """Return whether float32 holds a number exactly."""
    try:
        (single,) = struct.unpack("f", struct.pack("f", float(number)))
    except OverflowError:
        return False
    return bool(single == float(number))


def _decimals(tree: Any) -> Any:
    """Return nested lists of Decimal; floats have the digits that Python prints."""
    if isinstance(tree, (list, tuple)):
        return [_decimals(item) for item in tree]
    return Decimal(tree) if isinstance(tree, (int, Decimal)) else Decimal(repr(float(tree)))


def _unit(number: Decimal) -> Decimal:
    """Return one unit in the last place that is written."""
    exponent = number.as_tuple().exponent
    return Decimal(10) ** exponent if isinstance(exponent, int) else Decimal(0)


def _looks_like(got: Any, turned: bool, right: Callable[[Any], bool]) -> str:
    """Return the common mistake that explains the claim, or ''."""

    def negative(tree: Any) -> Any:
        return [negative(item) for item in tree] if isinstance(tree, list) else -tree

    if turned:  # got has been transposed back already
        shown = {"the transpose": got, "the negative transpose": negative(got)}
        for text, tree in shown.items():
            if right(tree):
                return f"{text} of the right one"
        return "of the shape of the transpose, by which it is shown transposed"
    tries = {"the negative": negative(got)}
    shape = shape_of(got)
    if len(shape) > 1 and shape[-1] == shape[-2]:
        tries |= {
            "the transpose": _transpose(got),
            "the negative transpose": negative(_transpose(got)),
        }
    for text, tree in tries.items():
        if right(tree):
            return f"{text} of the right one"
    return ""


def _transpose(tree: Any) -> Any:
    """Exchange the last two axes."""
    if isinstance(tree[0][0], list):
        return [_transpose(branch) for branch in tree]
    return [list(row) for row in zip(*tree, strict=True)]
