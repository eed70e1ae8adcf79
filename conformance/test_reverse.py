"""Networks that read backwards, on every backend, against loops over scalars."""

from functools import lru_cache

import pytest

from .oracles.scalar_loop import gradients
from .problems import Problem
from .subject import check, put, solve_in_little_memory


def reading_backwards(cell, seed, **options):
    sizes = {"steps": 6, "batch": 3, "inputs": 2, "hidden": 3, "outputs": None}
    given = sizes | {"zero_state": False, "reverse": True} | options
    return Problem(cell, seed, cotangents="both", **given)


PROBLEMS = [
    reading_backwards("lstm", 3, ragged="lengths", layers=2, outputs=2),
    reading_backwards("elman", 1, ragged="lengths", layers=2, outputs=2, steps=9),
    reading_backwards("gru", 2, ragged="mask", layers=2, batch_first=True),
    reading_backwards("reset_before_gru", 4, batch=None, zero_state=True),
]


def cases(row, dtype):
    """Return all problems; one where every operation takes long, or on a variant."""
    if dtype not in ("float32", row.dtypes[0]):  # the gradients are tested in half precision
        return []
    return PROBLEMS[:1] if row.slow or row.variant else PROBLEMS


def when_named(row, dtype, problem):
    """Return whether a problem is left to the session that names its row: on slow rows but one."""
    return row.slow and (row.id != "jax-jit" or dtype != row.dtypes[0])


@lru_cache
def reference(problem, dtype):
    return gradients(problem, problem.arrays(dtype))


def test_a_network_that_reads_backwards_equals_loops_over_scalars(backend, dtype, problem, record):
    check(backend, problem, dtype, reference(problem, dtype), record)


def test_one_under_a_memory_budget_equals_them_too(backend, dtype, problem, record):
    if backend.one_piece:
        with pytest.raises(ValueError, match="the whole sequence is one computation"):
            solve_in_little_memory(problem.model, put(backend, problem.arrays(dtype)))
        return
    check(backend, problem, dtype, reference(problem, dtype), record, solve_in_little_memory)
