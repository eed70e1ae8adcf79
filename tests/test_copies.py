"""All objects that users hold can be pickled and copied."""

import copy
import functools
import pickle

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import book
from portable_rnn.text import Vocabulary

MODEL = prnn.RNN(3, 4, 2, cell="lstm", num_layers=2, dropout=0.5, zoneout=0.25)
PARAMS = MODEL.init(seed=0, dtype="float64")
X, LABELS = np.ones((5, 2, 3)), np.zeros((5, 2), dtype=np.int64)
PLAIN = prnn.RNN(3, 4, 2)
PLAIN_PARAMS = PLAIN.init(seed=0, dtype="float64")
EXAMPLE = book.draw(steps=1)


def used_model():
    prnn.predict(MODEL, PARAMS, X)  # which caches what it has looked up
    return MODEL


OBJECTS = {
    "model": used_model,
    **{f"cell {name}": cell for name, cell in prnn.cells.CELLS.items()},
    "a cell with options": lambda: prnn.cells.LSTM(peepholes=True, clip=3.0),
    "plan": lambda: prnn.memory.plan(MODEL, 64, 2, memory="1 MiB"),
    "masks": lambda: prnn.dropout.draw(MODEL, X, 0),
    "shuffled": lambda: prnn.batches.Shuffled(X, LABELS, batch_size=1, lengths=[5, 2]),
    "windows": lambda: prnn.batches.Windows(X[:, 0], X[:, 0], batch_size=1, window=2),
    "batch": lambda: prnn.batches.Batch(X, LABELS),
    "run": lambda: prnn.training.train(
        PLAIN, PLAIN_PARAMS, prnn.batches.Shuffled(X, LABELS, batch_size=1), steps=1
    ),
    "callback": prnn.training.Callback,
    "stream": lambda: prnn.stream(PLAIN, PLAIN_PARAMS),
    "forward": lambda: prnn.forward(PLAIN, PLAIN_PARAMS, X, lengths=[5, 2]),
    "forward in little memory": lambda: prnn.forward(PLAIN, PLAIN_PARAMS, X, memory="1 MiB"),
    "result": lambda: prnn.bptt(PLAIN, PLAIN_PARAMS, X, LABELS),
    "flow": lambda: prnn.gradient_flow(PLAIN, PLAIN_PARAMS, X, LABELS),
    "norms": lambda: prnn.per_example_norms(PLAIN, PLAIN_PARAMS, X, LABELS),
    "tangents": lambda: prnn.jvp(PLAIN, PLAIN_PARAMS, X, d_x=X),
    "optimizer": lambda: functools.partial(prnn.optimizers.adam, betas=(0.9, 0.99)),
    "schedule": lambda: functools.partial(prnn.schedules.cosine, lr=0.1, steps=3),
    "loss": lambda: prnn.losses.softmax_cross_entropy,
    "vocabulary": lambda: Vocabulary("abc"),
    "example": lambda: EXAMPLE,
    "quantities": lambda: book.compute(EXAMPLE),
    "claims": lambda: book.judge(EXAMPLE, book.differentiate(EXAMPLE), {"loss": 1.0}),
    "checks": lambda: book.compare(EXAMPLE, book.compute(EXAMPLE), book.differentiate(EXAMPLE)),
    "error": lambda: prnn.serialization.CheckpointError("a message"),
}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda one: pickle.loads(pickle.dumps(one))])
@pytest.mark.parametrize("name", OBJECTS)
def test_an_object_can_be_pickled_and_copied(name, copied):
    found = OBJECTS[name]()
    other = copied(found)
    assert type(other) is type(found)
    assert pickle.dumps(other) == pickle.dumps(copied(other))


def test_a_copied_tape_and_stream_go_on_as_the_first():
    fwd = prnn.forward(PLAIN, PLAIN_PARAMS, X)
    d_outputs = np.ones((5, 2, 2))
    one, two = (
        prnn.backward(PLAIN, PLAIN_PARAMS, tape, d_outputs).x
        for tape in (fwd.tape, copy.deepcopy(fwd.tape))
    )
    np.testing.assert_array_equal(one, two)
    stream = prnn.stream(PLAIN, PLAIN_PARAMS)
    stream.feed(X[:2])
    other = pickle.loads(pickle.dumps(stream))
    np.testing.assert_array_equal(stream.feed(X[2:]), other.feed(X[2:]))
