"""Flags, numbers, names and paths."""

import math

import numpy as np

from .values import LARGE, NUMBERS, Place, Value, Verdict, junk, kind, of, optional


@kind("flag")
def flag(place: Place) -> list[Value]:
    return junk(taken=("True", "False", "NumPy's True"))


# Counts for which a large number is valid, and takes accordingly long.
LONG = {
    ("training.train", "steps"),
    ("gradient_flow", "iterations"),
    ("embed_vjp", "vocabulary_size"),
    *(("beam_search", "steps"), ("beam_search", "width"), ("generate", "steps")),
    *(("attention.init", name) for name in ("query_size", "memory_size", "attention_size")),
}


@kind("count")
def count(place: Place) -> list[Value]:
    found = junk(taken=("1", "NumPy's 1", "2**31", "2**62"))
    if (place.function, place.argument) in LONG:
        return [value for value in found if value.label not in ("2**31", "2**62")]
    return found


@kind("number of steps")
def number_of_steps(place: Place) -> list[Value]:
    return junk(taken=("0", "1", "NumPy's 1", "2**31", "2**62"))


@kind("optional integer")
def optional_integer(place: Place) -> list[Value]:
    return junk(taken=("None", "0", "1", "-1", "NumPy's 1", "2**31", "2**62", "-2**63", "10**300"))


@kind("class index")
def class_index(place: Place) -> list[Value]:
    return junk(taken=("0", "1", "NumPy's 1"))


@kind("axis")
def axis(place: Place) -> list[Value]:
    return junk(taken=("0", "1", "NumPy's 1"))


@kind("chance")
def chance(place: Place) -> list[Value]:
    return junk(taken={"0", *NUMBERS})


@kind("share")
def share(place: Place) -> list[Value]:
    return junk(taken={"0", "1", "NumPy's 1", *NUMBERS})


@kind("quantile")
def quantile(place: Place) -> list[Value]:
    many = place.valid.row.get(place.valid.outputs).shape[-1]
    own = [
        Value(f"{label} for each feature", of((0.5,) * (many - 1) + (value,)))
        for label, value in (("text", "0.5"), ("1", 1.0), ("nan", math.nan), ("a list", [0.5]))
    ]
    own += [
        Value("one for each feature", of([0.5] * many), "taken"),
        Value("one too many", of((0.5,) * (many + 1))),
        Value("none", of(())),
    ]
    return junk(taken=NUMBERS) + own


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
    more = [
        Value("a schedule of two", lambda: lambda step, other: 0.1),
        Value("a class as schedule", of(dict)),
    ]
    return number(place) + own + more


@kind("schedule")
def schedule(place: Place) -> list[Value]:
    return [v for v in rate_or_schedule(place) if "schedule" in v.label] + junk()


@kind("betas")
def betas(place: Place) -> list[Value]:
    pairs = [(0.9,), (0.9, 0.9, 0.9), (1.0, 0.9), (0.9, 1.0), (-0.1, 0.9), (0.9, math.nan)]
    more = [("0.9", "0.9"), (True, 0.9), (0.9, None), {0.9, 0.8}, {"a": 0.9, "b": 0.9}]
    own = [Value(repr(pair), of(pair)) for pair in (*pairs, *more)]
    return junk() + own + [Value("a list", of([0.9, 0.99]), "taken")]


@kind("reduction")
def reduction(place: Place) -> list[Value]:
    return [*junk(), Value("'mean'", of("mean"), "taken"), Value("'none'", of("none"))]


@kind("average")
def average(place: Place) -> list[Value]:
    return [*junk(), Value("'weighted'", of("weighted"), "taken"), Value("'none'", of("none"))]


@kind("threshold")
def threshold(place: Place) -> list[Value]:
    return junk(taken={"0", "1", "-1", "NumPy's 1", "1.5", *NUMBERS, *LARGE})


@kind("pool")
def pool(place: Place) -> list[Value]:
    own = [Value("'max'", of("max"), "taken"), Value("'first'", of("first"))]
    return [*junk(taken=("None",)), *own]


@kind("how to pool")
def how_to_pool(place: Place) -> list[Value]:
    return [v._replace(verdict="refused") if v.label == "None" else v for v in pool(place)]


@kind("no number but 0")
def no_number_but_0(place: Place) -> list[Value]:
    return junk(taken=("0",))


@kind("scheme")
def scheme(place: Place) -> list[Value]:
    return [*junk(), Value("'glorot'", of("glorot"), "taken"), Value("'Glorot'", of("Glorot"))]


@kind("kind of biases")
def kind_of_biases(place: Place) -> list[Value]:
    return [*junk(), Value("'zeros'", of("zeros"), "taken"), Value("'ones'", of("ones"))]


@kind("forget bias of another cell")
def forget_bias_of_another_cell(place: Place) -> list[Value]:
    return junk(taken=("None",))


@kind("executor")
def executor(place: Place) -> list[Value]:
    own = [Value("'auto'", of("auto"), "taken"), Value("'xla'", of("xla"))]
    return [*junk(), *own, Value("'Eager'", of("Eager"))]


@kind("choice of targets")
def choice_of_targets(place: Place) -> list[Value]:
    return [*junk(), Value("'general'", of("general"), "taken")]


@kind("text", "name of an array")
def text(place: Place) -> list[Value]:
    return junk(taken=("''", "'text'", "'1'", "a lone surrogate"))


@kind("dtype")
def dtype(place: Place) -> list[Value]:
    names = ("float16", "float32", "complex128")
    own = [Value(name, of(name), "taken") for name in names]
    # Rows with a 1 may be of any dtype of numbers; the calculus is of floating ones.
    verdict: Verdict = "taken" if place.function == "losses.one_hot" else "refused"
    own += [Value(name, of(name), verdict) for name in ("int64", "bool")]
    own += [Value(name, of(name)) for name in ("object", "S4", "f8,i4", "sum")]
    # A dtype of NumPy may have the same name as something else.
    return junk(taken=("a class",)) + own + [Value("NumPy's float64", of(np.float64), "taken")]


@kind("dtype of labels")
def dtype_of_labels(place: Place) -> list[Value]:
    fine = [Value(name, of(name), "taken") for name in ("int8", "int16", "int64")]
    return junk() + fine + [Value(name, of(name)) for name in ("uint8", "float32", "int")]


@kind("device")
def device(place: Place) -> list[Value]:
    return optional(lambda place: junk())(place)


@kind("namespace")
def namespace(place: Place) -> list[Value]:
    if not place.valid.other:
        return junk()
    # `use_namespace` has no arrays to compare with yet.
    verdict: Verdict = "taken" if place.function == "use_namespace" else "misfit"
    return [*junk(), Value("another library", of(place.valid.other.xp), verdict)]


@kind("optional namespace")
def optional_namespace(place: Place) -> list[Value]:
    return [
        v._replace(verdict="taken") if v.label in ("None", "another library") else v
        for v in namespace(place)
    ]


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
    given = junk(taken=("'text'", "'1'", "a lone surrogate"))
    if place.argument == "checkpoint":  # which may be None, except to resume
        given = [v._replace(verdict="misfit") if v.label == "None" else v for v in given]
    return given + own


@kind("folder to be made")
def folder_to_be_made(place: Place) -> list[Value]:
    folder = place.valid.folder
    (file := folder / "file").write_bytes(b"a file")
    own = [
        Value("a folder", of(folder), "taken"),
        Value("nothing there", lambda: place.valid.path(), "taken"),
        Value("a file", of(file)),
    ]
    return junk(taken=("'text'", "'1'", "a lone surrogate")) + own


@kind("folder of a model")
def folder_of_a_model(place: Place) -> list[Value]:
    folder = place.valid.folder
    (file := folder / "file").write_bytes(b"a file")
    own = [
        Value("nothing there", lambda: place.valid.path()),
        Value("a file", of(file)),
    ]
    return junk() + own


@kind("paths")
def paths(place: Place) -> list[Value]:
    found = junk(taken=("[]", "()", "{}", "an empty array"))
    return [v for v in found if v.label != "a string array"] + [Value("a list of None", of([None]))]
