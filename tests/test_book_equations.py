"""Equations 10.8 to 10.28 of *Deep Learning*: one test for each, named by its number.

Each compares what the library computes with two references: the exact derivative of the unrolled
loss (SymPy, three steps, 2-2-2), and the book's formulas with 50 digits (mpmath, 4-5-3, three and
nine steps). Targets are one-hot rows and rows of any sum. Allowed are 8 eps of float64.
test_book_mutants.py breaks the formulas of the library one by one, and checks that the test of
that number fails.
"""

import functools
import itertools

import mpmath
import numpy as np
import pytest
from conformance.oracles import book_recursion, book_symbols
from conformance.tolerances import assert_close

import portable_rnn as prnn
from portable_rnn import book

EQUATIONS = {equation.number: equation for equation in book.EQUATIONS}
STEPS = {"last": slice(-1, None), "before last": slice(None, -1), "first two": slice(0, 2)}
CASES = [
    (oracle, sizes, steps, kind)
    for oracle, sizes, steps in (
        ("mpmath", (4, 5, 3), 3),
        ("mpmath", (4, 5, 3), 9),
        ("SymPy", book_symbols.SIZES, book_symbols.STEPS),
    )
    for kind in ("one-hot", "general")
]


@functools.cache
def case(oracle, sizes, steps, kind, seed=0):
    """Return an example, what the library computes for it, and the right values."""
    example = book.draw(*sizes, steps=steps, seed=seed, targets=kind)
    with mpmath.workdps(50):
        p = {letter: book_recursion.exact(numbers) for letter, numbers in vars(example).items()}
        y = p.pop("y")
        if oracle == "SymPy":
            want = book_symbols.derivatives(p, y)
        else:
            want = book_recursion.forward(p, y) | book_recursion.recursion(p, y)
        want["log_p"] = [-loss for loss in want["loss_t"]]
        want["log_joint"] = mpmath.fsum(want["log_p"][:2])
        want["d_loss_t"] = [mpmath.mpf(1)] * steps
    return example, book.compute(example), want


def array(tree):
    return np.asarray(tree, dtype=np.float64)


def holds(number):
    """Compare every quantity of an equation in every case."""
    __tracebackhide__ = True
    equation = EQUATIONS[number]
    for what in CASES:
        example, found, want = case(*what)
        letters = ("U", "W", "b", "V", "c", "h0", "x") if equation.forward else ("y",)
        scale = max(np.max(np.abs(getattr(example, letter))) for letter in letters)
        if not equation.forward:
            scale = max(scale, np.max(np.abs(array(want["d_o"]))))
        steps = STEPS.get(equation.steps, ...)
        for part in equation.parts:
            got, ref = array(getattr(found, part.field)), array(want[part.same_as or part.field])
            assert_close(
                got[steps], ref[steps], f"{number}, {part.field} of {what}", scale=scale, k=8
            )


def test_equation_10_8_what_enters_the_nonlinearity():
    holds("10.8")


def test_equation_10_9_the_hidden_state():
    holds("10.9")


def test_equation_10_10_the_output():
    holds("10.10")


def test_equation_10_11_the_softmax():
    holds("10.11")
    for what in CASES:
        assert np.allclose(np.sum(case(*what)[1].y_hat, axis=1), 1.0, rtol=0, atol=1e-15)


def test_equation_10_12_the_loss_of_the_sequence():
    holds("10.12")


def test_equation_10_13_is_the_sum_over_the_steps():
    holds("10.13")
    for what in CASES:
        _, found, _ = case(*what)
        assert found.loss == pytest.approx(sum(found.loss_t), rel=1e-14)


def test_equation_10_14_is_a_negative_log_likelihood():
    """The probability of y(t) is the entry of ŷ(t) that the label y(t) names."""
    holds("10.14")
    for oracle, sizes, steps, _ in CASES:
        example, found, _ = case(oracle, sizes, steps, "one-hot")
        labels = np.argmax(example.y, axis=1)
        p = np.asarray(found.y_hat)[np.arange(steps), labels]
        loss, _ = prnn.losses.softmax_cross_entropy(np.asarray(found.o), labels, reduction="sum")
        assert loss == pytest.approx(-np.sum(np.log(p)), rel=1e-14)


def teacher_forced(first, second):
    """Return the library's losses of two steps, with the first label fed to the second step.

    And p(y(2) | y(1), ...) and p(y(1) | ...), from the formulas in 50 digits.
    """
    example = book.draw(4, 5, 3, steps=2)
    x = np.asarray(example.x)
    x[1, 0] += first - 1.0  # y(1) may enter in any way
    params = {
        "weight_ih_l0": array(example.U),
        "weight_hh_l0": array(example.W),
        "bias_ih_l0": array(example.b),
        "bias_hh_l0": np.zeros(5),
        "readout.weight": array(example.V),
        "readout.bias": array(example.c),
    }
    model = prnn.RNN(input_size=4, hidden_size=5, output_size=3)
    h0, labels = array(example.h0)[None, :], np.asarray([first, second])
    loss = prnn.bptt(model, params, x, labels, state=h0, reduction="sum").loss
    with mpmath.workdps(50):
        p = {letter: book_recursion.exact(numbers) for letter, numbers in vars(example).items()}
        y_hat = book_recursion.forward(p | {"x": book_recursion.exact(x)}, p["y"])["y_hat"]
        return loss, y_hat[1][second], y_hat[0][first]


def test_equation_10_15_the_joint_likelihood_of_two_steps():
    """With the label fed back, e to the minus the loss is a probability of pairs of labels."""
    holds("10.15")
    pairs = itertools.product(range(3), repeat=2)
    joint = [np.exp(-teacher_forced(*pair)[0]) for pair in pairs]
    assert sum(joint) == pytest.approx(1.0, rel=1e-14)
    assert min(joint) > 0.0


def test_equation_10_16_splits_into_one_step_after_the_other():
    holds("10.16")
    for pair in itertools.product(range(3), repeat=2):
        loss, second_given_first, first = teacher_forced(*pair)
        want = float(mpmath.log(second_given_first) + mpmath.log(first))
        assert -loss == pytest.approx(want, rel=1e-14)


def test_equation_10_17_every_step_counts_once():
    holds("10.17")


def test_equation_10_18_the_gradient_in_the_outputs():
    holds("10.18")
    for oracle, sizes, steps, _ in CASES:  # the book's own form, by the label
        example, found, want = case(oracle, sizes, steps, "one-hot")
        for d_o, y_hat, label in zip(
            found.d_o, want["y_hat"], np.argmax(example.y, axis=1), strict=True
        ):
            for i, d in enumerate(d_o):
                assert d == pytest.approx(float(y_hat[i] - (i == label)), rel=0, abs=4e-16)


def test_equation_10_19_the_last_hidden_state():
    holds("10.19")


def test_equation_10_20_comes_from_later_and_from_the_output():
    holds("10.20")
    for what in CASES:
        _, found, _ = case(*what)
        both = np.asarray(found.from_later) + np.asarray(found.from_output)
        assert_close(np.asarray(found.d_h), both, f"the sum of both ways, {what}", scale=1.0, k=8)


def test_equation_10_21_the_recursion():
    holds("10.21")


def test_equation_10_22_the_gradient_in_c():
    holds("10.22")


def test_equation_10_23_the_gradient_in_b():
    holds("10.23")


def test_equation_10_24_the_gradient_in_V():  # noqa: N802
    holds("10.24")


def test_equation_10_25_the_gradient_in_W_step_by_step():  # noqa: N802
    holds("10.25")


def test_equation_10_26_the_gradient_in_W():  # noqa: N802
    holds("10.26")


def test_equation_10_27_the_gradient_in_U_step_by_step():  # noqa: N802
    holds("10.27")


def test_equation_10_28_the_gradient_in_U():  # noqa: N802
    holds("10.28")


def test_every_equation_from_10_8_to_10_28_has_its_test():
    numbers = [f"10.{k}" for k in range(8, 29)]
    assert [number for number in EQUATIONS if not number.startswith("Q")] == numbers
    for number in numbers:
        named = f"test_equation_{number.replace('.', '_')}_"
        assert len([name for name in globals() if name.startswith(named)]) == 1, number


# ---------------------------------------------------------------- the question of the softmax


def differentiated_y_hat():
    """Return SymPy's ∂ŷ/∂h of one step, by hand-sized numbers, and the closed form's parts."""
    import sympy

    example = book.draw()
    h = sympy.symbols("h1:6")
    o = [
        sympy.Rational(c) + sum(sympy.Rational(v) * h_j for v, h_j in zip(row, h, strict=True))
        for c, row in zip(example.c, example.V, strict=True)
    ]
    total = sum(sympy.exp(value) for value in o)
    at = dict(zip(h, map(sympy.Rational, example.h0), strict=True))
    y_hat = [sympy.exp(value) / total for value in o]
    jacobian = [[sympy.diff(p, h_j).subs(at).evalf(30) for h_j in h] for p in y_hat]
    return example, [p.subs(at).evalf(30) for p in y_hat], jacobian


def test_the_softmax_jacobian():
    """∂ŷ/∂h = (diag(ŷ) - ŷ ŷᵀ) V, of shape 3 x 5."""
    example, y_hat, jacobian = differentiated_y_hat()
    p, V = array(y_hat), array(example.V)
    closed = (np.diag(p) - np.outer(p, p)) @ V
    assert closed.shape == (3, 5)
    assert_close(closed, array(jacobian), "the Jacobian", scale=1.0, k=8)
    for what in CASES:
        example, found, _ = case(*what)
        exact = book.differentiate(example)
        assert_close(array(found.jacobian), array(exact.jacobian), f"Q2, {what}", scale=1.0, k=8)


def test_three_by_three_times_five_by_three_does_not_conform():
    p, V = np.ones(3) / 3, array(book.draw().V)
    with pytest.raises(ValueError, match="mismatch"):
        (np.diag(p) - np.outer(p, p)) @ V.T


@pytest.mark.parametrize("kind", ["one-hot", "general"])
def test_the_factor_y_hat_cancels(kind):
    """Σ_i (∂L/∂ŷ_i) (∂ŷ_i/∂h_j) is Vᵀ ∇_o L, though ∂ŷ_i/∂h_j has the factor ŷ_i."""
    for oracle, sizes, steps, _ in CASES[::2]:
        example, found, want = case(oracle, sizes, steps, kind)
        scale = np.max(array(example.y))
        got, ref = array(found.by_way_of_y_hat), array(want["from_output"])
        assert_close(got, ref, "the sum through ŷ", scale=scale, k=8)
        # With one minus sign too many, it is the negative of the gradient.
        assert np.max(np.abs(-got - ref)) > 0.1


@pytest.mark.parametrize("kind", ["one-hot", "general"])
def test_the_matrix_of_the_question_times_y_is_10_18(kind):
    for oracle, sizes, steps, _ in CASES[::2]:
        example, found, want = case(oracle, sizes, steps, kind)
        scale = np.max(array(example.y))
        got, ref = array(found.matrix_times_y), array(want["d_o"])
        assert_close(got, ref, "(ŷ1ᵀ - I) y", scale=scale, k=8)


def test_general_targets_have_the_gradient_y_hat_times_their_sum_minus_y():
    """Not ŷ - y, which is the same only where the sum is 1."""
    example, found, want = case(*CASES[1])
    y, y_hat = array(example.y), array(want["y_hat"])
    assert np.all(np.abs(y.sum(axis=1) - 1.0) > 0.1)
    scale = np.max(y)
    general = y_hat * y.sum(axis=1, keepdims=True) - y
    assert_close(array(found.d_o), general, "ŷ Σy - y", scale=scale, k=8)
    assert np.max(np.abs(array(found.d_o) - (y_hat - y))) > 0.1
