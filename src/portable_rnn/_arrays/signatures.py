"""What functions take: the names of their options, read from each signature once.

And whether what a caller was given fits that.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeVar, cast
from weakref import WeakKeyDictionary

from .scalars import said, suggestion

__all__ = [
    "Takes",
    "loss",
    "named_options",
    "options",
    "options_of",
    "split_options",
    "takes",
]

F = TypeVar("F", bound=Callable[..., Any])


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


def split_options(
    options: Mapping[str, Any], function: Callable[..., Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return those of the options that a function has by name, and the others."""
    found = takes(function)
    known = found.options if found else ()
    return (
        {name: value for name, value in options.items() if name in known},
        {name: value for name, value in options.items() if name not in known},
    )


def named_options(function: F) -> F:
    """Have a function, or a class as it is made, refuse unknown options by the nearest name it has.

    Python refuses them too, but does not say what else there is. Only where it has, names are read:
    a call that is right takes no longer.
    """
    if isinstance(function, type):
        function.__init__ = _hinting(function.__init__, function.__name__)  # type: ignore[misc]
        return cast(F, function)
    return cast(F, _hinting(function, function.__qualname__))


def _hinting(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    @functools.wraps(function)
    def call(*args: Any, **given: Any) -> Any:
        try:
            return function(*args, **given)
        except TypeError:
            _refuse_too_many(function, name, len(args))
            _refuse_unknown(function, name, given)
            raise

    return call


def _refuse_too_many(function: Callable[..., Any], name: str, count: int) -> None:
    """Raise the error of more arguments than go by their place, if there are more."""
    parameters = inspect.signature(function).parameters.values()
    placed = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if count <= len(placed) or any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return
    bound = placed[:1] == ["self"]
    raise TypeError(
        f"{name}: expected at most {len(placed) - bound} arguments without a name "
        f"({', '.join(placed[bound:])}), got {count - bound}; what else there is goes by name"
    ) from None


def _refuse_unknown(function: Callable[..., Any], name: str, given: Mapping[str, Any]) -> None:
    """Raise the error of an option that a function has not, if there is one."""
    parameters = inspect.signature(function).parameters
    known = tuple(parameter for parameter in parameters if parameter != "self")
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return
    for unknown in (option for option in given if option not in known):
        wanted = f"an option of {name} ({', '.join(known)})"
        near = suggestion(unknown, known)
        raise TypeError(f"{unknown}: expected {wanted}, got an unknown one{near}") from None


def loss(
    caller: Callable[..., Any],
    value: Any,
    given: Mapping[str, Any],
    *,
    weighted: bool,
    known: Sequence[str] = (),
) -> None:
    """Check that a loss can be called with outputs, targets and the options ``given``.

    And with ``weights`` if it will be; ``known`` are options that ``caller`` passes on elsewhere.
    """
    if not callable(value):
        raise TypeError(f"loss: expected a callable, got {type(value).__name__}")
    found = takes(value)
    if found is None:  # what is not written in Python need not say
        return
    if not found.two:
        raise TypeError(
            "loss: expected a callable (outputs, targets, **options) -> (value, d_outputs), "
            f"got one that takes {inspect.signature(value)}"
        )
    if weighted and "weights" not in found.options and not found.anything:
        raise TypeError(
            "loss: expected it to take weights=..., by which lengths or a mask tell it which steps "
            f"there are, got one that takes {inspect.signature(value)}"
        )
    if given and not found.anything:
        options(caller, given, known, loss=value)
    for name in found.required:
        if name not in given and not (weighted and name == "weights"):
            raise TypeError(
                f"loss: expected {name}=..., which {said(value)} has no default for, got nothing"
            )


def options(
    caller: Callable[..., Any],
    given: Mapping[str, Any],
    known: Sequence[str],
    *,
    loss: Callable[..., Any] | None = None,
) -> None:
    """Refuse options that ``caller`` was given, and that neither are ``known`` nor of the loss."""
    of_loss = takes(loss) if loss is not None else None
    every = (*known, *(of_loss.options if of_loss else ()))
    unknown = [name for name in given if name not in every]
    if unknown:
        own = (*options_of(caller), *known)
        has = f"{said(caller)} ({', '.join(own)})"
        if of_loss is not None:
            has += f" or of the loss {said(loss)} ({', '.join(of_loss.options) or 'none'})"
        near = suggestion(unknown[0], (*own, *every))
        raise TypeError(f"{unknown[0]}: expected an option of {has}, got an unknown one{near}")


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
