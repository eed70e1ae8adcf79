"""A training run on disk: one file with all that is needed to continue it.

Arrays are stored under ``params/``, ``best/``, ``pending/``, ``state/`` and ``optimizer/``; counts,
the shape of the optimizer's state, and what else determines the run are JSON in the header.
"""

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from .._arrays import checks as check
from .._arrays.host import digest, to_host
from .._arrays.namespace import Array, Namespace, dtype_name, is_array
from .._files.atomic import hidden
from .._files.locks import hold
from ..batches import Batch, Batches
from ..serialization import (
    CheckpointError,
    check_dtype,
    load_arrays,
    safetensors_numpy,
    save_arrays,
)
from .run import Run
from .sources import checked_batch

__all__ = ["check_savable", "describe", "load_checkpoint", "lock_checkpoint", "save_checkpoint"]

# Fields of a model that files of earlier versions lack, with what they were then.
ADDED = {"tied": False}
_FORMAT = 2
_NUMBERS = ("step", "loss", "learning_rate", "evaluation", "best_evaluation", "best_step")
_MEASURED = ("loss", "evaluation")


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


def describe(
    run: Run,
    batches: Batches,
    validation: Batches | None,
    *,
    loss: Callable[..., Any],
    lr: Callable[[int], float],
    max_norm: float | None,
) -> dict[str, Any]:
    """Return what determines a run, as plain values that are compared when it is resumed.

    For functions, the name and the options fixed by :func:`functools.partial`; for data, what
    ``describe`` returns, and a checksum of the first batch.
    """
    return {
        "model": run.model.to_dict(),
        "batches": _source("batches", batches, run),
        "validation": {} if validation is None else _source("validation", validation, run),
        "optimizer": _function(run.optimizer),
        "loss": _function(loss),
        "lr": _function(lr),
        "options": {"max_norm": _plain(max_norm), "seed": run.seed},
    }


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
    _taken_apart(run.optimizer_state, [])
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
    """Write a run to one file, atomically.

    ``ended`` is what was measured after the last step, if the run has made all its steps.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    inside: list[Array] = []
    tree = _taken_apart(run.optimizer_state, inside)
    state = () if run.state is None else check.state_parts(run.state)
    arrays = {f"params/{name}": a for name, a in run.params.items()}
    arrays |= {f"best/{name}": a for name, a in (run.best_params or {}).items()}
    for group, parts in (("pending", run.pending), ("state", state), ("optimizer", inside)):
        arrays |= {f"{group}/{i}": array for i, array in enumerate(parts)}
    header = {"format": _FORMAT, "run": described, "evaluate_every": evaluate_every, "ended": ended}
    header |= {name: getattr(run, name) for name in _NUMBERS}
    save_arrays(path, arrays, header | {"optimizer_state": tree, "arrays": len(arrays)})


def load_checkpoint(
    path: Path,
    run: Run,
    described: Mapping[str, Any],
    xp: Namespace,
    device: Any,
    *,
    lr: Callable[[int], float],
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
    arrays, header = load_arrays(path, xp=xp, device=device)
    if header.get("format") != _FORMAT:
        raise CheckpointError(
            f"{path}: expected a checkpoint of format {_FORMAT}, got "
            f"{header.get('format', 'none')!r}; start again with another path"
        )
    asked = json.loads(json.dumps(described))
    try:
        _compare(path, "model", ADDED | header["run"]["model"], asked["model"])
        for name, param in run.params.items():
            wanted, got = (dtype_name(a.dtype) for a in (param, arrays[f"params/{name}"]))
            if wanted != got:
                raise CheckpointError(f"{path}: expected {name} of dtype {wanted}, got {got}")
        for name in (one for one in asked if one != "model"):
            _compare(path, name, header["run"][name], asked[name])
        kept = _restored(run, header, arrays)
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
    # A schedule without a name is identified by its values.
    if step and not math.isclose(now := float(lr(step - 1)), rate, rel_tol=1e-9):
        at = f"rate at step {step - 1}"
        _compare(path, "lr", {at: float(f"{rate:.9g}")}, {at: float(f"{now:.9g}")})
    vars(run).update(kept)
    return every, header["ended"]


def _lack(error: Exception) -> str:
    """Describe what is wrong with the content of a file, without Python's wording."""
    if isinstance(error, KeyError):
        return f"no {error}"
    return "an entry of another kind" if "object" in str(error) else str(error)


def _restored(run: Run, header: Mapping[str, Any], arrays: dict[str, Array]) -> dict[str, Any]:
    """Return the fields of a run, with names, shapes and types checked."""
    groups: dict[str, dict[str, Array]] = {}
    for key, array in arrays.items():
        group, name = key.split("/", 1)
        groups.setdefault(group, {})[name] = array
    if len(arrays) != header["arrays"]:
        raise ValueError(f"{len(arrays)} arrays of {header['arrays']}")
    params, best = groups["params"], groups.get("best")
    for found in (params, best or params):
        if {n: tuple(a.shape) for n, a in found.items()} != run.model.parameter_shapes:
            raise TypeError("parameters of other names or shapes")
    state = _numbered(groups.get("state", {}))
    if state and (got := [a.shape[-1] for a in state]) != _sizes(run):
        raise TypeError(f"a state of sizes {got}")
    numbers = {name: header[name] for name in _NUMBERS}
    ended = header["ended"] or {"loss": 0.0, "evaluation": 0.0}
    for name, value in (*numbers.items(), *((name, ended[name]) for name in _MEASURED)):
        if type(value) is not int and (type(value) is not float or name.endswith("step")):
            raise TypeError(f"{name} {value!r}")
    if header["evaluate_every"] is not None:
        check.count("evaluate_every", header["evaluate_every"])
    return numbers | {
        "params": {name: params[name] for name in run.params},
        "best_params": best and {name: best[name] for name in run.params},
        "pending": _numbered(groups.get("pending", {})),
        "state": check.state_of(state) if state else None,
        "optimizer_state": _put_together(
            header["optimizer_state"], _numbered(groups.get("optimizer", {}))
        ),
    }


def _sizes(run: Run) -> list[int]:
    return [shape[-1] for shape in run.model.state_shapes(1)]


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


def _taken_apart(tree: Any, arrays: list[Array]) -> Any:
    """Return a tree of dicts, tuples and lists as JSON; append its arrays to ``arrays``.

    Raises
    ------
    TypeError
        If it contains anything else.
    """
    if type(tree) is dict and all(type(key) in (str, int) for key in tree):
        return {"dict": [[key, _taken_apart(value, arrays)] for key, value in tree.items()]}
    if type(tree) in (tuple, list):
        return {type(tree).__name__: [_taken_apart(value, arrays) for value in tree]}
    if is_array(tree):
        if getattr(tree, "weak_type", False) and not tree.shape:
            return tree.item()  # a Python number that went through jax.jit
        check_dtype("optimizer: state", tree)
        arrays.append(tree)
        return {"array": len(arrays) - 1}
    if tree is None or type(tree) in (bool, int, float, str):
        return tree
    raise TypeError(
        "optimizer: a state that can be saved is made of dicts, tuples and lists of arrays and "
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


# ------------------------------------------------------------- what determines a run


def _source(name: str, batches: Batches, run: Run) -> dict[str, Any]:
    """Return the description of a source, and a checksum of each array of its first batch."""
    first = checked_batch(name, batches, 0, run.model, run.params, None)
    said = batches.describe()
    if not isinstance(said, Mapping):
        raise TypeError(f"{name}.describe: expected it to return a dict, got {check.said(said)}")
    held = {f"first {name}": getattr(first, name, None) for name in Batch._fields}
    return {**said, **{name: _plain(v) for name, v in held.items() if v is not None}}


def _function(function: Any) -> dict[str, Any]:
    """Return name and fixed options of a function."""
    options: dict[str, Any] = {}
    while isinstance(function, functools.partial):
        options = {str(i): value for i, value in enumerate(function.args)} | (
            function.keywords | options
        )
        function = function.func
    if dataclasses.is_dataclass(function) and not isinstance(function, type):
        options |= {
            field.name: getattr(function, field.name) for field in dataclasses.fields(function)
        }
    name = getattr(function, "__qualname__", type(function).__qualname__).rsplit(".", 1)[-1]
    return {"name": name} | {key: _plain(value) for key, value in options.items()}


def _plain(value: Any) -> Any:
    """Return a value as JSON that is the same in every process, unlike `repr` of a function."""
    if is_array(value) and value.shape:
        return f"{tuple(value.shape)}, checksum {digest(value)}"
    if is_array(value):
        value = to_host(value).item()
    if isinstance(value, float) and value.is_integer():  # max_norm=1 is max_norm=1.0
        value = int(value)
    if isinstance(value, int) and abs(value) >= 2**64:  # Python prints 4300 digits at most
        return hex(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return repr(value)
    if isinstance(value, (tuple, list)):
        return [_plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): _plain(one) for key, one in value.items()}
    return _function(value)
