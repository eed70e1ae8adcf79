"""Deep Learning (Goodfellow, Bengio, Courville 2016), section 10.2.2, with mpmath's 50 digits.

The book's own recursion, equation by equation, as loops over scalars, in the book's letters

    a(t) = b + W h(t-1) + U x(t)    h(t) = tanh(a(t))    o(t) = c + V h(t)

`forward` and `recursion` take a dict of nested lists with the keys U, W, b, V, c, h0 and x, and
the targets as a row per step.
"""

from typing import Any

import mpmath

__all__ = ["dot", "exact", "forward", "recursion"]


def exact(tree):
    """Convert nested sequences of floats to nested lists of exactly the same numbers."""
    try:
        return [exact(branch) for branch in tree]
    except TypeError:
        return mpmath.mpf(float(tree))


def dot(row, v):
    return mpmath.fsum(a * b for a, b in zip(row, v, strict=True))


def forward(p, y):
    """Equations 10.8 to 10.14: a, h, o, ŷ, and the loss of every step."""
    found: dict[str, list[Any]] = {name: [] for name in ("a", "h", "o", "y_hat", "loss_t")}
    h = p["h0"]
    for x, row in zip(p["x"], y, strict=True):
        a = [b + dot(w, h) + dot(u, x) for b, w, u in zip(p["b"], p["W"], p["U"], strict=True)]
        h = [mpmath.tanh(value) for value in a]
        o = [c + dot(v, h) for c, v in zip(p["c"], p["V"], strict=True)]
        total = mpmath.fsum(map(mpmath.exp, o))
        y_hat = [mpmath.exp(value) / total for value in o]
        loss = -mpmath.fsum(
            w * (value - mpmath.log(total)) for w, value in zip(row, o, strict=True)
        )
        for name, value in (("a", a), ("h", h), ("o", o), ("y_hat", y_hat), ("loss_t", loss)):
            found[name].append(value)
    return found | {"loss": mpmath.fsum(found["loss_t"])}


def recursion(p, y):
    """Equations 10.18 to 10.28, and the gradients with respect to x and h(0).

    Named as in `portable_rnn.book.Quantities`; ``d_x`` and ``d_h0`` are not in the book.
    """
    ran = forward(p, y)
    hidden, inputs = range(len(p["b"])), range(len(p["x"][0]))
    before = [p["h0"], *ran["h"][:-1]]
    steps: list[Any] = []
    later = [mpmath.mpf(0) for _ in hidden]
    for t in reversed(range(len(y))):
        h = ran["h"][t]
        # 10.18; a row of sum s weighs the softmax by s, and s = 1 for a one-hot row.
        s = mpmath.fsum(y[t])
        d_o = [s * p_k - y_k for p_k, y_k in zip(ran["y_hat"][t], y[t], strict=True)]
        output = [mpmath.fsum(p["V"][k][i] * d for k, d in enumerate(d_o)) for i in hidden]
        d_h = [later[i] + output[i] for i in hidden]  # 10.19 for the last step, 10.20
        d_a = [(1 - h[i] ** 2) * d_h[i] for i in hidden]
        step = {"d_o": d_o, "d_h": d_h, "from_later": later, "from_output": output, "d_a": d_a}
        step["V"] = [[d * h_i for h_i in h] for d in d_o]
        step["d_W_t"] = [[d * h_j for h_j in before[t]] for d in d_a]  # 10.25
        step["d_U_t"] = [[d * x_j for x_j in p["x"][t]] for d in d_a]  # 10.27
        step["d_x"] = [mpmath.fsum(p["U"][i][j] * d_a[i] for i in hidden) for j in inputs]
        steps.insert(0, step)
        # Wᵀ diag(1 - h(t)²) ∇h(t), which is 10.21's first term for the step before
        later = [mpmath.fsum(p["W"][i][j] * d_a[i] for i in hidden) for j in hidden]
    of = {name: [step[name] for step in steps] for name in steps[0]}
    sums = {
        "d_c": of["d_o"],  # 10.22
        "d_b": of["d_a"],  # 10.23
        "d_V": of["V"],  # 10.24
        "d_W": of["d_W_t"],  # 10.26
        "d_U": of["d_U_t"],  # 10.28
    }
    return of | {name: add(terms) for name, terms in sums.items()} | {"d_h0": later}


def add(terms):
    """Return the sum over the first axis of nested lists."""
    if not isinstance(terms[0], list):
        return mpmath.fsum(terms)
    return [add(branches) for branches in zip(*terms, strict=True)]
