"""Truncated BPTT: its windows, and that results are the sum over them."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from conformance.tolerances import assert_close

import portable_rnn as prnn
from portable_rnn._windows import Overlap, Sum, windows
from portable_rnn.losses import mean_squared_error

T, B, I, H, O = 11, 3, 2, 4, 2  # noqa: E741


def problem(cell="gru", seed=0, **options):
    model = prnn.RNN(I, H, O, cell=cell, **options)
    rng = np.random.default_rng(seed)
    x, targets = rng.standard_normal((T, B, I)), rng.standard_normal((T, B, O))
    state = [rng.standard_normal(model.state_shape(B)) for _ in range(2 if cell == "lstm" else 1)]
    params = model.init(seed=0, dtype="float64")
    return model, params, x, targets, tuple(state) if cell == "lstm" else state[0]


def pull(model, params, x, d_outputs, state, **options):
    """Return the gradients of one window, in the form of a result's."""
    fwd = prnn.forward(model, params, x, state, **options)
    return prnn.backward(model, params, fwd.tape, d_outputs)


@pytest.mark.parametrize("steps", [1, 7, 12])
def test_windows_count_every_loss_once_and_reach_back_k2_steps(steps):
    for k2 in range(1, 14):
        for k1 in range(1, k2 + 1):
            reach = {}  # where the window of each loss begins
            for window in windows(steps, k1, k2):
                assert window.start == 0 or window.stop - window.start == k2
                for t in range(window.losses, window.stop):
                    assert t not in reach
                    reach[t] = window.start
            stops = [min((t // k1 + 1) * k1, steps) for t in range(steps)]
            assert reach == {t: max(0, stop - k2) for t, stop in enumerate(stops)}, (k1, k2)


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (1, 5), (2, 5), (3, 3), (4, 10), (5, 6)])
def test_is_the_sum_of_its_windows(cell, k1, k2):
    model, params, x, targets, state = problem(cell)
    given = {"loss": mean_squared_error, "state": state}
    got = prnn.truncated_bptt(model, params, x, targets, k1=k1, k2=k2, **given)
    outputs, after = prnn.predict(model, params, x, state, return_state=True)
    value, d_outputs = mean_squared_error(outputs, targets)
    want = {name: np.zeros_like(p) for name, p in params.items()}
    d_x, d_state = np.zeros_like(x), 0.0
    for stop in [*range(k1, T, k1), T]:
        start, losses = max(0, stop - k2), (stop - 1) // k1 * k1
        before = state
        if start:
            before = prnn.predict(model, params, x[:start], state, return_state=True)[1]
        d_part = d_outputs[start:stop].copy()
        d_part[: losses - start] = 0.0
        grads = pull(model, params, x[start:stop], d_part, before)
        want = {name: a + grads.params[name] for name, a in want.items()}
        d_x[start:stop] += grads.x
        if start == 0:  # otherwise the state in which a window begins is a constant
            d_state = d_state + np.asarray(grads.state)
    scale = float(np.abs(d_outputs).max())
    for name, ref in want.items():
        assert_close(got.grads[name], ref, name, scale=scale)
    assert_close(got.grad_x, d_x, "grad_x", scale=scale)
    assert_close(np.asarray(got.grad_state), d_state, "grad_state", scale=scale)
    assert_close(got.outputs, outputs, "outputs")
    assert_close(np.asarray(got.loss), np.asarray(value), "loss")
    for mine, ref in zip(np.asarray(got.state), np.asarray(after), strict=True):
        assert_close(mine, ref, "state")


@pytest.mark.parametrize("options", [{}, {"num_layers": 3, "batch_first": True}])
@pytest.mark.parametrize("steps", [None, "lengths", "mask"])
def test_with_all_steps_it_is_bptt_bit_for_bit(options, steps):
    model, params, x, targets, state = problem("lstm", **options)
    if model.batch_first:
        x, targets = x.transpose(1, 0, 2), targets.transpose(1, 0, 2)
    there = np.random.default_rng(1).random(x.shape[:2]) < 0.7
    ragged = {None: {}, "lengths": {"lengths": [4, T, 0]}, "mask": {"mask": there}}[steps]
    given = {"loss": mean_squared_error, "state": state, **ragged}
    want = prnn.bptt(model, params, x, targets, **given)
    for k1, k2 in ((1, T), (4, T), (T, T), (T + 1, T + 5)):
        got = prnn.truncated_bptt(model, params, x, targets, k1=k1, k2=k2, **given)
        for mine, ref in ((got.grads, want.grads), (got._asdict(), want._asdict())):
            for name, a in mine.items():
                if name != "grads":
                    assert np.asarray(a).tobytes() == np.asarray(ref[name]).tobytes(), name


def test_dropout_is_that_of_the_whole_sequence():
    """Masks belong to steps, whatever the windows; here every window reaches far enough."""
    chances = {"dropout": 0.4, "recurrent_dropout": 0.3, "zoneout": 0.2}
    model, params, x, targets, state = problem("gru", num_layers=2, **chances)
    given = {"loss": mean_squared_error, "state": state, "dropout": (3, 1), "lengths": [T, 2, 5]}
    want = prnn.bptt(model, params, x, targets, **given)
    got = prnn.truncated_bptt(model, params, x, targets, k1=3, k2=6, **given)
    assert_close(got.outputs, want.outputs, "outputs")
    # Only the losses of steps 6 to 10 reach back less far than with bptt.
    early = np.arange(T)[:, None] < 6
    weights = np.broadcast_to(early, (T, B)).astype(float)
    want = prnn.bptt(model, params, x, targets, **given, weights=weights)
    got = prnn.truncated_bptt(model, params, x, targets, k1=3, k2=6, **given, weights=weights)
    for name, ref in want.grads.items():
        assert_close(got.grads[name], ref, name, scale=1.0)


@pytest.mark.parametrize(
    "chances", [{"dropout": 0.4}, {"recurrent_dropout": 0.3}, {"zoneout": 0.2}]
)
def test_without_dropout_a_model_with_a_chance_of_it_is_one_without(chances):
    """The mean of zoneout stays, as at prediction."""
    model, params, x, targets, state = problem("gru", num_layers=2, **chances)
    given = {"loss": mean_squared_error, "state": state, "dropout": False}
    want = prnn.bptt(model, params, x, targets, **given)
    got = prnn.truncated_bptt(model, params, x, targets, k1=1, k2=T - 1, **given)
    assert_close(got.outputs, want.outputs, "outputs")
    plain = dataclasses.replace(model, dropout=0.0, recurrent_dropout=0.0)
    want = prnn.truncated_bptt(plain, params, x, targets, k1=1, k2=T - 1, **given)
    for name, ref in want.grads.items():
        assert_close(got.grads[name], ref, name, scale=1.0)


def test_a_single_sequence_and_no_gradient_of_x():
    model, params, x, targets, _ = problem("gru", batch_first=True)
    given = {"k1": 2, "k2": 4, "loss": mean_squared_error, "grad_x": False}
    one = prnn.truncated_bptt(model, params, x[:, 0], targets[:, 0], **given)
    batch = np.transpose(x, (1, 0, 2))[:1], np.transpose(targets, (1, 0, 2))[:1]
    many = prnn.truncated_bptt(model, params, *batch, **given)
    assert one.grad_x is None
    for name, ref in many.grads.items():
        assert_close(one.grads[name], ref, name, scale=1.0)


def test_float32_does_not_lose_digits_over_many_windows():
    model = prnn.RNN(2, 4, 2)
    rng = np.random.default_rng(0)
    x, targets = rng.standard_normal((3000, 1, 2)), rng.standard_normal((3000, 1, 2))
    params = model.init(seed=0, dtype="float32")
    narrow = [a.astype(np.float32) for a in (x, targets)]
    wide = [a.astype(np.float64) for a in narrow]
    given = {"k1": 2, "k2": 3, "loss": mean_squared_error, "reduction": "sum"}
    got = prnn.truncated_bptt(model, params, *narrow, **given)
    params = {name: p.astype(np.float64) for name, p in params.items()}
    want = prnn.truncated_bptt(model, params, *wide, **given)
    for name, ref in want.grads.items():
        assert_close(got.grads[name], ref, name, scale=float(np.abs(ref).max()))


@pytest.mark.no_products
def test_holds_no_more_than_a_window():
    model = prnn.RNN(4, 64, 2, cell="lstm")
    params = model.init(seed=0)
    peaks = []
    for steps in (400, 1200):
        x = np.zeros((steps, 8, 4), np.float32)
        targets = np.zeros((steps, 8), np.int64)
        tracemalloc.start()
        prnn.truncated_bptt(model, params, x, targets, k1=50, k2=100)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    grown = (peaks[1] - peaks[0]) / 800
    tape = 6 * 8 * 64 * 4  # bytes of one step
    assert grown < 0.1 * tape, peaks


def test_bad_input_is_named_before_any_work():
    model, params, x, targets, _ = problem()
    both = prnn.RNN(I, H, O, bidirectional=True)

    def call(model=model, params=params, **options):
        def never(*args, **kwargs):
            raise AssertionError("the loss was called")

        given = {"k1": 2, "k2": 4, "loss": never} | options
        return prnn.truncated_bptt(model, params, x, targets, **given)

    for options, message in (
        ({"k1": 5}, r"^k1, k2: .*got 5 and 4"),
        ({"k1": 0}, r"^k1: .*got 0"),
        ({"k2": 0}, r"^k2: .*got 0"),
        ({"model": both, "params": both.init()}, r"^model: .*bidirectional=True"),
        ({"lengths": [1, 2, T + 1]}, r"^lengths: .*got 12"),
        ({"state": np.zeros((2, B, H))}, r"^state: "),
    ):
        with pytest.raises(ValueError, match=message):
            call(**options)
    with pytest.raises(TypeError, match=r"^k2: .*got 2\.5"):
        call(k2=2.5)
    with pytest.raises(TypeError, match=r"^mask: expected dtype bool"):
        call(mask=np.ones((T, B)))


def test_sum_and_overlap():
    total, overlap = Sum(), Overlap(axis=0)
    for number in range(7):
        total.add({"a": np.asarray(float(number))})
    assert total.total() == {"a": 21.0}
    for start, parts in ((0, [np.ones(2)]), (1, [np.ones(1), np.ones(2)]), (4, [np.ones(2)])):
        overlap.add(start, parts)
    np.testing.assert_array_equal(overlap.whole(), [1, 2, 1, 1, 1, 1])
