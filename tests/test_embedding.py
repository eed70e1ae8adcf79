"""Networks of tokens: every function gives what it gives for the vectors of the tokens."""

import numpy as np
import pytest
from conformance.tolerances import assert_close

import portable_rnn as prnn
from portable_rnn.batches import Shuffled, Windows
from portable_rnn.training import evaluate, train

V, T, B, I, H, C = 6, 7, 3, 4, 5, 2  # noqa: E741 (the letters of the documents)
MODEL = prnn.RNN(I, H, C, cell="gru", vocabulary_size=V)
PLAIN = prnn.RNN(I, H, C, cell="gru")
PARAMS = MODEL.init(seed=0, dtype="float64")
RNG = np.random.default_rng(0)
TOKENS = RNG.integers(0, V, (T, B))
LABELS = RNG.integers(0, C, (T, B))
VECTORS = PARAMS["embedding.weight"][TOKENS]
REST = {name: array for name, array in PARAMS.items() if name != "embedding.weight"}
LENGTHS = [7, 2, 5]


def summed(d_vectors, tokens=TOKENS):
    """Return the cotangent of the embedding, a row at a time."""
    found = np.zeros((V, I))
    for token, row in zip(tokens.ravel(), d_vectors.reshape(-1, I), strict=True):
        found[token] += row
    return found


def check(got, want, name):
    assert_close(got, want, name, scale=1.0)


@pytest.mark.parametrize(
    ("function", "options"),
    [
        (prnn.bptt, {}),
        (prnn.bptt, {"lengths": LENGTHS}),
        (prnn.bptt, {"mask": RNG.random((T, B)) < 0.7}),
        (prnn.bptt, {"checkpoint_every": 2}),
        (prnn.bptt, {"memory": "1 MiB", "lengths": LENGTHS}),
        (prnn.truncated_bptt, {"k1": 2, "k2": 3}),
        (prnn.truncated_bptt, {"k1": 2, "k2": 4, "lengths": LENGTHS}),
    ],
)
@pytest.mark.parametrize("name", ["eager", "auto"])
def test_gradients_are_those_of_the_vectors_and_their_sums(name, function, options):
    with prnn.executors.use(name):
        want = function(PLAIN, REST, VECTORS, LABELS, **options)
        got = function(MODEL, PARAMS, TOKENS, LABELS, **options)
    assert got.loss == want.loss
    assert got.grad_x is None
    assert list(got.grads) == list(PARAMS)
    for key, array in want.grads.items():
        check(got.grads[key], array, key)
    check(got.grads["embedding.weight"], summed(want.grad_x), "embedding.weight")


def test_layouts_and_bidirectional_layers():
    for options in ({"batch_first": True}, {"bidirectional": True, "num_layers": 2}):
        model = prnn.RNN(I, H, C, vocabulary_size=V, **options)
        plain = prnn.RNN(I, H, C, **options)
        params = model.init(seed=1, dtype="float64")
        rest = {name: array for name, array in params.items() if name != "embedding.weight"}
        tokens, labels = (TOKENS.T, LABELS.T) if model.batch_first else (TOKENS, LABELS)
        got = prnn.bptt(model, params, tokens, labels)
        want = prnn.bptt(plain, rest, params["embedding.weight"][tokens], labels)
        check(got.grads["embedding.weight"], summed(want.grad_x, tokens), "embedding.weight")
        assert np.array_equal(got.outputs, want.outputs)
    one = prnn.bptt(MODEL, PARAMS, TOKENS[:, 0], LABELS[:, 0])
    assert one.outputs.shape == (T, C)
    want = prnn.bptt(PLAIN, REST, VECTORS[:, 0], LABELS[:, 0])
    check(one.grads["embedding.weight"], summed(want.grad_x, TOKENS[:, 0]), "embedding.weight")


def test_forward_and_backward():
    fwd = prnn.forward(MODEL, PARAMS, TOKENS)
    d_outputs = RNG.standard_normal((T, B, C))
    grads = prnn.backward(MODEL, PARAMS, fwd.tape, d_outputs)
    plain = prnn.forward(PLAIN, REST, VECTORS)
    want = prnn.backward(PLAIN, REST, plain.tape, d_outputs)
    assert grads.x is None
    check(grads.params["embedding.weight"], summed(want.x), "embedding.weight")
    assert np.array_equal(fwd.tape.x, VECTORS)


def test_a_tied_embedding_has_the_gradients_of_both_uses():
    model = prnn.RNN(H, H, V, cell="lstm", vocabulary_size=V, tied=True)
    untied = prnn.RNN(H, H, V, cell="lstm", vocabulary_size=V)
    params = model.init(seed=0, dtype="float64")
    assert "readout.weight" not in params
    both = params | {"readout.weight": params["embedding.weight"]}
    got = prnn.bptt(model, params, TOKENS, TOKENS).grads
    want = prnn.bptt(untied, both, TOKENS, TOKENS).grads
    total = want["embedding.weight"] + want["readout.weight"]
    check(got["embedding.weight"], total, "embedding.weight")
    assert np.abs(params["embedding.weight"]).max() <= H**-0.5  # it is the readout's too


@pytest.mark.parametrize("tied", [False, True])
def test_gradients_of_each_sequence(tied):
    model = prnn.RNN(H, H, V, vocabulary_size=V, tied=True) if tied else MODEL
    params, labels = model.init(seed=0, dtype="float64"), TOKENS if tied else LABELS
    found = prnn.per_example_gradients(model, params, TOKENS, labels, lengths=LENGTHS)
    whole = prnn.bptt(model, params, TOKENS, labels, lengths=LENGTHS).grads
    norms = prnn.per_example_norms(model, params, TOKENS, labels, lengths=LENGTHS)
    for name in params:
        check(found[name].sum(axis=0), whole[name], name)
        want = np.sqrt((found[name].reshape(B, -1) ** 2).sum(axis=1))
        check(norms.params[name], want, f"norm of {name}")


def test_products_with_the_jacobian_and_the_hessian_are_differences():
    vector = {name: RNG.standard_normal(array.shape) for name, array in PARAMS.items()}
    step = 1e-6

    def moved(sign):
        return {name: array + sign * step * vector[name] for name, array in PARAMS.items()}

    both = [prnn.bptt(MODEL, moved(sign), TOKENS, LABELS).grads for sign in (1, -1)]
    hv = prnn.hvp(MODEL, PARAMS, TOKENS, LABELS, vector)
    outputs = [prnn.predict(MODEL, moved(sign), TOKENS) for sign in (1, -1)]
    pushed = prnn.jvp(MODEL, PARAMS, TOKENS, d_params=vector)
    np.testing.assert_allclose(pushed.d_outputs, (outputs[0] - outputs[1]) / (2 * step), atol=1e-8)
    for name in PARAMS:
        want = (both[0][name] - both[1][name]) / (2 * step)
        np.testing.assert_allclose(hv[name], want, atol=1e-8)
    gv = prnn.gauss_newton_product(MODEL, PARAMS, TOKENS, LABELS, vector)
    assert gv.keys() == PARAMS.keys()
    assert sum(np.sum(vector[name] * gv[name]) for name in gv) > 0


def test_gradient_flow_is_that_of_the_vectors():
    got = prnn.gradient_flow(MODEL, PARAMS, TOKENS, LABELS, lengths=LENGTHS)
    want = prnn.gradient_flow(PLAIN, REST, VECTORS, LABELS, lengths=LENGTHS)
    assert np.array_equal(got.d_state[0], want.d_state[0])
    assert np.array_equal(got.jacobian, want.jacobian)
    assert got.params.keys() == PARAMS.keys()


def test_a_stream_takes_tokens_one_by_one_and_in_chunks():
    whole = prnn.predict(MODEL, PARAMS, TOKENS)
    stream = prnn.stream(MODEL, PARAMS)
    check(stream.step(TOKENS[0]), whole[0], "a step")
    check(stream.feed(TOKENS[1:4]), whole[1:4], "a chunk")
    assert stream.feed(TOKENS[:0]).shape == (0, B, C)
    check(stream.step(TOKENS[4], mask=np.asarray([True, False, True]))[0], whole[4, 0], "masked")
    single = prnn.stream(MODEL, PARAMS)
    check(single.step(TOKENS[0, 0]), whole[0, 0], "one token")
    check(single.step(np.asarray(TOKENS[1, 0])), whole[1, 0], "one token")
    with pytest.raises(ValueError, match=r"^x: expected the tokens of one step"):
        single.step(TOKENS)
    with pytest.raises(TypeError, match=r"^x: expected integer tokens"):
        single.step(VECTORS[0, 0, 0])


def test_training_and_evaluation_take_tokens():
    model = prnn.RNN(I, 8, V, cell="gru", vocabulary_size=V, num_layers=2, dropout=0.1)
    text = np.arange(400) % V
    windows = Windows(text[:-1], text[1:], batch_size=4, window=10)
    run = train(model, model.init(seed=0), windows, steps=150, lr=0.03, validation=windows)
    assert run.best_evaluation < 0.05
    tokens, labels = np.tile(text[:10, None], 12), np.tile(text[1:11, None], 12)
    source = Shuffled(tokens, labels, batch_size=5, lengths=[3, 10] * 6)
    assert evaluate(model, run.params, source) < 0.2
    model = prnn.RNN(I, 8, V, vocabulary_size=V, batch_first=True)
    source = Shuffled(tokens.T, labels.T, batch_size=5, batch_axis=0)
    train(model, model.init(seed=0), source, steps=2)


def test_padding_may_hold_any_number():
    padded = TOKENS.copy()
    for b, length in enumerate(LENGTHS):
        padded[length:, b] = -100
    want = prnn.bptt(MODEL, PARAMS, TOKENS, LABELS, lengths=LENGTHS)
    got = prnn.bptt(MODEL, PARAMS, padded, LABELS, lengths=LENGTHS, check_finite=True)
    assert all(np.array_equal(got.grads[name], want.grads[name]) for name in PARAMS)
    padded[0, 0] = V
    with pytest.raises(ValueError, match=rf"^x: expected tokens from 0 to 5, got .* {V} to {V}$"):
        prnn.bptt(MODEL, PARAMS, padded, LABELS, lengths=LENGTHS)


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int32", "uint64"])
def test_tokens_of_any_integer_dtype(dtype):
    many = np.resize(TOKENS, (400, B))
    labels = np.zeros_like(many)
    want = prnn.bptt(MODEL, PARAMS, many, labels).grads
    got = prnn.bptt(MODEL, PARAMS, many.astype(dtype), labels).grads
    assert all(np.array_equal(got[name], want[name]) for name in PARAMS)


def test_wrong_tokens_give_nan_where_their_values_cannot_be_read():
    jax = pytest.importorskip("jax")
    model = prnn.RNN(I, H, C, vocabulary_size=V)
    params = {name: jax.numpy.asarray(array) for name, array in model.init(seed=0).items()}
    tokens = jax.numpy.asarray(TOKENS.astype(np.int32)).at[3, 1].set(V)
    found = jax.jit(lambda p, x: prnn.predict(model, p, x))(params, tokens)
    wrong = np.isnan(np.asarray(found)).any(axis=2)
    assert wrong[3:, 1].all()
    assert wrong.sum() == T - 3


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"vocabulary_size": 0}, ValueError, "vocabulary_size: expected at least 1"),
        ({"vocabulary_size": 2.5}, TypeError, "vocabulary_size: expected an int"),
        ({"tied": 1}, TypeError, "tied: expected True or False"),
        ({"tied": True}, ValueError, "tied: expected output_size equal to vocabulary_size"),
        ({"tied": True, "vocabulary_size": C}, ValueError, f"tied: expected input_size {H}"),
    ],
)
def test_wrong_descriptions_are_refused(options, error, said):
    with pytest.raises(error, match=f"^{said}"):
        prnn.RNN(I, H, C, **options)


@pytest.mark.parametrize(
    ("x", "error", "said"),
    [
        (VECTORS, TypeError, "x: expected integer tokens of shape"),
        (TOKENS[None], ValueError, "x: expected integer tokens of shape"),
        (TOKENS[:0], ValueError, "x: expected integer tokens of shape"),
        (TOKENS - 1, ValueError, "x: expected tokens from 0 to 5, got values from -1 to -1"),
        (TOKENS.tolist(), TypeError, "x: "),
    ],
)
def test_wrong_tokens_are_refused(x, error, said):
    with pytest.raises(error, match=f"^{said}"):
        prnn.predict(MODEL, PARAMS, x)
    with pytest.raises(error, match=f"^{said}"):
        prnn.bptt(MODEL, PARAMS, x, LABELS)


def test_a_direction_of_tokens_is_refused():
    with pytest.raises(ValueError, match=r"^d_x: expected None for an input of tokens"):
        prnn.jvp(MODEL, PARAMS, TOKENS, d_x=VECTORS)


WEIGHT = PARAMS["embedding.weight"]
EXPECTED = rf"d_vectors: expected shape \({', '.join(map(str, TOKENS.shape))}, I\), got "


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: prnn.embed(WEIGHT[0], TOKENS), ValueError, r"weight: expected shape \(V, I\)"),
        (lambda: prnn.embed(WEIGHT, VECTORS), TypeError, "tokens: expected integers"),
        (lambda: prnn.embed(WEIGHT, TOKENS[:0]), ValueError, "tokens: expected at least one"),
        (lambda: prnn.embed(WEIGHT, TOKENS + 1), ValueError, "tokens: expected tokens from 0 to 5"),
        (lambda: prnn.embed_vjp(TOKENS, VECTORS, 0), ValueError, "vocabulary_size: "),
        (lambda: prnn.embed_vjp(TOKENS, VECTORS, 2), ValueError, "tokens: expected tokens from"),
        (lambda: prnn.embed_vjp(TOKENS, VECTORS[1:], V), ValueError, EXPECTED),
        (lambda: prnn.embed_vjp(TOKENS, TOKENS, V), TypeError, "d_vectors: "),
    ],
)
def test_wrong_arguments_of_the_pair_are_refused(call, error, said):
    with pytest.raises(error, match=f"^{said}"):
        call()


def test_half_precision_is_summed_in_float32():
    tokens, rows = np.zeros(4096, np.int64), np.ones((4096, 2), np.float16)
    found = prnn.embed_vjp(tokens, rows, 2)
    assert found.dtype == np.float16
    assert np.array_equal(found, [[4096, 4096], [0, 0]])


def test_a_large_vocabulary_where_integers_have_32_bits():
    """Tokens times rows pass 2**31, which JAX without 64 bits cannot count to."""
    jax = pytest.importorskip("jax")
    count, rows = 70_000, 40_000
    tokens = np.random.default_rng(0).integers(0, count, rows).astype(np.int32)
    d = np.ones((rows, 1), np.float32)
    want = np.bincount(tokens, minlength=count)[:, None]
    embed_vjp = jax.jit(prnn.embed_vjp, static_argnums=2)
    for function in (prnn.embed_vjp, embed_vjp):
        found = function(jax.numpy.asarray(tokens), jax.numpy.asarray(d), count)
        assert np.array_equal(np.asarray(found), want)
    assert np.array_equal(prnn.embed_vjp(tokens, d, count), want)


def test_an_infinite_row_stays_with_its_token():
    jax = pytest.importorskip("jax")
    tokens, d = np.asarray([0, 1, 1], np.int32), np.asarray([[np.inf], [1.0], [2.0]], np.float32)
    for put in (np.asarray, jax.numpy.asarray):
        found = np.asarray(prnn.embed_vjp(put(tokens), put(d), 3))
        assert found.tolist() == [[np.inf], [3.0], [0.0]]


def test_wrong_tokens_give_nan_in_further_derivatives():
    jax = pytest.importorskip("jax")
    model = prnn.RNN(I, H, C, vocabulary_size=V)
    params = {name: jax.numpy.asarray(array) for name, array in model.init(seed=0).items()}
    tokens = jax.numpy.asarray(TOKENS.astype(np.int32)).at[3, 1].set(V)
    labels = jax.numpy.asarray(LABELS.astype(np.int32))
    pushed = jax.jit(lambda p, x: prnn.jvp(model, p, x, d_params=p))(params, tokens)
    assert np.isnan(np.asarray(pushed.outputs)[3:, 1]).all()
    assert np.isnan(np.asarray(pushed.d_outputs)[3:, 1]).all()
    found = jax.jit(lambda p, x, y: prnn.hvp(model, p, x, y, p))(params, tokens, labels)
    assert np.isnan(np.asarray(found["weight_hh_l0"])).any()


def test_a_masked_token_of_a_stream_may_be_padding():
    mask = np.asarray([True, False, True])
    for padded in ([1, -1, 2], [1, V, 2]):
        stream = prnn.stream(MODEL, PARAMS)
        found = stream.step(np.asarray(padded), mask=mask)
        assert not found[1].any()
        with pytest.raises(ValueError, match=r"^x: expected tokens from 0 to 5"):
            stream.step(np.asarray(padded))


def test_arguments_are_checked_before_tokens_are_embedded():
    model = prnn.RNN(I, H, C, num_layers=2, dropout=0.5, vocabulary_size=V)
    with pytest.raises(ValueError, match=r"^dropout: "):  # not that a token is out of range
        prnn.bptt(model, model.init(seed=0, dtype="float64"), TOKENS + V, LABELS)


def test_unsigned_tokens_where_integers_have_32_bits(recwarn):
    jnp = pytest.importorskip("jax.numpy")
    weight = jnp.asarray([[1.0], [2.0]])
    assert prnn.embed(weight, jnp.asarray([1, 0], jnp.uint32)).tolist() == [[2.0], [1.0]]
    with pytest.raises(ValueError, match=r"from 2147483649 to 2147483649$"):
        prnn.embed(weight, jnp.asarray([2**31 + 1], jnp.uint32))
    assert not recwarn


@pytest.mark.parametrize("largest", [2**63, 2**64 - 1])
def test_a_token_beyond_64_bits_with_a_sign_is_named_as_it_is(largest):
    torch = pytest.importorskip("torch")
    tokens = np.asarray([largest, 1], np.uint64)
    said = f": expected tokens from 0 to 5, got values from {largest} to {largest}$"
    rows = np.ones((2, 1))
    for put in (np.asarray, torch.from_numpy):
        params = {name: put(array) for name, array in PARAMS.items()}
        for name, call in {
            "tokens": lambda put: prnn.embed_vjp(put(tokens), put(rows), V),
            "x": lambda put, p=params: prnn.predict(MODEL, p, put(tokens)),
        }.items():
            with pytest.raises(ValueError, match=f"^{name}{said}"):
                call(put)
