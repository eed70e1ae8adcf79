"""Sources of batches: everything is seen, in an order that depends only on seed and step."""

import tracemalloc

import numpy as np
import pytest

from portable_rnn.batches import Shuffled, Windows


def sequences(axis):
    x = np.arange(7)[:, None, None] * np.ones((7, 4, 2))
    targets = np.arange(7)[:, None] * np.ones((7, 4), dtype=np.int64)
    return (x, targets) if axis == 0 else (x.transpose(1, 0, 2), targets.T)


@pytest.mark.parametrize("axis", [0, 1])
def test_an_epoch_shows_every_sequence_once(axis):
    x, targets = sequences(axis)
    source = Shuffled(x, targets, batch_size=3, weights=targets * 1.0, batch_axis=axis)
    batches = [source.batch(step) for step in range(source.steps_per_epoch)]
    assert [b.x.shape[axis] for b in batches] == [3, 3, 1]
    seen = np.concatenate([b.x.max(axis=(1 - axis, 2)) for b in batches])
    np.testing.assert_array_equal(np.sort(seen), np.arange(7))
    for b in batches:  # inputs, targets and weights stay together
        np.testing.assert_array_equal(b.x[..., 0], b.targets)
        np.testing.assert_array_equal(b.weights, b.targets)


def test_a_batch_of_a_transposed_view_does_not_copy_the_view():
    samples = np.arange(500 * 20 * 8, dtype=np.float64).reshape(500, 20, 8)
    found = Shuffled(samples.transpose(1, 0, 2), np.arange(500), batch_size=4)
    expected = Shuffled(samples, np.arange(500), batch_size=4, batch_axis=0)
    found.batch(0)  # the first call imports
    tracemalloc.start()
    batch = found.batch(3)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    np.testing.assert_array_equal(batch.x.transpose(1, 0, 2), expected.batch(3).x)
    assert batch.x.flags.c_contiguous
    assert most < samples.nbytes / 10


@pytest.mark.parametrize("axis", [0, 1])
def test_lengths_stay_with_their_sequences(axis):
    x, targets = sequences(axis)
    source = Shuffled(x, targets, batch_size=3, lengths=[0, 1, 2, 3, 4, 3, 2], batch_axis=axis)
    for step in range(6):
        batch = source.batch(step)
        first = batch.targets[:, 0] if axis == 0 else batch.targets[0]
        np.testing.assert_array_equal(batch.lengths, np.asarray([0, 1, 2, 3, 4, 3, 2])[first])


def test_order_depends_on_seed_and_epoch_only():
    x, targets = sequences(1)
    a, b = (Shuffled(x, targets, batch_size=7, seed=5) for _ in range(2))
    b.batch(0)
    np.testing.assert_array_equal(a.batch(3).x, b.batch(3).x)
    assert not np.array_equal(a.batch(0).x, a.batch(1).x)
    other = Shuffled(x, targets, batch_size=7, seed=6)
    assert not np.array_equal(a.batch(0).x, other.batch(0).x)


def test_windows_follow_on_from_one_another():
    source = Windows(np.arange(23), np.arange(23) + 1, batch_size=2, window=3)
    assert source.steps_per_epoch == 3  # lanes of 11, the last two left over
    batches = [source.batch(step) for step in range(4)]
    lanes = np.concatenate([b.x for b in batches[:3]])
    np.testing.assert_array_equal(lanes.T, [np.arange(9), np.arange(11, 20)])
    assert [b.fresh for b in batches] == [True, False, False, True]
    for b in batches:
        np.testing.assert_array_equal(b.targets, b.x + 1)


def test_windows_encode_one_batch_at_a_time():
    source = Windows(
        np.arange(6), np.arange(6), batch_size=1, window=2, encode=lambda x: x[..., None] * 2.0
    )
    np.testing.assert_array_equal(source.batch(1).x, [[[4.0]], [[6.0]]])
    given = {"batch_size": 1, "window": 2}
    source = Windows(np.arange(6), np.arange(6), **given, encode=np.float32)  # a class
    assert source.batch(1).x.dtype == np.float32
    source = Windows(np.arange(6), np.arange(6), **given, encode=lambda x: x[:1, ..., None])
    with pytest.raises(ValueError, match=r"expected shape \(2, 1, I\), got \(1, 1, 1\)$"):
        source.batch(1)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda x, t: Shuffled(x, t, batch_size=8), ("batch_size", "7", "got 8")),
        (lambda x, t: Shuffled(x, t, batch_size=0), ("batch_size", "got 0")),
        (lambda x, t: Shuffled(x, t[:, :5], batch_size=2), ("targets", "7 sequences", "(4, 5)")),
        (lambda x, t: Shuffled(x, t, batch_size=2, batch_axis=2), ("batch_axis", "got 2")),
        (lambda x, t: Shuffled(x, t, batch_size=2, lengths=[4] * 6), ("lengths", "7", "(6,)")),
        (
            lambda x, t: Shuffled(x, t, batch_size=2, lengths=[5] * 7),
            ("lengths", "0 to 4", "got 5"),
        ),
        (lambda x, t: Windows(x[:, 0], t[:3], batch_size=1, window=1), ("targets", "4 steps")),
        (lambda x, t: Windows(x, t, batch_size=2, window=3), ("x", "6 steps", "got 4")),
        (lambda x, t: Windows(x, t, batch_size=0, window=3), ("batch_size", "got 0")),
        (lambda x, t: Windows(x, t, batch_size=1, window=0), ("window", "got 0")),
    ],
)
def test_bad_input_is_named(make, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the words are checked below)
        make(*sequences(1))
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize("axis", [0, 1])
def test_weights_of_sequences_say_that_targets_are_of_sequences(axis):
    rows = np.arange(16.0).reshape(4, 4)  # as many steps as sequences and outputs
    source = Shuffled(np.zeros((4, 4, 1)), rows, batch_size=2, weights=rows[:, 0], batch_axis=axis)
    for step in range(2):
        b = source.batch(step)
        np.testing.assert_array_equal(b.targets, rows[(b.weights / 4).astype(int)])
