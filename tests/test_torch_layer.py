"""A network as a module of torch equals torch's own modules, differentiated once and twice."""

import copy
import pickle

import numpy as np
import pytest

import portable_rnn as prnn

torch = pytest.importorskip("torch")
Layer = pytest.importorskip("portable_rnn.torch").Layer
rnn_utils = torch.nn.utils.rnn
# Of torch's about its own code.
pytestmark = [
    pytest.mark.filterwarnings("ignore:LSTM with projections is not supported with oneDNN"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf"),
]

T, B, I, H, V = 6, 3, 4, 5, 9  # noqa: E741
CASES = {
    "RNN": (torch.nn.RNN, {"cell": "elman"}, {}),
    "RNN-relu": (torch.nn.RNN, {"nonlinearity": "relu"}, {"nonlinearity": "relu"}),
    "GRU": (torch.nn.GRU, {"cell": "gru"}, {}),
    "GRU-deep": (
        torch.nn.GRU,
        {"cell": "gru", "num_layers": 2, "bidirectional": True},
        {"num_layers": 2, "bidirectional": True},
    ),
    "LSTM": (torch.nn.LSTM, {"cell": "lstm"}, {}),
    "LSTM-projected": (
        torch.nn.LSTM,
        {"cell": "lstm", "projection_size": 2, "batch_first": True},
        {"proj_size": 2, "batch_first": True},
    ),
}


def normal(*shape, dtype=torch.float64):
    generator = torch.Generator().manual_seed(sum(shape))
    return torch.randn(*shape, dtype=dtype, generator=generator)


def pair(case, dtype=torch.float64):
    """Return a layer and torch's module with the same parameters."""
    kind, options, theirs = CASES[case]
    torch.manual_seed(0)
    module = kind(I, H, **theirs, dtype=dtype)
    layer = Layer(prnn.RNN(I, H, **options), dtype=dtype)
    layer.load_state_dict(module.state_dict())
    return layer, module


def parts(state):
    return state if isinstance(state, tuple) else (state,)


class Model(torch.nn.Module):
    """A model with an embedding before recurrent layers and a head after them."""

    def __init__(self, layers, size):
        super().__init__()
        self.embed, self.layers = torch.nn.Embedding(V, I), layers
        self.head = torch.nn.Linear(size, V)

    def loss(self, tokens, targets):
        outputs = self.head(self.layers(self.embed(tokens))[0])
        return torch.nn.functional.cross_entropy(outputs.reshape(-1, V), targets.reshape(-1))


def two_models(case, dtype):
    layer, module = pair(case, dtype)
    size = 2 if "projected" in case else 2 * H if "deep" in case else H
    models = [Model(layers, size).to(dtype) for layers in (layer, module)]
    models[0].load_state_dict(models[1].state_dict())
    generator = torch.Generator().manual_seed(0)
    return models, [torch.randint(V, (T, B), generator=generator) for _ in "ab"]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("case", CASES)
def test_a_model_has_the_gradients_of_that_with_torchs_own_layers(case, dtype):
    models, data = two_models(case, dtype)
    for model in models:
        model.loss(*data).backward()
    found, expected = (dict(model.named_parameters()) for model in models)
    assert found.keys() == expected.keys()
    for name, parameter in expected.items():
        # The loss's cotangents are at most 1 / (T B).
        scale = max(parameter.grad.abs().max().item(), 1 / (T * B))
        difference = (found[name].grad - parameter.grad).abs().max().item()
        assert difference <= 8 * torch.finfo(dtype).eps * scale, name


@pytest.mark.parametrize("case", CASES)
def test_hessian_vector_products_are_those_of_torchs_own_layers(case):
    models, data = two_models(case, torch.float64)
    products = []
    for model in models:
        params = list(model.parameters())
        grads = torch.autograd.grad(model.loss(*data), params, create_graph=True)
        along = sum((g * normal(*g.shape)).sum() for g in grads)
        products.append(torch.autograd.grad(along, params))
    for found, expected in zip(*products, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize(
    "model",
    [
        prnn.RNN(2, 2, 1, cell="gru", num_layers=2, bidirectional=True),
        prnn.RNN(2, 3, cell=prnn.cells.LSTM(peepholes=True), batch_first=True),
        prnn.RNN(2, 3, 2, cell="layer_norm_lstm", pool="mean"),
        prnn.RNN(2, 3, cell="reset_before_gru", reverse=True),
    ],
    ids=["gru", "peepholes", "layer norm", "reset before"],
)
def test_any_model_passes_gradcheck_and_gradgradcheck(model):
    torch.manual_seed(0)
    layer = Layer(model, dtype=torch.float64)
    names, params = zip(*layer.named_parameters(), strict=True)
    x = normal(3, 2, 2).requires_grad_()
    batch = x.shape[0 if model.batch_first else 1]
    states = tuple(normal(*shape).requires_grad_() for shape in model.state_shapes(batch))

    def run(x, *rest):
        given = dict(zip(names, rest[len(states) :], strict=True))
        state = rest[: len(states)] if len(states) > 1 else rest[0]
        outputs, after = torch.func.functional_call(layer, given, (x, state))
        return outputs, *parts(after)

    given = (x, *states, *(p.detach().requires_grad_() for p in params))
    assert torch.autograd.gradcheck(run, given)
    assert torch.autograd.gradgradcheck(run, given)


def test_transformations_of_torch_func_follow_it():
    layer, module = pair("GRU")
    params, x = dict(layer.named_parameters()), normal(T, B, I)

    def total(layers, params, x):
        return torch.func.functional_call(layers, params, (x,))[0].square().sum()

    for layers in (layer, module):
        layers.zero_grad()
        total(layers, dict(layers.named_parameters()), x).backward()
    grads = torch.func.grad(total, 1)(layer, params, x)
    each = torch.func.vmap(torch.func.grad(total, 1), (None, None, 1))(layer, params, x[:, :, None])
    for name, expected in module.named_parameters():
        torch.testing.assert_close(grads[name], expected.grad, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(each[name].sum(0), expected.grad, rtol=1e-12, atol=1e-13)
    _, along = torch.func.jvp(lambda x: total(layer, params, x), (x,), (x,))
    x = x.clone().requires_grad_()
    (d_x,) = torch.autograd.grad(total(module, dict(module.named_parameters()), x), x)
    torch.testing.assert_close(along, (d_x * x).sum().detach())


def test_a_compiled_model_leaves_it_as_it_is():
    models, data = two_models("GRU", torch.float64)
    compiled = torch.compile(models[0].loss, backend="eager")
    compiled(*data).backward()
    models[1].loss(*data).backward()
    for found, expected in zip(*(model.parameters() for model in models), strict=True):
        torch.testing.assert_close(found.grad, expected.grad, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("case", ["GRU-deep", "LSTM-projected"])
@pytest.mark.parametrize("lengths", [[6, 4, 1], [2, 6, 2]])
def test_a_packed_sequence_is_packed_again(case, lengths):
    layer, module = pair(case)
    first = module.batch_first
    x = normal(*((B, T) if first else (T, B)), I).requires_grad_()
    pack = rnn_utils.pack_padded_sequence
    packed = [pack(x, lengths, batch_first=first, enforce_sorted=False) for _ in "ab"]
    runs = [layer(packed[0]), module(packed[1])]
    for name in ("data", "batch_sizes", "sorted_indices", "unsorted_indices"):
        torch.testing.assert_close(*(getattr(outputs, name) for outputs, _ in runs))
    for found, expected in zip(*(parts(state) for _, state in runs), strict=True):
        torch.testing.assert_close(found, expected)
    d_x = [torch.autograd.grad(outputs.data.square().sum(), x)[0] for outputs, _ in runs]
    torch.testing.assert_close(*d_x)
    with pytest.raises(ValueError, match=r"^lengths: expected none with a packed sequence"):
        layer(packed[0], lengths=lengths)


@pytest.mark.parametrize("grad", [True, False])
def test_lengths_a_state_and_a_single_sequence_are_taken(grad):
    layer, module = pair("LSTM")
    x, state = normal(T, B, I), (normal(1, B, H), normal(1, B, H))
    with torch.set_grad_enabled(grad):
        for given in ((x, state), (x[:, 0], (state[0][:, 0], state[1][:, 0])), (x,)):
            found, expected = layer(*given), module(*given)
            torch.testing.assert_close(found[0], expected[0])
            for one, other in zip(found[1], expected[1], strict=True):
                torch.testing.assert_close(one, other)
        outputs, _ = layer(x, lengths=[6, 2, 4])
    assert not outputs[2:, 1].any()
    assert outputs.requires_grad == grad


def test_dropout_is_drawn_from_torchs_generator_in_training_alone():
    layer = Layer(prnn.RNN(I, H, cell="gru", num_layers=2, dropout=0.5), dtype=torch.float64)
    x = normal(T, B, I)
    seen = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        seen.append(layer(x)[0])
    assert torch.equal(seen[0], seen[1])
    assert not torch.equal(seen[0], seen[2])
    torch.manual_seed(0)
    with torch.no_grad():
        torch.testing.assert_close(layer(x)[0], seen[0], rtol=0, atol=0)
    layer.eval()
    plain = Layer(prnn.RNN(I, H, cell="gru", num_layers=2), dict(layer.named_parameters()))
    torch.testing.assert_close(layer(x)[0], plain(x)[0])


@pytest.mark.parametrize("change", ["parameter", "input", "outputs", "state"])
def test_memory_that_is_changed_before_the_way_back_is_noticed(change):
    layer, x = Layer(prnn.RNN(I, H)), normal(T, B, I, dtype=torch.float32)
    outputs, state = layer(x)
    with torch.no_grad():
        {"parameter": layer.weight_hh_l0, "input": x, "outputs": outputs, "state": state}[
            change
        ].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(dtype):
    layer, x = Layer(prnn.RNN(I, H, 2, cell="gru"), dtype=dtype), normal(T, B, I).to(dtype)
    outputs, _ = layer(x)
    outputs.sum().backward()
    wide = copy.deepcopy(layer).double()
    wide.zero_grad()
    expected, _ = wide(x.double())
    expected.sum().backward()
    for found, exact in ((outputs, expected), (layer.weight_hh_l0.grad, wide.weight_hh_l0.grad)):
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), exact, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("options", [{}, {"tied": True}])
def test_parameters_have_the_names_of_the_model(options):
    model = prnn.RNN(H, H, V, cell="gru", vocabulary_size=V, **options)
    params = model.init(seed=3, xp=torch)
    layer = Layer(model, params)
    assert layer.state_dict().keys() == params.keys()
    for one in (layer, copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert all(torch.equal(array, params[name]) for name, array in one.state_dict().items())
    tokens = torch.tensor([[1, 2], [3, 4]])
    expected = prnn.bptt(model, params, tokens, tokens)
    outputs, _ = layer(tokens)
    torch.nn.functional.cross_entropy(outputs.reshape(-1, V), tokens.reshape(-1)).backward()
    for name, parameter in layer.named_parameters():
        torch.testing.assert_close(parameter.grad, expected.grads[name])
    assert "vocabulary_size=9" in repr(layer)


def test_tensors_and_arrays_share_memory():
    from portable_rnn.torch import _as_array, _as_tensor

    tensor = torch.arange(6.0).reshape(2, 3).T
    array = _as_array(tensor)
    assert array.__array_interface__["data"][0] == tensor.data_ptr()
    own = np.ones((2, 3), np.float32)
    assert _as_tensor(own).data_ptr() == own.__array_interface__["data"][0]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: Layer(torch.nn.GRU(3, 4)), "model: "),
        (lambda: Layer(prnn.RNN(3, 4), {}), "params: missing weight_ih_l0"),
        (lambda: Layer(prnn.RNN(3, 4), dtype="float7"), "dtype: "),
        (lambda: Layer(prnn.RNN(3, 4))(np.ones((2, 1, 3))), "x: expected a tensor of torch"),
        (lambda: Layer(prnn.RNN(3, 4))(torch.ones(2, 1, 5)), r"x: expected shape \(T, B, 3\)"),
        (lambda: Layer(prnn.RNN(3, 4))(torch.ones(2, 1, 3, dtype=torch.float64)), "x: "),
        (lambda: Layer(prnn.RNN(3, 4))(torch.ones(2, 1, 3), torch.ones(1, 1, 3)), "state: "),
        (lambda: Layer(prnn.RNN(3, 4))(torch.ones(2, 1, 3), 7), "state: "),
        (lambda: Layer(prnn.RNN(3, 4))(torch.ones(2, 1, 3), lengths=[3]), "lengths: "),
    ],
)
def test_bad_input_is_named(call, words):
    with pytest.raises((TypeError, ValueError), match=f"^{words}"):
        call()
