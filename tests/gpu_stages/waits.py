"""The contracts, with a call that reads a number in each of its steps."""

from dataclasses import replace

from benchmarks.gpu import contracts


def run(settings, save):
    def operations(cp, cell, steps):
        x = cp.ones(steps)
        return {"honest": lambda: x + x, "reads": lambda: [float(x[i]) for i in range(steps)]}

    contracts.operations = operations
    return contracts.run(replace(settings, cells=("elman",)), save)
