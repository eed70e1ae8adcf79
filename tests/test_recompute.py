"""Schedules of recomputation: every segment, from the right state, at the least cost."""

import math
from functools import lru_cache

import pytest

from portable_rnn._engine.gradient_checkpointing import (
    evaluations,
    initial_checkpoints,
    reverse_segments,
)


def walk(n, checkpoints):
    """Go back through ``n`` segments whose states are their numbers; return how many were run."""
    run, most, kept = 0, 0, {start: start for start in [0, *initial_checkpoints(n, checkpoints)]}
    assert len(kept) <= checkpoints + 1
    places = set(kept)

    def advance(state, start, end):
        nonlocal run
        assert state == start < end
        run += end - start
        return end

    order = []
    for segment, state in reverse_segments(n, checkpoints, kept, advance):
        order.append(segment)
        assert state == segment or segment == n - 1
        most = max(most, len(kept))
    assert order == list(range(n))[::-1]
    assert most <= len(places)
    assert not kept
    return run


@lru_cache
def fewest(n, checkpoints):
    """Return the fewest segments to be run to have every state, found by trying all splits.

    Nothing is kept beforehand, and the state before the last segment is wanted too.
    """
    if n == 1:
        return 0
    if checkpoints == 0:
        return n * (n - 1) // 2
    return min(k + fewest(n - k, checkpoints - 1) + fewest(k, checkpoints) for k in range(1, n))


@pytest.mark.parametrize("checkpoints", [0, 1, 2, 3, 5, 8])
def test_no_schedule_runs_fewer_segments(checkpoints):
    """By dynamic programming, less what the first run has done already."""
    for n in range(1, 50):
        start, done = 0, 0
        for place in initial_checkpoints(n, checkpoints):
            done += place - start
            start = place
        # The last segment needs no state: without a slot left, that is one run of the rest less.
        free = checkpoints - len(initial_checkpoints(n, checkpoints))
        rest = n - start - 1 if free == 0 else 0
        assert walk(n, checkpoints) == fewest(n, checkpoints) - done - rest, n


def test_with_a_slot_for_each_unit_each_is_run_once_more():
    for n in (1, 2, 7, 100):
        assert evaluations(n, n - 1) == n - 1
        assert walk(n, n - 1) == 0


def test_what_a_plan_counts_is_what_is_run():
    for n in range(1, 40):
        for checkpoints in range(6):
            assert evaluations(n, checkpoints) == walk(n, checkpoints) + n - 1


@pytest.mark.parametrize(
    ("n", "checkpoints", "want"),
    [
        (10**12, 0, 10**12 * (10**12 - 1) // 2),
        (10**12, 10**12 - 1, 10**12 - 1),
        (10**12, 10**15, 10**12 - 1),
        (1, 0, 0),
        # The most segments that two sweeps can cover (Griewank and Walther, equation 4).
        (math.comb(10**6 + 3, 2), 10**6, 2 * math.comb(10**6 + 3, 2) - (10**6 + 3)),
    ],
)
def test_units_are_counted_at_once_however_many_there_are(n, checkpoints, want):
    assert evaluations(n, checkpoints) == want


def test_a_schedule_of_many_units_begins_at_once():
    places = initial_checkpoints(10**12, 40)
    assert len(places) == 40
    assert places == sorted(set(places))
    assert places[-1] < 10**12


def test_few_slots_go_a_long_way():
    assert evaluations(1000, 10) < 4 * 1000
    assert evaluations(1000, 0) > 400 * 1000
