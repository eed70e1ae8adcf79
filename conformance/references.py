"""Results of problems: computed with 50 digits, rounded once to float64, and stored.

There are two stores, of the gradients of the standard problems and of the derivatives of those that
``directions.py`` names. Reading one needs only NumPy. The key of a result includes a fingerprint of
what it was computed from, so the result of a problem that has changed is not found.

    python -m conformance.references        # compute what is new, in a minute or two
    python -m conformance.references --all  # and everything else again
"""

import inspect
import io
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from . import directions
from .cells import KINDS
from .oracles import results
from .problems import Problem
from .standard import STANDARD

__all__ = ["DERIVATIVES", "DIGITS", "GRADIENTS", "Store", "load"]

DIGITS = 50


@dataclass(frozen=True)
class Store:
    """Results of problems: one float64 vector each, all results of a problem concatenated."""

    path: Path
    problems: Callable[[], Iterable[Problem]]  # those that are stored
    inputs: Callable[[Problem], dict[str, Any]]  # all arrays that a result is computed from
    shapes: Callable[[Problem], dict[str, tuple[int, ...]]]  # of the results, in order
    solve: Callable[[Problem], dict[str, np.ndarray]]  # computes the results

    def load(self, problem: Problem) -> dict[str, np.ndarray]:
        """Return the results of a problem by name, float64, or raise LookupError."""
        if (flat := self.stored.get(self.key(problem))) is None:
            raise LookupError(
                f"{self.path.name} has no results of {problem} with these inputs and "
                "formulas: one of them is new; run python -m conformance.references"
            )
        wanted = self.shapes(problem)
        ends = np.cumsum([int(np.prod(shape)) for shape in wanted.values()])
        if flat.size != ends[-1]:
            raise AssertionError(
                f"{problem}: expected {ends[-1]} numbers, {self.path.name} has {flat.size}"
            )
        pieces = np.split(flat, ends[:-1])
        return {
            name: piece.reshape(shape)
            for (name, shape), piece in zip(wanted.items(), pieces, strict=True)
        }

    def key(self, problem: Problem) -> str:
        """Return the id of a problem, and a fingerprint of its inputs and its cell's formulas."""
        digest = sha256(_formulas(problem.cell))
        for name, value in self.inputs(problem).items():
            if isinstance(value, tuple) and len({part.shape for part in value}) > 1:
                value = np.concat(value, axis=-1)
            array = np.zeros(0) if value is None else np.asarray(value, dtype="<f8")
            digest.update(f"{name} {array.shape} ".encode() + array.tobytes())
        return f"{problem}.{digest.hexdigest()[:16]}"

    @cached_property
    def stored(self) -> Mapping[str, np.ndarray]:
        """The whole store; each result is unpacked on access."""
        found: Mapping[str, np.ndarray] = np.load(
            io.BytesIO(self.path.read_bytes()), allow_pickle=False
        )
        return found

    def compute(self, problem: Problem) -> np.ndarray:
        """Return all results of a problem, concatenated."""
        found = self.solve(problem)
        return np.concatenate([found[name].ravel() for name in self.shapes(problem)])


@cache
def _formulas(cell: str) -> bytes:
    """Return the formulas of a cell, as they are written on its page."""
    return inspect.getsource(KINDS[cell].step).encode()


def _gradient_inputs(problem: Problem) -> dict[str, Any]:
    inputs = problem.arrays("float64")
    return inputs.params | {**inputs._asdict(), "params": None}


def _gradient_shapes(problem: Problem) -> dict[str, tuple[int, ...]]:
    x, state = problem.arrays("float64").x.shape, problem.model.state_shapes(problem.batch)
    outputs = (*x[:-1], problem.model.feature_size)
    return results(outputs, state, problem.model.parameter_shapes, x, state)


def _gradients(problem: Problem) -> dict[str, np.ndarray]:
    from .oracles.numbers import digits
    from .oracles.scalar_loop import gradients

    return gradients(problem, problem.arrays("float64"), digits(DIGITS))


def _derivatives(problem: Problem) -> dict[str, np.ndarray]:
    from .oracles.curvature import derivatives

    return derivatives(problem, *directions.given(problem, "float64"))


GRADIENTS = Store(
    path=Path(__file__).with_suffix(".npz"),
    problems=STANDARD.values,
    inputs=_gradient_inputs,
    shapes=_gradient_shapes,
    solve=_gradients,
)
DERIVATIVES = Store(
    path=Path(__file__).with_name("derivatives.npz"),
    problems=directions.problems,
    inputs=directions.inputs,
    shapes=directions.shapes,
    solve=_derivatives,
)
load = GRADIENTS.load


def main() -> None:
    """Compute every problem that is not in its store, and write it."""
    try:
        from rich.progress import track
    except ImportError:

        def track(items, description):  # type: ignore[misc]
            return items

    for store in (GRADIENTS, DERIVATIVES):
        known = {} if "--all" in sys.argv or not store.path.exists() else store.stored
        found = {}
        for problem in track(list(store.problems()), description=f"{DIGITS} digits"):
            name = store.key(problem)
            found[name] = known[name] if name in known else store.compute(problem)
        np.savez(store.path, allow_pickle=False, **found)
        print(f"{len(found)} problems, {store.path.stat().st_size / 1e6:.2f} MB, in {store.path}")


if __name__ == "__main__":
    main()
