"""A training run on disk: one file with all that is needed to go on.

Arrays are stored under ``params/``, ``best/``, ``optimizer/<slot>/`` and ``state/``; step counts
and the descriptions of the model and of the batches stand in the header as JSON.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._check import state_parts
from ._host import from_host
from ._namespace import Array, Namespace, dtype_name
from .batches import Batches
from .serialization import CheckpointError, load_arrays, save_arrays

if TYPE_CHECKING:
    from .training import Run

__all__ = ["load_checkpoint", "save_checkpoint"]

_FORMAT = 1
_COUNTERS = ("step", "loss", "evaluation", "best_evaluation", "best_step")


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
    header = {
        "format": _FORMAT,
        "model": run.model.to_dict(),
        "batches": batches.describe(),
        "optimizer": {
            "step": int(optimizer["step"]),
            "slots": [slot for slot in optimizer if slot != "step"],
        },
    }
    header |= {name: getattr(run, name) for name in _COUNTERS}
    save_arrays(path, arrays, header)


def load_checkpoint(path: Path, run: Run, batches: Batches, xp: Namespace, device: Any) -> None:
    """Put a run back to where it was saved.

    Raises
    ------
    CheckpointError
        If the file is damaged, or is of another model, dtype or batches; ``run`` is then
        as it was.
    """
    found, header = load_arrays(path)
    if header.get("format") != _FORMAT:
        raise CheckpointError(
            f"{path}: expected a checkpoint of format {_FORMAT}, got {header.get('format', 'none')}"
        )
    for name, wanted in (("model", run.model.to_dict()), ("batches", batches.describe())):
        _compare(path, name, header[name], wanted)

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
    state = tuple(_numbered(groups.get("state", {})))
    run.state = None if not state else state if len(state) > 1 else state[0]
    optimizer = header["optimizer"]
    if optimizer["step"]:
        run.optimizer_state = {"step": optimizer["step"]} | {
            slot: {name: groups[f"optimizer/{slot}"][name] for name in run.params}
            for slot in optimizer["slots"]
        }
    for name in _COUNTERS:
        setattr(run, name, header[name])


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
