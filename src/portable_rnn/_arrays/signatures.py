"""Read the options of functions from their signatures, once each, and check given options."""

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
    """What a function takes after its first two arguments, a loss's outputs and targets."""

    two: bool  # whether it can be given two arguments
    options: tuple[str, ...]  # the names of further arguments
    required: tuple[str, ...]  # options without a default
    anything: bool  # whether it takes options of any name

    @property
    def optional(self) -> tuple[str, ...]:
        """The options with a default."""
        return tuple(name for name in self.options if name not in self.required)


# Weak: a function may hold arrays.
_seen: WeakKeyDictionary[Callable[..., Any], Takes | None] = WeakKeyDictionary()


def takes(function: Callable[..., Any]) -> Takes | None:
    """Return what a function takes; None without a signature, as for some written in C."""
    try:
        return _seen[function]
    except (KeyError, TypeError):  # TypeError: not hashable, or not weakly referenceable
        found = _read(function)
    with suppress(TypeError):
        _seen[function] = found
    return found


def options_of(function: Callable[..., Any], *, without: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the names of a function's optional arguments."""
    found = takes(function)
    return tuple(name for name in found.optional if name not in without) if found else ()


def split_options(
    options: Mapping[str, Any], function: Callable[..., Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options that a function takes by name, and the others."""
    found = takes(function)
    known = found.options if found else ()
    return (
        {name: value for name, value in options.items() if name in known},
        {name: value for name, value in options.items() if name not in known},
    )


def named_options(function: F) -> F:
    """Make a function or class suggest the nearest name when it refuses an unknown option.

    Python refuses them too, but does not list the known ones. Names are read only after an error:
    a correct call takes no longer.
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
    """Raise an error if there are too many positional arguments."""
    parameters = inspect.signature(function).parameters.values()
    placed = [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    if count <= len(placed) or any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return
    bound = placed[:1] == ["self"]
    raise TypeError(
        f"{name}: expected at most {len(placed) - bound} arguments without a name "
        f"({', '.join(placed[bound:])}), got {count - bound}; other options go by name"
    ) from None


def _refuse_unknown(function: Callable[..., Any], name: str, given: Mapping[str, Any]) -> None:
    """Raise an error if an option is unknown to the function."""
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

    ``weighted`` says whether it gets ``weights`` too; ``known`` are options of ``caller`` that do
    not go to the loss.
    """
    if not callable(value) or isinstance(value, type):
        got = f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__
        raise TypeError(f"loss: expected a callable, got {got}")
    found = takes(value)
    if found is None:  # functions not written in Python may have no signature
        return
    if not found.two:
        raise TypeError(
            "loss: expected a callable (outputs, targets, **options) -> (value, d_outputs), "
            f"got one that takes {inspect.signature(value)}"
        )
    if weighted and "weights" not in found.options and not found.anything:
        raise TypeError(
            "loss: expected it to take weights=..., through which lengths or a mask select the "
            f"valid steps, got one that takes {inspect.signature(value)}"
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
    """Refuse options given to ``caller`` that are neither ``known`` nor the loss's."""
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
