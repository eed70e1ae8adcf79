"""Memory plans: segments for a budget, where time is cut, and budgets given as text."""

import dataclasses
import re

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import memory
from portable_rnn._engine import chunks
from portable_rnn._engine.setup import Setup
from portable_rnn._executors.eager import EAGER


@pytest.fixture(autouse=True)
def for_the_loop_in_python(short_chunks):
    """Plan for the Python loop, in chunks of few rows."""
    with prnn.executors.use("eager"):
        yield


@pytest.mark.parametrize(
    ("steps", "batch", "same", "other"),
    # Without a budget time is cut every 3 steps, 1 step, 384 steps, and not at all.
    [
        (40, 128, (3, 21, 40), (1, 2, 4, 20)),
        (9, 500, (1, 2, 9), ()),
        (800, 1, (384, 768, 800), (1, 192, 383, 385, 500)),
        (300, 1, (300,), (1, 100, 299)),
    ],
)
def test_a_plan_says_whether_time_is_cut_in_the_same_places(steps, batch, same, other):
    model = prnn.RNN(3, 8, 4)

    def cut(plan):
        pieces = chunks.cut_into_chunks(
            Setup(np, EAGER, None, segments=plan.schedule), steps, batch
        )
        return [piece.rows for segment in pieces for piece in segment]

    full = prnn.memory.plan(model, steps, batch)
    assert full.same_bits
    for every in (*same, *other):
        plan = prnn.memory.plan(model, steps, batch, checkpoint_every=every)
        assert plan.same_bits == (every in same) == (cut(plan) == cut(full)), every


def test_a_plan_of_one_unit_in_small_pieces_has_other_bits():
    model = prnn.RNN(64, 384, cell="lstm", num_layers=4)
    plan = dataclasses.replace(prnn.memory.plan(model, 40, 16), chunk_rows=16)
    assert plan.segments == 1
    assert not plan.same_bits


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_a_plan_in_float64_is_twice_that_in_float32_but_for_objects(cell):
    one, two = (
        prnn.memory.plan(prnn.RNN(2, 64, cell=cell), 1, 2000, dtype=dtype).peak - memory.FIRST
        for dtype in ("float32", "float64")
    )
    assert 1.99 * one < two <= 2 * one


def test_half_precision_takes_half_of_float32():
    plans = {d: prnn.memory.plan(prnn.RNN(2, 64), 400, 8, dtype=d) for d in ("float16", "bfloat16")}
    assert plans["float16"] == plans["bfloat16"]
    one, two = (prnn.memory.plan(prnn.RNN(2, 64), 400, 8, dtype=f"float{n}") for n in (32, 64))
    half = plans["float16"].full_tape  # Python's objects are equally large for every dtype
    assert two.full_tape - one.full_tape == 2 * (one.full_tape - half) > 0


def test_a_plan_tries_units_of_all_sizes():
    """Half of a million steps fit, so all are recomputed except those of the last of few units."""
    model, steps = prnn.RNN(2, 8), 1_000_000
    full = prnn.memory.plan(model, steps, 1)
    found = [prnn.memory.plan(model, steps, 1, memory=full.peak // 2**n) for n in range(1, 5)]
    assert [plan.segments < most for plan, most in zip(found, (4, 8, 20, 150), strict=True)] == [
        True
    ] * 4
    assert found[0].recompute < 0.7
    for share, plan in zip((2, 4, 8, 16), found, strict=True):
        assert 0.55 * full.peak / share < plan.peak <= full.peak / share


def test_a_plan_says_what_it_will_take():
    model = prnn.RNN(16, 256, cell="lstm")
    full = prnn.memory.plan(model, 4096, 16)
    assert (full.segments, full.checkpoints, full.recompute, full.time) == (1, 0, 0.0, 1.0)
    before = full
    for share in (2, 4, 16, 48):
        plan = prnn.memory.plan(model, 4096, 16, memory=full.full_tape // share)
        assert plan.peak <= full.full_tape // share
        assert plan.recompute >= before.recompute
        before = plan
    assert before.recompute < 3.5
    one_level = prnn.memory.plan(model, 4096, 16, checkpoint_every=64)
    assert (one_level.segments, one_level.checkpoints) == (64, 63)
    assert one_level.recompute < 1
    assert 1.2 < one_level.time < 1.5  # measured: 1.28
    assert "63 states kept" in str(one_level)
    often = prnn.memory.plan(model, 4096, 16, checkpoint_every=4)
    assert often.peak > often.checkpoints * 2 * 16 * 256 * 4  # bytes of the states h and c
    assert prnn.memory.plan(model, 10, 1, memory="1.5GB").segments == 1


@pytest.mark.parametrize(
    ("cell", "hidden", "batch", "every", "least", "most"),
    [  # bounds around the measured values: 6.9, 4.2, 1.6, 2.7, 1.2
        ("gru", 16, 1, 1, 4.5, 9.0),
        ("gru", 16, 1, 2, 3.0, 6.0),
        ("gru", 16, 1, 16, 1.4, 2.1),
        ("lstm", 64, 16, 1, 2.0, 4.0),
        ("lstm", 512, 64, 1, 1.1, 1.6),
    ],
)
def test_a_plan_of_small_units_takes_longer(cell, hidden, batch, every, least, most):
    model = prnn.RNN(4, hidden, cell=cell)
    plan = prnn.memory.plan(model, 768, batch, checkpoint_every=every)
    assert least < plan.time < most
    assert plan.time >= 1.0 + memory.FORWARD * plan.recompute
    assert f"about {plan.time:.2f} times the time" in str(plan)


def test_a_plan_that_saves_nothing_says_so():
    model = prnn.RNN(4, 16, cell="gru")
    full = prnn.memory.plan(model, 2000, 1)
    assert full.peak == full.full_peak
    worse = prnn.memory.plan(model, 2000, 1, checkpoint_every=1)
    assert worse.peak < worse.full_peak == full.peak
    one = prnn.RNN(4, 1)  # with one unit, a state is as large as its step
    worse = prnn.memory.plan(one, 2000, 1, checkpoint_every=1)
    assert worse.peak > worse.full_peak
    assert f"no budget would take less, {worse.full_peak / 2**20:.1f} MiB" in str(worse)
    for plan in (full, prnn.memory.plan(model, 2000, 1, checkpoint_every=16)):
        assert "no budget" not in str(plan)


def test_singular_and_plural_are_distinguished():
    model = prnn.RNN(4, 16, cell="gru")
    assert ": 1 segment of 20 rows, 0 states kept" in str(prnn.memory.plan(model, 20, 1))
    two = str(prnn.memory.plan(model, 2, 1, checkpoint_every=1))
    assert ": 2 segments of 1 row, 1 state kept" in two


@pytest.mark.parametrize(
    ("segment", "size"),
    [("", 1), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("KiB", 2**10), ("MiB", 2**20), ("G", 1e9)],
)
def test_a_text_says_how_many_bytes(segment, size):
    """Exactly the smallest budget, and one byte less."""

    def plan(memory):
        return prnn.memory.plan(prnn.RNN(16, 64, 4, cell="lstm"), 1000, 4, memory=memory)

    with pytest.raises(ValueError, match="expected at least") as raised:
        plan(1)
    least = int(re.search(r"at least (\d+) bytes", str(raised.value))[1])
    assert plan(f"{(least + 0.5) / size:.15f} {segment}").peak == least
    with pytest.raises(ValueError, match="expected at least"):
        plan(f"{(least - 0.5) / size:.15f} {segment}")


@pytest.mark.parametrize("steps", [10**6, 10**12, 2**62])
def test_a_plan_of_any_length_is_made_at_once(steps):
    """Planning naively would take too long for each of these."""
    model = prnn.RNN(64, 256, cell="lstm")
    every = prnn.memory.plan(model, steps, 16, checkpoint_every=2)
    assert (every.segments, every.checkpoints) == (-(-steps // 2), -(-steps // 2) - 1)
    assert every.recompute == pytest.approx(1.0, abs=1e-5)
    full = prnn.memory.plan(model, steps, 16)
    assert (full.segments, full.checkpoints, full.recompute) == (1, 0, 0.0)
    assert prnn.memory.plan(model, steps, 16, memory=f"{full.peak} B").segments == 1
    some = prnn.memory.plan(model, steps, 16, memory=f"{full.peak // 4} B")
    assert some.peak <= full.peak // 4
    assert 0.5 < some.recompute < 1.0
    with pytest.raises(ValueError, match=r"^memory: expected at least \d+ bytes"):
        prnn.memory.plan(model, steps, 16, memory=1)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"steps": 10**300}, ValueError, "steps: expected an int of 64 bits, got 1000"),
        (
            {"steps": 10**5000},
            ValueError,
            "steps: expected an int of 64 bits, got one of int that cann",
        ),
        ({"steps": True}, TypeError, "steps: expected an int, got True"),
        ({"batch": 1.0}, TypeError, r"batch: expected an int, got 1\.0"),
        ({"model": "lstm"}, TypeError, "model: expected an RNN, got 'lstm'"),
        ({"model": prnn.RNN}, TypeError, "model: expected an RNN, got RNN"),
        ({"dtype": None}, TypeError, "dtype: expected the name of a floating type.*got None"),
        ({"dtype": "int32"}, TypeError, "dtype: expected the name of a floating type.*got 'int32'"),
        ({"dtype": "float31"}, TypeError, "dtype: expected the name of a floating type"),
        ({"dtype": "f8,i4"}, TypeError, "dtype: expected the name of a floating type"),
        ({"memory": "\u0663 MiB"}, ValueError, "memory: expected bytes, or a text such as"),
        ({"memory": 0.5}, TypeError, r"memory: expected bytes, or a text .*got 0\.5"),
        ({"memory": True}, TypeError, "memory: expected bytes, or a text .*got True"),
        ({"checkpoint_every": 10**300}, ValueError, "checkpoint_every: expected an int of 64"),
    ],
)
def test_a_wrong_size_is_refused_by_name(options, error, message):
    given = {"model": prnn.RNN(3, 4), "steps": 10, "batch": 2} | options
    with pytest.raises(error, match=f"^{message}"):
        prnn.memory.plan(**given)


def test_a_budget_may_have_any_number_of_digits():
    model = prnn.RNN(3, 4)
    assert prnn.memory.plan(model, 10, 2, memory="9" * 400 + " GiB").segments == 1
    fraction = prnn.memory.plan(model, 10, 2, memory="0.0009765625 GiB")
    assert fraction == prnn.memory.plan(model, 10, 2, memory=2**20)


@pytest.mark.parametrize(
    "change", [{"checkpoints": -1}, {"segment_rows": None}, {"chunk_rows": 1.5}]
)
def test_a_wrong_plan_is_refused_by_name(change):
    model = prnn.RNN(3, 4)
    plan = dataclasses.replace(prnn.memory.plan(model, 5, 2), **change)
    with pytest.raises((TypeError, ValueError), match=rf"^memory\.{next(iter(change))}: expected"):
        prnn.forward(model, model.init(dtype="float64"), np.ones((5, 2, 3)), memory=plan)
