"""Networks as ONNX files, run by onnxruntime, and back; the operators that onnx ships as tests."""

import functools
import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import interop
from portable_rnn.cells import GRU, LSTM, Elman, ResetBeforeGRU
from portable_rnn.interop import export_onnx, load_onnx, onnx_nodes
from portable_rnn.serialization import CheckpointError

from .needed import need

onnx = need("onnx")
runtime = need("onnxruntime")

pytestmark = pytest.mark.no_products

BOUNDED = ("sigmoid", "tanh", "softsign", "hard_sigmoid", ("hard_sigmoid", 0.3, 0.4))
ANY = (*BOUNDED, "relu", "elu", ("elu", 0.8), ("leaky_relu", 0.3), ("scaled_tanh", 1.3, 0.6))


def random_cell(rng):
    """Draw a cell, with any of the options that ONNX has."""
    clip = float(rng.choice([0.5, 1.5])) if rng.random() < 0.25 else None
    plain = rng.random() < 0.5
    gates = "sigmoid" if plain else BOUNDED[rng.integers(len(BOUNDED))]
    other = ["tanh" if plain else ANY[rng.integers(len(ANY))] for _ in range(2)]
    kind = rng.integers(4)
    if kind == 0:
        return Elman(other[0], clip=clip)
    if kind < 3:
        return (GRU, ResetBeforeGRU)[kind - 1]((gates, other[0]), clip=clip)
    peepholes, coupled = (bool(rng.integers(2)) for _ in range(2))
    return LSTM(peepholes, coupled, (gates, *other), clip)


def random_model(seed):
    rng = np.random.default_rng(seed)
    flags = {name: bool(rng.integers(2)) for name in ("bias", "batch_first", "bidirectional")}
    flags["reverse"] = not flags["bidirectional"] and bool(rng.integers(2))
    layers, size = int(rng.integers(1, 4)), int(rng.integers(1, 7))
    options = {"cell": random_cell(rng), "num_layers": layers} | flags
    inputs = int(rng.integers(1, 6))
    if rng.random() < 0.7:
        options["output_size"] = int(rng.integers(1, 5))
    if rng.random() < 0.3:
        options["vocabulary_size"] = 7
        if rng.random() < 0.5:  # tied
            inputs = size * (1 + flags["bidirectional"])
            options |= {"output_size": 7, "tied": True}
    if rng.random() < 0.4:
        options["pool"] = str(rng.choice(["last", "mean", "max"]))
    if layers > 1 and rng.random() < 0.3:
        options["dropout"] = 0.4
    return prnn.RNN(inputs, size, **options), rng


def parameters(model, seed, dtype="float32"):
    """Draw parameters, biases too, none of them zero."""
    rng = np.random.default_rng(seed)
    shapes = model.parameter_shapes.items()
    return {name: rng.uniform(-0.7, 0.7, shape).astype(dtype) for name, shape in shapes}


def session(path):
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    return runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def error_in_eps(got, want):
    """Return the error in eps of float32, of numbers of size 1 and more."""
    got, want = np.asarray(got, np.float64), np.asarray(want, np.float64)
    assert got.shape == want.shape
    scale = max(1.0, float(np.abs(want).max(initial=0.0)))
    return float(np.abs(got - want).max(initial=0.0)) / scale / float(np.finfo(np.float32).eps)


def compare(path, model, params, rng, *, lengths, state):
    """Run a file for two sizes; return the largest error."""
    ran, worst = session(path), 0.0
    for steps, batch in ((7, 3), (2, 5)):
        shape = (batch, steps) if model.batch_first else (steps, batch)
        if model.vocabulary_size is not None:
            x = rng.integers(0, 7, shape)
        else:
            x = rng.normal(size=(*shape, model.input_size)).astype(np.float32)
        feed, options = {"x": x}, {}
        if lengths:
            options["lengths"] = rng.integers(1, steps + 1, batch).astype(np.int32)
            feed["lengths"] = options["lengths"]
        before = None
        if state:
            before = tuple(
                rng.uniform(-1, 1, shape).astype(np.float32) for shape in model.state_shapes(batch)
            )
            feed |= dict(zip(("h_0", "c_0"), before, strict=False))
            before = before if len(before) > 1 else before[0]
        outputs, after = prnn.predict(model, params, x, before, return_state=True, **options)
        after = after if isinstance(after, tuple) else (after,)
        for got, want in zip(ran.run(None, feed), (outputs, *after), strict=True):
            worst = max(worst, error_in_eps(got, want))
    return worst


def test_random_networks_run_in_onnxruntime_and_come_back(tmp_path, record_property):
    worst = 0.0
    for seed in range(200):
        model, rng = random_model(seed)
        params = parameters(model, seed)
        options = {"lengths": bool(rng.integers(2)), "state": bool(rng.integers(2))}
        export_onnx(tmp_path / "m.onnx", model, params, **options)
        error = compare(tmp_path / "m.onnx", model, params, rng, **options)
        assert error < 8.0, (seed, model, error)
        worst = max(worst, error)
        found = load_onnx(tmp_path / "m.onnx")
        assert (found.model, found.state, found.lengths) == (model, None, None)
        assert list(found.params) == list(params)
        for name, array in params.items():
            assert found.params[name].dtype == array.dtype
            assert found.params[name].tobytes() == array.tobytes(), (seed, name)
    record_property("worst error of a random network in onnxruntime, eps", worst)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
@pytest.mark.parametrize("cell", ["elman", "gru", "reset_before_gru", "lstm"])
def test_other_dtypes_are_kept(tmp_path, cell, dtype):
    model = prnn.RNN(3, 4, 2, cell=cell, bidirectional=True, num_layers=2)
    params = parameters(model, 0, dtype)
    export_onnx(tmp_path / "m.onnx", model, params)
    found = load_onnx((tmp_path / "m.onnx").read_bytes())
    assert found.model == model
    for name, array in params.items():
        assert found.params[name].dtype == dtype
        assert found.params[name].tobytes() == array.tobytes()


# --------------------------------------------------------- the operators that onnx ships as tests


@functools.cache
def shipped():
    """Return the cases of the recurrent operators, by name."""
    package = "onnx.backend.test.case.node"
    for module in ("rnn", "gru", "lstm"):
        importlib.import_module(f"{package}.{module}")  # which adds its cases to a list
    every = importlib.import_module(package)._NodeTestCases
    wanted = re.compile(r"test_(simple_rnn|rnn|gru|lstm)_")
    return {case.name: case for case in every if wanted.match(case.name)}


def names_of_cases():
    return sorted(shipped())


@pytest.mark.parametrize("name", names_of_cases())
def test_a_case_of_onnx_is_reproduced(name):
    case = shipped()[name]
    model = onnx.ModelProto()
    model.CopyFrom(case.model)
    (node,) = model.graph.node
    ((given, wanted),) = case.data_sets
    arrays = dict(zip((one.name for one in model.graph.input), given, strict=True))
    # Weights are inputs there. As in a file of a network, they are made constants.
    of = {at: name for at, name in enumerate(node.input) if name}
    for at in (1, 2, 3, 7):
        if at in of:
            array = onnx.numpy_helper.from_array(arrays[of[at]], of[at])
            model.graph.initializer.append(array)
    found = load_onnx(model)
    first = found.model.batch_first
    states = [arrays[of[at]] for at in (5, 6) if at in of]
    states = [np.swapaxes(one, 0, 1) if first else one for one in states]
    before = None if not states else states[0] if len(states) == 1 else tuple(states)
    lengths = arrays[of[4]] if 4 in of else None
    x = arrays[of[0]]
    outputs, state = prnn.predict(
        *(found.model, found.params, x, before), lengths=lengths, return_state=True
    )
    final = state if isinstance(state, tuple) else (state,)
    size, directions = found.model.hidden_size, found.model.directions
    split = outputs.reshape(*outputs.shape[:2], directions, size)
    ours = {
        "Y": split if first else np.swapaxes(split, 1, 2),
        **{
            name: np.swapaxes(one, 0, 1) if first else one
            for name, one in zip(("Y_h", "Y_c"), final, strict=False)
        },
    }
    asked = [part for part, name in zip(("Y", "Y_h", "Y_c"), node.output, strict=False) if name]
    assert asked
    for part, want in zip(asked, wanted, strict=True):
        assert error_in_eps(ours[part], want) < 8.0, part


def test_the_cases_are_all_there():
    assert len(names_of_cases()) >= 15


# ------------------------------------------------------------------------------- other files


def node_model(*nodes, arrays=(), outputs=("Y",), opset=17):
    """Return a model of some operators, with the input x."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", kind, ["T", "B", 3])],
        [helper.make_tensor_value_info(name, kind, None) for name in outputs],
        [onnx.numpy_helper.from_array(array, name) for name, array in dict(arrays).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def gru(x="x", inputs=3, directions=1, end="", **attributes):
    """Return an operator with its arrays."""
    rng = np.random.default_rng(len(end))
    arrays = {
        f"W{end}": rng.normal(size=(directions, 12, inputs)).astype(np.float32),
        f"R{end}": rng.normal(size=(directions, 12, 4)).astype(np.float32),
        f"B{end}": rng.normal(size=(directions, 24)).astype(np.float32),
    }
    node = onnx.helper.make_node(
        "GRU", [x, *arrays], [f"Y{end}"], name=f"gru{end}", hidden_size=4, **attributes
    )
    return node, arrays


def test_layers_one_after_another_are_one_network():
    first, arrays = gru(linear_before_reset=1)
    second, more = gru("y", 4, end="2", linear_before_reset=1)
    axes = {"axes": np.asarray([1])}
    between = onnx.helper.make_node("Squeeze", ["Y", "axes"], ["y"])
    model = node_model(first, between, second, arrays=arrays | more | axes, outputs=("Y2",))
    found = load_onnx(model)
    assert found.model == prnn.RNN(3, 4, cell="gru", num_layers=2)
    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
    want = session(model.SerializeToString()).run(None, {"x": x})[0][:, 0]
    assert error_in_eps(prnn.predict(found.model, found.params, x), want) < 8.0
    alone = load_onnx(model, node="gru2")
    assert alone.model == prnn.RNN(4, 4, cell="gru")
    assert alone.params["weight_hh_l0"].tobytes() == found.params["weight_hh_l1"].tobytes()
    assert load_onnx(model, node="Y").model.input_size == 3


def test_arrays_that_are_computed_of_constants_are_read():
    """As torch's exporter writes them, without folding."""
    node, arrays = gru()
    turned = {"turned": np.ascontiguousarray(arrays.pop("W").transpose(0, 2, 1))}
    transpose = onnx.helper.make_node("Transpose", ["turned"], ["W"], perm=[0, 2, 1])
    model = node_model(transpose, node, arrays=arrays | turned)
    found = load_onnx(model)
    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
    want = session(model.SerializeToString()).run(None, {"x": x})[0][:, 0]
    assert found.model.cell == "reset_before_gru"
    assert error_in_eps(prnn.predict(found.model, found.params, x), want) < 8.0


def test_constant_states_and_lengths_are_returned():
    node, arrays = gru()
    arrays |= {"lengths": np.asarray([5, 2], np.int32)}
    arrays["h"] = np.random.default_rng(0).normal(size=(1, 2, 4)).astype(np.float32)
    node.input.extend(["lengths", "h"])
    model = node_model(node, arrays=arrays)
    found = load_onnx(model)
    x = np.random.default_rng(0).normal(size=(5, 2, 3)).astype(np.float32)
    want = session(model.SerializeToString()).run(None, {"x": x})[0][:, 0]
    got = prnn.predict(found.model, found.params, x, found.state, lengths=found.lengths)
    assert error_in_eps(got, want) < 8.0


@pytest.mark.filterwarnings("ignore")  # of torch's own plans
def test_a_file_of_torch_is_read(tmp_path):
    torch = need("torch")
    layers = torch.nn.LSTM(3, 4, num_layers=2, bidirectional=True)
    x = torch.randn(5, 2, 3)
    torch.onnx.export(layers, (x,), tmp_path / "m.onnx", dynamo=False, input_names=["x"])
    found = load_onnx(tmp_path / "m.onnx")
    assert found.model == prnn.RNN(3, 4, cell="lstm", num_layers=2, bidirectional=True)
    for name, array in layers.state_dict().items():
        assert found.params[name].tobytes() == array.numpy().tobytes(), name
    got = prnn.predict(found.model, found.params, x.numpy())
    assert error_in_eps(got, layers(x)[0].detach().numpy()) < 8.0


# ------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"cell": "layer_norm_lstm"}, "model: cell 'layer_norm_lstm' has no counterpart in ONNX"),
        ({"cell": "lstm", "projection_size": 2}, "model: projection_size has no counterpart"),
    ],
)
def test_what_onnx_lacks_is_refused(tmp_path, options, words):
    model = prnn.RNN(3, 4, **options)
    with pytest.raises(ValueError, match=re.escape(words)):
        export_onnx(tmp_path / "m.onnx", model, model.init(seed=0))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"direction": "sideways"}, "gru: direction 'sideways' has no counterpart"),
        ({"activations": ["Sigmoid", "Erf"]}, "gru: activation 'Erf' has no counterpart"),
        ({"activations": ["Sigmoid"]}, "gru: expected 2 activations, got 1"),
        ({"clip": -1.0}, "clip: expected a number above 0, got -1.0"),
        ({"hidden_size": 5}, "gru: hidden_size is 5, and R has 4 columns"),
        ({"colour": 1}, "gru: attribute colour has no counterpart"),
    ],
)
def test_attributes_without_a_counterpart_are_refused(change, words):
    node, arrays = gru()
    del node.attribute[:]
    for name, value in ({"hidden_size": 4} | change).items():
        node.attribute.append(onnx.helper.make_attribute(name, value))
    with pytest.raises(ValueError, match=re.escape(words)):
        load_onnx(node_model(node, arrays=arrays))


def test_directions_with_other_activations_are_refused():
    names = ["Sigmoid", "Tanh", "Sigmoid", "Relu"]
    node, arrays = gru(directions=2, direction="bidirectional", activations=names)
    with pytest.raises(ValueError, match="activations that differ between directions"):
        load_onnx(node_model(node, arrays=arrays))


def test_operators_that_are_not_layers_of_one_network_are_named():
    first, arrays = gru()
    second, more = gru("x", end="2")
    model = node_model(first, second, arrays=arrays | more, outputs=("Y", "Y2"))
    with pytest.raises(ValueError, match="node: expected one of 'gru', 'gru2', since these are"):
        load_onnx(model)
    with pytest.raises(ValueError, match="node: expected one of 'gru', 'gru2', got 'lstm'"):
        load_onnx(model, node="lstm")


def test_weights_that_are_inputs_are_refused():
    node, arrays = gru()
    del arrays["R"]
    model = node_model(node, arrays=arrays)
    with pytest.raises(ValueError, match="gru: expected R as a constant, got one that is computed"):
        load_onnx(model)


@pytest.mark.parametrize("part", ["W", "R", "B"])
def test_arrays_of_wrong_shapes_are_refused(part):
    node, arrays = gru()
    arrays[part] = arrays[part][..., :-1] if part != "W" else arrays[part][:, :-1]
    with pytest.raises(ValueError, match="gru: "):
        load_onnx(node_model(node, arrays=arrays))


def test_files_that_are_no_model_are_refused(tmp_path):
    path = tmp_path / "m.onnx"
    with pytest.raises(CheckpointError, match=r"m\.onnx: there is no such file"):
        load_onnx(path)
    for content in (b"", b"\0" * 40, b"{}", b"\xff" * 100):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"m\.onnx: expected an ONNX model"):
            load_onnx(path)
        with pytest.raises(CheckpointError, match="source: expected an ONNX model"):
            load_onnx(content)
    with pytest.raises(TypeError, match="source: expected a path"):
        load_onnx(3)
    relu = onnx.helper.make_node("Relu", ["x"], ["Y"])
    with pytest.raises(ValueError, match="source: expected an operator RNN, GRU or LSTM"):
        load_onnx(node_model(relu))


def test_a_description_of_another_network_is_refused(tmp_path):
    model = prnn.RNN(3, 4, 2, cell="gru")
    export_onnx(tmp_path / "m.onnx", model, model.init(seed=0))
    for change, words in (
        ({"cell": "reset_before_gru"}, "cell_object"),
        ({"output_size": 3}, "does not hold what it describes"),
        ({"colour": 3}, "is not one of a model"),
    ):
        found = onnx.load(tmp_path / "m.onnx")
        described = {"format": 1, "model": model.to_dict() | change}
        onnx.helper.set_model_props(found, {"portable_rnn": json.dumps(described)})
        with pytest.raises(CheckpointError, match=words):
            load_onnx(found)


# ------------------------------------------------------------------------------- planted bugs

BUGS = {
    "gates of a GRU": ("OPERATORS", onnx_nodes.OPERATORS | {"GRU": ("rzn", "rzn")}),
    "gates of an LSTM": ("OPERATORS", onnx_nodes.OPERATORS | {"LSTM": ("ifgo", "ifgo")}),
    "peepholes": ("PEEPHOLES", ("ifo", "ifo")),
    "activations": ("DEFAULTS", onnx_nodes.DEFAULTS | {"GRU": ("Sigmoid", "Relu")}),
}
LINES = {
    "halves of the bias": (
        'stacked("bias_ih", "bias_hh")',
        'stacked("bias_hh", "bias_ih")',
    ),
    "reset before or after": ('found["linear_before_reset"] = 1', "pass"),
    "direction": ('"reverse" if model.reverse', '"forward" if model.reverse'),
    "coupled": ('found["input_forget"] = 1', "pass"),
    "clip": ('found["clip"] = cell.clip', "pass"),
    "numbers of an activation": (
        'for at, of in enumerate(("activation_alpha", "activation_beta"))',
        'for at, of in enumerate(("activation_beta", "activation_alpha"))',
    ),
}


def caught(tmp_path):
    """Return whether a run or the way back shows a bug in one of the first random networks."""
    for seed in range(60):
        model, rng = random_model(seed)
        params = parameters(model, seed)
        try:
            export_onnx(tmp_path / "m.onnx", model, params)
            if compare(tmp_path / "m.onnx", model, params, rng, lengths=False, state=False) > 8.0:
                return True
            found = load_onnx(tmp_path / "m.onnx")
            if any(found.params[n].tobytes() != params[n].tobytes() for n in params):
                return True
        except Exception:
            return True
    return False


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_in_a_table_is_caught(tmp_path, monkeypatch, bug):
    monkeypatch.setattr(onnx_nodes, *BUGS[bug])
    assert caught(tmp_path)


@pytest.mark.parametrize("bug", LINES)
def test_a_bug_in_a_line_is_caught(tmp_path, monkeypatch, bug):
    right, wrong = LINES[bug]
    source = Path(onnx_nodes.__file__).read_text(encoding="utf-8")
    assert source.count(right) == 1
    names = {"__name__": onnx_nodes.__name__, "__package__": onnx_nodes.__package__}
    exec(compile(source.replace(right, wrong), onnx_nodes.__file__, "exec"), names)
    for name in ("attributes_of", "parts_of"):
        monkeypatch.setattr(interop.onnx_export, name, names[name])
    assert caught(tmp_path)
