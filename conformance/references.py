"""What the standard problems come to: computed with 50 digits, rounded once to float64, and stored.

``load(problem)`` returns arrays by the names of `oracles.results` and needs NumPy alone. The
store is keyed by a fingerprint of the inputs: a problem that has changed is not found in it.

    python -m conformance.references        # compute what is new, in a minute or two
    python -m conformance.references --all  # and everything else again
"""

import sys
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np

from .oracles import results
from .problems import Problem
from .standard import STANDARD

__all__ = ["DIGITS", "STORE", "compute", "key", "load", "stored"]

STORE = Path(__file__).with_suffix(".npz")
DIGITS = 50


def load(problem: Problem) -> dict[str, np.ndarray]:
    """Return the results of a standard problem, float64, or raise LookupError."""
    if (flat := stored().get(key(problem))) is None:
        raise LookupError(
            f"{STORE.name} has no results of {problem} with these inputs: "
            "the problem has changed since; run python -m conformance.references"
        )
    wanted = shapes(problem)
    ends = np.cumsum([int(np.prod(shape)) for shape in wanted.values()])
    if flat.size != ends[-1]:
        raise AssertionError(
            f"{problem}: expected {ends[-1]} numbers, {STORE.name} has {flat.size}"
        )
    pieces = np.split(flat, ends[:-1])
    return {
        name: piece.reshape(shape)
        for (name, shape), piece in zip(wanted.items(), pieces, strict=True)
    }


def key(problem: Problem) -> str:
    """Return the id of a problem and a fingerprint of all its inputs."""
    inputs, digest = problem.arrays("float64"), sha256()
    for name, value in (inputs.params | {**inputs._asdict(), "params": None}).items():
        if isinstance(value, tuple) and len({part.shape for part in value}) > 1:
            value = np.concat(value, axis=-1)
        array = np.zeros(0) if value is None else np.asarray(value, dtype="<f8")
        digest.update(f"{name} {array.shape} ".encode() + array.tobytes())
    return f"{problem}.{digest.hexdigest()[:16]}"


def shapes(problem: Problem) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all results by name, in the order of the store."""
    x, state = problem.arrays("float64").x.shape, problem.model.state_shapes(problem.batch)
    outputs = (*x[:-1], problem.model.feature_size)
    return results(outputs, state, problem.model.parameter_shapes, x, state)


@lru_cache
def stored() -> dict[str, np.ndarray]:
    """Return the whole store, read once."""
    with np.load(STORE, allow_pickle=False) as store:
        return dict(store)


def compute(problem: Problem) -> np.ndarray:
    """Return all results of a problem, end to end."""
    from .oracles.numbers import digits
    from .oracles.scalar_loop import gradients

    found = gradients(problem, problem.arrays("float64"), digits(DIGITS))
    return np.concatenate([found[name].ravel() for name in shapes(problem)])


def main() -> None:
    """Compute every standard problem that is not in the store, and write it."""
    try:
        from rich.progress import track
    except ImportError:

        def track(items, description):
            return items

    known = {} if "--all" in sys.argv or not STORE.exists() else stored()
    found = {}
    for problem in track(STANDARD.values(), description=f"{DIGITS} digits"):
        name = key(problem)
        found[name] = known[name] if name in known else compute(problem)
    np.savez(STORE, **found)
    print(f"{len(found)} problems, {STORE.stat().st_size / 1e6:.2f} MB, in {STORE}")


if __name__ == "__main__":
    main()
