"""What workers of a cluster load and compute in tests: it is imported by them, too."""

import os
import time

import numpy as np

import portable_rnn as prnn
from portable_rnn.batches import Batch, Windows
from portable_rnn.training import train

T, I, O = 9, 3, 4  # noqa: E741
SHARDS = 3
MODEL = prnn.RNN(I, 8, O, cell="gru", num_layers=2)
DROPPING = prnn.RNN(I, 8, O, cell="gru", num_layers=2, dropout=0.3, zoneout=0.1)


def load(step, shard, dtype="float32"):
    """Return a ragged shard; shards have different numbers of sequences."""
    rng = np.random.default_rng([step, shard])
    count = 3 + 2 * shard
    x = rng.normal(size=(T, count, I)).astype(dtype)
    labels = (np.cumsum(x[:, :, 0], axis=0) > 0) + 2 * (x[:, :, 1] > 0)
    return Batch(x, labels, lengths=rng.integers(1, T + 1, count))


def load_double(step, shard):
    return load(step, shard, "float64")


def same_data(step, shard):
    return load(step, 0)


def whole(step, load=load, shards=SHARDS):
    """Return all shards of a step as one batch."""
    parts = [load(step, shard) for shard in range(shards)]
    return joined(parts)


def joined(parts):
    def together(name, axis):
        arrays = [getattr(part, name) for part in parts]
        return None if arrays[0] is None else np.concatenate(arrays, axis)

    axes = {"x": 1, "targets": 1, "weights": 1, "lengths": 0}
    return Batch(**{name: together(name, axis) for name, axis in axes.items()})


class Whole:
    """The shards of each step as one batch, for one process."""

    def __init__(self, steps_per_epoch=None, first=0):
        self.steps_per_epoch, self.first = steps_per_epoch, first

    def batch(self, step):
        return whole(self.first + step)

    def describe(self):
        return {"kind": "whole"}


def later(step, shard):
    """Return a shard that is held out."""
    return load(1000 + step, shard)


def lanes(shard):
    rng = np.random.default_rng(shard)
    x = rng.normal(size=(60, I)).astype(np.float32)
    return Windows(x, (np.cumsum(x[:, 0]) > 0).astype(np.int64), batch_size=2, window=5)


def slow(step, shard):
    time.sleep(3)
    return load(step, shard)


def fails(step, shard):
    if (step, shard) == (1, 2):
        raise ValueError("no such file")
    return load(step, shard)


def no_batch(step, shard):
    return load(step, shard).x


def ends_its_process(step, shard):
    if shard == 1:
        os._exit(1)
    return load(step, shard)


def run(gradients, source, *, steps=12, model=MODEL, **options):
    """Return a short run: clipped, with a schedule."""
    given = {"steps": steps, "lr": 0.02, "max_norm": 0.5, "seed": 5, "log_every": 3}
    return train(model, model.init(seed=0), source, gradients=gradients, **given | options)
