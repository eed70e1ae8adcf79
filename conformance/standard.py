"""The standard problems: a default for each cell, and its variants under every option.

Each option alone and every pair of options is a problem, but not the full product: most bugs show
with one or two options. Every number is an integer below 256 times a power of two, and so is the
same number in bfloat16, float16, float32 and float64: one reference serves every dtype (see
references.py).
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Any
from zlib import crc32

import numpy as np

from .cells import KINDS
from .problems import OTHER_CELLS, TORCH_CELLS, Inputs, Problem

__all__ = ["OPTIONS", "STANDARD", "Standard", "few", "long", "pairs", "singles"]

DEFAULT: dict[str, Any] = {
    "steps": 7,
    "batch": 3,
    "inputs": 4,
    "hidden": 5,
    "outputs": None,
    "cotangents": "both",
    "zero_state": False,
}

# What each option changes. Two options contradict each other if they change the same thing.
OPTIONS: dict[str, dict[str, Any]] = {
    "one_step": {"steps": 1},
    "40_steps": {"steps": 40},
    "one_sequence": {"batch": 1},
    "unbatched": {"batch": None},
    "one_input": {"inputs": 1},
    "one_unit": {"hidden": 1},
    "square": {"inputs": 5, "hidden": 5},  # no shape reveals a wrong transpose
    # With one unit, only the rounding of its slope times x would be left of a gradient.
    "saturated": {"scale": 8.0, "hidden": 5},
    "zero_state": {"zero_state": True},
    "outputs_only": {"cotangents": "outputs"},
    "state_only": {"cotangents": "state"},
    "gaps": {"cotangents": "gaps"},
    "readout": {"outputs": 3},
    "no_bias": {"bias": False},
    "batch_first": {"batch_first": True},
    "relu": {"nonlinearity": "relu"},
    "two_layers": {"layers": 2},
    "both_directions": {"bidirectional": True},
    "lengths": {"ragged": "lengths", "batch": 4},
    "mask": {"ragged": "mask", "batch": 4},
}

# Many steps, and more rows (steps times batch) than an engine may process at once.
LONG: dict[str, dict[str, Any]] = {
    "512_steps": {"steps": 512, "batch": 2, "inputs": 3, "hidden": 4},
    "600_steps": {
        **{"steps": 600, "batch": 4, "inputs": 3, "hidden": 4},
        **{"outputs": 2, "batch_first": True},
    },
}

# At a kink of an activation or a clip, rounding in half precision decides between two slopes: such
# a problem would test chance and not the code. So these were redrawn this number of times, until
# every argument of a kink was 4 eps of bfloat16 away from it (test_standard.py measures that).
DRAWN_AGAIN = {
    "onnx_lstm-one_unit": 13,
    "onnx_gru-one_unit": 2,
    "onnx_elman-one_unit": 1,
    "elman-relu": 35,
    "onnx_elman-saturated": 8,
    "onnx_elman-no_bias-batch_first": 5,
    "onnx_elman-readout-two_layers": 2,
    "onnx_elman-both_directions-lengths": 3,
    "onnx_gru-default": 239,
    "onnx_gru-saturated": 29,
    "onnx_gru-state_only": 850,
    "onnx_gru-unbatched-zero_state": 11,
    "onnx_gru-no_bias-batch_first": 1567,
    "onnx_gru-readout-two_layers": 140303,
    "onnx_gru-both_directions-lengths": 1131,
    "onnx_gru-two_layers-mask": 11950,
    "onnx_reset_before_gru-default": 297,
    "onnx_reset_before_gru-saturated": 51,
    "onnx_reset_before_gru-state_only": 722,
    "onnx_reset_before_gru-unbatched-zero_state": 3,
    "onnx_reset_before_gru-no_bias-batch_first": 164,
    "onnx_reset_before_gru-readout-two_layers": 19369,
    "onnx_reset_before_gru-both_directions-lengths": 7123,
    "onnx_reset_before_gru-two_layers-mask": 3238,
    "onnx_lstm-default": 754,
    "onnx_lstm-saturated": 24,
    "onnx_lstm-state_only": 118,
    "onnx_lstm-unbatched-zero_state": 2,
    "onnx_lstm-no_bias-batch_first": 424,
    "onnx_lstm-readout-two_layers": 10507,
    "onnx_lstm-both_directions-lengths": 19261,
    "onnx_lstm-two_layers-mask": 1074,
}


@dataclass(frozen=True)
class Standard(Problem):
    """A problem with an id, such as ``gru-one_unit-state_only``."""

    id: str = ""
    scale: float = 1.0  # of x; a larger W_hh would make the network chaotic

    def __str__(self) -> str:
        return self.id

    def arrays(self, dtype: str) -> Inputs:
        """Draw the arrays, which are exact in ``dtype``; with "gaps", not all steps count."""
        inputs = super().arrays(dtype)
        inputs = inputs._replace(x=(inputs.x * self.scale).astype(inputs.x.dtype))
        if self.cotangents != "gaps":
            return inputs
        steps = np.random.default_rng(self.seed).integers(0, 2, inputs.d_outputs.shape[:-1])
        return inputs._replace(d_outputs=inputs.d_outputs * steps[..., None].astype(inputs.x.dtype))

    def _draw(self, rng, shape, bound):
        top = int(64 * (2.0 if bound is None else bound))
        return rng.integers(-top, top, shape, endpoint=True) / 64


def make(cell, *names) -> Standard:
    changes = {key: value for name in names for key, value in (OPTIONS | LONG)[name].items()}
    name = "-".join((cell, *(names or ("default",))))
    seed = f"{name}-{DRAWN_AGAIN[name]}" if name in DRAWN_AGAIN else name
    return Standard(cell, crc32(seed.encode()), **DEFAULT | changes, id=name)


def options(cell) -> list[str]:
    return [name for name in OPTIONS if name != "relu" or cell == "elman"]


def singles(cell) -> list[Standard]:
    """Return the default problem and each option alone."""
    return [make(cell), *(make(cell, name) for name in options(cell))]


def pairs(cell) -> list[Standard]:
    """Return all pairs of options that do not contradict each other."""
    return [
        make(cell, *pair)
        for pair in combinations(options(cell), 2)
        if not OPTIONS[pair[0]].keys() & OPTIONS[pair[1]].keys()
    ]


def long(cell) -> list[Standard]:
    """Return the problems of many steps."""
    return [make(cell, name) for name in LONG]


# Options interact in the engine, which treats all cells alike: those of `OTHER_CELLS` are tried
# once with each kind of code in it.
FEW = (
    *((), ("one_unit",), ("saturated",), ("40_steps",), ("state_only",)),
    *(("unbatched", "zero_state"), ("no_bias", "batch_first"), ("readout", "two_layers")),
    *(("both_directions", "lengths"), ("two_layers", "mask")),
)


def few(cell) -> list[Standard]:
    """Return the problems of a cell of `OTHER_CELLS`."""
    projected = "projection_size" in KINDS[cell].options
    small = [("one_unit",)] if projected else []  # nothing to project
    return [make(cell, *names) for names in FEW if names not in small]


STANDARD = {p.id: p for cell in TORCH_CELLS for p in (*singles(cell), *pairs(cell), *long(cell))}
STANDARD |= {p.id: p for cell in OTHER_CELLS for p in few(cell)}
