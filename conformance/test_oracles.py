"""The oracles against each other and against the store; and each of them notices mistakes.

Nothing of the library is tested here except its forward pass, against the scalar loop, and as
the function that complex step and central differences differentiate.
"""

import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest

import portable_rnn as prnn

from . import complex_step
from .cells import KINDS
from .oracles import differences, jax_autograd, scalar_loop
from .oracles.numbers import COMPLEX, FLOAT
from .oracles.scalars import recurrent
from .oracles.tape import Tape, Value
from .problems import OTHER_CELLS, TORCH_CELLS
from .references import DERIVATIVES, GRADIENTS, load
from .standard import STANDARD, Standard, few, singles
from .subject import largest, leaves
from .tolerances import assert_close


def by_the_session(case):
    """Leave a case to the session `oracles`, since it involves no code of the library."""
    return pytest.param(case, marks=pytest.mark.when_named)


# Shapes are expensive where each is compiled, and so are problems where each entry is moved.
FEW = [
    *(f"{cell}-default" for cell in TORCH_CELLS),
    "elman-unbatched-relu",
    "gru-gaps-no_bias",
    "lstm-readout-batch_first",
]
TORCH = ["elman", *map(by_the_session, ["gru", "lstm", "projected_lstm"])]
ALL = [
    "lstm",
    *map(by_the_session, [cell for cell in (*TORCH_CELLS, *OTHER_CELLS) if cell != "lstm"]),
]


def short(cell):
    """Return the problems of a cell that plain loops solve quickly."""
    return singles(cell) if cell in TORCH_CELLS else [p for p in few(cell) if p.steps <= 7]


DIGITS_OF_DIFFERENCES = 1e-8 / np.finfo(np.float64).eps  # 8 of 16, in eps


def by_torch(problem):
    from .torch_oracle import reference

    return reference(problem, "float64")


def by_jax(problem):
    return jax_autograd.gradients(problem, problem.arrays("float64"))


def by_tape(problem):
    return scalar_loop.gradients(problem, problem.arrays("float64"), FLOAT)


def by_values(gradient):
    """Return an oracle that uses only values of the library's forward pass."""

    def oracle(problem):
        inputs = problem.arrays("float64")
        state = inputs.state if isinstance(inputs.state, tuple) else (inputs.state,)
        d_state = inputs.d_state if isinstance(inputs.d_state, tuple) else (inputs.d_state,)

        def value(*arrays):
            params = dict(zip(inputs.params, arrays, strict=False))
            x, *state = arrays[len(params) :]
            fwd = prnn.forward(problem.model, params, x, tuple(state))
            after = fwd.state if isinstance(fwd.state, tuple) else (fwd.state,)
            pulled = zip((fwd.outputs, *after), (inputs.d_outputs, *d_state), strict=True)
            return sum(np.sum(array * cotangent) for array, cotangent in pulled)

        arrays = [*inputs.params.values(), inputs.x, *state]
        names = [*(f"d_params[{name}]" for name in inputs.params), "d_x", "d_state[0]"]
        names += ["d_state[1]"] * (len(state) - 1)
        return {name: gradient(value, arrays, index) for index, name in enumerate(names)}

    return oracle


by_complex_step = by_values(complex_step.gradient)
by_differences = by_values(differences.gradient)


def worst(found, problem, k=32.0):
    """Compare results with the store, by the measure of tolerances.py; return the worst error."""
    inputs, wanted = leaves(problem.arrays("float64")), load(problem)
    cotangents = largest(array for name, array in inputs.items() if name.startswith("d_"))
    parameters = largest(array for name, array in inputs.items() if name.startswith("params"))
    scales = {name: cotangents if name.startswith("d_") else parameters for name in wanted}
    return max(
        assert_close(array, wanted[name], f"{name} of {problem}", scale=scales[name], k=k)
        for name, array in found.items()
    )


@pytest.mark.oracle("torch")
@pytest.mark.parametrize("cell", TORCH)
def test_torch(cell, record_error):
    for problem in STANDARD.values():
        if problem.cell == cell and problem.ragged != "mask":  # torch has no gaps
            found = by_torch(problem)
            assert set(found) == set(load(problem))
            record_error(f"oracles: torch {cell}", worst(found, problem))


@pytest.mark.parametrize("cell", ALL)
def test_tape_in_floats(cell, record_error):
    for problem in short(cell):
        found = by_tape(problem)
        assert set(found) == set(load(problem))
        record_error(f"oracles: tape in floats {cell}", worst(found, problem))


@pytest.mark.oracle("jax")
@pytest.mark.parametrize("name", [FEW[0], *map(by_the_session, FEW[1:])])
def test_jax(name, record_error):
    found = by_jax(STANDARD[name])
    assert set(found) == set(load(STANDARD[name]))
    record_error("oracles: jax.vjp", worst(found, STANDARD[name]))


@pytest.mark.parametrize("name", [*FEW, *(f"{cell}-default" for cell in OTHER_CELLS)])
def test_complex_step(name, record_error):
    record_error("oracles: complex step", worst(by_complex_step(STANDARD[name]), STANDARD[name]))


@pytest.mark.parametrize("name", FEW)
def test_differences(name, record_error):
    error = worst(by_differences(STANDARD[name]), STANDARD[name], k=DIGITS_OF_DIFFERENCES)
    record_error("oracles: central differences", error / DIGITS_OF_DIFFERENCES, "1e-8")


@pytest.mark.parametrize("cell", [*TORCH_CELLS, *OTHER_CELLS])
def test_forward_of_the_library_is_the_scalar_loop(cell, record_error):
    for problem in short(cell):
        inputs = problem.arrays("float64")
        outputs, state = scalar_loop.forward(problem, inputs)
        steps = {"lengths": inputs.lengths, "mask": inputs.mask}
        fwd = prnn.forward(problem.model, inputs.params, inputs.x, inputs.state, **steps)
        after = fwd.state if isinstance(fwd.state, tuple) else (fwd.state,)
        for got, want in zip((fwd.outputs, *after), (outputs, *state), strict=True):
            error = assert_close(got, want, str(problem), scale=1.0)
            record_error(f"library: forward {cell}", error)


def test_the_scalar_loop_at_complex_numbers_differentiates_itself():
    problem = STANDARD["lstm-default"]
    inputs = problem.arrays("float64")
    moved = np.asarray(inputs.x, dtype=np.complex128)
    moved[2, 1, 3] += 1j * complex_step.STEP
    outputs, state = scalar_loop.forward(problem, inputs._replace(x=moved), COMPLEX)
    pulled = np.sum(outputs * inputs.d_outputs) + np.sum(np.asarray(state) * inputs.d_state)
    want = load(problem)["d_x"][2, 1, 3]
    assert_close(np.imag(pulled) / complex_step.STEP, want, "d_x", scale=2.0)


def test_every_operation_of_the_tape():
    """Against complex step, at numbers that are neither special nor on a kink."""

    def formula(num, a, b):
        c = num.tanh(a * b - 2) + num.sigmoid(3 - a) * num.relu(b) - num.relu(-b)
        return num.log(a) / (1 + num.exp(-c)) + 2 * (-a) / b + 1 / c

    at = (0.7, 1.3)
    tape = Tape(FLOAT)
    leaves = [tape.number(number) for number in at]
    tape.pull_back([(formula(tape, *leaves), 1.0)])
    for index, leaf in enumerate(leaves):
        moved = [complex(number, complex_step.STEP * (i == index)) for i, number in enumerate(at)]
        want = formula(COMPLEX, *moved).imag / complex_step.STEP
        assert leaf.grad == pytest.approx(want, rel=1e-14)


def test_the_tape_does_not_recurse():
    tape = Tape(FLOAT)
    start = total = tape.number(1.0)
    for _ in range(20 * sys.getrecursionlimit()):
        total = total + start
    tape.pull_back([(total, 1.0)])
    assert start.grad == total.data


def test_the_store_holds_the_standard_problems():
    """Neither more nor less; load() names whatever is missing or stale."""
    for problem in STANDARD.values():
        load(problem)
    for store in (GRADIENTS, DERIVATIVES):
        assert set(store.stored) == {store.key(problem) for problem in store.problems()}
        assert store.path.stat().st_size < 3.5e6


@pytest.mark.parametrize(
    ("store", "every"),
    [
        (GRADIENTS, 80),
        (DERIVATIVES, 60),
        *(pytest.param(s, 10, marks=pytest.mark.when_named) for s in (GRADIENTS, DERIVATIVES)),
    ],
)
def test_the_store_is_what_is_computed(store, every):
    """Bit for bit, on some of the short problems, and on one of each other cell."""
    short = [problem for problem in store.problems() if problem.steps < 40]
    others = {problem.cell: problem for problem in short if problem.cell in OTHER_CELLS}
    for problem in (*short[::every], *others.values()):
        assert store.compute(problem).tobytes() == store.stored[store.key(problem)].tobytes()


def test_the_store_needs_numpy_alone():
    code = (
        "import sys; from conformance.references import load; "
        "from conformance.standard import STANDARD; load(STANDARD['gru-default']); "
        "assert not {'torch', 'jax', 'mpmath'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=GRADIENTS.path.parents[1], check=True)


@dataclass(frozen=True)
class Nudged(Standard):
    """A standard problem, by its id, with one weight a little different."""

    nudge: float = 0.0

    def arrays(self, dtype):
        inputs = super().arrays(dtype)
        inputs.params["weight_hh_l0"][0, 0] += self.nudge
        return inputs


@pytest.mark.parametrize(
    ("oracle", "nudge"),
    [
        pytest.param(by_torch, 1e-12, marks=pytest.mark.oracle("torch")),
        pytest.param(by_jax, 1e-12, marks=pytest.mark.oracle("jax")),
        (by_tape, 1e-12),
        (by_complex_step, 1e-12),
        (by_differences, 1e-6),
    ],
    ids=["torch", "jax", "tape", "complex-step", "differences"],
)
def test_every_oracle_notices_a_weight_that_is_off(oracle, nudge):
    problem = STANDARD["gru-default"]
    found = oracle(Nudged(**vars(problem), nudge=nudge))
    with pytest.raises(AssertionError, match="gru-default: off by"):
        worst(found, problem, k=DIGITS_OF_DIFFERENCES if oracle is by_differences else 32.0)


def test_a_changed_problem_makes_the_store_stale():
    changed = Nudged(**vars(STANDARD["gru-default"]), nudge=1.0)
    with pytest.raises(LookupError, match=r"gru-default .*python -m conformance\.references"):
        load(changed)


def reset_on_the_other_side(num, w, ax, state):
    (h,), size = state, len(state[0])
    ah, after = recurrent(w, h), []
    for j in range(size):
        r = num.sigmoid(ax[j] + ah[j])
        z = num.sigmoid(ax[size + j] + ah[size + j])
        n = num.tanh(r * ax[2 * size + j] + ah[2 * size + j])
        after.append((1 - z) * n + z * h[j])
    return (after,)


def slope_of_tanh_forgotten(tape, a):
    return Value(tape, tape.numbers.tanh(a.data), ((a, 1),))


def test_a_wrong_formula_is_noticed(monkeypatch):
    """The reset gate on the side of x, which no shape reveals."""
    monkeypatch.setitem(KINDS, "gru", replace(KINDS["gru"], step=reset_on_the_other_side))
    with pytest.raises(AssertionError, match="outputs of gru-default: off by"):
        worst(by_tape(STANDARD["gru-default"]), STANDARD["gru-default"])


def test_a_wrong_slope_is_noticed(monkeypatch):
    """The values are right; only gradients reveal it."""
    monkeypatch.setattr(Tape, "tanh", slope_of_tanh_forgotten)
    problem, found = STANDARD["gru-default"], by_tape(STANDARD["gru-default"])
    worst({name: found[name] for name in ("outputs", "state[0]")}, problem)
    with pytest.raises(AssertionError, match="d_x of gru-default: off by"):
        worst(found, problem)
