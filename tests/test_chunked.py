"""Batches of data that stay on disk, and batches that a thread reads ahead."""

import functools
import gc
import itertools
import os
import pickle
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.batches import Batch, Chunked, Prefetched, Shuffled
from portable_rnn.training import evaluate, train

from .needed import need
from .runs import Stop, same

N, T, I = 53, 4, 2  # noqa: E741
MODEL = prnn.RNN(I, 5, 2, cell="gru", batch_first=True)


class Sliced:
    """An array that knows only its shape and slices, and counts what is read."""

    def __init__(self, array, chunks=None):
        self.array, self.shape, self.dtype, self.reads = array, array.shape, array.dtype, []
        if chunks is not None:
            self.chunks = chunks

    def __getitem__(self, where):
        self.reads.append(where)
        assert all(isinstance(one, slice) for one in where)
        return self.array[where]


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(N, T, I)).astype(np.float32)
    return x, (np.cumsum(x[..., 0], axis=1) > 0).astype(np.int64)


def chunked(wrap=Sliced, **options):
    options = {"batch_size": 8, "chunk": 12, "batch_axis": 0, "seed": 3} | options
    return Chunked(*map(wrap, data()), **options)


def seen(source, epoch=0):
    """Return which sequences each batch of an epoch has, by their first number."""
    x = data()[0]
    place = {float(value): i for i, value in enumerate(x[:, 0, 0])}
    each = source.steps_per_epoch
    return [
        [place[float(v)] for v in source.batch(epoch * each + i).x[:, 0, 0]] for i in range(each)
    ]


def flat(batches):
    return list(itertools.chain.from_iterable(batches))


# ------------------------------------------------------------------------------- order


def test_each_epoch_sees_every_sequence_once_in_a_new_order():
    source = chunked()
    first, second = seen(source), seen(source, 1)
    for batches in (first, second):
        assert [len(batch) for batch in batches] == [8] * 6 + [5]
        assert sorted(flat(batches)) == list(range(N))
    assert first != second
    assert flat(first) != list(range(N))
    # Sequences of a chunk are read together, and chunks are not in their order.
    chunks = [one // 12 for one in flat(first)]
    changes = [a for a, b in zip(chunks, [*chunks[1:], None], strict=True) if a != b]
    assert sorted(changes) == list(range(5))
    firsts = [flat(seen(source, epoch))[0] // 12 for epoch in range(6)]
    assert len(set(firsts)) > 1
    # Of one chunk, too, the order is new in every epoch.
    inside = [[i for i in flat(batches) if i // 12 == 2] for batches in (first, second)]
    assert inside[0] != inside[1]
    assert all(one != sorted(one) for one in inside)


def test_a_batch_follows_from_its_step_and_the_seed():
    source, other = chunked(), chunked()
    steps = np.random.default_rng(0).permutation(20)
    whole = {step: other.batch(step) for step in range(20)}
    for step in map(int, steps):
        batch = source.batch(step)
        assert batch.x.tobytes() == whole[step].x.tobytes()
        assert batch.targets.tobytes() == whole[step].targets.tobytes()
    assert chunked(seed=4).batch(0).x.tobytes() != whole[0].x.tobytes()
    assert pickle.loads(pickle.dumps(chunked(np.asarray))).batch(3).x.shape == (8, T, I)


def test_arrays_stay_together():
    x, targets = data()
    weights = np.arange(N * T).reshape(N, T) + 1.0
    lengths = np.random.default_rng(1).integers(1, T + 1, N)
    source = chunked(weights=Sliced(weights), lengths=lengths)
    for batch, chosen in zip((source.batch(i) for i in range(7)), seen(source), strict=True):
        np.testing.assert_array_equal(batch.x, x[chosen])
        np.testing.assert_array_equal(batch.targets, targets[chosen])
        np.testing.assert_array_equal(batch.weights, weights[chosen])
        np.testing.assert_array_equal(batch.lengths, lengths[chosen])


@pytest.mark.parametrize("whole", [True, False])
def test_time_first_and_one_target_for_each(whole):
    x, targets = data()
    targets = targets[:, -1] if whole else targets.T
    source = Chunked(
        *(Sliced(x.transpose(1, 0, 2)), Sliced(targets)), batch_size=8, chunk=12, seed=3
    )
    for step, chosen in enumerate(seen(chunked())):
        batch = source.batch(step)
        np.testing.assert_array_equal(batch.x, x[chosen].transpose(1, 0, 2))
        np.testing.assert_array_equal(batch.targets, targets[..., chosen])


# ------------------------------------------------------------------------------- reading


def test_each_chunk_is_read_once_an_epoch_in_one_piece():
    x, targets = map(Sliced, data())
    source = Chunked(x, targets, batch_size=5, chunk=12, batch_axis=0)
    x.reads.clear()
    for step in range(source.steps_per_epoch):
        source.batch(step)
    assert sorted(where[0].start for where in x.reads) == [0, 12, 24, 36, 48]
    assert len(source._held) == 2
    for step in (0, 1, 0, 1):  # of one chunk, that is held
        source.batch(step)
    assert len(x.reads) <= 6


def test_chunks_are_multiples_of_the_array_s_own():
    x, targets = data()
    assert Chunked(x, targets, batch_size=8, batch_axis=0).describe()["chunk"] == N
    big = np.broadcast_to(np.float32(1), (100_000, 50, 20))  # 400 MB, if it were
    labels = np.broadcast_to(np.int64(0), (100_000, 50))
    for chunks, wanted in (((300, 50, 20), 1800), ((5000, 50, 20), 5000), (None, 2097)):
        source = Chunked(Sliced(big, chunks), labels, batch_size=64, batch_axis=0)
        assert source.describe()["chunk"] == wanted
    source = Chunked(Sliced(big, (10, 50, 20)), labels, batch_size=4000, batch_axis=0)
    assert source.describe()["chunk"] == 4000


@pytest.mark.parametrize("library", ["zarr", "h5py"])
def test_arrays_of_files(tmp_path, library):
    found = need(library)
    x, targets = data()
    if library == "zarr":
        group = found.open_group(tmp_path / "data.zarr", mode="w")
        for name, array in (("x", x), ("targets", targets)):
            made = group.create_array(
                name, shape=array.shape, dtype=array.dtype, chunks=(10, *array.shape[1:])
            )
            made[...] = array
        file = group
    else:
        file = found.File(tmp_path / "data.h5", "w")
        for name, array in (("x", x), ("targets", targets)):
            file.create_dataset(name, data=array, chunks=(10, *array.shape[1:]))
    source = Chunked(file["x"], file["targets"], batch_size=8, chunk=12, batch_axis=0, seed=3)
    for step, chosen in enumerate(seen(chunked())):
        batch = source.batch(step)
        np.testing.assert_array_equal(batch.x, x[chosen])
        np.testing.assert_array_equal(batch.targets, targets[chosen])
    assert Chunked(file["x"], file["targets"], batch_size=8, batch_axis=0).describe()["chunk"] == N


def test_a_file_in_memory_map(tmp_path):
    np.save(tmp_path / "x.npy", data()[0])
    x = np.load(tmp_path / "x.npy", mmap_mode="r")
    source = Chunked(x, data()[1], batch_size=8, chunk=12, batch_axis=0, seed=3)
    assert source.batch(2).x.tobytes() == chunked().batch(2).x.tobytes()


@pytest.mark.parametrize("library", ["torch", "jax.numpy", "array_api_strict"])
def test_batches_of_another_library(library):
    xp = need(library)
    x, targets = data()
    options = {"batch_size": 8, "chunk": 12, "batch_axis": 0, "seed": 3, "xp": xp}
    batch = Chunked(x, targets.astype(np.int32), **options).batch(1)
    assert type(batch.x) is type(batch.targets) is type(xp.asarray(np.float32(0)))
    np.testing.assert_array_equal(np.asarray(batch.x), chunked().batch(1).x)


# ------------------------------------------------------------------------------- training


@pytest.mark.parametrize("ahead", [False, True])
def test_a_run_is_resumed_to_the_same_bits(tmp_path, ahead):
    def source():
        return Prefetched(chunked()) if ahead else chunked()

    go = functools.partial(train, MODEL, MODEL.init(seed=0), steps=30, resume=True)
    whole = go(source(), checkpoint=tmp_path / "whole", validation=source())
    for step in (1, 7, 20):
        go(source(), checkpoint=tmp_path / "c", validation=source(), callbacks=[Stop(step)])
    resumed = go(source(), checkpoint=tmp_path / "c", validation=source())
    assert same(resumed.params, whole.params)
    assert resumed.evaluation == whole.evaluation == evaluate(MODEL, whole.params, chunked())
    plain = go(chunked(np.asarray), checkpoint=tmp_path / "plain", validation=chunked())
    assert same(plain.params, whole.params)


# ------------------------------------------------------------------------------- ahead


class Recorded:
    """A source that notes which steps are asked for, and in which thread."""

    steps_per_epoch, batch_axis = 10, 0

    def __init__(self):
        self.asked, self.threads = [], set()

    def batch(self, step):
        self.asked.append(step)
        self.threads.add(threading.current_thread())
        if step == 5:
            raise OSError("no such chunk")
        return Batch(np.full((1, 1, 1), float(step)), np.zeros((1, 1)))

    def describe(self):
        return {"kind": "recorded"}


def test_the_next_batches_are_read_ahead_once_and_in_order():
    source = Recorded()
    ahead = Prefetched(source, count=3)
    for step in range(5):
        assert ahead.batch(step).x[0, 0, 0] == step
    deadline = time.monotonic() + 30
    while len(source.asked) < 8 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert source.asked == list(range(8))
    assert threading.main_thread() not in source.threads
    assert (ahead.steps_per_epoch, ahead.batch_axis) == (10, 0)
    assert ahead.describe() == {"kind": "recorded"}
    assert ahead.batch(90).x[0, 0, 0] == 90.0  # as when an evaluation begins again


def test_an_error_of_the_source_comes_at_its_step():
    ahead = Prefetched(Recorded(), count=2)
    for step in (3, 4):
        assert ahead.batch(step).x[0, 0, 0] == step
    for _ in range(2):  # asked again, it is read again
        with pytest.raises(OSError, match="no such chunk") as caught:
            ahead.batch(5)
        assert any(entry.name == "batch" for entry in caught.traceback)
    assert ahead.batch(6).x[0, 0, 0] == 6.0


def test_the_thread_ends_with_the_source():
    ahead = Prefetched(source := Recorded())
    ahead.batch(0)
    (thread,) = source.threads
    del ahead
    gc.collect()
    thread.join(30)
    assert not thread.is_alive()


def run(program, **options):
    """Run a program in a process of its own, and return it when it has ended."""
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        **{"capture_output": True, "text": True, "timeout": 60, "check": False} | options,
    )


SLOW = """
import os, signal, threading, time
from portable_rnn.batches import Prefetched
class Slow:
    def batch(self, step):
        time.sleep({seconds})
        return step
ahead = Prefetched(Slow(), count=20)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="fork is POSIX's")
def test_a_forked_process_has_a_thread_of_its_own():
    program = """
wanted = ahead.batch(0), ahead.batch(1)
child = os.fork()
found = ahead.batch(0), ahead.batch(1)
if child == 0:
    os._exit(0 if found == wanted else 1)
print(os.waitpid(child, 0)[1], found)
"""
    ended = run(SLOW.format(seconds=0) + program)
    assert ended.stdout == "0 (0, 1)\n", ended.stderr


def test_a_program_ends_while_batches_are_read():
    ended = run(SLOW.format(seconds=0.5) + "print(ahead.batch(0))\nraise KeyboardInterrupt")
    assert ended.stdout == "0\n"
    assert "KeyboardInterrupt" in ended.stderr


@pytest.mark.skipif(os.name == "nt", reason="signals are POSIX's")
def test_a_program_that_waits_for_a_batch_can_be_interrupted():
    program = """
threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT)).start()
try:
    ahead.batch(0)
except KeyboardInterrupt:
    print("interrupted")
"""
    ended = run(SLOW.format(seconds=300) + program)
    assert ended.stdout == "interrupted\n", ended.stderr


def test_a_thread_that_ended_is_not_waited_for(monkeypatch):
    monkeypatch.setattr("portable_rnn.batches.prefetched.WAIT", 0.01)
    monkeypatch.setattr("portable_rnn.batches.prefetched._serve", lambda *args: None)
    with pytest.raises(RuntimeError, match="the thread that reads batches has ended"):
        Prefetched(chunked()).batch(0)


# ------------------------------------------------------------------------------- memory

PROGRAM = Path(__file__).parents[1] / "benchmarks" / "large_data.py"


@pytest.mark.no_products
@pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
@pytest.mark.parametrize("store", ["memmap", "zarr", "h5py"])
def test_training_takes_little_memory(tmp_path, store):
    """256 MB of data, of which the program holds a small part; with 2 GB: the benchmark."""
    if store != "memmap":
        need(store)
    ended = subprocess.run(
        [sys.executable, PROGRAM, "--store", store, "--megabytes", "256", "--folder", tmp_path],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    name, megabytes, same_bits = ended.stdout.split()
    assert name == store
    assert float(megabytes) < 200.0
    assert same_bits == "resumed-to-the-same-bits"


# ------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"x": [[1.0]]}, TypeError, "x: expected an array with a shape, a dtype and slices"),
        ({"x": np.zeros(3)}, ValueError, r"x: expected shape \(N, T, ...\)"),
        ({"x": np.zeros((0, 3, 2))}, ValueError, "x: expected shape"),
        ({"targets": np.zeros((9, T))}, ValueError, "targets: expected 53 sequences along axis 0"),
        ({"x": np.zeros((N, T), dtype="U3")}, TypeError, "x: expected an array of numbers"),
        ({"batch_size": 0}, ValueError, "batch_size: expected at least 1, got 0"),
        ({"batch_size": 99}, ValueError, "batch_size: expected 1 to 53 sequences, got 99"),
        ({"chunk": 0}, ValueError, "chunk: expected at least 1, got 0"),
        ({"chunk": 2.5}, TypeError, "chunk: expected an int"),
        ({"seed": -1}, ValueError, "seed: expected at least 0, got -1"),
        ({"lengths": [1, 2]}, ValueError, "lengths: "),
        ({"weights": np.zeros(3)}, ValueError, "weights: "),
        ({"device": "cpu"}, ValueError, "device: expected xp, the library of batches"),
        ({"xp": 3}, TypeError, "xp: expected an array module"),
    ],
)
def test_what_does_not_fit_is_named(options, error, words):
    x, targets = data()
    given = {"x": x, "targets": targets, "batch_size": 8, "batch_axis": 0} | options
    with pytest.raises(error, match=words):
        Chunked(given.pop("x"), given.pop("targets"), **given)


def test_a_column_of_a_frame_is_refused():
    """Its slices may be of labels; tests/test_frames.py has those of pandas and polars."""

    class Column(Sliced):
        def to_numpy(self):
            return self.array

    wanted = r"^x: expected an array with a shape, a dtype and slices, got Column; give x\.to_numpy"
    with pytest.raises(TypeError, match=wanted):
        Chunked(Column(data()[0]), data()[1], batch_size=8, batch_axis=0)


def test_what_cannot_be_read_ahead_is_named():
    with pytest.raises(TypeError, match="source: expected a source of batches"):
        Prefetched(Shuffled)
    with pytest.raises(ValueError, match="count: expected at least 1, got 0"):
        Prefetched(chunked(), count=0)
    with pytest.raises(ValueError, match="step: expected at least 0, got -1"):
        Prefetched(chunked()).batch(-1)
