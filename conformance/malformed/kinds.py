"""What may be wrong with an argument of each kind.

A `Value` is made for a place: the valid arguments of one call, on one row. Its verdict says what
is right: "refused" by the name of the argument; "misfit", which is wrong beside other arguments,
and refused by the name of any of them; or "taken", and if it is refused after all, by some name.
"""

import bisect
import dataclasses
import decimal
import fractions
import math
from collections.abc import Callable, Iterable
from typing import Any, Literal, NamedTuple

import numpy as np

import portable_rnn as prnn
from portable_rnn.batches import Batch

from .valid import Valid

__all__ = ["KINDS", "Place", "Value"]

Verdict = Literal["refused", "misfit", "taken"]


class Value(NamedTuple):
    """A value in the place of a valid one."""

    label: str
    make: Callable[[], Any]
    verdict: Verdict = "refused"


class Place(NamedTuple):
    """An argument of one valid call."""

    valid: Valid
    function: str
    argument: str
    value: Any  # the valid one, if the call has any


Kind = Callable[[Place], list[Value]]
KINDS: dict[str, Kind] = {}


class FaultyRepr:
    """What cannot be shown."""

    def __repr__(self) -> str:
        raise RuntimeError("no text for this")


class Faulty(FaultyRepr):
    """What fails whatever one asks of it, but for its type."""

    def fail(self, *args: Any) -> Any:
        raise RuntimeError("whoever asks, fails")

    __bool__ = __len__ = __iter__ = __eq__ = __int__ = __float__ = __index__ = fail
    __getitem__ = __array__ = __str__ = __lt__ = __gt__ = __le__ = __ge__ = fail
    __hash__ = object.__hash__


class Empty:
    """A class that is made of nothing."""

    def __init__(self) -> None: ...


class Duck:
    """Half an array."""

    shape, dtype, ndim = (5, 2, 3), np.dtype("float64"), 3


JUNK: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "True": lambda: True,
    "False": lambda: False,
    "NumPy's True": lambda: np.True_,
    "0": lambda: 0,
    "1": lambda: 1,
    "-1": lambda: -1,
    "NumPy's 1": lambda: np.int32(1),
    "0.5": lambda: 0.5,
    "1.5": lambda: 1.5,
    "NumPy's 0.5": lambda: np.float32(0.5),
    "a fraction": lambda: fractions.Fraction(1, 2),
    "a decimal": lambda: decimal.Decimal("0.5"),
    "nan": lambda: math.nan,
    "inf": lambda: math.inf,
    "-inf": lambda: -math.inf,
    "2**31": lambda: 2**31,
    "2**62": lambda: 2**62,
    "-2**63": lambda: -(2**63),
    "10**300": lambda: 10**300,
    "10**5000": lambda: 10**5000,  # more digits than Python prints
    "1e300": lambda: 1e300,
    "1j": lambda: 1j,
    "''": lambda: "",
    "'text'": lambda: "text",
    "'1'": lambda: "1",
    "a lone surrogate": lambda: "\ud800",
    "b'bytes'": lambda: b"bytes",
    "[]": lambda: [],
    "()": lambda: (),
    "{}": lambda: {},
    "[1, 'a']": lambda: [1, "a"],
    "nested lists": lambda: [[0.0, 1.0], [2.0]],
    "a set": lambda: {1, 2},
    "an object": object,
    "a generator": lambda: (n for n in range(3)),
    "a class": lambda: Empty,
    "a module": lambda: bisect,
    "a function of nothing": lambda: lambda: None,
    "a faulty repr": FaultyRepr,
    "a faulty object": Faulty,
    "half an array": Duck,
    "NumPy's scalar array": lambda: np.asarray(0.5),
    "an array of one": lambda: np.ones(1),
    "an empty array": lambda: np.ones((0, 3)),
    "a string array": lambda: np.asarray(["a", "b"]),
    "an object array": lambda: np.asarray([None, "b"], dtype=object),
    "an array of dates": lambda: np.zeros(3, "datetime64[s]"),
    "a structured array": lambda: np.zeros(3, [("a", "f8"), ("b", "i4")]),
    "a masked array": lambda: np.ma.masked_array(np.ones(3), [0, 1, 0]),
}
NUMBERS = {"0.5", "NumPy's 0.5", "a fraction", "a decimal", "NumPy's scalar array"}
LARGE = {"1e300", "2**31", "2**62", "10**300", "-2**63"}


def kind(*names: str) -> Callable[[Kind], Kind]:
    def add(make: Kind) -> Kind:
        KINDS.update(dict.fromkeys(names, make))
        return make

    return add


def junk(taken: Iterable[str] = (), misfit: Iterable[str] = ()) -> list[Value]:
    """Return what suits nobody; ``taken`` suits this kind."""
    assert {*taken, *misfit} <= JUNK.keys()
    verdicts: dict[str, Verdict] = dict.fromkeys(misfit, "misfit") | dict.fromkeys(taken, "taken")
    return [Value(label, make, verdicts.get(label, "refused")) for label, make in JUNK.items()]


def optional(make: Kind) -> Kind:
    """Return the kind of what may be None as well."""
    return lambda place: [
        value._replace(verdict="taken") if value.label == "None" else value for value in make(place)
    ]


def of(value: Any) -> Callable[[], Any]:
    return lambda: value


# Scalars


@kind("flag")
def flag(place: Place) -> list[Value]:
    return junk(taken=("True", "False", "NumPy's True"))


@kind("count")
def count(place: Place) -> list[Value]:
    return junk(taken=("1", "NumPy's 1", "2**31", "2**62"))


@kind("number of steps")
def number_of_steps(place: Place) -> list[Value]:
    return junk(taken=("0", "1", "NumPy's 1", "2**31", "2**62"))


@kind("integer")
def integer(place: Place) -> list[Value]:
    return junk(taken=("0", "1", "-1", "NumPy's 1", "2**31", "2**62", "-2**63", "10**300"))


@kind("axis")
def axis(place: Place) -> list[Value]:
    return junk(taken=("0", "1", "NumPy's 1"))


@kind("chance")
def chance(place: Place) -> list[Value]:
    return junk(taken={"0", *NUMBERS})


@kind("share")
def share(place: Place) -> list[Value]:
    return junk(taken={"0", "1", "NumPy's 1", *NUMBERS})


@kind("number of at least 0")
def number(place: Place) -> list[Value]:
    return junk(taken={"0", "1", "NumPy's 1", "1.5", "inf", *NUMBERS, *LARGE - {"-2**63"}})


@kind("bound")
def bound(place: Place) -> list[Value]:
    return optional(number)(place)


@kind("learning rate")
def learning_rate(place: Place) -> list[Value]:
    zero = place.valid.row.put(np.asarray(0.5))
    own = [
        Value("a scalar array", of(zero), "taken"),
        Value("an array of two", lambda: place.valid.row.put(np.ones(2))),
    ]
    return number(place) + own


@kind("rate or schedule")
def rate_or_schedule(place: Place) -> list[Value]:
    own = [
        Value(f"a schedule that returns {label}", lambda value=value: lambda step: value)
        for label, value in (
            *(("None", None), ("nan", math.nan), ("text", "0.1"), ("-1", -1.0)),
            *(("a list", [0.1]), ("inf", math.inf), ("an array", np.ones(2))),
        )
    ]
    more = [Value("a schedule of two", lambda: lambda step, other: 0.1)]
    return number(place) + own + more


@kind("betas")
def betas(place: Place) -> list[Value]:
    pairs = [(0.9,), (0.9, 0.9, 0.9), (1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (0.9, math.nan)]
    more = [("0.9", "0.9"), (True, 0.9), (0.9, None), {0.9, 0.8}, {"a": 0.9, "b": 0.9}]
    own = [Value(repr(pair), of(pair)) for pair in (*pairs, *more)]
    return junk() + own + [Value("a list", of([0.9, 0.99]), "taken")]


@kind("reduction")
def reduction(place: Place) -> list[Value]:
    return junk() + [Value("'mean'", of("mean"), "taken"), Value("'none'", of("none"))]


@kind("choice of targets")
def choice_of_targets(place: Place) -> list[Value]:
    return junk() + [Value("'general'", of("general"), "taken")]


@kind("text")
def text(place: Place) -> list[Value]:
    return junk(taken=("''", "'text'", "'1'", "a lone surrogate"))


@kind("dtype")
def dtype(place: Place) -> list[Value]:
    names = ("float16", "float32", "complex128")
    own = [Value(name, of(name), "taken") for name in names]
    own += [Value(name, of(name)) for name in ("int64", "bool", "object", "S4", "f8,i4", "sum")]
    # NumPy's name of a dtype may be that of another thing.
    return junk(taken=("a class",)) + own + [Value("NumPy's float64", of(np.float64), "taken")]


@kind("device")
def device(place: Place) -> list[Value]:
    return optional(lambda place: junk())(place)


@kind("namespace")
def namespace(place: Place) -> list[Value]:
    other = place.valid.other.xp
    return junk() + [Value("a module of another library", of(other), "misfit")]


@kind("optional namespace")
def optional_namespace(place: Place) -> list[Value]:
    return [v._replace(verdict="taken") if v.label != "a module" and v.verdict == "misfit" else v
            for v in optional(namespace)(place)]


@kind("path")
def path(place: Place) -> list[Value]:
    folder = place.valid.folder
    (garbage := folder / "garbage.npz").write_bytes(b"garbage")
    own = [
        Value("a folder", of(folder)),
        Value("nothing there", lambda: place.valid.path(), "taken"),
        Value("in no folder", of(folder / "none" / "file.npz")),
        Value("a file in place of a folder", of(garbage / "file")),
        Value("too long a name", of(folder / ("a" * 300))),
        Value("another suffix", lambda: place.valid.path("a.pickle"), "taken"),
        Value("with a null", of(f"{folder}/a\0b")),
    ]
    reads = place.function.rpartition(".")[2] in ("load_arrays", "load_weights", "read", "train")
    own += [Value("garbage", lambda: garbage, "refused" if reads else "taken")]
    return junk(taken=("'text'", "'1'", "a lone surrogate")) + own


@kind("paths")
def paths(place: Place) -> list[Value]:
    return junk(taken=("[]", "()", "{}")) + [Value("a list of None", of([None]))]


# Arrays


def arrays(place: Place, value: Any, *, dtypes: Verdict = "misfit") -> list[Value]:
    """Return what is almost a valid array."""
    valid, row = place.valid, place.valid.row
    host = row.get(value)

    def put(array: Any) -> Callable[[], Any]:
        return lambda: row.put(array)

    found = [
        Value("a further axis", put(host[None]), "misfit"),
        Value("a list", of(host.tolist())),
        Value("of another library", lambda: valid.other.put(host), "misfit"),
        Value("a tuple of arrays", lambda: (row.put(host), row.put(host))),
    ]
    if host.ndim:
        found.append(Value("one axis less", put(host[0]), "misfit"))
    for i in range(host.ndim):
        found.append(Value(f"axis {i} doubled", put(np.concatenate([host] * 2, i)), "misfit"))
        found.append(Value(f"axis {i} empty", put(np.take(host, [], axis=i)), "misfit"))
    for name in ("float32", "float64", "complex128", "int64", "uint8", "bool", "float16"):
        if name != host.dtype.name:
            given = host.real if host.dtype.kind == "c" else host
            found.append(Value(name, put(given.astype(name)), dtypes))
    if host.dtype.kind == "f":
        found.append(Value("of nan", put(np.full_like(host, np.nan)), "taken"))
    if row.library == "numpy":
        swapped = host.astype(host.dtype.newbyteorder())
        locked = host.copy()
        locked.flags.writeable = False
        found += [
            Value("read-only", of(locked), "taken"),
            Value("a masked array like it", of(np.ma.masked_array(host, host != host[:1]))),
            Value("of objects", of(host.astype(object))),
            Value("of texts", of(host.astype(str))),
            Value("in another order", of(np.asfortranarray(host)), "taken"),
            Value("a scalar of NumPy", of(host.reshape(-1)[0])),
        ]
        if host.dtype.itemsize > 1:
            found.append(Value("of the other byte order", of(swapped), dtypes))
        if host.ndim == 2:
            found.append(Value("a matrix", of(np.asmatrix(host))))
    return found


@kind("floating array")
def floating_array(place: Place) -> list[Value]:
    # An array by itself is one, of the wrong shape or library: others may be named for it.
    return junk() + [
        v._replace(verdict="taken") if v.label == "axis 0 doubled" else v
        for v in arrays(place, place.value)
    ]


@kind("optional array")
def optional_array(place: Place) -> list[Value]:
    value = place.valid.x if place.value is None else place.value
    weights = "weights" == place.argument
    found = junk(taken=("None",)) + arrays(place, value)
    return [
        v._replace(verdict="taken") if weights and v.label == "bool" else v for v in found
    ]  # of steps, a mask will do


@kind("any array")
def any_array(place: Place) -> list[Value]:
    numpys = ("NumPy's scalar array", "an array of one", "an empty array", "NumPy's 0.5")
    more = ("NumPy's 1", "NumPy's True", "an array of dates", "a string array")
    odd = ("a structured array", "an object array")
    return junk(taken=(*numpys, *more, *odd)) + arrays(place, place.value, dtypes="taken")


@kind("labels")
def labels(place: Place) -> list[Value]:
    own = [
        v._replace(verdict="taken") if v.label in ("uint8", "int64") or "axis" in v.label else v
        for v in arrays(place, place.value, dtypes="refused")
    ]
    return junk() + own


@kind("targets")
def targets(place: Place) -> list[Value]:
    if place.valid.row.get(place.value).dtype.kind == "f":
        return junk() + arrays(place, place.value)
    put = place.valid.row.put
    low = Value("below 0", lambda: put(np.full((5, 2), -1)), "taken")
    high = Value("above the classes", lambda: put(np.full((5, 2), 10**6)), "taken")
    own = [
        v._replace(verdict="taken") if v.label in ("uint8", "int64") else v
        for v in arrays(place, place.value)
    ]
    return junk() + own + [low, high]


@kind("state")
def state(place: Place) -> list[Value]:
    parts = place.value if isinstance(place.value, tuple) else (place.value,)
    own = [Value("three parts", of((parts[0],) * 3)), Value("no parts", of(()))]
    own += [Value("a text in a pair", of((parts[0], "state")))]
    if len(parts) == 1:
        own += [v for v in arrays(place, parts[0]) if v.label != "a tuple of arrays"]
    else:
        own += [
            Value(f"a pair with {v.label}", lambda v=v: (parts[0], v.make()), v.verdict)
            for v in arrays(place, parts[1])
        ]
    return junk(taken=("None",)) + own


@kind("lengths")
def lengths(place: Place) -> list[Value]:
    bad = ([-1, 2], [9, 2], [2], [1, 2, 2], [1.0, 2.0], ["1", "2"], [True, True], [[1, 2]])
    worse = ([None, 2], [10**300, 2], [math.nan, 1], [[1], [2, 3]], (n for n in (1, 2)), {1, 2})
    own = [Value(f"{value!r:.20}", of(value)) for value in (*bad, *worse) if place.value]
    own += [
        Value("a masked array of ints", of(np.ma.masked_array([1, 2], [0, 1]))),
        Value("an array of floats", lambda: place.valid.row.put(np.ones(2))),
        Value("two axes", lambda: place.valid.row.put(np.ones((2, 1), np.int64))),
        Value("a range", of(range(2)), "taken"),
    ]
    return junk(taken=("None",) if place.argument == "lengths" else ()) + own


@kind("mask")
def mask(place: Place) -> list[Value]:
    shape = (2,) if place.function.endswith(".step") else (5, 2)
    given = place.valid.row.put(np.ones(shape, dtype=bool))
    return junk(taken=("None",)) + arrays(place, given)


@kind("dict of arrays")
def dict_of_arrays(place: Place) -> list[Value]:
    good = dict(place.value)
    name = next(iter(good))
    own = [
        Value("pairs", of(list(good.items()))),
        Value("one missing", of({n: a for n, a in good.items() if n != name}), "misfit"),
        Value("one more", of(good | {"more": good[name]}), "misfit"),
        Value("a number as name", of(good | {1: good[name]}), "misfit"),
        Value("a class of dicts", of(dict)),
    ]
    own += [
        Value(f"{v.label} in it", lambda v=v: good | {name: v.make()}, v.verdict)
        for v in (*arrays(place, good[name]), *junk())
        if v.label not in ("an array of one", "an empty array", "NumPy's scalar array")
    ]
    if place.function.startswith("serialization"):  # any names, and any shapes
        own = [
            v._replace(verdict="taken") if v.verdict == "misfit" and " as " not in v.label else v
            for v in own
        ]
    taken = ("{}",) if place.argument != "params" else ()
    return junk(taken=taken) + own


@kind("direction")
def direction(place: Place) -> list[Value]:
    found = [
        v._replace(verdict="taken") if v.label == "one missing" else v
        for v in dict_of_arrays(place)
    ]
    return [v._replace(verdict="refused") if v.label == "{}" else v for v in found]


@kind("state of an optimizer")
def state_of_an_optimizer(place: Place) -> list[Value]:
    good = place.value
    slot = next(n for n in good if n != "step")
    name = next(iter(good[slot]))
    own = [
        Value(f"step {v.label}", lambda v=v: good | {"step": v.make()}, v.verdict)
        for v in number_of_steps(place)
    ]
    own += [Value(f"slot {v.label}", lambda v=v: good | {slot: v.make()}) for v in junk()]
    own += [
        Value(f"{v.label} in a slot", lambda v=v: good | {slot: good[slot] | {name: v.make()}})
        for v in arrays(place, good[slot][name])
        if v.verdict != "taken"
    ]
    own += [
        Value("another slot", of(good | {"more": good[slot]})),
        Value("no step", of({slot: good[slot]})),
        Value("no slot", of({"step": good["step"]})),
    ]
    return junk(taken=("None",)) + own


@kind("sequences")
def sequences(place: Place) -> list[Value]:
    first = place.valid.row.get(place.value[0])
    put = place.valid.row.put
    own = [
        Value("numbers", of([1, 2])),
        Value("a number beside an array", lambda: [put(first), 1]),
        Value("no rank", lambda: [put(np.asarray(1.0)), put(first)]),
        Value("other features", lambda: [put(first), put(np.ones((2, 7)))]),
        Value("other ranks", lambda: [put(first), put(np.ones(2))]),
        Value("other dtypes", lambda: [put(first), put(first.astype("float32"))]),
        Value("other libraries", lambda: [put(first), place.valid.other.put(first)]),
        Value("without a step", lambda: [put(first[:0]), put(first[:0])], "taken"),
        Value("a generator of arrays", lambda: (put(first) for _ in range(2))),
        Value("one array", lambda: put(np.ones((2, 3, 4)))),
        Value("a dict", lambda: {"a": put(first)}),
        Value("a faulty one among them", lambda: [put(first), Faulty()]),
    ]
    return junk() + own


# Networks


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
    drawing = place.function.startswith(("dropout", "memory"))  # which take any network
    own: list[Value] = [
        Value(label, of(other), "taken" if drawing else "misfit")
        for label, other in others.items()
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
        "a gradient of another shape": lambda value, d: (value, d[:, :1]),
        "a gradient in a list": lambda value, d: (value, [d]),
        "a gradient of NumPy's dates": lambda value, d: (value, np.zeros(3, "datetime64[s]")),
        "a value of None": lambda value, d: (None, d),
        "a value of text": lambda value, d: ("0.5", d),
        "a value of two axes": lambda value, d: (d[0], d),
    }
    own = [Value(f"returns {label}", of(returning(f))) for label, f in wrong.items()]
    own += [
        Value("of outputs alone", of(lambda outputs: None)),
        Value("of three", of(lambda outputs, targets, more: None)),
        Value("mean_squared_error", of(prnn.losses.mean_squared_error), "misfit"),
    ]
    return junk() + own


@kind("unknown option")
def unknown_option(place: Place) -> list[Value]:
    names = ("no_such_option", "Lengths", "k1", "loss_options", "self")
    return [Value(name, of({name: 1})) for name in names]


@kind("tape")
def tape(place: Place) -> list[Value]:
    good = place.value
    own = [
        Value(f"without {name}", of(good._replace(**{name: None}))) for name in good._fields
    ] + [
        Value("of Forward", lambda: prnn.forward(small(), place.valid.params, place.valid.x)),
        Value("a plain tuple", of(tuple(good))),
        Value("without passages", of(good._replace(passages=()))),
        Value("of another x", lambda: good._replace(x=place.valid.array(7, 2, 3))),
    ]
    # Units and masks may well be None: a tape without them is one of a pass without.
    return junk() + [
        v._replace(verdict="taken") if v.label in ("without units", "without masks") else v
        for v in own
    ]


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
        *(Value(f"{n} once more", of(drawn._replace(**{n: getattr(drawn, n) * 2})))
          for n in drawn._fields),
        Value("masks of another length", lambda: prnn.dropout.draw(
            place.valid.dropping, place.valid.array(9, 2, 3), 0)),
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
                for name in ("unit_rows", "slots", "stretch_rows", "units")
                for label, value in (("-1", -1), ("None", None), ("text", "a"), ("1.5", 1.5))
            ),
        ]
    return junk(taken=("None", "2**31", "2**62", "1", "NumPy's 1", "10**300")) + own


# Training


@kind("source")
def source(place: Place) -> list[Value]:
    good = place.value

    class Own:
        steps_per_epoch = 2

        def batch(self, step: int) -> Batch:
            return good.batch(step)

        def describe(self) -> dict[str, Any]:
            return {"kind": "own"}

    def without(name: str) -> Any:
        kept = {n: f for n, f in vars(Own).items() if n not in (name, "__dict__", "__weakref__")}
        return type("Own", (), kept)()

    def changed(**members: Any) -> Callable[[], Any]:
        return lambda: type("Own", (Own,), members)()

    def returning(make: Callable[[Batch], Any]) -> Callable[[], Any]:
        return changed(batch=lambda self, step: make(good.batch(step)))

    own = [
        Value("its class", of(prnn.batches.Shuffled)),
        Value("a function", of(lambda step: good.batch(step))),
        Value("one of its own", Own, "taken"),
        # Only what is saved has to be described.
        Value("without batch", lambda: without("batch")),
        Value("without describe", lambda: without("describe"), "taken"),
        Value("without steps_per_epoch", lambda: without("steps_per_epoch")),
        Value("batch is no function", changed(batch=3)),
        Value("batch of nothing", changed(batch=lambda self: None)),
        Value("batch_axis 2", changed(batch_axis=2)),
        Value("batch_axis of the other layout", changed(batch_axis=0)),
        *(
            Value(f"steps_per_epoch {label}", changed(steps_per_epoch=value))
            for label, value in (("0", 0), ("-1", -1), ("None", None), ("1.5", 1.5), ("text", "2"))
        ),
        *(
            Value(f"describes {label}", changed(describe=lambda self, value=value: value), verdict)
            for label, value, verdict in (
                ("a list", [1], "taken"),
                ("None", None, "taken"),
                ("an array", {"a": np.ones(3)}, "taken"),
            )
        ),
        Value("returns None", returning(lambda b: None)),
        Value("returns a dict", returning(lambda b: b._asdict())),
        Value("returns a plain tuple", returning(lambda b: tuple(b))),
        Value("returns a pair", returning(lambda b: (b.x, b.targets))),
    ]
    for name, kept in (("x", False), ("targets", False), ("weights", True), ("lengths", True)):
        given = place.valid.row.put(np.asarray(getattr(good.batch(0), name))) if name == "lengths" \
            else getattr(good.batch(0), name)
        for v in (*junk(), *arrays(place, given)):
            verdict: Verdict = "taken" if v.verdict == "taken" else "misfit"
            if kept and v.label == "None" or name == "lengths" and v.label == "a list":
                verdict = "taken"
            if name in ("weights", "targets", "lengths") and v.label in (
                *("bool", "int64", "uint8", "float64", "float32"),
            ):
                verdict = "taken"
            own.append(
                Value(
                    f"returns {name} {v.label}",
                    returning(lambda b, name=name, v=v: b._replace(**{name: v.make()})),
                    verdict,
                )
            )
    for v in flag(place):
        verdict = "taken" if v.verdict == "taken" else "misfit"
        own.append(
            Value(f"returns fresh {v.label}", returning(lambda b, v=v: b._replace(fresh=v.make())),
                  verdict)
        )
    return junk() + own


@kind("optional source")
def optional_source(place: Place) -> list[Value]:
    return optional(source)(place)


@kind("optimizer")
def optimizer(place: Place) -> list[Value]:
    adam = prnn.optimizers.adam

    def returning(change: Callable[..., Any]) -> Callable[..., Any]:
        def optimizer(params: Any, grads: Any, state: Any, *, lr: Any) -> Any:
            return change(*adam(params, grads, state, lr=lr))

        return optimizer

    own = [
        Value("of three alone", of(lambda params, grads, state: (params, state))),
        Value("its result", of(({}, {}))),
        Value("returns nothing", of(returning(lambda params, state: None))),
        Value("returns params", of(returning(lambda params, state: params))),
        Value("returns no params", of(returning(lambda params, state: (None, state)))),
        Value("returns fewer params", of(returning(lambda params, state: ({}, state)))),
        Value("returns three", of(returning(lambda params, state: (params, state, 1)))),
        Value("returns a state of text", of(returning(lambda params, state: (params, "state")))),
    ]
    return junk() + own


@kind("callbacks")
def callbacks(place: Place) -> list[Value]:
    class Half:
        def on_start(self, run: Any) -> None: ...

    class Wrong(prnn.training.Callback):
        def on_step(self) -> None: ...  # type: ignore[override]

    own = [
        Value("one alone", of(prnn.training.Callback())),
        Value("its class", of(prnn.training.Callback)),
        Value("a list of the class", of([prnn.training.Callback])),
        Value("a list of objects", lambda: [object()]),
        Value("a list of functions", of([lambda run: None])),
        Value("a list of half of one", lambda: [Half()]),
        Value("a method of no argument", lambda: [Wrong()]),
        Value("a generator of them", lambda: (prnn.training.Callback() for _ in "ab"), "taken"),
    ]
    return junk(taken=("[]", "()", "{}", "''", "an empty array")) + own


@kind("encode")
def encode(place: Place) -> list[Value]:
    own = [Value("of two", of(lambda x, y: x)), Value("as it is", of(lambda x: x), "taken")]
    return junk(taken=("None", "a class", "a faulty object")[:2]) + own


# The book, and texts


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
    from portable_rnn import book

    own = [
        Value("its class", of(book.Example)),
        Value("a dict", of(vars(place.value))),
        Value("of more steps", of(book.draw(steps=4)), "taken"),
    ]
    return junk() + own


@kind("quantities")
def quantities(place: Place) -> list[Value]:
    good = place.value
    from portable_rnn import book

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
    return junk(taken=("[]", "()")) + [Value("one of them", of(place.value[0]))]


@kind("progress")
def progress(place: Place) -> list[Value]:
    return junk(taken=("None",)) + [Value("of one", of(lambda done: None))]


@kind("vocabulary")
def vocabulary(place: Place) -> list[Value]:
    from portable_rnn.text import Vocabulary

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
    return junk(taken=("b'bytes'",)) + [Value("a bytearray", of(bytearray(b"a")), "taken")]


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
    return junk(taken=("[]", "()")) + own


@kind("baselines")
def baselines(place: Place) -> list[Value]:
    return junk(taken=("{}",)) + [
        Value("a text as bits", of({"xz": "2"})),
        Value("nan as bits", of({"xz": math.nan}), "taken"),
    ]


for name in ("count", "flag", "integer"):
    KINDS[f"optional {name}"] = optional(KINDS[name])
KINDS["optional direction"] = optional(direction)
