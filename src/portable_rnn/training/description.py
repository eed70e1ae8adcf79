"""What determines a run, as plain values: compared when it is resumed."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from .._arrays import checks as check
from .._arrays.host import digest, to_host
from .._arrays.namespace import is_array
from ..batches import Batch, Batches
from .objective import Objective
from .run import Run

__all__ = ["describe", "plain"]


def describe(
    run: Run,
    objective: Objective,
    batches: Batches,
    validation: Batches | None,
    *,
    lr: Callable[..., float],
    max_norm: float | None,
) -> dict[str, Any]:
    """Return what determines a run, as plain values that are compared when it is resumed.

    For functions, the name and the options fixed by :func:`functools.partial`; for data, what
    ``describe`` returns, and a checksum of the first batch.
    """
    held = {} if validation is None else _source("validation", validation, run, objective)
    return {
        **{
            name: value if isinstance(value, dict) else _function(value)
            for name, value in objective.described().items()
            if value is not None
        },
        "batches": _source("batches", batches, run, objective),
        "validation": held,
        "optimizer": _function(run.optimizer),
        "loss": _function(objective.loss),
        "metrics": {name: plain(metric) for name, metric in objective.metrics.items()},
        "lr": _function(lr),
        "options": {"max_norm": plain(max_norm), "seed": run.seed},
    }


def _source(name: str, batches: Batches, run: Run, objective: Objective) -> dict[str, Any]:
    """Return the description of a source, and a checksum of each array of its first batch."""
    first = objective.batch(name, batches, 0, run.params, None)
    said = batches.describe()
    if not isinstance(said, Mapping):
        raise TypeError(f"{name}.describe: expected it to return a dict, got {check.said(said)}")
    held = {f"first {name}": getattr(first, name, None) for name in Batch._fields}
    return {**said, **{name: plain(v) for name, v in held.items() if v is not None}}


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
    return {"name": name} | {key: plain(value) for key, value in options.items()}


def plain(value: Any) -> Any:
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
        return [plain(one) for one in value]
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items()}
    return _function(value)
