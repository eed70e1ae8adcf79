"""Memory of what is held for all steps: embedded tokens, and hidden states that are pooled."""

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import executors

from .memory_problem import measure

pytestmark = [pytest.mark.no_products, pytest.mark.usefixtures("short_chunks")]

T, B = 300, 16
MODELS = {
    "tokens": prnn.RNN(64, 16, 4, cell="gru", vocabulary_size=300),
    "tokens, tied": prnn.RNN(32, 32, 300, cell="gru", vocabulary_size=300, tied=True),
    "large vocabulary": prnn.RNN(16, 16, 4, vocabulary_size=50_000),
    **{pool: prnn.RNN(16, 48, 4, cell="gru", pool=pool) for pool in ("last", "mean", "max")},
    "both directions": prnn.RNN(16, 24, 4, cell="gru", pool="max", bidirectional=True),
    "tokens and pool": prnn.RNN(32, 32, 4, cell="lstm", vocabulary_size=300, pool="max"),
}


@pytest.mark.parametrize(
    ("dtype", "executor", "every"),
    [
        *(("float32", executor, every) for executor in ("eager", "auto") for every in (None, 16)),
        ("float16", "eager", None),  # all executors run it so, slowly
    ],
)
@pytest.mark.parametrize("name", MODELS)
def test_a_plan_is_not_exceeded(name, every, executor, dtype):
    model = MODELS[name]
    params, rng = model.init(seed=0, dtype=dtype), np.random.default_rng(0)
    tokens = model.vocabulary_size is not None
    x = rng.standard_normal((T, B, model.input_size)).astype(dtype)
    x = rng.integers(0, model.vocabulary_size, (T, B)) if tokens else x
    options = {} if every is None else {"checkpoint_every": every}

    def both():
        fwd = prnn.forward(model, params, x, **options)
        return fwd.outputs, prnn.backward(model, params, fwd.tape, d_outputs)

    with executors.use(executor):
        d_outputs = np.ones_like(prnn.predict(model, params, x))
        (outputs, grads), _, peak = measure(both)
        planned = prnn.memory.plan(model, T, B, dtype=dtype, **options).peak
    results = [outputs, *grads.params.values()] + ([] if tokens else [grads.x])
    taken = peak - sum(array.nbytes for array in results)
    assert taken <= planned <= 3.5 * taken, f"planned {planned}, taken {taken}"
