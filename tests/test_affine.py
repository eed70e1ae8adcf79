"""The affine map and its cotangents, by the identity that defines them."""

import numpy as np
import pytest
from conformance.tolerances import assert_close

from portable_rnn._engine.affine import SUMS, Linear, affine_vjp_bias, affine_vjp_weight

SHAPES = [(5,), (4, 5), (3, 4, 5)]  # of x without its last axis; (5,) gives plain rows


def arrays(lead, inputs=3, outputs=2):
    rng = np.random.default_rng(len(lead))
    shapes = {"x": (*lead, inputs), "weight": (outputs, inputs), "bias": (outputs,)}
    drawn = {name: rng.standard_normal(shape) for name, shape in shapes.items()}
    return drawn, rng.standard_normal((*lead, outputs))


@pytest.mark.parametrize("lead", SHAPES)
def test_value_by_loops(lead):
    given, _ = arrays(lead)
    x, weight, bias = given["x"], given["weight"], given["bias"]
    want = np.empty((*lead, 2))
    for place in np.ndindex(*lead):
        for o in range(2):
            want[(*place, o)] = bias[o] + sum(weight[o, i] * x[(*place, i)] for i in range(3))
    assert_close(Linear(weight, bias)(np, x), want, "affine", k=8)
    assert_close(Linear(weight)(np, x), want - bias, "affine without bias", k=8)


@pytest.mark.parametrize("lead", SHAPES)
@pytest.mark.parametrize("name", ["x", "weight", "bias"])
def test_cotangents_are_adjoint_to_the_linear_map(name, lead):
    """⟨d_y, A v⟩ = ⟨Aᵀ d_y, v⟩ for every direction v of the argument."""
    given, d_y = arrays(lead)
    cotangent = {
        "x": Linear(given["weight"]).vjp_x(np, d_y),
        "weight": affine_vjp_weight(np, given["x"], d_y),
        "bias": affine_vjp_bias(np, given["bias"], d_y),
    }[name]
    assert cotangent.shape == given[name].shape
    # Only the part that is linear in the argument: without the bias, or only the bias.
    still = given | ({"x": 0.0 * given["x"]} if name == "bias" else {"bias": np.zeros(2)})
    for entry in np.ndindex(*cotangent.shape):
        v = np.zeros_like(cotangent)
        v[entry] = 1.0
        x, *maps = (still | {name: v}).values()
        pushed = Linear(*maps)(np, x)
        want = np.sum(d_y * pushed)
        assert_close(cotangent[entry], want, f"{name}{list(entry)}", scale=np.abs(d_y).max())


def test_square_weights_are_not_transposed_by_mistake():
    """With equal sizes a wrong transpose is legal, so a value distinguishes them."""
    weight = np.asarray([[0.0, 1.0], [0.0, 0.0]])  # y_0 = x_1
    e0, e1 = np.asarray([[1.0, 0.0]]), np.asarray([[0.0, 1.0]])
    assert Linear(weight)(np, e1).tolist() == e0.tolist()
    assert Linear(weight).vjp_x(np, e0).tolist() == e1.tolist()
    assert affine_vjp_weight(np, e1, e0).tolist() == weight.tolist()


@pytest.mark.parametrize("lead", SHAPES[1:])
def test_a_scale_multiplies_the_input(lead):
    given, d_y = arrays(lead)
    scale = np.random.default_rng(0).standard_normal((lead[-1], 3))
    x, weight, bias = given.values()
    scaled, plain = Linear(weight, bias, scale), Linear(weight, bias)
    assert_close(scaled(np, x), plain(np, x * scale), "y", k=8)
    assert_close(scaled.vjp_x(np, d_y), scale * plain.vjp_x(np, d_y), "x", k=8)
    got, want = (f.vjp_parameters(np, v, d_y, SUMS) for f, v in ((scaled, x), (plain, x * scale)))
    assert got.scale is None
    assert_close(got.weight, want.weight, "weight", k=8)
    assert_close(got.bias, want.bias, "bias", k=8)


def test_selected_rows_give_part_of_the_result_for_any_form_of_bias():
    given, _ = arrays((4,))
    x, weight, bias = given.values()
    scale = np.random.default_rng(0).standard_normal((4, 3))
    for given in (bias, bias[None, :], None):
        linear = Linear(weight, given, scale)
        want = linear(np, x)[:, 1:]
        assert_close(linear.rows(slice(1, None))(np, x), want, "rows", k=8)


def test_no_bias_has_no_cotangent():
    assert affine_vjp_bias(np, None, np.ones((3, 2))) is None


def test_a_long_sum_stays_in_the_callers_dtype_and_precision():
    """A naive float32 sum of a million times 0.1 is off by percents."""
    d_y = np.full((1000, 1000, 1), 0.1, dtype=np.float32)
    got = affine_vjp_bias(np, np.zeros(1, dtype=np.float32), d_y)
    assert got.dtype == np.float32
    assert_close(got, np.asarray([1e6 * float(np.float32(0.1))]), "bias")
