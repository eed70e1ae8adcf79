"""Wrong arguments of `portable_rnn.book`: one error that names them, before any work."""

import bisect
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest
from conformance.malformed.kinds.values import Duck, Faulty, FaultyRepr

from portable_rnn import book
from portable_rnn.book.arguments import MOST, MOST_DIGITS

pytestmark = pytest.mark.no_products

EXAMPLE = book.draw(inputs=2, hidden=3, outputs=2, steps=2)
LONGER = book.draw(inputs=2, hidden=3, outputs=2, steps=3)
WIDER = book.draw(inputs=2, hidden=4, outputs=2, steps=2)
EXACT, FOUND = book.differentiate(EXAMPLE), book.compute(EXAMPLE)
CHECKS = book.compare(EXAMPLE, FOUND, EXACT)

# A call of each function that takes such an argument, valid except for that argument.
OF_EXAMPLE = {
    "check_claims": lambda e: book.check_claims(e, {}),
    "compare": lambda e: book.compare(e, FOUND, EXACT),
    "compute": book.compute,
    "differentiate": book.differentiate,
    "judge": lambda e: book.judge(e, EXACT, {}),
    "left_out": lambda e: book.left_out(e, EXACT),
    "write": lambda e: book.write("no folder/of numbers.json", e),
}
OF_QUANTITIES = {
    "compare found": ("found", lambda q: book.compare(EXAMPLE, q, EXACT)),
    "compare exact": ("exact", lambda q: book.compare(EXAMPLE, FOUND, q)),
    "judge": ("exact", lambda q: book.judge(EXAMPLE, q, {})),
    "left_out": ("exact", lambda q: book.left_out(EXAMPLE, q)),
}
OF_DTYPE = {
    "rounded": EXAMPLE.rounded,
    "compare": lambda d: book.compare(EXAMPLE, FOUND, EXACT, d),
    "judge": lambda d: book.judge(EXAMPLE, EXACT, {}, d),
    "left_out": lambda d: book.left_out(EXAMPLE, EXACT, d),
}
OF_DIGITS = {
    "differentiate": lambda d: book.differentiate(EXAMPLE, d),
    "document": lambda d: book.document(CHECKS, "", d),
}
OF_PROGRESS = {
    "compute": lambda p: book.compute(EXAMPLE, progress=p),
    "differentiate": lambda p: book.differentiate(EXAMPLE, progress=p),
}
OF_PATH = {"read": book.read, "write": lambda p: book.write(p, EXAMPLE)}

NOTHING_OF_THE_KIND = [
    *(None, True, 1.5, math.nan, 10**5000, 1j, b"bytes", [], {}, {1}, object(), bisect),
    *(FaultyRepr(), Faulty(), Duck(), np.ones(3), np.asarray([None], dtype=object)),
]
NAMES = [type(value).__name__ for value in NOTHING_OF_THE_KIND]
nothing_of_the_kind = pytest.mark.parametrize("value", NOTHING_OF_THE_KIND, ids=NAMES)


def deep(levels):
    tree = [1.0]
    for _ in range(levels):
        tree = [tree]
    return tree


@nothing_of_the_kind
@pytest.mark.parametrize("call", OF_EXAMPLE.values(), ids=OF_EXAMPLE)
def test_a_wrong_example_is_refused(call, value):
    with pytest.raises(TypeError, match=r"^example: expected an Example, got "):
        call(value)


@nothing_of_the_kind
@pytest.mark.parametrize(("name", "call"), OF_QUANTITIES.values(), ids=OF_QUANTITIES)
def test_wrong_quantities_are_refused(name, call, value):
    with pytest.raises(TypeError, match=rf"^{name}: expected a Quantities, got "):
        call(value)


@nothing_of_the_kind
@pytest.mark.parametrize("call", OF_DTYPE.values(), ids=OF_DTYPE)
def test_a_wrong_dtype_is_refused(call, value):
    with pytest.raises(TypeError, match=r"^dtype: expected 'float32' or 'float64', got "):
        call(value)


@nothing_of_the_kind
@pytest.mark.parametrize("call", OF_DIGITS.values(), ids=OF_DIGITS)
def test_a_wrong_number_of_digits_is_refused(call, value):
    with pytest.raises((TypeError, ValueError), match=r"^digits: expected "):
        call(value)


@nothing_of_the_kind
@pytest.mark.parametrize("call", OF_PROGRESS.values(), ids=OF_PROGRESS)
def test_progress_that_cannot_be_called_is_refused(call, value):
    if value is not None:
        with pytest.raises(
            TypeError, match=r"^progress: expected a callable \(done, total\), got "
        ):
            call(value)


@nothing_of_the_kind
@pytest.mark.parametrize("call", OF_PATH.values(), ids=OF_PATH)
def test_a_wrong_path_is_refused(call, value):
    with pytest.raises(TypeError, match=r"^path: expected a path, got "):
        call(value)


@nothing_of_the_kind
@pytest.mark.parametrize("name", ["inputs", "hidden", "outputs", "steps", "seed"])
def test_a_wrong_size_is_refused(name, value):
    with pytest.raises((TypeError, ValueError), match=rf"^{name}: expected an int"):
        book.draw(**{name: value})


@nothing_of_the_kind
def test_a_wrong_choice_of_targets_is_refused(value):
    with pytest.raises(TypeError, match=r"^targets: expected 'one-hot' or 'general', got "):
        book.draw(targets=value)


@nothing_of_the_kind
def test_a_wrong_title_is_refused(value):
    with pytest.raises(TypeError, match=r"^title: expected a text, got "):
        book.document(CHECKS, value)


@nothing_of_the_kind
def test_a_wrong_list_of_checks_is_refused(value):
    if not isinstance(value, list):
        with pytest.raises(TypeError, match=r"^checks: expected a list of Check, got "):
            book.document(value, "")
    with pytest.raises(TypeError, match=r"^checks\[1\]: expected a Check, got "):
        book.document([CHECKS[0], value], "")


@nothing_of_the_kind
def test_wrong_claims_are_refused(value):
    if not isinstance(value, dict):
        for call in (
            lambda: book.check_claims(EXAMPLE, value),
            lambda: book.judge(EXAMPLE, EXACT, value),
        ):
            with pytest.raises(TypeError, match=r"^claims: expected a dict of arrays, got "):
                call()


@nothing_of_the_kind
def test_a_wrong_dtype_of_compute_is_refused(value):
    with pytest.raises(TypeError, match=r"^dtype: expected a floating type of numpy"):
        book.compute(EXAMPLE, dtype=value)


@nothing_of_the_kind
@pytest.mark.parametrize("name", ["U", "W", "b", "V", "c", "h0", "x", "y"])
def test_wrong_numbers_are_refused(name, value):
    if value is None and name in ("b", "c", "h0"):
        assert getattr(book.Example(**vars(EXAMPLE) | {name: None}), name)
    elif not (name in ("b", "h0") and getattr(value, "shape", ()) == (3,)):  # which fits
        with pytest.raises((TypeError, ValueError), match=rf"^{name}: expected "):
            book.Example(**vars(EXAMPLE) | {name: value})


ONE_BY_ONE = {
    "class for example": (lambda: book.compute(book.Example), "example: .*, got the class Example"),
    "dict for example": (lambda: book.compute(vars(EXAMPLE)), "example: expected an Example"),
    "swapped": (
        lambda: book.compare(EXAMPLE, EXACT, FOUND),
        r"exact\.a: expected numbers of decimal\.Decimal, got -?\d",
    ),
    "found for exact": (
        lambda: book.judge(EXAMPLE, FOUND, {}),
        r"exact\.a: expected numbers of decimal\.Decimal, got -?\d",
    ),
    "found of more steps": (
        lambda: book.compare(EXAMPLE, book.compute(LONGER), EXACT),
        r"found\.a: expected shape \(2, 3\) as the example has it, got \(3, 3\)",
    ),
    "exact of more steps": (
        lambda: book.compare(EXAMPLE, FOUND, book.differentiate(LONGER)),
        r"exact\.a: expected shape \(2, 3\) as the example has it, got \(3, 3\)",
    ),
    "exact of more units": (
        lambda: book.left_out(EXAMPLE, book.differentiate(WIDER)),
        r"exact\.a: expected shape \(2, 3\) as the example has it, got \(2, 4\)",
    ),
    "exact that is not finite": (
        lambda: book.judge(EXAMPLE, EXACT._replace(loss=Decimal("nan")), {"loss": 1}),
        r"exact\.loss: expected finite numbers, got Decimal\('NaN'\)",
    ),
    **{
        f"found with {value!r}": (
            lambda value=value: book.compare(EXAMPLE, FOUND._replace(loss=value), EXACT),
            r"found\.loss: expected numbers of float, got ",
        )
        for value in ("1", None, True, np.float32(1), Fraction(1, 3), np.ones(()))
    },
    "found without a step": (
        lambda: book.compare(EXAMPLE, FOUND._replace(a=[]), EXACT),
        r"found\.a: expected at least one number, got an empty list",
    ),
    "progress of one": (
        lambda: book.compute(EXAMPLE, progress=lambda done: None),
        r"progress: expected a callable \(done, total\), got one that takes \(done\)",
    ),
    "no digits": (lambda: book.differentiate(EXAMPLE, 0), "digits: expected at least 1, got 0"),
    "many digits": (
        lambda: book.differentiate(EXAMPLE, MOST_DIGITS + 1),
        f"digits: expected at most {MOST_DIGITS}, got {MOST_DIGITS + 1}",
    ),
    "complex dtype": (
        lambda: book.compute(EXAMPLE, dtype="complex128"),
        "dtype: expected a real floating type, got 'complex128'",
    ),
    "no device": (
        lambda: book.compute(EXAMPLE, device=FaultyRepr()),
        "device: expected one of numpy, got one of FaultyRepr that cannot be printed",
    ),
    "no namespace": (
        lambda: book.compute(EXAMPLE, np.linalg),
        "xp: expected an array module such as numpy, .*, got <module",
    ),
    "negative seed": (lambda: book.draw(seed=-1), "seed: expected at least 0, got -1"),
    "no unit": (lambda: book.draw(hidden=0), "hidden: expected at least 1, got 0"),
    "one class": (lambda: book.draw(outputs=1), "outputs: expected at least 2, got 1"),
    "other targets": (lambda: book.draw(targets="two"), "targets: expected .*, got 'two'"),
    "lone surrogate in a title": (
        lambda: book.document(CHECKS, "\ud800"),
        r"title: expected characters of UTF-8, got '\\ud800'",
    ),
    "lone surrogate in a path": (
        lambda: book.read("\ud800"),
        r"path: expected a path, got '\\ud800'",
    ),
    "empty path": (lambda: book.write("", EXAMPLE), "path: expected a path, got ''"),
    "path with a null": (lambda: book.read("a\0b"), r"path: expected a path, got 'a\\x00b'"),
    "claim that is no text": (
        lambda: book.check_claims(EXAMPLE, {FaultyRepr(): 1}),
        "claims: expected names from .*, got one of FaultyRepr that cannot be printed",
    ),
    "vast class": (
        lambda: book.Example(**vars(EXAMPLE) | {"y": [1e300, 0]}),
        r"y: expected classes from 0 to 1, got 10000000000.*\.\.\. \(int\)",
    ),
    "faulty claim": (
        lambda: book.judge(EXAMPLE, EXACT, {"loss": FaultyRepr()}),
        r"claims\.loss: expected real numbers, got one of FaultyRepr",
    ),
    "signalling NaN": (
        lambda: book.check_claims(EXAMPLE, {"loss": Decimal("sNaN")}),
        r"claims\.loss: expected finite numbers, got sNaN",
    ),
}


@pytest.mark.parametrize(("call", "message"), ONE_BY_ONE.values(), ids=ONE_BY_ONE)
def test_an_argument_that_does_not_fit_is_named(call, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}"):
        call()


@pytest.mark.parametrize("levels", [100, 600, 2000, 100_000])
def test_lists_that_are_too_deep_are_refused(levels):
    with pytest.raises(ValueError, match=r"^U: expected .*, got "):
        book.Example(**vars(EXAMPLE) | {"U": deep(levels)})
    with pytest.raises(ValueError, match=r"^claims\.loss: expected .*, got "):
        book.check_claims(EXAMPLE, {"loss": deep(levels)})
    with pytest.raises(ValueError, match=r"^found\.a: expected .*, got "):
        book.compare(EXAMPLE, FOUND._replace(a=deep(levels)), EXACT)


def test_a_list_that_holds_itself_is_refused():
    endless = []
    endless.append(endless)
    with pytest.raises(ValueError, match=r"^U: expected .*, got lists too deep"):
        book.Example(**vars(EXAMPLE) | {"U": endless})


@pytest.mark.parametrize(
    "dtype", ["datetime64[s]", "datetime64[ns]", "timedelta64[ns]", "f8,f8,f8"]
)
def test_dates_and_records_are_no_numbers(dtype):
    """Nanoseconds list as ints, and a record of three numbers as a row of three."""
    for name, shape in (("c", 2), ("V", 2)) if "," in dtype else (("c", 2), ("V", (2, 3))):
        for value in (np.zeros(shape, dtype), list(np.zeros(shape, dtype))):
            with pytest.raises(TypeError, match=rf"^{name}: expected real numbers, got "):
                book.Example(**vars(EXAMPLE) | {name: value})


def test_arrays_whose_numbers_cannot_be_read_are_refused():
    jax = pytest.importorskip("jax")
    with pytest.raises(TypeError, match=r"^U: expected real numbers, got .*[Tt]race"):
        jax.jit(lambda U: book.Example(**vars(EXAMPLE) | {"U": U}).x)(np.ones((3, 2)))
    with pytest.raises(TypeError, match=r"^U: expected real numbers, got ndarray"):
        book.Example(**vars(EXAMPLE) | {"U": np.ndarray})


@pytest.mark.parametrize(
    ("sizes", "named"),
    [
        ({"inputs": 2**31}, "inputs"),
        ({"hidden": 2**31}, "hidden"),
        ({"outputs": 2**31}, "outputs"),
        ({"inputs": 2**62, "hidden": 2**61, "steps": 2**62}, "inputs"),
        ({"steps": 2**31}, "steps"),
        ({"hidden": 1500}, "hidden"),
    ],
)
def test_sizes_that_would_take_forever_are_refused(sizes, named):
    with pytest.raises(
        ValueError, match=rf"^{named}: expected .*at most \d+ .*, got {sizes[named]}$"
    ):
        book.draw(**sizes)


def test_the_most_steps_that_an_error_names_are_taken():
    with pytest.raises(ValueError, match=r"^steps: expected at most \d+ of these sizes") as caught:
        book.draw(inputs=40, hidden=40, outputs=20, steps=MOST)
    most = int(str(caught.value).split("at most ")[1].split()[0])
    assert len(book.draw(inputs=40, hidden=40, outputs=20, steps=most).x) == most
    with pytest.raises(ValueError, match=f"^steps: expected at most {most} of these sizes"):
        book.draw(inputs=40, hidden=40, outputs=20, steps=most + 1)


def test_whole_numbers_of_any_library_are_sizes_and_digits():
    one = np.int32(1)
    example = book.draw(one, one, np.int64(2), steps=one, seed=np.uint8(0))
    assert example == book.draw(1, 1, 2, steps=1, seed=0)
    assert book.differentiate(example, np.int32(20)) == book.differentiate(example, 20)
    assert book.differentiate(example, MOST_DIGITS).loss
    assert book.document((), "title", one) == book.document([], "title", 1)


class Frame:
    """Like those of pandas and polars."""

    def to_numpy(self):
        return np.ones((2, 2))


def test_a_data_frame_is_refused_with_the_conversion():
    with pytest.raises(
        TypeError, match=r"^U: expected real numbers, got Frame; give U\.to_numpy\(\)$"
    ):
        book.Example(**vars(EXAMPLE) | {"U": Frame()})
