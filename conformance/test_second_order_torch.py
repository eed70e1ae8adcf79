"""Second derivatives and gradients by sequence against torch's own, in float64.

torch differentiates its gradient once more (on a CPU: cuDNN refuses), and maps a hand-written cell
over a batch; nothing is shared with the library but the numbers.
"""

import numpy as np
import pytest

import portable_rnn as prnn

from .problems import TORCH_CELLS
from .tolerances import assert_close

torch = pytest.importorskip("torch")

STEPS, BATCH, INPUTS, HIDDEN, OUTPUTS = 9, 4, 3, 5, 4
NETWORKS = {
    "plain": {},
    "stacked": {"num_layers": 3},
    "bidirectional": {"bidirectional": True},
    "both": {"num_layers": 2, "bidirectional": True},
}
DIGITS = 1e-12  # relative


def setup(cell, options):
    rng = np.random.default_rng([TORCH_CELLS.index(cell), len(options)])
    model = prnn.RNN(INPUTS, HIDDEN, OUTPUTS, cell=cell, **options)
    params, u, v = (model.init(seed=seed, dtype="float64") for seed in range(3))
    x = rng.standard_normal((STEPS, BATCH, INPUTS))
    return model, params, x, rng.integers(0, OUTPUTS, (STEPS, BATCH)), u, v


def outputs_of(model, x):
    """Return the parameters by name, requiring gradients, and the outputs of torch's modules."""
    kind = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[model.cell]
    rnn = kind(
        INPUTS, HIDDEN, num_layers=model.num_layers, bidirectional=model.bidirectional
    ).double()
    readout = torch.nn.Linear(model.directions * HIDDEN, OUTPUTS).double()
    named = dict(rnn.named_parameters())
    named |= {f"readout.{name}": p for name, p in readout.named_parameters()}

    def run(params):
        with torch.no_grad():
            for name, array in params.items():
                named[name].copy_(torch.tensor(array))
        return readout(rnn(torch.tensor(x))[0])

    return named, run


def cross_entropy(outputs, targets):
    return torch.nn.functional.cross_entropy(
        outputs.reshape(-1, OUTPUTS), torch.tensor(targets).reshape(-1)
    )


def dot(a, b):
    return sum(float(np.sum(a[name] * b[name])) for name in a)


def hold(got, want, what):
    for name, ref in want.items():
        error = np.max(np.abs(got[name] - ref)) / np.max(np.abs(ref))
        assert error <= DIGITS, f"{what}: {name} off by {error:.2g}"


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_hessian_products(cell, network):
    model, params, x, targets, u, v = setup(cell, NETWORKS[network])
    named, run = outputs_of(model, x)
    leaves = [named[name] for name in params]
    grads = torch.autograd.grad(cross_entropy(run(params), targets), leaves, create_graph=True)
    along = sum((g * torch.tensor(v[name])).sum() for g, name in zip(grads, params, strict=True))
    second = torch.autograd.grad(along, leaves)
    want = {name: array.numpy() for name, array in zip(params, second, strict=True)}
    hv = prnn.hvp(model, params, x, targets, v)
    hold(hv, want, f"Hv of {cell}, {network}")
    hu = prnn.hvp(model, params, x, targets, u)
    assert abs(dot(u, hv) - dot(v, hu)) <= DIGITS * abs(dot(u, hv))


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_jacobian_and_gauss_newton_products(cell, network):
    model, params, x, targets, u, v = setup(cell, NETWORKS[network])
    named, run = outputs_of(model, x)
    leaves = [named[name] for name in params]
    outputs = run(params)
    # The derivative of Jᵀ w along w is J: two reverse passes make a forward one.
    w = torch.zeros_like(outputs, requires_grad=True)
    pulled = torch.autograd.grad(outputs, leaves, w, create_graph=True)
    along = [torch.tensor(v[name]) for name in params]
    (pushed,) = torch.autograd.grad(pulled, w, along, retain_graph=True)
    found = prnn.jvp(model, params, x, d_params=v)
    hold({"Jv": found.d_outputs}, {"Jv": pushed.numpy()}, f"{cell}, {network}")

    loss = cross_entropy(outputs, targets)
    (d_outputs,) = torch.autograd.grad(loss, outputs, create_graph=True)
    (curved,) = torch.autograd.grad(d_outputs, outputs, pushed, retain_graph=True)
    pulled = torch.autograd.grad(outputs, leaves, curved)
    want = {name: array.numpy() for name, array in zip(params, pulled, strict=True)}
    gv = prnn.gauss_newton_product(model, params, x, targets, v)
    hold(gv, want, f"Gv of {cell}, {network}")
    gu = prnn.gauss_newton_product(model, params, x, targets, u)
    assert abs(dot(u, gv) - dot(v, gu)) <= DIGITS * dot(v, gv)
    assert dot(v, gv) > 0.0


# --------------------------------------------------------------------- one sequence each


def sequence_loss(cell, params, x, targets):
    """Return the loss of one sequence (T, I), its network written out in torch's functions."""
    h = c = torch.zeros(HIDDEN, dtype=torch.float64)
    total = 0.0
    for t in range(STEPS):
        ax = params["weight_ih_l0"] @ x[t] + params["bias_ih_l0"]
        ah = params["weight_hh_l0"] @ h + params["bias_hh_l0"]
        if cell == "elman":
            h = torch.tanh(ax + ah)
        elif cell == "gru":
            (ax_r, ax_z, ax_n), (ah_r, ah_z, ah_n) = ax.chunk(3), ah.chunk(3)
            z = torch.sigmoid(ax_z + ah_z)
            h = (1 - z) * torch.tanh(ax_n + torch.sigmoid(ax_r + ah_r) * ah_n) + z * h
        else:
            i, f, g, o = (ax + ah).chunk(4)
            c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
            h = torch.sigmoid(o) * torch.tanh(c)
        outputs = params["readout.weight"] @ h + params["readout.bias"]
        total = total - torch.log_softmax(outputs, 0).gather(0, targets[t : t + 1])[0]
    return total / (STEPS * BATCH)


@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_gradients_of_single_sequences(cell):
    model, params, x, targets, *_ = setup(cell, {})
    each = torch.func.vmap(
        torch.func.grad(lambda *given: sequence_loss(cell, *given)), in_dims=(None, 1, 1)
    )({n: torch.tensor(p) for n, p in params.items()}, torch.tensor(x), torch.tensor(targets))
    found = prnn.per_example_gradients(model, params, x, targets)
    norms = prnn.per_example_norms(model, params, x, targets)
    for name, want in each.items():
        assert_close(found[name], want.numpy(), f"{name} of {cell}", scale=1.0 / STEPS / BATCH)
        want = np.linalg.norm(want.numpy().reshape(BATCH, -1), axis=1)
        assert_close(norms.params[name], want, f"norms of {name} of {cell}")
