"""Networks, losses, tapes and budgets."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np

import portable_rnn as prnn

from .values import Place, Value, Verdict, junk, kind, of


def small(**options: Any) -> prnn.RNN:
    return prnn.RNN(**{"input_size": 3, "hidden_size": 4, "output_size": 6} | options)


@kind("model")
def model(place: Place) -> list[Value]:
    class Like:
        parameter_shapes, batch_first, input_size = {"weight_ih_l0": (4, 3)}, False, 3

    others = {
        "of other inputs": small(input_size=7),
        "of other states": small(hidden_size=9),
        "of more layers": small(num_layers=3),
        "of another cell": small(cell="gru"),
        "without a readout": small(output_size=None),
        "of two directions": small(bidirectional=True),
        "projected": small(cell="lstm", projection_size=2),
    }
    drawing = place.function.startswith(
        ("distributed", "dropout", "executors", "memory")
    )  # any network is valid
    own: list[Value] = [
        Value(label, of(other), "taken" if drawing else "misfit") for label, other in others.items()
    ]
    own += [
        Value("batch first", of(small(batch_first=True)), "taken"),
        Value("its class", of(prnn.RNN)),
        Value("a little like one", of(Like()), "misfit"),
        Value("a cell", of(prnn.cells.GRU())),
    ]
    return junk() + own


@kind("cell")
def cell(place: Place) -> list[Value]:
    class Half:
        gates = states = 1

        def step(self) -> None: ...

    class NoSizes(prnn.cells.MGU):
        gates = "four"

    class Negative(prnn.cells.MGU):
        states = -1

    own = [
        Value("its class", of(prnn.cells.GRU)),
        Value("half of one", of(Half())),
        Value("gates of text", of(NoSizes())),
        Value("-1 states", of(Negative())),
        Value("a name with unknown options", of({"name": "lstm", "pipes": True})),
        Value("a number as name", of({"name": 1})),
        Value("a list as name", of({"name": []})),
        Value("a wrong option", of({"name": "lstm", "peepholes": "yes"}), "misfit"),
        Value("an option of number as name", of({"name": "lstm", 1: 2})),
        Value("'GRU'", of("GRU")),
    ]
    return junk() + own


@kind("nonlinearity")
def nonlinearity(place: Place) -> list[Value]:
    bad = ("Tanh", ("tanh", 1.0), ("elu", "0.5"), ("elu", math.nan), ("elu", True), (1, 2))
    more = (("elu", 1.0, 2.0), ("elu", None), ([], 1), ("elu", math.inf), ("elu", 10**400))
    own = [Value(f"{value!r:.30}", of(value)) for value in (*bad, *more)]
    return junk() + own + [Value("('elu', 1)", of(("elu", 1)), "taken")]


@kind("activations")
def activations(place: Place) -> list[Value]:
    many = len(place.value)
    own = [
        Value(f"{v.label} among them", lambda v=v: ("tanh",) * (many - 1) + (v.make(),), v.verdict)
        for v in nonlinearity(place)
    ]
    more = [Value("one too many", of(("tanh",) * (many + 1))), Value("one text", of("tanh"))]
    return junk() + own + more


@kind("loss")
def loss(place: Place) -> list[Value]:
    right = prnn.losses.softmax_cross_entropy

    def returning(change: Callable[..., Any]) -> Callable[..., Any]:
        return lambda outputs, targets, **options: change(*right(outputs, targets, **options))

    wrong: dict[str, Callable[..., Any]] = {
        "nothing": lambda value, d: None,
        "a number": lambda value, d: 0.5,
        "a list": lambda value, d: [value, d],
        "three": lambda value, d: (value, d, d),
        "no gradient": lambda value, d: (value, None),
        "a gradient of another shape": lambda value, d: (value, d[:, :1, ...]),
        "a gradient in a list": lambda value, d: (value, [d]),
        "a gradient of NumPy's dates": lambda value, d: (value, np.zeros(3, "datetime64[s]")),
        "a value of None": lambda value, d: (None, d),
        "a value of text": lambda value, d: ("0.5", d),
        "a value of two axes": lambda value, d: (d[0, ...], d),
    }
    own = [Value(f"returns {label}", of(returning(f))) for label, f in wrong.items()]
    own += [
        Value("of outputs alone", of(lambda outputs: None)),
        Value("of three", of(lambda outputs, targets, more: None)),
        Value("the class dict", of(dict)),
        Value("mean_squared_error", of(prnn.losses.mean_squared_error), "misfit"),
    ]
    return junk() + own


@kind("loss of numbers too")
def loss_of_numbers_too(place: Place) -> list[Value]:
    right = "mean_squared_error"
    return [v._replace(verdict="taken") if v.label == right else v for v in loss(place)]


@kind("loss of classes")
def loss_of_classes(place: Place) -> list[Value]:
    # That of numbers would name the targets, which are no argument there.
    return [v for v in loss(place) if v.label != "mean_squared_error"]


@kind("unknown option")
def unknown_option(place: Place) -> list[Value]:
    names = ("no_such_option", "Lengths", "loss_options", "self")
    return [Value(name, of({name: 1})) for name in names]


@kind("tape")
def tape(place: Place) -> list[Value]:
    good = place.value
    own = [Value(f"without {name}", of(good._replace(**{name: None}))) for name in good._fields] + [
        Value("of Forward", lambda: prnn.forward(small(), place.valid.params, place.valid.x)),
        Value("a plain tuple", of(tuple(good))),
        Value("of no stack_tapes", of(good._replace(stack_tapes=()))),
        Value("of another x", lambda: good._replace(x=place.valid.array(7, 2, 3))),
    ]
    # Not all calls have a memory budget or tokens. Another x may be of a pass over more steps.
    verdicts: dict[str, Verdict] = {"without segments": "taken", "without tokens": "taken"}
    verdicts["of another x"] = "misfit"
    return junk() + [v._replace(verdict=verdicts.get(v.label, v.verdict)) for v in own]


@kind("dropout")
def dropout(place: Place) -> list[Value]:
    drawn = prnn.dropout.draw(place.valid.dropping, place.valid.x, 0)
    own = [
        Value("negative in a tuple", of((1, -1))),
        Value("text in a tuple", of((1, "a"))),
        Value("a list of seeds", of([1, 2])),
        Value("no masks", of(prnn.dropout.Masks())),
        Value("a plain tuple of masks", of(tuple(drawn))),
        *(Value(f"{n} None", of(drawn._replace(**{n: None}))) for n in drawn._fields),
        *(Value(f"{n} text", of(drawn._replace(**{n: ("a",)}))) for n in drawn._fields),
        *(
            Value(f"{n} once more", of(drawn._replace(**{n: getattr(drawn, n) * 2})))
            for n in drawn._fields
        ),
        Value(
            "masks of another length",
            lambda: prnn.dropout.draw(place.valid.dropping, place.valid.array(9, 2, 3), 0),
        ),
    ]
    taken = ("None", "False", "0", "1", "NumPy's 1", "2**31", "2**62", "10**300")
    return junk(taken=taken) + own


@kind("seed of masks")
def seed_of_masks(place: Place) -> list[Value]:
    own = [
        Value("negative in a tuple", of((1, -1))),
        Value("text in a tuple", of((1, "a"))),
        Value("a list of seeds", of([1, 2])),
    ]
    return junk(taken=("0", "1", "NumPy's 1", "2**31", "2**62", "10**300")) + own


@kind("budget")
def budget(place: Place) -> list[Value]:
    texts = ("64 parsecs", "MiB", "-1 MiB", "nan", "1e3 MiB", "64 MiB MiB", "1 B", "٣ MiB", "0")
    own = [Value(repr(text), of(text)) for text in texts]
    own += [Value("too many digits", of("9" * 400 + " GiB"), "taken")]
    own += [Value("'64 MiB'", of("64 MiB"), "taken"), Value("'0.9 GiB'", of(".9 GiB"), "taken")]
    if place.function != "memory.plan":
        given = prnn.memory.plan(place.valid.dropping, 5, 2)
        own += [
            Value("a plan of its own", of(given), "taken"),
            Value("a plan for more steps", of(prnn.memory.plan(place.valid.dropping, 6, 2))),
            Value("a plan for another", of(prnn.memory.plan(place.valid.model, 5, 2))),
            *(
                Value(
                    f"a plan with {name} {label}",
                    of(dataclasses.replace(given, **{name: value})),
                )
                for name in ("segment_rows", "checkpoints", "chunk_rows", "segments")
                for label, value in (("-1", -1), ("None", None), ("text", "a"), ("1.5", 1.5))
            ),
        ]
    return junk(taken=("None", "2**31", "2**62", "1", "NumPy's 1", "10**300")) + own
