"""Sequences that a network makes itself: what is drawn, how it is called, and beam search."""

import numpy as np
import pytest
from conformance.tolerances import assert_close

import portable_rnn as prnn
from portable_rnn import beams
from portable_rnn._arrays.choices import Choices
from portable_rnn._calls.sampling import choose_tokens, largest

RNG = np.random.default_rng(0)
V, B, STEPS = 5, 3, 4
LETTERS = prnn.RNN(4, 6, V, cell="gru", vocabulary_size=V)
PARAMS = {name: 3.0 * array for name, array in LETTERS.init(seed=2, dtype="float64").items()}
START = np.asarray([0, 3, 4])
FORECAST = prnn.RNN(2, 6, 2, cell="lstm")
WEIGHTS = FORECAST.init(seed=1, dtype="float64")


def drawn(logits, count=20_000, temperature=1.0, top_k=None):
    """Return how often each token is drawn."""
    rows = np.broadcast_to(np.asarray(logits), (count, len(logits)))
    tokens = choose_tokens(np, rows, temperature, top_k, (0,), 0)
    return np.bincount(tokens, minlength=len(logits)) / count


def test_gumbel_numbers_are_of_the_bits_of_choices():
    choices = Choices(np, np.zeros(1), (3, 1))
    found = choices.gumbel((7, 5), 3, 2)
    for p in (0.1, 0.5, 0.9):
        kept = choices.kept(p, (7, 5), 3, 2)
        assert np.array_equal(np.exp(-np.exp(-found)) > p, kept)
    mean = choices.gumbel((200_000,), 3, 0).mean()
    assert abs(mean - np.euler_gamma) < 0.01
    assert Choices(np, np.zeros(1, np.float32), (0,)).gumbel((2,), 3, 0).dtype == np.float32


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0, 1e300])
def test_tokens_are_drawn_as_often_as_the_softmax_says(temperature):
    logits = np.asarray([0.0, 1.0, -1.0, 2.0])
    p = np.exp(logits / temperature)
    p /= p.sum()
    assert np.abs(drawn(logits, temperature=temperature) - p).max() < 4 * 0.5 / 20_000**0.5


def test_few_tokens_are_drawn_of_the_most_likely():
    logits = np.asarray([0.0, 1.0, -1.0, 2.0, 1.0])
    found = drawn(logits, top_k=1)
    assert found.tolist() == [0, 0, 0, 1, 0]
    found = drawn(logits, top_k=2)  # and those equal to the last of them
    assert (found[[0, 2]] == 0).all()
    assert (found[[1, 3, 4]] > 0.1).all()
    assert np.array_equal(drawn(logits, top_k=9), drawn(logits))
    assert drawn(logits, temperature=0.0, count=2).tolist() == [0, 0, 0, 1, 0]
    assert drawn(logits, temperature=1e-300, count=9).tolist() == [0, 0, 0, 1, 0]


def test_impossible_tokens_are_not_drawn():
    logits = np.asarray([-np.inf, 0.0, -np.inf, 0.0])
    for temperature in (0.5, 1e300):
        assert drawn(logits, temperature=temperature)[[0, 2]].tolist() == [0, 0]


def test_the_largest_numbers_come_in_order_and_of_equal_ones_the_first():
    values = np.asarray([[1.0, 3.0, 3.0, -np.inf], [4.0, 0.0, 2.0, 5.0]])
    found, places = largest(np, values, 3)
    assert found.tolist() == [[3.0, 3.0, 1.0], [5.0, 4.0, 2.0]]
    assert places.tolist() == [[1, 2, 0], [3, 0, 2]]
    found, _ = largest(np, values[:1], 5)
    assert found[0, 3:].tolist() == [-np.inf, -np.inf]


def test_steps_of_one_seed_have_draws_of_their_own():
    zeros = {name: np.zeros_like(array) for name, array in PARAMS.items()}
    options = {"temperature": 1.0, "seed": 4}
    found = prnn.generate(LETTERS, zeros, np.zeros(40, int), 50, **options)
    assert np.abs(np.bincount(found.ravel()) / found.size - 1 / V).max() < 0.04
    assert len({row.tobytes() for row in found}) == 50
    again = prnn.generate(LETTERS, zeros, np.zeros(40, int), 20, **options)
    assert np.array_equal(found[:20], again)
    other = prnn.generate(LETTERS, zeros, np.zeros(40, int), 20, temperature=1.0, seed=5)
    assert not np.array_equal(other, again)


@pytest.mark.parametrize("name", ["eager", "auto"])
def test_layouts_and_single_sequences_are_the_same(name):
    first = prnn.RNN(4, 6, V, cell="gru", vocabulary_size=V, batch_first=True)
    with prnn.executors.use(name):
        found, state = prnn.generate(LETTERS, PARAMS, START, STEPS, return_state=True)
        assert np.array_equal(prnn.generate(first, PARAMS, START, STEPS), found.T)
        hypotheses = prnn.beam_search(LETTERS, PARAMS, START, STEPS, end=1)
        turned = prnn.beam_search(first, PARAMS, START, STEPS, end=1)
        for b, token in enumerate(START):
            one = prnn.generate(LETTERS, PARAMS, np.asarray(token), STEPS, return_state=True)
            assert np.array_equal(one[0], found[:, b])
            assert_close(one[1], state[:, b], "state", scale=1.0)
    assert np.array_equal(turned.tokens, hypotheses.tokens.swapaxes(0, 1))
    whole = prnn.generate(FORECAST, WEIGHTS, np.ones((B, 2)), STEPS)
    one = prnn.generate(FORECAST, WEIGHTS, np.ones(2), STEPS)
    assert whole.shape == (STEPS, B, 2)
    assert_close(one, whole[:, 0], "outputs", scale=1.0)


def test_generation_goes_on_from_a_state():
    whole = prnn.generate(FORECAST, WEIGHTS, np.ones((B, 2)), 6)
    first, state = prnn.generate(FORECAST, WEIGHTS, np.ones((B, 2)), 2, return_state=True)
    rest = prnn.generate(FORECAST, WEIGHTS, first[-1], 4, state=state)
    assert np.array_equal(np.concatenate([first, rest]), whole)


def test_a_wide_penalty_prefers_long_sequences():
    scores = []
    for penalty in (0.0, 2.0):
        found = prnn.beam_search(LETTERS, PARAMS, START, 6, end=1, width=3, length_penalty=penalty)
        assert (np.diff(found.scores, axis=1) <= 0).all()
        scores.append(found.lengths[:, 0].mean())
    assert scores[0] < scores[1]


@pytest.mark.parametrize(("dtype", "most"), [("float32", 31.0), ("float64", 248.0)])
def test_a_penalty_is_a_number(dtype, most):
    """Scores divided by infinity are all 0: the best ones."""
    params, steps = LETTERS.init(seed=2, dtype=dtype), 100
    options = {"end": 1, "width": 2}
    for penalty in (30.5, 31.5, 100.0):
        given = options | {"length_penalty": penalty}
        if penalty < most:
            found = prnn.beam_search(LETTERS, params, START, steps, **given)
            assert (found.scores < 0).all()
            continue
        said = f"^length_penalty: expected a number below {most:g} for 100 steps and scores of "
        with pytest.raises(ValueError, match=said):
            prnn.beam_search(LETTERS, params, START, steps, **given)
    with pytest.raises(ValueError, match=r"^length_penalty: .* for 10000 steps"):
        prnn.beam_search(LETTERS, params, START, 10_000, **options, length_penalty=99.0)


def test_a_search_of_one_hypothesis_that_never_ends_is_greedy():
    params = dict(PARAMS)
    params["readout.bias"] = params["readout.bias"] - np.asarray([0, 50.0, 0, 0, 0])
    found = prnn.beam_search(LETTERS, params, START, STEPS, end=1, width=1)
    assert np.array_equal(found.tokens[..., 0], prnn.generate(LETTERS, params, START, STEPS))
    assert (found.lengths == STEPS).all()


def test_a_search_ends_when_no_hypothesis_can_become_better(monkeypatch):
    """The result is that of the whole search, as where no value is read."""
    params = dict(PARAMS)
    params["readout.bias"] = params["readout.bias"] + np.asarray([0, 8.0, 0, 0, 0])
    calls, right = [], beams.predict
    monkeypatch.setattr(beams, "predict", lambda *a, **k: calls.append(1) or right(*a, **k))
    options = {"end": 1, "width": 2, "length_penalty": 0.6}
    found = prnn.beam_search(LETTERS, params, START, 40, **options)
    assert len(calls) < 20
    monkeypatch.setattr(beams, "reads", lambda xp, array: False)
    calls.clear()
    for got, want in zip(
        found, prnn.beam_search(LETTERS, params, START, 40, **options), strict=True
    ):
        assert np.array_equal(got, want)
    assert len(calls) == 40


@pytest.mark.parametrize(
    ("bias", "got"),
    [([np.nan, 0, 0, 0, 0], "nan"), ([0, np.inf, 0, 0, 0], "inf"), ([-np.inf] * V, "-inf")],
)
def test_outputs_without_a_softmax_are_refused(bias, got):
    params = PARAMS | {"readout.bias": np.asarray(bias)}
    said = f"^params: expected a network with a finite largest output, got {got}$"
    with pytest.raises(ValueError, match=said):
        prnn.generate(LETTERS, params, START, STEPS)
    with pytest.raises(ValueError, match=said):
        prnn.beam_search(LETTERS, params, START, STEPS, end=1)


def test_where_no_value_is_read_the_token_without_a_softmax_is_below_0(monkeypatch):
    monkeypatch.setattr("portable_rnn._calls.sampling.reads", lambda xp, array: False)
    logits = np.asarray([[0.0, np.nan], [0.0, 99.0], [0.0, np.inf], [-np.inf, -np.inf]])
    for temperature in (0.0, 1.0):
        found = choose_tokens(np, logits, temperature, None, (0,), 0)
        assert found.tolist() == [-1, 1, -1, -1]


CALLS = {
    "a token out of range": (
        lambda: prnn.generate(LETTERS, PARAMS, np.asarray([5]), 2),
        "start: expected tokens from 0 to 4, got values from 5 to 5",
    ),
    "a state of another batch": (
        lambda: prnn.generate(LETTERS, PARAMS, START, 2, state=np.zeros((1, 2, 6))),
        r"state: expected shape \(1, 3, 6\), got \(1, 2, 6\)",
    ),
    "a token of feedback out of range": (
        lambda: prnn.generate(LETTERS, PARAMS, START, 2, feedback=lambda y, step: START + 3),
        "value returned by feedback: expected tokens from 0 to 4, got values from 6 to 7",
    ),
    "a temperature of numbers": (
        lambda: prnn.generate(FORECAST, WEIGHTS, np.ones((1, 2)), 2, temperature=1.0),
        "temperature, top_k: expected none",
    ),
    "a memory without a decoder": (
        lambda: prnn.generate(LETTERS, PARAMS, START, 2, memory=np.ones((2, 3, 4))),
        "memory, memory_lengths, memory_mask: expected none without an AttentionDecoder",
    ),
    "a search of numbers": (
        lambda: prnn.beam_search(FORECAST, WEIGHTS, np.ones((1, 2)), 2, end=0),
        "model: expected tokens, and as many outputs, for beam search, got vocabulary_size=None",
    ),
    "an end beyond the vocabulary": (
        lambda: prnn.beam_search(LETTERS, PARAMS, START, 2, end=5),
        "end: expected at most 4, got 5",
    ),
}


@pytest.mark.parametrize("name", CALLS)
def test_what_does_not_fit_is_refused(name):
    call, said = CALLS[name]
    with pytest.raises(ValueError, match=f"^{said}"):
        call()


def test_a_network_of_two_directions_or_without_outputs_at_each_step_is_refused():
    for options, said in (({"bidirectional": True}, "one direction"), ({"pool": "last"}, "each")):
        model = prnn.RNN(2, 6, 2, **options)
        with pytest.raises(ValueError, match=f"^model: expected .*{said}"):
            prnn.generate(model, model.init(dtype="float64"), np.ones((1, 2)), 2)
    model = prnn.RNN(2, 6, 1)
    with pytest.raises(ValueError, match=r"^feedback: expected a function"):
        prnn.generate(model, model.init(dtype="float64"), np.ones((1, 2)), 2)
