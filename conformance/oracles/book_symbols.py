"""The unrolled loss of the book's network as one SymPy expression, differentiated exactly.

Two inputs, two hidden units and two outputs over three steps: derivatives of the whole expression
grow so fast with the sizes that larger ones would take hours instead of seconds. Every number is a
symbol. To differentiate by an intermediate quantity, a symbol that is zero is added to it, one on
each path from it; and every step has its own weights W(t) and U(t). Derivatives by a weight that
all steps share are sums over its copies: that is the chain rule, and the only part not by SymPy.
"""

import functools
from typing import Any

import mpmath
import sympy

from .book_recursion import add

__all__ = ["SIZES", "STEPS", "derivatives"]

SIZES, STEPS = (2, 2, 2), 3  # I, H, O and T


def grid(name, *shape):
    if not shape:
        return sympy.Symbol(name)
    return [grid(f"{name}_{i}", *shape[1:]) for i in range(shape[0])]


def flat(tree):
    return [leaf for branch in tree for leaf in flat(branch)] if isinstance(tree, list) else [tree]


def like(tree, leaves):
    """Arrange an iterator of leaves in the shape of a tree."""
    return [like(branch, leaves) for branch in tree] if isinstance(tree, list) else next(leaves)


def dot(row, v):
    return sum(a * b for a, b in zip(row, v, strict=True))


@functools.cache
def unrolled():
    """Return all symbols, the values, the symbols to differentiate by, and a function of all."""
    I, H, O = SIZES  # noqa: E741
    T = STEPS
    s = {
        **{"W": grid("W", T, H, H), "U": grid("U", T, H, I), "b": grid("b", H)},
        **{"V": grid("V", O, H), "c": grid("c", O), "h0": grid("h0", H)},
        **{"x": grid("x", T, I), "y": grid("y", T, O)},
        **{"later": grid("later", T, H), "output": grid("output", T, H), "o": grid("o", T, O)},
    }
    values: dict[str, list[Any]] = {name: [] for name in ("a", "h", "o", "y_hat", "loss_t")}
    before = s["h0"]
    for t in range(T):
        rows = zip(s["b"], s["W"][t], s["U"][t], strict=True)
        a = [b + dot(w, before) + dot(u, s["x"][t]) for b, w, u in rows]
        h = [sympy.tanh(value) for value in a]
        before = [value + zero for value, zero in zip(h, s["later"][t], strict=True)]
        seen = [value + zero for value, zero in zip(h, s["output"][t], strict=True)]
        rows = zip(s["c"], s["V"], s["o"][t], strict=True)
        o = [c + dot(v, seen) + zero for c, v, zero in rows]
        total = sum(sympy.exp(value) for value in o)
        y_hat = [sympy.exp(value) / total for value in o]
        loss = -dot(s["y"][t], [value - sympy.log(total) for value in o])
        for name, value in (("a", a), ("h", h), ("o", o), ("y_hat", y_hat), ("loss_t", loss)):
            values[name].append(value)
    loss = sum(values["loss_t"])
    within = {name: s[name] for name in ("W", "U", "b", "V", "c", "later", "output", "o")}
    found = [
        *flat(list(values.values())),
        *(sympy.diff(loss, leaf) for leaf in flat(list(within.values()))),
    ]
    call = sympy.lambdify(flat(list(s.values())), found, modules="mpmath", cse=True)
    return s, values, within, call


def derivatives(p, y):
    """Evaluate everything at the numbers of ``p``, as `book_recursion.recursion` takes them."""
    s, values, within, call = unrolled()
    given = p | {"W": [p["W"]] * STEPS, "U": [p["U"]] * STEPS, "y": y}
    zeros = {name: like(s[name], iter(lambda: mpmath.mpf(0), None)) for name in ("later", "output")}
    zeros["o"] = like(s["o"], iter(lambda: mpmath.mpf(0), None))
    numbers = given | zeros
    leaves = iter(call(*flat([numbers[name] for name in s])))
    ran = {name: like(tree, leaves) for name, tree in values.items()}
    d = {name: like(tree, leaves) for name, tree in within.items()}
    return ran | {
        "loss": mpmath.fsum(ran["loss_t"]),
        "d_o": d["o"],
        "from_later": d["later"],
        "from_output": d["output"],
        "d_h": [add(list(ways)) for ways in zip(d["later"], d["output"], strict=True)],
        "d_c": d["c"],
        "d_b": d["b"],
        "d_V": d["V"],
        "d_W_t": d["W"],
        "d_W": add(d["W"]),
        "d_U_t": d["U"],
        "d_U": add(d["U"]),
    }
