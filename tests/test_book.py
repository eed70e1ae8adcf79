"""Deep Learning (Goodfellow, Bengio, Courville 2016), section 10.2.2, in 50 digits.

The network of the book, 4 inputs, 5 hidden units and 3 outputs, with the book's letters

    a(t) = b + W h(t-1) + U x(t)    h(t) = tanh(a(t))    o(t) = c + V h(t)

and its recursion for the gradients, written below with loops over mpmath numbers and nothing of
the library. The oracle checks itself: its gradients agree with central differences to 1e-25.
"""

import mpmath
import numpy as np
import pytest
from conformance.tolerances import assert_close

import portable_rnn as prnn

I, H, O = 4, 5, 3  # noqa: E741
LETTERS = {
    "U": "weight_ih_l0",
    "W": "weight_hh_l0",
    "b": "bias_ih_l0",
    "V": "readout.weight",
    "c": "readout.bias",
}
SHAPES = {"U": (H, I), "W": (H, H), "b": (H,), "V": (O, H), "c": (O,), "h0": (H,)}


@pytest.fixture(autouse=True)
def fifty_digits():
    with mpmath.workdps(50):
        yield


def draw(steps, seed):
    rng = np.random.default_rng(seed)
    shapes = SHAPES | {"x": (steps, I)}
    return {letter: rng.uniform(-0.8, 0.8, shape) for letter, shape in shapes.items()}


def exact(array):
    """Turn an array into nested lists of the very same numbers."""
    return [exact(row) if np.ndim(row) else mpmath.mpf(float(row)) for row in array]


def dot(row, v):
    return mpmath.fsum(a * b for a, b in zip(row, v, strict=True))


def forward(p, y):
    """Equations 10.8 to 10.11, 10.12 to 10.14 for the loss; y holds a row per step."""
    h, o, loss = [p["h0"]], [], mpmath.mpf(0)
    for x, row in zip(p["x"], y, strict=True):
        a = [p["b"][i] + dot(p["W"][i], h[-1]) + dot(p["U"][i], x) for i in range(H)]
        h.append([mpmath.tanh(value) for value in a])
        o.append([p["c"][k] + dot(p["V"][k], h[-1]) for k in range(O)])
        log_sum = mpmath.log(mpmath.fsum(map(mpmath.exp, o[-1])))
        loss -= mpmath.fsum(row[k] * (o[-1][k] - log_sum) for k in range(O))
    return h, o, loss


def recursion(p, y):
    """Equations 10.18 to 10.28: gradients by every letter, nothing shared with the library."""
    h, o, _ = forward(p, y)
    steps = len(y)
    g = {"o": [], "x": [[mpmath.mpf(0)] * I for _ in range(steps)]}
    for letter, shape in SHAPES.items():
        zeros = [mpmath.mpf(0)] * shape[-1]
        g[letter] = [list(zeros) for _ in range(shape[0])] if len(shape) == 2 else zeros
    from_later = [mpmath.mpf(0)] * H  # Wᵀ diag(1 - h(t+1)²) ∇h(t+1), of 10.21
    for t in reversed(range(steps)):
        total = mpmath.fsum(map(mpmath.exp, o[t]))
        # 10.18; a row of sum s weighs the softmax by s, and s = 1 for a one-hot row.
        s = mpmath.fsum(y[t])
        d_o = [s * mpmath.exp(o[t][k]) / total - y[t][k] for k in range(O)]
        g["o"].append(d_o)
        # 10.19 for the last step, 10.21 for every other
        d_h = [
            from_later[i] + mpmath.fsum(p["V"][k][i] * d_o[k] for k in range(O)) for i in range(H)
        ]
        d_a = [d_h[i] * (1 - h[t + 1][i] ** 2) for i in range(H)]
        for k in range(O):
            g["c"][k] += d_o[k]  # 10.22
            for i in range(H):
                g["V"][k][i] += d_o[k] * h[t + 1][i]  # 10.24
        for i in range(H):
            g["b"][i] += d_a[i]  # 10.23
            for j in range(H):
                g["W"][i][j] += d_a[i] * h[t][j]  # 10.26
            for j in range(I):
                g["U"][i][j] += d_a[i] * p["x"][t][j]  # 10.28
                g["x"][t][j] += p["U"][i][j] * d_a[i]
        from_later = [mpmath.fsum(p["W"][i][j] * d_a[i] for i in range(H)) for j in range(H)]
    g["h0"] = from_later
    return g


def targets(kind, steps):
    """Return targets as the library takes them, and the same as rows."""
    rng = np.random.default_rng(99)
    labels = rng.integers(0, O, steps)
    if kind == "labels":
        return labels, np.eye(O)[labels]
    rows = np.eye(O)[labels] if kind == "one-hot rows" else rng.uniform(0.0, 1.5, (steps, O))
    return rows, rows


@pytest.mark.parametrize("steps", [1, 2, 9])
@pytest.mark.parametrize("kind", ["labels", "one-hot rows", "rows of any sum"])
def test_loss_and_all_seven_gradients(kind, steps):
    p = draw(steps, seed=steps)
    given, rows = targets(kind, steps)
    model = prnn.RNN(input_size=I, hidden_size=H, output_size=O)
    params = {name: p[letter] for letter, name in LETTERS.items()}
    params["bias_hh_l0"] = np.zeros(H)  # torch splits b in two; the book does not
    result = prnn.bptt(model, params, p["x"], given, state=p["h0"][None, :], reduction="sum")

    numbers = {letter: exact(array) for letter, array in p.items()}
    loss = forward(numbers, exact(rows))[2]
    want = recursion(numbers, exact(rows))
    assert_close(result.loss, np.asarray(float(loss)), "loss", k=8)
    found = {letter: result.grads[name] for letter, name in LETTERS.items()}
    found |= {"x": result.grad_x, "h0": result.grad_state[0]}
    scale = float(max(abs(d) for row in want["o"] for d in row))
    for letter, got in found.items():
        assert_close(got, np.asarray(want[letter], dtype=np.float64), letter, scale=scale, k=8)
    assert np.array_equal(result.grads["bias_hh_l0"], result.grads["bias_ih_l0"])


@pytest.mark.parametrize("letter", [*SHAPES, "x"])
def test_the_oracle_agrees_with_central_differences(letter):
    p = {name: exact(array) for name, array in draw(4, seed=0).items()}
    y = exact(targets("rows of any sum", 4)[1])
    gradient = recursion(p, y)[letter]
    step = mpmath.mpf(10) ** -16
    place = p[letter]
    if isinstance(place[0], list):  # of a matrix or the inputs, one number in the middle
        place, gradient = place[1], gradient[1]
    here, losses = place[2], []
    for move in (step, -step):
        place[2] = here + move
        losses.append(forward(p, y)[2])
    assert abs((losses[0] - losses[1]) / (2 * step) - gradient[2]) < mpmath.mpf(10) ** -25
