"""Small runs of `portable-rnn train`, for tests of the files in their folders."""

import random

from .command import call

TINY = ("--hidden", 4, "--batch-size", 2, "--window", 3)


def write_text(path):
    """Write a text to train on; return its path."""
    path.write_text("".join(random.Random(0).choices(["The ", "cat ", "sat.\n"], k=200)))
    return path


def train(out, text, *options):
    """Train for 12 steps into a folder; return its path."""
    code, shown = call("train", "--out", out, "--text", text, *TINY, "--steps", 12, *options)
    assert code == 0, shown
    return out


def contents(folder):
    """Return the files of a folder by name, as bytes."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}
