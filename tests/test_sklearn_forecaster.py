"""The forecaster: its forecasts are those of the network on its own outputs."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="not run: scikit-learn is not installed")

from sklearn.base import clone
from sklearn.metrics import r2_score

import portable_rnn as prnn
from portable_rnn.sklearn import RNNForecaster

pytestmark = pytest.mark.no_products

SMALL = {"hidden_size": 5, "max_iter": 3, "batch_size": 4, "random_state": 3}


def series(count=8, steps=20, features=2):
    """Return waves, the second feature far from 0."""
    t = np.arange(steps)[None, :, None] + np.arange(count)[:, None, None]
    return np.sin(0.4 * t * (1 + np.arange(features))) + 50.0 * np.arange(features)


def lists(x):
    """Return series of different lengths, the shortest of two steps."""
    return [one[: 2 + 3 * i] for i, one in enumerate(x[:7])]


def by_hand(fitted, one, horizon):
    """Return the forecast of a series (T, F), a step at a time, by the prediction of all of it."""
    steps = (one - fitted.mean_) / fitted.scale_
    for _ in range(horizon):
        outputs = prnn.predict(fitted.model_, fitted.params_, steps[None])
        steps = np.concatenate([steps, outputs[0, -1:]])
    return steps[-horizon:] * fitted.scale_ + fitted.mean_


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("given", [np.asarray, lists], ids=["array", "list"])
def test_a_forecast_repeats_predictions_of_one_step(given, cell):
    x = given(series())
    fitted = RNNForecaster(**SMALL, horizon=4, cell=cell).fit(x)
    made = fitted.predict(x)
    assert made.shape == (len(x), 4, 2)
    wanted = [by_hand(fitted, one, 4) for one in x]
    np.testing.assert_allclose(made, wanted, rtol=1e-12)
    shorter = clone(fitted).set_params(horizon=2).fit(x)
    np.testing.assert_array_equal(shorter.predict(x), made[:, :2])


@pytest.mark.parametrize("given", [np.asarray, lists], ids=["array", "list"])
def test_it_is_trained_on_the_next_step_of_each_series(given):
    x = given(series())
    fitted = RNNForecaster(**SMALL).fit(x)
    every = np.concatenate(list(x))
    np.testing.assert_allclose(fitted.mean_, every.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(fitted.scale_, every.std(axis=0), rtol=1e-12)
    seed = int(np.random.RandomState(3).randint(2**31 - 1))
    packed, lengths = prnn.ragged.pack(
        [(one - fitted.mean_) / fitted.scale_ for one in x], batch_first=True
    )
    source = prnn.batches.Shuffled(
        packed[:, :-1], packed[:, 1:], lengths=lengths - 1, batch_size=4, seed=seed, batch_axis=0
    )
    model = prnn.RNN(2, 5, 2, cell="gru", batch_first=True)
    params = model.init(seed, dtype="float64")
    options = {"epochs": 3, "lr": 0.01, "loss": "mse", "max_norm": 1.0}
    run = prnn.training.train(model, params, source, **options)
    for name, param in run.params.items():
        np.testing.assert_allclose(fitted.params_[name], param, rtol=1e-9, atol=1e-12)


def test_rows_are_series_of_any_length_and_one_feature():
    x = series(features=1)[:, :, 0]
    fitted = RNNForecaster(**SMALL, horizon=3).fit(x)
    made = fitted.predict(x[:, :7])
    assert made.shape == (8, 3)
    np.testing.assert_array_equal(made, fitted.predict(x[:, :7, None])[:, :, 0])
    assert fitted.n_features_in_ == 1
    assert fitted.predict([x[0, :7], x[1, :3]]).shape == (2, 3)
    assert fitted.predict(x[:1, :1]).shape == (1, 3)


def test_a_forecast_has_the_units_of_its_series():
    x = series()
    scale, shift = np.asarray([2.0, 1024.0]), np.asarray([8.0, -4096.0])
    a = RNNForecaster(**SMALL, horizon=3).fit(x)
    b = RNNForecaster(**SMALL, horizon=3).fit(x * scale + shift)
    np.testing.assert_allclose(
        b.predict(x * scale + shift), a.predict(x) * scale + shift, rtol=1e-9
    )
    plain = RNNForecaster(**SMALL, standardize=False).fit(x)
    assert (plain.mean_.tolist(), plain.scale_.tolist()) == ([0.0, 0.0], [1.0, 1.0])


def test_a_constant_feature_is_not_divided_by_its_rounding():
    x = series()
    x[:, :, 1] = 0.1
    fitted = RNNForecaster(**SMALL, horizon=3).fit(x)
    assert fitted.scale_[1] == 1.0
    assert np.isfinite(fitted.predict(x)).all()


def test_windows_use_each_step_once_as_a_target(monkeypatch):
    seen = []
    taken = prnn.batches.Shuffled
    monkeypatch.setattr(
        "portable_rnn.sklearn.network.Shuffled",
        lambda x, targets, **options: (
            seen.append((x, targets, options["lengths"])) or taken(x, targets, **options)
        ),
    )
    x = [np.arange(10.0)[:, None], 100 + np.arange(5.0)[:, None], 200 + np.arange(2.0)[:, None]]
    RNNForecaster(**SMALL, window=3, standardize=False, max_norm=None).fit(x)
    ((inputs, targets, lengths),) = seen
    assert lengths.tolist() == [3, 3, 3, 3, 1, 1]
    used = [inputs[i, :n, 0].tolist() for i, n in enumerate(lengths)]
    assert used == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [100, 101, 102], [103], [200]]
    assert all((targets[i, :n] == inputs[i, :n] + 1).all() for i, n in enumerate(lengths))


def test_one_long_series_is_learned_in_windows():
    x = np.sin(0.4 * np.arange(200))
    fitted = RNNForecaster(16, horizon=20, window=20, max_iter=150, random_state=0).fit([x])
    forecast = fitted.predict([x])
    np.testing.assert_allclose(forecast, np.sin(0.4 * np.arange(200, 220))[None], atol=0.3)


def test_the_score_is_of_the_last_steps_of_each_series():
    x = series()
    fitted = RNNForecaster(**SMALL, horizon=4).fit(x)
    made = fitted.predict(x[:, :-4])
    wanted = r2_score(x[:, -4:].reshape(-1, 2), made.reshape(-1, 2))
    assert fitted.score(x) == pytest.approx(wanted, rel=1e-12)
    some = [one[:n] for one, n in zip(x, range(5, 13), strict=True)]
    made = fitted.predict([one[:-4] for one in some])
    wanted = r2_score(np.concatenate([one[-4:] for one in some]), made.reshape(-1, 2))
    assert fitted.score(some) == pytest.approx(wanted, rel=1e-12)


def test_a_warm_start_keeps_the_units_of_the_first_fit():
    x = series()
    warm = RNNForecaster(**SMALL, warm_start=True).fit(x)
    first, mean = warm.params_, warm.mean_
    warm.fit(2.0 * x)
    assert warm.mean_ is mean
    assert (warm.params_["weight_hh_l0"] != first["weight_hh_l0"]).any()


def test_series_are_set_aside_for_early_stopping():
    x = series(count=20)
    options = SMALL | {"max_iter": 200, "n_iter_no_change": 2, "learning_rate_init": 0.1}
    fitted = RNNForecaster(**options, early_stopping=True).fit(x)
    assert len(fitted.validation_loss_curve_) == fitted.n_iter_ < 200
