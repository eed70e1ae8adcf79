"""Gradient flow of networks in both directions, and with dropout: against their definitions."""

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.losses import mean_squared_error

T, B, I, H, O = 6, 3, 4, 5, 2  # noqa: E741


def problem(cell, **options):
    rng = np.random.default_rng(3)
    model = prnn.RNN(I, H, O, cell=cell, **options)
    params = model.init(seed=1, dtype="float64")
    x, targets = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, O))
    return model, params, x, targets, rng.standard_normal((1, B, H))


def test_both_directions_are_those_of_two_networks():
    """Of which one reads backwards; each layer is given what both of the layer below say."""
    model, params, x, targets, _ = problem("lstm", num_layers=2, bidirectional=True)
    rng = np.random.default_rng(4)
    state = tuple(rng.standard_normal((4, B, H)) for _ in range(2))
    given = {"by_loss_step": True, "arrays": True, "iterations": 60}
    found = prnn.gradient_flow(
        *(model, params, x, targets), loss=mean_squared_error, state=state, **given
    )
    lower = prnn.RNN(I, H, cell="lstm", bidirectional=True)
    low = {name: a for name, a in params.items() if "_l0" in name}
    between = prnn.predict(lower, low, x, tuple(part[:2] for part in state))
    result = prnn.bptt(model, params, x, targets, loss=mean_squared_error, state=state)
    d_top = (2.0 / targets.size) * (result.outputs - targets) @ params["readout.weight"]

    def linear(outputs, d_outputs):
        return np.sum(outputs * d_outputs), d_outputs

    for i, (end, order) in enumerate(
        (("_l1", slice(None)), ("_l1_reverse", slice(None, None, -1)))
    ):
        one = prnn.RNN(2 * H, H, cell="lstm")
        own = {f"{n.removesuffix(end)}_l0": a for n, a in params.items() if n.endswith(end)}
        start = tuple(part[2 + i : 3 + i] for part in state)
        d_outputs = d_top[order, :, i * H : (i + 1) * H]
        alone = prnn.gradient_flow(
            *(one, own, between[order], d_outputs), loss=linear, state=start, **given
        )
        for got, want in zip(found.grad_states, alone.grad_states, strict=True):
            np.testing.assert_allclose(got[order, 2 + i], want[:, 0], rtol=1e-11, atol=1e-16)
        np.testing.assert_allclose(found.jacobian[order, 2 + i], alone.jacobian[:, 0], rtol=0.02)
        parts = found.d_h_by_loss_step[order, order, 2 + i]
        np.testing.assert_allclose(parts, alone.d_h_by_loss_step[:, :, 0], rtol=1e-11, atol=1e-16)
        for name in own:
            got = found.arrays[f"{name.removesuffix('_l0')}{end}"][order]
            np.testing.assert_allclose(got, alone.arrays[name], rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_what_the_steps_add_with_dropout_is_the_gradient(cell):
    chances = {"dropout": 0.5, "recurrent_dropout": 0.4, "zoneout": 0.3}
    model, params, x, targets, _ = problem(cell, num_layers=2, **chances)
    given = {"loss": mean_squared_error, "dropout": (3, 4)}
    flow = prnn.gradient_flow(model, params, x, targets, arrays=True, **given)
    for name, grad in prnn.bptt(model, params, x, targets, **given).grads.items():
        np.testing.assert_allclose(flow.arrays[name].sum(axis=0), grad, rtol=0, atol=1e-15)


def test_the_jacobian_with_dropout_is_that_of_the_units_that_are_left():
    """``diag(u) diag(1 - h²) W diag(s) + diag(1 - u)``, with the masks that were drawn."""
    model, params, x, targets, state = problem("elman", recurrent_dropout=0.5, zoneout=0.4)
    masks = prnn.dropout.draw(model, x, 7)
    flow = prnn.gradient_flow(
        *(model, params, x, targets),
        **{"loss": mean_squared_error, "state": state, "dropout": 7, "iterations": 600},
    )
    h, weight = state[0], params["weight_hh_l0"]
    for t in range(T):
        u = masks.update[0][0][t]
        inside = x[t] @ params["weight_ih_l0"].T + params["bias_ih_l0"] + params["bias_hh_l0"]
        new = np.tanh(inside + (h * masks.recurrent[0]) @ weight.T)
        slopes = (1.0 - new**2)[:, :, None] * weight * masks.recurrent[0][:, None, :]
        jacobians = np.where(u[:, :, None], slopes, np.eye(H))
        want = np.linalg.norm(jacobians, ord=2, axis=(1, 2))
        np.testing.assert_allclose(flow.jacobian[t, 0], want, rtol=1e-3)
        h = np.where(u, new, h)


def test_copies_of_a_long_sequence_go_back_in_parts(monkeypatch):
    model, params, x, targets, state = problem("gru")
    given = {"loss": mean_squared_error, "state": state, "by_loss_step": True}
    whole = prnn.gradient_flow(model, params, x, targets, **given)
    monkeypatch.setattr("portable_rnn.derivatives.flow.NUMBERS", 4 * T * B * H)
    parts = prnn.gradient_flow(model, params, x, targets, **given)
    np.testing.assert_allclose(
        parts.d_h_by_loss_step, whole.d_h_by_loss_step, rtol=1e-12, atol=1e-16
    )
