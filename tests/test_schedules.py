"""Learning-rate schedules."""

from itertools import pairwise

import numpy as np
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


BAD = (-1, float("nan"), float("inf"), "1", True, None, [1.0])


@pytest.mark.parametrize("bad", BAD, ids=str)
@pytest.mark.parametrize(
    ("schedule", "name"),
    [
        *[(constant, name) for name in ("step", "lr", "warmup")],
        *[(cosine, name) for name in ("step", "lr", "steps", "warmup", "final")],
        *[(exponential, name) for name in ("step", "lr", "rate", "every", "warmup")],
    ],
)
def test_an_argument_that_is_no_valid_number_is_named(schedule, name, bad):
    good = {"step": 2, "lr": 1.0, "warmup": 1, "steps": 5, "final": 0.1, "rate": 0.5, "every": 2}
    options = {key: good[key] for key in schedule.__kwdefaults__ or {}} | {"lr": 1.0, name: bad}
    options |= {"steps": 5} if schedule is cosine and name != "steps" else {}
    options |= {"rate": 0.5} if schedule is exponential and name != "rate" else {}
    with pytest.raises((TypeError, ValueError), match=f"^{name}: expected a"):
        schedule(options.pop("step", 2), **options)


def test_a_rate_that_overflows_is_named():
    with pytest.raises(ValueError, match=r"rate: expected one by which lr stays finite, got 2.0"):
        exponential(5000, lr=1.0, rate=2.0)
    assert exponential(5000, lr=1.0, rate=0.5) == 0.0


def test_rates_are_python_floats():
    given = {"lr": np.float32(0.5), "warmup": np.int64(2)}
    for rate in (
        constant(np.int64(0), **given),
        cosine(np.int64(3), steps=np.int32(9), **given),
        exponential(np.int64(3), rate=np.float64(0.5), **given),
    ):
        assert type(rate) is float
