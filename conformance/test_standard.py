"""Properties that the standard problems promise."""

import math
from dataclasses import replace

import numpy as np
import pytest

import portable_rnn as prnn

from .backends import BACKENDS
from .cells import KINDS
from .oracles import scalar_loop
from .oracles.numbers import Numbers
from .problems import OTHER_CELLS, TORCH_CELLS
from .standard import OPTIONS, STANDARD, few, long, pairs, singles
from .subject import leaves
from .test_gradients import HALVES, cases
from .tolerances import EPS


def test_ids_name_problems():
    assert STANDARD["gru-one_unit-state_only"].hidden == 1
    assert str(STANDARD["elman-default"]) == "elman-default"
    for cell in TORCH_CELLS:
        problems = [*singles(cell), *pairs(cell), *long(cell)]
        assert len({problem.id for problem in problems}) == len(problems)
        assert len({problem.seed for problem in problems}) == len(problems)
    assert len(STANDARD) == len({repr(problem) for problem in STANDARD.values()})


def test_every_option_changes_something_and_meets_most_others():
    for cell in TORCH_CELLS:
        default = vars(singles(cell)[0])
        for changes in OPTIONS.values():
            assert any(default[name] != value for name, value in changes.items())
        for name in OPTIONS:
            if name != "relu" or cell == "elman":
                met = sum(name in problem.id.split("-") for problem in pairs(cell))
                assert met >= len(OPTIONS) - 5, name


def test_every_number_has_eight_bits():
    """So it is exact in bfloat16 too, which NumPy does not have."""
    for problem in STANDARD.values():
        exact = leaves(problem.arrays("float64")._replace(lengths=None, mask=None))
        for name, array in exact.items():
            mantissa, exponent = np.frexp(array)
            assert np.all(np.rint(256 * mantissa) == 256 * mantissa), (problem, name)
            assert np.all((exponent >= -6) & (exponent <= 5)), (problem, name)
        for dtype in ("float16", "float32"):
            inputs = problem.arrays(dtype)._replace(lengths=None, mask=None)
            for name, array in leaves(inputs).items():
                assert array.dtype == dtype
                assert np.array_equal(array.astype(np.float64), exact[name]), (problem, name)


def test_other_cells_meet_every_kind_of_code_in_the_engine():
    for cell in OTHER_CELLS:
        problems = few(cell)
        assert problems[0].id == f"{cell}-default"
        assert {p.layers for p in problems} == {1, 2}
        assert {p.bidirectional for p in problems} == {True, False}
        assert {p.ragged for p in problems} == {"", "lengths", "mask"}
        assert {p.batch_first for p in problems} == {True, False}
        assert {p.batch is None for p in problems} == {True, False}
        assert {p.cotangents for p in problems} == {"both", "state"}
        assert all(STANDARD[p.id] == p for p in problems)


def test_every_cell_is_tried():
    tried = {type(prnn.RNN(2, 4, **kind.options).cell_object) for kind in KINDS.values()}
    left_out = [name for name, cell in prnn.cells.CELLS.items() if cell not in tried]
    assert not left_out, f"no page in conformance/cells has {', '.join(left_out)}"


def test_clips_clip():
    """Otherwise they would prove nothing about a gradient."""
    for cell in OTHER_CELLS:
        options = KINDS[cell].options
        if getattr(options["cell"], "clip", None) is not None:
            problem = STANDARD[f"{cell}-saturated"]
            free = replace(problem.model, cell=replace(options["cell"], clip=None))
            inputs = problem.arrays("float64")
            held, loose = (
                prnn.predict(model, inputs.params, inputs.x, inputs.state)
                for model in (problem.model, free)
            )
            assert np.mean(np.abs(held - loose) > 1e-3) > 0.25, cell


class Watched(float):
    """A number that records how close it came to the numbers it was compared with."""

    nearest = np.inf
    real = property(lambda self: self)

    def __gt__(self, other):
        Watched.nearest = min(Watched.nearest, abs(float(self) - float(other)))
        return float(self) > float(other)

    def __lt__(self, other):
        return Watched(other) > self


for _name in ("add", "sub", "mul", "truediv", "radd", "rsub", "rmul", "rtruediv", "neg"):
    _of_floats = getattr(float, f"__{_name}__")
    setattr(
        Watched,
        f"__{_name}__",
        lambda self, *other, of=_of_floats: Watched(of(float(self), *map(float, other))),
    )


class WatchedNumbers(Numbers):
    def relu(self, a):
        return a if a > 0 else Watched(0) * a


def test_no_number_of_a_problem_in_half_precision_stands_at_a_kink():
    """Rounding would choose between two slopes: 4 eps of bfloat16 on either side are free."""
    functions = (lambda a, f=f: Watched(f(a)) for f in (math.tanh, math.exp, math.log))
    numbers, met = WatchedNumbers(Watched, *functions), set()
    for problem in halves():
        Watched.nearest = np.inf
        scalar_loop.forward(problem, problem.arrays("float64"), numbers)
        assert Watched.nearest > 4 * EPS["bfloat16"], problem
        met |= {problem.cell} if Watched.nearest < np.inf else set()
    assert met == {"elman", "onnx_elman", "onnx_gru", "onnx_reset_before_gru", "onnx_lstm"}


def halves():
    """Return the problems that any row has in half precision."""
    rows = BACKENDS.values()
    found = {p.id: p for row in rows for d in HALVES if d in row.dtypes for p in cases(row, d)}
    return found.values()


@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_options_do_what_they_say(cell):
    def inputs(name):
        return STANDARD[f"{cell}-{name}"].arrays("float64")

    default = inputs("default")
    assert all(value is not None for value in default[:5])
    assert default.lengths is None
    assert default.mask is None
    lengths, mask = inputs("lengths").lengths, inputs("mask").mask
    assert {0, 7} < set(lengths.tolist())
    assert mask.all(axis=0)[-1]
    assert not mask.any(axis=0)[0]
    assert np.any(np.diff(mask.astype(int), axis=0) > 0)  # a gap, not only padding
    assert inputs("zero_state").state is None
    assert inputs("outputs_only").d_state is None
    assert inputs("state_only").d_outputs is None
    some = np.any(inputs("gaps").d_outputs != 0.0, axis=-1)
    assert 0 < np.sum(some) < some.size
    assert np.all(np.any(default.d_outputs != 0.0, axis=-1))
    weights = inputs("square").params
    assert weights["weight_ih_l0"].shape == weights["weight_hh_l0"].shape


@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_saturated_problems_saturate(cell):
    """By what x sends into the units and gates: where it is 4, tanh is within 1e-3 of 1."""
    problem = STANDARD[f"{cell}-saturated"]
    inputs = problem.arrays("float64")
    sent = inputs.x @ inputs.params["weight_ih_l0"].T
    assert np.mean(np.abs(sent) > 4.0) > 0.25


@pytest.mark.parametrize("cell", TORCH_CELLS)
def test_the_longest_problem_is_cut_into_chunks(cell):
    """Chunks have a limited number of rows; this problem must exceed it."""
    problem = STANDARD[f"{cell}-600_steps"]
    inputs = problem.arrays("float64")
    tape = prnn.forward(problem.model, inputs.params, inputs.x).tape
    assert len(tape.stack_tapes[0].records) > 2
