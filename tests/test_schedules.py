"""Learning-rate schedules."""

from itertools import pairwise

import pytest

from portable_rnn.schedules import constant, cosine, exponential


def test_warmup_rises_to_the_rate_and_never_starts_at_zero():
    rates = [constant(step, lr=2.0, warmup=4) for step in range(6)]
    assert rates == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]


def test_cosine_ends_at_final_and_stays_there():
    rates = [cosine(step, lr=1.0, steps=10, warmup=2, final=0.1) for step in range(14)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[10:] == pytest.approx([0.1] * 4)
    assert all(a > b for a, b in pairwise(rates[2:11]))


def test_exponential_halves_on_time():
    assert [exponential(s, lr=8.0, rate=0.5, every=3) for s in (0, 2, 3, 6)] == [8, 8, 4, 2]
