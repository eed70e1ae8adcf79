"""The public functions under the transformations of JAX and torch."""

import numpy as np
import pytest

import portable_rnn as prnn

pytestmark = pytest.mark.no_products

N, T, B, I, H, O = 3, 4, 2, 3, 4, 2  # noqa: E741
MODEL = prnn.RNN(I, H, O, cell="lstm")
RNG = np.random.default_rng(0)
X, LABELS = RNG.normal(size=(N, T, B, I)), RNG.integers(0, O, (N, T, B))
LENGTHS = np.asarray([[4, 2], [1, 4], [3, 0]])
THERE = np.arange(T)[:, None] < LENGTHS[:, None, :]


def one(model, params, x, labels, **options):
    result = prnn.bptt(model, params, x, labels, **options)
    return result.grads | {"loss": result.loss, "x": result.grad_x}


def product(model, params, x, labels, **options):
    return prnn.hvp(model, params, x, labels, params, **options)


@pytest.mark.parametrize("function", [one, product])
@pytest.mark.parametrize(
    "given", [{}, {"lengths": LENGTHS}, {"mask": THERE}], ids=["all steps", "lengths", "mask"]
)
@pytest.mark.parametrize("library", ["torch", "jax"])
def test_vmap_is_a_loop(library, given, function):
    module = pytest.importorskip(library)
    xp, vmap = (module, module.func.vmap) if library == "torch" else (module.numpy, module.vmap)
    names = tuple(given)
    params, host = MODEL.init(seed=0, xp=xp), MODEL.init(seed=0)

    def call(x, labels, *rest):
        return function(MODEL, params, x, labels, **dict(zip(names, rest, strict=True)))

    x = X.astype(np.float32)
    found = vmap(call)(*map(xp.asarray, (x, LABELS, *given.values())))
    for n in range(N):
        options = {name: value[n] for name, value in given.items()}
        want = function(MODEL, host, x[n], LABELS[n], **options)
        for name, array in want.items():
            np.testing.assert_allclose(np.asarray(found[name][n]), array, rtol=1e-3, atol=1e-5)


def test_checks_that_read_values_are_refused_under_vmap():
    torch = pytest.importorskip("torch")
    params = MODEL.init(seed=0, xp=torch)
    x, labels = torch.asarray(X.astype(np.float32)), torch.asarray(LABELS)
    for option, message in (
        ("check_targets", "^check_targets: values cannot be read under"),
        ("check_finite", "^x: values of traced arrays cannot be checked"),
    ):
        with pytest.raises(ValueError, match=message):
            torch.func.vmap(lambda x, y, o=option: one(MODEL, params, x, y, **{o: True}))(x, labels)


def test_probabilities_are_not_read_where_they_are_traced():
    """A target of 2 is not refused there either, since it cannot be read."""
    jax, torch = pytest.importorskip("jax"), pytest.importorskip("torch")
    loss = prnn.losses.binary_cross_entropy
    host = np.full((3, 2), 2.0, dtype=np.float32)
    for xp, transform in ((jax.numpy, jax.jit), (torch, torch.func.vmap)):
        o, y = xp.asarray(np.ones((3, 2), dtype=np.float32)), xp.asarray(host)
        value, _ = transform(lambda o, y: loss(o, y))(o, y)
        assert np.isfinite(np.asarray(value)).all()
        with pytest.raises(ValueError, match=r"^check_targets: values cannot be read under"):
            transform(lambda o, y: loss(o, y, check_targets=True))(o, y)
        with pytest.raises(ValueError, match=r"^targets: expected probabilities from 0 to 1, got"):
            loss(o, y)


def test_a_tape_leaves_a_compiled_function_with_its_model():
    jax = pytest.importorskip("jax")
    params = MODEL.init(seed=0, xp=jax.numpy)
    x = jax.numpy.asarray(X[0].astype(np.float32))
    fwd = jax.jit(lambda x: prnn.forward(MODEL, params, x))(x)
    assert fwd.tape.model == MODEL
    back = jax.jit(lambda tape, d: prnn.backward(MODEL, params, tape, d).params)
    got = back(fwd.tape, fwd.outputs)
    eager = prnn.forward(MODEL, params, x)
    want = prnn.backward(MODEL, params, eager.tape, eager.outputs).params
    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, rtol=1e-4, atol=1e-6)
    other = prnn.RNN(I, H, O, cell="lstm", batch_first=True)
    with pytest.raises(ValueError, match=r"^tape: expected one of the same model"):
        jax.jit(lambda tape, d: prnn.backward(other, params, tape, d).params)(fwd.tape, fwd.outputs)


def test_a_subclass_of_a_model_that_jax_knows_already_is_left_alone():
    jax = pytest.importorskip("jax")

    @jax.tree_util.register_static
    class Mine(prnn.RNN):
        __hash__ = prnn.RNN.__hash__

    mine = Mine(I, H, O)
    params = mine.init(seed=0, xp=jax.numpy)
    fwd = jax.jit(lambda x: prnn.forward(mine, params, x))(X[0].astype(np.float32))
    assert type(fwd.tape.model) is Mine


@pytest.mark.parametrize("name", ["bias_hh_l0", "readout.bias", "weight_ih_l0"])
@pytest.mark.parametrize("library", ["torch", "jax"])
def test_one_parameter_may_be_batched(library, name):
    """Operations in place would not fit the parameters that are not batched."""
    module = pytest.importorskip(library)
    xp, vmap = (module, module.func.vmap) if library == "torch" else (module.numpy, module.vmap)
    params = MODEL.init(seed=0, xp=xp)
    x, labels = xp.asarray(X[0].astype(np.float32)), xp.asarray(LABELS[0])
    several = xp.stack([params[name], 2 * params[name]])
    found = vmap(lambda one_: one(MODEL, params | {name: one_}, x, labels)["loss"])(several)
    for n in range(2):
        want = one(MODEL, params | {name: several[n]}, x, labels)["loss"]
        np.testing.assert_allclose(float(found[n]), float(want), rtol=1e-5)
