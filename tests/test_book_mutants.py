"""Breaking a formula of the library fails the test of its equation.

Each entry is an equation, and one line of the library made wrong: a plausible mistake. The broken
library is imported, the test of the equation is called on it, and must fail by its assertion.
(Other tests of the same file may fail too: a wrong h gives a wrong o.)
"""

import importlib
import importlib.util
import shutil
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

import portable_rnn

pytestmark = pytest.mark.no_products

SOURCE = Path(portable_rnn.__file__).parent
TESTS = Path(__file__).with_name("test_book_equations.py")

BROKEN = [
    ("10.8", "b subtracted", "_engine/affine.py", "y = y + self.bias", "y = y - self.bias"),
    ("10.8", "U x subtracted", "cells/elman.py", "_f(xp, ax + ah)", "_f(xp, ah - ax)"),
    (
        "10.9",
        "a sigmoid for the tanh",
        "activations.py",
        "return xp.tanh(a)",
        "return 0.5 * xp.tanh(0.5 * a) + 0.5",
    ),
    (
        "10.10",
        "c left out",
        "_engine/run.py",
        "y = stack.readout(xp, y)",
        "y = stack.readout._replace(bias=None)(xp, y)",
    ),
    (
        "10.11",
        "the sum's logarithm left out",
        "losses/classification.py",
        "return z - xp.log(xp.sum(xp.exp(z), axis=-1, keepdims=True, dtype=z.dtype))",
        "return z - xp.sum(xp.exp(z), axis=-1, keepdims=True, dtype=z.dtype)",
    ),
    (
        "10.12",
        "the sign lost",
        "losses/classification.py",
        "-sum_over(xp, multiply(xp, y, log_p), -1)",
        "sum_over(xp, multiply(xp, y, log_p), -1)",
    ),
    (
        "10.13",
        "a mean for the sum",
        "_reduction.py",
        'if reduction == "sum":',
        "if not reduction:",
    ),
    (
        "10.14",
        "the label's neighbour",
        "_labels.py",
        "labels == row(xp, axis, labels.ndim)",
        "labels == row(xp, axis + 1, labels.ndim)",
    ),
    (
        "10.15",
        "probabilities that do not sum to 1",
        "losses/classification.py",
        "log_p = log_softmax(xp, outputs)",
        "log_p = outputs",
    ),
    (
        "10.16",
        "the first step forgotten",
        "_executors/eager.py",
        "            carry, y_t = f(carry, x_t)\n",
        "            _, y_t = f(carry, x_t)\n",
    ),
    (
        "10.17",
        "every step counted twice",
        "_reduction.py",
        "return xp.ones(outputs.shape[:-1]",
        "return 2.0 * xp.ones(outputs.shape[:-1]",
    ),
    (
        "10.18",
        "one minus sign too many",
        "losses/classification.py",
        "xp.exp(log_p) * total - y\n",
        "y - xp.exp(log_p) * total\n",
    ),
    (
        "10.18",
        "right for one-hot rows alone",
        "losses/classification.py",
        "xp.exp(log_p) * total - y\n",
        "xp.exp(log_p) - y\n",
    ),
    (
        "10.18",
        "right where the sum is 1, of another power",
        "losses/classification.py",
        "xp.exp(log_p) * total - y\n",
        "xp.exp(log_p) * total * total - y\n",
    ),
    (
        "10.19",
        "the last output ignored",
        "_engine/stack.py",
        "            d_y = stack.readout.vjp_x(s.xp, d_y)\n",
        "            d_y = stack.readout.vjp_x(s.xp, d_y)\n"
        "            d_y = s.xp.concat([d_y[:-1, ...], 0.0 * d_y[-1:, ...]])\n",
    ),
    (
        "10.19",
        "one minus sign too many",
        "_engine/stack.py",
        "d_y = stack.readout.vjp_x(s.xp, d_y)",
        "d_y = -stack.readout.vjp_x(s.xp, d_y)",
    ),
    (
        "10.20",
        "what comes from later is lost",
        "_engine/bptt.py",
        "d_state = (plus(d_state[0], d_h), *d_state[1:])",
        "d_state = (d_state[0] if d_h is None else d_h, *d_state[1:])",
    ),
    (
        "10.21",
        "W for its transpose",
        "_engine/recurrence.py",
        "d_h = w.hh.vjp_x(xp, d_ah)",
        "d_h = Linear(w.hh.weight.T).vjp_x(xp, d_ah)",
    ),
    (
        "10.21",
        "h for its square",
        "activations.py",
        "return 1.0 - h * h",
        "return 1.0 - h",
    ),
    (
        "10.22",
        "the last step alone",
        "_engine/stack.py",
        "stack.readout.vjp_parameters(s.xp, h, d_y, s.products)",
        "stack.readout.vjp_parameters(s.xp, h, d_y, s.products)._replace(\n"
        "            bias=s.products.bias(s.xp, stack.readout.bias, d_y[-1:, ...])\n"
        "        )",
    ),
    (
        "10.23",
        "the first step dropped",
        "_engine/affine.py",
        "d_b = products.bias(xp, self.bias, d_y)",
        "d_b = products.bias(xp, self.bias, d_y[1:, ...])",
    ),
    (
        "10.24",
        "h(t-1) for h(t)",
        "_engine/stack.py",
        "            h = s.executor.join(s.xp, records[-1].hidden)\n",
        "            h = [records[-1].before[0], *records[-1].hidden[:-1]]\n"
        "            h = s.executor.join(s.xp, h)\n",
    ),
    (
        "10.25",
        "the diagonal left out",
        "cells/elman.py",
        "d_a = d_h * self._slope(xp, h)",
        "d_a = d_h",
    ),
    (
        "10.26",
        "h(t) for h(t-1)",
        "_engine/bptt.py",
        "loop.shift(xp, record.before[0], record.hidden, reverse=s.reverse)",
        "record.hidden",
    ),
    (
        "10.26",
        "zero for h(0)",
        "_executors/eager.py",
        "else [first, *sequence[:-1]]",
        "else [0.0 * first, *sequence[:-1]]",
    ),
    (
        "10.27",
        "the diagonal twice",
        "cells/elman.py",
        "d_a = d_h * self._slope(xp, h)",
        "d_a = d_h * self._slope(xp, h) * self._slope(xp, h)",
    ),
    (
        "10.28",
        "time reversed",
        "_engine/recurrence.py",
        "ih=w.ih.vjp_parameters(xp, x, d_ax, products),\n            hh=w.hh.vjp",
        "ih=w.ih.vjp_parameters(xp, xp.flip(x, axis=0), d_ax, products),\n            hh=w.hh.vjp",
    ),
]


@contextmanager
def imported_from(folder):
    """Import the library from a folder; afterwards, restore the previous one."""

    def ours():
        names = [n for n in sys.modules if n == "portable_rnn" or n.startswith("portable_rnn.")]
        return {name: sys.modules.pop(name) for name in names}

    before = ours()
    sys.path.insert(0, str(folder))
    importlib.invalidate_caches()
    try:
        yield
    finally:
        ours()
        sys.path.remove(str(folder))
        sys.modules.update(before)


@contextmanager
def the_tests_on(folder):
    """Load the tests of the equations on the library of a folder; yield a function to find one."""

    def find(number):
        named = f"test_equation_{number.replace('.', '_')}_"
        (test,) = [value for name, value in vars(module).items() if name.startswith(named)]
        return test

    with imported_from(folder):
        spec = importlib.util.spec_from_file_location("equations_of_a_copy", TESTS)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        assert Path(module.prnn.__file__).is_relative_to(folder)
        yield find


def copy_to(folder):
    shutil.copytree(SOURCE, folder / "portable_rnn", ignore=shutil.ignore_patterns("__pycache__"))


@pytest.mark.parametrize(
    ("number", "bug", "module", "right", "wrong"),
    BROKEN,
    ids=[f"{number}-{bug.replace(' ', '_')}" for number, bug, *_ in BROKEN],
)
def test_a_broken_formula_fails_the_test_of_its_number(number, bug, module, right, wrong, tmp_path):
    copy_to(tmp_path)
    path = tmp_path / "portable_rnn" / module
    text = path.read_text(encoding="utf-8")
    assert text.count(right) == 1, f"the line to break is not in {module}: {right}"
    path.write_text(text.replace(right, wrong), encoding="utf-8")
    with the_tests_on(tmp_path) as find:
        test = find(number)
        with pytest.raises(AssertionError):
            test()


def test_the_copy_itself_passes_all_of_them(tmp_path):
    """Otherwise a test might fail only because it is called on a copy."""
    copy_to(tmp_path)
    with the_tests_on(tmp_path) as find:
        for number in sorted({number for number, *_ in BROKEN}):
            find(number)()


def test_no_number_is_left_out():
    assert {number for number, *_ in BROKEN} == {f"10.{k}" for k in range(8, 29)}
