"""Custom losses: what they return, and whether complex steps may go through them."""

from functools import partial

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import losses
from portable_rnn.derivatives.analytic import OURS, watched
from portable_rnn.derivatives.complex_step import STEPS

pytestmark = pytest.mark.no_products

T, B, I, H, O = 5, 2, 3, 4, 6  # noqa: E741
MODEL = prnn.RNN(I, H, O)
PARAMS = MODEL.init(seed=0, dtype="float64")
RNG = np.random.default_rng(0)
X, TARGETS = RNG.normal(size=(T, B, I)), RNG.normal(size=(T, B, O))
CALLS = {
    "bptt": lambda loss: prnn.bptt(MODEL, PARAMS, X, TARGETS, loss=loss),
    "truncated": lambda loss: prnn.truncated_bptt(MODEL, PARAMS, X, TARGETS, k1=2, k2=3, loss=loss),
    "flow": lambda loss: prnn.gradient_flow(MODEL, PARAMS, X, TARGETS, loss=loss),
    "norms": lambda loss: prnn.per_example_norms(MODEL, PARAMS, X, TARGETS, loss=loss),
    "hvp": lambda loss: prnn.hvp(MODEL, PARAMS, X, TARGETS, PARAMS, loss=loss),
    "newton": lambda loss: prnn.gauss_newton_product(MODEL, PARAMS, X, TARGETS, PARAMS, loss=loss),
}
VALUE = "value returned by the loss: expected"


@pytest.mark.parametrize("name", CALLS)
@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        (lambda o: None, TypeError, rf"{VALUE} an array \(\) or a float, got None$"),
        (lambda o: "0.5", TypeError, rf"{VALUE} an array \(\) or a float, got '0\.5'$"),
        (lambda o: True, TypeError, rf"{VALUE} an array \(\) or a float, got True$"),
        (lambda o: [0.5], TypeError, rf"{VALUE} an array \(\) or a float, got \[0\.5\]$"),
        (lambda o: o[..., 0], ValueError, rf"{VALUE} shape \(\), got \(5, 2\)$"),
        (lambda o: np.ones(1), ValueError, rf"{VALUE} shape \(\), got \(1,\)$"),
        (lambda o: np.asarray(1), TypeError, rf"{VALUE} a real floating dtype, got int64$"),
        (lambda o: np.asarray(True), TypeError, rf"{VALUE} a real floating dtype, got bool$"),
    ],
)
def test_the_value_of_a_loss_is_one_real_number(name, value, error, message):
    with pytest.raises(error, match=f"^{message}"):
        CALLS[name](lambda o, y: (value(o), o - y))


def test_a_complex_value_is_refused_where_outputs_are_real():
    for value in (1j, np.asarray(1j), np.complex64(1j)):
        with pytest.raises(TypeError, match=f"^{VALUE} a real floating dtype, got complex"):
            prnn.bptt(MODEL, PARAMS, X, TARGETS, loss=lambda o, y, value=value: (value, o))


def test_a_value_of_another_library_is_refused():
    torch = pytest.importorskip("torch")
    with pytest.raises(TypeError, match=r"^value returned by the loss: .*of numpy.* like x, got "):
        prnn.bptt(MODEL, PARAMS, X, TARGETS, loss=lambda o, y: (torch.ones(()), o))
    params = MODEL.init(seed=0, xp=torch)
    x = torch.ones(T, I)
    for value in (0.5, np.float32(0.5), np.float64(0.5), 1):
        assert prnn.bptt(MODEL, params, x, None, loss=lambda o, y, v=value: (v, o)).loss == value


@pytest.mark.parametrize("returned", [None, "ab", [0.0, 1.0], (0.0,), (0.0, 1.0, 2.0), 0.5])
@pytest.mark.parametrize("name", CALLS)
def test_a_result_that_is_no_pair_is_refused(name, returned):
    with pytest.raises(TypeError, match=r"^loss: expected it to return \(value, d_outputs\), got "):
        CALLS[name](lambda o, y: returned)


# --------------------------------------------------------------------- complex steps


def huber_of_magnitudes(outputs, targets):
    d = outputs - targets
    return 0.0, np.where(abs(d) < 1, d, d / np.maximum(abs(d), 1.0)) / d.size


def huber(outputs, targets):
    d = outputs - targets
    sign = np.sign(np.real(d)).astype(d.dtype)
    return 0.0, np.where(np.abs(np.real(d)) < 1, d, sign) / d.size


def conjugated(outputs, targets):
    d = np.conj(outputs - targets)
    return 0.0, d / d.size


def logits_of_magnitudes(outputs, targets):
    positive, small = np.real(outputs) > 0, np.exp(-np.abs(outputs))
    return 0.0, (positive + (1.0 - positive) * small) / (1.0 + small) - targets


def signed_squares(outputs, targets):
    d = outputs - targets
    return 0.0, d * d * np.sign(np.real(d)) / d.size


def absolute(outputs, targets):
    d = np.real(outputs - targets)
    return 0.0, np.sign(d).astype(outputs.dtype) / d.size


def between_rows(outputs, targets):  # kinks in one entry that change the gradient of another
    d = outputs - targets
    return 0.0, d * np.sum(np.where(np.real(d) > 0, d, 0.0 * d)) / d.size


def positive_only(outputs, targets):
    if np.any(np.real(outputs) < 0):
        raise ArithmeticError("outputs below zero")
    return 0.0, 1.0 - targets / outputs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", [huber_of_magnitudes, conjugated, logits_of_magnitudes])
@pytest.mark.parametrize("product", [prnn.hvp, prnn.gauss_newton_product])
def test_a_loss_that_is_not_analytic_is_refused(product, loss, dtype):
    params = MODEL.init(seed=0, dtype=dtype)
    x, targets = X.astype(dtype), (4.0 * TARGETS).astype(dtype)
    with pytest.raises(ValueError, match=rf"^loss: .*analytic.* one of {loss.__name__} .*xp\.real"):
        product(MODEL, params, x, targets, params, loss=loss)
    with pytest.raises(ValueError, match=rf"^loss: .*one of {loss.__name__} "):
        product(MODEL, params, x, targets, params, loss=partial(loss))


def test_hvp_of_a_piecewise_analytic_loss_is_the_slope_of_its_gradient():
    for loss in (huber, signed_squares):
        found = prnn.hvp(MODEL, PARAMS, X, 2.0 * TARGETS, PARAMS, loss=loss)

        def gradient(step, loss=loss):
            moved = {name: p + step * p for name, p in PARAMS.items()}
            return prnn.bptt(MODEL, moved, X, 2.0 * TARGETS, loss=loss).grads

        up, down = gradient(1e-6), gradient(-1e-6)
        for name, array in found.items():
            slope = (up[name] - down[name]) / 2e-6
            np.testing.assert_allclose(array, slope, rtol=1e-6, atol=1e-8)


def step_through(loss, y, u, targets, **options):
    """Call a loss as `hvp` does, for outputs ``y`` that move along ``u``."""
    dtype = np.complex128 if y.dtype == np.float64 else np.complex64

    def lift(array):
        real = isinstance(array, np.ndarray) and array.dtype == y.dtype
        return array.astype(dtype) if real else array

    z = lift(y) + lift(u) * (STEPS[np.dtype(dtype).name] * 1j)
    with np.errstate(all="ignore"):
        given = {name: lift(value) for name, value in options.items()}
        return watched(loss)(z, lift(targets), **given)


def hidden(loss):
    """Wrap a loss of the library so that it is not recognised as one."""
    return lambda *args, **options: loss(*args, **options)


SCALES = (0.0, 1e-20, 1e-5, 1.0, 100.0, 1e4, 1e12, 1e30)
LENGTHS = (1e-20, 1e-3, 1.0, 1e6)


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_library_losses_pass_the_check_at_any_scale(dtype, scale):
    rng = np.random.default_rng([3, SCALES.index(scale)])
    for trial in range(6):
        shape = (*rng.integers(1, 4, size=2), 2 * int(rng.integers(1, 3)))
        for length in LENGTHS:
            y = rng.normal(size=shape) * scale * 10.0 ** rng.integers(-8, 1, (shape, 1)[trial % 2])
            u = (
                rng.normal(size=shape)
                * length
                * 10.0 ** rng.integers(-12, 1, (shape, 1)[trial % 3 > 0])
            )
            weights = rng.random(shape[:2]) * 10.0 ** rng.integers(-9, 1, shape[:2])
            near = y + 1e-3 * scale * rng.normal(size=shape)
            y, u, weights, near, rows = (
                a.astype(dtype) for a in (y, u, weights, near, rng.random(shape))
            )
            options = {"reduction": ("mean", "sum")[trial % 2]}
            if trial % 3:
                options |= {"weights": weights}
            labels = rng.integers(0, shape[-1], shape[:2])
            others = (
                (losses.huber, near, {}),
                (losses.pinball, near, {"quantile": 0.9}),
                (losses.gaussian_nll, near[..., : shape[-1] // 2], {}),
                (losses.poisson_nll, rows, {}),
                (losses.kl_divergence, rows, {}),
                (losses.binary_focal_cross_entropy, rows, {}),
                # Of rows as short as a complex step in float32, directions have no derivative.
                (losses.cosine_distance if scale >= 1.0 else losses.huber, near, {}),
            )
            for loss, targets, more in (
                (losses.softmax_cross_entropy, labels, {}),
                (losses.softmax_cross_entropy, labels, {"label_smoothing": 0.1}),
                (losses.softmax_cross_entropy, labels, {"class_weights": rows[0, 0]}),
                (losses.softmax_cross_entropy, rows, {}),
                (losses.mean_squared_error, near, {}),
                (losses.mean_squared_error, y, {}),
                (losses.binary_cross_entropy, rows, {}),
                (losses.binary_cross_entropy, (rows > 0.5).astype(dtype), {}),
                *(others if trial in (1, 4) else ()),
            ):
                step_through(hidden(loss), y, u, targets, **options, **more)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", [huber, signed_squares, absolute, between_rows, positive_only])
def test_piecewise_analytic_losses_pass_the_check_at_their_kinks(loss, dtype):
    rng = np.random.default_rng(4)
    for length in LENGTHS:
        for _ in range(20):
            y, u = rng.normal(size=(2, 4, 3, 2))
            targets = np.where(rng.random(y.shape) < 0.3, y - rng.integers(-1, 2, y.shape), 0.5)
            y = np.abs(y) if loss is positive_only else y
            arrays = (a.astype(dtype) for a in (y, length * u, targets))
            step_through(loss, *arrays)


def test_every_loss_of_the_library_is_recognised_as_one():
    for loss in OURS:
        assert watched(loss) is loss
        filled = partial(loss, reduction="sum")
        assert watched(filled) is filled


def reads_of(kind, monkeypatch):
    """Record every time that the value of an array of this kind is read, and the result."""
    seen = []

    def noted(name, read):
        def call(self, *args, **options):
            seen.append(f"{name}: read")
            try:
                return read(self, *args, **options)
            except Exception:
                seen[-1] = f"{name}: refused"
                raise

        return call

    names = ("bool", "int", "float", "complex", "index", "array")
    for name in (*(f"__{n}__" for n in names), "item", "tolist", "numpy"):
        if hasattr(kind, name):
            monkeypatch.setattr(kind, name, noted(name, getattr(kind, name)))
    return seen


def squares(o, y):
    return ((o - y) ** 2).sum(), 2.0 * (o - y)


def product(xp):
    """Return a Hessian product as a function of x and targets, these two, and its value."""
    host = MODEL.init(seed=0)
    args = (X.astype(np.float32), TARGETS.astype(np.float32), host)
    want = prnn.hvp(MODEL, host, *args, loss=losses.mean_squared_error, reduction="sum")
    params = MODEL.init(seed=0, xp=xp)

    def of(x, y):
        return prnn.hvp(MODEL, params, x, y, params, loss=squares)["readout.bias"]

    return of, [xp.asarray(array) for array in args[:2]], want["readout.bias"]


def test_no_value_is_read_under_jit(monkeypatch):
    jax = pytest.importorskip("jax")
    of, args, want = product(jax.numpy)
    seen = reads_of(jax.core.Tracer, monkeypatch)
    got = jax.jit(of)(*args)
    assert seen == []
    np.testing.assert_allclose(np.asarray(got), want, rtol=1e-4, atol=1e-4)
    with pytest.raises(jax.errors.TracerBoolConversionError):  # such a read would be recorded
        jax.jit(lambda x, y: of(x, y) if (x[0, 0, 0] > 0) else None)(*args)
    assert seen == ["__bool__: refused"]


@pytest.mark.filterwarnings("default")
def test_no_value_is_read_under_vmap(monkeypatch):
    """Torch does not reveal vmap, so one flag is read, which is refused."""
    torch = pytest.importorskip("torch")
    of, args, want = product(torch)
    batched = [array[None] for array in args]
    seen = reads_of(torch.Tensor, monkeypatch)
    got = torch.func.vmap(of)(*batched)
    assert seen == ["__bool__: refused"]
    monkeypatch.undo()
    np.testing.assert_allclose(np.asarray(got[0]), want, rtol=1e-4, atol=1e-4)


def test_rows_of_a_single_class_are_refused():
    """As from `bptt` without a loss, on real targets: loss and gradients would be 0."""
    model = prnn.RNN(1, 4, 1)
    x, targets = np.ones((5, 2, 1), np.float32), np.full((5, 2, 1), 0.5, np.float32)
    with pytest.raises(ValueError, match=r"^targets: .*two classes.*loss=mean_squared_error"):
        prnn.bptt(model, model.init(seed=0), x, targets)
    labels = np.zeros((5, 2), np.int64)  # as of a vocabulary with one character
    assert float(prnn.bptt(model, model.init(seed=0), x, labels).loss) == 0.0
