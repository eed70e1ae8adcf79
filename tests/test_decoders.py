"""Attention and decoders: what the suite does not compare on every row."""

import numpy as np
import pytest
from conformance.tolerances import assert_close

import portable_rnn as prnn

RNG = np.random.default_rng(0)
T, S, B, H = 3, 4, 2, 5
DECODER = prnn.AttentionDecoder(prnn.RNN(2, H, cell="gru"), memory_size=H, output_size=3)
PARAMS = DECODER.init(seed=0, dtype="float64")


def test_encoder_and_decoder_join_by_their_cotangents():
    """Differences of a loss of both agree with the chain of both backward passes."""
    encoder = prnn.RNN(3, H, cell="gru")
    params = encoder.init(seed=1, dtype="float64")
    source, x = RNG.standard_normal((S, B, 3)), RNG.standard_normal((T, B, 2))
    d_outputs = RNG.standard_normal((T, B, 3))
    lengths = {"memory_lengths": [4, 2]}

    def loss(params, own):
        memory, state, tape = prnn.forward(encoder, params, source, lengths=[4, 2])
        found = prnn.decode(DECODER, own, x, memory, state, **lengths)
        return np.sum(found.outputs * d_outputs), tape, found.tape

    _, first, second = loss(params, PARAMS)
    back = prnn.decode_vjp(DECODER, PARAMS, second, d_outputs, grad_x=False)
    assert back.x is None
    grads = prnn.backward(encoder, params, first, back.memory, back.state).params
    for name, array in params.items():
        direction = RNG.standard_normal(array.shape)
        ends = [
            loss(params | {name: array + sign * 1e-6 * direction}, PARAMS)[0] for sign in (1, -1)
        ]
        found = np.sum(grads[name] * direction)
        np.testing.assert_allclose(found, (ends[0] - ends[1]) / 2e-6, rtol=0, atol=1e-8)


def test_the_steps_of_a_decoder_are_those_of_all_at_once():
    memory, x = RNG.standard_normal((S, B, H)), RNG.standard_normal((T, B, 2))
    whole = prnn.decode(DECODER, PARAMS, x, memory)
    state, outputs = None, []
    for step in x:
        found = prnn.decode(DECODER, PARAMS, step[None], memory, state)
        outputs.append(found.outputs[0])
        state = found.state
    assert_close(np.stack(outputs), whole.outputs, "outputs", scale=1.0)
    assert_close(state, whole.state, "state", scale=1.0)

    def feedback(outputs, step):
        return outputs[:, :2]

    made = prnn.generate(DECODER, PARAMS, x[0], 3, memory=memory, feedback=feedback)
    taught = np.concatenate([x[:1], made[:-1, :, :2]])
    again = prnn.decode(DECODER, PARAMS, taught, memory).outputs
    assert_close(made, again, "outputs", scale=1.0)


def test_parameters_are_drawn_from_one_generator():
    params = DECODER.init(seed=3)
    own = DECODER.rnn.init(seed=3)
    assert all(np.array_equal(params[name], array) for name, array in own.items())
    first = own["weight_ih_l0"].ravel()
    assert not np.allclose(params["attention.weight"].ravel()[:10], first[:10])
    flat = np.concatenate([a.ravel() for a in params.values()])
    assert len(np.unique(flat)) == flat.size
    assert list(params) == list(DECODER.parameter_shapes)


def test_scores_are_drawn_by_the_schemes_of_initializers():
    found = prnn.attention.init("general", 40, 50, seed=1, dtype="float64")["weight"]
    assert np.abs(found).max() <= (6 / 90) ** 0.5
    found = prnn.attention.init("general", 4, 4, weights="orthogonal", dtype="float64")["weight"]
    np.testing.assert_allclose(found @ found.T, np.eye(4), atol=1e-14)
    found = prnn.attention.init("additive", 16, 3, 2, weights="uniform")
    assert max(np.abs(a).max() for a in found.values()) <= 0.25
    assert prnn.attention.init("dot", 3, 3) == {}


def test_half_precision_is_rounded_once():
    """A context of many steps is the float32 one, rounded; sums in float16 would be further off."""
    query, memory = (RNG.standard_normal((n, 1, 8)).astype(np.float16) for n in (1, 4000))
    found, weights, _ = prnn.attend(query, memory)
    want = prnn.attend(query.astype(np.float32), memory.astype(np.float32))
    assert np.array_equal(found, want.context.astype(np.float16))
    assert np.array_equal(weights, want.weights.astype(np.float16))


@pytest.mark.parametrize("score", ["dot", "scaled_dot", "general", "additive"])
def test_attention_is_analytic(score):
    """A complex step along a direction is the product of the cotangents with it."""
    size = None if score != "additive" else 3
    params = prnn.attention.init(score, H, H, size, dtype="float64")
    query, memory = RNG.standard_normal((T, B, H)), RNG.standard_normal((S, B, H))
    d_query, d_memory = RNG.standard_normal((T, B, H)), RNG.standard_normal((S, B, H))
    d_context = RNG.standard_normal((T, B, H))
    found = prnn.attend(query, memory, params, score=score, lengths=[4, 2])
    back = prnn.attend_vjp(found.residuals, d_context)
    step = 1e-30j
    moved = prnn.attend(
        query + step * d_query,
        memory + step * d_memory,
        {name: array + 0j for name, array in params.items()},
        score=score,
        lengths=[4, 2],
    )
    pushed = np.sum(moved.context.imag * 1e30 * d_context)
    pulled = np.sum(back.query * d_query) + np.sum(back.memory * d_memory)
    assert abs(pushed - pulled) < 1e-13


REFUSED = {
    "two directions": (
        lambda: prnn.AttentionDecoder(prnn.RNN(2, 3, bidirectional=True), 3, 2),
        "rnn: expected bidirectional=False for a decoder, got True",
    ),
    "a readout": (
        lambda: prnn.AttentionDecoder(prnn.RNN(2, 3, 4), 3, 2),
        "rnn: expected output_size=None for a decoder, got 4",
    ),
    "sizes of a product": (
        lambda: prnn.AttentionDecoder(prnn.RNN(2, 3), 4, 2, score="dot"),
        "memory_size: expected 3 like query_size for dot, got 4",
    ),
    "a size of another score": (
        lambda: prnn.attention.init("general", 3, 4, 5),
        "attention_size: only additive scores have one, got score='general'",
    ),
    "no size": (
        lambda: prnn.attention.init("additive", 3, 4),
        "attention_size: expected a size for additive scores, got None",
    ),
    "parameters of another score": (
        lambda: prnn.attend(np.ones((2, 3)), np.ones((4, 2, 3)), {"weight": np.ones((3, 3))}),
        "params: expected none for score='dot', got weight",
    ),
    "a memory of another batch": (
        lambda: prnn.attend(np.ones((2, 3)), np.ones((4, 1, 3))),
        r"memory: expected shape \(S, 2, F\), for 2 sequences like query",
    ),
    "lengths of a memory": (
        lambda: prnn.decode(
            DECODER, PARAMS, np.ones((T, B, 2)), np.ones((S, B, H)), memory_lengths=[5, 1]
        ),
        r"memory_lengths: expected 2 ints of 0 to 4 steps, shape \(2,\), got 5",
    ),
    "both kinds of steps": (
        lambda: prnn.pool(np.ones((4, 2, 3)), lengths=[1, 2], mask=np.ones((4, 2), bool)),
        "lengths, mask: expected one of them, got both",
    ),
    "half a bidirectional output": (
        lambda: prnn.pool(np.ones((4, 2, 3)), bidirectional=True),
        "outputs: expected an even number of features",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_fit_is_refused(name):
    call, said = REFUSED[name]
    with pytest.raises(ValueError, match=f"^{said}"):
        call()


def test_sizes_of_a_decoder_are_plain_numbers():
    sizes = {"memory_size": np.int64(3), "output_size": np.int64(2), "attention_size": np.int64(4)}
    found = prnn.AttentionDecoder(prnn.RNN(2, 3), score="additive", **sizes)
    assert {type(getattr(found, name)) for name in sizes} == {int}


OTHERS = {
    "score": prnn.AttentionDecoder(DECODER.rnn, H, 3, score="dot"),
    "scale": prnn.AttentionDecoder(DECODER.rnn, H, 3, score="scaled_dot"),
    "size": prnn.AttentionDecoder(DECODER.rnn, H + 1, 3),
    "network": prnn.AttentionDecoder(prnn.RNN(2, H), H, 3),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_tape_of_another_decoder_is_refused(name):
    """Of dot products and general scores alike: gradients would be those of other functions."""
    other = OTHERS[name]
    dots = OTHERS["score"] if name == "scale" else DECODER
    for one, two in ((dots, other), (other, dots)):
        params = {d: d.init(seed=0, dtype="float64") for d in (one, two)}
        memory = np.ones((S, B, one.memory_size))
        outputs, *_, tape = prnn.decode(one, params[one], np.ones((T, B, 2)), memory)
        with pytest.raises(ValueError, match=r"^tape: expected one of the same (decoder|model)"):
            prnn.decode_vjp(two, params[two], tape, np.ones_like(outputs))


@pytest.mark.parametrize("given", [{"xp": 3}, {"dtype": "int32"}, {"device": "nowhere"}])
def test_options_of_no_parameters_are_checked(given):
    with pytest.raises((TypeError, ValueError), match=f"^{next(iter(given))}: expected "):
        prnn.attention.init("dot", 3, 3, **given)


def test_an_error_is_one_line_whatever_it_shows():
    found = prnn.attend(np.ones((2, 3)), np.ones((4, 2, 3)))
    with pytest.raises(
        TypeError, match=r"^residuals: expected what attend returned, got"
    ) as raised:
        prnn.attend_vjp(found, np.ones((2, 3)))
    assert "\n" not in str(raised.value)


def test_a_network_passes_where_a_decoder_is_expected_only_as_one():
    with pytest.raises(TypeError, match=r"^decoder: expected an AttentionDecoder, got"):
        prnn.decode(DECODER.rnn, {}, np.ones((T, B, 2)), np.ones((S, B, H)))
    with pytest.raises(TypeError, match=r"^model: expected an RNN, got AttentionDecoder"):
        prnn.predict(DECODER, PARAMS, np.ones((T, B, 2)))
