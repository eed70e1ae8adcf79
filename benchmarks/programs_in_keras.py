"""Programs of the front page in Keras, by its own functions and with its own initial values.

As `programs_in_torch.py`. Keras pads with token 0, so that all tokens are one more here.
"""

import os
from collections.abc import Callable
from typing import Any

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
from keras import layers

from portable_rnn import RNN

__all__ = ["PROGRAMS"]

Names = dict[str, Any]


def fit(network: Any, x: Any, labels: Any, lr: float, held_out: Any = None, **options: Any) -> None:
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(lr), loss, metrics=["accuracy"])
    network.fit(x, labels, validation_data=held_out, verbose=0, **options)


def padded(source: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return the sequences of a source, as tokens of at least 1, and 0 for padding."""
    found = [source.batch(step) for step in range(source.steps_per_epoch)]
    x, labels, lengths = (np.concatenate([b[i] for b in found], axis=-1) for i in (0, 1, 4))
    return np.where(np.arange(len(x))[:, None] < lengths, x + 1, 0).T, labels.T


def six_lines(names: Names, model: RNN, params: Any) -> float:
    keras.utils.set_random_seed(0)
    x, kinds = np.swapaxes(names["x"], 0, 1), names["kinds"]
    network = keras.Sequential(
        [layers.GRU(32, return_sequences=True), layers.GlobalAveragePooling1D(), layers.Dense(3)]
    )
    fit(network, x[:1200], kinds[:1200], lr=0.01, epochs=10, batch_size=32)
    found = network.predict(x[1200:], verbose=0).argmax(axis=1)
    return float(np.mean(found == kinds[1200:]))


def classify_texts(names: Names, model: RNN, params: Any) -> float:
    keras.utils.set_random_seed(0)
    x, labels = padded(names["train"])
    network = keras.Sequential(
        [
            layers.Embedding(61, 8, mask_zero=True),
            layers.GRU(16, return_sequences=True),
            layers.GlobalAveragePooling1D(),
            layers.Dense(2),
        ]
    )
    new, wanted = padded(names["held_out"])
    fit(network, x, labels, lr=0.01, held_out=(new, wanted), epochs=8, batch_size=50)
    return float(np.mean(network.predict(new, verbose=0).argmax(axis=1) == wanted))


def tag_each_step(names: Names, model: RNN, params: Any) -> float:
    keras.utils.set_random_seed(0)
    x, labels = padded(names["train"])
    network = keras.Sequential(
        [
            layers.Embedding(3, 4, mask_zero=True),
            layers.Bidirectional(layers.GRU(16, return_sequences=True)),
            layers.Dense(2),
        ]
    )
    new, wanted = padded(names["held_out"])
    fit(network, x, labels, lr=0.02, held_out=(new, wanted), epochs=10, batch_size=40)
    return float(np.mean((network.predict(new, verbose=0).argmax(axis=2) == wanted)[new > 0]))


PROGRAMS: dict[str, Callable[[Names, Any, Any], float]] = {
    "six lines": six_lines,
    "classify texts": classify_texts,
    "tag each step": tag_each_step,
}
