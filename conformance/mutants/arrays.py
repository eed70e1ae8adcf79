"""Arrays: library, dtype, device, and writes into the caller's memory."""

from ..mutant import Mutant, gradients

__all__ = ["ARRAYS"]

FRAMES = (
    "tests/test_bad_arrays.py::"
    "test_frames_and_sparse_matrices_are_refused_with_the_conversion[predict]"
)

ARRAYS = [
    Mutant(
        "constant wrong by 1e-5 in float32",
        "activations.py",
        "return 1.0 - h * h",
        "return 1.00001 - h * h",
        gradients("elman-default", dtype="float32"),
    ),
    Mutant(
        "device forgotten",
        "_arrays/functions.py",
        "xp.zeros(shape, dtype=like.dtype, device=device_of(like))",
        "xp.zeros(shape, dtype=like.dtype)",
        gradients("elman-zero_state", "array-api-strict-device1"),
    ),
    Mutant(
        "dtype forgotten",
        "_arrays/functions.py",
        "type(like)(shape, like.dtype)",
        "type(like)(shape)",
        gradients("elman-zero_state", dtype="float32"),
    ),
    Mutant(
        "host constant mixed in",
        "activations.py",
        "return 1.0 - h * h",
        "return __import__('numpy').ones(h.shape[-1]) - h * h",
        gradients("elman-default", "array-api-strict"),
    ),
    Mutant(
        "float in the hot path",
        "_engine/run.py",
        "hidden)\n            if stack",
        "hidden)\n            float(y[0, 0, 0])\n            if stack",
        gradients("elman-default", "torch-meta", "float32"),
    ),
    Mutant(
        "write into the caller's array",
        "_calls/call.py",
        "    sequence, steps = layout.time_major(xp, model, shape), Steps()\n",
        "    x *= 1.0\n    sequence, steps = layout.time_major(xp, model, shape), Steps()\n",
        gradients("elman-default", "numpy-readonly"),
    ),
    Mutant(
        "a conversion of Arrow's that refuses nulls",
        "_arrays/scalars.py",
        ' and not hasattr(kind, "__arrow_c_array__")',
        "",
        FRAMES,
    ),
    Mutant(
        "a lazy frame without its conversion",
        "_arrays/scalars.py",
        "{name}.collect().to_numpy()",
        "{name}.to_numpy()",
        FRAMES,
    ),
    Mutant(
        "lengths of no numbers without what reads them",
        "_calls/valid_steps.py",
        "            if found.dtype == np.object_:\n                raise TypeError\n",
        "",
        "tests/test_bad_arrays.py::test_lengths_are_a_column_or_name_what_makes_one",
    ),
    Mutant(
        "names of columns taken for indices",
        "text.py",
        ' or len(getattr(value, "shape", ())) > 1',
        "",
        "tests/test_text.py::test_names_of_columns_are_no_indices",
    ),
]
