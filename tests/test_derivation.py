"""docs/derivation.md: no stale quotation, no number typed by hand, every block runs."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
from conformance.tolerances import assert_close

from portable_rnn import book

DOCS = Path(__file__).parent.parent / "docs"
PAGE = (DOCS / "derivation.md").read_text(encoding="utf-8")


def load(name):
    spec = importlib.util.spec_from_file_location(name, DOCS / "figures" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


derivation = load("derivation")


def test_every_quotation_and_number_is_what_the_generator_makes():
    assert derivation.renewed(PAGE) == PAGE, "run: python docs/figures/derivation.py"


def test_every_equation_occurs_once_with_its_number():
    tags = re.findall(r"\\tag\{(10\.\d+)\}", PAGE)
    assert tags == [f"10.{k}" for k in range(8, 29)]


def test_a_changed_quotation_or_number_is_noticed():
    line = "        y = y + self.bias\n"
    assert PAGE.count(line) == 1
    for right, wrong in ((line, line.replace("+", "-")), ("0.29492", "0.29493")):
        assert derivation.renewed(PAGE.replace(right, wrong)) == PAGE != PAGE.replace(right, wrong)
    for words in ('from "nowhere" to "y"', 'from "y = " to "nowhere"'):
        with pytest.raises(ValueError, match="'nowhere'"):
            derivation.code(f"_engine.affine.Linear.__call__ {words}")


def test_code_that_does_not_run_is_all_quoted():
    """Blocks marked py are quotations, blocks marked python run, and there is nothing else."""
    written = derivation.PART.sub("", PAGE)
    assert set(re.findall(r"^```(\w+)", written, re.MULTILINE)) == {"python", "sh"}


def test_no_number_is_typed():
    """Outside of generated parts and of code that runs, there are no decimals but these."""
    written = derivation.PART.sub("", re.sub(r"```.*?```", "", PAGE, flags=re.DOTALL))
    typed = set(re.findall(r"-?\d+\.\d+", written))
    equations = {f"10.{k}" for k in range(8, 29)} | {"10.2"}  # and section 10.2.1
    assert typed - equations == {"0.5", "1.0", "1.5"}  # the radii of the picture


def printed(part):
    """Return the numbers of a generated part that have five decimals."""
    (text,) = re.findall(rf"^<!-- numbers: {part} -->\n(.*?)^<!-- end", PAGE, re.M | re.S)
    return [float(number) for number in re.findall(r"-?\d+\.\d{5}\b", text)]


def close(got, want):
    got, want = np.ravel(got), np.asarray(want)
    return got.shape == want.shape and np.max(np.abs(got - want)) <= 0.5e-5 + 1e-14


def test_the_numbers_of_every_equation_are_those_of_the_library():
    example = book.draw()
    found = book.compute(example)
    seen = set()
    for check in book.compare(example, found, book.differentiate(example)):
        seen.add(check.equation.number)
    for number in re.findall(r"^<!-- numbers: (10\.\d+)", PAGE, re.MULTILINE):
        got = [
            value
            for check in book.compare(example, found, book.differentiate(example))
            if check.equation.number == number
            for value in book.checks.flat(check.got)
        ]
        assert close(got, printed(number)), number
        seen.discard(number)
    assert seen == {"10.14", "10.17", "Q1", "Q2", "Q3"}  # stated, or under another heading


def test_the_numbers_of_the_question_are_those_of_the_library():
    one, other = book.draw(), book.draw(targets="general")
    found, found_other = book.compute(one), book.compute(other)
    matrix = [np.outer(f.y_hat[0], np.ones(3)) - np.eye(3) for f in (found, found_other)]
    naive = np.subtract(found_other.y_hat[0], other.y[0])
    want = [*matrix[0].flat, *found.matrix_times_y[0], *matrix[1].flat]
    want += [*found_other.matrix_times_y[0], *naive, *found_other.d_o[0]]
    assert close(want, printed("question"))
    assert close(found.jacobian[0], printed("jacobian"))
    sums = [*found.d_y_hat[0], *found.by_way_of_y_hat[0], *np.negative(found.from_output[0])]
    assert close(sums, printed("cancellation"))


def test_the_numbers_of_the_copied_index():
    """By the quotient rule as the question writes it: v_1 for v_2 and v_3 in the bracket alone."""
    example = book.draw()
    found = book.compute(example)
    V, c, h = (np.asarray(rows) for rows in (example.V, example.c, found.h[0]))
    e = np.exp(c + V @ h)
    bracket = V[0, 0] * e[0] + V[1, 0] * np.exp(c[1] + V[0] @ h) + V[2, 0] * np.exp(c[2] + V[0] @ h)
    wrong = (V[0, 0] * e[0] * e.sum() - bracket * e[0]) / e.sum() ** 2
    assert close([found.jacobian[0][0][0], wrong], printed("index"))
    assert printed("index") == [-0.03521, -0.12767]


def test_the_answer_in_one_line():
    """Transposed, ∂ŷ/∂h is -Vᵀ M diag(ŷ) for M = ŷ1ᵀ - I; times -y/ŷ, it is Vᵀ M y = Vᵀ ∇_o L."""
    for kind in ("one-hot", "general"):
        example = book.draw(targets=kind)
        exact = book.differentiate(example)
        V, y = np.asarray(example.V), np.asarray(example.y)
        scale = float(max(1.0, np.max(y)))
        for t, p in enumerate(np.asarray(exact.y_hat, dtype=float)):
            M = np.outer(p, np.ones(3)) - np.eye(3)
            jacobian = np.asarray(exact.jacobian[t], dtype=float).T
            want = np.asarray(exact.from_output[t], dtype=float)
            assert_close(-V.T @ M @ np.diag(p), jacobian, "the Jacobian", scale=1.0, k=8)
            assert_close(jacobian @ (-y[t] / p), want, "the chain rule", scale=scale, k=8)
            assert_close(V.T @ M @ y[t], want, "Vᵀ M y", scale=scale, k=8)
            assert np.max(np.abs(-V.T @ np.diag(p) @ M - jacobian)) > 0.01
            with pytest.raises(ValueError, match="mismatch"):
                np.diag(p) @ V.T @ M


def test_the_page_runs(capsys):
    names = {}
    blocks = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 18
    for source in blocks:
        exec(compile(source, "derivation.md", "exec"), names)
    shown = capsys.readouterr().out
    assert shown.count("eps") == PAGE.count("\ncheck(")
    assert "3x3 times 5x3 does not conform" in shown


def test_the_pictures_are_up_to_date():
    """Except for the last digits: the norms are computed, and machines round differently."""
    pictures = load("pictures")
    number = re.compile(r"-?\d+\.\d+")
    for name, draw in pictures.PICTURES.items():
        kept = (DOCS / "images" / name).read_text(encoding="utf-8")
        drawn = draw()
        assert number.sub("#", kept) == number.sub("#", drawn), f"{name}: run {pictures.__file__}"
        pairs = zip(number.findall(kept), number.findall(drawn), strict=True)
        assert all(abs(float(a) - float(b)) < 0.11 for a, b in pairs), name
        assert f"(images/{name})" in PAGE


def test_gradients_vanish_and_explode_as_the_picture_says():
    pictures = load("pictures")
    ends = [pictures.gradient_norms(radius)[-1] for radius in pictures.RADII]
    assert ends[0] < 1e-15
    assert 1e-3 < ends[1] < 1.0
    assert ends[2] > 10.0
