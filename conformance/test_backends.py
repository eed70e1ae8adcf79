"""Every backend against torch.nn, on the problems of test_torch.py."""

import pytest

from .backends import BACKENDS
from .problems import CELLS, GROUPS, group, shared_shapes
from .subject import check

# One group after another, so that neighbouring tests need the same references.
ROWS = [
    (row.id, name)
    for name in (*GROUPS, "shared-shapes")
    for row in BACKENDS.values()
    if row.id != "numpy"  # has test_torch.py
    if row.compiles == (name == "shared-shapes")
]


@pytest.mark.parametrize(("backend", "name"), ROWS, indirect=["backend"])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("cell", CELLS)
def test_equals_torch(backend, name, cell, dtype, reference, record_error):
    for problem in shared_shapes(cell) if backend.compiles else group(cell, name):
        error = check(backend, problem, dtype, reference(problem, dtype))
        record_error(f"{backend.id} {cell} {dtype}", error)
