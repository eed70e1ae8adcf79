"""`portable_rnn.jax.layer`: the gradients of JAX by the backward pass of the library."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import portable_rnn as prnn

from .needed import need

jax = need("jax")
from jax.test_util import check_grads  # noqa: E402

from portable_rnn.jax import layer  # noqa: E402

pytestmark = pytest.mark.no_products
T, B, I, H = 11, 3, 4, 5  # noqa: E741
MODELS = {
    "elman": {},
    "gru": {"cell": "gru", "num_layers": 2, "output_size": 2},
    "lstm": {"cell": "lstm", "batch_first": True},
    "both directions": {"cell": "gru", "bidirectional": True},
    "pool": {"cell": "lstm", "pool": "mean", "output_size": 2},
    "tokens": {"cell": "gru", "vocabulary_size": 7},
    "peepholes": {"cell": prnn.cells.LSTM(peepholes=True)},
}
ONE_WAY = [name for name in MODELS if name not in ("both directions", "pool")]


@pytest.fixture(autouse=True, params=["float64", "float32"])
def dtype(request):
    with jax.enable_x64(request.param == "float64"), jax.default_matmul_precision("highest"):
        yield request.param


def problem(name, dtype, steps=T):
    model = prnn.RNN(I, H, **MODELS[name])
    rng = np.random.default_rng(0)
    params = model.init(seed=0, xp=jax.numpy, dtype=dtype)
    shape = (B, steps) if model.batch_first else (steps, B)
    if model.vocabulary_size is None:
        x = jax.numpy.asarray(rng.normal(size=(*shape, I)), dtype=dtype)
    else:
        x = jax.numpy.asarray(rng.integers(0, 7, shape), dtype="int32")
    state = [jax.numpy.asarray(rng.normal(size=s), dtype=dtype) for s in model.state_shapes(B)]
    return model, params, x, tuple(state) if len(state) > 1 else state[0]


def total(found):
    """Return a number that depends on all outputs and states, each in another way."""
    leaves = jax.tree.leaves(found)
    return sum((jax.numpy.sin(a + i) * a).sum() for i, a in enumerate(leaves))


def assert_close(got, want, eps):
    got, want = jax.tree.leaves(got), jax.tree.leaves(want)
    assert len(got) == len(want)
    for a, b in zip(got, want, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        if a.dtype != jax.dtypes.float0:
            scale = float(abs(b).max()) * float(jax.numpy.finfo(b.dtype).eps)
            assert float(abs(a - b).max()) <= eps * scale


def gradients(function, *given):
    """Return the value and the gradients of all floating arguments."""
    floating = [
        i
        for i, one in enumerate(given)
        if one is not None
        and jax.numpy.issubdtype(jax.tree.leaves(one)[0].dtype, jax.numpy.floating)
    ]
    return jax.value_and_grad(lambda *args: total(function(*args)), argnums=floating)(*given)


def plain(model):
    return lambda params, x, state=None, lengths=None: prnn.predict(
        model, params, x, state, lengths=lengths, return_state=True
    )


@pytest.mark.parametrize("name", MODELS)
def test_gradients_are_those_that_jax_finds(name, dtype):
    model, params, x, state = problem(name, dtype)
    ours = jax.jit(layer(model))
    for lengths in (None, jax.numpy.asarray([T, 1, 4])):
        want = gradients(jax.jit(plain(model)), params, x, state, lengths)
        assert_close(gradients(ours, params, x, state, lengths), want, 8)


@pytest.mark.parametrize("name", ONE_WAY)
def test_segments_have_the_same_gradients(name, dtype):
    """Of one step, of several with and without a rest, and of more than there are."""
    model, params, x, state = problem(name, dtype)
    lengths = jax.numpy.asarray([T, 1, 4])
    want = {None: gradients(jax.jit(plain(model)), params, x, state)}
    want[4] = want[T] = gradients(jax.jit(plain(model)), params, x, state, lengths)
    for every in (1, 4, T, 30) if name == "gru" else (4,):
        ours = jax.jit(layer(model, checkpoint_every=every))
        given = (lengths,) if every in want else ()
        found = gradients(ours, params, x, state, *given)
        assert_close(found, want.get(every, want[None]), 8)


@pytest.mark.parametrize("every", [None, 4])
@pytest.mark.parametrize("name", ["elman", "lstm", "tokens"])
def test_without_a_state_and_without_a_batch(name, dtype, every):
    model, params, x, _ = problem(name, dtype)
    ours = layer(model, checkpoint_every=every)
    want = gradients(jax.jit(plain(model)), params, x)
    assert_close(gradients(jax.jit(ours), params, x), want, 8)
    one = x[0] if model.batch_first else x[:, 0]
    want = gradients(jax.jit(plain(model)), params, one)
    assert_close(gradients(jax.jit(ours), params, one), want, 8)


@pytest.mark.parametrize("every", [None, 4])
def test_transformations(dtype, every):
    if dtype == "float32":
        pytest.skip("finite differences need float64")
    model, params, x, state = problem("gru", dtype, steps=6)
    ours = layer(model, checkpoint_every=every)

    def number(*given):  # which are arrays of NumPy there
        return total(ours(*jax.tree.map(jax.numpy.asarray, given)))

    check_grads(number, (params, x, state), order=2, modes=["rev"])
    some = jax.numpy.stack([x, 2 * x])
    mapped = jax.vmap(jax.grad(lambda x: total(ours(params, x))))(some)
    for got, one in zip(mapped, some, strict=True):
        assert_close(got, jax.grad(lambda x: total(ours(params, x)))(one), 8)
    with pytest.raises(TypeError, match="forward-mode"):
        jax.jvp(lambda x: total(ours(params, x)), (x,), (x,))


def bytes_of(function, *given):
    """Return the memory of a compiled gradient besides arguments and results."""
    compiled = jax.jit(jax.grad(lambda *args: total(function(*args)))).lower(*given).compile()
    return compiled.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_segments_take_a_part_of_the_memory(dtype, cell, record_property):
    model = prnn.RNN(8, 64, cell=cell)
    params = model.init(seed=0, xp=jax.numpy, dtype=dtype)
    x = jax.numpy.ones((400, 16, 8), dtype=dtype)
    by_jax, whole, parts = (
        bytes_of(f, params, x)
        for f in (plain(model), layer(model), layer(model, checkpoint_every=20))
    )
    record_property(f"{cell}, {dtype}: MB of jax, whole, in segments", [by_jax, whole, parts])
    assert whole <= 1.05 * by_jax
    assert parts < 0.4 * by_jax


def test_a_model_around_it_is_trained(dtype):
    """With an embedding before and a head after, in plain JAX."""
    rng = np.random.default_rng(0)
    tokens = jax.numpy.asarray(rng.integers(0, 9, (12, 4)))
    model = prnn.RNN(6, 16, cell="gru")
    gru = layer(model, checkpoint_every=4)
    params = {
        "embedding": jax.numpy.asarray(rng.normal(size=(9, 6)), dtype=dtype),
        "gru": model.init(seed=0, xp=jax.numpy, dtype=dtype),
        "head": jax.numpy.asarray(rng.normal(size=(16, 3)) / 4, dtype=dtype),
    }

    @jax.jit
    def loss(params):
        outputs, _ = gru(params["gru"], params["embedding"][tokens])
        scores = jax.nn.log_softmax(outputs @ params["head"])
        return -jax.numpy.take_along_axis(scores, (tokens % 3)[..., None], axis=-1).mean()

    step = jax.jit(lambda p: jax.tree.map(lambda a, g: a - 0.5 * g, p, jax.grad(loss)(p)))
    begun = loss(params)
    for _ in range(60):
        params = step(params)
    assert loss(params) < 0.2 * begun


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        (3, {}, "model: expected an RNN"),
        (prnn.RNN(2, 3, zoneout=0.1), {}, "model: expected zoneout=0.0"),
        (prnn.RNN(2, 3), {"checkpoint_every": 0}, "checkpoint_every: expected at least 1, got 0"),
        (
            prnn.RNN(2, 3, bidirectional=True),
            {"checkpoint_every": 4},
            "checkpoint_every: not with bidirectional=True",
        ),
        (prnn.RNN(2, 3, pool="last"), {"checkpoint_every": 4}, "not with pool='last'"),
    ],
)
def test_what_does_not_fit_is_named(model, options, words):
    with pytest.raises((TypeError, ValueError), match=re.escape(words)):
        layer(model, **options)


def test_without_jax_one_sentence_says_so():
    code = "import sys; sys.modules['jax'] = None\nimport portable_rnn.jax"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert ended.stderr.endswith(
        "ImportError: jax is needed for portable_rnn.jax: pip install jax\n"
    )


# ------------------------------------------------------------------------------- planted bugs

BUGS = {
    "the state before a segment": (
        "return after, (outputs, state)",
        "return after, (outputs, after)",
    ),
    "lengths of a segment": ("lengths - start, 0", "lengths, 0"),
    "lengths of the rest": ("lengths - end, 0", "lengths, 0"),
    "the order of segments": ("given, reverse=True)", "given, reverse=False)"),
    "cotangent of the state": ("tape, d_outputs, d_after)", "tape, d_outputs)"),
    "sum over segments": ("jax.tree.map(add, total, found.params)", "found.params"),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_bug_is_caught(dtype, bug):
    if dtype == "float32":
        pytest.skip("once is enough")
    import portable_rnn.jax as module

    right, wrong = BUGS[bug]
    source = Path(module.__file__).read_text(encoding="utf-8")
    assert source.count(right) == 1
    names = {"__name__": module.__name__, "__package__": module.__package__}
    exec(compile(source.replace(right, wrong), module.__file__, "exec"), names)
    model, params, x, state = problem("gru", dtype)
    lengths = jax.numpy.asarray([T, 1, 10])
    want = gradients(jax.jit(plain(model)), params, x, state, lengths)
    try:
        ours = jax.jit(names["layer"](model, checkpoint_every=4))
        got = gradients(ours, params, x, state, lengths)
        with pytest.raises(AssertionError):
            assert_close(got, want, 1e6)
    except (TypeError, ValueError):
        pass
