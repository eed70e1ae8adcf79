"""How often tests of reliability try something: a few times, or as `nox -s reliability` does."""

import os

__all__ = ["FULL", "times"]

FULL = os.environ.get("RELIABILITY") == "full"


def times(few, many):
    """Return how often to try."""
    return many if FULL else few
