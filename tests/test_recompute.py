"""Schedules of recomputation: each unit in turn, from the right state, at the least cost."""

import math
from functools import lru_cache

import pytest

from portable_rnn._engine.checkpointing import backwards, evaluations, first_places


def walk(n, slots):
    """Go back through ``n`` units whose states are their numbers; return how many were run."""
    run, most, kept = 0, 0, {start: start for start in [0, *first_places(n, slots)]}
    assert len(kept) <= slots + 1
    places = set(kept)

    def advance(state, start, end):
        nonlocal run
        assert state == start < end
        run += end - start
        return end

    order = []
    for unit, state in backwards(n, slots, kept, advance):
        order.append(unit)
        assert state == unit or unit == n - 1
        most = max(most, len(kept))
    assert order == list(range(n))[::-1]
    assert most <= len(places)
    assert not kept
    return run


@lru_cache
def fewest(n, slots):
    """Return the fewest units that have to be run to have every state, found by trying all splits.

    Nothing is kept beforehand, and the state before the last unit is wanted too.
    """
    if n == 1:
        return 0
    if slots == 0:
        return n * (n - 1) // 2
    return min(k + fewest(n - k, slots - 1) + fewest(k, slots) for k in range(1, n))


@pytest.mark.parametrize("slots", [0, 1, 2, 3, 5, 8])
def test_no_schedule_runs_fewer_units(slots):
    """By dynamic programming, less what the first run has done already."""
    for n in range(1, 50):
        start, done = 0, 0
        for place in first_places(n, slots):
            done += place - start
            start = place
        # The last unit needs no state: without a slot left, that is one run of the rest less.
        free = slots - len(first_places(n, slots))
        rest = n - start - 1 if free == 0 else 0
        assert walk(n, slots) == fewest(n, slots) - done - rest, n


def test_with_a_slot_for_each_unit_each_is_run_once_more():
    for n in (1, 2, 7, 100):
        assert evaluations(n, n - 1) == n - 1
        assert walk(n, n - 1) == 0


def test_what_a_plan_counts_is_what_is_run():
    for n in range(1, 40):
        for slots in range(6):
            assert evaluations(n, slots) == walk(n, slots) + n - 1


@pytest.mark.parametrize(
    ("n", "slots", "want"),
    [
        (10**12, 0, 10**12 * (10**12 - 1) // 2),
        (10**12, 10**12 - 1, 10**12 - 1),
        (10**12, 10**15, 10**12 - 1),
        (1, 0, 0),
        # The most that can be done in two sweeps (Griewank and Walther, equation 4).
        (math.comb(10**6 + 3, 2), 10**6, 2 * math.comb(10**6 + 3, 2) - (10**6 + 3)),
    ],
)
def test_units_are_counted_at_once_however_many_there_are(n, slots, want):
    assert evaluations(n, slots) == want


def test_a_schedule_of_many_units_begins_at_once():
    places = first_places(10**12, 40)
    assert len(places) == 40
    assert places == sorted(set(places))
    assert places[-1] < 10**12


def test_few_slots_go_a_long_way():
    assert evaluations(1000, 10) < 4 * 1000
    assert evaluations(1000, 0) > 400 * 1000
