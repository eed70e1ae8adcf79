"""Small training runs for tests: their data, and a callback that stops them."""

import numpy as np

import portable_rnn as prnn
from portable_rnn.batches import Shuffled, Windows
from portable_rnn.training import Callback

MODEL = prnn.RNN(input_size=1, hidden_size=8, output_size=2, cell="gru")


def parity(count=64, steps=6, seed=0):
    """Sequences of bits; the target at each step is the parity so far."""
    bits = np.random.default_rng(seed).integers(0, 2, (steps, count))
    return bits[:, :, None].astype(np.float32), np.cumsum(bits, axis=0) % 2


def source(**options):
    return Shuffled(*parity(), **{"batch_size": 16, "seed": 3} | options)


def ragged(lengths, **options):
    """Return a source of single sequences, some of which may have no steps."""
    x, labels = parity(count=len(lengths))
    return Shuffled(x, labels, batch_size=1, lengths=lengths, seed=1, **options)


def lanes():
    bits, labels = parity(count=1, steps=600)
    return Windows(bits[:, 0, :], labels[:, 0], batch_size=4, window=10)


def same(a, b):
    return all(a[name].tobytes() == b[name].tobytes() for name in a)


class Stop(Callback):
    """Stop a run after a number of steps."""

    def __init__(self, step):
        self.at = step

    def on_step(self, run):
        if run.step == self.at:
            run.stop("enough")
