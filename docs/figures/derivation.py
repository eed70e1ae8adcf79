"""Keep docs/derivation.md up to date: ``python docs/figures/derivation.py`` regenerates its parts.

Two kinds of comment in the page begin a generated part, and ``<!-- end -->`` ends it:

``<!-- code: affine.affine from "y = " to "return y" -->``
    Lines of the library, from the first that contains one text to the first after it that contains
    the other, within the named function; without ``from``, its body without docstring.

``<!-- numbers: 10.21 -->``
    The values of an equation, or of one of `EXTRAS` below, in the worked example.

A test regenerates the page and compares, so no quotation is stale and no number typed by hand.
"""

import ast
import re
import textwrap
from decimal import Decimal
from pathlib import Path

import portable_rnn
from portable_rnn import book
from portable_rnn.book import latex

PAGE = Path(__file__).parent.parent / "derivation.md"
SOURCE = Path(portable_rnn.__file__).parent
DIGITS = 5
PART = re.compile(r"^<!-- (code|numbers): (.*?) -->\n(?:.*?^<!-- end -->\n)?", re.M | re.S)

example = book.draw()
general = book.draw(targets="general")
exact = book.differentiate(example)
exact_general = book.differentiate(general)


# ------------------------------------------------------------------------- code


def function_lines(where: str) -> list[str]:
    """Return the lines of a function of the library, without its docstring."""
    module, *path = where.split(".")
    file = SOURCE / module
    while file.is_dir():
        file /= path.pop(0)
    text = file.with_suffix(".py").read_text(encoding="utf-8")
    node: ast.AST = ast.parse(text)
    for name in path:
        node = next(child for child in ast.walk(node) if getattr(child, "name", None) == name)
    first, last, drop = node.lineno, node.end_lineno, range(0)
    if ast.get_docstring(node) is not None:
        drop = range(node.body[0].lineno, node.body[0].end_lineno + 1)
    lines = text.splitlines()
    return [lines[n - 1] for n in range(first, last + 1) if n not in drop]


def code(order: str) -> str:
    """Return the quotation that a comment specifies."""
    found = re.fullmatch(r'(\S+)(?: from "(.*?)" to "(.*?)")?', order)
    if found is None:
        raise ValueError(f"code: expected NAME from TEXT to TEXT, got {order!r}")
    where, start, end = found.groups()
    lines = function_lines(where)
    if start is not None:
        first = next((n for n, line in enumerate(lines) if start in line), None)
        if first is None:
            raise ValueError(f"{where}: no line contains {start!r}")
        last = next((n for n, line in enumerate(lines[first:], first) if end in line), None)
        if last is None:
            raise ValueError(f"{where}: no line after {start!r} contains {end!r}")
        lines = lines[first : last + 1]
    body = textwrap.dedent("\n".join(lines))
    return f'```py title="portable_rnn.{where}"\n{body}\n```\n'


# ---------------------------------------------------------------------- numbers


def values(number: str) -> str:
    """Return the exact values of an equation, rounded, as LaTeX."""
    checks = [
        c for c in book.compare(example, EXACT_AS_FOUND, exact) if c.equation.number == number
    ]
    terms = [f"{latex.symbol(c)} = {latex.array(c.want, DIGITS)}" for c in checks]
    return displayed(_lines(terms))


def displayed(lines: list[str]) -> str:
    """Return formulas, each in its own paragraph."""
    return "\n".join(f"$${line}$$\n" for line in lines)


def _lines(terms: list[str]) -> list[str]:
    """Arrange short terms in one line."""
    wide = any("&" in term for term in terms)
    per_line = 1 if wide else 2 if len(terms) == 4 else 3
    groups = [terms[n : n + per_line] for n in range(0, len(terms), per_line)]
    return [r" \qquad ".join(group) for group in groups]


def given() -> str:
    """The numbers of the example."""
    names = {"h0": "h^{(0)}"}
    lines = []
    for group in ("U", "W", "V", ("b", "c", "h0"), "x", "y"):
        terms = []
        for letter in group:
            numbers = getattr(example, letter)
            if letter in ("x", "y"):
                terms += [
                    rf"{letter}^{{({t})}} = {latex.array(row, 4)}"
                    for t, row in enumerate(numbers, 1)
                ]
            else:
                terms.append(f"{names.get(letter, letter)} = {latex.array(numbers, 5)}")
        lines.append(r" \qquad ".join(terms))
    return displayed(lines)


def matrix(y_hat: list[Decimal]) -> list[list[Decimal]]:
    """Return ŷ 1ᵀ - I, the matrix of the question."""
    return [[p - (i == j) for j in range(len(y_hat))] for i, p in enumerate(y_hat)]


def question() -> str:
    """The matrix of the question times y, for a one-hot row and for a general one."""
    lines = []
    for what, found in ((example, exact), (general, exact_general)):
        y, y_hat = what.y[0], found.y_hat[0]
        total = sum(map(Decimal, y))
        lines.append(
            rf"\underbrace{{{latex.array(matrix(y_hat), DIGITS)}}}_{{\hat y \mathbf 1^\top - I}}"
            rf" \underbrace{{{latex.array(y, 4)}}}_{{y}} = {latex.array(found.d_o[0], DIGITS)},"
            rf" \qquad \textstyle\sum_j y_j = {latex.number(total, 4)}"
        )
    naive = [p - Decimal(v) for p, v in zip(exact_general.y_hat[0], general.y[0], strict=True)]
    lines.append(
        rf"\text{{and for the second }} y:\quad \hat y - y = {latex.array(naive, DIGITS)}"
        rf" \neq {latex.array(exact_general.d_o[0], DIGITS)} = \hat y \textstyle\sum_j y_j - y"
    )
    return displayed(lines)


def jacobian() -> str:
    """∂ŷ/∂h of the first step."""
    return (
        r"$$\frac{\partial \hat y^{(1)}}{\partial h^{(1)}} = "
        rf"{latex.array(exact.jacobian[0], DIGITS)}$$" + "\n"
    )


def cancellation() -> str:
    """The chain rule through ŷ of the first step, term by term."""
    d_y_hat = latex.array([exact.d_y_hat[0]], DIGITS)
    return (
        rf"$$\Bigl(-\frac{{y_i}}{{\hat y_i}}\Bigr)_i = {d_y_hat}$$" + "\n\n"
        r"$$\sum_i \Bigl(-\frac{y_i}{\hat y_i}\Bigr) \frac{\partial \hat y_i}{\partial h_j} = "
        rf"{latex.array([exact.from_output[0]], DIGITS)} = (V^\top \nabla_o L)^\top$$" + "\n\n"
        rf"$$\text{{with one minus sign more:}}\quad "
        rf"{latex.array([[-v for v in exact.from_output[0]]], DIGITS)}$$" + "\n"
    )


def copied() -> tuple[Decimal, Decimal]:
    """Return ∂ŷ_1/∂h_1 of the first step: right, and with v_1 under c_2 and c_3 in the bracket."""
    V = [[Decimal(v) for v in row] for row in example.V]
    c = [Decimal(v) for v in example.c]
    h = exact.h[0]

    def power(k: int, row: int) -> Decimal:
        """Return exp(c_k + Σ_i v_{row, i} h_i)."""
        return (c[k] + sum(v * h_i for v, h_i in zip(V[row], h, strict=True))).exp()

    e = [power(k, k) for k in range(len(c))]
    total = sum(e)

    def slope(bracket: list[Decimal]) -> Decimal:
        inner = sum(V[k][0] * term for k, term in enumerate(bracket))
        return (V[0][0] * e[0] * total - inner * e[0]) / total**2

    return slope(e), slope([power(k, 0) for k in range(len(c))])


def index() -> str:
    """The two values of `copied`."""
    right, wrong = copied()
    return (
        rf"$$\frac{{\partial \hat y_1}}{{\partial h_1}} = {latex.number(right, DIGITS)}"
        rf" \quad\text{{with }} v_{{2i}}, v_{{3i}}, \qquad {latex.number(wrong, DIGITS)}"
        r" \quad\text{with } v_{1i} \text{ for both}$$" + "\n"
    )


EXTRAS = {
    "given": given,
    "question": question,
    "jacobian": jacobian,
    "cancellation": cancellation,
    "index": index,
}
EXACT_AS_FOUND = exact._replace(matrix_times_y=exact.d_o, by_way_of_y_hat=exact.from_output)


def renewed(page: str) -> str:
    """Return the page with all generated parts regenerated."""

    def part(mark: re.Match[str]) -> str:
        kind, order = mark.groups()
        if kind == "code":
            made = code(order)
        else:
            made = EXTRAS[order]() if order in EXTRAS else values(order)
        return f"<!-- {kind}: {order} -->\n\n{made}\n<!-- end -->\n"

    return PART.sub(part, page)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
