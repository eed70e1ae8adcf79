"""Lists of sequences: packed into one array with lengths, and unpacked."""

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import ragged

T, B, I, H = 7, 5, 3, 4  # noqa: E741
LENGTHS = [3, 7, 0, 5, 1]


@pytest.mark.parametrize("batch_first", [True, False])
def test_pack_and_unpack(batch_first):
    rng = np.random.default_rng(0)
    sequences = [rng.standard_normal((n, I)) for n in LENGTHS]
    packed, lengths = ragged.pack(sequences, batch_first=batch_first)
    assert packed.shape == ((B, T, I) if batch_first else (T, B, I))
    np.testing.assert_array_equal(lengths, LENGTHS)
    there = np.arange(T)[:, None] < np.asarray(LENGTHS)
    assert not packed[~(there.T if batch_first else there)].any()
    back = ragged.unpack(packed, lengths, batch_first=batch_first)
    for got, want in zip(back, sequences, strict=True):
        assert got.tobytes() == want.tobytes()
    labels, _ = ragged.pack([np.arange(n) for n in LENGTHS])
    assert labels.shape == (T, B)
    model = prnn.RNN(I, H, batch_first=batch_first)
    params = model.init(seed=0, dtype="float64")
    outputs = prnn.predict(model, params, packed, lengths=lengths)
    for i, y in enumerate(ragged.unpack(outputs, lengths, batch_first=batch_first)):
        if LENGTHS[i]:
            np.testing.assert_allclose(y, prnn.predict(model, params, sequences[i]), atol=1e-15)


def test_unpack_reads_lengths_of_any_library_wherever_they_are():
    packed = np.zeros((3, 2, 4))
    strict = pytest.importorskip("array_api_strict")
    device = strict.asarray([2, 3], device=strict.Device("device1"))
    for lengths in ([2, 3], np.asarray([2, 3], np.uint8), device):
        assert [a.shape[0] for a in ragged.unpack(packed, lengths)] == [2, 3]
    for wrong in ([2, 4], [-1, 3]):
        lengths = strict.asarray(wrong, device=strict.Device("device1"))
        with pytest.raises(ValueError, match=r"^lengths: .*0 to 3 steps.*got (4|-1)$"):
            ragged.unpack(packed, lengths)


def test_unpack_refuses_lengths_that_cannot_be_read():
    jax = pytest.importorskip("jax")
    with pytest.raises(TypeError, match=r"^lengths: expected values to read, got .*traced"):
        jax.jit(lambda lengths: ragged.unpack(np.zeros((3, 2, 4)), lengths))(np.asarray([2, 3]))


@pytest.mark.parametrize(
    ("sequences", "error", "words"),
    [
        ([], ValueError, "^sequences: expected a list of at least one"),
        ((a for a in [np.ones((2, 3))]), TypeError, "^sequences: expected a list or tuple.*genera"),
        ("ab", TypeError, "^sequences: expected a list or tuple of arrays, got 'ab'"),
        ({"a": np.ones((2, 3))}, TypeError, "^sequences: expected a list or tuple of arrays, got"),
        (np.asarray([None, 1]), TypeError, r"^sequences: expected a list .*array of shape \(2,\)"),
        ([np.asarray(["a"], object)], TypeError, r"^sequences\[0\]: expected a dtype of numbers"),
        ([np.asarray(["a"])], TypeError, r"^sequences\[0\]: expected a dtype of numbers, got str"),
        ([np.ones((0, 3))] * 2, ValueError, "^sequences: expected one with at least one step"),
        (np.ones((2, 3)), TypeError, "^sequences: expected a list"),
        ([np.ones((2, 3)), [1.0]], TypeError, r"^sequences\[1\]: .*got list"),
        ([np.ones((2, 3)), np.ones((2, 4))], ValueError, r"^sequences\[1\]: .*got \(2, 4\)"),
        ([np.ones((2, 3)), np.ones((2, 3), np.float32)], TypeError, r"^sequences\[1\]: .*float32"),
        ([np.ones(())], ValueError, r"^sequences\[0\]: .*got a number"),
    ],
)
def test_sequences_that_do_not_fit_together_are_named(sequences, error, words):
    with pytest.raises(error, match=words):
        ragged.pack(sequences)


def test_unpack_refuses_what_has_no_batch():
    with pytest.raises(ValueError, match=r"^packed: expected at least two axes, got shape \(3,\)"):
        ragged.unpack(np.zeros(3), [2])


def test_a_sequence_without_a_step_is_packed_with_others():
    packed, lengths = ragged.pack([np.ones((0, 3)), np.ones((2, 3))])
    assert packed.shape == (2, 2, 3)
    assert lengths.tolist() == [0, 2]
    assert not packed[:, 0].any()


@pytest.mark.parametrize("flag", [None, 1, "yes", np.ones(2)])
def test_a_layout_that_is_no_flag_is_refused(flag):
    with pytest.raises(TypeError, match=r"^batch_first: expected True or False"):
        ragged.pack([np.ones((2, 3))], batch_first=flag)
    with pytest.raises(TypeError, match=r"^batch_first: expected True or False"):
        ragged.unpack(np.ones((2, 3)), [2, 2, 1], batch_first=flag)


@pytest.mark.parametrize(
    ("packed", "lengths", "message"),
    [
        ([[1.0]], [1], "packed: expected an array"),
        (np.asarray([["a"]]), [1], "packed: expected a dtype of numbers"),
        (np.ones((2, 1)), {1}, "lengths: expected 1 ints"),
        (np.ones((2, 1)), [10**300], "lengths: expected 1 ints"),
        (np.ones((2, 1)), [[1], [1, 2]], "lengths: expected 1 ints"),
    ],
)
def test_arguments_that_cannot_be_unpacked_are_named(packed, lengths, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        ragged.unpack(packed, lengths)
