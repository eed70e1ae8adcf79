"""Learning-rate schedules."""

import functools
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.schedules import (
    constant,
    cosine,
    exponential,
    linear_warmup,
    one_cycle,
    plateau,
)
from portable_rnn.training import train

from .runs import MODEL, source

RUN = SimpleNamespace(learning_rate=0.5, best_step=0, evaluate_every=2)


def test_warmup_rises_to_the_rate_and_never_starts_at_zero():
    rates = [constant(step, lr=2.0, warmup=4) for step in range(6)]
    assert rates == [0.5, 1.0, 1.5, 2.0, 2.0, 2.0]


def test_cosine_ends_at_final_and_stays_there():
    rates = [cosine(step, lr=1.0, steps=10, warmup=2, final=0.1) for step in range(14)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[10:] == pytest.approx([0.1] * 4)
    assert all(a > b for a, b in pairwise(rates[2:11]))
    assert cosine(4, lr=1.0, steps=4, warmup=4, final=0.1) == 0.1


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
        *[(one_cycle, name) for name in ("step", "lr", "steps", "pct_start")],
        *[(one_cycle, name) for name in ("div_factor", "final_div_factor")],
        *[(plateau, name) for name in ("step", "lr", "factor", "patience", "final", "warmup")],
        *[(linear_warmup, name) for name in ("step", "warmup")],
    ],
)
def test_an_argument_that_is_no_valid_number_is_named(schedule, name, bad):
    needed = {
        constant: {"lr": 1.0},
        cosine: {"lr": 1.0, "steps": 5},
        exponential: {"lr": 1.0, "rate": 0.5},
        one_cycle: {"lr": 1.0, "steps": 5},
        plateau: {"lr": 1.0, "run": RUN},
        linear_warmup: {"schedule": functools.partial(constant, lr=1.0), "warmup": 2},
    }
    options = needed[schedule] | {name: bad}
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


def test_a_warmup_leads_to_the_first_rate_of_any_schedule():
    falling = functools.partial(cosine, lr=2.0, steps=4)
    rates = [linear_warmup(step, schedule=falling, warmup=2) for step in range(7)]
    assert rates == [1.0, 2.0, *(falling(step) for step in range(5))]
    assert linear_warmup(3, schedule=falling, warmup=0) == falling(3)
    for bad in (3, None, lambda: 1.0):
        with pytest.raises(TypeError, match=r"^schedule: expected a callable \(step\)"):
            linear_warmup(0, schedule=bad, warmup=2)
    with pytest.raises(ValueError, match=r"^schedule: expected a number of at least 0, got -1"):
        linear_warmup(0, schedule=lambda step: -1.0, warmup=2)


@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("pct_start", [0.0, 0.5, 1.0])
def test_one_cycle_of_few_steps_stays_between_its_rates(steps, pct_start):
    rates = [one_cycle(step, lr=1.0, steps=steps, pct_start=pct_start) for step in range(5)]
    assert all(4e-6 * (1 - 1e-12) <= rate <= 1.0 for rate in rates)
    assert rates[steps - 1 :] == pytest.approx([1.0 if pct_start == 1.0 else 4e-6] * (6 - steps))


def test_a_plateau_needs_evaluations():
    go = functools.partial(train, MODEL, MODEL.init(seed=0), source(), steps=1)
    with pytest.raises(ValueError, match=r"^run: expected .* with validation batches, got none"):
        go(lr=functools.partial(plateau, lr=0.1))
    for run in (None, 3, SimpleNamespace(learning_rate=0.1, best_step=0, evaluate_every=None)):
        with pytest.raises(ValueError, match=r"^run: expected that of train, with validation"):
            plateau(3, run=run, lr=0.1)


def test_training_lowers_its_rate_where_evaluations_do_not_improve():
    class Watch(prnn.training.Callback):
        def __init__(self):
            self.rates, self.evaluations = [], []

        def on_step(self, run):
            self.rates.append(run.learning_rate)

        def on_evaluate(self, run):
            self.evaluations.append(run.evaluation)

    watch, given = Watch(), {"lr": 4.0, "factor": 0.25, "patience": 2, "warmup": 3}
    train(
        *(MODEL, MODEL.init(seed=0), source()),
        **{"steps": 40, "validation": source(), "evaluate_every": 2, "callbacks": [watch]},
        lr=functools.partial(plateau, **given),
    )
    rate, waited, wanted = 4.0, 0, []
    for step in range(40):
        if step % 2 == 0 and step > 0:
            seen = watch.evaluations[: step // 2]
            waited = 0 if seen[-1] < min(seen[:-1], default=np.inf) else waited + 1
            rate *= 0.25 if waited and waited % 2 == 0 and step > 3 else 1.0
        wanted.append(rate * min(1.0, (step + 1) / 3))
    assert watch.rates == pytest.approx(wanted)
    assert len(set(wanted[3:])) > 2


def test_a_schedule_of_ones_own_may_read_the_run():
    def faster(step, run):
        return 0.1 if run.step < 2 else 0.2

    run = train(MODEL, MODEL.init(seed=0), source(), steps=3, lr=faster)
    assert run.learning_rate == 0.2
