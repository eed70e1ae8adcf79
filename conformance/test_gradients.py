"""The standard problems on every backend, in every dtype, against stored 50-digit results.

Outputs, final state, and the gradients of parameters, inputs and initial state; for each of them
also dtype, library and device, unchanged inputs, and the same bits in a second run.
"""

import pytest

from .problems import OTHER_CELLS, TORCH_CELLS
from .references import load
from .standard import few, long, pairs, singles
from .subject import check, put, solve


def cases(row, dtype):
    """Return the problems of a row; fewer where every new shape takes long, or precision is low."""
    found = []
    whole = not row.slow or dtype == row.dtypes[0]
    for cell in TORCH_CELLS:
        if row.slow:
            names = FEW if whole and cell == "lstm" else FEWEST
            found += [p for p in singles(cell) if p.id.split("-")[1] in names]
            if row.many_steps and cell == "lstm" and dtype not in HALVES:
                found += long(cell)[:1]
            continue
        found += singles(cell)
        if not row.shapes_only and dtype not in HALVES:
            found += long(cell) + (pairs(cell) if has_pairs(row, dtype) else [])
    if whole:
        for cell in OTHER_CELLS:
            found += few(cell)[:1] if row.slow or row.variant else few(cell)
    # Rounding of half precision adds up over many steps, and says nothing about the code.
    return found if dtype not in HALVES else [p for p in found if p.steps <= 7]


def when_named(row, dtype, problem):
    """Return whether a problem is left to the session that names its row.

    Left are: pairs of options, which interact in the engine, except on NumPy's row; `jax` in half
    precision, which `jax-jit` runs compiled; `jax-x32`, except for the default problems; and
    `array-api-strict` in float64 or with many steps, since it adds up as NumPy does, at ten times
    the cost. Of the other cells, rows without values run one problem each, and slow rows run one
    cell of each kind of code.
    """
    if row.id != "numpy" and problem.cell in TORCH_CELLS and problem.id.count("-") == 2:
        return True
    if row.library == "array_api_strict":
        return (dtype == "float64" and not row.variant) or problem.steps > 40
    if row.shapes_only:
        return problem.steps > 7 or (
            problem.cell in OTHER_CELLS and not problem.id.endswith("-default")
        )
    if row.slow and problem.cell in OTHER_CELLS and problem.cell not in MORE_OF_A_KIND:
        return True
    if row.id == "jax-x32":
        return not problem.id.endswith("-default")
    return row.id == "jax" and dtype in HALVES


def has_pairs(row, dtype):
    """Return whether options are tried in pairs, which interact in the engine in any dtype."""
    return row.pairs and (dtype == "float64" or row.id == "numpy")


HALVES = ("float16", "bfloat16")
# One of each kind of code, for the LSTM with its two states: other problems run the same graph at
# another size. And for other cells and dtypes, what differs there.
FEW = (
    *("default", "one_step", "unbatched", "zero_state"),
    *("state_only", "readout", "batch_first"),
)
FEWEST = ("default", "readout", "relu")
# Two products in a step; vectors of its own; a state of two sizes; and the most functions of `xp`.
MORE_OF_A_KIND = ("reset_before_gru", "layer_norm_lstm", "projected_lstm", "onnx_gru", "onnx_lstm")


def test_equals_the_reference(backend, dtype, problem, record):
    if not backend.takes(problem.model, dtype):
        with pytest.raises(ValueError, match=f"executor: .*{dtype}"):
            backend.call(solve, problem.model, put(backend, problem.arrays(dtype)))
        return
    check(backend, problem, dtype, load(problem), record)
