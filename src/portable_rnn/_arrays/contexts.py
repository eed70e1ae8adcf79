"""Context managers made of generators that can be entered more than once, and inside themselves."""

import functools
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ContextDecorator, contextmanager
from contextvars import ContextVar
from typing import ParamSpec

__all__ = ["Reusable", "reusable"]

P = ParamSpec("P")

# What is entered in this thread or task, each with the object that it is of.
_entered: ContextVar[tuple[tuple["Reusable", AbstractContextManager[None]], ...]] = ContextVar(
    "portable_rnn_entered", default=()
)


class Reusable(ContextDecorator):
    """Runs a generator each time it is entered, as ``contextmanager`` does only once."""

    def __init__(self, make: Callable[[], AbstractContextManager[None]]) -> None:
        self._make = make

    def __enter__(self) -> None:
        manager = self._make()
        manager.__enter__()
        _entered.set((*_entered.get(), (self, manager)))

    def __exit__(self, *error: object) -> None:
        entered = _entered.get()
        last = max(i for i, (owner, _) in enumerate(entered) if owner is self)
        _entered.set(entered[:last] + entered[last + 1 :])
        entered[last][1].__exit__(*error)  # type: ignore[arg-type]


def reusable(function: Callable[P, Iterator[None]]) -> Callable[P, Reusable]:
    """Decorate a generator function as ``contextmanager`` does."""
    make = contextmanager(function)

    @functools.wraps(function)
    def call(*args: P.args, **options: P.kwargs) -> Reusable:
        return Reusable(functools.partial(make, *args, **options))

    return call
