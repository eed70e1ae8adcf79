"""The agreement, with an executor that is a little off, and never twice the same."""

from dataclasses import replace
from itertools import count

from benchmarks.gpu import agreement


def run(settings, save):
    right, numbers = agreement.passes, count()

    def passes(p, executor):
        found = right(p, executor)
        if executor == "eager":
            return found
        return lambda: [array + 1e-4 * (1 + next(numbers)) for array in found()]

    agreement.passes = passes
    return agreement.run(replace(settings, cells=("elman",), agreement=((2, 2, 4),)), save)
