"""Norms of numbers too small or too large to be squared, and of non-finite ones."""

import math

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn._arrays import norms
from portable_rnn._arrays.namespace import resolve_namespace
from portable_rnn._arrays.norms import norm, root_mean_square

ROWS = {  # by its norm
    "nothing": ([0.0, 0.0, 0.0], 0.0),
    "ordinary": ([3.0, 0.0, -4.0], 5.0),
    "small": ([3e-30, 0.0, -4e-30], 5e-30),
    "large": ([3e30, 0.0, -4e30], 5e30),
    "infinite": ([0.0, np.inf, 1.0], np.inf),
    "minus infinity": ([3e30, 0.0, -np.inf], np.inf),
    "not a number": ([1.0, np.nan, 0.0], np.nan),
    "neither": ([np.inf, np.nan, 0.0], np.nan),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("library", ["numpy", "array_api_strict", "torch"])
def test_a_norm_is_infinite_or_nan_only_where_its_row_is(library, dtype):
    xp = resolve_namespace(pytest.importorskip(library))
    rows = xp.asarray([row for row, _ in ROWS.values()], dtype=getattr(xp, dtype))
    found = norm(xp, rows, 1)
    assert found.dtype == rows.dtype
    wanted = [want for _, want in ROWS.values()]
    np.testing.assert_allclose(np.asarray(found), wanted, rtol=4 * np.finfo(dtype).eps)
    for row, want in ROWS.values():
        whole = norm(xp, xp.asarray(row, dtype=getattr(xp, dtype)), 0)
        assert whole.shape == ()
        np.testing.assert_allclose(float(whole), want, rtol=4 * np.finfo(dtype).eps)


SIZES = {"float32": (1e-36, 1e-30, 1e-19, 1e19, 1e37), "float64": (1e-300, 1e-160, 1e160, 1e307)}


def root_of_each(root, new, decay):
    """Return roots of mean squares, computed with scaled numbers that stay within float64."""
    found = []
    for r, g in zip(root.flat, new.flat, strict=True):
        unit = max(float(r), abs(float(g))) or 1.0
        square = decay * (float(r) / unit) ** 2 + (1.0 - decay) * (float(g) / unit) ** 2
        found.append(unit * math.sqrt(square))
    return np.reshape(found, root.shape)


@pytest.mark.parametrize("noticed", [True, False])  # as in WebAssembly
@pytest.mark.parametrize("count", [6, 2100])
@pytest.mark.parametrize(("dtype", "size"), [(d, s) for d in SIZES for s in SIZES[d]])
@pytest.mark.parametrize("library", ["numpy", "array_api_strict", "torch"])
def test_a_root_mean_square_has_one_entry_unlike_all_others(
    library, dtype, size, count, noticed, monkeypatch
):
    """Each is right by itself, not only relative to the largest."""
    if not noticed:
        monkeypatch.setattr(norms, "_notices_lost_numbers", lambda: False)
    xp = resolve_namespace(pytest.importorskip(library))
    rng = np.random.default_rng(count)
    for place in (0, count // 2, count - 1):
        root, new = np.abs(rng.standard_normal(count)), rng.standard_normal(count)
        root[place], new[place] = (0.0, size) if place else (size, 0.0)
        root[1], new[1] = 0.0, 0.0
        root, new = root.astype(dtype), new.astype(dtype)
        found = root_mean_square(xp, xp.asarray(root), xp.asarray(new), 0.96)
        wanted = root_of_each(root, new, 0.96)
        np.testing.assert_allclose(np.asarray(found), wanted, rtol=8 * np.finfo(dtype).eps)


def test_numpys_error_settings_change_no_root_mean_square():
    for root, new in ((1.0, 1e-30), (1.0, 1e30), (1e-30, 1e-30)):
        arrays = (np.full(2100, number, np.float32) for number in (root, new))
        with np.errstate(all="raise"):
            found = root_mean_square(np, *arrays, 0.96)
        np.testing.assert_allclose(found, math.hypot(0.96**0.5 * root, 0.2 * new), rtol=1e-6)


def cotangent(value):
    """Return a loss whose gradient has one unusual entry, in the second sequence."""

    def loss(outputs, targets):
        d_outputs = targets * 1.0
        d_outputs[1, 1, 0] = value
        return outputs[0, 0, 0], d_outputs

    return loss


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
@pytest.mark.parametrize("steps", [2, 30])  # norms from products of steps, and from the gradient
@pytest.mark.parametrize("library", ["numpy", "torch"])  # the loss can write into their arrays
def test_the_norm_of_a_sequence_is_infinite_or_nan_only_where_its_gradient_is(library, steps):
    xp = resolve_namespace(pytest.importorskip(library))
    model = prnn.RNN(3, 8, 8, bias=False)
    params = model.init(seed=0, xp=xp, dtype="float64")
    rng = np.random.default_rng(0)
    x = xp.asarray(rng.standard_normal((steps, 3, 3)))
    targets = xp.asarray(rng.standard_normal((steps, 3, 8)))
    for value in (np.inf, -np.inf, np.nan):
        norms = prnn.per_example_norms(model, params, x, targets, loss=cotangent(value))
        found = np.asarray(norms.params["readout.weight"])
        assert np.isnan(found[1]) if np.isnan(value) else found[1] == np.inf
        assert np.isfinite(found[[0, 2]]).all()
        plain = prnn.per_example_norms(model, params, x, targets, loss=cotangent(1.0))
        np.testing.assert_array_equal(
            found[[0, 2]], np.asarray(plain.params["readout.weight"])[[0, 2]]
        )


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_the_flow_of_a_gradient_that_explodes_is_infinite():
    model = prnn.RNN(1, 2, bias=False, nonlinearity="affine")
    params = model.init(seed=0) | {"weight_hh_l0": np.full((2, 2), 0.5e20, np.float32)}

    def last(outputs, targets):
        d_outputs = np.zeros_like(outputs)
        d_outputs[-1] = 1.0
        return outputs[-1].sum(), d_outputs

    flow = prnn.gradient_flow(model, params, np.zeros((4, 1), np.float32), None, loss=last)
    root = np.sqrt(2.0)  # each step back multiplies by 1e20
    np.testing.assert_allclose(flow.d_h[:, 0, 0], [np.inf, np.inf, 1e20 * root, root], rtol=1e-6)
    np.testing.assert_allclose(flow.jacobian, 1e20, rtol=1e-6)


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_an_infinite_cotangent_is_assigned_to_the_step_it_comes_from():
    """It is not multiplied by 0 at the others, which would give NaN."""
    model = prnn.RNN(1, 2, bias=False, nonlinearity="affine")

    def loss(outputs, targets):
        d_outputs = np.ones_like(outputs)
        d_outputs[1] = np.inf
        return outputs[0, 0, 0], d_outputs

    params = model.init(seed=0)
    params["weight_hh_l0"] = np.abs(params["weight_hh_l0"])
    x = np.ones((3, 1, 1), np.float32)
    flow = prnn.gradient_flow(model, params, x, None, loss=loss, by_loss_step=True)
    parts = flow.d_h_by_loss_step[:, :, 0, 0]
    assert np.isfinite(parts[[0, 2]]).all()
    assert parts[1, 0] == parts[1, 1] == np.inf
    assert parts[1, 2] == 0.0
