"""Invariants of batches of sequences of different lengths, or with gaps.

The numbers themselves are compared with references in test_gradients.py and test_random.py; here
every backend is compared with itself. What is computed from the same arrays has the same bits;
where a batch is put together differently, sums are formed in another order.
"""

from itertools import cycle

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import losses

from .losses import CLASSES, LOSSES, OF_THEIR_OWN
from .problems import TORCH_CELLS, Inputs, Problem
from .selection import full_precision
from .subject import device_of, largest, leaves, put, results, solve
from .tolerances import allowed_eps, assert_close

dtypes = full_precision


STEPS, BATCH = 6, 4
# Sorted by an order that is not its own inverse, so that one cannot pass for the other.
LENGTHS = np.asarray([2, 6, 0, 3], dtype=np.int32)
THERE = np.arange(STEPS)[:, None] < LENGTHS
GAPS = THERE & np.asarray([[1], [0], [1], [1], [0], [1]], dtype=bool)

KINDS = {
    "one_layer": {},
    "stacked": {"layers": 2},
    "both_directions": {"layers": 2, "bidirectional": True},
}


def make(cell, kind, outputs=2):
    return Problem(cell, 11, STEPS, BATCH, 3, 4, outputs, "both", False, **KINDS[kind])


def drawn(problem, dtype, **changes):
    host = problem.arrays(dtype)
    return host._replace(**changes)


def run(backend, problem, host):
    found = backend.call(solve, problem.model, put(backend, host))
    return {name: backend.get(array) for name, array in found.items()}


def same_bits(backend, got, want, what):
    if backend.shapes_only:
        return
    for name, ref in want.items():
        assert np.isfinite(ref).all(), name
        assert got[name].tobytes() == ref.tobytes(), f"{backend.id}: {name} changed with {what}"


def close(backend, dtype, host, got, want, what):
    if backend.shapes_only:
        return
    scale = largest(a for a in leaves(host).values() if a.dtype.kind == "f")
    for name, ref in want.items():
        label = f"{backend.id} {dtype}: {name} with {what}"
        allowed = allowed_eps(backend.id, dtype)
        assert_close(got[name], ref.astype("float64"), label, scale=scale, k=allowed)


def some(backend):
    """Return the cells and kinds that a backend is tried with.

    One where shapes take long, and on a variant each cell with one kind; also if it is named.
    """
    if backend.slow or backend.shapes_only:
        return [("elman", "stacked")]
    if backend.variant:
        return [(cell, kind) for cell, kind in zip(TORCH_CELLS, cycle(KINDS), strict=False)]
    return [(cell, kind) for cell in TORCH_CELLS for kind in KINDS]


STEPS_GIVEN = {"lengths": {"lengths": LENGTHS}, "mask": {"mask": GAPS}}


@pytest.mark.parametrize("how", STEPS_GIVEN)
def test_values_in_the_padding_change_no_bit(backend, dtype, how):
    there = THERE if how == "lengths" else GAPS
    for cell, kind in some(backend):
        problem = make(cell, kind)
        host = drawn(problem, dtype, **STEPS_GIVEN[how])
        want = run(backend, problem, host)
        for nothing in (np.nan, np.inf, 1e30):
            x, d_outputs = (
                np.where(there[..., None], a, np.asarray(nothing, dtype))
                for a in (host.x, host.d_outputs)
            )
            got = run(backend, problem, host._replace(x=x, d_outputs=d_outputs))
            same_bits(backend, got, want, f"{nothing} in the padding of {cell}, {kind}")
        if not backend.shapes_only:  # and results there are zero
            assert not want["outputs"][~there].any()
            assert not want["d_x"][~there].any()


@pytest.mark.parametrize("how", STEPS_GIVEN)
def test_more_padding_changes_nothing(backend, dtype, how):
    for cell, kind in some(backend):
        problem = make(cell, kind)
        host = drawn(problem, dtype, **STEPS_GIVEN[how])
        pad = lambda a: np.concatenate([a, np.full((3, *a.shape[1:]), 9, a.dtype)])  # noqa: E731
        wide = host._replace(x=pad(host.x), d_outputs=pad(host.d_outputs))
        if how == "mask":
            wide = wide._replace(mask=np.concatenate([GAPS, np.zeros((3, BATCH), dtype=bool)]))
        got, want = run(backend, problem, wide), run(backend, problem, host)
        for name in ("outputs", "d_x"):
            assert not got[name][STEPS:].any() or backend.shapes_only
            got[name] = got[name][:STEPS]
        close(backend, dtype, host, got, want, f"more padding of {cell}, {kind}")


@pytest.mark.parametrize("how", STEPS_GIVEN)
def test_the_order_of_a_ragged_batch_does_not_matter(backend, dtype, how):
    order = np.asarray([1, 3, 0, 2])  # sorted by length
    for cell, kind in some(backend):
        problem = make(cell, kind)
        host = drawn(problem, dtype, **STEPS_GIVEN[how])

        def take(value):
            if value is None:
                return None
            if isinstance(value, tuple):
                return tuple(map(take, value))
            return value[order] if value.ndim == 1 else value[:, order]

        shuffled = Inputs(host.params, *map(take, host[1:]))
        got, want = run(backend, problem, shuffled), run(backend, problem, host)
        want = {n: a if n.startswith("d_params") else a[:, order] for n, a in want.items()}
        close(backend, dtype, host, got, want, f"a sorted batch of {cell}, {kind}")


def test_a_mask_without_gaps_equals_lengths(backend, dtype):
    for cell, kind in some(backend):
        problem = make(cell, kind)
        host = drawn(problem, dtype, lengths=LENGTHS)
        want = run(backend, problem, host)
        got = run(backend, problem, host._replace(lengths=None, mask=THERE))
        close(backend, dtype, host, got, want, f"a mask for lengths of {cell}, {kind}")


def ragged(static, inputs):
    """Run with lengths that are not arrays of the backend."""
    model, lengths = static
    fwd = prnn.forward(model, inputs.params, inputs.x, inputs.state, lengths=list(lengths))
    grads = prnn.backward(model, inputs.params, fwd.tape, inputs.d_outputs, inputs.d_state)
    return results(fwd.outputs, fwd.state, grads.params, grads.x, grads.state)


def test_lengths_may_come_as_a_list_or_from_the_host_or_the_device(backend, dtype):
    """On a device that is not the host they are never read; then they make a mask."""
    for cell, kind in some(backend):
        problem = make(cell, kind)
        host = drawn(problem, dtype, lengths=LENGTHS)
        inputs = put(backend, host._replace(lengths=None))
        found = backend.call(ragged, (problem.model, tuple(map(int, LENGTHS))), inputs)
        listed = {name: backend.get(array) for name, array in found.items()}
        moved = run(backend, problem, host)
        close(backend, dtype, host, listed, moved, f"lengths as a list, {cell}, {kind}")


@pytest.mark.parametrize("how", STEPS_GIVEN)
def test_a_sequence_without_steps_keeps_its_state(backend, dtype, how):
    """Its final state is its initial state, and so its cotangent passes unchanged."""
    for cell, kind in some(backend):
        problem = make(cell, kind)
        given = STEPS_GIVEN[how]
        none = {name: np.zeros_like(value) for name, value in given.items()}
        for steps, rows in ((given, [2]), (none, list(range(BATCH)))):
            host = drawn(problem, dtype, **steps)
            found = run(backend, problem, host)
            if backend.shapes_only:
                continue
            parts = host.state if isinstance(host.state, tuple) else (host.state,)
            d_parts = host.d_state if isinstance(host.d_state, tuple) else (host.d_state,)
            for i, (part, d_part) in enumerate(zip(parts, d_parts, strict=True)):
                np.testing.assert_array_equal(found[f"state[{i}]"][:, rows], part[:, rows])
                np.testing.assert_array_equal(found[f"d_state[{i}]"][:, rows], d_part[:, rows])
            assert not found["outputs"][:, rows].any()
            assert not found["d_x"][:, rows].any()
            if len(rows) == BATCH:
                assert not any(a.any() for n, a in found.items() if n.startswith("d_params"))


def test_the_reverse_direction_begins_at_each_sequences_end(backend, dtype):
    """Each sequence alone, without padding, has the same outputs, states and gradients."""
    cells = ("elman",) if backend.slow else TORCH_CELLS
    for cell in cells:
        problem = make(cell, "both_directions")
        host = drawn(problem, dtype, lengths=LENGTHS)
        together = run(backend, problem, host)
        summed = {n: 0.0 for n in together if n.startswith("d_params")}
        for b in np.flatnonzero(LENGTHS):
            n, row = int(LENGTHS[b]), slice(b, b + 1)

            def alone(value, row=row):
                if value is None:
                    return None
                return tuple(map(alone, value)) if isinstance(value, tuple) else value[:, row]

            one = Inputs(
                *(host.params, host.x[:n, row], alone(host.state), host.d_outputs[:n, row]),
                alone(host.d_state),
            )
            apart = run(backend, problem, one)
            for name in summed:
                summed[name] = summed[name] + apart.pop(name).astype("float64")
            got = {
                name: together[name][:n, row]
                if name in ("outputs", "d_x")
                else together[name][:, row]
                for name in apart
            }
            close(backend, dtype, host, got, apart, f"sequence {b} of {cell} alone")
        got = {name: together[name] for name in summed}
        close(backend, dtype, host, got, summed, f"the sequences of {cell} one by one")


def lose(static, outputs, targets, weights):
    name, reduction = static
    value, d_outputs = getattr(losses, name)(outputs, targets, weights=weights, reduction=reduction)
    return {"value": value, "d_outputs": d_outputs}


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(
    ("name", "kind"),
    [(n, k) for n, d in LOSSES.items() for k in ("labels", "rows") if d.labels or k == "rows"],
)
def test_a_step_without_weight_does_not_affect_a_loss(backend, dtype, name, kind, reduction):
    if backend.slow and name not in OF_THEIR_OWN:
        pytest.skip("not run: another loss counts steps by the same code")
    rng = np.random.default_rng(0)
    outputs = rng.standard_normal((STEPS, BATCH, CLASSES)).astype(dtype)
    rows = LOSSES[name].fit(rng.uniform(0, 1, outputs.shape).astype(dtype))
    labels = rng.integers(0, CLASSES, (STEPS, BATCH))

    def found(outputs, targets, weights):
        moved = (backend.put(np.ascontiguousarray(a)) for a in (outputs, targets, weights))
        got = backend.call(lose, (name, reduction), *moved)
        return {key: backend.get(array) for key, array in got.items()}

    for weights in (THERE, THERE.astype(dtype)):
        want = found(outputs, labels if kind == "labels" else rows, weights)
        for nothing in (np.nan, np.inf):
            bad = [
                np.where(THERE[..., None], a, np.asarray(nothing, dtype)) for a in (outputs, rows)
            ]
            targets = np.where(THERE, labels, -100) if kind == "labels" else bad[1]
            got = found(bad[0], targets, weights)
            same_bits(backend, got, want, f"{nothing} where {name} counts nothing")


def packed(batch_first, *sequences):
    x, lengths = prnn.ragged.pack(list(sequences), batch_first=batch_first)
    assert lengths.tolist() == [array.shape[0] for array in sequences]
    apart = prnn.ragged.unpack(x, lengths, batch_first=batch_first)
    return {"packed": x} | {str(i): array for i, array in enumerate(apart)}


@pytest.mark.parametrize("batch_first", [False, True])
def test_sequences_are_packed_and_unpacked_on_their_device(backend, dtype, batch_first):
    rng = np.random.default_rng(0)
    host = [rng.standard_normal((n, 2)).astype(dtype) for n in (2, 4, 1)]
    moved = [backend.put(array) for array in host]
    found = backend.call(packed, batch_first, *moved)
    whole = found.pop("packed")
    assert tuple(whole.shape) == ((3, 4, 2) if batch_first else (4, 3, 2))
    for array in (whole, *found.values()):
        assert device_of(array) == device_of(moved[0])
    if not backend.shapes_only:
        for name, want in enumerate(host):
            np.testing.assert_array_equal(backend.get(found[str(name)]), want)
        got = backend.get(whole)
        last = got[2] if batch_first else got[:, 2]
        np.testing.assert_array_equal(last, np.concatenate([host[2], np.zeros((3, 2), dtype)]))
