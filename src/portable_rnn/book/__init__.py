"""Chapter 10 of *Deep Learning*, computed: every quantity of equations 10.8 to 10.28.

The network of Goodfellow, Bengio and Courville (2016), section 10.2.2, in the book's letters

    a(t) = b + W h(t-1) + U x(t)    h(t) = tanh(a(t))    o(t) = c + V h(t)    ŷ(t) = softmax(o(t))

on numbers drawn from a seed, or on your own: an `Example` of arrays, or from a file by `read`.
`compute` runs this library on any array library and records its intermediate values;
`differentiate` computes the same quantities with 50 digits, and shares no line with it; `compare`
compares the two, and `judge` checks somebody else's results. ``portable-rnn book`` prints all of
it, and the derivation in the documentation proves it.

Examples
--------
>>> from portable_rnn import book
>>> example = book.draw()
>>> checks = book.compare(example, book.compute(example), book.differentiate(example))
>>> max(check.error for check in checks) < 8.0  # in eps of float64
True
"""

from .checks import Check, compare, left_out
from .claims import Claim, check_claims, judge
from .computed import compute
from .equations import EQUATIONS, Equation, Quantities
from .exact import differentiate
from .example import Example, draw
from .files import read, write
from .latex import document

__all__ = [
    "EQUATIONS",
    "Check",
    "Claim",
    "Equation",
    "Example",
    "Quantities",
    "check_claims",
    "compare",
    "compute",
    "differentiate",
    "document",
    "draw",
    "judge",
    "left_out",
    "read",
    "write",
]
