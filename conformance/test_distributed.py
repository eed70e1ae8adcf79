"""Gradients of shards on every backend: those of the whole batch, and runs that are saved."""

import functools

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.batches import Batch, Shuffled
from portable_rnn.distributed import AllReduceGradients, DaskGradients, Shards
from portable_rnn.training import train

from .backend import host_dtype
from .inline_client import InlineClient
from .selection import full_precision
from .subject import device_of
from .tolerances import allowed_eps, assert_close

MODEL = prnn.RNN(3, 5, 4, cell="gru")
T = 6


dtypes = full_precision


def by_dask(model, **options):
    return DaskGradients(InlineClient(), model, **options)


def alone(model, **options):
    return AllReduceGradients(model, lambda vector: vector, rank=0, size=1, **options)


def arrays(dtype):
    """Return inputs, labels and lengths of eight sequences."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((T, 8, 3)).astype(host_dtype(dtype))
    return x, rng.integers(0, 4, (T, 8)), rng.integers(1, T + 1, 8)


def initial(dtype):
    drawn = MODEL.init(seed=0, dtype="float64")
    return {name: p.astype(host_dtype(dtype)) for name, p in drawn.items()}


@pytest.mark.parametrize("make", [by_dask, alone])
@pytest.mark.parametrize("how", ["cut", "loaded"])
def test_gradients_of_shards_are_those_of_the_batch(backend, dtype, make, how, record):
    if backend.shapes_only or not backend.reads:
        pytest.skip("not run: losses of shards are read, and this backend has no values to read")
    x, labels, lengths = arrays(dtype)
    params = {name: backend.put(p) for name, p in initial(dtype).items()}

    def load(step, shard):
        """Unequal shards."""
        part = slice(0, 3) if shard == 0 else slice(3, 8)
        return Batch(backend.put(x[:, part]), backend.put(labels[:, part]), lengths=lengths[part])

    whole = Batch(backend.put(x), backend.put(labels), lengths=lengths)
    loaded = how == "loaded"
    gradients = make(MODEL) if loaded else make(MODEL, shards=3)
    batch = Shards(load, 2).batch(0) if loaded else whole
    loss, grads, _ = gradients(params, batch)
    wide = {name: p.astype(np.float64) for name, p in initial(dtype).items()}
    want = prnn.bptt(MODEL, wide, x.astype(np.float64), labels, lengths=lengths)
    allowed = allowed_eps(backend.id, dtype)
    for name, gradient in grads.items():
        assert gradient.dtype == params[name].dtype
        assert device_of(gradient) == device_of(params[name])
        label = f"{backend.id}: {name} of shards"
        eps = assert_close(backend.get(gradient), want.grads[name], label, scale=1.0, k=allowed)
        record("gru", "distributed", f"d_params[{name}]", T, eps, allowed)
    assert float(loss) == pytest.approx(float(want.loss), rel=1e-5)


@pytest.mark.parametrize("make", [by_dask, pytest.param(alone, marks=pytest.mark.when_named)])
def test_a_resumed_run_has_the_same_bits(backend, make, tmp_path):
    if backend.shapes_only or not backend.reads:
        pytest.skip("not run: losses of shards are read, and this backend has no values to read")
    pytest.importorskip("safetensors", reason="not run: safetensors is not installed")
    x, labels, lengths = arrays("float32")
    source = Shuffled(backend.put(x), backend.put(labels), batch_size=4, lengths=lengths)
    params = {name: backend.put(p) for name, p in initial("float32").items()}
    go = functools.partial(
        *(train, MODEL, params, source),
        gradients=make(MODEL, shards=2, metrics=["accuracy"]),
        **{"lr": 0.02, "max_norm": 0.3, "validation": source, "log_every": 4},
    )
    whole = go(steps=6)
    go(steps=3, checkpoint=tmp_path / "run.safetensors")
    rest = go(steps=6, checkpoint=tmp_path / "run.safetensors", resume=True)
    for name, array in whole.params.items():
        assert backend.get(array).tobytes() == backend.get(rest.params[name]).tobytes()
    assert rest.loss == whole.loss
    assert rest.metrics == whole.metrics
    assert whole.evaluation_metrics["accuracy"] > 0
