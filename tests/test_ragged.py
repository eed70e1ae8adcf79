"""Ragged batches on NumPy: bits that do not change, and arguments that are refused."""

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import losses
from portable_rnn._arrays import checks as check
from portable_rnn._calls.valid_steps import mask_of
from portable_rnn._executors.compiled import Compiled

T, B, I, H = 7, 5, 3, 4  # noqa: E741
LENGTHS = [3, 7, 0, 5, 1]
THERE = np.arange(T)[:, None] < np.asarray(LENGTHS)
OPTIONS = {
    "one_layer": {},
    "stacked": {"num_layers": 3},
    "both_directions": {"num_layers": 2, "bidirectional": True},
}


@pytest.fixture(autouse=True)
def _no_padding(monkeypatch):
    """Cut time where a sequence ends; test_compiled_calls.py has small batches that are padded."""
    monkeypatch.setattr(Compiled, "products_of_a_chunk", 0)


@pytest.fixture(params=OPTIONS)
def model(request):
    return prnn.RNN(I, H, 2, cell="lstm", **OPTIONS[request.param])


def drawn(model, seed=0):
    rng = np.random.default_rng(seed)
    state = tuple(rng.standard_normal(model.state_shape(B)) for _ in range(2))
    return rng.standard_normal((T, B, I)), state, rng.standard_normal((T, B, 2))


def solve(model, x, state, d_outputs, **steps):
    """Return every result by name."""
    params = model.init(seed=0, dtype="float64")
    fwd = prnn.forward(model, params, x, state, **steps)
    grads = prnn.backward(model, params, fwd.tape, d_outputs, state)
    named = {"outputs": fwd.outputs, "h": fwd.state[0], "c": fwd.state[1], "d_x": grads.x}
    return named | {"d_h": grads.state[0], "d_c": grads.state[1]} | grads.params


def filled(array, value):
    """Put a value at the steps that are not valid."""
    return np.where(THERE[..., None], array, value)


def same(got, want):
    for name, array in want.items():
        assert got[name].tobytes() == array.tobytes(), name


def test_padding_beyond_all_lengths_changes_no_bit(model):
    """Nothing is computed there, so nothing is summed in another order either."""
    x, state, d_outputs = drawn(model)
    want = solve(model, x, state, d_outputs, lengths=LENGTHS)
    pad = lambda a: np.concatenate([a, np.full((9, *a.shape[1:]), np.nan)])  # noqa: E731
    got = solve(model, pad(x), state, pad(d_outputs), lengths=LENGTHS)
    for name in ("outputs", "d_x"):
        assert not got[name][T:].any()
        got[name] = np.ascontiguousarray(got[name][:T])
    same(got, want)


def test_the_order_of_sequences_of_different_lengths_changes_no_bit(model):
    """They are sorted before the computation; only equal lengths keep their order."""
    x, state, d_outputs = drawn(model)
    want = solve(model, x, state, d_outputs, lengths=LENGTHS)
    for order in ([1, 3, 0, 4, 2], [2, 4, 0, 3, 1]):  # falling, rising
        parts = (x[:, order], tuple(s[:, order] for s in state), d_outputs[:, order])
        got = solve(model, *parts, lengths=np.asarray(LENGTHS)[order])
        for name in ("outputs", "d_x", "h", "c", "d_h", "d_c"):
            same({name: got[name]}, {name: want[name][:, order]})
        same(got, {n: a for n, a in want.items() if n in model.parameter_shapes})


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_each_sequence_is_what_it_would_be_alone_with_its_masks(cell):
    """Masks are time-major and unsorted; the network sorts, cuts time, and reads from both ends."""
    chances = {"dropout": 0.4, "recurrent_dropout": 0.3, "zoneout": 0.3}
    model = prnn.RNN(I, H, 2, cell=cell, num_layers=2, bidirectional=True, **chances)
    params = model.init(seed=0, dtype="float64")
    rng = np.random.default_rng(1)
    x, d_outputs = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, 2))
    state, d_state = (
        tuple(map(rng.standard_normal, model.state_shapes(B))) for _ in ("state", "d_state")
    )
    masks = prnn.dropout.draw(model, x, seed=2)

    def solved(b=slice(None), n=T, **given):
        """Return all results of the sequences ``b``, of ``n`` steps, by name."""
        own, d_own = (check.state_of([part[:, b] for part in parts]) for parts in (state, d_state))
        dropped = prnn.dropout.Masks(
            tuple(f[:n, b] for f in masks.between),
            tuple(f[b] for f in masks.recurrent),
            tuple(tuple(u[:n, b] for u in update) for update in masks.update),
        )
        fwd = prnn.forward(model, params, x[:n, b], own, dropout=dropped, **given)
        grads = prnn.backward(model, params, fwd.tape, d_outputs[:n, b], d_own)
        found = {"outputs": fwd.outputs, "x": grads.x}
        for name, value in (("state", fwd.state), ("d_state", grads.state)):
            found |= {f"{name}[{i}]": part for i, part in enumerate(check.state_parts(value))}
        return found, grads.params

    together, total = solved(lengths=LENGTHS)
    sums = dict.fromkeys(total, 0.0)
    for b, n in enumerate(LENGTHS):
        if n:
            alone, grads = solved(slice(b, b + 1), n)
            sums = {name: sums[name] + grads[name] for name in sums}
            for name, want in alone.items():
                got = together[name][: n if name in ("outputs", "x") else None, b : b + 1]
                np.testing.assert_allclose(got, want, rtol=0, atol=1e-14, err_msg=f"{name} of {b}")
    for name, want in sums.items():
        np.testing.assert_allclose(total[name], want, rtol=0, atol=4e-14, err_msg=name)


def test_lengths_in_any_form_give_the_same_bits(model):
    given = drawn(model)
    want = solve(model, *given, lengths=LENGTHS)
    for lengths in (tuple(LENGTHS), np.asarray(LENGTHS, np.uint8), np.asarray(LENGTHS, np.int32)):
        same(solve(model, *given, lengths=lengths), want)


def test_full_lengths_equal_no_lengths(model):
    given = drawn(model)
    same(solve(model, *given, lengths=[T] * B), solve(model, *given))


def test_a_batch_without_valid_steps(model):
    x, state, d_outputs = drawn(model)
    for steps in ({"lengths": [0] * B}, {"mask": np.zeros((T, B), dtype=bool)}):
        found = solve(model, np.full_like(x, np.nan), state, d_outputs, **steps)
        np.testing.assert_array_equal(found["h"], state[0])
        np.testing.assert_array_equal(found["d_c"], state[1])  # the cotangent that was given
        for name in ("outputs", "d_x", *model.parameter_shapes):
            assert not found[name].any(), name


def test_bptt_does_not_look_at_targets_where_there_is_no_step(model):
    x, state, targets = drawn(model)
    params = model.init(seed=0, dtype="float64")
    labels, chances = np.abs(targets[..., 0]).astype(int) % 2, np.abs(np.tanh(targets))
    for loss, good, bad in (
        (losses.mean_squared_error, targets, filled(targets, np.nan)),
        (losses.binary_cross_entropy, chances, filled(chances, np.inf)),
        (losses.softmax_cross_entropy, targets, filled(targets, np.nan)),
        (losses.softmax_cross_entropy, labels, np.where(THERE, labels, -1)),
    ):
        given = {"loss": loss, "state": state, "lengths": LENGTHS}
        want = prnn.bptt(model, params, x, good, **given)
        got = prnn.bptt(model, params, filled(x, np.inf), bad, **given)
        assert np.isfinite(want.loss)
        assert np.asarray(got.loss).tobytes() == np.asarray(want.loss).tobytes()
        same(got.grads, want.grads)


def test_a_mean_is_over_the_valid_steps():
    model = prnn.RNN(I, H, 2)
    params = model.init(seed=0, dtype="float64")
    x, targets = np.ones((T, B, I)), np.zeros((T, B, 2))
    given = {"loss": losses.mean_squared_error, "lengths": LENGTHS}
    mean = prnn.bptt(model, params, x, targets, **given).loss
    total = prnn.bptt(model, params, x, targets, reduction="sum", **given).loss
    np.testing.assert_allclose(mean, total / (2 * sum(LENGTHS)), rtol=1e-15)
    # The caller's weights count as well, but not at steps that are not valid.
    weights = np.full((T, B), 2.0)
    twice = prnn.bptt(model, params, x, targets, reduction="sum", weights=weights, **given).loss
    np.testing.assert_allclose(twice, 2 * total, rtol=1e-15)


MODEL = prnn.RNN(I, H, 2)
X = np.ones((T, B, I))
BAD_LENGTHS = [
    ([3, 7, -1, 5, 1], ValueError, "got -1"),
    ([3, 8, 0, 5, 1], ValueError, "0 to 7 steps.*got 8"),
    ([3, 7, 0, 5], ValueError, r"shape \(5,\), got shape \(4,\)"),
    ([LENGTHS], ValueError, r"got shape \(1, 5\)"),
    ([], ValueError, r"got shape \(0,\)"),
    (7, ValueError, r"got shape \(\)"),
    ([3.0, 7, 0, 5, 1], TypeError, "got dtype float64"),
    (np.ones(B, dtype=bool), TypeError, "got dtype bool"),
    (["3"] * B, TypeError, "got dtype str"),
    ([[1, 2], [3]], TypeError, r"got \[\[1, 2\], \[3\]\]"),
]
BAD_MASKS = [
    (THERE.astype(float), TypeError, "expected dtype bool, got float64"),
    (THERE.astype(np.int8), TypeError, "expected dtype bool, got int8"),
    (THERE.T, ValueError, r"expected shape \(7, 5\), got \(5, 7\)"),
    (THERE[..., None], ValueError, r"got \(7, 5, 1\)"),
    (THERE.tolist(), TypeError, "got list"),
]


@pytest.mark.parametrize(
    ("name", "value", "error", "words"),
    [("lengths", *case) for case in BAD_LENGTHS] + [("mask", *case) for case in BAD_MASKS],
)
def test_wrong_lengths_and_masks_are_named_before_any_work(monkeypatch, name, value, error, words):
    def never(*args, **kwargs):
        raise AssertionError("the network was run")

    monkeypatch.setattr("portable_rnn._calls.call.run", never)
    params = MODEL.init(seed=0, dtype="float64")
    targets = np.zeros((T, B), dtype=int)
    for call in (
        lambda **given: prnn.forward(MODEL, params, X, **given),
        lambda **given: prnn.predict(MODEL, params, X, **given),
        lambda **given: prnn.bptt(MODEL, params, X, targets, **given),
        lambda **given: prnn.truncated_bptt(MODEL, params, X, targets, k1=1, k2=2, **given),
        lambda **given: prnn.stream(MODEL, params).feed(X, **given),
    ):
        with pytest.raises(error, match=rf"^{name}: .*{words}"):
            call(**{name: value})


def test_lengths_and_a_mask_together_are_refused():
    params = MODEL.init(seed=0, dtype="float64")
    with pytest.raises(ValueError, match=r"^lengths, mask: expected one of them, got both"):
        prnn.forward(MODEL, params, X, lengths=LENGTHS, mask=THERE)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int64"])
def test_lengths_that_are_not_read_may_be_of_a_narrow_dtype(dtype, monkeypatch):
    """As on a device, or under a tracer: 300 steps are more than 8 bits can count."""
    monkeypatch.setattr("portable_rnn._calls.valid_steps.on_host", lambda array: False)
    lengths = np.asarray([5, 100], dtype=dtype)
    there = mask_of(np, np.zeros((300, 2, 1)), lengths, None)
    assert there.sum(axis=0).tolist() == [5, 100]


def test_a_tape_without_steps_can_be_used_again_under_a_budget():
    model = prnn.RNN(1, 2)
    params, x = model.init(seed=0), np.zeros((6, 2, 1), np.float32)
    fwd = prnn.forward(model, params, x, lengths=[0, 0], checkpoint_every=2)
    for _ in range(2):
        grads = prnn.backward(model, params, fwd.tape, np.ones_like(fwd.outputs))
        assert not any(np.any(g) for g in grads.params.values())


ONE = X[:, 0, :]


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("given", [{"lengths": 3}, {"lengths": [3]}, {"mask": [1, 0, 1]}])
def test_a_single_sequence_has_lengths_and_gaps_as_a_batch_of_one_has(cell, given, batch_first):
    """Compared with the same sequence as a batch, in every function that takes either."""
    model = prnn.RNN(ONE.shape[-1], 4, 2, cell=cell, batch_first=batch_first)
    params = model.init(seed=0, dtype="float64")
    axis = 0 if batch_first else 1
    labels = np.arange(len(ONE)) % 2
    if "mask" in given:
        mask = np.resize(np.asarray(given["mask"], dtype=bool), len(ONE))
        alone, batched = {"mask": mask}, {"mask": np.expand_dims(mask, axis)}
    else:
        alone, batched = given, {"lengths": [3]}
    batch = (np.expand_dims(ONE, axis), np.expand_dims(labels, axis))
    weights = np.linspace(0.5, 1.5, len(ONE))
    for function in (
        lambda *args, **options: prnn.bptt(*args, **options).grads,
        lambda *args, **options: prnn.truncated_bptt(*args, k1=2, k2=2, **options).grads,
        lambda *args, **options: prnn.hvp(*args, params, **options),
        lambda *args, **options: prnn.gauss_newton_product(*args, params, **options),
        prnn.per_example_gradients,
        lambda *args, **options: prnn.gradient_flow(*args, **options).params,
    ):
        got = function(model, params, ONE, labels, weights=weights, **alone)
        more = {"weights": np.expand_dims(weights, axis)}
        want = function(model, params, *batch, **more, **batched)
        for name, array in want.items():
            np.testing.assert_allclose(got[name], array, rtol=1e-12, atol=1e-15)
    whole = prnn.predict(model, params, batch[0], **batched)
    np.testing.assert_array_equal(
        prnn.predict(model, params, ONE, **alone), np.squeeze(whole, axis)
    )
    np.testing.assert_array_equal(
        prnn.stream(model, params).feed(ONE, **alone), np.squeeze(whole, axis)
    )


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"lengths": [1, 2]}, r"^lengths: expected 1 ints .*got shape \(2,\)$"),
        ({"lengths": len(ONE) + 1}, "^lengths: expected 1 ints of 0 to "),
        ({"mask": np.ones((len(ONE), 1), bool)}, r"^mask: expected shape \(\d,\), got \(\d, 1\)$"),
    ],
)
def test_wrong_lengths_and_masks_of_a_single_sequence_are_named(given, message):
    with pytest.raises(ValueError, match=message):
        prnn.forward(MODEL, MODEL.init(seed=0, dtype="float64"), ONE, **given)
    with pytest.raises(ValueError, match=r"^lengths: expected \d ints .*got shape \(\)$"):
        prnn.forward(MODEL, MODEL.init(seed=0, dtype="float64"), X, lengths=3)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_check_finite_looks_only_at_the_valid_steps(bad, batch_first):
    model = prnn.RNN(X.shape[-1], 4, 2, batch_first=batch_first)
    params = model.init(seed=0, dtype="float64")
    there = np.arange(len(X))[:, None] < np.asarray(LENGTHS)
    for given in ({"lengths": LENGTHS}, {"mask": there.T if batch_first else there}):
        padded = np.where(there[..., None], X, bad)
        spoilt = padded.copy()
        spoilt[0, np.argmax(LENGTHS), 0] = bad
        if batch_first:
            padded, spoilt = np.moveaxis(padded, 1, 0), np.moveaxis(spoilt, 1, 0)
        found = prnn.predict(model, params, padded, check_finite=True, **given)
        assert np.isfinite(found).all()
        prnn.truncated_bptt(
            *(model, params, padded, np.zeros(padded.shape[:2], int)),
            **{"k1": 2, "k2": 2, "check_finite": True},
            **given,
        )
        with pytest.raises(ValueError, match=r"^x: expected finite values, got 1 NaN or infinite"):
            prnn.forward(model, params, spoilt, check_finite=True, **given)
    with pytest.raises(ValueError, match=r"^x: expected finite values"):
        prnn.forward(model, params, padded, check_finite=True)
