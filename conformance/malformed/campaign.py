"""Draw malformed calls by a seed, make them, and judge the outcome of each."""

import faulthandler
import os
import random
import re
import resource
import sys
import time
import warnings
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from portable_rnn.batches import Batch
from portable_rnn.serialization import CheckpointError

from ..backend import Backend
from ..backends import BACKENDS
from .arguments import CALLABLES, UNTRIED, arguments, collects, kind_of
from .kinds import KINDS, Place, Value
from .valid import Valid

__all__ = ["CLEAR", "FINE", "PLACES", "Outcome", "judge", "make_calls"]

CLEAR, OBSCURE, ACCEPTED, TAKEN, HUNG = "clear", "obscure", "accepted", "taken", "hung"
FINE = (CLEAR, TAKEN)
SECONDS, SECONDS_SLOW = 5.0, 60.0  # the latter where each new shape takes long
MEMORY = 2 * 2**30
# Shares of the calls by row; a small one for JAX, which compiles each shape.
SHARES = {"numpy": 0.5, "torch": 0.24, "array-api-strict": 0.235, "jax": 0.025}
ERRORS = (TypeError, ValueError, ImportError, FloatingPointError, CheckpointError)
NEEDED = {"interop": "torch", "plots": "matplotlib"} | dict.fromkeys(
    ("load_model", "save_model", "serialization", "training"), "safetensors"
)
PLACES = [
    (name, argument)
    for name in CALLABLES
    for argument in arguments(name)
    if kind_of(name, argument) not in UNTRIED and find_spec(NEEDED.get(name.split(".")[0], "numpy"))
]


class Outcome(NamedTuple):
    """The outcome of a call.

    "clear": refused by an error that names the argument; "obscure": by any other; "taken": allowed
    to be taken; "accepted": taken, but should not be; "hung": took too long or too much memory, or
    ended the process.
    """

    row: str
    function: str
    replaced: tuple[tuple[str, str, str], ...]  # argument, kind, value
    outcome: str
    said: str = ""
    seconds: float = 0.0


class Call(NamedTuple):
    """A function, and replacements of some of its valid arguments."""

    function: str
    replaced: dict[str, Value]


def values(valid: Valid, function: str, argument: str) -> list[Value]:
    given = valid.arguments(function).get(argument)
    return KINDS[kind_of(function, argument)](Place(valid, function, argument, given))


def draw(valid: Valid, count: int, seed: int, places: list[tuple[str, str]]) -> Iterator[Call]:
    """Yield calls with one wrong argument, or in a third of them two."""
    rng = random.Random(f"{valid.row.id} {seed}")
    for _ in range(count):
        function, argument = rng.choice(places)
        others = [a for f, a in places if f == function and a != argument]
        chosen = [argument] + ([rng.choice(others)] if others and rng.random() < 1 / 3 else [])
        yield Call(function, {a: rng.choice(values(valid, function, a)) for a in chosen})


def every(valid: Valid, places: list[tuple[str, str]]) -> Iterator[Call]:
    """Yield all calls with one wrong argument, function by function."""
    for function, argument in places:
        for value in values(valid, function, argument):
            yield Call(function, {argument: value})


def judge(call: Call, made: dict[str, Any], error: BaseException | None) -> tuple[str, str]:
    """Return the outcome of a call with the values ``made``, and the text of its error."""
    verdicts = {value.verdict for value in call.replaced.values()}
    if error is None:
        # Two wrong values may fit together, or one may make the other irrelevant.
        fine = verdicts == {"taken"} or len(call.replaced) > 1
        return (TAKEN if fine else ACCEPTED), ""
    try:
        said = str(error)
    except Exception:
        said = "(an error that cannot be shown)"
    text = f"{type(error).__name__}: {said}"
    if isinstance(error, MemoryError) or re.search(r"alloc|out of memory", said, re.IGNORECASE):
        return HUNG, text
    names = set(call.replaced)
    if verdicts != {"refused"}:  # together, another may be the one that does not fit
        names |= set(arguments(call.function))
        if any(kind_of(call.function, a).endswith("source") for a in arguments(call.function)):
            names |= set(Batch._fields)  # which a loss names that is given a batch
    if call.function == "serialization.check_dtype" and "name" not in call.replaced:
        names |= {"w"}  # the name of the array in the valid call
    for argument, value in call.replaced.items():
        if collects(call.function, argument):
            if re.search(rf"\b{value.label}\b", said) and isinstance(error, TypeError):
                return CLEAR, text
            names |= {value.label}
        kind = kind_of(call.function, argument)
        if kind.endswith("source"):  # a loss that is given a batch names its parts
            names |= set(Batch._fields)
        if kind == "name of an array" and isinstance(made[argument], str):
            names |= {re.escape(made[argument])}
        # The error about a path may name the file instead.
        path = _path(made[argument]) if kind in ("path", "paths") else ""
        if path and path in said and isinstance(error, (*ERRORS, OSError)):
            return CLEAR, text
    head = said.partition(": ")[0]
    named = ": " in said and any(re.search(rf"(?<![\w.]){n}(?!\w)", head) for n in names)
    return (CLEAR if named and isinstance(error, ERRORS) else OBSCURE), text


def _path(value: Any) -> str:
    return os.fspath(value) if isinstance(value, (str, os.PathLike)) else ""


def make(valid: Valid, call: Call, made: dict[str, Any]) -> BaseException | None:
    """Make a call with the values ``made``; return its error."""
    given = valid.arguments(call.function)
    for argument, value in made.items():
        given |= value if collects(call.function, argument) else {argument: value}
    function = valid.function(call.function)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            limited(function, given)
    except Exception as error:
        return error
    return None


def limited(function: Any, given: dict[str, Any]) -> None:
    """Call a function in an address space that grows by no more than a limit."""
    _, most = resource.getrlimit(resource.RLIMIT_AS)
    try:
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY, most))
    except (OSError, ValueError):  # not supported by this system
        pass
    try:
        function(**given)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (most, most))


def make_calls(
    row_id: str,
    folder: Path,
    *,
    places: list[tuple[str, str]],
    count: int | None,
    seed: int,
    seconds: float | None,
    start: int,
    skip: Iterable[str],
) -> Iterator[tuple[int, Outcome]]:
    """Make the calls of a campaign on one row, and number them; see `run`.

    Each is yielded twice: before it is made, as one that hung, and then with its outcome.
    """
    row, done = BACKENDS[row_id], set(skip)
    limit = seconds or (SECONDS_SLOW if row.slow else SECONDS)
    with row.session():
        valid = Valid(row, _another(row), folder)
        calls = every(valid, places) if count is None else draw(valid, count, seed, places)
        for number, call in enumerate(calls):
            if number < start or call.function in done:
                continue
            replaced = tuple(
                (a, kind_of(call.function, a), value.label) for a, value in call.replaced.items()
            )
            made = {argument: value.make() for argument, value in call.replaced.items()}
            hung = Outcome(row_id, call.function, replaced, HUNG, f"over {limit:g} s, or a crash")
            yield number, hung
            faulthandler.dump_traceback_later(limit, exit=True, file=sys.__stderr__)
            begun = time.perf_counter()
            error = make(valid, call, made)
            faulthandler.cancel_dump_traceback_later()
            taken = time.perf_counter() - begun
            outcome, said = judge(call, made, error)
            if count is None and outcome not in FINE:
                done.add(call.function)
            yield number, hung._replace(outcome=outcome, said=said, seconds=taken)


def _another(row: Backend) -> Backend | None:
    """Return a row of another library that is installed."""
    for name in ("numpy", "array-api-strict", "torch"):
        other = BACKENDS[name]
        if other.library != row.library and find_spec(other.library):
            return other
    return None
