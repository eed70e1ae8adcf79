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
        (np.asarray([np.nan, 1.0]), "is not finite"),
        (np.asarray([np.inf, 1.0]), "is not finite"),
        (np.asarray([1.0, np.inf]), "is not finite"),
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


@pytest.mark.parametrize("value", [np.inf, np.nan])
def test_what_is_not_finite_is_drawn(value):
    found, bad = flow(5.0, by_loss_step=True), np.full(12, 1.0)
    bad[3] = value
    shares = np.where(found.d_h_by_loss_step > 0, bad[:, None, None], 0.0)
    found = found._replace(
        d_state=tuple(part * bad[:, None, None] for part in found.d_state),
        params=dict.fromkeys(found.params, bad),
        jacobian=found.jacobian * bad[:, None, None],
        d_h_by_loss_step=shares,
    )
    assert plots.gradient_flow(found).startswith(b"\x89PNG")


def test_a_flow_of_bfloat16_is_drawn(drawn):
    torch = pytest.importorskip("torch")
    model, x = prnn.RNN(1, 2, 1), torch.ones((4, 1, 1), dtype=torch.bfloat16)
    params = model.init(seed=0, xp=torch, dtype="bfloat16")
    found = prnn.gradient_flow(model, params, x, x, loss=mean_squared_error, by_loss_step=True)
    plots.gradient_flow(found)
    (norms,) = lines(drawn[0].axes[0]).values()
    assert norms[:, 1].tolist() == found.d_h[:, 0, 0].tolist()


def test_a_title_is_no_formula(drawn):
    title = "$5 for x_{ and $"
    plots.learning_curve({"loss": [1.0]}, title=title)
    plots.gradient_flow(flow(0.5), title)
    for figure in drawn:
        figure.canvas.draw()
    assert drawn[0].axes[0].get_title() == drawn[1].get_suptitle() == title


@pytest.mark.parametrize("nan", [float("nan"), np.float32("nan"), np.asarray(np.nan)])
def test_a_number_that_is_none_leaves_a_gap(drawn, nan):
    plots.learning_curve({"loss": [1.0, nan]})
    np.testing.assert_array_equal(lines(drawn[0].axes[0])["training"], [[1, 1], [2, np.nan]])


def test_a_small_baseline_is_not_named_as_zero(drawn):
    plots.learning_curve({"loss": [1e-5]}, {"zeros": 1.5e-5})
    assert [text.get_text() for text in drawn[0].axes[0].texts] == ["zeros 1.5e-05"]


@pytest.fixture
def drawn(monkeypatch):
    """Return the figures that are drawn; no picture is made of them."""
    figures = []
    monkeypatch.setattr(plots, "_png", figures.append)
    return figures


def lines(axes):
    return {line.get_label(): line.get_xydata() for line in axes.get_lines()}


def test_a_baseline_above_all_curves_is_in_the_axes(drawn):
    for bits in ([2.0, 1.5], []):  # no numbers yet, if a run has just begun
        plots.learning_curve({"training_bits": bits}, {"uniform": 6.5})
    for figure in drawn:
        bottom, top = figure.axes[0].get_ylim()
        assert bottom == 0
        assert top > 6.5


def test_a_learning_rate_is_drawn_if_it_changes(drawn):
    for rates in ([0.1, 0.1], [0.1, 0.05]):
        plots.learning_curve({"loss": [2.0, 1.0], "learning_rate": rates})
    assert [len(figure.axes) for figure in drawn] == [1, 2]


def test_a_picture_is_its_bytes_and_is_shown_shortly():
    picture = plots.gradient_flow(flow(0.5))
    assert repr(picture) == str(picture) == f"{picture}" == "<PNG picture of 960 x 936 pixels>"
    assert type(picture._repr_png_()) is bytes
    assert picture._repr_png_() == picture == bytes(picture)
    assert repr(plots.Picture(b"no picture")) == "<Picture of 10 bytes>"


ROWS = [
    {"step": 2, "loss": 3.0, "accuracy": 0.25, "gradient_norm": 7.0},
    {"step": 4, "loss": float("nan"), "accuracy": 0.5, "validation_loss": 2.5},
    {"step": 6, "loss": 1.0, "validation_loss": 2.0, "validation_f1_macro": 0.5},
]


def test_each_metric_of_a_history_has_axes_of_its_own(drawn):
    plots.learning_curve(ROWS, {"chance": 2.75}, "a run")
    axes = {one.get_ylabel(): one for one in drawn[0].axes}
    assert list(axes) == ["loss", "accuracy", "gradient norm", "f1 macro"]
    found = lines(axes["loss"])
    np.testing.assert_array_equal(found["training"], [[2, 3], [4, np.nan], [6, 1]])
    np.testing.assert_array_equal(found["validation"], [[4, 2.5], [6, 2]])
    np.testing.assert_array_equal(lines(axes["accuracy"])["training"], [[2, 0.25], [4, 0.5]])
    assert [text.get_text() for text in axes["loss"].texts] == ["chance 2.75"]
    assert not axes["accuracy"].texts
    assert axes["loss"].get_title() == "a run"
    assert axes["loss"].get_legend() is not None
    assert axes["gradient norm"].get_legend() is None
    assert lines(axes["f1 macro"])["validation"].tolist() == [[6, 0.5]]


def test_sequences_by_name_are_drawn_at_their_steps(drawn):
    plots.learning_curve({"loss": [3.0, 2.0, 1.5], "validation_loss": [(2, 2.25)], "$a_": [1]})
    (loss, odd) = drawn[0].axes
    assert lines(loss)["training"].tolist() == [[1, 3], [2, 2], [3, 1.5]]
    assert lines(loss)["validation"].tolist() == [[2, 2.25]]
    assert odd.get_ylabel() == "$a "


def test_names_without_numbers_leave_axes_without_a_legend(drawn):
    plots.learning_curve({"training_bits": [], "validation_bits": [], "loss": []})
    assert [axes.get_legend() for axes in drawn[0].axes] == [None, None]


def test_bits_per_character_start_at_zero(drawn):
    plots.learning_curve({"training_bits": [(1, 3.0)], "validation_bits": [(1, 2.5)]}, {"xz": 2.0})
    (axes,) = drawn[0].axes
    assert axes.get_ylabel() == "bits per character"
    assert axes.get_ylim()[0] == 0.0
    assert set(lines(axes)) > {"training", "validation"}


@pytest.mark.parametrize("reverse", [False, True])
def test_a_loss_at_few_steps_is_drawn_as_lines(drawn, reverse):
    model = prnn.RNN(1, 2, 1, bias=False, reverse=reverse)
    params = model.init(seed=0)
    weights = np.zeros((12, 1), np.float32)
    weights[[3, 8]] = 1.0
    given = {"loss": mean_squared_error, "weights": weights, "by_loss_step": True}
    ones = np.ones((12, 1, 1), np.float32)
    found = prnn.gradient_flow(model, params, ones, ones, **given)
    plots.gradient_flow(found)
    parts = lines(drawn[0].axes[3])
    assert list(parts) == ["loss at step 3", "loss at step 8"]
    for s in (3, 8):
        want = found.d_h_by_loss_step[s, :, 0, 0]
        there = want > 0
        np.testing.assert_allclose(parts[f"loss at step {s}"][there, 1], want[there], rtol=1e-6)
        assert there.sum() == (12 - s if reverse else s + 1)
    whole = slice(3, None) if reverse else slice(None, 9)  # of the loss that comes last to it
    norms = found.d_h_by_loss_step[3 if reverse else 8, whole, 0, 0]
    verdict = plots._verdict(norms[:: -1 if reverse else 1], "")
    assert drawn[0].axes[0].get_title(loc="left") == verdict


def test_both_directions_are_named_and_drawn_together(drawn):
    model = prnn.RNN(1, 2, 1, num_layers=2, bidirectional=True)
    x = np.ones((12, 3, 1), np.float32)
    given = {"loss": mean_squared_error, "by_loss_step": True}
    found = prnn.gradient_flow(model, model.init(seed=0), x, x, **given)
    plots.gradient_flow(found)
    names = [f"layer {i}, {way}" for i in (0, 1) for way in ("forward", "reverse")]
    labels = [line.get_label() for line in drawn[0].axes[0].get_lines()]
    assert [label.partition(", ")[2] for label in labels] == names
    verdicts = drawn[0].axes[0].get_title(loc="left").split("\n")
    assert [verdict.partition(": ")[0] for verdict in verdicts] == names
    (mesh,) = drawn[0].axes[3].collections
    of_last = found.d_h_by_loss_step[:, :, 2:, :].astype("float64")
    want = np.linalg.norm(of_last.reshape(12, 12, -1), axis=2)
    np.testing.assert_allclose(np.reshape(mesh.get_array(), (12, 12)), want, rtol=1e-6)
