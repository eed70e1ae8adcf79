"""Custom numbers in `book.Example`: arrays are taken exactly, and errors name what is wrong.

The right values come from the book's recursion in mpmath (conformance/oracles/book_recursion.py).
"""

import dataclasses
from decimal import Decimal
from fractions import Fraction

import mpmath
import numpy as np
import pytest
from conformance.oracles import book_recursion
from conformance.tolerances import assert_close

from portable_rnn import book
from portable_rnn.book.checks import flat

LETTERS = ("U", "W", "b", "V", "c", "h0", "x", "y")


def own(steps=4, inputs=4, hidden=5, outputs=3, seed=0, **scales):
    """Return arrays that are not short binary fractions; each times its scale."""
    rng = np.random.default_rng(seed)
    shapes = {"U": (hidden, inputs), "W": (hidden, hidden), "b": (hidden,), "V": (outputs, hidden)}
    shapes |= {"c": (outputs,), "h0": (hidden,), "x": (steps, inputs), "y": (steps, outputs)}
    return {
        name: scales.get(name, 0.5) * rng.uniform(-1.0, 1.0, shape)
        for name, shape in shapes.items()
    }


def recursion(example):
    """Return the right arrays by the names of `Quantities`, and the largest cotangent."""
    with mpmath.workdps(50):
        p = {name: book_recursion.exact(tree) for name, tree in vars(example).items()}
        y = p.pop("y")
        want = book_recursion.forward(p, y) | book_recursion.recursion(p, y)
    want = {name: np.asarray(tree, dtype=np.float64) for name, tree in want.items()}
    return want, max(np.max(np.abs(want["d_o"])), np.max(np.abs(example.y)))


@pytest.mark.parametrize("library", ["lists", "numpy", "torch", "jax.numpy", "array_api_strict"])
def test_an_example_of_any_arrays_has_the_right_gradients(library):
    arrays = {name: np.asarray(array, dtype=np.float32) for name, array in own().items()}
    if library == "lists":
        given = {name: array.tolist() for name, array in arrays.items()}
    else:
        xp = pytest.importorskip(library)
        given = {name: xp.asarray(array) for name, array in arrays.items()}
    example = book.Example(**given)
    for name, array in arrays.items():
        assert getattr(example, name) == book.Example(**arrays).__dict__[name]
        assert np.array_equal(np.asarray(getattr(example, name)), array.astype(np.float64))
    exact, (want, scale) = book.differentiate(example), recursion(example)
    for name in ("d_U", "d_W", "d_V", "d_b", "d_c", "d_h", "d_o"):
        got = np.asarray(getattr(exact, name), dtype=np.float64)
        assert_close(got, want[name], name, scale=scale, k=1)


def test_tensors_that_require_a_gradient_and_bfloat16_are_taken():
    torch = pytest.importorskip("torch")
    arrays = own()
    given = {name: torch.asarray(array, dtype=torch.bfloat16) for name, array in arrays.items()}
    example = book.Example(**given | {"U": given["U"].requires_grad_()})
    assert tuple(map(tuple, given["U"].detach().float().tolist())) == example.U


def test_numbers_are_kept_exactly_whatever_they_are():
    given = {"U": [[Fraction(1, 4)]], "W": [np.asarray([0.1])], "V": [(1,), (Decimal("0.1"),)]}
    example = book.Example(**given, x=[[np.float32(0.1)]], y=[0])
    assert example.U == ((0.25,),)
    assert example.W == ((0.1,),)
    assert example.V == ((1.0,), (0.1,))
    assert example.x == ((0.10000000149011612,),)


def test_biases_and_the_first_state_are_zeros_by_default():
    arrays = own()
    short = {name: array for name, array in arrays.items() if name not in ("b", "c", "h0")}
    example = book.Example(**short)
    assert (example.b, example.c, example.h0) == ((0.0,) * 5, (0.0,) * 3, (0.0,) * 5)
    whole = short | {"b": np.zeros(5), "c": np.zeros(3), "h0": np.zeros(5)}
    assert example == book.Example(**whole)
    assert list(vars(example)) == list(LETTERS)
    assert dataclasses.replace(example, b=arrays["b"]).b == tuple(arrays["b"])


@pytest.mark.parametrize("y", [[2, 0, 1, 1], np.asarray([2, 0, 1, 1]), [2.0, 0.0, 1.0, 1.0]])
def test_classes_are_rows_of_one_and_zeros(y):
    example = book.Example(**own() | {"y": y})
    assert np.array_equal(example.y, np.eye(3)[[2, 0, 1, 1]])
    assert example.one_hot


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("sizes", [{}, {"steps": 1}, {"hidden": 1, "outputs": 2, "inputs": 1}])
def test_custom_numbers_pass_every_check_when_rounded(dtype, sizes):
    example = book.Example(**own(**sizes)).rounded(dtype)
    exact = book.differentiate(example)
    found = book.compute(example, dtype=dtype)
    assert all(check.passed for check in book.compare(example, found, exact, dtype))


def test_numbers_that_the_dtype_does_not_hold_are_refused():
    """Their rounding, 2**-24 of them, is not an error of the gradients."""
    example = book.Example(**own())
    with pytest.raises(ValueError, match=r"example: expected numbers that float32 holds exactly"):
        book.compare(
            example,
            book.compute(example, dtype="float32"),
            book.differentiate(example),
            "float32",
        )
    rounded = example.rounded("float32")
    for tree, array in zip(vars(rounded).values(), vars(example).values(), strict=True):
        assert np.array_equal(np.asarray(tree), np.asarray(array, dtype=np.float32))
    assert rounded.rounded("float32") == rounded != example
    assert example.rounded("float64") == example
    with pytest.raises(ValueError, match="dtype: expected 'float32' or 'float64', got 'float16'"):
        example.rounded("float16")
    with pytest.raises(ValueError, match=r"x: expected numbers that float32 can hold, got 1e\+39"):
        book.Example(**own() | {"x": [[1e39] * 4] * 4}).rounded("float32")


WRONG = [
    ({"U": [[1, 2], [3]]}, "U: expected rows of one length, got 2 numbers in row 0 and 1 number"),
    ({"U": [1, [3]]}, "U: expected rows of one length, got a number in row 0"),
    ({"U": np.ones((4, 5))}, r"U: expected shape \(5, I\) \(H is 5, as in W\), got \(4, 5\)"),
    ({"W": np.ones((5, 4))}, r"W: expected shape \(5, 5\), got \(5, 4\)"),
    ({"W": 1.0}, r"W: expected shape \(H, H\), got \(\)"),
    ({"b": np.ones((5, 1))}, r"b: expected shape \(5,\) \(H is 5, as in W\), got \(5, 1\)"),
    ({"V": np.ones((3, 4))}, r"V: expected shape \(O, 5\) \(H is 5, as in W\), got \(3, 4\)"),
    ({"V": np.ones((1, 5))}, "V: expected at least 2 rows"),
    ({"c": np.ones(2)}, r"c: expected shape \(3,\) \(O is 3, as in V\), got \(2,\)"),
    ({"h0": np.ones(4)}, r"h0: expected shape \(5,\)"),
    ({"x": np.ones((4, 3))}, r"x: expected shape \(T, 4\) \(I is 4, as in U\), got \(4, 3\)"),
    ({"x": np.ones(4)}, r"x: expected shape \(T, 4\)"),
    ({"x": []}, "x: expected at least one number, got an empty list"),
    ({"x": np.ones((0, 4))}, "x: expected at least one number"),
    ({"y": np.ones((3, 3))}, r"y: expected shape \(4, 3\) .*classes.*, got \(3, 3\)"),
    ({"y": [0, 1]}, r"y: expected shape \(4, 3\) .*, got \(2,\)"),
    ({"y": [0, 1, 3, 0]}, "y: expected classes from 0 to 2, got 3"),
    ({"y": [0, 1, -1, 0]}, "y: expected classes from 0 to 2, got -1"),
    ({"y": [0, 1, 0.5, 0]}, "y: expected classes from 0 to 2, got 0.5"),
    ({"c": [1, 2, float("nan")]}, "c: expected finite numbers, got nan"),
    ({"c": np.asarray([1, 2, np.inf])}, "c: expected finite numbers, got inf"),
    ({"c": [1, 2, 10**400]}, "c: expected numbers that float64 can hold"),
    ({"c": [1, 2, "3"]}, "c: expected real numbers, got '3'"),
    ({"c": [1, 2, 3j]}, "c: expected real numbers, got 3j"),
    ({"c": np.ones(3) + 0j}, "c: expected real numbers, got"),
    ({"c": [1, 2, True]}, "c: expected real numbers, got True"),
    ({"c": {"a": 1}}, "c: expected real numbers, got {'a': 1}"),
    ({"U": None}, "U: expected real numbers, got None"),
]


@pytest.mark.parametrize(("wrong", "words"), WRONG)
def test_arrays_that_do_not_fit_are_named(wrong, words):
    with pytest.raises((TypeError, ValueError), match=f"^{words}"):
        book.Example(**own() | wrong)


# ------------------------------------------------------------------ numbers of any size


def checks_of(dtype="float64", **scales):
    steps = scales.pop("steps", 6)
    arrays = own(steps=steps, **scales)
    if scales.get("y", 1.0) == 1.0:
        arrays["y"] = np.random.default_rng(1).integers(0, 3, steps)
    example = book.Example(**arrays).rounded(dtype)
    exact = book.differentiate(example)
    checks = book.compare(example, book.compute(example, dtype=dtype), exact, dtype)
    return example, exact, checks


LARGE = [
    {"V": 300.0},
    {"V": 3000.0, "c": 1000.0},
    {"V": 1e9},
    {"W": 1e6},
    {"x": 1e4},
    {"x": 1e4, "U": 1e-4},
    {"W": 6.0, "steps": 60},
    {"U": 100.0, "W": 100.0, "V": 100.0, "x": 100.0, "b": 100.0, "c": 100.0},
    {"y": 1e6},
    {"y": 1e-9},
    {"U": 1e-20, "W": 1e-20, "V": 1e-20, "x": 1e-20, "b": 0.0, "c": 0.0, "h0": 0.0},
    {"U": 0.0, "W": 0.0, "V": 0.0, "x": 0.0, "b": 0.0, "c": 0.0, "h0": 0.0, "y": 0.0},
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("scales", LARGE, ids=lambda scales: "-".join(scales))
def test_numbers_of_any_size_are_differentiated_and_pass(scales, dtype):
    example, exact, checks = checks_of(dtype, **scales)
    want, scale = recursion(example)
    for name in ("d_U", "d_W", "d_V", "d_b", "d_c", "d_h"):
        got = np.asarray(getattr(exact, name), dtype=np.float64)
        assert_close(got, want[name], name, scale=scale, k=1)
    assert [check.equation.number for check in checks if not check.passed] == []


def test_amplified_rounding_is_distinguished_from_a_wrong_formula():
    example, exact, checks = checks_of(W=6.0, steps=60)
    amplified = [check for check in checks if check.amplified]
    assert amplified
    assert all(check.error > 8.0 for check in amplified)
    assert max(check.error for check in checks) > 100.0
    found = book.compute(example)
    wrong = found._replace(d_V=[[1.001 * v for v in row] for row in found.d_V])
    failed = [check for check in book.compare(example, wrong, exact) if not check.passed]
    assert {check.equation.number for check in failed} == {"10.24"}


@pytest.mark.parametrize(("dtype", "size"), [("float32", 1e5), ("float64", 1e9)])
@pytest.mark.parametrize("name", ["h", "d_b", "d_U", "d_V"])
def test_large_inputs_do_not_weaken_checks(name, dtype, size):
    """Such as times of day in seconds: the scale of x does not apply to the other arrays."""
    x = [[size * v for v in row] for row in own()["x"]]
    u = [[v / size for v in row] for row in own()["U"]]
    example = book.Example(**own() | {"x": x, "U": u}).rounded(dtype)
    exact, found = book.differentiate(example), book.compute(example, dtype=dtype)
    assert all(c.error <= 8.0 for c in book.compare(example, found, exact, dtype))
    wrong = found._replace(**{name: (1.01 * np.asarray(getattr(found, name))).tolist()})
    assert not all(c.passed for c in book.compare(example, wrong, exact, dtype))


def test_checks_that_overflow_do_not_pass():
    example = book.Example(**own() | {"U": [[1e200] * 4] * 5, "x": [[1e200] * 4] * 4})
    checks = book.compare(example, book.compute(example), book.differentiate(example))
    assert {c.equation.number for c in checks if not c.passed} == {"10.8"}
    assert max(c.error for c in checks if not c.passed) == float("inf")


def test_chaos_that_leaves_no_digit_has_an_infinite_allowance():
    _, _, checks = checks_of("float32", hidden=20, W=2.0, steps=120)
    assert max(check.error for check in checks) > 1e4
    back = [check for check in checks if not check.equation.forward]
    assert {check.allowed for check in back} == {float("inf")}
    assert all(check.allowed < 100.0 for check in checks if check not in back and check.step == 1)
    assert all(check.passed for check in checks)
    infinite = dataclasses.replace(checks[0], error=float("inf"))
    assert not infinite.passed


def test_the_check_through_y_hat_is_left_out_where_y_hat_is_too_small():
    example, exact, checks = checks_of(V=3000.0)
    small = [t for t, row in enumerate(exact.y_hat, 1) if min(row) < Decimal(2) ** -1022]
    assert small
    reason = book.left_out(example, exact)["Q3"]
    assert reason.startswith("for it divides by ŷ, which is too small for float64 at step")
    steps = {check.step for check in checks if check.equation.number == "Q3"}
    assert steps == set(range(1, 7)) - set(small)
    assert book.left_out(book.draw(), book.differentiate(book.draw())) == {}


def test_every_step_counts_once_also_where_the_loss_is_zero():
    """L(t) is 0 for a certain class and for a row of zeros, and 0 / 0 would be NaN."""
    example = book.Example(**own(V=0.0) | {"c": [1000, 0, 0], "y": [[1, 0, 0], [0, 0, 0]] * 2})
    found = book.compute(example)
    assert found.loss_t == [0.0] * 4
    assert_close(np.asarray(found.d_loss_t), np.ones(4), "10.17", k=8)


def test_outputs_beyond_what_exp_can_take_are_refused():
    example = book.Example(**own() | {"V": [[1e30] * 5] * 3})
    with pytest.raises(ValueError, match=r"^o\(1\): expected outputs up to 1e\+17 in magnitude"):
        book.differentiate(example)


def test_progress_counts_to_the_end():
    seen = []
    book.differentiate(book.draw(steps=5), progress=lambda *counts: seen.append(counts))
    assert seen == [(done, 10) for done in range(10)]
    seen.clear()
    book.compute(book.draw(steps=5), progress=lambda *counts: seen.append(counts))
    assert seen == [(done, 5) for done in range(5)]


def test_errors_are_those_of_nested_lists():
    """The largest difference, in eps of the scale; 0 where all is 0."""
    error = book.checks.error_in_eps
    eps = Decimal("1e-10")
    assert error([1.0, [2.0]], [Decimal(1), [Decimal(2) + 8 * eps]], Decimal(4), eps) == 2.0
    assert error([0.0], [Decimal(0)], Decimal(0), eps) == 0.0
    assert error([1.0], [Decimal(0)], Decimal(0), eps) == float("inf")
    assert error([float("nan")], [Decimal(0)], Decimal(1), eps) == float("inf")
    assert list(flat([1, (2, [3])])) == [1, 2, 3]
