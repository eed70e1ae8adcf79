"""The library against itself at complex128: gradients without oracle or subtraction.

``Im f(x + 1e-30 i) / 1e-30`` is the derivative of the forward pass and loss themselves, so it
agrees with the hand-written backward pass only if that is their derivative.
"""

from functools import partial

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import losses

from .cells import KINDS
from .complex_step import STEP, gradient
from .losses import LOSSES
from .problems import OTHER_CELLS, TORCH_CELLS
from .tolerances import assert_close

INPUTS, HIDDEN, OUTPUTS = 3, 4, 6


def softmax_targets(rng, shape):
    return rng.integers(0, OUTPUTS, shape)


def real_targets(loss, rng, shape):
    return loss.fit(rng.uniform(0.0, 1.0, (*shape, OUTPUTS)))


KINDS_OF_TARGETS = {
    name: (getattr(losses, name), partial(real_targets, loss)) for name, loss in LOSSES.items()
} | {
    f"{name}-labels": (getattr(losses, name), softmax_targets)
    for name, loss in LOSSES.items()
    if loss.labels
}


def like(array, outputs):
    """Rows of targets must have the outputs' dtype, complex or not."""
    return array if array.dtype.kind == "i" else array.astype(outputs.dtype)


def states(model, batch, rng):
    parts = 2 if model.cell == "lstm" else 1
    return [rng.standard_normal((1, batch, HIDDEN)) for _ in range(parts)]


@pytest.mark.parametrize("loss", KINDS_OF_TARGETS)
@pytest.mark.parametrize(
    ("cell", "nonlinearity"), [*((cell, "tanh") for cell in TORCH_CELLS), ("elman", "relu")]
)
@pytest.mark.parametrize(("steps", "batch"), [(1, 1), (5, 2)])
def test_every_gradient_of_bptt(cell, nonlinearity, loss, steps, batch):
    rng = np.random.default_rng([TORCH_CELLS.index(cell), steps])
    model = prnn.RNN(INPUTS, HIDDEN, OUTPUTS, cell=cell, nonlinearity=nonlinearity)
    params = model.init(seed=1, dtype="float64")
    function, draw_targets = KINDS_OF_TARGETS[loss]
    targets = draw_targets(rng, (steps, batch))
    x, state = rng.standard_normal((steps, batch, INPUTS)), states(model, batch, rng)
    arrays = [*params.values(), x, *state]

    def value(*arrays):
        here = dict(zip(params, arrays, strict=False))
        x, *state = arrays[len(params) :]
        fwd = prnn.forward(model, here, x, tuple(state))
        return function(fwd.outputs, like(targets, fwd.outputs))[0]

    result = prnn.bptt(model, params, x, targets, loss=function, state=tuple(state))
    parts = result.grad_state if cell == "lstm" else [result.grad_state]
    found = {f"d_{name}": grad for name, grad in result.grads.items()}
    found |= {"d_x": result.grad_x} | {f"d_state[{i}]": part for i, part in enumerate(parts)}
    scale = np.max(np.abs(function(result.outputs, targets)[1]))
    for index, (name, got) in enumerate(found.items()):
        # Equal dtypes: the complex parameters carry the step of one array at a time.
        want = gradient(value, arrays, index)
        what = f"{name} of {cell}, {nonlinearity}, {loss}, T={steps}, B={batch}"
        assert_close(got, want, what, scale=scale)


WEIGHTED = np.asarray([[1.0, 0.5, 0.0], [2.0, 1.0, 0.25]])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("weights", [None, WEIGHTED])
@pytest.mark.parametrize("loss", KINDS_OF_TARGETS)
def test_d_outputs_of_a_loss(loss, weights, reduction):
    rng = np.random.default_rng(7)
    function, draw_targets = KINDS_OF_TARGETS[loss]
    targets = draw_targets(rng, (2, 3))
    outputs = 3.0 * rng.standard_normal((2, 3, OUTPUTS))

    def value(outputs):
        given = None if weights is None else weights.astype(outputs.dtype)
        targets_here = like(targets, outputs)
        return function(outputs, targets_here, weights=given, reduction=reduction)[0]

    _, got = function(outputs, targets, weights=weights, reduction=reduction)
    assert_close(got, gradient(value, [outputs], 0), f"d_outputs of {loss}", scale=1.0, k=8)


@pytest.mark.parametrize("loss", KINDS_OF_TARGETS)
def test_the_gradient_of_a_loss_is_analytic(loss):
    """Otherwise products with the Hessian would be wrong: no call checks it for these losses."""
    rng = np.random.default_rng(5)
    function, draw_targets = KINDS_OF_TARGETS[loss]
    outputs, along = rng.standard_normal((2, 4, 3, OUTPUTS))
    targets = draw_targets(rng, (4, 3))

    def slope(moved):
        return function(moved, like(targets, moved))[1]

    got = np.imag(slope(outputs + 1j * STEP * along)) / STEP
    want = (slope(outputs + 1e-6 * along) - slope(outputs - 1e-6 * along)) / 2e-6
    np.testing.assert_allclose(got, want, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("cell", [*TORCH_CELLS, *OTHER_CELLS])
def test_the_gradient_itself_is_analytic(cell):
    """Hessian-vector products are complex steps through the hand-written backward pass."""
    rng = np.random.default_rng(11)
    model = prnn.RNN(INPUTS, HIDDEN, OUTPUTS, **KINDS[cell].options)
    params = model.init(seed=2, dtype="float64")
    x, targets = rng.standard_normal((4, 2, INPUTS)), rng.integers(0, OUTPUTS, (4, 2))
    along = {n: [rng.standard_normal(p.shape) for _ in range(2)] for n, p in params.items()}

    def second(u, v):
        moved = {n: p + 1j * STEP * along[n][u] for n, p in params.items()}
        grads = prnn.bptt(model, moved, x.astype(np.complex128), targets).grads
        return sum(np.sum(np.imag(grads[n]) * along[n][v]) for n in params) / STEP

    # A Hessian is symmetric, which a mistake in the gradient would break.
    assert_close(second(0, 1), np.float64(second(1, 0)), f"vᵀHu of {cell}", scale=1.0, k=64)
