"""The losses against torch's, option by option, on every backend: value and gradient."""

import numpy as np
import pytest

from portable_rnn import losses

from .backends import BACKENDS
from .tolerances import assert_close

SHAPE, CLASSES = (7, 3), 5  # T, B and the number of classes or features


def labels(rng):
    found = rng.integers(0, CLASSES, SHAPE)
    found[0, 0], found[1, 1] = 0, CLASSES - 1
    return found


def ignored_labels(rng):
    found = labels(rng)
    found[2:4, 1] = -100
    return found


def rows(rng):
    found = rng.uniform(0.0, 1.0, (*SHAPE, CLASSES))
    return found / found.sum(axis=-1, keepdims=True)


def unit(rng):
    return rng.uniform(0.0, 1.0, (*SHAPE, CLASSES))


FACTORS = np.asarray([0.5, 1.0, 2.0, 0.0, 1.5])

# id: loss, name in torch.nn.functional, targets, our options, torch's options
CASES = {
    "labels": ("softmax_cross_entropy", "cross_entropy", labels, {}, {}),
    "class-weights": (
        *("softmax_cross_entropy", "cross_entropy", labels),
        *({"class_weights": FACTORS}, {"weight": FACTORS}),
    ),
    "ignore_index": (
        *("softmax_cross_entropy", "cross_entropy", ignored_labels),
        *({"ignore_index": -100}, {"ignore_index": -100}),
    ),
    "ignored-class": (
        *("softmax_cross_entropy", "cross_entropy", labels),
        *({"ignore_index": 2}, {"ignore_index": 2}),
    ),
    "label-smoothing": (
        *("softmax_cross_entropy", "cross_entropy", labels),
        *({"label_smoothing": 0.3}, {"label_smoothing": 0.3}),
    ),
    "all-of-them": (
        *("softmax_cross_entropy", "cross_entropy", ignored_labels),
        {"class_weights": FACTORS, "ignore_index": -100, "label_smoothing": 0.1},
        {"weight": FACTORS, "ignore_index": -100, "label_smoothing": 0.1},
    ),
    "rows": ("softmax_cross_entropy", "cross_entropy", rows, {}, {}),
    "rows-of-any-sum": ("softmax_cross_entropy", "cross_entropy", unit, {}, {}),
    "rows-class-weights-smoothing": (
        *("softmax_cross_entropy", "cross_entropy", rows),
        {"class_weights": FACTORS, "label_smoothing": 0.2},
        {"weight": FACTORS, "label_smoothing": 0.2},
    ),
    "squares": ("mean_squared_error", "mse_loss", unit, {}, {}),
    "logits": ("binary_cross_entropy", "binary_cross_entropy_with_logits", unit, {}, {}),
}


def by_torch(name, outputs, targets, options, reduction):
    import torch

    outputs = torch.tensor(outputs).double().requires_grad_()
    targets = torch.tensor(targets)
    if targets.is_floating_point():
        targets = targets.double()
    flat = outputs.reshape(-1, CLASSES)
    targets = targets.reshape(-1, CLASSES) if targets.ndim == 3 else targets.reshape(-1)
    options = {
        key: torch.tensor(value).double() if isinstance(value, np.ndarray) else value
        for key, value in options.items()
    }
    value = getattr(torch.nn.functional, name)(flat, targets, reduction=reduction, **options)
    value.backward()
    return value.detach().numpy(), outputs.grad.numpy()


def lose(static, outputs, targets, arrays):
    """Call a loss in the form that `Backend.call` compiles."""
    name, *options = static
    return getattr(losses, name)(outputs, targets, **dict(options), **arrays)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
@pytest.mark.usefixtures("reference")  # which is torch too
def test_equals_torch(backend, case, record_error):
    ours, theirs, draw_targets, our_options, torch_options = CASES[case]
    for dtype in ("float64", "float32"):
        rng = np.random.default_rng(len(case))
        outputs = (3.0 * rng.standard_normal((*SHAPE, CLASSES))).astype(dtype)
        targets = draw_targets(rng)
        if targets.dtype.kind == "f":
            targets = targets.astype(dtype)
        arrays = {
            key: backend.put(value.astype(dtype))
            for key, value in our_options.items()
            if isinstance(value, np.ndarray)
        }
        plain = {key: value for key, value in our_options.items() if key not in arrays}
        for reduction in ("mean", "sum"):
            given, wanted = backend.put(outputs), backend.put(targets)
            static = (ours, *(plain | {"reduction": reduction}).items())
            value, d_outputs = backend.call(lose, static, given, wanted, arrays)
            assert value.shape == ()
            assert value.dtype == d_outputs.dtype == given.dtype
            ref_value, ref_gradient = by_torch(theirs, outputs, targets, torch_options, reduction)
            what = f"{backend.id}: {ours}, {case}, {reduction}, {dtype}"
            error = max(
                assert_close(backend.get(value), ref_value, f"value of {what}"),
                assert_close(backend.get(d_outputs), ref_gradient, f"d_outputs of {what}"),
            )
            record_error(f"{backend.id} losses {dtype}", error)


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "int64"])
def test_any_integer_dtype_will_do_for_labels(backend, dtype):
    """Bytes are labels: 256 classes fit uint8, though 256 itself and -100 do not."""
    classes = min(256, np.iinfo(dtype).max + 1)
    rng = np.random.default_rng(0)
    outputs = rng.standard_normal((4, 2, classes))
    targets = rng.integers(0, classes, (4, 2))
    targets[0, 0], targets[1, 0] = classes - 1, classes - 100  # -100 wraps to 156 in uint8
    want = losses.softmax_cross_entropy(outputs, targets, ignore_index=-100)
    given = backend.put(outputs), backend.put(targets.astype(dtype))
    static = ("softmax_cross_entropy", ("ignore_index", -100))
    got = backend.call(lose, static, *given, {})
    assert_close(backend.get(got[0]), want[0], f"{backend.id}: value with {dtype} labels")
    assert_close(backend.get(got[1]), want[1], f"{backend.id}: d_outputs with {dtype} labels")


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_an_unchecked_label_out_of_range_is_nan_not_a_wrong_number(backend):
    """Where labels stay on a device nobody reads them, and indexing would wrap or clip."""
    outputs = backend.put(np.zeros((3, CLASSES)))
    for bad in (-1, CLASSES):
        targets = backend.put(np.asarray([0, bad, 1]))
        static = ("softmax_cross_entropy", ("check_targets", False))
        value, d_outputs = (
            backend.get(a) for a in backend.call(lose, static, outputs, targets, {})
        )
        assert np.isnan(value)
        assert np.isnan(d_outputs[1]).all()


@pytest.mark.parametrize("backend", BACKENDS, indirect=True)
def test_extreme_logits_do_not_overflow(backend):
    host, labels = np.asarray([[1e4, -1e4, 0.0], [-1e4, -1e4, -1e4]]), np.asarray([1, 2])
    outputs, rows = backend.put(host), backend.put(np.eye(3)[labels])
    got = backend.call(lose, ("softmax_cross_entropy", ("reduction", "sum")), outputs, rows, {})
    want = [np.asarray(2e4 + np.log(3.0)), np.asarray([[1.0, -1.0, 0.0], [1 / 3, 1 / 3, -2 / 3]])]
    for array, ref in zip(got, want, strict=True):
        assert_close(backend.get(array), ref, f"{backend.id}: softmax")
    got = backend.call(lose, ("binary_cross_entropy", ("reduction", "sum")), outputs, rows, {})
    want = [np.asarray(3e4 + np.log(2.0)), np.asarray([[1.0, -1.0, 0.5], [0.0, 0.0, -1.0]])]
    for array, ref in zip(got, want, strict=True):
        assert_close(backend.get(array), ref, f"{backend.id}: logits")
