"""The public functions: the forward pass number by number, and properties of each function."""

import math
from zlib import crc32

import numpy as np
import pytest
from conformance.problems import TORCH_CELLS, Problem
from conformance.subject import results, solve
from conformance.tolerances import assert_close

import portable_rnn as prnn

STEPS, BATCH, OUTPUTS = 7, 3, 2


def problem(cell):
    drawn = Problem(cell, 1, STEPS, BATCH, 4, 5, OUTPUTS, cotangents="both", zero_state=False)
    return drawn.model, drawn.arrays("float64")


def parts(state):
    return state if isinstance(state, tuple) else (state,)


def bits(named):
    """Return what is equal for equal bits, and short in a failure."""
    return {name: crc32(array.tobytes()) for name, array in named.items()}


# ------------------------------------------------------------- an oracle in plain Python


def sigma(a):
    return 1.0 / (1.0 + math.exp(-a))


def scalar_step(cell, ax, ah, state):
    """One step of one sequence, number by number, as the papers write it."""
    size = len(state[0])
    if cell == "elman":
        return ([math.tanh(ax[j] + ah[j]) for j in range(size)],)
    if cell == "gru":
        h = []
        for j in range(size):
            r = sigma(ax[j] + ah[j])
            z = sigma(ax[size + j] + ah[size + j])
            n = math.tanh(ax[2 * size + j] + r * ah[2 * size + j])
            h.append((1 - z) * n + z * state[0][j])
        return (h,)
    h, c = [], []
    for j in range(size):
        i, f, g, o = (ax[k * size + j] + ah[k * size + j] for k in range(4))
        c.append(sigma(f) * state[1][j] + sigma(i) * math.tanh(g))
        h.append(sigma(o) * math.tanh(c[j]))
    return h, c


def scalar_affine(weight, bias, v):
    return [
        b + math.fsum(w * a for w, a in zip(row, v, strict=True))
        for row, b in zip(weight.tolist(), bias.tolist(), strict=True)
    ]


@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_forward_equals_loops_over_numbers(cell):
    model, (p, x, state, *_) = problem(cell)
    fwd = prnn.forward(model, p, x, state)
    for b in range(BATCH):
        here = tuple(part[0, b, :].tolist() for part in parts(state))
        for t in range(STEPS):
            ax = scalar_affine(p["weight_ih_l0"], p["bias_ih_l0"], x[t, b].tolist())
            ah = scalar_affine(p["weight_hh_l0"], p["bias_hh_l0"], here[0])
            here = scalar_step(cell, ax, ah, here)
            want = scalar_affine(p["readout.weight"], p["readout.bias"], here[0])
            assert_close(fwd.outputs[t, b], np.asarray(want), f"o[{t}, {b}]", scale=1.0, k=16)
        for part, want in zip(parts(fwd.state), here, strict=True):
            assert_close(part[0, b], np.asarray(want), f"state of {b}", scale=1.0, k=16)


# --------------------------------------------------------------------------- properties


@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_predict_is_forward_without_the_tape(cell):
    model, (params, x, state, *_) = problem(cell)
    fwd = prnn.forward(model, params, x, state)
    outputs, after = prnn.predict(model, params, x, state, return_state=True)
    assert np.array_equal(outputs, fwd.outputs)
    assert np.array_equal(np.stack(parts(after)), np.stack(parts(fwd.state)))
    assert np.array_equal(prnn.predict(model, params, x, state), outputs)


@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_no_state_is_a_state_of_zeros(cell):
    model, inputs = problem(cell)
    zeros = tuple(np.zeros_like(part) for part in parts(inputs.state))
    assert bits(solve(model, inputs._replace(state=None))) == bits(
        solve(model, inputs._replace(state=zeros))
    )


@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_bptt_is_forward_loss_and_backward(cell):
    model, (params, x, state, *_) = problem(cell)
    targets = np.random.default_rng(5).integers(0, OUTPUTS, (STEPS, BATCH))
    found = prnn.bptt(model, params, x, targets, state=state, reduction="sum")
    fwd = prnn.forward(model, params, x, state)
    value, d_outputs = prnn.losses.softmax_cross_entropy(fwd.outputs, targets, reduction="sum")
    grads = prnn.backward(model, params, fwd.tape, d_outputs)
    assert found.loss.shape == ()
    assert found.loss == value
    assert bits(
        results(found.outputs, found.state, found.grads, found.grad_x, found.grad_state)
    ) == bits(results(fwd.outputs, fwd.state, grads.params, grads.x, grads.state))


def test_a_custom_loss_determines_the_gradient():
    model, (params, x, state, d_outputs, *_) = problem("gru")

    def loss(outputs, targets, *, factor):
        return np.asarray(factor), factor * targets

    found = prnn.bptt(model, params, x, d_outputs, loss=loss, state=state, factor=2.0)
    fwd = prnn.forward(model, params, x, state)
    want = prnn.backward(model, params, fwd.tape, 2.0 * d_outputs)
    assert found.loss == 2.0
    assert bits(found.grads) == bits(want.params)


@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_a_tape_can_be_used_again(cell):
    model, (params, x, state, d_outputs, d_state, *_) = problem(cell)
    fwd = prnn.forward(model, params, x, state)

    def back(factor):
        grads = prnn.backward(model, params, fwd.tape, factor * d_outputs, d_state)
        return bits(results(fwd.outputs, fwd.state, grads.params, grads.x, grads.state))

    first = back(1.0)
    assert back(-7.0) != first
    assert back(1.0) == first


@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_writing_into_results_does_not_change_the_tape(cell):
    """A caller may reset the state in place between two batches, before the backward pass."""
    model, (params, x, state, d_outputs, d_state, *_) = problem(cell)
    fwd = prnn.forward(model, params, x, state)
    before = bits(prnn.backward(model, params, fwd.tape, d_outputs, d_state).params)
    for array in (*parts(fwd.state), fwd.outputs):
        array[...] = 0.0
    assert bits(prnn.backward(model, params, fwd.tape, d_outputs, d_state).params) == before


@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_without_grad_x_nothing_else_changes(cell):
    model, (params, x, state, d_outputs, d_state, *_) = problem(cell)
    fwd = prnn.forward(model, params, x, state)
    more = prnn.backward(model, params, fwd.tape, d_outputs, d_state)
    less = prnn.backward(model, params, fwd.tape, d_outputs, d_state, grad_x=False)
    assert less.x is None
    assert bits(less.params) == bits(more.params)
    targets = np.zeros((STEPS, BATCH), dtype=np.int64)
    assert prnn.bptt(model, params, x, targets, grad_x=False).grad_x is None


@pytest.mark.parametrize("dtype", ["float32", "float64", "complex64", "complex128"])
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_every_result_has_the_dtype_of_the_inputs(cell, dtype):
    model, _ = problem(cell)
    params = model.init(seed=0, dtype=dtype)
    x, targets = np.ones((STEPS, BATCH, 4), dtype=dtype), np.zeros((STEPS, BATCH), dtype=np.int8)
    found = prnn.bptt(model, params, x, targets)
    named = results(found.outputs, found.state, found.grads, found.grad_x, found.grad_state)
    assert {array.dtype.name for array in (found.loss, *named.values())} == {dtype}


@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_gradients_come_in_the_order_and_shapes_of_the_parameters(cell):
    model, (params, x, state, d_outputs, *_) = problem(cell)
    fwd = prnn.forward(model, params, x, state)
    backwards = dict(reversed(params.items()))  # the caller's order, whatever it is
    grads = prnn.backward(model, backwards, fwd.tape, d_outputs)
    assert list(grads.params) == list(backwards)
    assert all(grads.params[name].shape == params[name].shape for name in params)
    assert grads.x.shape == x.shape
    assert np.shape(grads.state) == np.shape(state)
