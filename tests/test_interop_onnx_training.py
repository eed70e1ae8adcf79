"""A step of training as an ONNX file: onnxruntime makes the steps that NumPy makes."""

import functools
import re

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import interop, losses, optimizers
from portable_rnn._executors import onnx_scan
from portable_rnn.interop import export_training_step, onnx_sizes

from .needed import need

onnx = need("onnx")
runtime = need("onnxruntime")
need("ndonnx")

pytestmark = [pytest.mark.no_products, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


class Steps:
    """The steps of a file, with onnxruntime."""

    def __init__(self, path, first):
        options = runtime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.names = [output.name for output in self.session.get_outputs()]
        self.values = first

    def __call__(self, x, targets, lr):
        dtype = self.values["weight_hh_l0"].dtype
        given = {"x": x, "targets": targets, "lr": np.asarray(lr, dtype)} | self.values
        found = dict(zip(self.names, self.session.run(None, given), strict=True))
        self.values = {n.removeprefix("next."): a for n, a in found.items() if n != "loss"}
        return float(found["loss"])


def batch(model, rng, steps, count, dtype, labels=True):
    shape = (count, steps) if model.batch_first else (steps, count)
    if model.vocabulary_size is None:
        x = rng.normal(size=(*shape, model.input_size)).astype(dtype)
    else:
        x = rng.integers(0, model.vocabulary_size, shape)
    whole = (count,) if model.pool else shape
    if labels:
        return x, rng.integers(0, model.feature_size, whole)
    return x, rng.normal(size=(*whole, model.feature_size)).astype(dtype)


def compare(path, model, *, steps=4, dtype="float64", sizes=((7, 3), (12, 5)), lr=0.05, **options):
    """Make steps both ways; return the largest relative error of losses and of parameters."""
    rng = np.random.default_rng(0)
    params = model.init(seed=0, dtype=dtype)
    first = export_training_step(path, model, params, **options)
    of_file = Steps(path, first)
    optimizer, state = options.get("optimizer", optimizers.adam), None
    if isinstance(optimizer, str):
        optimizer = getattr(optimizers, optimizer)
    loss = options.get("loss", losses.softmax_cross_entropy)
    worst = 0.0
    for step in range(steps):
        x, targets = batch(
            model, rng, *sizes[step % len(sizes)], dtype, options.get("labels", True)
        )
        got = of_file(x, targets, lr)
        found = prnn.bptt(model, params, x, targets, loss=loss, grad_x=False)
        grads = found.grads
        if (most := options.get("max_norm")) is not None:
            grads, _ = optimizers.clip_by_global_norm(grads, most)
        params, state = optimizer(params, grads, state, lr=lr)
        worst = max(worst, abs(got / float(found.loss) - 1.0))
    for name, array in params.items():
        error = np.abs(of_file.values[name] - array).max() / np.abs(array).max()
        worst = max(worst, float(error))
    return worst


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
@pytest.mark.parametrize(("dtype", "bound"), [("float32", 1e-5), ("float64", 1e-11)])
def test_a_hundred_steps_have_the_losses_of_numpy(tmp_path, cell, dtype, bound, record_property):
    """With Adam and clipping, at 256 steps; parameters in float32 differ more than losses."""
    model = prnn.RNN(4, 16, 3, cell=cell)
    params = model.init(seed=0, dtype=dtype)
    first = export_training_step(tmp_path / "s.onnx", model, params, max_norm=1.0)
    of_file, state, rng = Steps(tmp_path / "s.onnx", first), None, np.random.default_rng(0)
    begun, worst = None, 0.0
    for _ in range(100):
        x = rng.normal(size=(256, 8, 4)).astype(dtype)
        targets = (np.cumsum(x[..., 0], axis=0) > 0).astype(np.int64) + (x[..., 1] > 1)
        got = of_file(x, targets, 0.003)
        found = prnn.bptt(model, params, x, targets, grad_x=False)
        grads, _ = optimizers.clip_by_global_norm(found.grads, 1.0)
        params, state = optimizers.adam(params, grads, state, lr=0.003)
        worst = max(worst, abs(got / float(found.loss) - 1.0))
        begun = begun or got
    assert got < 0.85 * begun
    assert worst < bound
    assert of_file.values["step"] == 100
    record_property(f"{cell}, {dtype}: worst relative error of 100 losses", worst)


MODELS = {
    "layers": {"cell": "gru", "num_layers": 2},
    "both directions": {"cell": "lstm", "bidirectional": True},
    "batch first, reverse": {"cell": "elman", "batch_first": True, "reverse": True},
    "tokens": {"cell": "gru", "vocabulary_size": 6},
    "tied": {"cell": "gru", "vocabulary_size": 5, "output_size": 5, "tied": True, "hidden_size": 4},
    "last": {"cell": "gru", "pool": "last"},
    "mean": {"cell": "elman", "pool": "mean", "bidirectional": True},
    "peepholes": {"cell": prnn.cells.LSTM(peepholes=True, coupled=True, clip=1.0)},
    "normalized": {"cell": "layer_norm_lstm"},
    "projected": {"cell": "lstm", "projection_size": 3},
}


@pytest.mark.parametrize("name", MODELS)
def test_networks_of_every_kind_are_trained(tmp_path, name):
    options = {"input_size": 4, "hidden_size": 5, "output_size": 3} | MODELS[name]
    assert compare(tmp_path / "s.onnx", prnn.RNN(**options), max_norm=0.1) < 1e-11


OPTIMIZERS = {
    "sgd": "sgd",
    "momentum": functools.partial(optimizers.sgd, momentum=0.9, nesterov=True),
    "adamw": functools.partial(optimizers.adamw, weight_decay=0.1),
    "rmsprop": optimizers.rmsprop,
    "lion": optimizers.lion,
    "ema": optimizers.ema(optimizers.adam, decay=0.9),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_with_their_states(tmp_path, name):
    model = prnn.RNN(3, 4, 2, cell="gru")
    assert compare(tmp_path / "s.onnx", model, optimizer=OPTIMIZERS[name], steps=6) < 1e-11


def test_targets_that_are_numbers(tmp_path):
    model = prnn.RNN(3, 4, 2, cell="gru")
    options = {"loss": losses.mean_squared_error, "labels": False}
    assert compare(tmp_path / "s.onnx", model, **options) < 1e-11


# ------------------------------------------------------------------------------- the graph


def nodes(graph):
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from nodes(attribute.g)


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_the_graph_is_of_no_size(tmp_path, monkeypatch, cell):
    """Whatever sizes it is traced for, also those of the network, it is the same graph."""
    model = prnn.RNN(4, 16, 3, cell=cell)
    graphs = []
    pairs = ((1009, 1013), (997, 1019)), ((8, 5), (64, 7)), ((256, 16), (64, 4))
    for number, pair in enumerate(pairs):
        found = tuple(onnx_sizes.Sizes(*sizes) for sizes in pair)
        for module in (onnx_sizes, interop.onnx_training):
            monkeypatch.setattr(module, "PAIRS", found)
        path = tmp_path / f"{number}.onnx"
        export_training_step(path, model, model.init(seed=0), max_norm=1.0)
        graphs.append(onnx.load(path).graph)
    kinds = [[node.op_type for node in nodes(graph)] for graph in graphs]
    assert kinds[0] == kinds[1] == kinds[2]
    assert kinds[0].count("Scan") == 2  # forward, and back
    shapes = {
        one.name: [d.dim_param or d.dim_value for d in one.type.tensor_type.shape.dim]
        for one in (*graphs[0].input, *graphs[0].output)
    }
    assert (shapes["x"], shapes["targets"], shapes["loss"]) == (["T", "B", 4], ["T", "B"], [])
    assert shapes["next.weight_hh_l0"] == [model.cell_object.gates * 16, 16]


# ------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ({"zoneout": 0.1}, {}, "model: expected zoneout=0.0, for masks are drawn, got 0.1"),
        ({}, {"optimizer": "newton"}, "optimizer: expected "),
        ({}, {"optimizer": 3}, "optimizer: expected "),
        ({}, {"loss": "hinge"}, "loss: expected "),
        ({}, {"max_norm": 0.0}, "max_norm: expected a number above 0, got 0.0"),
        ({}, {"labels": 1}, "labels: expected True or False, got 1"),
    ],
)
def test_what_cannot_be_exported_is_refused(tmp_path, model, options, words):
    network = prnn.RNN(3, 4, 2, **model)
    with pytest.raises((TypeError, ValueError), match=re.escape(words)):
        export_training_step(tmp_path / "s.onnx", network, network.init(seed=0), **options)
    assert not list(tmp_path.iterdir())


def test_a_loss_that_depends_on_a_size_in_another_way_is_refused(tmp_path):
    def loss(outputs, targets, weights=None):
        value, d_outputs = losses.softmax_cross_entropy(outputs, targets)
        return value * float(outputs.shape[0] ** 0.5), d_outputs

    model = prnn.RNN(3, 4, 2)
    with pytest.raises(ValueError, match="model: a number in its graph depends on sizes"):
        export_training_step(tmp_path / "s.onnx", model, model.init(seed=0), loss=loss)


# ------------------------------------------------------------------------------- planted bugs


@pytest.mark.parametrize("bug", ["axes", "first", "reverse"])
def test_a_planted_bug_is_caught(tmp_path, monkeypatch, bug):
    model = prnn.RNN(3, 4, 2, cell="gru")
    if bug == "axes":
        true = onnx_sizes.with_free_sizes
        monkeypatch.setattr(
            interop.onnx_training,
            "with_free_sizes",
            lambda *given: true(*given[:4], given[4][::-1]),
        )
    elif bug == "first":  # of a state that is given, and of none yet
        true = interop.onnx_training.step_where
        monkeypatch.setattr(
            interop.onnx_training,
            "step_where",
            lambda xp, due, first, *rest: true(xp, due, ~first, *rest),
        )
    else:
        true = onnx_scan._scan
        monkeypatch.setattr(onnx_scan, "_scan", lambda *given, reverse: true(*given, reverse=False))
    try:
        ema = OPTIMIZERS["ema"]
        found = compare(tmp_path / "s.onnx", model, optimizer=ema if bug == "first" else "adam")
    except Exception:
        return
    assert found > 1e-6
