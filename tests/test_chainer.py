"""The converters of docs/howto/chainer.md, against the formulas of Chainer's links in NumPy.

The formulas are written from the definitions of Chainer 7, for one sequence and one step at a time.
"""

from pathlib import Path

import numpy as np
import pytest
from docs import blocks

import portable_rnn as prnn

PAGE = Path(__file__).parent.parent / "docs" / "howto" / "chainer.md"
I, H, LENGTHS = 3, 5, (4, 6, 1)  # noqa: E741 (the letters of the documents)


@pytest.fixture(scope="module")
def page():
    names = {}
    exec(blocks.find(PAGE.read_text(encoding="utf-8"), "python")[0].source, names)
    return names


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def n_step_lstm(w, b, x, h, c):
    """One step; the arrays are i, f, a, o of the input, and the same of the state."""
    i, f, a, o = (w[k] @ x + b[k] + w[k + 4] @ h + b[k + 4] for k in range(4))
    c = np.tanh(a) * sigmoid(i) + sigmoid(f) * c
    return sigmoid(o) * np.tanh(c), c


def n_step_gru(w, b, x, h, c):
    r, z = (sigmoid(w[k] @ x + b[k] + w[k + 3] @ h + b[k + 3]) for k in range(2))
    n = np.tanh(w[2] @ x + b[2] + r * (w[5] @ h + b[5]))
    return (1 - z) * n + z * h, c


def n_step_tanh(w, b, x, h, c):
    return np.tanh(w[0] @ x + b[0] + w[1] @ h + b[1]), c


CELLS = {"lstm": (n_step_lstm, 8), "gru": (n_step_gru, 6), "elman": (n_step_tanh, 2)}


def over_time(step, w, b, xs, size):
    h, c, ys = np.zeros(size), np.zeros(size), []
    for x in xs:
        h, c = step(w, b, x, h, c)
        ys.append(h)
    return np.array(ys)


def drawn(count, layers, directions):
    """Draw the arrays of a link, by Chainer's names."""
    rng, found = np.random.default_rng(0), {}
    for number in range(layers * directions):
        for j in range(count):
            of_input = I if number < directions else H * directions
            size = of_input if j < count // 2 else H
            found[f"{number}/w{j}"] = rng.normal(size=(H, size)) / 2
            found[f"{number}/b{j}"] = rng.normal(size=H)
    return found


def sequences():
    rng = np.random.default_rng(1)
    return [rng.normal(size=(length, I)) for length in LENGTHS]


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_weights_of_n_step_links_compute_the_same(page, cell, bidirectional):
    step, count = CELLS[cell]
    directions = 1 + bidirectional
    arrays = drawn(count, 2, directions)
    wanted = []
    for xs in sequences():
        for layer in range(2):
            parts = []
            for back in range(directions):
                own = [
                    [arrays[f"{layer * directions + back}/{letter}{j}"] for j in range(count)]
                    for letter in "wb"
                ]
                ys = over_time(step, *own, xs[::-1] if back else xs, H)
                parts.append(ys[::-1] if back else ys)
            xs = np.concatenate(parts, axis=1)
        wanted.append(xs)
    model = prnn.RNN(I, H, cell=cell, num_layers=2, bidirectional=bidirectional)
    params = page["from_n_step"](arrays, bidirectional=bidirectional)
    params = {name: params[name] for name in model.parameter_shapes}
    x, lengths = prnn.ragged.pack(sequences())
    outputs = prnn.predict(model, params, x, lengths=lengths)
    for got, want in zip(prnn.ragged.unpack(outputs, lengths), wanted, strict=True):
        assert np.abs(got - want).max() < 1e-12


def test_weights_of_lstm_links_compute_the_same(page):
    rng = np.random.default_rng(0)
    shapes = {"upward/W": (4 * H, I), "upward/b": (4 * H,), "lateral/W": (4 * H, H)}
    arrays = {name: rng.normal(size=shape) / 2 for name, shape in shapes.items()}

    def step(_, __, x, h, c):
        rows = arrays["upward/W"] @ x + arrays["upward/b"] + arrays["lateral/W"] @ h
        a, i, f, o = rows.reshape(H, 4).T  # four adjacent rows are one unit's
        c = np.tanh(a) * sigmoid(i) + c * sigmoid(f)
        return np.tanh(c) * sigmoid(o), c

    for xs in sequences():
        outputs = prnn.predict(prnn.RNN(I, H, cell="lstm"), page["from_lstm"](arrays), xs)
        assert np.abs(outputs - over_time(step, None, None, xs, H)).max() < 1e-12


def test_weights_of_gru_links_compute_the_same(page):
    rng = np.random.default_rng(0)
    arrays = {}
    for name in ("_r", "_z", ""):
        for letter, size in (("W", I), ("U", H)):
            arrays[f"{letter}{name}/W"] = rng.normal(size=(H, size)) / 2
            arrays[f"{letter}{name}/b"] = rng.normal(size=H)

    def linear(name, x):
        return arrays[f"{name}/W"] @ x + arrays[f"{name}/b"]

    def step(_, __, x, h, c):
        r = sigmoid(linear("W_r", x) + linear("U_r", h))
        z = sigmoid(linear("W_z", x) + linear("U_z", h))
        new = np.tanh(linear("W", x) + linear("U", r * h))
        return (1 - z) * h + z * new, c

    model, params = prnn.RNN(I, H, cell="reset_before_gru"), page["from_gru"](arrays)
    for xs in sequences():
        outputs = prnn.predict(model, params, xs)
        assert np.abs(outputs - over_time(step, None, None, xs, H)).max() < 1e-12


def test_the_mean_with_class_weights_divides_by_their_sum():
    y, t = np.zeros((4, 1, 2)), np.asarray([[0], [0], [1], [-1]])
    weights = np.asarray([1.0, 3.0])
    loss, _ = prnn.losses.softmax_cross_entropy(y, t, class_weights=weights, ignore_index=-1)
    assert np.isclose(loss, np.log(2))  # Chainer: 5/3 of it, for 3 labels
