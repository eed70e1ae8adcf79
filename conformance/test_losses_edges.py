"""Edge cases of losses: no weight, no probability, half precision; and all options at once.

The oracle is torch in float64: its logarithm of the softmax, and its autograd.
"""

from itertools import product

import numpy as np
import pytest

from portable_rnn import losses

from .backend import host_dtype
from .losses import CLASSES, FACTORS, LOSSES, OF_THEIR_OWN
from .test_losses import lose
from .tolerances import allowed_eps, assert_close


def when_named(row, dtype):
    """Return whether a row is left to the session that names it.

    `jax` is left to its own session: `jax-jit` runs it compiled, `jax-x32` without.
    """
    return row.id == "jax"


SHAPE = (4, 3)  # T and B
MASKED = 3  # the class whose logits are -inf; no label says so, and no row gives it weight
WEIGHTS = np.asarray([[1.0, 0.0, 0.5], [2.0, 1.0, 0.25], [0.0, 0.0, 1.0], [1.0, 1.5, 1.0]])
ALL = {
    "rows": (False, True),
    "weights": (None, WEIGHTS, WEIGHTS > 0.5, 0.0 * WEIGHTS),
    "class_weights": (None, FACTORS),
    "label_smoothing": (0.0, 0.25),
    "ignore_index": (None, 2, -100),
    "infinite": (False, True),
    "all_ignored": (False, True),
    "reduction": ("mean", "sum"),
}


def combinations():
    """Yield options by name: all that make sense together."""
    for values in product(*ALL.values()):
        case = dict(zip(ALL, values, strict=True))
        if case["rows"] and (case["ignore_index"] is not None or case["all_ignored"]):
            continue
        if case["all_ignored"] and case["ignore_index"] is None:
            continue
        yield case


def drawn(case, dtype):
    """Return outputs, targets, and the options that are arrays, in a dtype."""
    rng = np.random.default_rng(0)
    outputs = (2.0 * rng.standard_normal((*SHAPE, CLASSES))).astype(dtype)
    if case["infinite"]:
        outputs[..., MASKED] = -np.inf
    if case["rows"]:
        targets = rng.uniform(0.1, 1.0, (*SHAPE, CLASSES)).astype(dtype)
        targets[..., MASKED] = 0.0
    else:
        targets = rng.choice([0, 1, 2, 4], SHAPE)
        targets[0, 0], targets[1, 0] = 2, 2 if case["ignore_index"] != -100 else -100
    if case["all_ignored"]:
        targets = np.full(SHAPE, case["ignore_index"])
    arrays = {name: case[name] for name in ("weights", "class_weights") if case[name] is not None}
    kept = {k: v if v.dtype == np.bool_ else v.astype(dtype) for k, v in arrays.items()}
    return outputs, targets, kept


def by_torch(case, outputs, targets, arrays):
    """Return value and gradient of the definition, ``-Σ y log softmax`` over all y but zeros."""
    import torch

    z = torch.tensor(outputs.astype("float64"), requires_grad=True)
    weights = torch.tensor(arrays.get("weights", np.ones(SHAPE)).astype("float64"))
    factors = torch.tensor(arrays.get("class_weights", np.ones(CLASSES)).astype("float64"))
    if case["rows"]:
        y, scale = torch.tensor(targets.astype("float64")), weights
    else:
        ignored = torch.tensor(targets == case["ignore_index"])
        labels = torch.where(ignored, 0, torch.tensor(targets))
        weights = torch.where(ignored, 0.0, weights)
        y = torch.nn.functional.one_hot(labels, CLASSES).double()
        scale = weights * factors[labels]
    smoothing = case["label_smoothing"]
    y = (1 - smoothing) * y + smoothing * y.sum(-1, keepdim=True) / CLASSES
    y = y * factors * weights[..., None]
    log_p = torch.log_softmax(z, -1)
    total = -(y * torch.where(y == 0, 0.0, log_p)).sum()
    total.backward()
    count = float(scale.sum()) if case["reduction"] == "mean" else 1.0
    if count == 0.0:  # no step counts
        return np.asarray(np.nan), np.zeros(outputs.shape)
    return total.detach().numpy() / count, z.grad.numpy() / count


def by_torchs_own(case, outputs, targets, arrays):
    """Return the value of torch's function, for the options it has."""
    import torch

    outputs = torch.tensor(outputs.astype("float64")).reshape(-1, CLASSES)
    targets = torch.tensor(targets.astype("float64") if case["rows"] else targets)
    targets = targets.reshape(outputs.shape) if case["rows"] else targets.reshape(-1)
    factors = torch.tensor(arrays["class_weights"]) if "class_weights" in arrays else None
    index = -100 if case["ignore_index"] is None else case["ignore_index"]
    options = {"weight": factors, "ignore_index": index, "reduction": case["reduction"]}
    found = torch.nn.functional.cross_entropy(
        outputs, targets, label_smoothing=case["label_smoothing"], **options
    )
    return float(found)


def compare(backend, got, want, dtype, what):
    for name, ref in zip(("value", "d_outputs"), want, strict=True):
        if backend.shapes_only:
            continue
        found = backend.get(got[name])
        assert found.dtype == host_dtype(dtype), what
        if np.all(np.isfinite(ref)):
            k = allowed_eps(backend.id, dtype)
            assert_close(found, np.asarray(ref, dtype="float64"), f"{what}: {name}", k=k)
        else:
            np.testing.assert_array_equal(found.astype("float64"), ref, err_msg=what)


def run(backend, name, options, outputs, targets, arrays):
    static = (name, *options.items())
    moved = {key: backend.put(array) for key, array in arrays.items()}
    return backend.call(lose, static, backend.put(outputs), backend.put(targets), moved)


@pytest.mark.when_named
@pytest.mark.oracle("torch")
def test_all_options_at_once_are_the_definition(backend, dtype):
    stride = 5 if backend.variant else 1
    if backend.slow or backend.shapes_only:
        stride = 13
    for case in list(combinations())[::stride]:
        outputs, targets, arrays = drawn(case, host_dtype(dtype))
        names = ("label_smoothing", "ignore_index", "reduction")
        options = {name: case[name] for name in names if case[name] is not None}
        got = run(backend, "softmax_cross_entropy", options, outputs, targets, arrays)
        want = by_torch(case, outputs, targets, arrays)
        compare(backend, got, want, dtype, f"{backend.id}, {dtype}: {case}")


@pytest.mark.oracle("torch")
def test_the_definition_equals_torchs_function_where_that_is_not_nan():
    """It is NaN for 0 times infinity: smoothed labels, and class weights of 0."""
    compared = 0
    for case in combinations():
        outputs, targets, arrays = drawn(case, "float64")
        if case["weights"] is not None:
            continue
        if case["rows"]:  # torch's smoothing takes rows for probabilities
            targets = targets / targets.sum(-1, keepdims=True)
        theirs, (ours, _) = (f(case, outputs, targets, arrays) for f in (by_torchs_own, by_torch))
        if not np.isnan(theirs) or np.isnan(ours):
            np.testing.assert_allclose(theirs, ours, rtol=1e-13)
            compared += 1
    assert compared > 40


def test_a_label_without_probability_costs_infinity_and_has_a_gradient(backend):
    outputs = np.asarray([[0.0, -np.inf, 1.0]], dtype="float32")
    p = np.exp([0.0, 1.0]) / np.sum(np.exp([0.0, 1.0]))
    for label, value, slope in (
        (0, -np.log(p[0]), [p[0] - 1.0, 0.0, p[1]]),
        (1, np.inf, [p[0], -1.0, p[1]]),
    ):
        got = run(backend, "softmax_cross_entropy", {}, outputs, np.asarray([label]), {})
        compare(backend, got, (np.asarray(value), np.asarray([slope])), "float32", f"label {label}")


@pytest.mark.parametrize("loss", ["binary_cross_entropy", "binary_focal_cross_entropy"])
def test_binary_cross_entropy_is_exact_at_infinite_logits(backend, loss):
    outputs = np.asarray([[np.inf], [-np.inf], [np.inf], [-np.inf]], dtype="float32")
    for right in (True, False):
        targets = np.asarray([[1.0], [0.0], [1.0], [0.0]], dtype="float32")
        targets = targets if right else 1.0 - targets
        got = run(backend, loss, {"reduction": "sum"}, outputs, targets, {})
        slopes = np.zeros((4, 1)) if right else np.asarray([[1.0], [-1.0], [1.0], [-1.0]])
        want = np.asarray(0.0 if right else np.inf), slopes
        compare(backend, got, want, "float32", f"{backend.id}: logits")


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_a_logit_of_plus_infinity_has_no_softmax(backend):
    """The loss is NaN, as in torch: a finite number would hide an overflow in the network."""
    outputs = np.asarray([[0.0, np.inf, 1.0]], dtype="float32")
    got = run(backend, "softmax_cross_entropy", {}, outputs, np.asarray([0]), {})
    if not backend.shapes_only:
        assert np.isnan(backend.get(got["value"]))


@pytest.mark.parametrize("loss", LOSSES)
def test_values_without_weight_do_not_matter(backend, dtype, loss):
    """If nothing has weight, the mean is NaN, and its gradient zero. NumPy does not warn."""
    if backend.slow and loss not in OF_THEIR_OWN and dtype != backend.dtypes[0]:
        pytest.skip("not run: another loss counts steps by the same code")
    rng = np.random.default_rng(0)
    outputs, targets = rng.uniform(0.0, 1.0, (2, *SHAPE, CLASSES)).astype(host_dtype(dtype))
    targets = LOSSES[loss].fit(targets)
    mask = WEIGHTS > 0.25
    nan = np.full_like(outputs, np.nan)
    wrong = np.where(mask[..., None], outputs, nan)
    right = run(backend, loss, {}, outputs, targets, {"weights": mask})
    found = run(backend, loss, {}, wrong, targets, {"weights": mask})
    nothing = run(backend, loss, {}, nan, targets, {"weights": mask & False})
    if loss == "softmax_cross_entropy":
        labels = np.where(mask, 1, -100)
        options = {"ignore_index": -100}
        ones = np.zeros_like(targets)
        ones[..., 1] = 1.0
        for given in ({}, {"class_weights": np.ones(CLASSES, dtype=outputs.dtype)}):
            by_label = run(backend, loss, options, wrong, labels, given)
            by_row = run(backend, loss, {}, outputs, ones, {"weights": mask})
            for name in by_label:
                if not backend.shapes_only:
                    np.testing.assert_array_equal(
                        *(backend.get(r[name]) for r in (by_label, by_row))
                    )
    if backend.shapes_only:
        return
    for name, array in right.items():
        np.testing.assert_array_equal(backend.get(found[name]), backend.get(array))
    assert np.isnan(backend.get(nothing["value"]))
    assert not backend.get(nothing["d_outputs"]).any()


def test_many_classes_in_half_precision(backend, dtype):
    """Their sum of exponentials overflows float16: its logarithm is 11.156."""
    if backend.slow and dtype not in ("float16", "bfloat16"):
        pytest.skip("not run: the other dtypes hold the sum, and every new shape takes long")
    outputs = np.zeros((2, 70_000), dtype=host_dtype(dtype))
    got = run(backend, "softmax_cross_entropy", {}, outputs, np.asarray([3, 69_999]), {})
    slopes = np.full(outputs.shape, 0.5 / 70_000)
    slopes[[0, 1], [3, 69_999]] -= 0.5
    compare(backend, got, (np.asarray(np.log(70_000)), slopes), dtype, f"{backend.id}, {dtype}")


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_squares_whose_sum_overflows_have_a_finite_mean(backend, dtype, reduction):
    """Each is nearly the largest number of the dtype, and there are a hundred of them."""
    largest = {"float16": 65504.0, "bfloat16": 3.38e38, "float32": 3.4e38, "float64": 1.7e308}
    outputs = np.full((20, 5), np.sqrt(0.9 * largest[dtype])).astype(host_dtype(dtype))
    outputs /= np.asarray(1.0 if reduction == "mean" else 16.0, dtype=outputs.dtype)
    exact = outputs.astype("float64")
    scale = exact.size if reduction == "mean" else 1.0
    value = np.sum(exact / scale * exact)
    options = {"reduction": reduction}
    got = run(backend, "mean_squared_error", options, outputs, np.zeros_like(outputs), {})
    want = np.asarray(value), 2.0 * exact / scale
    compare(backend, got, want, dtype, f"{backend.id}, {dtype}")


def test_every_loss_is_tried():
    # A sum over whole sequences has a module of its own, test_ctc.py.
    left_out = set(losses.__all__) - {"one_hot", "ctc", "ctc_greedy_decode", *LOSSES}
    assert not left_out, f"no page in conformance/losses has {', '.join(left_out)}"


def test_a_mean_does_not_depend_on_the_scale_of_weights(backend):
    """Nor does the sum of the weights overflow."""
    outputs = np.asarray([[1.0, 2.0], [0.5, -1.0], [3.0, 0.0]], dtype="float32")
    targets = np.zeros_like(outputs)
    weights = np.asarray([1.0, 2.0, 1.5])
    for name, loss in LOSSES.items():
        if backend.slow and name not in OF_THEIR_OWN:
            continue
        to = np.asarray([0, 1, 1]) if loss.labels else loss.fit(targets)
        options = {"reduction": "mean"}
        plain = {"weights": weights.astype("float32")}
        found = run(backend, name, options, outputs, to, plain)
        if backend.shapes_only:
            continue
        value, slope = (backend.get(found[n]).astype("float64") for n in ("value", "d_outputs"))
        for size in (1e38, 1e30, 1e-30, 1e-37):
            given = {"weights": (size * weights).astype("float32")}
            got = run(backend, name, options, outputs, to, given)
            compare(backend, got, (value, slope), "float32", f"{name}, weights of {size}")


@pytest.mark.parametrize("size", [1e-25, 1.5e-19, 1e10, 1e19])
def test_squares_of_any_size_have_the_right_mean(backend, size):
    exact = np.float64(np.float32(size))
    outputs = np.full((1000, 2), size, dtype="float32")
    got = run(backend, "mean_squared_error", {}, outputs, np.zeros_like(outputs), {})
    value = np.asarray(exact**2 if exact**2 > 1e-37 else 0.0)
    if exact**2 > 1e-37:
        want = value, np.full(outputs.shape, 2.0 * exact / 2000)
        compare(backend, got, want, "float32", f"differences of {size}")
    elif not backend.shapes_only:
        assert backend.get(got["value"]) < 1e-37


def test_weights_that_cancel_have_no_finite_mean():
    """Nor is its gradient finite."""
    one = np.ones((2, 1, 1))
    with np.errstate(all="ignore"):
        value, slope = losses.mean_squared_error(one, 0 * one, weights=np.asarray([[1.0], [-1.0]]))
    assert not np.isfinite(value)
    assert not np.isfinite(slope).any()


def test_the_mean_of_equal_losses_near_the_maximum_is_finite(backend):
    outputs = np.asarray([[3e38, 0.0]] * 4, dtype="float32")
    large = float(outputs[0, 0])
    got = run(backend, "softmax_cross_entropy", {}, outputs, np.ones(4, dtype=int), {})
    want = np.asarray(large), np.asarray([[0.25, -0.25]] * 4)
    compare(backend, got, want, "float32", "cross-entropy")


def test_an_ignore_index_that_no_label_can_be_ignores_nothing(backend):
    outputs, labels = np.zeros((4, 2), dtype="float32"), np.ones(4, dtype="int32")
    got = run(backend, "softmax_cross_entropy", {"ignore_index": 2**40}, outputs, labels, {})
    compare(
        backend, got, (np.asarray(np.log(2.0)), np.asarray([[0.125, -0.125]] * 4)), "float32", ""
    )
