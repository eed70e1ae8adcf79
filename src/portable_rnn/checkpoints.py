"""A training run on disk: one file with all that is needed to go on.

Arrays are stored under ``params/``, ``best/``, ``optimizer/<slot>/`` and ``state/``; step counts
and the descriptions of the model and of the batches stand in the header as JSON.
"""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._check import state_of, state_parts
from ._host import from_host
from ._namespace import Array, Namespace, dtype_name
from .batches import Batches
from .serialization import (
    CheckpointError,
    check_dtype,
    load_arrays,
    safetensors_numpy,
    save_arrays,
)

if TYPE_CHECKING:
    from .training import Run

__all__ = ["check_savable", "load_checkpoint", "save_checkpoint"]

_FORMAT = 1
_COUNTERS = ("step", "loss", "evaluation", "best_evaluation", "best_step")


def check_savable(run: Run, batches: Batches) -> None:
    """Raise, before any work is lost, if a run cannot be written to a file.

    Raises
    ------
    TypeError
        If cell, optimizer, batches or dtype cannot be described or stored.
    ImportError
        If safetensors is not installed.
    """
    safetensors_numpy()
    for name, array in run.params.items():
        check_dtype(f"params[{name!r}]", array)
    state = run.optimizer_state
    if state is not None and not (
        isinstance(state, dict)
        and "step" in state
        and all(isinstance(held, dict) for slot, held in state.items() if slot != "step")
    ):
        raise TypeError(
            "optimizer: a state that can be saved is {'step': int, slot: {name: array}, ...}, "
            f"got {type(state).__name__} {list(state) if isinstance(state, dict) else ''}"
        )
    try:
        json.dumps(_header(run, batches))
    except TypeError as error:
        raise TypeError(f"checkpoint: this run cannot be described in a file: {error}") from None


def save_checkpoint(path: Path, run: Run, batches: Batches) -> None:
    """Write a run to one file, atomically."""
    arrays = {f"params/{name}": a for name, a in run.params.items()}
    arrays |= {f"best/{name}": a for name, a in (run.best_params or {}).items()}
    arrays |= {f"pending/{i}": value for i, value in enumerate(run.pending)}
    if run.state is not None:
        arrays |= {f"state/{i}": a for i, a in enumerate(state_parts(run.state))}
    optimizer = run.optimizer_state or {"step": 0}
    for slot, held in optimizer.items():
        if slot != "step":
            arrays |= {f"optimizer/{slot}/{name}": a for name, a in held.items()}
    save_arrays(path, arrays, _header(run, batches))


def load_checkpoint(path: Path, run: Run, batches: Batches, xp: Namespace, device: Any) -> None:
    """Put a run back to where it was saved.

    Raises
    ------
    CheckpointError
        If the file is damaged, or is of another model, optimizer, dtype or batches; ``run`` is then
        as it was.
    """
    found, header = load_arrays(path)
    if header.get("format") != _FORMAT:
        raise CheckpointError(
            f"{path}: expected a checkpoint of format {_FORMAT}, got {header.get('format', 'none')}"
        )
    asked = _header(run, batches)
    for name in ("model", "batches", "optimizer"):
        _compare(path, name, header[name], asked[name])
    _compare(path, "masks", {"seed": header.get("seed", 0)}, {"seed": asked["seed"]})

    groups: dict[str, dict[str, Array]] = {}
    for key, array in found.items():
        group, name = key.rsplit("/", 1)
        groups.setdefault(group, {})[name] = from_host(array, xp, device=device)
    first = next(iter(run.params.values()))
    for name, array in groups["params"].items():
        if dtype_name(array.dtype) != dtype_name(first.dtype):
            raise CheckpointError(
                f"{path}: expected {name} of dtype {dtype_name(first.dtype)}, "
                f"got {dtype_name(array.dtype)}"
            )

    run.params = {name: groups["params"][name] for name in run.params}
    best = groups.get("best")
    run.best_params = best and {name: best[name] for name in run.params}
    run.pending = _numbered(groups.get("pending", {}))
    state = _numbered(groups.get("state", {}))
    run.state = state_of(state) if state else None
    if header["step"]:
        run.optimizer_state = {"step": header["optimizer_step"]} | {
            slot: {name: groups[f"optimizer/{slot}"][name] for name in run.params}
            for slot in header["slots"]
        }
    for name in _COUNTERS:
        setattr(run, name, header[name])


def _header(run: Run, batches: Batches) -> dict[str, Any]:
    state = run.optimizer_state or {"step": 0}
    return {
        "format": _FORMAT,
        "model": run.model.to_dict(),
        "batches": batches.describe(),
        "seed": run.seed,
        "optimizer": _describe(run.optimizer),
        "optimizer_step": int(state["step"]),
        "slots": [slot for slot in state if slot != "step"],
    } | {name: getattr(run, name) for name in _COUNTERS}


def _describe(optimizer: Any) -> dict[str, Any]:
    """Return name and fixed options of an optimizer, as JSON will give them back."""
    options: dict[str, Any] = {}
    while isinstance(optimizer, functools.partial):
        options = optimizer.keywords | options
        optimizer = optimizer.func
    name = getattr(optimizer, "__qualname__", type(optimizer).__qualname__)
    return {"name": name} | {key: repr(value) for key, value in options.items()}


def _compare(path: Path, name: str, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    different = [
        f"{key} {found.get(key)!r} where {wanted.get(key)!r} is asked for"
        for key in sorted(found.keys() | wanted.keys())
        if found.get(key) != wanted.get(key)
    ]
    if different:
        raise CheckpointError(f"{path}: belongs to another run; {name}: {', '.join(different)}")


def _numbered(arrays: dict[str, Array]) -> list[Array]:
    return [arrays[key] for key in sorted(arrays, key=int)]
