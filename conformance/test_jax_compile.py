"""Under jax.jit the time loop is one `lax.scan`: compiling does not take longer for more steps."""

import time

import pytest

import portable_rnn as prnn

from .problems import CELLS

pytestmark = pytest.mark.oracle("jax")
SHORT, LONG = 25, 800


@pytest.mark.parametrize("cell", CELLS)
def test_compile_time_does_not_grow_with_time(cell):
    import jax

    xp = jax.numpy
    model = prnn.RNN(8, 16, 4, cell=cell)
    params = model.init(seed=0, xp=xp, dtype="float32")

    def seconds(steps):
        x = xp.zeros((steps, 2, 8), dtype=xp.float32)
        targets = xp.zeros((steps, 2), dtype=xp.int32)
        fresh = jax.jit(lambda *arrays: prnn.bptt(model, *arrays))  # nothing cached
        start = time.perf_counter()
        fresh.lower(params, x, targets).compile()
        return time.perf_counter() - start

    # Alternated, and the best of three, so that a busy machine disturbs both alike.
    pairs = [(seconds(SHORT), seconds(LONG)) for _ in range(3)]
    short, long = (min(column) for column in zip(*pairs, strict=True))
    assert long <= 1.5 * short, f"T={LONG} took {long:.2f} s, T={SHORT} took {short:.2f} s"


def test_labels_that_are_not_arguments_are_no_trouble_under_jit():
    """A closed-over data set is how many write a step; its labels cannot be read while tracing."""
    import jax

    xp = jax.numpy
    model = prnn.RNN(3, 4, 2)
    x, labels = xp.ones((5, 2, 3), dtype=xp.float32), xp.zeros((5, 2), dtype=xp.int32)
    loss = jax.jit(lambda params: prnn.bptt(model, params, x, labels).loss)
    params = model.init(seed=0, xp=xp)
    assert float(loss(params)) == pytest.approx(float(prnn.bptt(model, params, x, labels).loss))


def test_a_traced_learning_rate_is_one_number():
    """Of what is traced no value is read; its shape and dtype are."""
    import jax

    xp = jax.numpy
    params = {"w": xp.ones(2, dtype=xp.float16)}

    def step(lr):
        return prnn.optimizers.adam(params, params, lr=lr)[0]["w"]

    assert float(jax.jit(step)(xp.asarray(0.25))[0]) == 0.75
    for bad in (xp.ones(2), xp.ones(1), xp.asarray(True)):
        with pytest.raises(TypeError, match=r"^lr: expected a number or an array of shape \(\)"):
            jax.jit(step)(bad)
