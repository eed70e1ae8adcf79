"""Malformed calls of every public function end in one clear error that names the argument."""

import re
from pathlib import Path

import pytest

from .backends import BACKENDS
from .malformed.arguments import CALLABLES, IN_FUNCTION, NAMED, UNTRIED, arguments, kind_of
from .malformed.campaign import (
    ACCEPTED,
    CLEAR,
    FINE,
    HUNG,
    OBSCURE,
    PLACES,
    SHARES,
    TAKEN,
    Call,
    draw,
    judge,
    values,
)
from .malformed.kinds import KINDS, Value
from .malformed.run import run
from .malformed.table import describe
from .malformed.valid import Valid

CALLS = 2000


@pytest.fixture(scope="module")
def valid(tmp_path_factory):
    return Valid(BACKENDS["numpy"], None, tmp_path_factory.mktemp("valid"))


@pytest.mark.rows(*SHARES)
def test_malformed_calls_are_refused_by_the_name_of_the_argument(backend):
    outcomes = run(backend.id, PLACES, count=round(CALLS * SHARES[backend.id]))
    wrong = [describe(one) for one in outcomes if one.outcome not in FINE]
    assert not wrong, "\n".join(sorted(set(wrong)))
    # Most must be refused: a campaign of valid calls would find nothing.
    assert sum(one.outcome == CLEAR for one in outcomes) > 0.5 * len(outcomes)


@pytest.mark.parametrize("name", CALLABLES)
def test_every_argument_of_a_public_function_has_a_kind(name):
    for argument in arguments(name):
        assert kind_of(name, argument) in KINDS.keys() | UNTRIED.keys()


def test_an_argument_of_no_known_kind_is_named(monkeypatch):
    monkeypatch.setitem(CALLABLES, "new", lambda brand_new: None)
    with pytest.raises(KeyError, match=r"new: expected a kind of its argument 'brand_new'"):
        kind_of("new", "brand_new")


def test_every_kind_and_every_name_is_used():
    used = {(name, argument) for name in CALLABLES for argument in arguments(name)}
    assert {kind_of(*place) for place in used} == KINDS.keys() | UNTRIED.keys()
    assert {name for of in NAMED.values() for name in of.split()} <= {name for _, name in used}
    for place in IN_FUNCTION:
        assert any(name == place or name.startswith(f"{place}.") for name, _ in used), place


def test_valid_calls_are_taken_and_every_kind_has_wrong_values(valid):
    for name in dict(PLACES):
        given = valid.arguments(name)
        assert given.keys() <= set(arguments(name)), name
        valid.function(name)(**given)
    for place in PLACES:
        found = values(valid, *place)
        assert len({value.label for value in found}) == len(found), place
        assert any(value.verdict == "refused" for value in found), place


@pytest.mark.parametrize(
    ("verdict", "error", "outcome"),
    [
        ("refused", None, ACCEPTED),
        ("misfit", None, ACCEPTED),
        ("taken", None, TAKEN),
        ("refused", TypeError("steps: expected an int, got None"), CLEAR),
        ("refused", ValueError("memory, steps: expected one of them"), CLEAR),
        ("refused", ValueError("batch: expected at least 1, got 0"), OBSCURE),
        ("misfit", ValueError("batch: expected at least 1, got 0"), CLEAR),
        ("taken", ValueError("batch: expected at least 1, got 0"), CLEAR),
        ("taken", ValueError("no argument: expected at least 1"), OBSCURE),
        ("refused", ValueError("all steps: must be above zero"), CLEAR),
        ("refused", ValueError("expected an int for steps"), OBSCURE),
        ("refused", ValueError("checkpoint_steps: expected an int"), OBSCURE),
        ("refused", AttributeError("steps: 'NoneType' object has no attribute 'shape'"), OBSCURE),
        ("refused", KeyError("steps: "), OBSCURE),
        ("refused", MemoryError("Unable to allocate 16.0 GiB"), HUNG),
        ("refused", RuntimeError("DefaultCPUAllocator: can't allocate memory"), HUNG),
    ],
)
def test_outcomes_of_calls_are_judged(verdict, error, outcome):
    call = Call("memory.plan", {"steps": Value("a value", object, verdict)})
    assert judge(call, {"steps": object()}, error)[0] == outcome


def test_the_error_of_a_file_may_name_the_file():
    call = Call("serialization.load_weights", {"path": Value("a file", object)})
    error = FileNotFoundError("/tmp/weights: there is no such file")
    assert judge(call, {"path": Path("/tmp/weights")}, error)[0] == CLEAR
    assert judge(call, {"path": Path("/tmp/others")}, error)[0] == OBSCURE


def test_an_unknown_option_is_named_by_python_or_by_us():
    call = Call("bptt", {"loss_options": Value("colour", dict)})
    for message in ("f() got an unexpected keyword argument 'colour'", "colour: expected none"):
        assert judge(call, {"loss_options": {"colour": 1}}, TypeError(message))[0] == CLEAR
    assert judge(call, {"loss_options": {"colour": 1}}, TypeError("too many"))[0] == OBSCURE


def test_a_call_that_hangs_is_reported_and_the_others_are_made(valid):
    places = [("plots.learning_curve", "title")]
    texts = {"''", "'text'", "'1'"}  # for which a picture is drawn, which takes long

    def drawn(seed):
        return {call.replaced["title"].label for call in draw(valid, 2, seed, places)}

    seed = next(seed for seed in range(10_000) if drawn(seed) <= texts)
    outcomes = run("numpy", places, count=2, seed=seed, seconds=0.01)
    assert [one.outcome for one in outcomes] == [HUNG, HUNG]
    assert outcomes[0].said == "over 0.01 s, or a crash"


def without_addresses(calls):
    """Return calls and their outcomes, without where an object was in memory."""
    return [re.sub("0x[0-9a-f]+", "", str(one[:5])) for one in calls]


def test_the_same_seed_makes_the_same_calls():
    places = [place for place in PLACES if place[0].startswith("memory")]
    first, again, other = (run("numpy", places, count=20, seed=seed) for seed in (1, 1, 2))
    assert without_addresses(first) == without_addresses(again)
    assert [one[:3] for one in first] != [one[:3] for one in other]
