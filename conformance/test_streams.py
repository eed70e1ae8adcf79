"""A stream of steps and chunks is the whole sequence, on every backend."""

import pytest

import portable_rnn as prnn

from .problems import TORCH_CELLS, Problem
from .selection import full_precision
from .subject import put
from .tolerances import allowed_eps, assert_close

dtypes = full_precision


STEPS = 6


def in_parts(static, inputs):
    model, cuts = static
    stream, found = prnn.stream(model, inputs.params, inputs.state), {}
    for a, b in cuts:
        rows = inputs.x[a:b, ...]
        mask = None if inputs.mask is None else inputs.mask[a:b, ...]
        if b - a > 1:
            found[f"outputs[{a}]"] = stream.feed(rows, mask=mask)
        else:
            one = None if mask is None else mask[0, ...]
            found[f"outputs[{a}]"] = stream.step(rows[0, ...], mask=one)
    return found | states(stream.state)


def at_once(model, inputs):
    outputs, state = prnn.predict(
        model, inputs.params, inputs.x, inputs.state, mask=inputs.mask, return_state=True
    )
    return {"outputs": outputs} | states(state)


def states(state):
    parts = state if isinstance(state, tuple) else (state,)
    return {f"state[{i}]": part for i, part in enumerate(parts)}


@pytest.mark.parametrize("ragged", ["", "mask"])
@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_parts_are_the_whole(backend, dtype, cell, ragged, record):
    problem = Problem(cell, 3, STEPS, 3, 4, 5, 2, "outputs", False, layers=2, ragged=ragged)
    inputs = put(backend, problem.arrays(dtype))
    cuts = ((0, 1), (1, 4), (4, 5), (5, 6))
    got = backend.call(in_parts, (problem.model, cuts), inputs)
    want = backend.call(at_once, problem.model, inputs)
    for name, array in got.items():
        what = f"{backend.id}: {name} of a stream of {cell}"
        assert array.dtype == inputs.x.dtype, what
        if backend.shapes_only:
            continue
        if name.startswith("outputs"):
            a = int(name[8:-1])
            whole = backend.get(want["outputs"])
            b = dict(cuts)[a]
            ref = whole[a:b] if b - a > 1 else whole[a]
        else:
            ref = backend.get(want[name])
        allowed = allowed_eps(backend.id, dtype)
        eps = assert_close(backend.get(array), ref.astype("float64"), what, scale=1.0, k=allowed)
        record(cell, f"stream-{cell}", name, STEPS, eps, allowed)


@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_a_chunk_of_no_steps_changes_nothing(backend, dtype, cell):
    problem = Problem(cell, 3, STEPS, 3, 4, 5, 2, "outputs", False, layers=2)
    inputs = put(backend, problem.arrays(dtype))
    stream = prnn.stream(problem.model, inputs.params, inputs.state)
    before = stream.state
    outputs = stream.feed(inputs.x[:0, ...])
    assert tuple(outputs.shape) == (0, *inputs.x.shape[1:-1], problem.model.feature_size)
    assert outputs.dtype == inputs.x.dtype
    assert stream.state is before
