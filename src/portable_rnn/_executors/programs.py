"""The code of a layer by the program of its cell: found again, and made when a cell is first met.

A cell that may change between calls is traced in each; one that is frozen, once.
"""

from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import fields
from functools import lru_cache
from typing import Any, TypeVar
from weakref import WeakValueDictionary

from .._arrays.namespace import dtype_name
from .._engine.recurrence import Held, Plain, Projected, Recurrence
from .._engine.setup import Setup
from .program import Program
from .trace import NotPointwise, trace

__all__ = ["NotCompiled", "NotNow", "code_of", "kind_of_update", "why_not"]

Code = TypeVar("Code")

MOST = 32  # programs of one class of cells that may change
_made: dict[type, set[Program]] = {}
_fixed: WeakValueDictionary[int, Any] = WeakValueDictionary()  # cells that do not change, by id


class NotCompiled(Exception):
    """There is no code for a program here; the message says why."""


class NotNow(NotCompiled):
    """There is no code for a program now, such as for lack of memory; it is tried again."""


def code_of(
    recurrence: Recurrence,
    held: str,
    make: Callable[[Program, str, bool], Code],
    dtype: str,
    scaled: bool,
) -> Code | str:
    """Return the code of a layer, or why there is none.

    Parameters
    ----------
    recurrence : Recurrence
    held : {"", "choose", "mix"}
        Whether there are updates, of booleans or of numbers.
    make : callable
        Returns code for a program, a dtype, and whether there are factors of what the recurrent
        weights multiply; or raises `NotCompiled` or `NotNow`.
    dtype : str
    scaled : bool
    """
    inner = recurrence.inner if isinstance(recurrence, Held) else recurrence
    if not isinstance(inner, Plain):
        return why_not(recurrence)
    try:
        if _is_known_fixed(inner.cell):
            found = _found(inner.cell, _source(inner.cell), held, make, dtype, scaled)
        else:  # what another one holds may have changed since its step was traced
            found = _traced(inner.cell, held, make, dtype, scaled)
    except NotNow as reason:
        return str(reason)
    return found  # type: ignore[no-any-return]


def why_not(recurrence: Recurrence) -> str:
    """Return why a layer is not compiled; "" if it is. Nothing is compiled for that."""
    inner = recurrence.inner if isinstance(recurrence, Held) else recurrence
    if isinstance(inner, Projected):
        return "the projection of its hidden state is a second product in each step"
    if not isinstance(inner, Plain):
        return "its cell has a second product in each step"
    try:
        _program(inner.cell, "")
    except NotPointwise as reason:
        return f"its cell: {reason}"
    return ""


@lru_cache(maxsize=256)
def _found(
    cell: Any,
    source: Any,
    held: str,
    make: Callable[[Program, str, bool], Any],
    dtype: str,
    scaled: bool,
) -> Any:
    return _traced(cell, held, make, dtype, scaled)


def _traced(
    cell: Any, held: str, make: Callable[[Program, str, bool], Any], dtype: str, scaled: bool
) -> Any:
    try:
        program = _program(cell, held)
        if not _is_fixed(cell):
            made = _made.setdefault(type(cell), set())
            if program not in made and len(made) == MOST:
                raise NotPointwise(f"it has changed {MOST} times, and each time is compiled anew")
            made.add(program)
        return make(program, dtype, scaled)
    except NotPointwise as reason:
        return f"its cell: {reason}"
    except NotNow:
        raise  # not to be kept
    except NotCompiled as reason:
        return str(reason)


def kind_of_update(setup: Setup) -> str:
    """Return how an update lets the new state in: "" without, "choose" or "mix"."""
    if not setup.update:
        return "" if setup.mask is None else "choose"
    kinds = {dtype_name(one.dtype) for update in setup.update for one in update}
    return "choose" if kinds == {"bool"} else "mix"


def _program(cell: Any, held: str) -> Program:
    """Trace a cell; one that keeps count, or records, is left as it was, and to Python."""
    if _is_fixed(cell):
        return trace(cell, held)
    try:
        subject = deepcopy(cell)
    except Exception as error:  # of whatever kind: the cell may be anyone's
        raise NotPointwise(f"it cannot be copied, to be tried ({error})") from None
    before = _sizes(subject)
    program = trace(subject, held)
    if _sizes(subject) != before:
        raise NotPointwise("it changes as it is called")
    return program


def _sizes(cell: Any) -> dict[str, Any]:
    """Return what can be seen to change of what an object holds: values, and how many there are."""
    found = {}
    for name, value in getattr(cell, "__dict__", {}).items():
        simple = value is None or isinstance(value, (str, int, float, tuple))
        found[name] = value if simple else len(value) if hasattr(value, "__len__") else id(value)
    return found


def _source(cell: Any) -> Any:
    """Return what a frozen cell computes by, and the types of what it holds: 1 equals True."""
    kind = type(cell)
    held = tuple(type(getattr(cell, field.name)) for field in fields(cell))
    return kind.step, kind.step_vjp, held


def _is_known_fixed(cell: Any) -> bool:
    """Return `_is_fixed`; of an object that is, it is asked once."""
    if _fixed.get(id(cell)) is cell:
        return True
    if not _is_fixed(cell):
        return False
    with suppress(TypeError):  # an object that cannot be referred to weakly
        _fixed[id(cell)] = cell
    return True


def _is_fixed(part: Any) -> bool:
    """Return whether a cell says that it does not change: a frozen dataclass of such parts."""
    if isinstance(part, tuple):
        return all(map(_is_fixed, part))
    if part is None or isinstance(part, (str, int, float)):
        return True
    settings = vars(type(part)).get("__dataclass_params__")  # its own, not of a class above
    if settings is None or not settings.frozen:
        return False
    return all(_is_fixed(getattr(part, field.name)) for field in fields(part))
