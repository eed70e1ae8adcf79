"""The fused kernels of CuPy's arrays, and the products between them."""

from ..mutant import Mutant

__all__ = ["FUSED"]

FOLDER = "_executors"
LAYER = "tests/test_fused.py::test_a_layer_equals_the_engine[gru-float64]"

FUSED = [
    Mutant(
        "the state after a step read before it",
        f"{FOLDER}/cuda_step.py",
        'return f"T(states[({i} * (steps + 1) + before) * plane + n])"',
        'return f"T(states[({i} * (steps + 1) + after) * plane + n])"',
        LAYER,
    ),
    Mutant(
        "no bias of the recurrent product",
        f"{FOLDER}/cuda_step.py",
        'read(leaf: Leaf) -> str:\n        name, i = leaf\n        if name in ("ax", "ah"):',
        'read(leaf: Leaf) -> str:\n        name, i = leaf\n        if name == "ah":\n'
        '            return f"T(ah[row * {p.gates} * units + {i} * units + unit])"\n'
        '        if name == "ax":',
        LAYER,
    ),
    Mutant(
        "a product of a hidden state that is not there yet",
        f"{FOLDER}/fused.py",
        "multiply(h + before * size_of_step, out)",
        "multiply(h + after * size_of_step, out)",
        LAYER,
    ),
    Mutant(
        "no cotangent from the next step",
        f"{FOLDER}/fused.py",
        "given = d_product",
        "given = None",
        LAYER,
    ),
    Mutant(
        "residuals of all steps in one place",
        f"{FOLDER}/fused.py",
        "t if keep else 0",
        "0",
        LAYER,
    ),
    Mutant(
        "the same rows summed again",
        f"{FOLDER}/cublas.py",
        "done += leaves * leaf",
        "done += leaf",
        "tests/test_fused.py::test_gradients_of_many_rows_are_as_exact_as_of_few",
    ),
    Mutant(
        "one update for all sequences read beyond its end",
        f"{FOLDER}/fused.py",
        "return cp.ascontiguousarray(cp.broadcast_to(update, (*size, update.shape[2])))",
        "return cp.ascontiguousarray(update)",
        "tests/test_fused.py::test_a_layer_with_options_of_a_step_equals_the_engine"
        "[gru-zoneout, predicted]",
    ),
]
