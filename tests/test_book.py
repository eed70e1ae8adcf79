"""Deep Learning (Goodfellow, Bengio, Courville 2016), section 10.2.2, in 50 digits.

The network of the book, 4 inputs, 5 hidden units and 3 outputs, against the book's recursion in
mpmath numbers (conformance/oracles/book_recursion.py), which checks itself: its gradients agree
with central differences to 1e-25. Then the package `portable_rnn.book`.
"""

import doctest
import importlib
import pkgutil
import re
import subprocess
import sys
from decimal import Decimal

import mpmath
import numpy as np
import pytest
from conformance.oracles.book_recursion import exact, forward, recursion
from conformance.tolerances import assert_close

import portable_rnn as prnn
from portable_rnn import book
from portable_rnn._arrays import libraries as backends

from . import command

I, H, O = 4, 5, 3  # noqa: E741
LETTERS = {
    "U": "weight_ih_l0",
    "W": "weight_hh_l0",
    "b": "bias_ih_l0",
    "V": "readout.weight",
    "c": "readout.bias",
}
SHAPES = {"U": (H, I), "W": (H, H), "b": (H,), "V": (O, H), "c": (O,), "h0": (H,)}


@pytest.fixture(autouse=True)
def fifty_digits():
    with mpmath.workdps(50):
        yield


def draw(steps, seed):
    rng = np.random.default_rng(seed)
    shapes = SHAPES | {"x": (steps, I)}
    return {letter: rng.uniform(-0.8, 0.8, shape) for letter, shape in shapes.items()}


def targets(kind, steps):
    """Return targets as the library takes them, and the same as rows."""
    rng = np.random.default_rng(99)
    labels = rng.integers(0, O, steps)
    if kind == "labels":
        return labels, np.eye(O)[labels]
    rows = np.eye(O)[labels] if kind == "one-hot rows" else rng.uniform(0.0, 1.5, (steps, O))
    return rows, rows


@pytest.mark.parametrize("steps", [1, 2, 9])
@pytest.mark.parametrize("kind", ["labels", "one-hot rows", "rows of any sum"])
def test_loss_and_all_seven_gradients(kind, steps):
    p = draw(steps, seed=steps)
    given, rows = targets(kind, steps)
    model = prnn.RNN(input_size=I, hidden_size=H, output_size=O)
    params = {name: p[letter] for letter, name in LETTERS.items()}
    params["bias_hh_l0"] = np.zeros(H)  # torch splits b in two; the book does not
    result = prnn.bptt(model, params, p["x"], given, state=p["h0"][None, :], reduction="sum")

    numbers = {letter: exact(array) for letter, array in p.items()}
    loss = forward(numbers, exact(rows))["loss"]
    want = recursion(numbers, exact(rows))
    assert_close(result.loss, np.asarray(float(loss)), "loss", k=8)
    found = {letter: result.grads[name] for letter, name in LETTERS.items()}
    found |= {"x": result.grad_x, "h0": result.grad_state[0]}
    scale = float(max(abs(d) for row in want["d_o"] for d in row))
    for letter, got in found.items():
        ref = want[f"d_{letter}"]
        assert_close(got, np.asarray(ref, dtype=np.float64), letter, scale=scale, k=8)
    assert np.array_equal(result.grads["bias_hh_l0"], result.grads["bias_ih_l0"])


@pytest.mark.parametrize("letter", [*SHAPES, "x"])
def test_the_oracle_agrees_with_central_differences(letter):
    p = {name: exact(array) for name, array in draw(4, seed=0).items()}
    y = exact(targets("rows of any sum", 4)[1])
    gradient = recursion(p, y)[f"d_{letter}"]
    step = mpmath.mpf(10) ** -16
    place = p[letter]
    if isinstance(place[0], list):  # one number in the middle of a matrix or the inputs
        place, gradient = place[1], gradient[1]
    here, losses = place[2], []
    for move in (step, -step):
        place[2] = here + move
        losses.append(forward(p, y)["loss"])
    assert abs((losses[0] - losses[1]) / (2 * step) - gradient[2]) < mpmath.mpf(10) ** -25


# ------------------------------------------------------------------ the worked example


def worst(example, name="numpy", dtype="float64"):
    found = backends.find(name, None, dtype)
    computed = book.compute(example, found.xp, dtype, found.device)
    checks = book.compare(example, computed, book.differentiate(example), dtype)
    return max(check.error for check in checks)


@pytest.mark.parametrize("kind", ["one-hot", "general"])
@pytest.mark.parametrize("steps", [1, 2, 3, 10, 50])
def test_all_checks_are_within_eight_eps(steps, kind):
    for seed in range(10):
        assert worst(book.draw(steps=steps, seed=seed, targets=kind)) <= 8.0


@pytest.mark.parametrize("kind", ["one-hot", "general"])
def test_all_checks_are_within_eight_eps_in_float32(kind):
    for seed in range(10):
        assert worst(book.draw(steps=9, seed=seed, targets=kind), dtype="float32") <= 8.0


@pytest.mark.no_products  # of NumPy's
@pytest.mark.parametrize(("name", "kind"), [("torch", "one-hot"), ("jax", "general")])
def test_all_checks_are_within_eight_eps_on_other_libraries(name, kind):
    """In a new process, since JAX's float64 setting is global."""
    pytest.importorskip(name)
    assert f"{name} " in call("--backend", name, "--targets", kind, "--steps", "7")


def test_all_checks_are_within_eight_eps_for_other_sizes():
    assert worst(book.draw(1, 1, 2, steps=1)) <= 8.0
    assert worst(book.draw(7, 16, 9, steps=20, targets="general")) <= 8.0
    assert worst(book.draw(2, 30, 4, steps=5)) <= 8.0


def test_the_tape_agrees_with_mpmath_to_45_digits():
    example = book.draw(steps=6, targets="general")
    p = {letter: exact(numbers) for letter, numbers in vars(example).items()}
    y = p.pop("y")
    want = forward(p, y) | recursion(p, y)
    found = book.differentiate(example)._asdict()
    shared = sorted(want.keys() & found.keys())
    assert len(shared) == 17, shared
    for name in shared:
        got = [mpmath.mpf(str(value)) for value in book.checks.flat(found[name])]
        ref = list(book.checks.flat(want[name]))
        assert len(got) == len(ref)
        assert max(abs(g - r) for g, r in zip(got, ref, strict=True)) < mpmath.mpf(10) ** -45


def test_the_numbers_of_a_seed_never_change_and_are_exact():
    example = book.draw()
    assert example.U[0] == (0.5625, 0.375, -0.125, -0.375)
    assert example.y == ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 0.0, 1.0))
    assert example.one_hot
    assert not book.draw(targets="general").one_hot
    for value in book.checks.flat(tuple(vars(book.draw(9, 40, 9)).values())):
        assert value == np.float16(value)
    assert book.draw(seed=1) != example


def test_an_error_is_seen_and_measured():
    example = book.draw()
    found, exact_ = book.compute(example), book.differentiate(example)
    d_c = [found.d_c[0] + 1e-13, *found.d_c[1:]]
    failed = [c for c in book.compare(example, found._replace(d_c=d_c), exact_) if not c.passed]
    assert [c.equation.number for c in failed] == ["10.22"]
    scale = max(Decimal(1), *map(abs, exact_.d_c))
    assert failed[0].error == pytest.approx(1e-13 / 2**-52 / float(scale), rel=0.01)
    d_c[0] = float("nan")
    failed = [c for c in book.compare(example, found._replace(d_c=d_c), exact_) if not c.passed]
    assert [c.equation.number for c in failed] == ["10.22"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"steps": 0}, "steps: expected at least 1, got 0"),
        ({"outputs": 1}, "outputs: expected at least 2, got 1"),
        ({"hidden": -1}, "hidden: expected at least 1, got -1"),
        ({"seed": -1}, "seed: expected at least 0, got -1"),
        ({"targets": "rows"}, "targets: expected 'one-hot' or 'general', got 'rows'"),
    ],
)
def test_bad_options_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        book.draw(**options)


def test_other_dtypes_are_refused():
    example = book.draw()
    with pytest.raises(ValueError, match="dtype: expected 'float32' or 'float64', got 'float16'"):
        book.compare(example, book.compute(example), book.differentiate(example), "float16")


def test_examples_in_docstrings():
    modules = [book, *(m.name for m in pkgutil.iter_modules(book.__path__, "portable_rnn.book."))]
    tried = 0
    for module in modules:
        loaded = importlib.import_module(module) if isinstance(module, str) else module
        failed, attempted = doctest.testmod(loaded)
        assert not failed
        tried += attempted
    assert tried >= 15


# ---------------------------------------------------------------- the command


def call(*args, code=0, columns="120"):
    status, shown = command.call("book", *args, COLUMNS=columns, NO_COLOR="1")
    assert status == code, shown
    assert "Traceback" not in shown
    return shown


def test_the_command_prints_every_equation_and_the_largest_error():
    shown = call()
    for number in [*(f"10.{k}" for k in range(8, 29)), "Q1", "Q2", "Q3"]:
        assert re.search(rf"^{number}  \w", shown, re.MULTILINE), number
    assert "55 checks, all within 8 eps" in shown
    d_h = book.differentiate(book.draw()).d_h[0]
    row = " ".join(f"{value:8.5f}" for value in d_h)
    assert len(re.findall(re.escape(row), shown)) == 2  # the library's and the independent one


def test_a_narrow_terminal_and_large_sizes():
    shown = call("--hidden", "20", "--steps", "30", columns="80")
    assert max(map(len, shown.splitlines())) <= 80
    assert "…" in shown
    assert "more" in shown
    assert "…" not in call("--hidden", "20", "--all", "--only", "10.9")


def test_only_some_equations():
    shown = call("--only", "10.21", "--only", "10.28", "--digits", "12")
    assert re.findall(r"^(?:10|Q)\S*", shown, re.MULTILINE) == ["10.21", "10.28"]
    assert "not checked" not in shown


def test_equations_that_cannot_be_checked_are_reported():
    assert "not checked: 10.15, 10.16, 10.20, 10.21, which need longer" in call("--steps", "1")
    assert "not checked: 10.15, 10.16, which need one-hot targets" in call("--targets", "general")


def test_a_failed_check_is_named_and_is_the_exit_status():
    broken = (
        "import portable_rnn.nonlinearities as n; n.functions.cache_clear();"
        "n._KINDS['tanh'] = (n.tanh, lambda xp, h: 1.0 - h, ());"
        "from portable_rnn.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", broken, "book"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stdout + done.stderr
    (failed,) = re.findall(r"more than 8 eps off: (.*)", done.stdout)
    assert failed == "10.20, 10.21, 10.23, 10.25, 10.26, 10.27, 10.28"


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--steps", "0"), "error: steps: expected at least 1, got 0"),
        (("--only", "10.7"), "error: only: expected a number from 10.8"),
        (("--dtype", "float16"), "error: dtype: expected 'float32' or 'float64', got 'float16'"),
        (("--backend", "abacus"), "error: backend: expected 'numpy'"),
    ],
)
def test_bad_arguments_are_one_line(args, words):
    shown = call(*args, code=2)
    assert " ".join(shown.split()).startswith(words)
    assert "Traceback" not in shown


def test_latex_is_a_document_with_every_equation():
    shown = call("--latex", "--steps", "2")
    assert shown.startswith("\\documentclass")
    assert shown.rstrip().endswith("\\end{document}")
    for k in range(8, 29):
        assert f"\\tag{{10.{k}}}" in shown
    for opening, closing in (("{", "}"), ("\\begin{", "\\end{")):
        assert shown.count(opening) == shown.count(closing)
    assert shown.isascii()
    sentences = [line for line in shown.splitlines() if line.endswith(":")]
    assert len(sentences) == 24
    for sentence in sentences:  # what LaTeX reads as mathematics is between dollars
        assert not re.search(r"[_^\\\\]", re.sub(r"\$.*?\$", "", sentence)), sentence
    first = shown.split("a^{(1)} = ")[1].split("\\end")[0]
    want = [f"{value:.5f}" for value in book.differentiate(book.draw(steps=2)).a[0]]
    assert re.findall(r"-?\d\.\d+", first) == want
