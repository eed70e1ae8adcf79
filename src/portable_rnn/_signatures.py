"""What functions take: the names of their options, read from each signature once."""

import inspect
from collections.abc import Callable, Mapping
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

__all__ = ["Takes", "options_of", "parted", "suggestion", "takes"]


class Takes(NamedTuple):
    """What a function takes besides its first two arguments, which those of a loss are."""

    two: bool  # whether it can be given two arguments
    options: tuple[str, ...]  # what else there is, by name
    required: tuple[str, ...]  # those of them that have no default
    anything: bool  # whether it takes options of any name

    @property
    def optional(self) -> tuple[str, ...]:
        """Options that need not be given."""
        return tuple(name for name in self.options if name not in self.required)


# Weak: a function may hold arrays.
_seen: WeakKeyDictionary[Callable[..., Any], Takes | None] = WeakKeyDictionary()


def takes(function: Callable[..., Any]) -> Takes | None:
    """Return what a function takes; None if it does not say, as some not written in Python."""
    try:
        return _seen[function]
    except (KeyError, TypeError):  # TypeError: it cannot be hashed, or not be referred to weakly
        found = _read(function)
    with suppress(TypeError):
        _seen[function] = found
    return found


def options_of(function: Callable[..., Any], *, without: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the names of what a function can be given and need not be."""
    found = takes(function)
    return tuple(name for name in found.optional if name not in without) if found else ()


def parted(
    options: Mapping[str, Any], function: Callable[..., Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return those of the options that a function has by name, and the others."""
    found = takes(function)
    known = found.options if found else ()
    return (
        {name: value for name, value in options.items() if name in known},
        {name: value for name, value in options.items() if name not in known},
    )


def suggestion(name: str, known: tuple[str, ...]) -> str:
    """Return '; did you mean ...?' if something known has nearly this name, else ''."""
    near = get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


def _read(function: Callable[..., Any]) -> Takes | None:
    try:
        parameters = list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return None
    places = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    named = [p for p in places[2:] if p.kind is not p.POSITIONAL_ONLY]
    named += [p for p in parameters if p.kind is p.KEYWORD_ONLY]
    kinds = {p.kind for p in parameters}
    return Takes(
        (len(places) >= 2 or inspect.Parameter.VAR_POSITIONAL in kinds)
        and not any(p.kind is p.POSITIONAL_ONLY and p.default is p.empty for p in places[2:]),
        tuple(p.name for p in named),
        tuple(p.name for p in named if p.default is p.empty),
        inspect.Parameter.VAR_KEYWORD in kinds,
    )
