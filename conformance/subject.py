"""Run the library on one problem, and check everything required of its results."""

from functools import partial

import numpy as np
from array_api_compat import array_namespace, device

import portable_rnn as prnn

from .problems import Inputs
from .tolerances import allowed_eps, assert_close

__all__ = [
    "check",
    "check_arrays",
    "device_of",
    "largest",
    "leaves",
    "put",
    "results",
    "solve",
    "solve_in_little_memory",
]


def solve(model, inputs):
    """Run the network forwards and its cotangents back; a function that JAX can compile."""
    steps = {"lengths": inputs.lengths, "mask": inputs.mask}
    fwd = prnn.forward(model, inputs.params, inputs.x, inputs.state, **steps)
    grads = prnn.backward(model, inputs.params, fwd.tape, inputs.d_outputs, inputs.d_state)
    return results(fwd.outputs, fwd.state, grads.params, grads.x, grads.state)


def solve_in_little_memory(model, inputs):
    """Do the same with a state kept every third step, and everything else recomputed."""
    steps = {"lengths": inputs.lengths, "mask": inputs.mask, "checkpoint_every": 3}
    fwd = prnn.forward(model, inputs.params, inputs.x, inputs.state, **steps)
    grads = prnn.backward(model, inputs.params, fwd.tape, inputs.d_outputs, inputs.d_state)
    return results(fwd.outputs, fwd.state, grads.params, grads.x, grads.state)


def results(outputs, state, d_params, d_x, d_state):
    """Give every result a name."""
    named = {"outputs": outputs, "d_x": d_x}
    named |= {f"state[{i}]": part for i, part in enumerate(_parts(state))}
    named |= {f"d_state[{i}]": part for i, part in enumerate(_parts(d_state))}
    return named | {f"d_params[{name}]": array for name, array in d_params.items()}


def leaves(inputs):
    """Give every input array a name."""
    named = {name: value for name, value in inputs._asdict().items() if name != "params"}
    named = {
        f"{name}[{i}]": part
        for name, value in named.items()
        for i, part in enumerate(_parts(value))
    }
    return named | {f"params[{name}]": array for name, array in inputs.params.items()}


def check(backend, problem, dtype, reference, record, solve=solve):
    """Check one problem on one backend against ``reference``; record each array's error.

    Besides the numbers: dtype, library and device are those of the inputs, the inputs are
    unchanged, and a second run gives the same bits.
    """
    host = leaves(problem.arrays(dtype))
    inputs = put(backend, problem.arrays(dtype))  # drawn again: a backend may share NumPy's memory
    found = backend.call(solve, problem.model, inputs)
    again = backend.call(solve, problem.model, inputs)
    cotangents = largest(array for name, array in host.items() if name.startswith("d_"))
    parameters = largest(array for name, array in host.items() if name.startswith("params"))
    allowed = allowed_eps(backend.id, dtype)

    def scale(name):
        return cotangents if name.startswith("d_") else parameters

    def record_eps(name, eps):
        record(problem.cell, problem.id, name, problem.steps, eps, allowed)

    check_arrays(backend, found, again, inputs.x, reference, scale, problem, allowed, record_eps)
    if backend.shapes_only:
        return
    for name, array in leaves(inputs).items():
        same = backend.get(array).tobytes() == host[name].tobytes()
        assert same, f"{backend.id}: {name} of {problem} was written to"


def check_arrays(backend, found, again, like, reference, scale, problem, allowed, record_eps):
    """Check named arrays against ``reference``, those they should be ``like``, and a second run."""
    assert set(found) == set(reference)
    for name, array in found.items():
        what = f"{backend.id}: {name} of {problem}"
        assert array_namespace(array) is array_namespace(like), what
        assert array.dtype == like.dtype, f"{what}: dtype {array.dtype}"
        assert device_of(array) == device_of(like), f"{what}: device {device_of(array)}"
        assert tuple(array.shape) == reference[name].shape, f"{what}: shape {tuple(array.shape)}"
        if backend.shapes_only:
            continue
        got = backend.get(array)
        record = partial(record_eps, name)
        assert_close(got, reference[name], what, scale=scale(name), k=allowed, record=record)
        assert got.tobytes() == backend.get(again[name]).tobytes(), f"{what}: other bits in run 2"


def largest(arrays):
    return max(float(np.max(np.abs(array))) for array in arrays)


def put(backend, host):
    """Move all arrays of a problem to a backend."""

    def move(value):
        if value is None:
            return None
        return tuple(map(move, value)) if isinstance(value, tuple) else backend.put(value)

    params = {name: move(array) for name, array in host.params.items()}
    return Inputs(params, *map(move, host[1:]))


def device_of(array):
    """Return the device; None for a library that has a single one and no attribute (MLX)."""
    return device(array) if hasattr(array, "device") or hasattr(array, "devices") else None


def _parts(value):
    return () if value is None else tuple(value) if isinstance(value, (tuple, list)) else (value,)
