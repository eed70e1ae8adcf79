"""Wrong arguments are refused on all backends before any computation; valid ones are taken."""

import numpy as np
import pytest

import portable_rnn as prnn

from .problems import Problem
from .selection import full_precision
from .subject import put
from .tolerances import allowed_eps, assert_close

dtypes = full_precision

STEPS, BATCH = 4, 4  # equal, so that a wrong broadcast is not visible in the shape
PROBLEM = Problem("lstm", 5, STEPS, BATCH, 3, 4, 2, "outputs", False)


def unreached(outputs, targets, weights=None):
    raise AssertionError("the loss was called")


def arrays(backend, dtype):
    """Return parameters, inputs and targets."""
    inputs = put(backend, PROBLEM.arrays(dtype))
    rng = np.random.default_rng(5)
    targets = backend.put((rng.integers(-64, 65, (STEPS, BATCH, 2)) / 64).astype(dtype))
    return inputs.params, inputs.x, targets


@pytest.mark.parametrize("shape", [(STEPS,), (STEPS, 1), (1, BATCH), (STEPS, BATCH, 1), ()])
@pytest.mark.parametrize("steps", ["lengths", "mask"])
def test_weights_that_would_broadcast_are_refused(backend, dtype, steps, shape):
    params, x, targets = arrays(backend, dtype)
    weights = backend.put(np.ones(shape, dtype))
    there = np.arange(STEPS)[:, None] < np.asarray([4, 1, 3, 2])
    given = {"lengths": [4, 1, 3, 2]} if steps == "lengths" else {"mask": backend.put(there)}
    with pytest.raises(ValueError, match=r"^weights: expected shape \(4, 4\), .*got \("):
        prnn.bptt(PROBLEM.model, params, x, targets, loss=unreached, weights=weights, **given)


def test_a_tape_of_another_model_with_the_same_shapes_is_refused(backend, dtype):
    params, x, _ = arrays(backend, dtype)
    tape = prnn.forward(PROBLEM.model, params, x).tape
    cell = prnn.cells.LSTM(activations=("sigmoid", "tanh", "relu"))
    for other in (prnn.RNN(3, 4, 2, cell=cell), prnn.RNN(3, 4, 2, cell="lstm", batch_first=True)):
        with pytest.raises(ValueError, match=r"^tape: expected one of the same model, with "):
            prnn.backward(other, params, tape, x)


def test_targets_of_another_dtype_are_refused_by_a_product_too(backend, dtype):
    params, x, targets = arrays(backend, dtype)
    other = "float64" if dtype == "float32" else "float32"
    if other not in backend.dtypes:
        return
    wrong = backend.put(np.ones((STEPS, BATCH, 2), other))
    x_wrong = backend.put(np.ones((STEPS, BATCH, 3), other))
    loss = {"loss": prnn.losses.mean_squared_error}
    for product in (prnn.hvp, prnn.gauss_newton_product):
        with pytest.raises(TypeError, match=rf"^targets: expected dtype {dtype} .*got {other}"):
            product(PROBLEM.model, params, x, wrong, params, **loss)
        with pytest.raises(TypeError, match=rf"^x: expected dtype {dtype} .*got {other}"):
            product(PROBLEM.model, params, x_wrong, targets, params, **loss)


@pytest.mark.parametrize("value", [None, "0.5", True])
def test_the_value_of_a_loss_is_one_number(backend, dtype, value):
    params, x, targets = arrays(backend, dtype)
    with pytest.raises(TypeError, match=r"^value returned by the loss: expected an array \(\)"):
        prnn.bptt(PROBLEM.model, params, x, targets, loss=lambda o, y: (value, o))
    with pytest.raises(ValueError, match=r"^value returned by the loss: expected shape \(\), got"):
        prnn.bptt(PROBLEM.model, params, x, targets, loss=lambda o, y: (o, o))


def solve(static, params, x, targets, mask):
    model, given = static
    given = dict(given) if mask is None else {"mask": mask}
    result = prnn.bptt(model, params, x, targets, loss=prnn.losses.mean_squared_error, **given)
    return {"loss": result.loss, "outputs": result.outputs, "x": result.grad_x} | result.grads


@pytest.mark.parametrize("steps", ["lengths", "mask"])
def test_a_single_sequence_is_a_batch_of_one(backend, dtype, steps, record):
    params, x, targets = arrays(backend, dtype)
    there = np.asarray([True, False, True, True])
    masks = (backend.put(there), backend.put(there[:, None])) if steps == "mask" else (None, None)
    alone = backend.call(
        solve, (PROBLEM.model, (("lengths", 3),)), params, x[:, 0, :], targets[:, 0, :], masks[0]
    )
    batch = backend.call(
        *(solve, (PROBLEM.model, (("lengths", (3,)),)), params),
        *(x[:, 0:1, :], targets[:, 0:1, :], masks[1]),
    )
    if backend.shapes_only:
        return
    for name, array in alone.items():
        want = backend.get(batch[name])
        want = want[:, 0, :] if name in ("outputs", "x") else want
        allowed = allowed_eps(backend.id, dtype)
        what = f"{backend.id}: {name} of a single sequence"
        reference = want.astype("float64")
        eps = assert_close(backend.get(array), reference, what, scale=1.0, k=allowed)
        record("lstm", f"single-{steps}", name, STEPS, eps, allowed)


def test_a_step_may_be_a_numpy_integer(backend, dtype):
    params = {"w": backend.put(np.ones(3, dtype))}
    grads = {"w": backend.put(np.full(3, 2.0, dtype))}
    for optimizer in (prnn.optimizers.adam, prnn.optimizers.sgd):
        _, state = optimizer(params, grads, lr=0.5)
        want, _ = optimizer(params, grads, state, lr=0.5)
        got, after = optimizer(params, grads, state | {"step": np.int32(1)}, lr=0.5)
        assert int(after["step"]) == 2
        if not backend.shapes_only:
            np.testing.assert_array_equal(backend.get(got["w"]), backend.get(want["w"]))


def test_an_unknown_device_is_refused_by_name(backend, dtype, tmp_path):
    path = tmp_path / "weights"
    prnn.serialization.save_weights(path, {"w": np.ones(2, dtype)})
    for device in ("no such device", 1.5, object()):
        with pytest.raises(ValueError, match=r"^device: expected one of "):
            prnn.serialization.load_weights(path, xp=backend.xp, device=device)
        with pytest.raises(ValueError, match=r"^device: expected one of "):
            prnn.RNN(2, 3).init(0, xp=backend.xp, dtype=dtype, device=device)


def test_more_classes_than_int32_labels_can_have_are_refused(backend, dtype):
    labels = backend.put(np.zeros(2, np.int64))
    xp = backend.namespace(labels)
    with pytest.raises(ValueError, match=r"^classes: expected at most 2147483647, got 2147483648"):
        prnn.losses.one_hot(xp, labels, 2**31, dtype)
