"""The pictures are drawn for any numbers, and their verdict states what they show."""

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.losses import mean_squared_error

pytestmark = pytest.mark.no_products

plots = pytest.importorskip("portable_rnn.plots")
pytest.importorskip("matplotlib")


def flow(gain, steps=12, **options):
    model = prnn.RNN(1, 2, 1, bias=False)
    params = {name: np.ones(shape) for name, shape in model.parameter_shapes.items()}
    params["weight_hh_l0"] = gain * np.eye(2)
    weights = np.zeros((steps, 1))
    weights[-1] = 1.0
    x = np.zeros((steps, 1, 1))
    given = {"loss": mean_squared_error, "weights": weights} | options
    return prnn.gradient_flow(model, params, x, np.ones((steps, 1, 1)), **given)


@pytest.mark.parametrize("by_loss_step", [False, True])
@pytest.mark.parametrize(("gain", "steps"), [(0.0, 12), (0.2, 12), (5.0, 12), (1.0, 1)])
def test_a_gradient_flow_is_drawn(gain, steps, by_loss_step):
    image = plots.gradient_flow(flow(gain, steps, by_loss_step=by_loss_step), "a title")
    assert image.startswith(b"\x89PNG")
    assert len(image) > 10_000


def test_a_gradient_of_zero_is_drawn():
    image = plots.gradient_flow(flow(1.0, weights=np.ones((12, 1)) * 1e-300, by_loss_step=True))
    assert image.startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("norms", "verdict"),
    [
        (0.5 ** np.arange(20.0, -1, -1), "vanishes: ×0.500 per step back, ×9.5e-07 in all"),
        (1.5 ** np.arange(20.0, -1, -1), "explodes: ×1.500 per step back, ×3.3e+03 in all"),
        (np.ones(21), "is carried: ×1.000 per step back, ×1.0e+00 in all"),
        (np.asarray([0.0, 1.0]), "vanishes entirely"),
        (np.asarray([1.0, 0.0]), "nothing to compare"),
    ],
)
def test_the_verdict_states_what_the_picture_shows(norms, verdict):
    assert plots._verdict(norms, "") == verdict
    assert plots._verdict(norms, "layer 1") == f"layer 1: {verdict}"


def test_the_part_of_the_last_loss_is_judged_alone():
    shares = np.zeros((4, 4, 1))
    shares[2, :3, 0] = 0.25, 0.5, 1.0
    shares[1, :2, 0] = 7.0, 7.0
    np.testing.assert_array_equal(plots._from_the_last_loss(shares), [0.25, 0.5, 1.0])
