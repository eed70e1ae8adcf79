"""What attention and decoders take, and what a network makes of its own outputs."""

import numpy as np

import portable_rnn as prnn

from .arrays import any_floating_array, arrays
from .values import Place, Value, junk, kind, of

# The vectors of a memory have any size where a matrix or another array fits it.
ANY_SIZE = ("axis 2 doubled",)


def taken(values: list[Value], *labels: str) -> list[Value]:
    return [v._replace(verdict="taken") if v.label in labels else v for v in values]


@kind("outputs to pool")
def outputs_to_pool(place: Place) -> list[Value]:
    return taken(any_floating_array(place), "of another library", *ANY_SIZE)


@kind("query")
def query(place: Place) -> list[Value]:
    own = taken(arrays(place, place.value), "axis 0 doubled", "one axis less")
    return junk(misfit=("an array of one", "an empty array")) + own


@kind("steps of a memory")
def memory(place: Place) -> list[Value]:
    own = taken(arrays(place, place.value), "axis 0 doubled")
    return junk(misfit=("an array of one", "an empty array")) + own


@kind("values")
def values(place: Place) -> list[Value]:
    return junk(taken=("None",)) + taken(arrays(place, place.value), *ANY_SIZE)


@kind("score")
def score(place: Place) -> list[Value]:
    names = [Value(repr(name), of(name), "misfit") for name in ("dot", "additive", "general")]
    names = [v._replace(verdict="taken") if v.label == repr(place.value) else v for v in names]
    return [*junk(), *names, Value("'Dot'", of("Dot")), Value("'cosine'", of("cosine"))]


@kind("residuals")
def residuals(place: Place) -> list[Value]:
    good = place.value
    needed = ("features", "chosen") if "features" in good._fields else ("query", "weights")
    own = [Value(f"without {name}", of(good._replace(**{name: None}))) for name in needed]
    return [*junk(), *own, Value("a plain tuple", of(tuple(good)))]


@kind("decoder")
def decoder(place: Place) -> list[Value]:
    rnn = prnn.RNN(3, 4, cell="gru")
    own = [
        Value("an RNN", of(rnn)),
        Value("its class", of(prnn.AttentionDecoder)),
        Value("of other layers", of(prnn.AttentionDecoder(rnn, 6, 3)), "misfit"),
    ]
    return junk() + own


@kind("recurrent layers")
def recurrent_layers(place: Place) -> list[Value]:
    others = {
        "with a readout": {"output_size": 2},
        "of two directions": {"bidirectional": True},
        "batch first": {"batch_first": True},
        "that pool": {"pool": "last"},
    }
    own = [Value(label, of(prnn.RNN(3, 4, **options))) for label, options in others.items()]
    fine = Value("of tokens", of(prnn.RNN(3, 4, vocabulary_size=7)), "taken")
    return [*junk(), *own, fine, Value("its class", of(prnn.RNN))]


@kind("tape of a decoder")
def tape_of_a_decoder(place: Place) -> list[Value]:
    first, second = place.value
    own = [
        Value("one tape", of(first)),
        Value("exchanged", of((second, first))),
        Value("a list", of([first, second])),
        Value("without contexts", of((first, second._replace(joined=None)))),
        Value("without attention", of((first, second._replace(attention=None)))),
        Value("three", of((first, second, second))),
    ]
    return junk() + own


@kind("feedback")
def feedback(place: Place) -> list[Value]:
    right = place.value

    def returning(change):  # type: ignore[no-untyped-def]
        return of(lambda outputs, step: change(right(outputs, step)))

    own = [
        Value("of outputs alone", of(lambda outputs: outputs)),
        Value("the class dict", of(dict)),
        Value("returns nothing", returning(lambda x: None)),
        Value("returns a list", returning(lambda x: [x])),
        Value("returns a number", returning(lambda x: 0.5)),
        Value("returns another shape", returning(lambda x: x[:, :1])),
        Value("returns NumPy's dates", returning(lambda x: np.zeros(3, "datetime64[s]"))),
    ]
    return [v._replace(verdict="misfit") if v.label == "None" else v for v in junk()] + own
