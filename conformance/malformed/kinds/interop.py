"""Networks of other libraries, and where in them their parts are."""

from .values import Place, Value, junk, kind, of


@kind("network of another library")
def network(place: Place) -> list[Value]:
    good = dict(place.value)
    name = next(iter(good))
    own = [
        Value("its names", of(list(good))),
        Value("one missing", of({n: a for n, a in good.items() if n != name})),
        Value("one more", of(good | {"more": good[name]})),
        Value("a number as name", of(good | {1: good[name]})),
        Value("a number in it", of(good | {name: 1.0})),
        Value("a class of dicts", of(dict)),
    ]
    return junk() + own


@kind("place in a network")
def place_in_a_network(place: Place) -> list[Value]:
    taken = ("''",) if place.argument == "recurrent" else ("None",)
    return [*junk(taken=taken), Value("a place that is not there", of("no.such.place"))]
