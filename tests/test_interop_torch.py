"""Networks of torch and their conversions compute the same, forwards and back, both ways."""

from itertools import product

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.interop import from_torch, to_torch

torch = pytest.importorskip("torch")
T, B, I, H, O, V = 5, 3, 4, 6, 2, 7  # noqa: E741
EPS = 8

CASES = {
    f"{name}-{layers}-{directions}-{'bias' if bias else 'no bias'}-{options}": (
        getattr(torch.nn, name),
        {"num_layers": layers, "bidirectional": directions == 2, "bias": bias, **options},
    )
    for name, options in (
        ("RNN", {"nonlinearity": "tanh"}),
        ("RNN", {"nonlinearity": "relu", "batch_first": True}),
        ("GRU", {}),
        ("GRU", {"batch_first": True}),
        ("LSTM", {}),
        ("LSTM", {"proj_size": 3}),
        ("LSTM", {"batch_first": True}),
    )
    for layers, directions, bias in product((1, 2, 3), (1, 2), (True, False))
}


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def eps_apart(found, expected, scale):
    """Return the largest difference, in eps of the largest number or cotangent."""
    expected = expected.detach().numpy()
    assert found.shape == expected.shape
    most = max(np.abs(expected).max(), scale)
    return np.abs(found - expected).max() / most / np.finfo(found.dtype).eps


def differences(model, params, module):
    """Compare outputs, final states and all gradients with torch's autograd."""
    x = normal(1, *((B, T) if model.batch_first else (T, B)), I)
    lost = model.projection_size or H
    shapes = [(model.num_layers * model.directions, B, size) for size in (lost, H)]
    states = [normal(2 + i, *shape) for i, shape in enumerate(shapes)]
    states = states if model.cell == "lstm" else states[:1]
    tensors = [torch.tensor(a, requires_grad=True) for a in (x, *states)]
    given = tuple(tensors[1:]) if len(states) == 2 else tensors[1]
    output, final = module(tensors[0], given)
    final = final if isinstance(final, tuple) else (final,)
    cotangents = [normal(9 + i, *a.shape) for i, a in enumerate((output, *final))]
    torch.autograd.backward([output, *final], [torch.tensor(c) for c in cotangents])

    state = tuple(states) if len(states) == 2 else states[0]
    run = prnn.forward(model, params, x, state)
    d_state = tuple(cotangents[1:]) if len(states) == 2 else cotangents[1]
    back = prnn.backward(model, params, run.tape, cotangents[0], d_state, grad_x=True)
    parts = run.state if isinstance(run.state, tuple) else (run.state,)
    d_parts = back.state if isinstance(back.state, tuple) else (back.state,)
    scale = max(np.abs(c).max() for c in cotangents)
    pairs = [(run.outputs, output), *zip(parts, final, strict=True), (back.x, tensors[0].grad)]
    pairs += zip(d_parts, (t.grad for t in tensors[1:]), strict=True)
    pairs += [(back.params[name], p.grad) for name, p in module.named_parameters()]
    return max(eps_apart(found, expected, scale) for found, expected in pairs)


@pytest.mark.parametrize("case", CASES)
def test_recurrent_layers_are_the_same(case):
    kind, options = CASES[case]
    torch.manual_seed(0)
    module = kind(I, H, **options, dtype=torch.float64)
    model, params = from_torch(module)
    assert differences(model, params, module) < EPS
    other = model.init(seed=1, dtype="float64")
    back = to_torch(model, other).recurrent
    assert type(back) is kind
    assert differences(model, other, back) < EPS
    again, copied = from_torch(back.state_dict(), batch_first=model.batch_first, **nonlinear(model))
    assert again == model
    assert all((copied[name] == other[name]).all() for name in other)


def nonlinear(model):
    return {"nonlinearity": model.nonlinearity} if model.cell == "elman" else {}


class Network(torch.nn.Module):
    """A network as people write them."""

    def __init__(self, bias=True):
        super().__init__()
        self.embed = torch.nn.Embedding(V, I)
        self.encoder = torch.nn.ModuleDict({"rnn": torch.nn.GRU(I, H, 2, bias=bias, dropout=0.5)})
        self.head = torch.nn.Linear(H, O, bias=bias)

    def forward(self, tokens):
        return self.head(self.encoder["rnn"](self.embed(tokens))[0])


PLACES = {"recurrent": "encoder.rnn", "readout": "head", "embedding": "embed"}


@pytest.mark.parametrize("bias", [True, False])
def test_a_whole_network_is_taken_from_its_module_or_its_state_dict(bias):
    network = Network(bias).double().eval()
    model, params = from_torch(network, **PLACES)
    again, same = from_torch(network.state_dict(), **PLACES, dropout=0.5)
    assert (
        model
        == again
        == prnn.RNN(I, H, O, "gru", bias=bias, num_layers=2, dropout=0.5, vocabulary_size=V)
    )
    tokens = np.random.default_rng(0).integers(0, V, (T, B))
    expected = network(torch.tensor(tokens))
    for given in (params, same):
        assert eps_apart(prnn.predict(model, given, tokens), expected, 1) < EPS
    modules = to_torch(model, params)
    found = modules.readout(modules.recurrent.eval()(modules.embedding(torch.tensor(tokens)))[0])
    assert torch.equal(found, expected)


def test_what_is_converted_is_a_copy():
    module = torch.nn.GRU(I, H)
    model, params = from_torch(module)
    before = {name: array.copy() for name, array in params.items()}
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    assert all((params[name] == before[name]).all() for name in params)
    back = to_torch(model, params).recurrent
    params["weight_ih_l0"][:] = 0
    assert back.weight_ih_l0.abs().sum() > 0


def test_tied_parameters_stay_tied():
    network = Network()
    network.head = torch.nn.Linear(H, V)
    network.embed = torch.nn.Embedding(V, H)
    network.encoder["rnn"] = torch.nn.GRU(H, H)
    network.head.weight = network.embed.weight
    model, params = from_torch(network, **PLACES, tied=True)
    assert "readout.weight" not in params
    modules = to_torch(model, params)
    assert modules.readout.weight is modules.embedding.weight
    assert torch.equal(modules.readout.weight, network.head.weight)


@pytest.mark.parametrize("name", ["RNN", "GRU", "LSTM"])
def test_a_single_cell_is_a_layer(name):
    cell = getattr(torch.nn, f"{name}Cell")(I, H, dtype=torch.float64)
    model, params = from_torch(cell)
    x = normal(0, 1, B, I)
    found = cell(torch.tensor(x[0]))
    found = found[0] if isinstance(found, tuple) else found
    assert eps_apart(prnn.predict(model, params, x)[0], found, 1) < EPS


def test_half_precision_needs_a_library_that_has_it():
    module = torch.nn.LSTM(I, H, dtype=torch.bfloat16)
    with pytest.raises(TypeError, match=r"^source: weight_ih_l0 is bfloat16, .*; give xp=torch$"):
        from_torch(module)
    model, params = from_torch(module, xp=torch)
    assert params["weight_hh_l0"].dtype == torch.bfloat16
    back = to_torch(model, params).recurrent.state_dict()
    assert all(torch.equal(back[name], array) for name, array in module.state_dict().items())


GRU = torch.nn.GRU(I, H)
STATE = dict(GRU.state_dict())
REFUSED = {
    "a number": (7, {}, "source: expected a torch.nn.Module or its state dict, got 7"),
    "a network": (Network(), {}, "recurrent: expected where .* such as 'encoder.rnn', got ''"),
    "no such place": (Network(), {"recurrent": "rnn"}, "recurrent: expected .*'encoder.rnn'"),
    "a head that is none": (
        Network(),
        PLACES | {"readout": "embed"},
        "readout: expected where a Linear is, such as 'head', got 'embed', where Embedding is",
    ),
    "a norm": (
        torch.nn.ModuleDict({"r": GRU, "e": torch.nn.Embedding(V, I, max_norm=1.0)}),
        {"recurrent": "r", "embedding": "e"},
        "embedding: torch's max_norm has no counterpart",
    ),
    "an empty dict": ({}, {}, "source: expected a torch.nn.Module or its state dict"),
    "other names": (
        STATE | {"weight_xx_l0": STATE["weight_ih_l0"]},
        {},
        "source, recurrent: .* where weight_xx_l0 is",
    ),
    "no layers": (Network().state_dict(), {}, "source, recurrent: no parameters are at ''"),
    "a text": (STATE | {"bias_ih_l0": "text"}, {}, "source: expected a dict of arrays by name"),
    "a missing bias": (
        {n: a for n, a in STATE.items() if n != "bias_hh_l0"},
        {},
        "source: does not fit RNN.*missing bias_hh_l0",
    ),
    "two gates": (
        STATE | {"weight_ih_l0": STATE["weight_ih_l0"][: 2 * H]},
        {},
        f"source, recurrent: expected 1, 3 or 4 gates of {H} rows .*, got {2 * H} rows",
    ),
    "a readout without bias": (
        STATE | {"head.weight": torch.ones(O, H)},
        {"readout": "head"},
        "source: does not fit RNN.*missing readout.bias",
    ),
    "an unknown option": (GRU, {"nosuch": 1}, "nosuch: expected an option"),
    "another number of layers": (GRU, {"num_layers": 2}, "source: does not fit RNN"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_counterpart_is_refused_by_name(case):
    source, options, words = REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=f"^{words}"):
        from_torch(source, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cell": "layer_norm_lstm"}, "model: cell 'layer_norm_lstm' has no counterpart in torch"),
        ({"cell": prnn.cells.LSTM(peepholes=True)}, r"model: cell LSTM\(.* has no counterpart"),
        ({"nonlinearity": ("elu", 1.0)}, "model: cell 'elman' has no counterpart"),
        ({"zoneout": 0.5}, "model: zoneout=0.5 has no counterpart in torch's layers"),
        ({"recurrent_dropout": 0.5}, "model: recurrent_dropout=0.5 has no counterpart"),
        ({"pool": "mean"}, "model: pool='mean' has no counterpart"),
        ({"reverse": True}, "model: reverse=True has no counterpart"),
    ],
)
def test_what_torch_lacks_is_refused_by_name(options, words):
    with pytest.raises(ValueError, match=f"^{words}"):
        to_torch(model := prnn.RNN(I, H, **options), model.init(seed=0))
