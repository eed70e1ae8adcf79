"""Sequences that a network makes itself, and beam search, on every backend.

Generated sequences are compared with the same network on the same inputs at once, hypotheses with
an enumeration of all sequences.
"""

from functools import lru_cache
from itertools import product

import numpy as np
import pytest
from array_api_compat import array_namespace

import portable_rnn as prnn

from .selection import full_precision
from .tolerances import allowed_eps, assert_close

dtypes = full_precision

B, H, STEPS = 2, 4, 3
V, END = 3, 2
FORECAST = prnn.RNN(2, H, 2, cell="gru", num_layers=2)
MIXED = prnn.RNN(3, H, 2, cell="lstm", batch_first=True)
TOKENS = prnn.RNN(3, H, 6, cell="lstm", vocabulary_size=6)
LETTERS = prnn.RNN(3, H, V, cell="gru", vocabulary_size=V)


def inputs(model, dtype):
    """Return parameters, the first input, and an initial state."""
    rng = np.random.default_rng(4)
    params = {n: 3.0 * a for n, a in model.init(seed=3, dtype="float64").items()}
    if model.vocabulary_size:
        start = rng.integers(0, model.vocabulary_size, B).astype(np.int32)
    else:
        start = rng.standard_normal((B, model.input_size))
    state = tuple(rng.standard_normal(shape) for shape in model.state_shapes(B))
    params, state = (
        {n: a.astype(dtype) for n, a in params.items()},
        [a.astype(dtype) for a in state],
    )
    return params, start if model.vocabulary_size else start.astype(dtype), tuple(state)


def wide(arrays):
    params, start, state = arrays
    start = start.astype(np.float64) if start.dtype.kind == "f" else start
    params = {n: a.astype(np.float64) for n, a in params.items()}
    return params, start, tuple(a.astype(np.float64) for a in state)


def moved(backend, arrays):
    params, start, state = arrays
    params = {name: backend.put(array) for name, array in params.items()}
    return params, backend.put(start), tuple(map(backend.put, state))


def state_of(parts):
    return parts if len(parts) > 1 else parts[0]


def mixed(outputs, step):
    """Return the parts of an input: a number that tells the step, and outputs, exchanged."""
    return outputs[:, :1] * 0.0 + step, outputs[:, 1:], outputs[:, :1]


def forecast(static, params, start, state):
    (model,) = static

    def feedback(outputs, step):
        return array_namespace(outputs).concat(list(mixed(outputs, step)), axis=1)

    given = {"feedback": feedback} if model is MIXED else {}
    outputs, after = prnn.generate(
        model, params, start, STEPS, state=state_of(state), return_state=True, **given
    )
    parts = after if isinstance(after, tuple) else (after,)
    return {"outputs": outputs} | {f"state[{i}]": part for i, part in enumerate(parts)}


@lru_cache
def forecast_at_once(model, dtype):
    """Return the same in float64, checked against the network on its inputs at once."""
    params, start, state = wide(inputs(model, dtype))
    found = forecast((model,), params, start, state)
    outputs = found["outputs"].swapaxes(0, 1) if model.batch_first else found["outputs"]
    x = [start]
    for step in range(1, STEPS):
        y = outputs[step - 1]
        x.append(np.concatenate(mixed(y, step), axis=1) if model is MIXED else y)
    x = np.stack(x, axis=1 if model.batch_first else 0)
    y, after = prnn.predict(model, params, x, state_of(state), return_state=True)
    np.testing.assert_allclose(found["outputs"], y, rtol=0, atol=1e-14)
    parts = after if isinstance(after, tuple) else (after,)
    for i, part in enumerate(parts):
        np.testing.assert_allclose(found[f"state[{i}]"], part, rtol=0, atol=1e-14)
    return found


@pytest.mark.parametrize("model", [FORECAST, MIXED], ids=["outputs", "feedback"])
def test_a_forecast_is_the_network_on_its_own_outputs(backend, dtype, model, record):
    with prnn.use_namespace(np):
        want = forecast_at_once(model, dtype)
    found = backend.call(forecast, (model,), *moved(backend, inputs(model, dtype)))
    allowed = allowed_eps(backend.id, dtype)
    for name, array in want.items():
        if backend.shapes_only:
            assert tuple(found[name].shape) == array.shape
            continue
        what, got = f"{backend.id}: {name} of a forecast", backend.get(found[name])
        eps = assert_close(got, array, what, scale=1.0, k=allowed)
        record("functions", f"generate-{model.cell}", name, STEPS, eps, allowed)


def tokens(static, params, start, state):
    """Return the most likely tokens, drawn ones, and drawn ones of few."""
    found = {}
    for name, options in static:
        options = dict(options) | {"seed": (5, 1), "state": state_of(state)}
        found[name] = prnn.generate(TOKENS, params, start, 4, **options)
    return found


DRAWN = (
    ("likely", ()),
    ("few", (("temperature", 0.7), ("top_k", 2))),
    ("drawn", (("temperature", 1.0),)),
    ("hot", (("temperature", 50.0),)),
)


def test_tokens_of_one_seed_are_the_same_everywhere(backend, dtype):
    """They are NumPy's in float64; those of few are among the two most likely of each step."""
    given, kinds = inputs(TOKENS, dtype), DRAWN[:2] if backend.slow else DRAWN
    found = backend.call(tokens, kinds, *moved(backend, given))
    with prnn.use_namespace(np):
        params, start, state = wide(given)
        want = tokens(kinds, params, start, state)
        for name, chosen in want.items():
            x = np.concatenate([start[None], chosen[:-1]])
            outputs = prnn.predict(TOKENS, params, x, state_of(state))
            rank = (outputs > np.take_along_axis(outputs, chosen[..., None], axis=2)).sum(axis=2)
            assert (rank == 0).all() == (name == "likely")
            assert name != "few" or rank.max() == 1
    assert len({array.tobytes() for array in want.values()}) == len(want)
    for name, array in want.items():
        assert tuple(found[name].shape) == (4, B)
        assert backend.shapes_only or np.array_equal(backend.get(found[name]), array), name


# ------------------------------------------------------------------------- beam search


def beams(static, params, start, state):
    steps, width, penalty = static
    options = {"end": END, "width": width, "length_penalty": penalty, "state": state_of(state)}
    return prnn.beam_search(LETTERS, params, start, steps, **options)._asdict()


def log_p(params, start, state, sequences):
    """Return the log-probability of each token of sequences (N, T) after a first one, (N, T)."""
    count = len(sequences)
    x = np.concatenate([np.full((count, 1), start), sequences[:, :-1]], axis=1).T
    outputs = prnn.predict(LETTERS, params, x, state[0].repeat(count, axis=1))
    outputs = outputs - np.log(np.exp(outputs).sum(axis=2, keepdims=True))
    return np.take_along_axis(outputs, sequences.T[..., None], axis=2)[..., 0].T


def hypotheses(params, start, state, steps, penalty):
    """Return all sequences of at most so many tokens, as (score, tokens), the best one first."""
    sequences = np.asarray(list(product(range(V), repeat=steps)))
    found = {}
    for sequence, values in zip(sequences, log_p(params, start, state, sequences), strict=True):
        ends = np.flatnonzero(sequence == END)
        length = int(ends[0]) + 1 if ends.size else steps
        score = values[:length].sum() / ((5 + length) / 6) ** penalty
        found[tuple(sequence[:length].tolist())] = score
    return sorted(((score, tokens) for tokens, score in found.items()), reverse=True)


def by_steps(params, start, state, steps, penalty, width):
    """Return the hypotheses of a narrow search, from lists and the probabilities of prefixes."""
    going, ended = [(0.0, ())], []
    for length in range(1, steps + 1):
        every = [(*tokens, token) for _, tokens in going for token in range(V)]
        rows = log_p(params, start, state, np.asarray(every)).sum(axis=1)
        both = sorted(zip(rows.tolist(), every, strict=True), reverse=True)
        divisor = ((5 + length) / 6) ** penalty
        ended += [(p / divisor, tokens) for p, tokens in both if tokens[-1] == END]
        ended = sorted(ended, reverse=True)[:width]
        going = [one for one in both if one[1][-1] != END][:width]
    return sorted(ended + [(p / divisor, tokens) for p, tokens in going], reverse=True)[:width]


@pytest.mark.parametrize(("wide_enough", "penalty"), [(True, 0.0), (False, 0.8)])
def test_a_search_finds_the_best_of_its_hypotheses(backend, dtype, wide_enough, penalty, record):
    """There are 15 sequences of at most 3 tokens, 7 of at most 2.

    A search of one more finds all, in order, and one more whose score is -inf.
    """
    steps = 2 if backend.slow else 3
    count = {2: 7, 3: 15}[steps]
    given, width = inputs(LETTERS, dtype), count + 1 if wide_enough else 2
    found = backend.call(beams, (steps, width, penalty), *moved(backend, given))
    if backend.shapes_only:
        assert tuple(found["tokens"].shape) == (steps, B, width)
        return
    (params, start, state), allowed = wide(given), allowed_eps(backend.id, dtype)
    tokens, lengths, scores = (backend.get(found[name]) for name in prnn.Beams._fields)
    for b in range(B):
        alone = params, start[b], (state[0][:, b : b + 1],)
        with prnn.use_namespace(np):
            every = hypotheses(*alone, steps, penalty)
            want = every if wide_enough else by_steps(*alone, steps, penalty, width)
        assert len(want) == (count if wide_enough else width)
        for n, (_, sequence) in enumerate(want):
            assert lengths[b, n] == len(sequence)
            padded = [*sequence, *[END] * (steps - len(sequence))]
            assert tokens[:, b, n].tolist() == padded, f"{backend.id}: hypothesis {n}"
        assert (scores[b, len(want) :] == -np.inf).all()
        ref, what = np.asarray([score for score, _ in want]), f"{backend.id}: scores"
        eps = assert_close(scores[b, : len(want)], ref, what, k=allowed)
        record("functions", "beam_search", "scores", steps, eps, allowed)
