"""A source that does not fit the model is refused by name, also if it is custom."""

import copy
import inspect
import pickle

import numpy as np
import pytest
from conformance.tolerances import assert_close

import portable_rnn as prnn
from portable_rnn.batches import Batch, Shuffled, Windows

pytestmark = pytest.mark.no_products

T, B, I, H, O = 6, 4, 3, 5, 2  # noqa: E741
RNG = np.random.default_rng(0)
X = RNG.normal(size=(T, B, I))
LABELS = RNG.integers(0, O, size=(T, B))
LONG, LONG_LABELS = RNG.normal(size=(60, I)), RNG.integers(0, O, size=60)


def model(**options):
    return prnn.RNN(I, H, O, **options)


def train(source, *, of=None, **options):
    of = of or model()
    given = {"steps": 2, "lr": 0.1} | options
    return prnn.training.train(of, of.init(seed=0, dtype="float64"), source, **given)


def evaluate(source, *, of=None):
    of = of or model()
    return prnn.training.evaluate(of, of.init(seed=0, dtype="float64"), source)


class Own:
    """A custom source, as in the documentation."""

    steps_per_epoch = 2

    def __init__(self, **changes):
        self.changes = changes

    def batch(self, step):
        return Batch(X, LABELS)._replace(**self.changes)

    def describe(self):
        return {"kind": "own"}


# Layouts


def sources():
    return {
        "shuffled": lambda axis: Shuffled(
            np.moveaxis(X, 1, axis), np.moveaxis(LABELS, 1, axis), batch_size=2, batch_axis=axis
        ),
        "windows": lambda axis: Windows(LONG, LONG_LABELS, batch_size=2, window=5, batch_axis=axis),
    }


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", sources())
def test_a_source_of_the_other_layout_is_refused(name, axis):
    """With time read as batch, training would run without an error where sizes are equal."""
    source, wrong = sources()[name](axis), model(batch_first=axis == 1)
    message = rf"expected batch_axis={1 - axis}, for a model with batch_first=.*={axis}$"
    for call, start in (
        (lambda: train(source, of=wrong), "batches: "),
        (lambda: evaluate(source, of=wrong), "batches: "),
        (lambda: train(Own(), validation=source, of=wrong), "validation: "),
    ):
        with pytest.raises(ValueError, match=f"^{start}{message}"):
            call()


def test_windows_of_either_layout_train_to_the_same_parameters():
    ends = []
    for axis in (0, 1):
        source = sources()["windows"](axis)
        assert source.batch_axis == axis
        assert source.batch(0).x.shape == ((2, 5, I) if axis == 0 else (5, 2, I))
        run = train(source, of=model(batch_first=axis == 0), steps=8)
        assert run.state.shape == (1, 2, H)
        ends.append(run.params)
    for name, param in ends[0].items():
        # Eight steps of the same products, with arrays in another memory order.
        assert_close(param, ends[1][name], f"{name} of either layout", scale=1.0, k=1e5)


@pytest.mark.parametrize("axis", [0, 1])
def test_encode_gets_windows_in_the_layout_of_the_source(axis):
    seen = []

    def encode(window):
        seen.append(window.shape)
        return prnn.losses.one_hot(np, window, O, np.float64)

    source = Windows(
        LONG_LABELS, LONG_LABELS, batch_size=2, window=5, encode=encode, batch_axis=axis
    )
    batch = source.batch(1)
    assert seen == [(2, 5) if axis == 0 else (5, 2)]
    np.testing.assert_array_equal(batch.x.argmax(axis=-1), batch.targets)


def test_a_source_that_does_not_say_its_layout_is_taken():
    assert train(Own()).step == 2


# Members that a source needs


class NoEpoch:
    def batch(self, step):
        return Batch(X, LABELS)

    def describe(self):
        return {}


class NoDescription:
    steps_per_epoch = 1

    def batch(self, step):
        return Batch(X, LABELS)


class NoStep(NoDescription):
    def batch(self):
        return Batch(X, LABELS)

    def describe(self):
        return {}


class Endless(Own):
    steps_per_epoch = float("inf")


class Sideways(Own):
    batch_axis = "time"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (X, "expected a source such as .*got an array .* without .*batch$"),
        (Shuffled, r"expected an object .*got the class Shuffled$"),
        (NoStep(), r"batch: expected a callable \(step\), got one that takes \(\)"),
        (Sideways(), "batch_axis: expected an int, got 'time'"),
    ],
)
def test_a_value_that_is_no_source_is_refused_before_any_work(source, message):
    start = r"\." if ":" in message else ": .*"
    with pytest.raises(TypeError, match=rf"^batches{start}{message}"):
        train(source)
    with pytest.raises(TypeError, match=rf"^validation{start}{message}"):
        train(Own(), validation=source)


class OnlyBatches:
    def batch(self, step):
        return Batch(X, LABELS)


def test_a_source_needs_only_the_members_that_are_used(tmp_path):
    for source in (OnlyBatches(), NoEpoch(), NoDescription(), Endless()):
        assert train(source).step == 2
    for source in (NoEpoch(), Endless()):
        assert train(source, checkpoint=tmp_path / type(source).__name__).step == 2
    assert evaluate(NoDescription()) > 0
    assert train(OnlyBatches(), validation=NoDescription()).evaluation > 0


def test_a_source_without_a_member_that_is_used_is_refused(tmp_path):
    message = "expected a source such as .*got .* without"
    for source in (OnlyBatches(), NoEpoch()):
        with pytest.raises(TypeError, match=f"^batches: {message} steps_per_epoch$"):
            evaluate(source)
        with pytest.raises(TypeError, match=f"^validation: {message} steps_per_epoch$"):
            train(Own(), validation=source)
    message = "steps_per_epoch: expected an int, got inf"
    with pytest.raises(TypeError, match=rf"^validation\.{message}"):
        train(Own(), validation=Endless())
    path = tmp_path / "checkpoint"
    message = "expected a source such as .*got .* without describe$"
    with pytest.raises(TypeError, match=f"^batches: {message}"):
        train(NoDescription(), checkpoint=path)
    with pytest.raises(TypeError, match=f"^validation: {message}"):
        train(Own(), validation=NoDescription(), checkpoint=path)
    assert not path.exists()


def test_the_signature_of_a_loss_is_read_once_in_a_run(monkeypatch):
    """Reading a signature takes as long as a small step."""
    seen = []
    read = inspect.signature

    def counted(function, *args, **options):
        seen.append(function)
        return read(function, *args, **options)

    def squares(outputs, targets):
        return (outputs**2).mean(), outputs

    monkeypatch.setattr(inspect, "signature", counted)
    counts = []
    for steps in (1, 6):
        seen.clear()
        train(Own(), steps=steps, loss=lambda o, y: squares(o, y))
        counts.append(len(seen))
    assert counts[0] == counts[1] > 0


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"x": X.tolist()}, TypeError, "x: expected an array"),
        ({"x": X[..., :2]}, ValueError, r"x: expected shape \(T, B, 3\).* got \(6, 4, 2\)"),
        ({"x": X.astype("float32")}, TypeError, "x: expected dtype float64 like params"),
        ({"weights": [1.0]}, TypeError, "weights: expected an array"),
        (
            {"weights": np.ones((B, T))},
            ValueError,
            r"weights: expected shape \(6, 4\), .*got \(4, 6",
        ),
        ({"lengths": [1] * (B + 1)}, ValueError, "lengths: expected 4 ints"),
        ({"lengths": [T + 1] * B}, ValueError, "lengths: expected 4 ints of 0 to 6 .*got 7"),
        ({"fresh": None}, TypeError, "fresh: expected True or False, got None"),
        ({"fresh": 1}, TypeError, "fresh: expected True or False, got 1"),
    ],
)
def test_a_batch_that_does_not_fit_is_named(changes, error, message):
    source = Own(**changes)
    for call, name in (
        (lambda: train(source), "batches"),
        (lambda: evaluate(source), "batches"),
        (lambda: train(Own(), validation=source), "validation"),
    ):
        with pytest.raises(error, match=rf"^{name}\.batch\(0\)\.{message}"):
            call()


def counted(outputs, targets, *, weights):
    """A custom loss, which takes weights of any dtype."""
    return prnn.losses.softmax_cross_entropy(outputs, targets, weights=weights.astype("float64"))


def test_the_dtype_of_weights_is_left_to_the_loss():
    counts = RNG.integers(1, 4, size=(T, B))
    whole, given = Own(weights=counts), Own(weights=counts.astype("float64"))
    run, want = (train(one, loss=counted, validation=one) for one in (whole, given))
    assert (run.loss, run.evaluation) == (want.loss, want.evaluation)
    with pytest.raises(TypeError, match=r"^weights: expected dtype float64 like outputs"):
        train(whole)


def test_weights_that_are_put_together_with_lengths_are_of_the_dtype_of_x():
    source = Own(weights=np.ones((T, B), dtype="int64"), lengths=[T] * B)
    message = r"weights: expected dtype float64 like x, got int64"
    for call in (train, evaluate):
        with pytest.raises(TypeError, match=rf"^batches\.batch\(0\)\.{message}"):
            call(source)


@pytest.mark.parametrize("returned", [None, (X, LABELS), {"x": X}])
def test_a_result_that_is_no_batch_is_named(returned):
    class Wrong(Own):
        def batch(self, step):
            return returned

    with pytest.raises(TypeError, match=r"^batches\.batch\(0\): expected a Batch, got "):
        train(Wrong())


def test_a_batch_that_continues_from_another_size_is_named():
    class Shrinking(Own):
        def batch(self, step):
            return Batch(X[:, : B - step], LABELS[:, : B - step], fresh=step == 0)

    message = r"^batches\.batch\(1\)\.state: expected shape \(1, 3, 5\), got \(1, 4, 5\)"
    with pytest.raises(ValueError, match=message):
        train(Shrinking())


# Arguments


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Shuffled(X, LABELS, batch_size=True), TypeError, "batch_size: expected an int"),
        (lambda: Shuffled(X, LABELS, batch_size=2.0), TypeError, "batch_size: expected an int"),
        (lambda: Shuffled(X, LABELS, batch_size=2, seed="1"), TypeError, "seed: expected an int"),
        (lambda: Shuffled(X, LABELS, batch_size=2, seed=-1), ValueError, "seed: .* got -1"),
        (
            *(lambda: Shuffled(X, LABELS, batch_size=2, batch_axis=True), TypeError),
            "batch_axis: expected an int, got True",
        ),
        (lambda: Shuffled(X, LABELS, batch_size=2, batch_axis=1.0), TypeError, "batch_axis: "),
        (lambda: Shuffled(X, LABELS, batch_size=2, batch_axis=-1), ValueError, "batch_axis: "),
        (lambda: Shuffled(X, LABELS.tolist(), batch_size=2), TypeError, "targets: expected an arr"),
        (lambda: Shuffled(X[:0], LABELS, batch_size=2), ValueError, "x: .*at least one sequence"),
        (lambda: Shuffled(X[0, 0], LABELS, batch_size=2), ValueError, r"x: .*\(T, N, \.\.\.\)"),
        (
            *(lambda: Shuffled(X.astype(object), LABELS, batch_size=2), TypeError),
            "x: expected a dtype of numbers, got object",
        ),
        (
            *(lambda: Shuffled(X, LABELS, weights=np.ones(T), batch_size=2), ValueError),
            r"weights: expected shape \(6, 4\), got \(6,\)",
        ),
        (
            *(lambda: Shuffled(X, LABELS, weights=np.ones((T, B)).tolist(), batch_size=2),),
            *(TypeError, "weights: expected an array"),
        ),
        (lambda: Windows(np.asarray(1.0), LABELS, batch_size=1, window=1), ValueError, "x: "),
        (lambda: Windows(LONG, LONG[0, 0], batch_size=1, window=1), ValueError, "targets: "),
        (lambda: Windows(LONG, LONG, batch_size=1, window="5"), TypeError, "window: expected an"),
        (
            *(lambda: Windows(LONG, LONG, batch_size=1, window=5, encode="one-hot"), TypeError),
            r"encode: expected a callable \(window\) -> inputs, got 'one-hot'",
        ),
        (
            *(lambda: Windows(LONG, LONG, batch_size=1, window=5, encode=lambda: 1), TypeError),
            r"encode: expected a callable \(window\) -> inputs, got one that takes \(\)",
        ),
        (
            *(lambda: Windows(LONG, LONG, batch_size=1, window=5, batch_axis=2), ValueError),
            "batch_axis: expected at most 1, got 2",
        ),
        (lambda: sources()["shuffled"](1).batch(-1), ValueError, "step: expected at least 0"),
        (lambda: sources()["windows"](1).batch(0.5), TypeError, "step: expected an int"),
    ],
)
def test_arguments_that_do_not_fit_are_named(make, error, message):
    with pytest.raises(error, match=f"^{message}"):
        make()


@pytest.mark.parametrize(
    ("encode", "error"), [(lambda x: None, TypeError), (lambda x: x[:2], ValueError)]
)
def test_what_encode_returns_is_checked(encode, error):
    source = Windows(LONG, LONG_LABELS, batch_size=2, window=5, encode=encode)
    with pytest.raises(error, match=r"^what encode returns: expected "):
        source.batch(0)


# Copies


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("name", sources())
def test_a_copy_of_a_source_gives_the_same_batches(name, axis, copied):
    source = sources()[name](axis)
    other = copied(source)
    assert other.describe() == source.describe()
    assert (other.batch_axis, other.steps_per_epoch) == (axis, source.steps_per_epoch)
    for step in (0, 1, 7):
        one, two = source.batch(step), other.batch(step)
        np.testing.assert_array_equal(one.x, two.x)
        np.testing.assert_array_equal(one.targets, two.targets)
        assert one.fresh == two.fresh


@pytest.mark.parametrize("targets", ["a text", len, {"labels": object()}])
def test_targets_that_jax_cannot_compile_are_named(targets):
    jnp = pytest.importorskip("jax.numpy")
    x = jnp.asarray(X, dtype=jnp.float32)
    source = Own(x=x, targets=targets)
    of = model()
    with pytest.raises(TypeError, match=r"^batches\.batch\(0\)\.targets: expected arrays, got "):
        prnn.training.train(of, of.init(seed=0, xp=jnp), source, steps=2, lr=0.1)
