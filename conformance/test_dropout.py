"""Dropout, recurrent dropout and zoneout on every backend, with the masks that were drawn.

torch draws from generators of its own, so the reference is the definition, in plain NumPy loops,
and the complex-step derivative of the forward pass.
"""

from functools import lru_cache

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.dropout import Masks, draw

from . import cuda_on_host
from .backend import host_dtype
from .complex_step import gradient
from .problems import TORCH_CELLS, Problem
from .selection import full_precision
from .subject import put, results
from .tolerances import allowed_eps, assert_close

dtypes = full_precision


STEPS, BATCH, HIDDEN = 5, 3, 4
CHANCES = {"dropout": 0.5, "recurrent_dropout": 0.4, "zoneout": 0.3}
SEED = (7, 3)


def make(cell, ragged=""):
    problem = Problem(cell, 5, STEPS, BATCH, 3, HIDDEN, 2, "both", False, layers=3, ragged=ragged)
    model = prnn.RNN(3, HIDDEN, 2, cell=cell, num_layers=3, **CHANCES)
    return problem, model


def sigmoid(a):
    return 1 / (1 + np.exp(-a))


def advance(cell, ax, ah, state):
    """The cells as in torch's docs."""
    if cell == "elman":
        return (np.tanh(ax + ah),)
    if cell == "gru":
        (r, z, n), (hr, hz, hn) = np.split(ax, 3, axis=-1), np.split(ah, 3, axis=-1)
        z = sigmoid(z + hz)
        return ((1 - z) * np.tanh(n + sigmoid(r + hr) * hn) + z * state[0],)
    i, f, g, o = np.split(ax + ah, 4, axis=-1)
    c = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(g)
    return sigmoid(o) * np.tanh(c), c


def by_loops(cell, params, x, state, masks, there):
    """Return the outputs and the final states, step by step and layer by layer."""
    state = state if isinstance(state, tuple) else (state,)
    after, y = [], x
    for layer in range(3):
        now = [part[layer] for part in state]
        y = y * masks.between[layer - 1] if layer else y
        rows = []
        for t in range(STEPS):
            w, h = (lambda n, i=layer: params[f"{n}_l{i}"]), now[0] * masks.recurrent[layer]
            ax = y[t] @ w("weight_ih").T + w("bias_ih")
            ah = h @ w("weight_hh").T + w("bias_hh")
            new = advance(cell, ax, ah, now)
            update = [u[t] & there[t][:, None] for u in masks.update[layer]]
            now = [np.where(u, n, o) for u, n, o in zip(update, new, now, strict=True)]
            rows.append(now[0])
        y = np.stack(rows)
        after.append(now)
    outputs = y @ params["readout.weight"].T + params["readout.bias"]
    return np.where(there[..., None], outputs, 0), [np.stack(p) for p in zip(*after, strict=True)]


def solve(static, inputs, masks):
    steps = {"lengths": inputs.lengths, "mask": inputs.mask, "dropout": masks}
    fwd = prnn.forward(static, inputs.params, inputs.x, inputs.state, **steps)
    grads = prnn.backward(static, inputs.params, fwd.tape, inputs.d_outputs, inputs.d_state)
    return results(fwd.outputs, fwd.state, grads.params, grads.x, grads.state)


def parts(value):
    return value if isinstance(value, tuple) else (value,)


@lru_cache  # many rows use the same
def reference(cell, ragged, dtype):
    """Return the results by name, and the largest cotangent."""
    problem, model = make(cell, ragged)
    host = problem.arrays(dtype)
    with prnn.use_namespace(np):  # on the host, whatever is under test
        masks = wide(draw(model, host.x, SEED))
    there = problem.there()
    wanted = by_loops(
        *(cell, {n: p.astype("float64") for n, p in host.params.items()}),
        *(host.x.astype("float64"), host.state, masks, there),
    )
    named = {"outputs": wanted[0]} | {f"state[{i}]": a for i, a in enumerate(wanted[1])}

    names = list(host.params)
    arrays = [host.params[n].astype("float64") for n in names] + [host.x.astype("float64")]

    def pulled(*given):
        y, after = by_loops(
            *(cell, dict(zip(names, given[:-1], strict=True)), given[-1], host.state, masks, there)
        )
        total = np.sum(y * host.d_outputs)
        return total + sum(np.sum(a * d) for a, d in zip(after, parts(host.d_state), strict=True))

    for i, name in enumerate([*(f"d_params[{n}]" for n in names), "d_x"]):
        named[name] = gradient(pulled, arrays, i)
    scale = max(float(np.abs(a).max()) for a in (host.d_outputs, *parts(host.d_state)))
    return named, scale


@pytest.mark.parametrize("ragged", ["", "lengths", "mask"])
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_dropout_with_given_masks_equals_the_definition(backend, dtype, cell, ragged, record):
    if backend.slow and (cell, ragged) != ("lstm", "mask"):
        pytest.skip("not run: one cell will do where every new shape takes long")
    problem, model = make(cell, ragged)
    inputs = put(backend, problem.arrays(dtype))
    found = backend.call(solve, model, inputs, draw(model, inputs.x, SEED))
    if backend.shapes_only:
        return
    named, scale = reference(cell, ragged, dtype)
    allowed = allowed_eps(backend.id, dtype)
    for name, ref in named.items():
        what = f"{backend.id}: {name} of {cell} with dropout"
        eps = assert_close(backend.get(found[name]), ref, what, scale=scale, k=allowed)
        record(cell, f"dropout-{cell}-{ragged or 'dense'}", name, STEPS, eps, allowed)


def wide(masks):
    """Return the masks in float64, with the booleans as they are."""
    return Masks(
        tuple(a.astype("float64") for a in masks.between),
        tuple(a.astype("float64") for a in masks.recurrent),
        masks.update,
    )


def test_one_seed_draws_the_same_masks_everywhere(backend, dtype):
    _, model = make("lstm")
    x = np.zeros((STEPS, BATCH, 3), dtype)
    here = draw(model, backend.put(x), SEED)
    with prnn.use_namespace(np):
        there = draw(model, x, SEED)
    found = [*here.between, *here.recurrent, *(u for update in here.update for u in update)]
    wanted = [*there.between, *there.recurrent, *(u for update in there.update for u in update)]
    assert len(found) == len(wanted) == 2 + 3 + 6
    for got, want in zip(found, wanted, strict=True):
        assert tuple(got.shape) == want.shape
        if not backend.shapes_only:
            got = np.asarray(backend.get(got))
            assert got.dtype == want.dtype
            np.testing.assert_array_equal(got, want)


def predicted(model, inputs):
    return {"outputs": prnn.predict(model, inputs.params, inputs.x)}


def test_nothing_is_dropped_at_prediction(backend, dtype):
    problem, _ = make("gru")
    chances = {"dropout": 0.5, "recurrent_dropout": 0.4}
    model = prnn.RNN(3, HIDDEN, 2, cell="gru", num_layers=3, **chances)
    inputs = put(backend, problem.arrays(dtype))
    got = backend.call(predicted, model, inputs)["outputs"]
    want = backend.call(predicted, problem.model, inputs)["outputs"]
    if not backend.shapes_only:
        assert backend.get(got).tobytes() == backend.get(want).tobytes()


@pytest.mark.rows("cupy-host", "cupy-host-device1")
def test_drawing_on_a_device_moves_nothing_and_waits_for_nothing(backend):
    _, model = make("lstm")
    x = backend.put(np.zeros((STEPS, BATCH, 3), "float32"))
    draw(model, x, SEED)  # the kernel is compiled
    with cuda_on_host.Log() as log:
        masks = draw(model, x, SEED)
    assert not log.waits
    assert set(log.devices) == {backend.on}
    assert log.operations <= 4 * (2 + 3) + 6  # for each array of factors, and of choices
    assert {array.device.id for array in (*masks.between, *masks.update[0])} == {backend.on}


@pytest.mark.rows("cupy-host")
def test_drawing_on_a_device_is_enqueued_on_the_stream_of_the_caller(backend):
    _, model = make("lstm")
    x = backend.put(np.zeros((STEPS, BATCH, 3), "float32"))
    with backend.xp.cuda.Stream(non_blocking=True) as stream, cuda_on_host.Log() as log:
        draw(model, x, SEED)
    assert set(log.streams) == {stream.ptr}
    stream.synchronize()


@pytest.mark.rows("cupy-host")
@pytest.mark.parametrize("seed", range(6))  # of keys on both sides of 2**63
@pytest.mark.parametrize("kind", ["float16", "bfloat16", "complex64"])
def test_masks_of_other_dtypes_on_a_device_are_those_of_the_host(backend, kind, seed):
    if kind == "bfloat16":
        pytest.importorskip("ml_dtypes", reason="not run: ml_dtypes is not installed")
    _, model = make("lstm")
    host = np.zeros((STEPS, BATCH, 3), "float64")
    here = draw(model, backend.put(host).astype(host_dtype(kind)), seed)
    there = draw(model, host, seed)
    for got, want in zip(
        (*here.between, *here.recurrent), (*there.between, *there.recurrent), strict=True
    ):
        assert got.dtype == host_dtype(kind)
        np.testing.assert_array_equal(backend.get(got), want.astype(host_dtype(kind)))
    for got, want in zip(here.update, there.update, strict=True):
        np.testing.assert_array_equal(np.stack([backend.get(u) for u in got]), np.stack(want))
