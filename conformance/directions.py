"""Problems for derivatives beyond the gradient: with targets and a direction.

They are standard problems, for `jvp`, `hvp`, `gauss_newton_product` and gradients of single
sequences. The loss is the sum of softmax cross-entropies.
"""

from collections.abc import Iterable
from typing import Any

import numpy as np

from .problems import TORCH_CELLS, Inputs, Problem
from .standard import STANDARD

__all__ = ["FEW", "LENGTHS", "MORE", "SOME", "given", "inputs", "of", "problems", "shapes"]

FEW = ("readout-batch_first",)
LENGTHS = ("lengths",)
SOME = ("default", "both_directions", *LENGTHS)
MORE = (
    *("one_step", "unbatched", "one_unit", "saturated", "zero_state", "no_bias", "mask", "relu"),
    *("two_layers", "two_layers-both_directions", "readout-both_directions"),
    "both_directions-lengths",
)


def of(names: Iterable[str]) -> list[Problem]:
    """Return the standard problems of these names, for each cell that has them."""
    pairs = ((cell, name) for cell in TORCH_CELLS for name in names)
    return [STANDARD[f"{cell}-{name}"] for cell, name in pairs if name != "relu" or cell == "elman"]


def problems() -> list[Problem]:
    """Return all problems that any row runs."""
    return of((*FEW, *SOME, *MORE))


def given(problem: Problem, dtype: str) -> tuple[Inputs, np.ndarray, Inputs]:
    """Return inputs, targets, and a direction for each input; exact in every dtype."""
    inputs = problem.arrays(dtype)._replace(d_outputs=None, d_state=None)
    rng = np.random.default_rng(problem.seed)

    def direction(value):
        if value is None:
            return None
        if isinstance(value, dict):
            return {name: direction(array) for name, array in value.items()}
        if isinstance(value, tuple):
            return tuple(map(direction, value))
        return (rng.integers(-64, 65, value.shape) / 64).astype(dtype)

    targets = rng.integers(0, problem.model.feature_size, inputs.x.shape[:-1])
    params, x, state = map(direction, (inputs.params, inputs.x, inputs.state))
    return inputs, targets, Inputs(params, x, state, None, None)


def inputs(problem: Problem) -> dict[str, Any]:
    """Return all arrays of a problem by name."""
    at, targets, tangents = given(problem, "float64")
    found: dict[str, Any] = {"targets": targets}
    for prefix, part in (("", at), ("d_", tangents)):
        found |= {f"{prefix}{name}": array for name, array in part.params.items()}
        found |= {f"{prefix}{name}": value for name, value in part._asdict().items()}
        found[f"{prefix}params"] = None
    return found


def shapes(problem: Problem) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all results by name."""
    x, params = problem.arrays("float64").x, problem.model.parameter_shapes
    outputs, sequences = (*x.shape[:-1], problem.model.feature_size), problem.batch or 1
    state = {f"state[{i}]": s for i, s in enumerate(problem.model.state_shapes(problem.batch))}
    found = {"outputs": outputs, "jvp": outputs, "norms": (sequences,)}
    found |= state | {f"jvp_{name}": shape for name, shape in state.items()}
    for name, shape in params.items():
        found |= {f"hvp[{name}]": shape, f"gnvp[{name}]": shape}
        found[f"each[{name}]"] = (sequences, *shape)
    return found
