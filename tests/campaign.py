"""How often the tests of reliability try something: a few times, or as ``nox -s reliability`` does.

What they tried is kept with the result of a test, so that ``python -m conformance.reliability``
can make the table in the documents.
"""

import os

__all__ = ["FULL", "times"]

FULL = os.environ.get("RELIABILITY") == "full"


def times(few, many):
    """Return how often to try."""
    return many if FULL else few
