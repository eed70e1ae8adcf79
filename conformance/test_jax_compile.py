"""Under jax.jit the time loop is one `lax.scan`: compiling does not take longer for more steps."""

import pytest

import portable_rnn as prnn

from .problems import TORCH_CELLS

pytestmark = pytest.mark.oracle("jax")


@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_the_compiled_program_does_not_grow_with_time(cell):
    import jax

    xp = jax.numpy
    model = prnn.RNN(8, 16, 4, cell=cell)
    params = model.init(seed=0, xp=xp, dtype="float32")

    def lines(steps):
        x = xp.zeros((steps, 2, 8), dtype=xp.float32)
        targets = xp.zeros((steps, 2), dtype=xp.int32)
        lowered = jax.jit(lambda *arrays: prnn.bptt(model, *arrays)).lower(params, x, targets)
        return len(lowered.as_text().splitlines())

    assert 100 < lines(25) == lines(800)


def test_labels_that_are_not_arguments_are_accepted_under_jit():
    """Users often close over a data set, and its labels cannot be read while tracing."""
    import jax

    xp = jax.numpy
    model = prnn.RNN(3, 4, 2)
    x, labels = xp.ones((5, 2, 3), dtype=xp.float32), xp.zeros((5, 2), dtype=xp.int32)
    loss = jax.jit(lambda params: prnn.bptt(model, params, x, labels).loss)
    params = model.init(seed=0, xp=xp)
    assert float(loss(params)) == pytest.approx(float(prnn.bptt(model, params, x, labels).loss))


def test_a_traced_learning_rate_is_one_number():
    """Of a traced array the shape and dtype are read, but no value."""
    import jax

    xp = jax.numpy
    params = {"w": xp.ones(2, dtype=xp.float16)}

    def step(lr):
        return prnn.optimizers.adam(params, params, lr=lr)[0]["w"]

    assert float(jax.jit(step)(xp.asarray(0.25))[0]) == 0.75
    for bad in (xp.ones(2), xp.ones(1), xp.asarray(True)):
        with pytest.raises(TypeError, match=r"^lr: expected a number or an array of shape \(\)"):
            jax.jit(step)(bad)
