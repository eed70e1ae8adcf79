"""Draw the pictures of the derivation: ``python docs/figures/pictures.py``."""

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np

import portable_rnn as prnn

sys.path.insert(0, str(Path(__file__).parent))
from svg import Picture

IMAGES = Path(__file__).parent.parent / "images"
RADII = (0.5, 1.0, 1.5)


def unrolled() -> str:
    """The network over three steps, every edge with the numbers of its equations."""
    p = Picture(
        960,
        560,
        "The unrolled network and its equations",
        "Inputs x, hidden states h, outputs o and losses L of three steps. Forward edges carry "
        "equations 10.8 to 10.14; edges of the gradients, the other way, 10.17 to 10.28.",
    )
    columns, rows = (240, 480, 720), {"L": 80, "o": 200, "h": 330, "x": 470}
    r = 28
    for number, x in zip(("1", "2", "τ"), columns, strict=True):
        for letter, y in rows.items():
            p.circle(x, y, r, f"{letter}^{{({number})}}")
        p.text(x + 44, rows["L"] - 22, f"y^{{({number})}}", "muted", 17, letters=True)
        p.line([(x + 46, rows["L"] - 20), (x + 25, rows["L"] - 11)], "muted", arrow=True)
        for low, high in (("x", "h"), ("h", "o"), ("o", "L")):
            top, bottom = rows[high] + r + 3, rows[low] - r - 3
            p.line([(x - 8, bottom), (x - 8, top)], "forward", 1.8, arrow=True)
            p.line([(x + 8, top), (x + 8, bottom)], "backward", 1.8, arrow=True)
    y = rows["h"]
    p.circle(70, y, r, "h^{(0)}", "muted")
    for left, right in ((70, columns[0]), *pairwise(columns)):
        p.line([(left + r + 3, y - 8), (right - r - 3, y - 8)], "forward", 1.8, arrow=True)
        p.line([(right - r - 3, y + 8), (left + r + 3, y + 8)], "backward", 1.8, arrow=True)
    first, middle, last = columns

    def label(x, y, letter, numbers, colour, anchor="start"):
        if letter:
            p.text(x, y - 18, letter, colour, 18, anchor=anchor, letters=True)
        p.text(x, y, numbers, colour, 14, anchor=anchor, bold=True)

    label(first - 18, 410, "U, b", "10.8, 10.9", "forward", "end")
    label(first - 18, 272, "V, c", "10.10", "forward", "end")
    label(first - 18, 144, "", "10.11 – 10.14", "forward", "end")
    for x in ((first + middle) / 2, (middle + last) / 2):
        label(x, y - 18, "W", "10.8, 10.9", "forward", "middle")
        p.text(x, y + 30, "10.20, 10.21", "backward", 14, anchor="middle", bold=True)
    label(last + 20, 144, "", "10.17, 10.18", "backward")
    label(last + 20, 272, "", "10.19", "backward")
    label(middle + 20, 272, "", "10.20", "backward")
    p.text(840, 208, "∇_{c}L", "backward", 18, letters=True)
    p.text(888, 208, "10.22", "backward", 14, bold=True)
    p.text(840, 240, "∇_{V}L", "backward", 18, letters=True)
    p.text(888, 240, "10.24", "backward", 14, bold=True)
    p.text(782, 338, "∇_{b}L", "backward", 18, letters=True)
    p.text(832, 338, "10.23", "backward", 14, bold=True)
    p.text(782, 370, "∇_{W}L", "backward", 18, letters=True)
    p.text(832, 370, "10.25, 10.26", "backward", 14, bold=True)
    p.text(782, 402, "∇_{U}L", "backward", 18, letters=True)
    p.text(832, 402, "10.27, 10.28", "backward", 14, bold=True)
    p.line([(40, 534), (80, 534)], "forward", 2, arrow=True)
    p.text(90, 539, "forward: values", "forward")
    p.line([(270, 534), (230, 534)], "backward", 2, arrow=True)
    p.text(280, 539, "backward: gradients of L = Σ L(t)", "backward")
    return p.source()


def gradient_norms(radius: float, steps: int = 60, hidden: int = 100) -> np.ndarray:
    """Return the gradient norms of the last state with respect to every earlier state."""
    rng = np.random.default_rng(0)
    W = rng.standard_normal((hidden, hidden))
    W *= radius / np.max(np.abs(np.linalg.eigvals(W)))
    model = prnn.RNN(input_size=1, hidden_size=hidden, bias=False)
    params = {"weight_ih_l0": 0.1 * rng.standard_normal((hidden, 1)), "weight_hh_l0": W}
    x, state, tapes = rng.standard_normal((steps, 1)), np.zeros((1, hidden)), []
    for t in range(steps):
        ran = prnn.forward(model, params, x[t : t + 1], state)
        state = ran.state
        tapes.append(ran.tape)
    d = rng.standard_normal((1, hidden))
    d /= np.linalg.norm(d)
    norms = [1.0]
    for tape in reversed(tapes):
        d = prnn.backward(model, params, tape, d_state=d).state
        norms.append(float(np.linalg.norm(d)))
    return np.asarray(norms)


def norms() -> str:
    """Gradient norm through time for three spectral radii of W, on a logarithmic scale."""
    p = Picture(
        860,
        470,
        "Gradient norm through time for three spectral radii",
        "The norm of the gradient in h(τ - k) against k, the steps back from the end, for spectral "
        "radii of W of 0.5, 1.0 and 1.5: it vanishes, fades slowly, and grows. Dashed, what the "
        "radius to the power k alone would give.",
    )
    left, right, top, bottom = 86, 690, 40, 400
    highest, lowest, steps = 12, -20, 60

    def place(k, value):
        share = (highest - np.log10(value)) / (highest - lowest)
        return left + (right - left) * k / steps, top + (bottom - top) * share

    for power in range(lowest, highest + 1, 4):
        _, y = place(0, 10.0**power)
        p.line([(left, y), (right, y)], "faint", 0.8 if power else 1.6)
        p.text(left - 10, y + 5, f"10^{{{power}}}".replace("-", "−"), "muted", 14, anchor="end")
    for k in range(0, steps + 1, 10):
        x, _ = place(k, 1.0)
        p.line([(x, bottom), (x, bottom + 5)], "muted", 1)
        p.text(x, bottom + 22, str(k), "muted", 14, anchor="middle")
    p.text(
        (left + right) / 2, bottom + 50, "steps back from the end, k = τ − t", "ink", 15, "middle"
    )
    p.text(left, top - 14, "‖∇_{h} L‖ at t = τ − k, over its value at τ", "ink", 15)
    for radius, colour in zip(RADII, ("forward", "third", "backward"), strict=True):
        found = gradient_norms(radius, steps)
        if radius != 1.0:
            p.line([place(k, radius**k) for k in (0, steps)], colour, 1.3, dashed=True)
        p.line([place(k, value) for k, value in enumerate(found)], colour, 2.4)
        x, y = place(steps, found[-1])
        p.text(x + 10, y + 1, f"spectral radius {radius}", colour, 14, bold=True)
        factor = (found[-1] / found[0]) ** (1 / steps)
        p.text(x + 10, y + 18, f"× {factor:.2f} a step", colour, 13)
    p.line([(left + 20, bottom - 24), (left + 56, bottom - 24)], "muted", 1.3, dashed=True)
    p.text(left + 64, bottom - 19, "spectral radius to the power k", "muted", 13)
    return p.source()


def scans() -> str:
    """Forward and backward pass: one loop each, all large products outside of it."""
    p = Picture(
        960,
        620,
        "Forward and backward pass as two scans",
        "The forward scan carries h from the first step to the last, between one product for all "
        "inputs and one for all outputs. The backward scan carries the gradient in h from the last "
        "step to the first, and after it each weight has its gradient by one product.",
    )
    columns, width = (210, 390, 570, 750), 110

    def bar(y, text, colour):
        p.box(150, y, 730, 36, colour)
        p.text(515, y + 23, text, colour, 15, anchor="middle")

    names = ("1", "2", "…", "τ")
    bar(24, "all steps at once:  U x(t) + b,  one product", "forward")
    bar(212, "all steps at once:  o(t) = c + V h(t),  one product;  then ŷ and L", "forward")
    bar(372, "all steps at once:  Vᵀ ∇o(t) L,  one product", "backward")
    bar(560, "all steps at once:  ∇U, ∇W, ∇V one product each;  ∇b, ∇c one sum each", "backward")
    for y, colour, arrow_from, carry, end in (
        (112, "forward", 1, "h", "h^{(0)}"),
        (460, "backward", -1, "∇h", "∇h^{(0)}"),
    ):
        p.text(
            20, y - 22, "forward scan" if arrow_from > 0 else "backward scan", colour, 15, bold=True
        )
        p.text(20, y - 2, "t = 1, …, τ" if arrow_from > 0 else "t = τ, …, 1", colour, 14)
        for x, name in zip(columns, names, strict=True):
            step = "step" if arrow_from > 0 else "step vjp"
            p.box(x - width / 2, y, width, 52, colour)
            p.text(x, y + 24, f"{step} {name}" if name != "…" else "…", colour, 15, anchor="middle")
            inside = "tanh(Wh + ·)" if arrow_from > 0 else "∇a, then Wᵀ∇a"
            if name != "…":
                p.text(x, y + 43, inside, "muted", 13, anchor="middle")
            above, below = y - 52, y + 100
            p.line([(x, above), (x, y - 2)], colour, 1.6, arrow=True)
            p.line([(x, y + 54), (x, below - 2)], colour, 1.6, arrow=True)
            if name == "…":
                continue
            given = f"Ux^{{({name})}} + b" if arrow_from > 0 else f"V^{{T}}∇o^{{({name})}}"
            made = f"h^{{({name})}}" if arrow_from > 0 else f"∇a^{{({name})}}"
            p.text(x + 9, y - 20, given, colour, 15, letters=True)
            p.text(x + 9, y + 84, made, colour, 15, letters=True)
        for left, right in pairwise(columns):
            ends = [(left + width / 2 + 2, y + 26), (right - width / 2 - 2, y + 26)]
            p.line(ends[::arrow_from], colour, 2.2, arrow=True)
            p.text((left + right) / 2, y + 18, carry, colour, 16, anchor="middle", letters=True)
        outer = [(columns[0] - width / 2 - 40, y + 26), (columns[0] - width / 2 - 2, y + 26)]
        p.line(outer[::arrow_from], colour, 2.2, arrow=True)
        p.text(outer[0][0] - 4, y + 12, end, colour, 15, anchor="start", letters=True)
        if arrow_from > 0:
            p.line(
                [(columns[-1] + 57, y + 26), (columns[-1] + 100, y + 26)], colour, 2.2, arrow=True
            )
            p.text(columns[-1] + 104, y + 31, "h^{(τ)}", colour, 16, letters=True)
        else:
            p.line(
                [(columns[-1] + 100, y + 26), (columns[-1] + 57, y + 26)], colour, 2.2, arrow=True
            )
            p.text(columns[-1] + 106, y + 31, "0", colour, 16)
    p.line([(515, 250), (515, 370)], "muted", 1.6, arrow=True)
    p.text(527, 302, "∇o(t) L = ŷ(t) Σy − y(t), all steps at once", "muted", 14)
    p.text(527, 324, "kept from the forward scan for the backward one: h(t)", "muted", 14)
    return p.source()


PICTURES = {
    "derivation-unrolled.svg": unrolled,
    "derivation-norms.svg": norms,
    "derivation-scans.svg": scans,
}


def main() -> None:
    """Write all pictures."""
    for name, draw in PICTURES.items():
        (IMAGES / name).write_text(draw(), encoding="utf-8")


if __name__ == "__main__":
    main()
