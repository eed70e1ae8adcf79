"""Gradient flow: against analytic bounds, plain NumPy, and sums of its parts."""

from dataclasses import replace

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.losses import mean_squared_error

CELLS = ("elman", "gru", "lstm")
T, B, I, H, O = 6, 3, 4, 5, 2  # noqa: E741


def problem(cell, **options):
    rng = np.random.default_rng(3)
    model = prnn.RNN(I, H, O, cell=cell, **options)
    params = model.init(seed=1, dtype="float64")
    x, targets = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, O))
    layers = model.num_layers * model.directions
    parts = [rng.standard_normal((layers, B, size)) for size in model.state_sizes]
    return model, params, x, targets, tuple(parts) if len(parts) > 1 else parts[0]


def at_the_end(outputs, targets):
    """The loss is a linear function of the last outputs."""
    d_outputs = np.zeros_like(outputs)
    d_outputs[-1] = targets
    return np.sum(outputs[-1] * targets), d_outputs


def radius(weight, value):
    return weight * (value / np.max(np.abs(np.linalg.eigvals(weight))))


# ---------------------------------------------------------- 200 steps of an Elman network

STEPS, UNITS = 200, 24


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.5])
def test_decay_plateau_and_growth_of_the_linear_regime(gain):
    """In the linear regime the Jacobian is W itself; here a rotation times the gain."""
    rng = np.random.default_rng(0)
    rotation, _ = np.linalg.qr(rng.standard_normal((UNITS, UNITS)))
    model = prnn.RNN(1, UNITS, bias=False)
    params = {"weight_ih_l0": np.ones((UNITS, 1)), "weight_hh_l0": gain * rotation}
    d_last = rng.standard_normal((2, UNITS))
    x = np.zeros((STEPS, 2, 1))
    flow = prnn.gradient_flow(model, params, x, d_last, loss=at_the_end)
    steps_back = np.arange(STEPS)[::-1, None]
    want = gain**steps_back * np.linalg.norm(d_last, axis=1)
    np.testing.assert_allclose(flow.d_h[:, 0, :], want, rtol=1e-12)
    np.testing.assert_allclose(flow.jacobian, gain, rtol=1e-12)


@pytest.mark.parametrize("gain", [0.5, 1.0, 1.5])
def test_a_random_network_keeps_the_bound(gain):
    """``‖dL/dh_t‖ ≤ Π ‖diag(1 - h²) W‖ ‖dL/dh_T‖``, and each factor is the reported one."""
    rng = np.random.default_rng(1)
    model = prnn.RNN(1, UNITS, bias=False)
    weight = radius(rng.standard_normal((UNITS, UNITS)), gain)
    params = {"weight_ih_l0": rng.standard_normal((UNITS, 1)), "weight_hh_l0": weight}
    x, d_last = 0.1 * rng.standard_normal((STEPS, 1, 1)), rng.standard_normal((1, UNITS))
    flow = prnn.gradient_flow(model, params, x, d_last, loss=at_the_end, iterations=400)
    hidden = prnn.predict(model, params, x)[:, 0, :]
    jacobians = (1.0 - hidden**2)[:, :, None] * weight

    want = np.asarray([np.linalg.norm(j, ord=2) for j in jacobians])
    np.testing.assert_allclose(flow.jacobian[:, 0, 0], want, rtol=1e-6)
    gradient, bound = d_last[0], np.linalg.norm(d_last)
    for t in reversed(range(STEPS)):
        np.testing.assert_allclose(flow.d_h[t, 0, 0], np.linalg.norm(gradient), rtol=1e-9)
        assert flow.d_h[t, 0, 0] <= bound * (1.0 + 1e-9)
        gradient, bound = gradient @ jacobians[t], bound * want[t]

    per_step = (flow.d_h[0, 0, 0] / flow.d_h[-1, 0, 0]) ** (1.0 / (STEPS - 1))
    if gain == 0.5:
        assert per_step < 0.55
    else:  # saturation lowers the gain, the more the larger it is
        assert 0.8 < per_step < gain + 0.1


# ------------------------------------------------------------------------------ its parts


@pytest.mark.parametrize("cell", [*CELLS, "reset_before_gru", "layer_norm_elman"])
def test_what_the_steps_add_is_the_gradient(cell):
    model, params, x, targets, state = problem(cell)
    given = {"loss": mean_squared_error, "state": state}
    flow = prnn.gradient_flow(model, params, x, targets, arrays=True, **given)
    result = prnn.bptt(model, params, x, targets, **given)
    assert flow.loss == result.loss
    for name, grad in result.grads.items():
        assert flow.arrays[name].shape == (T, *grad.shape)
        np.testing.assert_allclose(flow.arrays[name].sum(axis=0), grad, rtol=0, atol=1e-15)
        norms = np.linalg.norm(flow.arrays[name].reshape(T, -1), axis=1)
        np.testing.assert_allclose(flow.params[name], norms, rtol=1e-14)


@pytest.mark.parametrize("cell", CELLS)
def test_the_gradient_by_the_state_is_the_slope_of_the_loss(cell):
    """Move the state between two steps, by complex step; the two halves are run apart."""
    model, params, x, targets, state = problem(cell)
    flow = prnn.gradient_flow(model, params, x, targets, loss=mean_squared_error, state=state)
    moved = {name: array.astype(complex) for name, array in params.items()}
    x, targets = x.astype(complex), targets.astype(complex)
    readout, bias = moved["readout.weight"], moved["readout.bias"]
    for t in range(T):
        _, after = prnn.predict(
            *(model, moved, x[: t + 1], _parts(state, complex)), return_state=True
        )
        parts = after if isinstance(after, tuple) else (after,)
        for index in range(len(parts)):
            gradient = np.empty((B, H))
            for b, j in np.ndindex(B, H):
                step = np.zeros((1, B, H), dtype=complex)
                step[0, b, j] = 1e-30j
                here = [p + step if i == index else p for i, p in enumerate(parts)]
                outputs = here[0] @ readout.T + bias  # of step t
                if t + 1 < T:
                    later = here[0] if len(here) == 1 else tuple(here)
                    outputs = np.concatenate(
                        [outputs, prnn.predict(model, moved, x[t + 1 :], later)]
                    )
                d = outputs - targets[t:]
                gradient[b, j] = np.sum(d * d).imag / 1e-30 / targets.size
            want = np.linalg.norm(gradient, axis=1)
            np.testing.assert_allclose(flow.d_state[index][t, 0], want, rtol=1e-12, atol=1e-16)


def _parts(state, dtype):
    return tuple(p.astype(dtype) for p in (state if isinstance(state, tuple) else (state,)))


@pytest.mark.parametrize(
    ("cell", "options"),
    [
        *(pytest.param(cell, {}, id=cell) for cell in CELLS),
        pytest.param("lstm", {"projection_size": 2}, id="projected"),
        pytest.param("gru", {"zoneout": 0.4}, id="zoneout"),
    ],
)
def test_singular_values_of_the_whole_jacobian(cell, options):
    model, params, x, targets, state = problem(cell, **options)
    flow = prnn.gradient_flow(
        *(model, params, x, targets), loss=mean_squared_error, state=state, iterations=600
    )
    moved = {name: array.astype(complex) for name, array in params.items()}
    before = _parts(state, complex)
    entries = [(index, j) for index, size in enumerate(model.state_sizes) for j in range(size)]
    for t in range(T):
        x_t = x[t : t + 1].astype(complex)
        columns = []
        for index, j in entries:
            here = [p.copy() for p in before]
            here[index][0, :, j] += 1e-30j
            _, after = prnn.predict(model, moved, x_t, tuple(here), return_state=True)
            after = after if isinstance(after, tuple) else (after,)
            columns.append(np.concatenate(after, axis=2)[0].imag / 1e-30)
        jacobians = np.stack(columns, axis=2)  # (B, states · H, states · H)
        want = np.linalg.norm(jacobians, ord=2, axis=(1, 2))
        # From below, and slowly where two of the values are nearly equal.
        np.testing.assert_allclose(flow.jacobian[t, 0], want, rtol=1e-3)
        assert np.all(flow.jacobian[t, 0] <= want * (1.0 + 1e-13))
        before = tuple(
            np.atleast_3d(p)
            for p in _after(prnn.predict(model, moved, x_t, before, return_state=True)[1])
        )


def _after(state):
    return state if isinstance(state, tuple) else (state,)


@pytest.mark.parametrize("cell", CELLS)
def test_parts_by_loss_step(cell):
    """The part from step s is the flow of a loss that counts step s alone."""
    model, params, x, targets, state = problem(cell)
    given = {"loss": mean_squared_error, "state": state, "reduction": "sum"}
    flow = prnn.gradient_flow(model, params, x, targets, by_loss_step=True, **given)
    assert flow.d_h_by_loss_step.shape == (T, T, 1, B)
    for s in range(T):
        weights = np.zeros((T, B))
        weights[s] = 1.0
        alone = prnn.gradient_flow(model, params, x, targets, weights=weights, **given)
        np.testing.assert_allclose(flow.d_h_by_loss_step[s], alone.d_h, rtol=1e-12, atol=1e-16)


# -------------------------------------------------------------------------------- layouts


@pytest.mark.parametrize("cell", CELLS)
def test_layouts(cell):
    model, params, x, targets, state = problem(cell)
    given = {"loss": mean_squared_error, "by_loss_step": True}
    want = prnn.gradient_flow(model, params, x, targets, state=state, **given)
    first = replace(model, batch_first=True)
    x_first, targets_first = np.moveaxis(x, 1, 0), np.moveaxis(targets, 1, 0)
    got = prnn.gradient_flow(first, params, x_first, targets_first, state=state, **given)
    _equal(got, want)
    one = prnn.gradient_flow(model, params, x[:, :1], targets[:, :1], **given)
    _equal(prnn.gradient_flow(model, params, x[:, 0], targets[:, 0], **given), one)
    assert one.d_h.shape == (T, 1, 1)


def _equal(got, want):
    for a, b in zip(_leaves(got), _leaves(want), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


def _leaves(flow):
    named = (flow.loss, *flow.d_state, *flow.params.values(), flow.jacobian)
    return (*named, flow.d_h_by_loss_step)


@pytest.mark.parametrize("cell", CELLS)
def test_stacked_layers(cell):
    """The contributions of all layers add up, and the state is moved in every layer."""
    model, params, x, targets, _ = problem(cell, num_layers=2)
    given = {"loss": mean_squared_error, "by_loss_step": True, "arrays": True}
    flow = prnn.gradient_flow(model, params, x, targets, iterations=300, **given)
    grads = prnn.bptt(model, params, x, targets, loss=mean_squared_error).grads
    for name, grad in grads.items():
        np.testing.assert_allclose(flow.arrays[name].sum(axis=0), grad, rtol=0, atol=1e-15)
    assert flow.d_h.shape == flow.jacobian.shape == (T, 2, B)
    assert flow.d_h_by_loss_step.shape == (T, T, 2, B)

    lower = prnn.RNN(I, H, cell=cell)
    upper = prnn.RNN(H, H, O, cell=cell)
    ends = {name.replace("_l1", "_l0"): a for name, a in params.items() if "_l0" not in name}
    starts = {name: a for name, a in params.items() if "_l0" in name}
    between = prnn.predict(lower, starts, x)
    above = prnn.gradient_flow(upper, ends, between, targets, iterations=300, **given)
    d_between = prnn.bptt(upper, ends, between, targets, loss=mean_squared_error).grad_x

    def pulled(outputs, targets):
        return np.sum(outputs * d_between), d_between

    below = prnn.gradient_flow(lower, starts, x, None, loss=pulled, iterations=300)
    for layer, part in enumerate((below, above)):
        for got, want in zip(flow.d_state, part.d_state, strict=True):
            np.testing.assert_allclose(got[:, layer], want[:, 0], rtol=1e-11, atol=1e-17)
        np.testing.assert_allclose(flow.jacobian[:, layer], part.jacobian[:, 0], rtol=1e-3)
    np.testing.assert_allclose(
        flow.d_h_by_loss_step[:, :, 1], above.d_h_by_loss_step[:, :, 0], rtol=1e-11, atol=1e-17
    )


@pytest.mark.parametrize("cell", CELLS)
def test_sequences_of_different_lengths(cell):
    """Each as it would be alone, with no gradient past its end."""
    model, params, x, targets, state = problem(cell)
    lengths = [4, 0, 6]
    given = {"loss": mean_squared_error, "reduction": "sum", "by_loss_step": True}
    flow = prnn.gradient_flow(model, params, x, targets, state=state, lengths=lengths, **given)
    states = state if isinstance(state, tuple) else (state,)
    for b, length in enumerate(lengths):
        for part in flow.d_state:
            assert np.all(part[length:, 0, b] == 0.0)
        assert np.all(flow.d_h_by_loss_step[length:, :, :, b] == 0.0)
        np.testing.assert_allclose(flow.jacobian[length:, 0, b], 1.0, rtol=1e-14)  # it is held
        if length == 0:
            continue
        own = tuple(part[:, b : b + 1] for part in states)
        cut = (slice(length), slice(b, b + 1))
        alone = prnn.gradient_flow(model, params, x[cut], targets[cut], state=own, **given)
        for got, want in zip(flow.d_state, alone.d_state, strict=True):
            np.testing.assert_allclose(got[:length, 0, b], want[:, 0, 0], rtol=1e-12)
        got = flow.d_h_by_loss_step[:length, :length, 0, b]
        np.testing.assert_allclose(got, alone.d_h_by_loss_step[..., 0, 0], rtol=1e-12)
        got = flow.jacobian[:length, 0, b]
        np.testing.assert_allclose(got, alone.jacobian[:, 0, 0], rtol=0.05)


def test_a_gap_passes_the_gradient_on():
    model, params, x, targets, _ = problem("gru")
    mask = np.ones((T, B), dtype=bool)
    mask[2:4, 1] = False
    given = {"loss": mean_squared_error, "mask": mask}
    flow = prnn.gradient_flow(model, params, x, targets, by_loss_step=True, **given)
    later = flow.d_h_by_loss_step[4:, :, 0, 1]  # of the losses after the gap
    for within, after in ((flow.d_h[2:4, 0, 1], flow.d_h[4, 0, 1]), (later[:, 2:4], later[:, 4])):
        assert np.all(within > 0.0)
        assert np.all(within[..., 0] == within[..., 1])
        assert not np.any(within[..., 1] == after)  # step 4 is valid, and has a Jacobian
    first = replace(model, batch_first=True)
    x, targets = np.moveaxis(x, 1, 0), np.moveaxis(targets, 1, 0)
    same = prnn.gradient_flow(first, params, x, targets, loss=mean_squared_error, mask=mask.T)
    np.testing.assert_allclose(same.d_h, flow.d_h, rtol=1e-13)


def test_relu_units_that_are_off_pass_no_gradient():
    model = prnn.RNN(I, H, nonlinearity="relu")
    params = {name: -np.abs(array) for name, array in model.init(dtype="float64").items()}
    x = np.ones((T, B, I))  # every unit is off: nothing flows
    flow = prnn.gradient_flow(model, params, x, np.ones((B, H)), loss=at_the_end)
    assert np.all(flow.jacobian == 0.0)
    assert np.all(flow.d_h[:-1] == 0.0)
    assert np.all(flow.d_h[-1] > 0.0)


def test_norms_of_vanishing_float32_gradients():
    """The squares of 1e-30 would vanish long before the gradient does."""
    model = prnn.RNN(1, 1, bias=False)
    params = {"weight_ih_l0": np.ones((1, 1)), "weight_hh_l0": np.full((1, 1), 0.5)}
    params = {name: array.astype(np.float32) for name, array in params.items()}
    x, last = np.zeros((101, 1, 1), dtype=np.float32), np.ones((1, 1), dtype=np.float32)
    flow = prnn.gradient_flow(model, params, x, last, loss=at_the_end)
    assert flow.d_h.dtype == np.float32
    np.testing.assert_allclose(flow.d_h[:, 0, 0], 0.5 ** np.arange(100.0, -1, -1), rtol=1e-6)


@pytest.mark.parametrize(
    ("changed", "error", "message"),
    [
        ({"iterations": 0}, ValueError, "iterations: expected at least 1, got 0"),
        ({"loss": 3}, TypeError, "loss: expected a callable, got int"),
        ({"x": np.ones((T, B, I + 1))}, ValueError, "x: expected shape"),
        ({"state": np.ones((1, B, H + 1))}, ValueError, "state: expected shape"),
        ({"loss": lambda o, t: (o.sum(), o[0])}, ValueError, "d_outputs returned by the loss:"),
    ],
)
def test_bad_input(changed, error, message):
    model, params, x, targets, state = problem("elman")
    given = {"x": x, "loss": mean_squared_error, "state": state} | changed
    with pytest.raises(error, match=message):
        prnn.gradient_flow(model, params, targets=targets, **given)
