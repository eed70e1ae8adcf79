"""Training on every backend: the same parameters, and the same bits after a resume."""

import functools

import array_api_compat.numpy
import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.batches import Shuffled
from portable_rnn.training import Callback, train

from .backend import host_dtype
from .backends import BACKENDS
from .selection import full_precision
from .tolerances import allowed_eps, assert_close

STEPS = 12


dtypes = full_precision


class Stop(Callback):
    def on_step(self, run):
        if run.step == 5:
            run.stop("enough")


def trainer(backend, cell, dtype, rounded_to=None):
    """Return `train` with all arguments bound except those for saving and stopping."""
    rounded_to = rounded_to or dtype
    rng = np.random.default_rng(0)
    x, targets = (
        rng.standard_normal((6, 8, 3)).astype(rounded_to).astype(dtype),
        rng.integers(0, 4, (6, 8)),
    )
    model = prnn.RNN(3, 5, 4, cell=cell)
    drawn = model.init(seed=0, dtype="float64")
    init = {name: p.astype(rounded_to).astype(dtype) for name, p in drawn.items()}
    return functools.partial(
        train,
        model,
        {name: backend.put(p) for name, p in init.items()},
        Shuffled(backend.put(x), backend.put(targets), batch_size=4),
        steps=STEPS,
        lr=functools.partial(prnn.schedules.cosine, lr=0.02, steps=STEPS),
        max_norm=0.3,
    )


@functools.lru_cache
def by_numpy(cell, rounded_to):
    """Return the same run on NumPy in float64, from parameters and inputs that were rounded."""
    with prnn.use_namespace(array_api_compat.numpy):  # whatever namespace the row under test uses
        return trainer(BACKENDS["numpy"], cell, "float64", rounded_to=rounded_to)()


@pytest.mark.parametrize(
    "cell",
    ["gru", *(pytest.param(cell, marks=pytest.mark.when_named) for cell in ("elman", "lstm"))],
)
def test_a_short_training_ends_at_the_same_parameters(backend, dtype, cell, record):
    if backend.shapes_only or not backend.reads:
        pytest.skip("not run: training reads the loss, and this backend has no values to read")
    here = trainer(backend, cell, dtype)()
    there = by_numpy(cell, dtype)
    for name, want in there.params.items():
        got = backend.get(here.params[name])
        allowed = allowed_eps(backend.id, dtype)
        label = f"{backend.id}: {name} of {cell} after {STEPS} steps"
        eps = assert_close(got, want, label, scale=1.0, k=allowed)
        record(cell, "training", f"params[{name}]", 6, eps, allowed)
    assert here.loss == pytest.approx(there.loss, rel=1e-5 if dtype == "float32" else 1e-12)


def test_a_resumed_run_has_the_same_bits(backend, tmp_path):
    if backend.shapes_only or not backend.reads:
        pytest.skip("not run: training reads the loss, and this backend has no values to read")
    pytest.importorskip("safetensors", reason="not run: safetensors is not installed")
    go = trainer(backend, "elman" if backend.slow else "lstm", backend.dtypes[0])
    whole = go(checkpoint=tmp_path / "whole")
    go(checkpoint=tmp_path / "parts", callbacks=[Stop()])
    resumed = go(checkpoint=tmp_path / "parts", resume=True)
    assert resumed.step == STEPS
    for name, p in whole.params.items():
        assert backend.get(resumed.params[name]).tobytes() == backend.get(p).tobytes(), name
        assert type(resumed.params[name]) is type(p)


def put_as(backend, dtype, arrays):
    return {name: backend.put(a.astype(host_dtype(dtype))) for name, a in arrays.items()}


def test_weights_come_back_from_a_file_in_every_dtype(backend, tmp_path):
    """In bfloat16 too, bit for bit, where the library has it; and into NumPy by name if not."""
    if backend.shapes_only or not backend.reads:
        pytest.skip("not run: a file has values, and this backend has none to read")
    pytest.importorskip("safetensors", reason="not run: safetensors is not installed")
    model = prnn.RNN(3, 5, 4, cell="lstm")
    for dtype in backend.dtypes:
        start = put_as(backend, dtype, model.init(seed=0))
        prnn.serialization.save_weights(tmp_path / dtype, start)
        xp = backend.namespace(start["weight_ih_l0"])
        loaded = prnn.serialization.load_weights(tmp_path / dtype, xp=xp)
        assert list(loaded) == list(start)
        for name, p in start.items():
            assert loaded[name].dtype == p.dtype, (dtype, name)
            assert backend.get(loaded[name]).tobytes() == backend.get(p).tobytes(), (dtype, name)


@pytest.mark.when_named
def test_a_resumed_run_of_a_wrapped_optimizer_has_the_same_bits(backend, tmp_path):
    """Its state is a tuple of dicts, with a number of its own; in bfloat16 where available."""
    if backend.shapes_only or not backend.reads:
        pytest.skip("not run: training reads the loss, and this backend has no values to read")
    if backend.id == "dask":
        pytest.skip("not run: each operation takes long")
    pytest.importorskip("safetensors", reason="not run: safetensors is not installed")

    def both(params, grads, state, *, lr):
        first, second, count = state or (None, None, 0)
        moved, first = prnn.optimizers.sgd(params, grads, first, lr=lr, momentum=0.9)
        moved, second = prnn.optimizers.adam(moved, grads, second, lr=lr)
        return moved, (first, second, count + 1)

    model = prnn.RNN(3, 5, 4, cell="gru")
    rng = np.random.default_rng(0)
    for dtype in {backend.dtypes[0], *({"bfloat16"} & set(backend.dtypes))}:
        arrays = model.init(seed=0) | {"x": rng.standard_normal((6, 8, 3))}
        params = put_as(backend, dtype, arrays)
        x = params.pop("x")
        source = Shuffled(x, backend.put(rng.integers(0, 4, (6, 8))), batch_size=4)
        go = functools.partial(train, model, params, source, steps=9, lr=0.01, optimizer=both)
        whole = go()
        go(checkpoint=tmp_path / dtype, callbacks=[Stop()])
        resumed = go(checkpoint=tmp_path / dtype, resume=True)
        assert float(resumed.optimizer_state[2]) == 9
        for name, p in whole.params.items():
            assert resumed.params[name].dtype == p.dtype
            assert backend.get(resumed.params[name]).tobytes() == backend.get(p).tobytes(), name


class Graphs(Callback):
    """Count the tasks that are needed to compute the values of the parameters."""

    def __init__(self):
        self.sizes = []

    def on_step(self, run):
        self.sizes.append(max(len(p.__dask_graph__()) for p in run.params.values()))


@pytest.mark.rows("dask")
def test_lazy_parameters_do_not_keep_the_graphs_of_earlier_steps(backend):
    graphs = Graphs()
    run = trainer(backend, "gru", "float64")(callbacks=[graphs])
    assert len(graphs.sizes) == STEPS
    assert graphs.sizes[-1] == graphs.sizes[0]
    assert all(isinstance(p, backend.xp.Array) for p in run.params.values())


@pytest.mark.when_named
@pytest.mark.parametrize("half", ["float16", "bfloat16"])
def test_half_precision_trains_with_the_default_optimizer(backend, half):
    """Its eps is 0 in float16, as are most squares of gradients; Adam keeps them in float32."""
    if half not in backend.dtypes:
        pytest.skip(f"not run: this backend has no {half}")
    if not backend.reads:
        pytest.skip("not run: training reads the loss, and this backend has no values to read")
    pytest.importorskip("ml_dtypes", reason="not run: ml_dtypes, for bfloat16, is not installed")
    dtype = host_dtype(half)
    here = trainer(backend, "gru", dtype)()
    there = by_numpy("gru", dtype)
    assert here.loss == pytest.approx(there.loss, rel=2e-2)
    moved = 0.0
    for name, want in there.params.items():
        got = backend.get(here.params[name])
        assert got.dtype == dtype
        first = there.model.init(seed=0, dtype="float64")[name].astype(dtype).astype("float64")
        # Each step rounds a parameter of up to 1 once.
        assert_close(got, want, f"{backend.id}: {name}", scale=1.0, k=STEPS)
        moved = max(moved, float(np.max(np.abs(want - first))))
    assert moved > 0.05


def test_gradients_of_ones_own_train_as_the_built_in_ones(backend):
    """With a state of a dict, which holds a number; evaluated by outputs of one's own."""
    if backend.shapes_only or not backend.reads:
        pytest.skip("not run: training reads the loss, and this backend has no values to read")
    dtype = backend.dtypes[0]
    built_in = trainer(backend, "elman", dtype)
    model, params, source = built_in.args

    def gradients(params, batch, state):
        result = prnn.bptt(model, params, batch.x, batch.targets)
        return result.loss, result.grads, {"batches": 1 if state is None else state["batches"] + 1}

    def predict(params, batch, state):
        return prnn.predict(model, params, batch.x), state

    options = built_in.keywords | {"validation": source, "metrics": ["accuracy"]}
    want = train(model, params, source, **options)
    got = train(None, params, source, gradients=gradients, predict=predict, **options)
    for name, p in want.params.items():
        label, allowed = f"{backend.id}: {name}", allowed_eps(backend.id, dtype)
        held = backend.get(p).astype("float64")
        assert_close(backend.get(got.params[name]), held, label, scale=1.0, k=allowed)
    assert got.evaluation == pytest.approx(want.evaluation, rel=1e-5)
    assert got.evaluation_metrics == want.evaluation_metrics
    assert got.gradient_norm == pytest.approx(want.gradient_norm, rel=1e-4)
