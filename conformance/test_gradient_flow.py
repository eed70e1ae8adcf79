"""Gradients followed back through time, step by step, on every backend."""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pytest
from array_api_compat import array_namespace

import portable_rnn as prnn
from portable_rnn._arrays.namespace import namespace_of

from .backend import host_dtype
from .cells import KINDS
from .oracles.flow import gradients_by_step
from .test_derivatives import DIFFERENCES
from .tolerances import EPS, allowed_eps, assert_close

T, B, I, H, O = 4, 3, 2, 3, 2  # noqa: E741 (the letters of the documents)
V, SEED = 4, 5


class Case(NamedTuple):
    """A network, and what is drawn for it."""

    id: str
    cell: str
    options: dict[str, Any]
    ragged: str = ""

    def __str__(self):
        return self.id

    @property
    def model(self):
        sizes = {"input_size": I, "hidden_size": H, "output_size": O}
        return prnn.RNN(**(sizes | KINDS[self.cell].options | self.options))

    def drawn(self):
        """Return parameters, x, state, cotangents and valid steps; exact in every dtype."""
        model, rng = self.model, np.random.default_rng(SEED)

        def numbers(shape):
            return rng.integers(-48, 48, shape, endpoint=True) / 64

        params = {name: numbers(shape) for name, shape in model.parameter_shapes.items()}
        x = numbers((T, B, model.input_size))
        if model.vocabulary_size:
            x = rng.integers(0, V, (T, B)).astype("int32")
        there = np.ones((T, B), dtype=bool)
        if self.ragged == "lengths":
            there = np.arange(T)[:, None] < [2, T, 0]
        elif self.ragged == "mask":
            there[1:3, 0] = there[0, 2] = False
        state = tuple(map(numbers, model.state_shapes(B)))
        return params, x, state, numbers((T, B, model.feature_size)), there


DROPPED = {"num_layers": 2, "dropout": 0.5, "recurrent_dropout": 0.5, "zoneout": 0.5}
BOTH_WAYS = {"bidirectional": True}
PROJECTED = {"projection_size": 2, "bidirectional": True, "num_layers": 2}
TIED = {"vocabulary_size": V, "input_size": H, "output_size": V, "tied": True}
CASES = [
    Case("elman-both_directions-lengths", "elman", BOTH_WAYS, "lengths"),
    Case("lstm-mask", "lstm", {"num_layers": 2, "batch_first": True}, "mask"),
    Case("lstm-projected", "projected_lstm", PROJECTED, "lengths"),
    Case("gru-dropout", "gru", DROPPED, "mask"),
    Case("gru-tied", "gru", TIED),
]


def cases(row, dtype):
    """Return all networks; one where every operation takes long."""
    if row.slow:
        return CASES[:1] if dtype == row.dtypes[0] else []
    if dtype == "float16":  # the largest singular values would be those of rounded Jacobians
        return []
    return CASES


def when_named(row, dtype, problem):
    """Return whether a problem is left to the session that names its row.

    On slow rows all are left, except on `jax-x32`, and on `jax-jit`, which only has to refuse.
    Variants try three of the networks, in one dtype.
    """
    if row.slow:
        return row.id not in ("jax-jit", "jax-x32")
    return row.variant and (dtype != row.dtypes[-1] or problem in (CASES[1], CASES[4]))


def flow(model, params, x, state, d_outputs, steps):
    """Return all results by name."""

    def loss(outputs, d_outputs, weights=None):
        xp = namespace_of(outputs=outputs)  # also that of an adapter
        return xp.sum(outputs * d_outputs, dtype=outputs.dtype), d_outputs

    found = prnn.gradient_flow(
        *(model, params, x, d_outputs),
        **{"loss": loss, "state": state if len(state) > 1 else state[0]},
        **{"by_loss_step": True, "arrays": True, "iterations": 2, "dropout": False} | steps,
    )
    named = {"loss": found.loss, "jacobian": found.jacobian, "parts": found.d_h_by_loss_step}
    for name in ("d_state", "grad_states"):
        named |= {f"{name}[{i}]": part for i, part in enumerate(getattr(found, name))}
    for name in ("params", "arrays"):
        named |= {f"{name}[{key}]": array for key, array in getattr(found, name).items()}
    return named


def given(case, dtype, put):
    """Return the arguments of `flow`, with arrays as ``put`` makes them."""
    params, x, state, d_outputs, there = case.drawn()
    model, wanted = case.model, host_dtype(dtype)

    def turned(array):
        return np.ascontiguousarray(np.moveaxis(array, 1, 0)) if model.batch_first else array

    def move(array):
        return put(array.astype(wanted) if array.dtype == np.float64 else array)

    steps = {"lengths": there.sum(axis=0, dtype=np.int32)} if case.ragged == "lengths" else {}
    steps = {"mask": turned(there)} if case.ragged == "mask" else steps
    steps = {name: put(array) for name, array in steps.items()}
    x = move(turned(x))
    if model.zoneout:
        steps["dropout"] = prnn.dropout.draw(model, x, SEED)
    params = {name: move(array) for name, array in params.items()}
    return model, params, x, tuple(map(move, state)), move(turned(d_outputs)), steps


@lru_cache
def reference(name):
    """Return what is expected, by the tape, and the singular values of NumPy in float64.

    These ``tests/test_flow.py`` compares with their definitions.
    """
    (case,) = (one for one in CASES if one.id == name)
    params, x, state, d_outputs, there = case.drawn()
    model, step = case.model, KINDS[case.cell].step
    with prnn.use_namespace(np):  # on the host, whatever is under test
        found = flow(*given(case, "float64", np.asarray))
        masks = prnn.dropout.Masks()
        if model.zoneout:
            masks = prnn.dropout.draw(model, np.zeros((T, B, I)), SEED)

    def by_tape(d_outputs):
        return gradients_by_step(model, step, params, x, state, d_outputs, there, masks)

    named = by_tape(d_outputs) | {"jacobian": found["jacobian"]}
    time = np.arange(T)[:, None, None]
    alone = [by_tape(d_outputs * (time == s))["grad_states[0]"] for s in range(T)]
    named["parts"] = np.linalg.norm(alone, axis=-1)
    for i in range(len(state)):
        named[f"d_state[{i}]"] = np.linalg.norm(named[f"grad_states[{i}]"], axis=-1)
    for name in params:
        rows = named[f"arrays[{name}]"].reshape(T, -1)
        named[f"params[{name}]"] = np.linalg.norm(rows, axis=1)
    return named


def test_gradient_flow(backend, dtype, problem, record):
    """Equal to derivatives by the suite's tape, of the formulas of the cells."""
    inputs = given(problem, dtype, backend.put)
    if getattr(backend, "jit", False):
        model, params, x, state, d_outputs, steps = inputs
        with pytest.raises(TypeError, match="x: gradient_flow runs step by step, and cannot be"):
            backend.call(flow, model, params, x, state, d_outputs, steps)
        return
    if backend.library == "cupy" and dtype == "bfloat16":
        with pytest.raises(TypeError, match=r"^x: expected dtype float16, .* got bfloat16"):
            flow(*inputs)
        return
    found = backend.call(flow, *inputs)
    want = reference(problem.id)
    assert set(found) == set(want)
    like = inputs[1]["weight_ih_l0"]
    for name, array in found.items():
        what = f"{backend.id}: {name} of the flow of {problem}"
        assert array_namespace(array) is array_namespace(like), what
        assert array.dtype == like.dtype, f"{what}: dtype {array.dtype}"
        assert tuple(array.shape) == want[name].shape, f"{what}: shape {tuple(array.shape)}"
        if backend.shapes_only:
            continue
        allowed = allowed_eps(backend.id, dtype)
        by_differences = not hasattr(backend.xp, "complex64") and dtype in DIFFERENCES
        if by_differences and name == "jacobian":
            allowed = DIFFERENCES[dtype] / EPS[dtype]
        eps = assert_close(backend.get(array), want[name], what, scale=1.0, k=allowed)
        record(problem.cell, problem.id, name, T, eps, allowed)
