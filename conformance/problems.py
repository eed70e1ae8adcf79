"""Seeded random problems: a network, its inputs, and cotangents to pull back.

A problem is only its description: the arrays are drawn from its seed when needed, so the name
in a failure is enough to reproduce it (`Problem.arrays`).

The recurrent weights are drawn as torch draws them, uniform in ±1/√H, which keeps the gain
of the recurrence below about 1. A chaotic network amplifies rounding in any implementation,
and would test chance rather than the code. So does a unit that adds up many inputs of
weight 1 (6.3 eps at 32 of them): input weights stay within ±1/√I too.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

import portable_rnn as prnn

from .backend import host_dtype
from .cells import KINDS

__all__ = ["DEEP", "GROUPS", "OTHER_CELLS", "TORCH_CELLS", "Inputs", "Problem", "draw", "group"]

TORCH_CELLS = ("elman", "gru", "lstm")  # of torch.nn: these have the most problems
OTHER_CELLS = tuple(name for name in KINDS if name not in TORCH_CELLS)
SIZE = 20  # problems of one group, which is one test
# 200 problems as torch.nn has them, 20 with options, 2 of many steps, 80 that are stacked, in both
# directions or ragged, and 10 with gaps.
DEEP = tuple(f"deep-{number}" for number in range(4))
GROUPS = (*range(10), "layouts", "long", *DEEP, "gaps")


class Inputs(NamedTuple):
    """All arrays of one problem; None for what is not given."""

    params: Any
    x: Any
    state: Any
    d_outputs: Any
    d_state: Any
    lengths: Any = None
    mask: Any = None


@dataclass(frozen=True)
class Problem:
    """One network on one input, and which cotangents to pull back."""

    cell: str
    seed: int
    steps: int
    batch: int | None
    inputs: int
    hidden: int
    outputs: int | None
    cotangents: str  # "outputs", "state" or "both"
    zero_state: bool
    nonlinearity: str = "tanh"
    bias: bool = True
    batch_first: bool = False
    layers: int = 1
    bidirectional: bool = False
    ragged: str = ""  # "lengths" or "mask": not all sequences have all steps
    reverse: bool = False

    @property
    def id(self) -> str:
        """A name that identifies the problem: its group, cell and seed."""
        return f"random-{self.cell}-{self.seed}"

    @property
    def model(self) -> prnn.RNN:
        return prnn.RNN(
            self.inputs,
            self.hidden,
            self.outputs,
            **KINDS[self.cell].options,
            nonlinearity=self.nonlinearity,
            bias=self.bias,
            batch_first=self.batch_first,
            num_layers=self.layers,
            bidirectional=self.bidirectional,
            reverse=self.reverse,
        )

    def arrays(self, dtype: str) -> Inputs:
        """Draw the arrays, rounded to ``dtype``; the same numbers for every dtype."""
        rng = np.random.default_rng([self.seed, KINDS[self.cell].seed])
        wanted = host_dtype(dtype)

        def numbers(shape, bound=None):
            return self._draw(rng, shape, bound).astype(wanted)

        bound = self.hidden**-0.5
        # Smaller where one unit adds up many inputs, so that the sum stays about 1.
        bounds = {"weight_ih_l0": max(self.hidden, self.inputs) ** -0.5}
        params = {
            name: numbers(shape, bounds.get(name.removesuffix("_reverse"), bound))
            for name, shape in self.model.parameter_shapes.items()
        }
        shapes = self.model.state_shapes(self.batch)
        pairs = [tuple(map(numbers, shapes)) for _ in range(2)]
        state, d_state = pairs if len(shapes) == 2 else (pair[0] for pair in pairs)
        features = self.model.feature_size
        there = self.there()
        return Inputs(
            params,
            numbers(self._sequence(self.inputs)),
            None if self.zero_state else state,
            numbers(self._sequence(features)) if self.cotangents != "state" else None,
            d_state if self.cotangents != "outputs" else None,
            there.sum(axis=0, dtype=np.int32) if self.ragged == "lengths" else None,
            (there.T if self.batch_first else there).copy() if self.ragged == "mask" else None,
        )

    def there(self) -> Any:
        """Return the mask of valid steps, (T, B): all, up to a length each, or any of them.

        The last sequence has all, the first of three or more has none: they are not sorted.
        """
        rng = np.random.default_rng([self.seed, 1])
        batch = self.batch or 1
        if self.ragged == "lengths":
            lengths = rng.integers(1, self.steps + 1, batch)
            there = np.arange(self.steps)[:, None] < lengths
        elif self.ragged == "mask":
            there = rng.random((self.steps, batch)) < 0.6
        else:
            return np.ones((self.steps, batch), dtype=bool)
        there[:, -1] = True
        if batch > 2:
            there[:, 0] = False
        return there

    def _draw(self, rng, shape, bound):
        """Draw parameters within ``bound``, or, if it is None, any other array."""
        return rng.standard_normal(shape) if bound is None else rng.uniform(-bound, bound, shape)

    def _sequence(self, features):
        if self.batch is None:
            return (self.steps, features)
        if self.batch_first:
            return (self.batch, self.steps, features)
        return (self.steps, self.batch, features)


def draw(cell, seed, *, options=False) -> Problem:
    """Draw a problem; with ``options``, also of readout, layout, bias and nonlinearity."""
    rng = np.random.default_rng([seed, KINDS[cell].seed, options])

    def size(top):
        # Extremes are drawn often: a wrong transpose is legal where everything is 1.
        return int(rng.choice([1, top, *rng.integers(1, top + 1, 4)]))

    plain = Problem(
        cell=cell,
        seed=seed,
        # Uniform in the logarithm: long sequences cost most and are no likelier to be wrong.
        steps=int(rng.choice([1, 64, *np.rint(2 ** rng.uniform(0, 6, 14)).astype(int)])),
        batch=size(8),
        inputs=size(32),
        hidden=size(32),
        outputs=None,
        cotangents=str(rng.choice(["outputs", "state", "both"])),
        zero_state=bool(rng.integers(2)),
    )
    if not options:
        return plain
    batched = bool(rng.integers(3))
    return Problem(
        **{
            **vars(plain),
            "batch": plain.batch if batched else None,
            "outputs": size(16) if rng.integers(2) else None,
            "nonlinearity": "relu" if cell == "elman" and rng.integers(2) else "tanh",
            "bias": bool(rng.integers(2)),
            "batch_first": bool(rng.integers(2)),
        }
    )


def draw_deep(cell, seed, ragged=None) -> Problem:
    """Draw a problem of 1 to 4 layers, perhaps in both directions, perhaps ragged.

    One with gaps is small: its reference is a loop over scalars.
    """
    rng = np.random.default_rng([seed, TORCH_CELLS.index(cell), 2])
    tops = (5, 4, 4, 4) if ragged == "mask" else (12, 6, 9, 9)

    def size(top):
        return int(rng.choice([1, top, *rng.integers(1, top + 1, 3)]))

    return Problem(
        cell=cell,
        seed=seed,
        steps=size(tops[0]),
        batch=size(tops[1]),
        inputs=size(tops[2]),
        hidden=size(tops[3]),
        outputs=size(5) if rng.integers(2) else None,
        cotangents=str(rng.choice(["outputs", "state", "both"])),
        zero_state=bool(rng.integers(2)),
        nonlinearity="relu" if cell == "elman" and not rng.integers(3) else "tanh",
        bias=bool(rng.integers(4)),
        batch_first=bool(rng.integers(2)),
        layers=int(rng.integers(1, 5)),
        bidirectional=bool(rng.integers(2)),
        ragged=str(rng.choice(["", "lengths", "lengths"])) if ragged is None else ragged,
    )


def group(cell, name) -> list[Problem]:
    """Return the problems of one of `GROUPS`."""
    if name in DEEP:
        first = 2000 + SIZE * DEEP.index(name)
        return [draw_deep(cell, seed) for seed in range(first, first + SIZE)]
    if name == "gaps":
        return [draw_deep(cell, seed, ragged="mask") for seed in range(3000, 3010)]
    if name == "layouts":
        return [draw(cell, seed, options=True) for seed in range(SIZE)]
    if name == "long":  # more rows than the engine takes in one chunk
        return [
            Problem(cell, 800, 600, 8, 3, 6, 2, "both", False),
            Problem(cell, 801, 600, 8, 2, 5, None, "both", True, batch_first=True),
        ]
    return [draw(cell, seed) for seed in range(SIZE * name, SIZE * (name + 1))]
