"""What estimators of scikit-learn refuse, by name; and arrays of other libraries."""

import inspect

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="not run: scikit-learn is not installed")

from sklearn.base import clone
from sklearn.exceptions import NotFittedError

import portable_rnn as prnn
from portable_rnn._arrays.host import to_host
from portable_rnn.sklearn import RNNClassifier, RNNForecaster, RNNRegressor

pytestmark = pytest.mark.no_products

SMALL = {"hidden_size": 5, "max_iter": 3, "batch_size": 8, "random_state": 3}
KINDS = [RNNClassifier, RNNRegressor, RNNForecaster]
X = np.random.default_rng(0).normal(size=(20, 6, 2))
Y = (X[:, :, 0].sum(axis=1) > 0).astype(int)
ONE_NAN = X.copy()
ONE_NAN[3, 4, 1] = np.nan


# ------------------------------------------------------------------------- parameters

WRONG = [
    ("hidden_size", 0),
    ("hidden_size", "32"),
    ("num_layers", 1.5),
    ("cell", "grue"),
    ("dropout", 0.5),  # with one layer
    ("solver", "adamm"),
    ("solver", 3),
    ("learning_rate_init", -0.1),
    ("learning_rate_init", lambda: 0.1),
    ("batch_size", 0),
    ("batch_size", "all"),
    ("max_iter", 0),
    ("max_norm", 0.0),
    ("early_stopping", "yes"),
    ("validation_fraction", 1.0),
    ("n_iter_no_change", 0),
    ("warm_start", None),
    ("verbose", "much"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_parameter_is_named(kind, name, value):
    with pytest.raises((TypeError, ValueError), match=name):
        kind(**SMALL | {name: value}).fit(X, Y)


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [
        (RNNClassifier, "pool", None),
        (RNNClassifier, "bidirectional", "both"),
        (RNNClassifier, "class_weight", "even"),
        (RNNRegressor, "pool", "first"),
        (RNNRegressor, "loss", "softmax_cross_entropy"),
        (RNNRegressor, "loss", 1),
        (RNNForecaster, "horizon", 0),
        (RNNForecaster, "window", 0),
        (RNNForecaster, "standardize", 2),
        (RNNForecaster, "loss", "ctc"),
    ],
)
def test_a_wrong_parameter_of_one_estimator_is_named(kind, name, value):
    with pytest.raises((TypeError, ValueError), match=name):
        kind(**SMALL, **{name: value}).fit(X, Y)


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_is_documented(kind):
    text = inspect.getdoc(kind)
    parameters = text[text.index("Parameters\n") : text.index("Attributes\n")]
    documented = {
        name.strip()
        for line in parameters.splitlines()
        if line and not line.startswith((" ", "-"))
        for name in line.partition(" :")[0].split(",")
    }
    assert set(kind().get_params()) == documented - {"Parameters"}


# -------------------------------------------------------------------------- sequences


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (X[0, :, 0], "Expected 2D array, got 1D array"),
        (X[None], r"shape \(1, 20, 6, 2\)"),
        (X[:, :0], r"at least one sequence, step and feature"),
        (ONE_NAN, "X contains NaN"),
        (list(ONE_NAN), r"X\[3\] contains NaN"),
        ([X[0], X[1, :, :1], *X[2:]], r"X\[1\]: expected shape \(T, 2\) like X\[0\]"),
        ([X[0], X[1, :0], *X[2:]], r"X\[1\]: expected at least one step"),
        ([X[0], X[1, :, 0], *X[2:]], r"X\[1\]: expected shape \(T, 2\)"),
        ([*X.astype(str).tolist()[:19], [["a", "b"]]], r"could not convert string"),
        (X + 1j, "Complex data not supported"),
        ([], "Expected 2D array|0 sample"),
    ],
)
@pytest.mark.parametrize("kind", KINDS)
def test_wrong_sequences_are_refused(kind, wrong, match):
    with pytest.raises(ValueError, match=match):
        kind(**SMALL).fit(wrong, Y)


@pytest.mark.parametrize("kind", KINDS)
def test_sequences_of_another_size_are_refused(kind):
    fitted = kind(**SMALL).fit(X, Y)
    with pytest.raises(ValueError, match=f"X has 1 features, but {kind.__name__} is expecting 2"):
        fitted.predict(X[:, :, :1])
    if kind is not RNNForecaster:  # whose rows have one feature
        with pytest.raises(ValueError, match=r"X: expected \(N, T, 2\) as in fit.* is X\[None\]"):
            fitted.predict(X[0])
    with pytest.raises(NotFittedError, match="not fitted yet"):
        clone(fitted).predict(X)


def test_rows_of_another_length_are_refused():
    fitted = RNNRegressor(**SMALL).fit(X[:, :, 0], Y)
    with pytest.raises(ValueError, match="X has 5 features, but RNNRegressor is expecting 6"):
        fitted.predict(X[:, :5, 0])
    with pytest.raises(ValueError, match=r"X: expected \(N, T\) as in fit"):
        RNNRegressor(**SMALL).fit(X[:, :2, 0], Y).predict(X)


def test_series_too_short_are_refused():
    with pytest.raises(ValueError, match="X: expected sequences of at least 2 steps, got one of 1"):
        RNNForecaster(**SMALL).fit([X[0], X[1, :1]])
    fitted = RNNForecaster(**SMALL, horizon=6).fit(X)
    with pytest.raises(ValueError, match="X: expected sequences of at least 7 steps, got one of 6"):
        fitted.score(X)


# ------------------------------------------------------------------ targets and weights


@pytest.mark.parametrize("kind", KINDS[:2])
@pytest.mark.parametrize(
    ("y", "match"),
    [
        (None, "requires y to be passed"),
        (Y[:19], "X has 20, y has 19"),
        (np.where(Y, np.inf, 0.0), "y contains infinity"),
        (Y.reshape(2, 10, 1), "y|1d"),
    ],
)
def test_wrong_targets_are_refused(kind, y, match):
    with pytest.raises(ValueError, match=match):
        kind(**SMALL).fit(X, y)


@pytest.mark.parametrize("kind", KINDS[:2])
@pytest.mark.parametrize(
    ("weights", "match"),
    [
        (np.ones(19), "X has 20, sample_weight has 19"),
        (np.ones((20, 1)), "must be 1D"),
        (-np.ones(20), "Negative values in data passed to `sample_weight`"),
        (np.zeros(20), "at least one non-zero"),
        (np.full(20, np.nan), "sample_weight contains NaN"),
    ],
)
def test_wrong_weights_are_refused(kind, weights, match):
    with pytest.raises(ValueError, match=match):
        kind(**SMALL).fit(X, Y, sample_weight=weights)


def test_wrong_classes_are_refused():
    with pytest.raises(ValueError, match="at least two classes, got 1 class"):
        RNNClassifier(**SMALL).fit(X, np.zeros(20))
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        RNNClassifier(**SMALL).partial_fit(X, Y)
    with pytest.raises(ValueError, match=r"labels among the classes \[1 2\], got \[0\]"):
        RNNClassifier(**SMALL).partial_fit(X, Y, classes=[1, 2])
    fitted = RNNClassifier(**SMALL).fit(X, Y)
    with pytest.raises(ValueError, match=r"classes of the last fit, \[0 1\], got \[0 1 2\]"):
        fitted.partial_fit(X, Y, classes=[0, 1, 2])
    fitted.set_params(warm_start=True)
    with pytest.raises(ValueError, match=r"classes of the last fit, \[0 1\], got \[1 2\]"):
        fitted.fit(X, Y + 1)
    with pytest.raises(ValueError, match=r"class_weight: expected a dict with partial_fit"):
        RNNClassifier(**SMALL, class_weight="balanced").partial_fit(X, Y, classes=[0, 1])


@pytest.mark.parametrize("kind", KINDS[:2])
def test_what_cannot_be_continued_is_refused(kind):
    fitted = kind(**SMALL, early_stopping=True).fit(X, Y)
    with pytest.raises(ValueError, match="early_stopping: expected False with partial_fit"):
        fitted.partial_fit(X, Y)
    fitted.set_params(early_stopping=False, hidden_size=6)
    with pytest.raises(ValueError, match="partial_fit: expected the network of the last fit"):
        fitted.partial_fit(X, Y)
    with pytest.raises(ValueError, match="warm_start=True: expected the network of the last fit"):
        fitted.set_params(warm_start=True).fit(X, Y)


# --------------------------------------------------------------- arrays of other libraries


@pytest.fixture(params=["torch", "array_api_strict", "jax.numpy"])
def xp(request):
    return pytest.importorskip(request.param, reason=f"not run: {request.param} is not installed")


@pytest.mark.parametrize(
    "given", [lambda x: x, lambda x: [x[i, : 1 + i % 6, :] for i in range(20)]]
)
@pytest.mark.parametrize("kind", KINDS)
def test_predictions_are_of_the_library_of_the_sequences(kind, given, xp):
    x, x32 = given(xp.asarray(X.astype("float32"))), given(X.astype("float32"))
    if kind is RNNForecaster and isinstance(x, list):
        x, x32 = ([one for one in some if one.shape[0] > 1] for some in (x, x32))
    fitted, same = kind(**SMALL).fit(x, Y), kind(**SMALL).fit(x32, Y)
    for method in ("predict", "predict_proba", "predict_log_proba"):
        if hasattr(fitted, method):
            made = getattr(fitted, method)(x)
            assert type(made) is type(xp.asarray(X.astype("float32")))
            wanted = getattr(same, method)(x32)
            np.testing.assert_allclose(to_host(made), wanted, rtol=1e-3, atol=1e-5)
    assert all(type(p) is type(made) for p in fitted.params_.values())
    assert type(fitted.score(x, Y)) is float


@pytest.mark.parametrize("kind", KINDS[:2])
def test_targets_and_weights_may_be_of_any_library(kind, xp):
    torch = pytest.importorskip("torch", reason="not run: torch is not installed")
    fitted = kind(**SMALL).fit(torch.asarray(X), xp.asarray(Y), sample_weight=xp.asarray(1.0 + Y))
    same = kind(**SMALL).fit(torch.asarray(X), Y, sample_weight=1.0 + Y)
    for name, param in fitted.params_.items():
        np.testing.assert_array_equal(param, same.params_[name])
    assert fitted.score(torch.asarray(X), xp.asarray(Y)) == same.score(torch.asarray(X), Y)
    on_host = kind(**SMALL).fit(X, xp.asarray(Y))
    assert type(on_host.predict(X)) is np.ndarray


def test_labels_are_of_32_bits_where_there_are_no_others():
    jnp = pytest.importorskip("jax.numpy", reason="not run: JAX is not installed")
    x = jnp.asarray(X, dtype="float32")
    fitted = RNNClassifier(**SMALL).fit(x, Y)
    assert fitted.classes_.dtype == "int32"
    assert type(RNNClassifier(**SMALL).fit(x, Y + 2**40).predict(x)) is np.ndarray


def test_labels_that_are_text_are_predicted_as_text():
    torch = pytest.importorskip("torch", reason="not run: torch is not installed")
    names = np.asarray(["no", "yes"])
    fitted = RNNClassifier(**SMALL).fit(torch.asarray(X), names[Y])
    numbers = RNNClassifier(**SMALL).fit(torch.asarray(X), Y)
    assert type(numbers.classes_) is torch.Tensor
    np.testing.assert_array_equal(
        fitted.predict(torch.asarray(X)), names[numbers.predict(torch.asarray(X))]
    )


def test_another_library_dtype_or_value_is_refused():
    torch = pytest.importorskip("torch", reason="not run: torch is not installed")
    x = torch.asarray(X)
    fitted = RNNClassifier(**SMALL).fit(X, Y)
    with pytest.raises(ValueError, match=r"RNNClassifier.predict\(\) must use the same namespace"):
        fitted.predict(x)
    with pytest.raises(ValueError, match=r"RNNClassifier.partial_fit\(\) must use the same"):
        fitted.partial_fit(x, Y)
    with pytest.raises(ValueError, match=r"X: expected a real floating dtype, got torch\.int64"):
        fitted.fit(x.to(torch.int64), Y)
    with pytest.raises(ValueError, match="X: expected finite values, got 1 NaN"):
        fitted.fit(torch.asarray(ONE_NAN), Y)
    with pytest.raises(ValueError, match=r"X\[3\]: expected finite values"):
        fitted.fit(list(torch.asarray(ONE_NAN)), Y)
    with pytest.raises(ValueError, match=r"X: expected shape \(N, T, F\) or \(N, T\), got \(6,\)"):
        fitted.fit(x[0, :, 0], Y)
    with pytest.raises(TypeError, match=r"X\[1\]: expected an array of torch like X\[0\]"):
        fitted.fit([x[0], X[1]], Y[:2])


def test_another_precision_becomes_that_of_the_parameters():
    fitted = RNNRegressor(**SMALL).fit(X.astype("float32"), Y)
    assert fitted.predict(X).dtype == "float32"
    fitted.partial_fit(X, Y + 0.5)
    assert {param.dtype for param in fitted.params_.values()} == {np.dtype("float32")}
    forecaster = RNNForecaster(**SMALL, warm_start=True).fit(X.astype("float32"))
    assert forecaster.fit(X).predict(X).dtype == "float32"


def test_integers_become_floating():
    fitted = RNNRegressor(**SMALL).fit(np.arange(120).reshape(20, 6), Y)
    assert prnn.parameters_to_vector(fitted.params_)[0].dtype == "float64"
