"""Random choices: the published algorithm, and the statistics that dropout relies on."""

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn._arrays.choices import Choices
from portable_rnn.dropout import draw

WORD = 2**64 - 1
SEEDS = [(0,), (1,), (2**40, 3), (7, 0), (7, 1)]
N = 1 << 17


def philox(counter, key):
    """Return a block of Philox 4x64-10, in Python's integers; the constants are the paper's."""
    c, k = list(counter), list(key)
    for _ in range(10):
        a, b = 0xD2E7470EE14C6C93 * c[0], 0xCA5A826395121157 * c[2]
        c = [b >> 64 ^ c[1] ^ k[0], b & WORD, a >> 64 ^ c[3] ^ k[1], a & WORD]
        k = [k[0] + 0x9E3779B97F4A7C15 & WORD, k[1] + 0xBB67AE8584CAA73B & WORD]
    return c


def kept(p, shape=(N,), seed=(0,), stream=0, number=0):
    return Choices(np, np.zeros(1), seed).kept(p, shape, stream, number)


def correlation(a, b):
    """Return the correlation of two arrays of choices, in its standard deviations."""
    a, b = (x.astype("float64").ravel() for x in (a, b))
    return float(np.corrcoef(a, b)[0, 1]) * a.size**0.5


def test_philox_of_zeros_is_the_published_block():
    """From the known answers of the authors' library, Random123."""
    assert philox([0] * 4, [0] * 2) == [
        *(0x16554D9ECA36314C, 0xDB20FE9D672D0FDC),
        *(0xD7E772CEE186176B, 0x7E68B68AEC7BA23B),
    ]


@pytest.mark.parametrize("seed", SEEDS)
def test_choices_are_the_bits_of_philox(seed):
    key = Choices(np, np.zeros(1), seed).key.tolist()
    words = [w for i in range(1, 6) for w in philox([i, 2, 3, 0], key)]
    halves = [half for word in words for half in (word & 0xFFFFFFFF, word >> 32)]
    for p in (0.25, 0.3, 0.5):
        found = kept(p, (13, 3), seed, stream=2, number=3)
        assert found.ravel().tolist() == [h >= p * 2**32 for h in halves[:39]]


def test_choices_of_a_seed_never_change():
    found = np.packbits(kept(0.5, (64,), (2026, 1))).tobytes().hex()
    assert found == "09a8bb044d0a2114"


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("seed", SEEDS)
def test_the_share_that_is_dropped_is_the_probability(p, seed):
    sigma = (p * (1 - p) / N) ** 0.5
    assert abs((~kept(p, seed=seed)).mean() - p) < 4.5 * sigma


def test_a_probability_near_one_drops_nearly_all_and_a_tiny_one_nearly_nothing():
    assert not kept(1.0 - 2.0**-53).any()
    assert kept(2.0**-60).all()
    assert kept(0.0).all()


@pytest.mark.parametrize("lag", [1, 2, 3, 4, 8, 64, 256])
def test_choices_do_not_depend_on_their_neighbours(lag):
    for seed in SEEDS:
        found = kept(0.5, seed=seed)
        assert abs(correlation(found[lag:], found[:-lag])) < 4.5


def test_seeds_steps_kinds_and_layers_are_independent():
    where = [((s,), 0, 0) for s in range(8)]  # seeds
    where += [((0, n), 0, 0) for n in range(8)]  # steps of training
    where += [((0,), kind, layer) for kind in range(3) for layer in range(4)][1:]
    found = [kept(0.5, seed=seed, stream=s, number=n) for seed, s, n in where]
    worst = max(abs(correlation(a, b)) for i, a in enumerate(found) for b in found[i + 1 :])
    assert worst < 5.0  # of 351 pairs


def test_seeds_of_other_lengths_differ():
    seeds = [(0,), (0, 0), (0, 0, 0), (2**32,), (0, 1), (1, 0), (2**32 + 1,), (1, 1), (2**32, 1)]
    keys = {Choices(np, np.zeros(1), seed).key.tobytes() for seed in seeds}
    assert len(keys) == len(seeds)


def test_eight_choices_in_a_row_take_all_patterns_equally_often():
    for seed in SEEDS:
        counts = np.bincount(np.packbits(kept(0.5, seed=seed)), minlength=256)
        expected = counts.mean()
        chi_squared = float(((counts - expected) ** 2 / expected).sum())
        assert abs(chi_squared - 255) < 4.5 * (2 * 255) ** 0.5


def test_a_longer_sequence_begins_with_the_same_masks():
    model = prnn.RNN(3, 5, num_layers=2, dropout=0.5, zoneout=0.5)
    short, long = (draw(model, np.zeros((steps, 4, 3)), 0) for steps in (6, 9))
    np.testing.assert_array_equal(short.between[0], long.between[0][:6])
    np.testing.assert_array_equal(short.update[0][0], long.update[0][0][:6])


def test_masks_of_one_kind_do_not_depend_on_others():
    chances = {"dropout": 0.5, "recurrent_dropout": 0.5, "zoneout": 0.5}
    x = np.zeros((6, 4, 3))
    every = draw(prnn.RNN(3, 5, num_layers=2, **chances), x, 0)
    for name, kind in (("dropout", 0), ("recurrent_dropout", 1), ("zoneout", 2)):
        alone = draw(prnn.RNN(3, 5, num_layers=2, **{name: 0.5}), x, 0)
        np.testing.assert_array_equal(np.asarray(alone[kind]), np.asarray(every[kind]))
