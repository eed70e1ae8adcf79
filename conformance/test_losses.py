"""The losses, option by option, on every backend: value and gradient, from their definitions.

On NumPy also against torch's.
"""

from functools import lru_cache, partial
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest

from portable_rnn import losses

from .losses import CASES, CLASSES, value_and_gradient
from .tolerances import allowed_eps, assert_close


def dtypes(row):
    """Return those of full precision: the numbers of the cases are not exact in half precision."""
    return [dtype for dtype in row.dtypes if dtype in ("float64", "float32")]


class Problem(NamedTuple):
    """A case, how it is reduced, and whether some steps do not count."""

    case: str
    reduction: str
    masked: bool

    @property
    def id(self):
        return f"{self.case}-{self.reduction}-{'masked' if self.masked else 'all'}"


PROBLEMS = [Problem(*one) for one in product(CASES, ("mean", "sum"), (False, True))]


def cases(row, dtype):
    """Return all cases, reduced in all ways."""
    return PROBLEMS if dtype in dtypes(row) else []


def when_named(row, dtype, problem=None):
    """Return whether a dtype or a problem is left to the session that names its row.

    On slow rows all dtypes are left but the first, which is float64, or float32 where there is no
    other. There and on variants, each case is reduced in one way only; on slow rows, of the cases
    of a loss without labels only the last one, which has most options, is run.
    """
    if row.slow and dtype != row.dtypes[0]:
        return True
    if problem is None or not (row.slow or row.variant):
        return False
    loss, _ = CASES[problem.case]
    way = ("mean", "sum")[list(CASES).index(problem.case) % 2]
    last = loss.labels or problem.case == list(loss.cases)[-1]
    return problem[1:] != (way, True) or (row.slow and not last)


SHAPE = (7, 3)  # T and B


def by_torch(name, outputs, targets, options, reduction):
    import torch

    outputs = torch.tensor(outputs).double().requires_grad_()
    targets = torch.tensor(targets)
    if targets.is_floating_point():
        targets = targets.double()
    flat = outputs.reshape(-1, CLASSES)
    targets = targets.reshape(len(flat), -1) if targets.ndim == 3 else targets.reshape(-1)
    options = {
        key: torch.tensor(value).double() if isinstance(value, np.ndarray) else value
        for key, value in options.items()
    }
    call = getattr(torch.nn.functional, name) if isinstance(name, str) else partial(name, torch)
    value = call(flat, targets, reduction=reduction, **options)
    value.backward()
    return value.detach().numpy(), outputs.grad.numpy()


def lose(static, outputs, targets, arrays):
    """Call a loss in the form that `Backend.call` compiles."""
    name, *options = static
    value, d_outputs = getattr(losses, name)(outputs, targets, **dict(options), **arrays)
    return {"value": value, "d_outputs": d_outputs}


MASK = np.asarray([[1, 1, 0], [1, 0, 1], [1, 1, 1], [0, 0, 0], [1, 1, 1], [1, 0, 0], [1, 1, 1]])


def drawn(case, dtype):
    """Return loss, outputs, targets, array options and plain options of a case."""
    loss, given = CASES[case]
    rng = np.random.default_rng(len(case))
    outputs = (3.0 * rng.standard_normal((*SHAPE, CLASSES))).astype(dtype)
    targets, options = given.targets(rng, SHAPE), given.options
    if targets.dtype.kind == "f":
        targets = targets.astype(dtype)
    arrays = {k: v.astype(dtype) for k, v in options.items() if isinstance(v, np.ndarray)}
    return (
        loss.name,
        outputs,
        targets,
        arrays,
        {k: v for k, v in options.items() if k not in arrays},
    )


@lru_cache
def by_definition(problem, dtype):
    """Return value and gradient of a problem; the same for all rows."""
    case, reduction, masked = problem
    name, outputs, targets, arrays, plain = drawn(case, dtype)
    weights = MASK.astype(dtype) if masked else None
    options = arrays | plain | {"reduction": reduction}
    return value_and_gradient(name, outputs, targets, weights=weights, **options)


def test_a_loss_is_its_definition(backend, dtype, problem, record):
    case, reduction, masked = problem
    name, outputs, targets, arrays, plain = drawn(case, dtype)
    if masked:
        arrays["weights"] = MASK.astype(dtype)
    static = (name, *(plain | {"reduction": reduction}).items())
    given = backend.put(outputs), backend.put(targets)
    moved = {key: backend.put(array) for key, array in arrays.items()}
    found = backend.call(lose, static, *given, moved)
    again = backend.call(lose, static, *given, moved)
    wanted = by_definition(problem, dtype)
    for what, array in found.items():
        ref = wanted[what == "d_outputs"]
        assert tuple(array.shape) == ref.shape
        assert array.dtype == given[0].dtype
        if backend.shapes_only:
            continue
        got, allowed = backend.get(array), allowed_eps(backend.id, dtype)
        eps = assert_close(got, ref, f"{backend.id}: {what} of {name}, {case}, {dtype}", k=allowed)
        record("losses", f"{name}-{case}-{reduction}", what, SHAPE[0], eps, allowed)
        assert got.tobytes() == backend.get(again[what]).tobytes()


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("case", [case for case, (loss, _) in CASES.items() if loss.torch])
def test_the_definition_is_torchs_too(case, reduction):
    name, outputs, targets, arrays, plain = drawn(case, "float64")
    ours = value_and_gradient(name, outputs, targets, reduction=reduction, **arrays, **plain)
    loss, given = CASES[case]
    theirs = by_torch(loss.torch, outputs, targets, given.torch, reduction)
    for got, ref in zip(ours, theirs, strict=True):
        assert_close(got, ref, f"{name}, {case}")


def values(backend, name, options, outputs, targets):
    """Return loss and gradient as NumPy arrays."""
    static = (name, *options.items())
    given = backend.put(outputs.astype(backend.dtypes[0])), backend.put(targets)
    found = backend.call(lose, static, *given, {})
    return [backend.get(found[key]) for key in ("value", "d_outputs")]


@pytest.mark.parametrize("integer", ["uint8", "int8", "int16", "int32", "int64"])
def test_labels_of_any_integer_dtype_are_accepted(backend, integer):
    """Bytes are labels: 256 classes fit uint8, though 256 itself and -100 do not."""
    classes = min(256, np.iinfo(integer).max + 1)
    rng = np.random.default_rng(0)
    outputs = rng.standard_normal((4, 2, classes)).astype("float32")
    labels = rng.integers(0, classes, (4, 2))
    labels[0, 0], labels[1, 0] = classes - 1, classes - 100  # -100 wraps to 156 in uint8
    options = {"ignore_index": -100}
    got = values(backend, "softmax_cross_entropy", options, outputs, labels.astype(integer))
    want = value_and_gradient("softmax_cross_entropy", outputs, labels, **options)
    for array, ref in zip(got, want, strict=True):
        if not backend.shapes_only:
            assert_close(array, ref, f"{backend.id}: softmax with {integer} labels")


def test_an_unchecked_label_out_of_range_is_nan_not_a_wrong_number(backend):
    """Labels on a device are not read, and indexing would wrap or clip."""
    for bad in (-1, CLASSES):
        for reduction in ("mean", "sum"):
            labels = np.asarray([0, bad, 1])
            options = {"check_targets": False, "reduction": reduction}
            outputs = np.zeros((3, CLASSES))
            value, d_outputs = values(backend, "softmax_cross_entropy", options, outputs, labels)
            if not backend.shapes_only:
                assert np.isnan(value)
                assert np.isnan(d_outputs[1]).all()


def test_extreme_logits_do_not_overflow(backend):
    logits = np.asarray([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]])
    rows = np.eye(3, dtype=backend.dtypes[0])[[1, 2]]
    wanted = {
        "softmax_cross_entropy": (2e4 + np.log(3.0), [[1.0, -1.0, 0.0], [1 / 3, 1 / 3, -2 / 3]]),
        "binary_cross_entropy": (3e4 + np.log(2.0), [[1.0, -1.0, 0.5], [0.0, 0.0, -1.0]]),
    }
    for name, want in wanted.items():
        got = values(backend, name, {"reduction": "sum"}, logits, rows)
        for array, ref in zip(got, want, strict=True):
            if not backend.shapes_only:
                assert_close(array, np.asarray(ref, dtype="float64"), f"{backend.id}: {name}")
