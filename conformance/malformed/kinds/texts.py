"""Examples of the book, texts and pictures."""

import math
from typing import Any

import numpy as np

from portable_rnn import book
from portable_rnn.text import Vocabulary

from .values import LARGE, NUMBERS, Place, Value, junk, kind, of


@kind("numbers", "optional numbers", "classes")
def numbers(place: Place) -> list[Value]:
    bad = ([[True]], [["1"]], [[math.nan]], [[math.inf]], [[1], [2, 3]], [[]], [[1j]], [[10**400]])
    own = [Value(f"{value!r:.20}", of(value)) for value in bad]
    deep: Any = [1.0]
    for _ in range(2000):
        deep = [deep]
    own += [
        Value("very deep lists", of(deep)),
        Value("one row more", of((*place.value, place.value[-1])), "misfit"),
        Value("one row", of(place.value[:1]), "taken"),
        Value("an array", lambda: place.valid.row.put(np.asarray(place.value)), "taken"),
        Value("a text in it", of((*place.value[:-1], "text"))),
    ]
    odd = ("None",) if kind_is_optional(place) else ()
    return junk(taken=odd) + own


def kind_is_optional(place: Place) -> bool:
    return place.argument in ("b", "c", "h0")


@kind("example")
def example(place: Place) -> list[Value]:
    own = [
        Value("its class", of(book.Example)),
        Value("a dict", of(vars(place.value))),
        Value("of more steps", of(book.draw(steps=4)), "taken"),
    ]
    return junk() + own


@kind("quantities")
def quantities(place: Place) -> list[Value]:
    good = place.value
    own = [
        Value("its class", of(book.Quantities)),
        Value("a dict", of(vars(good) if hasattr(good, "__dict__") else good._asdict())),
        Value("of more steps", lambda: book.differentiate(book.draw(steps=4)), "misfit"),
    ]
    return junk() + own


@kind("claims")
def claims(place: Place) -> list[Value]:
    own = [
        Value(f"{v.label} as a claim", lambda v=v: {"loss": v.make()}, v.verdict)
        for v in junk(taken={"0", "1", "-1", "NumPy's 1", "0.5", "1.5", *NUMBERS, *LARGE})
    ]
    own += [
        Value("an unknown name", of({"los": 1})),
        Value("a number as name", of({1: 1})),
        Value("another shape", of({"loss": [1]})),
        Value("pairs", of([("loss", 1)])),
    ]
    return junk(taken=("{}",)) + own


@kind("checks")
def checks(place: Place) -> list[Value]:
    return [*junk(taken=("[]", "()")), Value("one of them", of(place.value[0]))]


@kind("progress")
def progress(place: Place) -> list[Value]:
    return [*junk(taken=("None",)), Value("of one", of(lambda done: None))]


@kind("vocabulary")
def vocabulary(place: Place) -> list[Value]:
    own = [
        Value("its class", of(Vocabulary)),
        Value("of more characters", of(Vocabulary("abcd")), "misfit"),
        Value("of fewer characters", of(Vocabulary("ab")), "misfit"),
    ]
    return junk() + own


@kind("indices")
def indices(place: Place) -> list[Value]:
    bad = ([-1], [99], [0.5], ["0"], [None], [True], [10**300])
    own = [Value(repr(value)[:20], of(value)) for value in bad]
    taken = ("[]", "()", "{}", "a set", "a generator", "an empty array")
    return junk(taken=taken) + own


@kind("header")
def header(place: Place) -> list[Value]:
    own = [
        Value("an object in it", lambda: {"a": object()}),
        Value("an array in it", lambda: {"a": np.ones(3)}),
        Value("nan in it", of({"a": math.nan}), "taken"),
    ]
    return junk(taken=("{}",)) + own


@kind("data")
def data(place: Place) -> list[Value]:
    # What has a buffer, as NumPy's arrays and scalars.
    numpys = ("NumPy's scalar array", "an array of one", "an empty array", "a string array")
    more = ("NumPy's True", "NumPy's 1", "NumPy's 0.5", "a structured array", "a masked array")
    return [
        *junk(taken=("b'bytes'", *numpys, *more)),
        Value("a bytearray", of(bytearray(b"a")), "taken"),
    ]


@kind("flow")
def flow(place: Place) -> list[Value]:
    own = [
        Value("its class", of(type(place.value))),
        Value("without d_state", of(place.value._replace(d_state=())), "refused"),
        Value("without params", of(place.value._replace(params={})), "taken"),
    ]
    return junk() + own


@kind("metrics")
def metrics(place: Place) -> list[Value]:
    own = [
        Value("without a step", of([{"training_bits": 2.0}])),
        Value("a text as bits", of([{"step": 1, "training_bits": "2"}])),
        Value("no dict in it", of([1])),
    ]
    own += [
        Value("numbers by name", of({"loss": [2.0, float("nan"), 1]}), "taken"),
        Value("pairs by name", of({"loss": [(1, 2.0)], "validation_loss": []}), "taken"),
        Value("a number by name", of({"loss": 2.0})),
        Value("a text by name", of({"loss": "21"})),
        Value("texts by name", of({"loss": ["2"]})),
        Value("three numbers at a step", of({"loss": [(1, 2, 3)]}), "refused"),
        Value("a step that is a text", of({"loss": [("1", 2.0)]})),
        Value("a name that is a number", of({3: [2.0]})),
        Value("rows with a name that is a number", of([{"step": 1, 3: 2.0}])),
    ]
    return junk(taken=("[]", "()", "{}")) + own


@kind("baselines")
def baselines(place: Place) -> list[Value]:
    return [
        *junk(taken=("{}", "None")),
        Value("a text as bits", of({"xz": "2"})),
        Value("nan as bits", of({"xz": math.nan}), "taken"),
        Value("a number as name", of({3: 2.0})),
    ]
