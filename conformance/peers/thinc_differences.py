"""thinc's LSTM against central differences of its own forward pass.

The layer is used as thinc documents it: ``with_padded(LSTM(nO, nI))``, initialised by thinc,
called on a list of sequences with ``is_train=True``; the gradient by the inputs is what the
callback returns, the gradient by the parameters what ``get_grad`` returns. The loss is
``sum(outputs * d_outputs)``. No array of another library takes part and no weight is converted,
so a gradient that is far from these differences is not the derivative of thinc's forward pass.

The control is thinc's ``PyTorchLSTM``, its wrapper of torch's LSTM, with the same code.
"""

import numpy as np

__all__ = ["CASES", "build", "differences", "facts", "pull"]

# Lengths of the sequences, inputs, hidden size.
CASES = (
    ([1], 3, 4),
    ([2], 3, 4),
    ([5], 3, 4),
    ([20], 3, 4),
    ([5, 5], 3, 4),
    ([7, 4, 2], 3, 4),
    ([20, 20, 20], 8, 6),
)
STEP = 0.05  # large, for the forward pass is float32; extrapolation leaves an error of STEP⁴


def build(path, inputs, hidden):
    """Return (with_padded(LSTM), the LSTM in it) on one of thinc's CPU implementations."""
    from thinc.api import LSTM, NumpyOps, Ops, with_padded

    model = with_padded(LSTM(hidden, inputs)).initialize()
    ops = {"NumpyOps": NumpyOps, "Ops": Ops}[path]()
    for node in model.walk():  # thinc's own tests choose it so
        node.ops = ops
    return model, model.layers[0]


def pull(model, xs, d_outputs):
    """Run forwards and backwards on lists of sequences; return outputs and d_xs."""
    outputs, backprop = model([np.array(x, "f") for x in xs], is_train=True)
    outputs = [np.array(y) for y in outputs]
    return outputs, backprop([np.array(d, "f") for d in d_outputs])


def differences(contender, case):
    """Return {array: max|got - ref| / max|ref|} of one case, None for zero by zero."""
    from thinc.api import fix_random_seed

    fix_random_seed(0)
    lengths, inputs, hidden = case
    rng = np.random.default_rng(0)
    xs = [rng.standard_normal((n, inputs)).astype("f") for n in lengths]
    d_outputs = [rng.standard_normal((n, hidden)).astype("f") for n in lengths]
    _, path = contender.split(", ")
    network = (_Torch if path == "PyTorchLSTM" else _Thinc)(path, inputs, hidden)

    def loss(xs):
        outputs, _ = network.model([np.array(x, "f") for x in xs], is_train=True)
        return sum(
            float(np.sum(np.float64(y) * d)) for y, d in zip(outputs, d_outputs, strict=True)
        )

    def by_params(flat):
        network.write(flat)
        return loss(xs)

    def by_inputs(flat):
        return loss(np.split(flat.reshape(-1, inputs), np.cumsum(lengths)[:-1]))

    _, d_xs = pull(network.model, xs, d_outputs)
    got = network.parts(network.gradient())
    start = network.read()
    want = network.parts(_central(by_params, start))
    network.write(start)
    x = np.concatenate(xs).ravel()
    errors = {"x": _relative(np.concatenate(d_xs).ravel(), _central(by_inputs, x))}
    return errors | {name: _relative(got[name], want[name]) for name in got}


def facts(path):
    """Return what one step gives back, and how many rows of a batch are computed."""
    from thinc.api import fix_random_seed

    fix_random_seed(0)
    network = _Thinc(path, 3, 4)
    outputs, _ = pull(network.model, [np.ones((2, 3))] * 3, [np.ones((2, 4))] * 3)
    fix_random_seed(0)
    network = _Thinc(path, 3, 4)
    _, (d_x,) = pull(network.model, [np.ones((1, 3))], [np.ones((1, 4))])
    got, weights = network.parts(network.gradient()), network.parts(network.read())
    return {
        "one step, max|d_x|": float(np.max(np.abs(d_x))),
        "one step, max|d_W_ih|": float(np.max(np.abs(got["W_ih"]))),
        "one step, max|d_W_ih - W_ih|": float(np.max(np.abs(got["W_ih"] - weights["W_ih"]))),
        "of three equal sequences, outputs not all zero": sum(bool(np.any(y)) for y in outputs),
        "has a gradient by the initial state": bool(network.lstm.has_grad("HC0")),
    }


class _Thinc:
    """thinc's own layer and its one vector: W_ih, b_ih, W_hh, b_hh in the order of its init."""

    def __init__(self, path, inputs, hidden):
        self.model, self.lstm = build(path, inputs, hidden)
        sizes = (4 * hidden * inputs, 4 * hidden, 4 * hidden * hidden, 4 * hidden)
        self.ends = np.cumsum(sizes)
        assert self.read().shape == (self.ends[-1],)

    def read(self):
        return np.array(self.lstm.get_param("LSTM"))

    def write(self, flat):
        self.lstm.set_param("LSTM", np.array(flat, "f"))

    def gradient(self):
        return np.array(self.lstm.get_grad("LSTM"))

    def parts(self, flat):
        arrays = np.split(flat, self.ends[:-1])
        return dict(zip(("W_ih", "b_ih", "W_hh", "b_hh"), arrays, strict=True))


class _Torch:
    """thinc's wrapper of torch.nn.LSTM."""

    def __init__(self, path, inputs, hidden):
        import torch
        from thinc.api import PyTorchLSTM

        torch.manual_seed(0)
        self.model = PyTorchLSTM(hidden, inputs).initialize()
        (self.module,) = [shim._model for node in self.model.walk() for shim in node.shims]

    def read(self):
        import torch

        return torch.nn.utils.parameters_to_vector(self.module.parameters()).detach().numpy()

    def write(self, flat):
        import torch

        vector = torch.tensor(np.array(flat, "f"))
        torch.nn.utils.vector_to_parameters(vector, self.module.parameters())

    def gradient(self):
        return np.concatenate([p.grad.numpy().ravel() for p in self.module.parameters()])

    def parts(self, flat):
        ends = np.cumsum([p.numel() for p in self.module.parameters()])[:-1]
        arrays = np.split(flat, ends)  # torch registers weights first
        return dict(zip(("W_ih", "W_hh", "b_ih", "b_hh"), arrays, strict=True))


def _central(f, start):
    """Return the gradient of f by central differences, extrapolated from STEP and STEP / 2."""
    found = np.empty(start.shape)
    for entry in range(start.size):
        slopes = []
        for step in (STEP, STEP / 2):
            values = []
            for sign in (1, -1):
                moved = start.astype(np.float64)
                moved[entry] += sign * step
                values.append((f(moved), float(np.float32(moved[entry]))))
            (above, right), (below, left) = values
            slopes.append((above - below) / (right - left))  # by the step float32 really took
        found[entry] = (4 * slopes[1] - slopes[0]) / 3
    return found


def _relative(got, want):
    far, size = float(np.max(np.abs(got - want))), float(np.max(np.abs(want)))
    if size == 0.0:
        return None if far == 0.0 else float("inf")
    return far / size
