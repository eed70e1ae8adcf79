"""Files that are read are whole, or refused by name: seeded damages of every kind."""

import functools
import json
import pickle
import random
import struct
import zlib

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.batches import Shuffled
from portable_rnn.serialization import CheckpointError, load_weights
from portable_rnn.training import train

from .campaign import times
from .command import call

pytestmark = [pytest.mark.no_products, pytest.mark.reliability]
safetensors = pytest.importorskip("safetensors.numpy")

COUNT = times(400, 20_000)
# Shares of all damages: a command takes longer than a call.
CALLS, COMMANDS = COUNT - COUNT // 8, COUNT // 8

CONFIG, CHECKPOINT = "config.json", "checkpoint.safetensors"
WEIGHTS, METRICS = "weights.safetensors", "metrics.jsonl"
KINDS = (
    *(b"", b"\0", b"123", b"{}", b"[]", b"null", b'"text"', b"\xff\xfe", b"123\n", b"{}\n", b"\n"),
    *(
        b"[" * 100_000,
        b'{"step": 1}\n',
        b"PK\x03\x04" + bytes(30),
        b"\x89PNG\r\n\x1a\n" + bytes(50),
    ),
    *(pickle.dumps({"step": 3}), b"9" * 5000, struct.pack("<Q", 2) + b"{}", b"\xff" * 16),
)
VALUES = (None, True, 0, -1, 3, 2.5, 1e400, "x", "", [], {}, [1], {"a": 1})


# --------------------------------------------------------------------------- damages


def flip(rng, data):
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def flip_early(rng, data):
    """Flip where a safetensors file has its header, which is a small part of a large one."""
    head = min(len(data), 8 + int.from_bytes(data[:8], "little") % 10_000)
    return flip(rng, data[:head]) + data[head:]


def several(rng, data):
    for _ in range(rng.randint(2, 30)):
        data = flip(rng, data)
    return data


def cut(rng, data):
    return data[: rng.randrange(len(data))]


def lengthen(rng, data):
    return data + rng.randbytes(rng.randint(1, 20))


def zero(rng, data):
    start = rng.randrange(len(data))
    end = min(len(data), start + rng.randint(1, 600))
    return data[:start] + bytes(end - start) + data[end:]


def swap(rng, data):
    """Exchange two pieces of the same length."""
    size = rng.randint(1, min(64, len(data) // 2))
    first = rng.randrange(len(data) - 2 * size + 1)
    second = rng.randrange(first + size, len(data) - size + 1)
    a, b = data[first : first + size], data[second : second + size]
    return data[:first] + b + data[first + size : second] + a + data[second + size :]


def drop(rng, data):
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randint(1, 200) :]


def another_kind(rng, data):
    return rng.choice(KINDS)


def edit_header(rng, data):
    """Change, add or take away an entry of the header of a safetensors file."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    edit(rng, header)
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[end:]


def exchange(rng, data):
    """Exchange the numbers of two arrays of a size: as a file, nothing is wrong with it."""
    end = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:end])
    names = [name for name in header if name != "__metadata__"]
    rng.shuffle(names)
    for a in names:
        for b in names:
            one, two = header[a], header[b]
            if a != b and (one["shape"], one["dtype"]) == (two["shape"], two["dtype"]):
                header[a], header[b] = two, one
                text = json.dumps(header).encode()
                return struct.pack("<Q", len(text)) + text + data[end:]
    raise AssertionError("no two arrays of a shape")


def edit_json(rng, data):
    config = json.loads(data)
    edit(rng, config)
    return json.dumps(config, indent=2).encode()


def edit_line(rng, data):
    lines = data.splitlines(keepends=True)
    at = rng.randrange(len(lines))
    kind = rng.randrange(4)
    if kind == 0:
        values = json.loads(lines[at])
        edit(rng, values)
        lines[at] = json.dumps(values).encode() + b"\n"
    elif kind == 1:
        del lines[at]
    elif kind == 2:
        lines.insert(rng.randrange(len(lines) + 1), lines[at])
    else:
        lines.insert(at, rng.choice(KINDS))
    return b"".join(lines)


def edit(rng, tree):
    """Change one entry of a tree of dicts and lists."""
    path = rng.choice(list(paths(tree)))
    at = functools.reduce(lambda branch, key: branch[key], path[:-1], tree)
    kind = rng.randrange(4)
    if kind == 0:
        del at[path[-1]]
    elif kind == 1 and isinstance(at, dict):
        at[path[-1] + rng.choice("_x\x1b ")] = at.pop(path[-1])
    elif kind == 2 and isinstance(at[path[-1]], str) and at[path[-1]]:
        letters = list(at[path[-1]])
        rng.shuffle(letters)
        at[path[-1]] = "".join(letters)
    else:
        at[path[-1]] = rng.choice(VALUES)


def paths(tree, before=()):
    """Yield the way to every entry of a tree."""
    for key in range(len(tree)) if isinstance(tree, list) else list(tree):
        yield (*before, key)
        if isinstance(tree[key], dict | list):
            yield from paths(tree[key], (*before, key))


ANYWHERE = (flip, flip, several, cut, lengthen, zero, swap, drop, another_kind)
OF_ARRAYS = (*ANYWHERE, flip_early, flip_early, edit_header, edit_header, exchange)
OF = {
    CONFIG: (*ANYWHERE, edit_json, edit_json, edit_json),
    CHECKPOINT: OF_ARRAYS,
    WEIGHTS: OF_ARRAYS,
    METRICS: (*ANYWHERE, edit_line, edit_line, edit_line),
}


def meaning(name, data):
    """Return the contents of a file, read without the library; None if it is invalid."""
    try:
        if name == CONFIG:
            return json.dumps(json.loads(data), sort_keys=True)
        if name == METRICS:
            return [json.loads(line) for line in data.split(b"\n")[:-1]]
        arrays = safetensors.load(data)
        header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
        known = {n: (a.dtype, a.shape, a.tobytes()) for n, a in arrays.items()}
        return known, header.get("__metadata__")
    except Exception:
        return None


# ------------------------------------------------------------------------------ by calls

MODEL = prnn.RNN(2, 3, 2, cell="gru")


def training(path, seed=0, **options):
    x = np.random.default_rng(seed).standard_normal((3, 6, 2)).astype(np.float32)
    source = Shuffled(x, (x[..., 0] > 0).astype(np.int64), batch_size=4)
    options = {"steps": 7, "validation": source, "evaluate_every": 2} | options
    return train(MODEL, MODEL.init(seed=0), source, checkpoint=path, **options)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Return a checkpoint, and one of the same shapes with other data."""
    folder = tmp_path_factory.mktemp("whole")
    training(folder / "c", steps=5)
    training(folder / "other", seed=1, steps=5)
    return (folder / "c").read_bytes(), (folder / "other").read_bytes()


@pytest.fixture(autouse=True)
def _in_memory(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def refusal(read, *args, **options):
    """Return the message of a CheckpointError, the only error allowed; None without one."""
    try:
        read(*args, **options)
    except CheckpointError as error:
        return str(error)
    return None


def test_damaged_checkpoints_are_refused(tmp_path, whole):
    refused = 0
    for seed in range(CALLS // 2):
        rng = random.Random(seed)
        kind = rng.choice((*OF[CHECKPOINT], lambda rng, data: whole[1]))
        damaged = kind(rng, whole[0])
        path = tmp_path / f"c{seed}"
        path.write_bytes(damaged)
        said = refusal(training, path, resume=True)
        if said is None:
            assert meaning(CHECKPOINT, damaged) == meaning(CHECKPOINT, whole[0]), (seed, kind)
        else:
            assert said.startswith(f"{path}: "), seed
            refused += 1
        path.unlink()
    assert refused > 0.9 * (CALLS // 2)


def test_damaged_weights_are_refused(tmp_path):
    path = tmp_path / "w"
    params = MODEL.init(seed=0)
    prnn.serialization.save_weights(path, params)
    good, refused = path.read_bytes(), 0
    for seed in range(CALLS - CALLS // 2):
        rng = random.Random(seed)
        kind = rng.choice(OF[WEIGHTS])
        damaged = kind(rng, good)
        path.write_bytes(damaged)
        said = refusal(load_weights, path)
        if said is not None:
            assert said.startswith(f"{path}: "), seed
            refused += 1
        elif damaged not in KINDS:  # one kind gives a valid file without arrays
            # Without any mark of the library, it is a file of another origin.
            same = (meaning(WEIGHTS, content) for content in (damaged, good))
            assert next(same)[0] == next(same)[0], (seed, kind)
    assert refused > 0.9 * (CALLS // 2)


# --------------------------------------------------------------------------- by commands


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Return the files of a run, and of another of the same sizes."""
    found = []
    for number in range(2):
        folder = tmp_path_factory.mktemp("run")
        words = random.Random(number).choices(["The ", "cat ", "sat ", "on ", "mats.\n"], k=60)
        (folder / "text").write_text("".join(words) + "The cat sat on mats.\n" * 20)
        sizes = ("--hidden", 4, "--batch-size", 2, "--window", 3, "--steps", 23, "--seed", number)
        code, shown = call("train", "--out", folder, "--text", folder / "text", *sizes)
        assert code == 0, shown
        found.append(folder)
    return found


NAMES = (CONFIG, CHECKPOINT, WEIGHTS, METRICS)


def tried(folder, good, name, damaged, seed, named=()):
    """Check that commands refuse a damaged file, and restore the good ones."""
    (folder / name).write_bytes(damaged)
    sample = ("sample", folder, "--length", 2)
    resume = ("train", "--out", folder, "--resume")
    commands = {CONFIG: (sample, resume), WEIGHTS: (sample,)}.get(name, (resume,))
    refused = 0
    for command in commands:
        code, shown = call(*command)
        assert "Traceback" not in shown, (seed, shown)
        assert not set(shown) & {"\x1b", "\0"}, seed
        if code == 0:
            kept, whole = meaning(name, damaged), meaning(name, good[name])
            if name == METRICS and "has lost its last lines" in shown:  # and nothing else
                assert len(kept) < len(whole), seed
                whole = whole[: len(kept)]
            assert kept == whole, (seed, command)
        else:
            assert code == 2, (seed, shown)
            assert "error: " in shown, (seed, shown)
            assert any(one in shown for one in (name, *named)), (seed, shown)
            refused += 1
    for each, content in good.items():
        (folder / each).write_bytes(content)
    return refused


def test_damaged_run_folders_are_refused(runs):
    folder, other = runs
    good = {name: (folder / name).read_bytes() for name in NAMES}
    refused = 0
    for seed in range(COMMANDS):
        rng = random.Random(seed)
        name = rng.choice(NAMES)
        kind = rng.choice((*OF[name], None))
        # None stands for the same file of another run: valid, but in the wrong place.
        damaged = (other / name).read_bytes() if kind is None else kind(rng, good[name])
        # Of two files that do not belong together, either may be the wrong one.
        named = NAMES if kind is None else ()
        refused += bool(tried(folder, good, name, damaged, seed, named))
    assert refused > 0.9 * COMMANDS


def test_files_of_another_run_are_refused_one_by_one(runs):
    """They are valid files; the metrics also when cut after any line."""
    folder, other = runs
    good = {name: (folder / name).read_bytes() for name in NAMES}
    lines = (other / METRICS).read_bytes().splitlines(keepends=True)
    tries = [(name, (other / name).read_bytes()) for name in NAMES]
    tries += [(METRICS, b"".join(lines[:left])) for left in range(1, len(lines))]
    assert len(tries) > len(NAMES)
    for name, content in tries:
        wrong = tried(folder, good, name, content, len(content), named=NAMES)
        assert wrong == (2 if name == CONFIG else 1), name


def test_every_entry_of_the_configuration_counts(runs):
    """Edited, and edited with a checksum that is right again."""
    folder, _ = runs
    good = {name: (folder / name).read_bytes() for name in NAMES}
    every = list(paths(json.loads(good[CONFIG])))
    rng = random.Random(0)
    edits = [(path, value) for path in every for value in ("delete", "x", None, 5, {"a": 1})]
    for path, value in edits if COUNT > 1000 else rng.sample(edits, 60):
        config = json.loads(good[CONFIG])
        at = functools.reduce(lambda branch, key: branch[key], path[:-1], config)
        if value == "delete":
            del at[path[-1]]
        elif at[path[-1]] == value:
            continue
        else:
            at[path[-1]] = value
        assert tried(folder, good, CONFIG, json.dumps(config).encode(), (path, value)) == 2
        if path[-1] != "crc32":
            rest = {n: v for n, v in config.items() if n != "crc32"}
            right = zlib.crc32(json.dumps(rest, sort_keys=True).encode())
            (folder / CONFIG).write_text(json.dumps(rest | {"crc32": f"{right:08x}"}))
            for command in (("sample", folder), ("train", "--out", folder, "--resume")):
                code, shown = call(*command)
                assert code == 2, (path, value, shown)
                assert "Traceback" not in shown, (path, value, shown)
            for each, content in good.items():
                (folder / each).write_bytes(content)


def test_a_missing_file_is_noticed(runs):
    folder, _ = runs
    good = {name: (folder / name).read_bytes() for name in NAMES}
    commands = {
        CONFIG: (("sample", folder), ("train", "--out", folder, "--resume")),
        WEIGHTS: (("sample", folder),),
        CHECKPOINT: (("train", "--out", folder, "--resume"),),
    }
    for name in commands:
        (folder / name).unlink()
        for command in commands[name]:
            code, shown = call(*command)
            assert (code, name in shown.replace("\n", "")) == (2, True), shown
        (folder / name).write_bytes(good[name])
    code, shown = call("train", "--out", folder, "--resume")
    assert code == 0, shown
