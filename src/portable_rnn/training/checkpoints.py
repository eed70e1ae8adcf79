"""A training run on disk: one file with all that is needed to continue it.

Arrays are stored under ``params/``, ``best/``, ``pending/``, ``state/`` and ``optimizer/``; counts,
the shape of the optimizer's state, and what else determines the run are JSON in the header.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from .._arrays import checks as check
from .._arrays.namespace import Array, Namespace, dtype_name, is_array
from .._files.atomic import hidden, keep_previous, previous
from .._files.locks import hold
from ..serialization import (
    CheckpointError,
    check_dtype,
    load_arrays,
    safetensors_numpy,
    save_arrays,
)
from .objective import Objective
from .run import Run

__all__ = [
    "MEASURED",
    "check_savable",
    "load_checkpoint",
    "lock_checkpoint",
    "said_of_previous",
    "save_checkpoint",
]

# Fields of a model that files of earlier versions lack, with what they were then.
ADDED = {"tied": False, "reverse": False}
_FORMAT = 3
_EARLIER = 2  # without what `_of_this_format` adds
_NUMBERS = (
    *("step", "loss", "gradient_norm", "learning_rate"),
    *("evaluation", "best_evaluation", "best_step"),
)
_DICTS = ("metrics", "evaluation_metrics")  # of numbers
# Fields that are trees of arrays, with the group of these in the file.
_TREES = {
    "optimizer_state": "optimizer",
    "state": "state",
    "pending_metrics": "measured",
    "pending_norm": "norm",
}
# What is measured after the last step.
MEASURED = ("loss", "evaluation", "gradient_norm", "metrics", "evaluation_metrics")


def lock_checkpoint(path: Path) -> AbstractContextManager[None]:
    """Lock a checkpoint while a run reads and writes it.

    Raises
    ------
    ValueError
        If another run has locked it, of this process or another.
    """
    return hold(
        hidden(path, "lock"),
        f"checkpoint: {path} is already being trained with, by this process or another; "
        "wait for it, or use another path",
    )


def check_savable(run: Run, described: Mapping[str, Any]) -> None:
    """Check that a run can be written to a file, before any work is lost.

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
    for name in _TREES:
        _taken_apart(_label(name), getattr(run, name), [])
    try:
        json.dumps(described)
    except Exception as error:  # any object may be given, and raise anything
        raise TypeError(f"checkpoint: this run cannot be described in a file: {error}") from None


def save_checkpoint(
    path: Path,
    run: Run,
    described: Mapping[str, Any],
    *,
    evaluate_every: int | None,
    ended: Mapping[str, float] | None,
) -> None:
    """Write a run to one file, atomically; keep the file before it as the previous checkpoint.

    ``ended`` is what was measured after the last step, if the run has made all its steps.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    arrays = {f"params/{name}": a for name, a in run.params.items()}
    arrays |= {f"best/{name}": a for name, a in (run.best_params or {}).items()}
    arrays |= {f"pending/{i}": array for i, array in enumerate(run.pending)}
    header = {"format": _FORMAT, "run": described, "evaluate_every": evaluate_every, "ended": ended}
    header |= {name: getattr(run, name) for name in (*_NUMBERS, *_DICTS)}
    for name, group in _TREES.items():
        inside: list[Array] = []
        header[name] = _taken_apart(_label(name), getattr(run, name), inside)
        arrays |= {f"{group}/{i}": array for i, array in enumerate(inside)}
    keep_previous(path)
    save_arrays(path, arrays, header | {"arrays": len(arrays)})


def load_checkpoint(
    path: Path,
    run: Run,
    objective: Objective,
    described: Mapping[str, Any],
    xp: Namespace,
    device: Any,
    *,
    lr: Callable[[int], float] | None,
    evaluate_every: int | None,
) -> tuple[int | None, dict[str, float] | None]:
    """Restore a run to where it was saved.

    Return the steps between evaluations, and what was measured if it had made all its steps.

    Raises
    ------
    CheckpointError
        If the file is damaged, or belongs to another model, optimizer, dtype, batches or options;
        ``run`` is then unchanged.
    """
    try:
        arrays, header = load_arrays(path, xp=xp, device=device)
    except CheckpointError as error:
        raise CheckpointError(f"{error}{said_of_previous(path)}") from None
    if header.get("format") not in (_EARLIER, _FORMAT):
        raise CheckpointError(
            f"{path}: expected a checkpoint of format {_FORMAT}, got "
            f"{header.get('format', 'none')!r}; start again with another path"
        )
    asked = json.loads(json.dumps(described))
    try:
        header = _of_this_format(header, arrays)
        found = header["run"]
        if "model" in found and "model" in asked:
            found = found | {"model": ADDED | found["model"]}
            _compare(path, "model", found["model"], asked["model"])
        _compare(path, "gradients", found.get("gradients", {}), asked.get("gradients", {}))
        for name, param in run.params.items():
            wanted, got = (dtype_name(a.dtype) for a in (param, arrays[f"params/{name}"]))
            if wanted != got:
                raise CheckpointError(f"{path}: expected {name} of dtype {wanted}, got {got}")
        for name in (*asked, *(one for one in found if one not in asked)):
            _compare(path, name, found.get(name, {}), asked.get(name, {}))
        kept = _restored(run, objective, header, arrays)
    except CheckpointError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        raise CheckpointError(
            f"{path}: expected the checkpoint of a run, got a file that lacks parts of one "
            f"({_lack(error)}); start again with another path"
        ) from None
    step, rate, every = kept["step"], kept["learning_rate"], header["evaluate_every"]
    if step > run.steps:
        raise CheckpointError(
            f"{path}: this run has made {step} steps, and {run.steps} are asked for; "
            "give at least as many, or another path"
        )
    if evaluate_every is not None:
        name = "evaluate_every"
        _compare(path, "options", {name: every}, {name: evaluate_every})
    # A schedule without a name is identified by its values, unless they depend on the run.
    if step and lr and not math.isclose(now := float(lr(step - 1)), rate, rel_tol=1e-9):
        at = f"rate at step {step - 1}"
        _compare(path, "lr", {at: float(f"{rate:.9g}")}, {at: float(f"{now:.9g}")})
    vars(run).update(kept)
    return every, header["ended"]


def said_of_previous(path: Path) -> str:
    """Return how to go on from the checkpoint before one that is lost, if it is whole."""
    kept = previous(path)
    try:
        step = load_arrays(kept)[1]["step"]
    except (CheckpointError, KeyError):
        return ""
    return f"; to go on from the one before it, of step {step}, rename {kept} to {path.name}"


def _lack(error: Exception) -> str:
    """Describe what is wrong with the content of a file, without Python's wording."""
    if isinstance(error, KeyError):
        return f"no {error}"
    return "an entry of another kind" if "object" in str(error) else str(error)


def _restored(
    run: Run, objective: Objective, header: Mapping[str, Any], arrays: dict[str, Array]
) -> dict[str, Any]:
    """Return the fields of a run, with names, shapes and types checked."""
    groups: dict[str, dict[str, Array]] = {}
    for key, array in arrays.items():
        group, name = key.split("/", 1)
        groups.setdefault(group, {})[name] = array
    if len(arrays) != header["arrays"]:
        raise ValueError(f"{len(arrays)} arrays of {header['arrays']}")
    params, best = groups["params"], groups.get("best")
    for found in (params, best or params):
        if _shapes(found) != _shapes(run.params):
            raise TypeError("parameters of other names or shapes")
    numbers = _measured(header, (*_NUMBERS, *_DICTS))
    if header["ended"]:
        _measured(header["ended"], MEASURED)
    if header["evaluate_every"] is not None:
        check.count("evaluate_every", header["evaluate_every"])
    trees = {}
    for name, group in _TREES.items():
        inside = _numbered(groups.get(group, {}))
        trees[name] = _put_together(header[name], inside)
    state, measured, norm = (trees[n] for n in ("state", "pending_metrics", "pending_norm"))
    parts = () if state is None else check.state_parts(state)
    if objective.sizes is not None and parts:
        got = [a.shape[-1] if is_array(a) else a for a in parts]
        if got != objective.sizes or len(groups["state"]) != len(got):
            raise TypeError(f"a state of sizes {got}")
    if type(measured) is not list or any(type(one) is not dict for one in measured):
        raise TypeError(f"pending_metrics {check.said(measured)}")
    if norm is not None and not is_array(norm):
        raise TypeError(f"pending_norm {check.said(norm)}")
    return {
        **numbers,
        **trees,
        "params": {name: params[name] for name in run.params},
        "best_params": best and {name: best[name] for name in run.params},
        "pending": _numbered(groups.get("pending", {})),
    }


def _measured(header: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return what was measured, with its types checked."""
    found = {name: header[name] for name in names}
    for name, value in found.items():
        for one in value.values() if name in _DICTS else (value,):
            if type(one) is not int and (type(one) is not float or name.endswith("step")):
                raise TypeError(f"{name} {one!r}")
    return found


def _shapes(params: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(array.shape) for name, array in params.items()}


def _of_this_format(header: dict[str, Any], arrays: Mapping[str, Array]) -> dict[str, Any]:
    """Return a header with what the one of an earlier format lacks."""
    if header["format"] == _FORMAT:
        return header
    count = sum(name.startswith("state/") for name in arrays)
    state: Any = {"tuple": [{"array": i} for i in range(count)]}  # as its arrays alone
    added = {"gradient_norm": math.nan, "metrics": {}, "evaluation_metrics": {}}
    return {
        **added,
        "pending_metrics": {"list": []},
        "pending_norm": None,
        "state": None if not count else {"array": 0} if count == 1 else state,
        **header,
        "ended": header["ended"] and added | header["ended"],
    }


def _numbered(group: Mapping[str, Array]) -> list[Array]:
    return [group[str(i)] for i in range(len(group))]


def _said(value: Any) -> str:
    """Return a plain value as text: "none" if it is missing, and strings as they are."""
    return "none" if value in (None, "None") else str(value)


def _compare(path: Path, name: str, found: dict[str, Any], wanted: dict[str, Any]) -> None:
    different = [
        f"{key} {_said(found.get(key))} where {_said(wanted.get(key))} is asked for"
        for key in sorted(found.keys() | wanted.keys())
        if found.get(key) != wanted.get(key)
        and {_said(found.get(key)), _said(wanted.get(key))} != {"none"}  # None is as missing
    ]
    if different:
        raise CheckpointError(
            f"{path}: belongs to another run; {name}: {', '.join(different)}; "
            "give what this run was begun with, or another path"
        )


# ---------------------------------------------------------------- the optimizer's state


def _label(name: str) -> str:
    """Return the argument of `train` that makes a tree."""
    return "gradients" if name == "state" else "optimizer"


def _taken_apart(name: str, tree: Any, arrays: list[Array]) -> Any:
    """Return a tree of dicts, tuples and lists as JSON; append its arrays to ``arrays``.

    Errors call it ``name``.

    Raises
    ------
    TypeError
        If it contains anything else.
    """
    if type(tree) is dict and all(type(key) in (str, int) for key in tree):
        return {"dict": [[key, _taken_apart(name, value, arrays)] for key, value in tree.items()]}
    if type(tree) in (tuple, list):
        return {type(tree).__name__: [_taken_apart(name, value, arrays) for value in tree]}
    if is_array(tree):
        if getattr(tree, "weak_type", False) and not tree.shape:
            return tree.item()  # a Python number that went through jax.jit
        check_dtype(f"{name}: state", tree)
        arrays.append(tree)
        return {"array": len(arrays) - 1}
    if tree is None or type(tree) in (bool, int, float, str):
        return tree
    raise TypeError(
        f"{name}: a state that can be saved is made of dicts, tuples and lists of arrays and "
        f"plain numbers, got {type(tree).__name__} in it"
    )


def _put_together(tree: Any, arrays: Sequence[Array]) -> Any:
    """Undo `_taken_apart`."""
    if not isinstance(tree, dict):
        return tree
    ((kind, inside),) = tree.items()
    if kind == "array":
        return arrays[inside]
    if kind == "dict":
        return {key: _put_together(value, arrays) for key, value in inside}
    return {"tuple": tuple, "list": list}[kind](_put_together(value, arrays) for value in inside)
