"""The worked example as a LaTeX document: every equation, and its numbers below it."""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from .._arrays import checks as _check
from .._arrays.signatures import named_options
from . import arguments
from .checks import Check

__all__ = ["array", "document", "number", "symbol"]

LARGE = 1e7  # numbers from here on are written with an exponent, to limit their digits
PREAMBLE = r"""\documentclass{article}
\usepackage{amsmath, amssymb}
\usepackage[landscape, margin=1cm]{geometry}
\setcounter{MaxMatrixCols}{500}
\allowdisplaybreaks
\begin{document}"""


@named_options
def document(checks: Sequence[Check], title: str, digits: int = 5) -> str:
    r"""Return a document that typesets every check under its equation.

    Parameters
    ----------
    checks : sequence of Check
    title : str
        The first line, in LaTeX.
    digits : int
        Decimals of every number, from 1 to 1000.

    Returns
    -------
    str

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, or ``digits`` is out of bounds.

    Examples
    --------
    >>> from portable_rnn import book
    >>> example = book.draw()
    >>> checks = book.compare(example, book.compute(example), book.differentiate(example))
    >>> print(book.document(checks, "The example").splitlines()[-1])
    \end{document}
    """
    arguments.instances("checks", checks, Check)
    _check.text("title", title)
    digits = arguments.digits(digits)
    lines = [PREAMBLE, title, ""]
    for equation, group in groupby(checks, key=lambda check: check.equation):
        lines += [
            f"{_words(equation.says)}:",
            rf"\begin{{gather*}} {equation.latex} \tag{{{equation.number}}} \\",
        ]
        rows = []
        for check in group:
            error = f"{check.error:.1f}"
            rows.append(
                f"{symbol(check)} = {array(check.got, digits)}"
                rf" \qquad \text{{independent: }} {array(check.want, digits)}"
                rf" \quad ({error}\,\varepsilon)"
            )
        lines += [" \\\\\n".join(rows), r"\end{gather*}", ""]
    return "\n".join([*lines, r"\end{document}"])


def _words(says: str) -> str:
    says = says.replace("ŷ_i", r"$\hat y_i$").replace("ŷ", r"$\hat y$")
    return says[0].upper() + says[1:]


def symbol(check: Check) -> str:
    """Return the LaTeX symbol of the checked quantity, with its step."""
    if check.step is None:
        return check.part.latex
    letter, step = check.part.latex, rf"^{{({check.step})}}"
    for gradient in ("o", "h"):  # ∇_h L of step t is written ∇_{h^(t)} L
        if letter == rf"\nabla_{gradient} L":
            return rf"\nabla_{{{gradient}{step}}} L"
    if letter.startswith(r"\nabla_"):
        return rf"\nabla_{{{letter[7]}{step}}} L"
    compound = " " in letter.removeprefix(r"\hat ").removeprefix(r"\log ")
    return rf"\bigl({letter}\bigr){step}" if compound else rf"{letter}{step}"


def array(tree: Any, digits: int = 5) -> str:
    """Return a number, a column vector or a matrix."""
    if not isinstance(tree, (list, tuple)):
        return number(tree, digits)
    rows = [row if isinstance(row, (list, tuple)) else [row] for row in tree]
    body = r" \\ ".join(" & ".join(number(v, digits) for v in row) for row in rows)
    return rf"\begin{{pmatrix}} {body} \end{{pmatrix}}"


def number(value: Any, digits: int = 5) -> str:
    """Return a number with a fixed count of decimals, and no minus before zero."""
    if value >= LARGE or value <= -LARGE:  # abs rounds, for huge exponents to infinity
        return f"{value:.{digits}e}"
    text = f"{value:.{digits}f}"
    return text.lstrip("-") if set(text) <= set("-0.") else text
