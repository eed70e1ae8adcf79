"""Estimators of scikit-learn: their results are those of the network, trained by `train`."""

import functools
import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="not run: scikit-learn is not installed")

from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.model_selection import GridSearchCV, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import portable_rnn as prnn
from portable_rnn.sklearn import RNNClassifier, RNNForecaster, RNNRegressor, network

pytestmark = pytest.mark.no_products

SMALL = {"hidden_size": 5, "max_iter": 3, "batch_size": 8, "random_state": 3}
SEED = int(np.random.RandomState(3).randint(2**31 - 1))


def problem(count=20, steps=6, features=2, dtype="float64"):
    """Return sequences, the signs of their first feature's sums, and these sums."""
    x = np.random.default_rng(0).normal(size=(count, steps, features)).astype(dtype)
    sums = x[:, :, 0].sum(axis=1)
    return x, np.where(sums > 0, "up", "down"), sums


def ragged(x):
    """Return the sequences of ``x`` as a list, of lengths from 1 on."""
    return [one[: 1 + i % x.shape[1]] for i, one in enumerate(x)]


def same_params(a, b):
    assert a.params_.keys() == b.params_.keys()
    for name, param in a.params_.items():
        np.testing.assert_array_equal(param, b.params_[name], err_msg=name)


def trained(x, targets, outputs, loss, **options):
    """Return the model and parameters that `train` makes as the estimators do."""
    layers = {"num_layers": 2, "dropout": 0.4} if options.pop("dropout", False) else {}
    model = prnn.RNN(x.shape[2], 5, outputs, cell="gru", pool="last", batch_first=True, **layers)
    source = prnn.batches.Shuffled(x, targets, batch_size=8, seed=SEED, batch_axis=0, **options)
    run = prnn.training.train(
        model,
        model.init(SEED, dtype=str(x.dtype)),
        source,
        epochs=3,
        lr=0.01,
        loss=loss,
        max_norm=1.0,
        seed=SEED,
    )
    return model, run.params


# ------------------------------------------------------------------- what is trained


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_classifier_is_a_network_trained_by_train(dtype):
    x, y, _ = problem(dtype=dtype)
    weights = np.arange(20) % 3.0
    fitted = RNNClassifier(**SMALL).fit(x, y, sample_weight=weights)
    given = weights.astype(dtype)
    model, params = trained(x, (y == "up") * 1, 2, "cross_entropy", weights=given)
    for name, param in params.items():
        np.testing.assert_array_equal(fitted.params_[name], param)
    outputs = prnn.predict(model, params, x)
    np.testing.assert_array_equal(
        fitted.predict(x), np.where(outputs[:, 1] > outputs[:, 0], "up", "down")
    )
    odds = np.exp(outputs) / np.exp(outputs).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(fitted.predict_proba(x), odds, rtol=1e-5)
    np.testing.assert_allclose(np.exp(fitted.predict_log_proba(x)), odds, rtol=1e-5)
    assert fitted.score(x, y) == np.mean(fitted.predict(x) == y)
    assert fitted.predict_proba(x).dtype == dtype


@pytest.mark.parametrize("outputs", [1, 6])  # as many as steps, too
def test_a_regressor_is_a_network_trained_by_train(outputs):
    x, _, sums = problem()
    y = np.stack([sums + i for i in range(outputs)], axis=1)
    weights = 1.0 + np.arange(20)
    fitted = RNNRegressor(loss="huber", **SMALL).fit(x, y, sample_weight=weights)
    model, params = trained(x, y, outputs, prnn.losses.huber, weights=weights)
    np.testing.assert_array_equal(fitted.predict(x), prnn.predict(model, params, x))
    assert fitted.score(x, y) == pytest.approx(
        np.mean(1 - ((y - fitted.predict(x)) ** 2).mean(axis=0) / y.var(axis=0))
    )
    one = RNNRegressor(**SMALL).fit(x, sums)
    assert one.predict(x).shape == (20,)


def test_masks_are_drawn_from_the_random_state():
    x, y, _ = problem()
    fitted = RNNClassifier(**SMALL, num_layers=2, dropout=0.4).fit(x, y)
    _, params = trained(x, (y == "up") * 1, 2, "cross_entropy", dropout=True)
    for name, param in params.items():
        np.testing.assert_array_equal(fitted.params_[name], param)


def test_rows_are_sequences_of_one_feature():
    x, y, _ = problem(features=1)
    a, b = (RNNClassifier(**SMALL).fit(one, y) for one in (x, x[:, :, 0]))
    same_params(a, b)
    np.testing.assert_array_equal(a.predict_proba(x), b.predict_proba(x[:, :, 0]))
    assert (a.n_features_in_, b.n_features_in_) == (1, 6)


def test_predictions_in_parts_are_those_of_all_sequences(monkeypatch):
    x, _, y = problem()
    fitted = RNNRegressor(**SMALL).fit(x, y)
    whole, of_lists = fitted.predict(x), fitted.predict(ragged(x))
    monkeypatch.setattr(network, "_AT_ONCE", 7)
    np.testing.assert_allclose(fitted.predict(x), whole, rtol=1e-12)
    np.testing.assert_allclose(fitted.predict(ragged(x)), of_lists, rtol=1e-12)


# ---------------------------------------------------------------------------- ragged


@pytest.mark.parametrize("options", [{}, {"bidirectional": True, "pool": "mean"}])
def test_a_list_is_the_padded_array_with_lengths(options):
    x, y, _ = problem()
    fitted = RNNClassifier(**SMALL, **options).fit(ragged(x), y)
    padded, lengths = prnn.ragged.pack(ragged(x), batch_first=True)
    outputs = prnn.predict(fitted.model_, fitted.params_, padded, lengths=lengths)
    np.testing.assert_array_equal(fitted.predict(ragged(x)), fitted.classes_[outputs.argmax(1)])
    if not options:
        _, params = trained(padded, (y == "up") * 1, 2, "cross_entropy", lengths=lengths)
        for name, param in params.items():
            np.testing.assert_array_equal(fitted.params_[name], param)
    alone = [fitted.predict_proba(one[None])[0] for one in ragged(x)]
    np.testing.assert_allclose(fitted.predict_proba(ragged(x)), alone, rtol=1e-12)


def test_lists_of_equal_lengths_and_arrays_of_objects_are_taken():
    x, y, _ = problem()
    fitted = RNNClassifier(**SMALL).fit(x, y)
    same_params(fitted, RNNClassifier(**SMALL).fit(list(x), y))
    same_params(fitted, RNNClassifier(**SMALL).fit(x.tolist(), y))
    objects = np.empty(20, dtype=object)
    objects[:] = ragged(x)
    same_params(RNNClassifier(**SMALL).fit(objects, y), RNNClassifier(**SMALL).fit(ragged(x), y))
    nested = [one.tolist() for one in ragged(x)]
    same_params(RNNClassifier(**SMALL).fit(nested, y), RNNClassifier(**SMALL).fit(ragged(x), y))
    thin = [one[:, 0] for one in ragged(x)]
    same_params(
        RNNClassifier(**SMALL).fit(thin, y),
        RNNClassifier(**SMALL).fit([one[:, None] for one in thin], y),
    )


# ----------------------------------------------------- epochs, and how they are continued


@pytest.mark.parametrize("kind", [RNNClassifier, RNNRegressor])
def test_several_partial_fits_are_one_fit(kind):
    x, labels, sums = problem()
    y, first = (labels, {"classes": ["down", "up"]}) if kind is RNNClassifier else (sums, {})
    options = SMALL | {"num_layers": 2, "dropout": 0.4}
    whole = kind(**options).fit(x, y)
    parts = kind(**options).partial_fit(x, y, **first)
    assert parts.n_iter_ == 1
    parts.partial_fit(x, y).partial_fit(x, y)
    same_params(whole, parts)
    assert (parts.n_iter_, parts.loss_curve_) == (3, whole.loss_curve_)
    drawn = kind(**options | {"random_state": np.random.RandomState(3)})  # once
    same_params(whole, drawn.partial_fit(x, y, **first).partial_fit(x, y).partial_fit(x, y))
    whole.set_params(max_iter=4).partial_fit(x, y)
    same_params(whole, kind(**options).set_params(max_iter=4).fit(x, y))


def test_partial_fits_take_any_number_of_sequences():
    x, y, _ = problem()
    fitted = RNNClassifier(**SMALL)
    seen = []
    for rows in (slice(0, 3), slice(3, 20), slice(0, 20)):
        before = fitted.params_ if seen else None
        fitted.partial_fit(x[rows], y[rows], classes=["up", "down"])
        seen.append(fitted.params_)
        assert before is None or any((before[n] != p).any() for n, p in fitted.params_.items())
    assert (fitted.n_iter_, len(fitted.loss_curve_)) == (3, 3)
    assert fitted._optimizer_state["step"] == 1 + 3 + 3


def test_a_warm_start_continues_from_the_parameters():
    x, y, _ = problem()
    warm = RNNClassifier(**SMALL, warm_start=True).fit(x, y)
    first = warm.params_
    warm.fit(x, y)
    assert warm.n_iter_ == 3
    source = prnn.batches.Shuffled(x, (y == "up") * 1, batch_size=8, seed=SEED, batch_axis=0)
    run = prnn.training.train(
        warm.model_, first, source, epochs=3, lr=0.01, max_norm=1.0, loss="cross_entropy"
    )
    for name, param in run.params.items():
        np.testing.assert_array_equal(warm.params_[name], param)
    cold = RNNClassifier(**SMALL).fit(x, y)
    same_params(cold, cold.fit(x, y))


def test_early_stopping_keeps_the_best_parameters():
    x, y, _ = problem(count=60)
    stopping = {"early_stopping": True, "validation_fraction": 0.25, "n_iter_no_change": 4}
    options = SMALL | {"max_iter": 300, "hidden_size": 16, "learning_rate_init": 0.03}
    fitted = RNNClassifier(**options, **stopping).fit(x, y)
    curve = fitted.validation_loss_curve_
    assert len(curve) == len(fitted.loss_curve_) == fitted.n_iter_ < 300
    assert fitted.n_iter_ - 1 - int(np.argmin(curve)) == 4
    _, rows = train_test_split(np.arange(60), test_size=0.25, random_state=SEED, stratify=y)
    odds = fitted.predict_proba(x[rows])
    loss = -np.log(odds[np.arange(15), (y[rows] == "up") * 1]).mean()
    assert loss == pytest.approx(min(curve), rel=1e-9)
    assert RNNClassifier(**SMALL).fit(x, y).validation_loss_curve_ is None


def test_early_stopping_takes_ragged_sequences_and_weights():
    x, _, y = problem(count=30)
    weights = np.arange(30.0)
    fitted = RNNRegressor(**SMALL, early_stopping=True).fit(ragged(x), y, sample_weight=weights)
    _, rows = train_test_split(np.arange(30), test_size=0.1, random_state=SEED)
    made = fitted.predict([ragged(x)[i] for i in rows])
    wanted = np.average((made - y[rows]) ** 2, weights=weights[rows])
    assert wanted == pytest.approx(min(fitted.validation_loss_curve_), rel=1e-9)


def test_losses_are_printed_if_asked_for(capsys):
    x, y, _ = problem()
    fitted = RNNClassifier(**SMALL, early_stopping=True).fit(x, y)
    assert capsys.readouterr() == ("", "")
    fitted.set_params(verbose=True).fit(x, y)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Iteration 1, loss = {fitted.loss_curve_[0]:.8f}"
    assert lines[-1] == f"Validation loss = {fitted.validation_loss_curve_[2]:.8f}"
    assert len(lines) == 6


# --------------------------------------------------------------------------- weights


def test_class_weights_are_weights_of_sequences():
    x, y, _ = problem(count=19)
    each = {"up": 3.0, "down": 0.5}
    a = RNNClassifier(**SMALL, class_weight=each).fit(x, y, sample_weight=np.arange(19.0))
    weights = np.arange(19.0) * np.where(y == "up", 3.0, 0.5)
    same_params(a, RNNClassifier(**SMALL).fit(x, y, sample_weight=weights))
    count = np.where(y == "up", (y == "up").sum(), (y == "down").sum())
    b = RNNClassifier(**SMALL, class_weight="balanced").fit(x, y)
    same_params(b, RNNClassifier(**SMALL).fit(x, y, sample_weight=19 / (2 * count)))
    parts = RNNClassifier(**SMALL, class_weight=each).partial_fit(x, y, classes=["up", "down"])
    one = RNNClassifier(**SMALL | {"max_iter": 1}, class_weight=each).fit(x, y)
    same_params(parts, one)


# ----------------------------------------------- what scikit-learn does with estimators


@pytest.mark.parametrize("kind", [RNNClassifier, RNNRegressor, RNNForecaster])
def test_the_same_random_state_trains_the_same_bits(kind):
    x, _, sums = problem()
    y = (sums > 0) * 1
    fitted = kind(**SMALL).fit(x, y)
    same_params(fitted, clone(fitted).fit(x, y))
    other = clone(fitted).set_params(random_state=4).fit(x, y)
    assert (other.params_["weight_hh_l0"] != fitted.params_["weight_hh_l0"]).any()
    state = np.random.RandomState(3)
    first, second = (kind(**SMALL | {"random_state": state}).fit(x, y) for _ in range(2))
    same_params(first, fitted)
    assert (second.params_["weight_hh_l0"] != first.params_["weight_hh_l0"]).any()
    loaded = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(loaded.predict(x), fitted.predict(x))
    assert not hasattr(clone(fitted), "params_")


@pytest.mark.parametrize("kind", [RNNClassifier, RNNRegressor])
def test_a_pickled_estimator_continues_as_the_original(kind):
    x, _, sums = problem()
    y = (sums > 0) * 1
    fitted = kind(**SMALL).fit(x, y)
    loaded = pickle.loads(pickle.dumps(fitted))
    same_params(loaded.partial_fit(x, y), fitted.partial_fit(x, y))


class Standardized(TransformerMixin, BaseEstimator):
    """Scale each feature over all sequences and steps, by scikit-learn's own scaler."""

    def fit(self, X, y=None):
        self.scaler_ = StandardScaler().fit(np.concatenate(list(X)))
        return self

    def transform(self, X):
        scaled = [self.scaler_.transform(one) for one in X]
        return np.stack(scaled) if isinstance(X, np.ndarray) else scaled


@pytest.mark.parametrize("given", [np.asarray, ragged], ids=["array", "list"])
def test_a_pipeline_is_searched_over_a_grid(given):
    x, y, _ = problem(count=40)
    x = given(100.0 * x + 7.0)
    steps = make_pipeline(Standardized(), RNNClassifier(**SMALL | {"max_iter": 30}))
    grid = {"rnnclassifier__hidden_size": [1, 8], "rnnclassifier__cell": ["elman", "gru"]}
    search = GridSearchCV(steps, grid, cv=2, error_score="raise").fit(x, y)
    best = search.best_estimator_
    assert best[-1].hidden_size == search.best_params_["rnnclassifier__hidden_size"]
    np.testing.assert_array_equal(search.predict(x), best[-1].predict(best[0].transform(x)))
    assert search.best_score_ == max(search.cv_results_["mean_test_score"])
    assert search.score(x, y) > 0.7


def test_a_forecaster_is_cross_validated_by_its_own_score():
    x = np.sin(0.4 * np.arange(30) + np.arange(8)[:, None])
    scores = cross_val_score(RNNForecaster(**SMALL, horizon=3), x, cv=2, error_score="raise")
    assert scores.shape == (2,)
    assert np.isfinite(scores).all()


def test_names_of_columns_are_kept_and_compared():
    pandas = pytest.importorskip("pandas", reason="not run: pandas is not installed")
    x, y, _ = problem()
    frame = pandas.DataFrame(x[:, :, 0], columns=list("abcdef"))
    fitted = RNNClassifier(**SMALL).fit(frame, y)
    assert fitted.feature_names_in_.tolist() == list("abcdef")
    with pytest.raises(ValueError, match="feature names should match"):
        fitted.predict(frame[list("fedcba")])
    steps = make_pipeline(StandardScaler(), RNNClassifier(**SMALL)).set_output(transform="pandas")
    steps.fit(frame, y)
    assert steps[-1].feature_names_in_.tolist() == list("abcdef")
    np.testing.assert_array_equal(
        steps.predict(frame), steps[-1].predict(steps[0].transform(frame))
    )


def test_optimizers_schedules_and_losses_are_functions_too():
    x, _, y = problem()
    solver = functools.partial(prnn.optimizers.adamw, weight_decay=0.1)
    rate = functools.partial(prnn.schedules.constant, lr=0.01)
    loss = functools.partial(prnn.losses.pinball, quantile=0.9)
    a = RNNRegressor(**SMALL, solver=solver, learning_rate_init=rate, loss=loss).fit(x, y)
    b = RNNRegressor(**SMALL, solver="adamw", loss=loss).fit(x, y)
    assert (a.params_["readout.bias"] != b.params_["readout.bias"]).any()
    same_params(a, clone(a).set_params(learning_rate_init=0.01).fit(x, y))
