"""Connectionist temporal classification on every backend, alignment by alignment; and as torch's.

It sums over whole sequences, so it has no page in ``losses/``.
"""

from functools import partial
from importlib.util import find_spec
from typing import NamedTuple

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.losses import ctc, ctc_greedy_decode

from .backend import host_dtype
from .oracles.alignments import loss_of_labels
from .tolerances import allowed_eps, assert_close

T, B, C, L, I, H = 5, 4, 3, 3, 2, 4  # noqa: E741 (the letters of the documents)
MASK = np.asarray([[1, 1, 0, 0], [0, 1, 0, 1], [1, 1, 0, 1], [1, 0, 0, 1], [1, 1, 0, 0]], np.bool_)
LENGTHS = (5, 3, 4, 1)


class Case(NamedTuple):
    """Options, labels (-1 is padding), and which steps are valid."""

    id: str
    labels: tuple[tuple[int, ...], ...]
    options: tuple[tuple[str, object], ...] = ()
    mask: bool = False
    lengths: bool = False


# The third sequence of the first case has no labels, and a fourth of the others no alignment.
REPEATED = ((1, 2, 1), (2, 2, -1), (-1, -1, -1), (2, -1, -1))
FITS_NOT = ((1, 2, 2), (1, 1, -1), (2, 1, 2), (2, 1, -1))
LAST = ((0, 0, -1), (1, 0, 1), (-1, -1, -1), (0, -1, -1))
CASES = (
    Case("plain", REPEATED, (("reduction", "sum"),)),
    Case("gaps", REPEATED, (("reduction", "mean"),), mask=True),
    Case("impossible", FITS_NOT, (("reduction", "sum"),), lengths=True),
    Case("impossible-zero", FITS_NOT, (("zero_infinity", True),), lengths=True),
    Case("last-blank", LAST, (("blank", 2), ("batch_first", True)), lengths=True),
)


def dtypes(row):
    """Return all dtypes, or the first one where every new shape takes long."""
    return row.dtypes[:1] if row.slow else row.dtypes


def cases(row, dtype):
    """Return all cases."""
    return CASES if dtype in dtypes(row) else ()


def when_named(row, *case):
    """Return whether a case is left to the session that names its row: on slow rows all but one."""
    return row.slow and case[1:] not in ((), CASES[1:2])


def lose(static, outputs, labels, arrays):
    """Call the loss in the form that `Backend.call` compiles."""
    value, d_outputs = ctc(outputs, labels, **dict(static), **arrays)
    return {"value": value, "d_outputs": d_outputs}


def by_alignment(case, outputs):
    """Return the loss and its gradient from the definition, for outputs (T, B, C)."""
    options = {"blank": 0, "zero_infinity": False, "reduction": "mean"} | dict(case.options)
    losses, d_outputs = [], np.zeros(outputs.shape)
    for b in range(B):
        valid = np.arange(T) < (LENGTHS[b] if case.lengths else T)
        if case.mask:
            valid = MASK[:, b]
        if not valid.any():
            continue
        labels = [label for label in case.labels[b] if label >= 0]
        value, slope = loss_of_labels(outputs[valid, b], labels, options["blank"])
        if options["zero_infinity"] and np.isinf(value):
            value, slope = 0.0, 0.0 * np.nan_to_num(slope)
        share = 1.0 / max(len(labels), 1) if options["reduction"] == "mean" else 1.0
        losses.append(share * value)
        d_outputs[valid, b] = share * slope
    count = len(losses) if options["reduction"] == "mean" else 1
    return np.asarray(sum(losses) / count), d_outputs / count


def test_ctc_is_the_sum_over_all_alignments(backend, dtype, problem, record):
    rng = np.random.default_rng(3)
    outputs = (2.0 * rng.standard_normal((T, B, C))).astype(host_dtype(dtype))
    value, slope = by_alignment(problem, outputs)
    first = dict(problem.options).get("batch_first", False)
    turned = (1, 0, 2) if first else (0, 1, 2)
    labels, arrays = np.asarray(problem.labels), {}
    if problem.mask:
        outputs[~MASK] = np.nan  # what is there does not matter
        arrays["weights"] = MASK
    if problem.lengths:
        arrays["input_lengths"] = np.asarray(LENGTHS)
        arrays["target_lengths"] = (labels >= 0).sum(axis=1)
        labels = np.where(labels < 0, 7, labels)  # nor what is there
    moved = {name: backend.put(array) for name, array in arrays.items()}
    given = backend.put(outputs.transpose(turned).copy()), backend.put(labels)
    found = backend.call(lose, problem.options, *given, moved)
    assert found["value"].dtype == found["d_outputs"].dtype == given[0].dtype
    if backend.shapes_only:
        assert tuple(found["d_outputs"].shape) == tuple(given[0].shape)
        return
    got = {name: backend.get(array) for name, array in found.items()}
    slope = slope.transpose(turned)
    np.testing.assert_array_equal(np.isnan(got["d_outputs"].astype("float64")), np.isnan(slope))
    assert np.isinf(value) == np.isinf(got["value"].astype("float64"))
    allowed = allowed_eps(backend.id, dtype)
    for name, ref in (("value", value), ("d_outputs", slope)):
        array, kept = np.where(np.isfinite(ref), got[name], 0), np.where(np.isfinite(ref), ref, 0.0)
        what = f"{backend.id}: {name} of ctc, {problem.id}, {dtype}"
        eps = assert_close(array.astype(got[name].dtype), kept, what, scale=1.0, k=allowed)
        record("losses", f"ctc-{problem.id}", name, T, eps, allowed)


def test_an_unchecked_label_is_nan_not_a_wrong_number(backend):
    """Labels on a device are not read: out of range, or the blank, or behind padding."""
    outputs = np.zeros((T, B, C), dtype=backend.dtypes[0])
    labels = np.asarray([[1, 3, -1], [1, 0, -1], [1, -1, 1], [1, -1, -1]])
    static = (("check_targets", False), ("reduction", "sum"))
    found = backend.call(lose, static, backend.put(outputs), backend.put(labels), {})
    if backend.shapes_only:
        return
    wrong = np.isnan(backend.get(found["d_outputs"])).all(axis=(0, 2))
    assert list(wrong) == [True, True, True, False]
    assert np.isnan(backend.get(found["value"]))


def decode(static, outputs, mask):
    options = dict(static)
    return {
        "all": ctc_greedy_decode(outputs, **options),
        "valid": ctc_greedy_decode(outputs, weights=mask, **options),
    }


def test_labels_are_decoded_step_by_step(backend):
    best = np.asarray([[1, 2, 0, 0], [2, 2, 0, 1], [1, 1, 2, 1], [0, 1, 2, 1], [1, 0, 1, 0]])
    outputs = np.eye(C, dtype=backend.dtypes[0])[best]
    found = backend.call(decode, (), backend.put(outputs), backend.put(MASK))
    if backend.shapes_only:
        assert tuple(found["valid"].shape) == (T, B)
        return
    for name, valid in (("all", MASK | True), ("valid", MASK)):
        got = backend.get(found[name])
        assert got.dtype == np.int32
        for b in range(B):
            before, want = 0, []
            for t in range(T):
                adds = valid[t, b] and best[t, b] not in (before, 0)
                want.append(best[t, b] if adds else -1)
                before = best[t, b] if valid[t, b] else before
            assert list(got[:, b]) == want


def train_step(static, params, x, labels):
    model, lengths = static
    given = {"loss": partial(ctc, blank=C - 1), "lengths": lengths}
    result = prnn.bptt(model, params, x, labels, **given)
    return {"loss": result.loss, "d_x": result.grad_x} | result.grads


def by_torch(model, params, x, labels, lengths):
    """Return the loss and its gradients by torch, of a bidirectional GRU, batch first."""
    import torch

    wide = {name: torch.from_numpy(a.astype(np.float64)) for name, a in params.items()}
    module = torch.nn.GRU(I, H, bidirectional=True).double()
    module.load_state_dict({name: a for name, a in wide.items() if "." not in name})
    leaf = torch.from_numpy(x.astype(np.float64)).requires_grad_()
    weight, bias = (wide[f"readout.{name}"].requires_grad_() for name in ("weight", "bias"))
    packed = torch.nn.utils.rnn.pack_padded_sequence(leaf, lengths, enforce_sorted=False)
    h, _ = torch.nn.utils.rnn.pad_packed_sequence(module(packed)[0], total_length=T)
    log_p = (h @ weight.T + bias).log_softmax(-1)
    counts = torch.from_numpy((labels >= 0).sum(axis=1))
    given = torch.from_numpy(labels).long(), torch.tensor(lengths), counts
    loss = torch.nn.functional.ctc_loss(log_p, *given, blank=C - 1)
    loss.backward()
    named = dict(module.named_parameters()) | {"readout.weight": weight, "readout.bias": bias}
    found = {"loss": loss.detach().numpy(), "d_x": leaf.grad.numpy()}
    return found | {name: named[name].grad.numpy() for name in params}


def test_a_network_learns_labels_without_their_steps_as_in_torch(backend, record):
    """NumPy's is compared with torch, where it is installed, and others with NumPy's in float64."""
    dtype = backend.dtypes[0]
    model = prnn.RNN(I, H, C, cell="gru", bidirectional=True)
    rng, lengths = np.random.default_rng(4), (5, 3, 4, 2)
    params = model.init(seed=0, dtype=dtype)
    x = rng.standard_normal((T, B, I)).astype(dtype)
    labels = np.asarray([[0, 1, 1], [1, -1, -1], [-1, -1, -1], [1, 0, -1]])
    if backend.library == "numpy" and find_spec("torch"):
        want = by_torch(model, params, x, labels, lengths)
    else:
        wide = {name: array.astype(np.float64) for name, array in params.items()}
        with prnn.use_namespace(np):
            want = train_step((model, lengths), wide, x.astype(np.float64), labels)
    moved = {name: backend.put(array) for name, array in params.items()}
    static = model, lengths
    found = backend.call(train_step, static, moved, backend.put(x), backend.put(labels))
    if backend.shapes_only:
        assert {name: tuple(found[name].shape) for name in params} == model.parameter_shapes
        return
    allowed = allowed_eps(backend.id, dtype)
    for name, array in want.items():
        what = f"{backend.id}: {name} of a network with ctc"
        eps = assert_close(backend.get(found[name]), array, what, scale=1.0, k=allowed)
        record("gru", "ctc", name, T, eps, allowed)


def torchs(outputs, labels, lengths, counts, **options):
    """Return the loss and its gradient by torch in float64."""
    import torch

    leaf = torch.from_numpy(outputs.astype(np.float64)).requires_grad_()
    given = map(torch.from_numpy, (labels, lengths, counts))
    loss = torch.nn.functional.ctc_loss(leaf.log_softmax(-1), *given, **options)
    loss.backward()
    return float(loss.detach()), leaf.grad.numpy()


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_random_labels_have_torchs_loss_and_gradient(reduction):
    rng = np.random.default_rng(5)
    for zero_infinity in (False, True) * 10:
        steps, batch, classes, most = rng.integers((2, 1, 2, 1), (41, 5, 6, 13))
        blank = int(rng.integers(classes))
        outputs = rng.uniform(0.3, 5.0) * rng.standard_normal((steps, batch, classes))
        labels = (blank + rng.integers(1, classes, (batch, most))) % classes
        sizes = rng.integers(1, steps + 1, batch), rng.integers(0, most + 1, batch)
        options = {"blank": blank, "reduction": reduction, "zero_infinity": zero_infinity}
        lengths = dict(zip(("input_lengths", "target_lengths"), sizes, strict=True))
        value, slope = ctc(outputs, labels, **lengths, **options)
        want, want_slope = torchs(outputs, labels, *sizes, **options)
        np.testing.assert_allclose(value, want, rtol=1e-12)
        scale = np.nanmax(np.abs(want_slope), initial=0.0)
        np.testing.assert_allclose(slope, want_slope, rtol=0.0, atol=1e-12 * scale)
