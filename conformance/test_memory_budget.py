"""Under a memory budget: the same gradients, with steps recomputed."""

import pytest

from .problems import TORCH_CELLS
from .references import load
from .standard import STANDARD
from .subject import check, put, solve_in_little_memory

NAMES = ("default", "40_steps", "two_layers-both_directions", "both_directions-lengths", "mask")


def cases(row, dtype):
    """Return a few problems of each cell."""
    names = NAMES[:1] if row.slow or dtype in ("float16", "bfloat16") else NAMES
    return [STANDARD[f"{cell}-{name}"] for cell in TORCH_CELLS for name in names]


def test_equals_the_reference_in_little_memory(backend, dtype, problem, record):
    if backend.one_piece:
        inputs = put(backend, problem.arrays(dtype))
        with pytest.raises(ValueError, match="the whole sequence is one computation"):
            solve_in_little_memory(problem.model, inputs)
        return
    check(backend, problem, dtype, load(problem), record, solve=solve_in_little_memory)
