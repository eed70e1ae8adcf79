"""Arrays, and dicts and lists of them."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from array_api_compat import is_array_api_obj as is_array

from .scalars import number_of_steps
from .values import FaultyRepr, Place, Value, Verdict, junk, kind, of


def arrays(place: Place, value: Any, *, dtypes: Verdict = "misfit") -> list[Value]:
    """Return values that are almost valid arrays."""
    valid, row = place.valid, place.valid.row
    host = row.get(value)

    def put(array: Any) -> Callable[[], Any]:
        return lambda: row.put(array)

    found = [
        Value("a further axis", put(host[None]), "misfit"),
        Value("a list", of(host.tolist())),
        Value("a tuple of arrays", lambda: (row.put(host), row.put(host))),
    ]
    if valid.other:
        found.append(Value("of another library", lambda: valid.other.put(host), "misfit"))
    if host.ndim:
        found.append(Value("one axis less", put(host[0]), "misfit"))
    for i in range(host.ndim):
        found.append(Value(f"axis {i} doubled", put(np.concatenate([host] * 2, i)), "misfit"))
        found.append(Value(f"axis {i} empty", put(np.take(host, [], axis=i)), "misfit"))
    for name in ("float32", "float64", "complex128", "int64", "uint8", "bool", "float16"):
        if name != host.dtype.name and (name != "float16" or name in row.dtypes):
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
            found.append(Value("a matrix", lambda: np.asmatrix(host)))
    return found


# Functions of outputs and labels, where there may be any number of classes.
OF_LABELS = (
    "losses.ctc",
    *(f"metrics.{name}" for name in ("Accuracy", "TopKAccuracy", "F1", "Perplexity")),
)


@kind("floating array")
def floating_array(place: Place) -> list[Value]:
    # Floating arrays of another shape are valid, but do not fit the others.
    fine = ["axis 0 doubled"] if place.function != "losses.ctc_greedy_decode" else []
    if place.function.startswith(OF_LABELS):
        fine += ["axis 2 doubled"]  # more classes
    if place.function.startswith("dropout"):  # which takes any batch and dtype
        fine += ["axis 1 doubled", "one axis less", "float32", "float64", "complex128", "float16"]
        fine += ["of another library"] if place.function.endswith("draw") else []
    return junk(misfit=("an array of one", "an empty array")) + [
        v._replace(verdict="taken") if v.label in fine else v for v in arrays(place, place.value)
    ]


@kind("optional array")
def optional_array(place: Place) -> list[Value]:
    value = place.valid.x if place.value is None else place.value
    weights = place.argument == "weights"
    found = junk(taken=("None",)) + arrays(place, value)
    return [
        v._replace(verdict="taken") if weights and v.label == "bool" else v for v in found
    ]  # a mask is valid as weights of steps


@kind("any array")
def any_array(place: Place) -> list[Value]:
    numpys = ("NumPy's scalar array", "an array of one", "an empty array", "NumPy's 0.5")
    more = ("NumPy's 1", "NumPy's True", "an array of dates", "a string array")
    odd = ("a structured array", "an object array")
    own = [  # of any shape and library; NumPy's scalars are arrays of shape ()
        v._replace(verdict="taken")
        if v.verdict == "misfit" or v.label == "a scalar of NumPy"
        else v
        for v in arrays(place, place.value, dtypes="taken")
    ]
    return junk(taken=(*numpys, *more, *odd)) + own


@kind("kept array")
def kept_array(place: Place) -> list[Value]:
    """An array that is cut into parts, and checked when it is used."""
    own = arrays(place, place.value, dtypes="taken")
    odd = ("of objects", "of texts")
    fits = {
        "ragged.unpack": ("of another library",),
        "batches.Chunked": ("of another library", "a matrix"),  # they are read as NumPy's
    }.get(place.function, ())
    own = [
        v._replace(verdict="taken") if v.label.startswith("axis") or v.label in fits else v
        for v in own
    ]
    misfit = ["an array of one", "an empty array", "a masked array"]
    if place.valid.row.library != "numpy":
        misfit += [v.label for v in junk() if is_array(v.make())]  # of another library
    found = junk(misfit=misfit) + own
    if place.argument == "weights":
        found = [v._replace(verdict="taken") if v.label == "None" else v for v in found]
    return [v._replace(verdict="refused") if v.label in odd else v for v in found]


@kind("array of any floating dtype")
def any_floating_array(place: Place) -> list[Value]:
    fine = ["float16", "float32", "float64", "complex128"]
    if place.function.startswith("embed"):  # vectors of any size
        fine += ["axis 2 doubled" if place.argument == "d_vectors" else "axis 1 doubled"]
    return [v._replace(verdict="taken") if v.label in fine else v for v in floating_array(place)]


@kind("labels")
def labels(place: Place) -> list[Value]:
    fine = ("uint8", "int64", "of the other byte order", "a scalar of NumPy")
    own = [
        v._replace(verdict="taken") if v.label in fine or "axis" in v.label else v
        for v in arrays(place, place.value, dtypes="refused")
    ]
    return junk(taken=("NumPy's 1",)) + own  # NumPy's scalars are arrays of shape ()


@kind("targets")
def targets(place: Place) -> list[Value]:
    if place.valid.row.get(place.value).dtype.kind == "f":
        return junk() + arrays(place, place.value)
    put = place.valid.row.put
    low = Value("below 0", lambda: put(np.full((5, 2), -1)), "taken")
    high = Value("above the classes", lambda: put(np.full((5, 2), 10**6)), "taken")
    own = [
        v._replace(verdict="taken")
        if v.label in ("uint8", "int64", "of the other byte order")
        else v
        for v in arrays(place, place.value)
    ]
    return junk() + own + [low, high]


@kind("labels in order")
def labels_in_order(place: Place) -> list[Value]:
    fine = ("uint8", "int64", "axis 1 doubled", "of the other byte order")
    own = [
        v._replace(verdict="taken") if v.label in fine else v for v in arrays(place, place.value)
    ]
    put = place.valid.row.put
    host = place.valid.row.get(place.value)
    wrong = {"the blank": 0 * host, "above the classes": host + 10**6}
    own += [Value(label, lambda array=array: put(array)) for label, array in wrong.items()]
    return junk() + own


@kind("state")
def state(place: Place) -> list[Value]:
    parts = place.value if isinstance(place.value, tuple) else (place.value,)
    alone = place.function in ("stream", "streaming.Stream")  # before there is a batch to fit
    own = [Value("three parts", of((parts[0],) * 3)), Value("no parts", of(()))]
    own += [Value("a text in a pair", of((parts[0], "state")))]
    if len(parts) == 1:
        own += [v for v in arrays(place, parts[0]) if v.label != "a tuple of arrays"]
    else:
        own += [
            Value(f"a pair with {v.label}", lambda v=v: (parts[0], v.make()), v.verdict)
            for v in arrays(place, parts[1])
        ]
    if alone:
        own = [v._replace(verdict="taken") if v.label == "axis 1 doubled" else v for v in own]
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
    return junk(taken=("None",) if place.argument.endswith("lengths") else ()) + own


@kind("mask")
def mask(place: Place) -> list[Value]:
    shape = (2,) if place.function.endswith(".step") else (5, 2)
    given = place.valid.row.put(np.ones(shape, dtype=bool))
    other = place.valid.other
    ours = other is not None and other.library == "numpy"  # a mask may always be NumPy's
    return junk(taken=("None",)) + [
        v._replace(verdict="taken") if ours and v.label == "of another library" else v
        for v in arrays(place, given)
    ]


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
    if place.function.startswith(("serialization", "optimizers")):
        # NumPy's scalars are arrays of shape (), which others may not fit.
        scalars = [f"NumPy's {label} in it" for label in ("True", "1", "0.5")]
        scalars += ["a scalar of NumPy in it"]
        own = [v._replace(verdict="misfit") if v.label in scalars else v for v in own]
    if place.function.startswith(("serialization", "optimizers.clip")):  # any names, and shapes
        own = [v._replace(verdict="taken") if v.verdict == "misfit" else v for v in own]
    if place.function == "vector_to_parameters":  # any shapes of that size
        fine = ("a further axis in it",)
        own = [v._replace(verdict="taken") if v.label in fine else v for v in own]
        own = [v for v in own if v.label != "a scalar of NumPy in it"]  # of another size
    if place.function == "parameters_to_vector":  # any names of text, and shapes
        fine = ("one missing", "one more", "a further axis in it", "one axis less in it")
        fine += ("a scalar of NumPy in it",)
        fine += tuple(f"axis {i} empty in it" for i in range(2))
        own = [
            v._replace(verdict="taken") if v.label in fine or "doubled" in v.label else v
            for v in own
            if "number as name" not in v.label
        ] + [Value("a number as name", of(good | {1: good[name]}))]
    if place.function.startswith("serialization"):  # a file names its arrays by texts
        own = [v._replace(verdict="refused") if "number as name" in v.label else v for v in own]
        own += [Value("a reserved name", of(good | {"__metadata__": good[name]}))]
        return junk(taken=("{}",)) + own
    return junk(misfit=("{}",)) + own


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
        Value("a number and an array", lambda: [put(first), 1]),
        Value("no rank", lambda: [put(np.asarray(1.0)), put(first)]),
        Value("other features", lambda: [put(first), put(np.ones((2, 7)))]),
        Value("other ranks", lambda: [put(first), put(np.ones(2))]),
        Value("other dtypes", lambda: [put(first), put(first.astype("float32"))]),
        Value("other libraries", lambda: [put(first), np.ma.masked_array(first, first > 0)]),
        Value("without a step", lambda: [put(first[:0]), put(first[:0])], "taken"),
        Value("a generator of arrays", lambda: (put(first) for _ in range(2))),
        Value("one array", lambda: put(np.ones((2, 3, 4)))),
        Value("a dict", lambda: {"a": put(first)}),
        Value("a faulty one among them", lambda: [put(first), FaultyRepr()]),
    ]
    return junk() + own
