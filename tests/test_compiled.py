"""A compiled layer equals the eager one: for every cell, option, dtype and size.

It is compared with `layer` and `layer_vjp` of the engine in float64, on numbers that were rounded
to the tested dtype, by the measure and the bound of the conformance suite.
"""

import itertools

import numpy as np
import pytest
from conformance.mutants import compiled_here

from portable_rnn._executors.buffers import Slabs
from portable_rnn._executors.compiled_layer import Layer
from portable_rnn._executors.kernel import kernel
from portable_rnn._executors.llvm_target import host
from portable_rnn.cells import GRU, LSTM, Elman

if reason := compiled_here.why_not():
    pytest.skip(reason, allow_module_level=True)


from .compiled_problem import (
    CELLS,
    CHANGED,
    EVERY,
    FEW_SIZES,
    OPTIONS,
    SIZES,
    WIDTHS,
    Problem,
    bits,
)

pytestmark = [pytest.mark.no_products, pytest.mark.usefixtures("compiled_anew")]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CHANGED)
def test_equals_the_engine(name, dtype, record_property):
    worst = max(Problem(CELLS[name], dtype, size).check() for size in SIZES)
    record_property("eps", worst)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    ("name", "dtype"),
    list(itertools.product(["elman-tanh", "gru", "lstm-peepholes"], [np.float32, np.float64]))
    if EVERY
    else [("elman-tanh", np.float32), ("gru", np.float64), ("lstm-peepholes", np.float32)],
)
def test_equals_the_engine_with_options_of_a_step(name, option, dtype):
    for size in FEW_SIZES:
        Problem(CELLS[name], dtype, size, **OPTIONS[option]).check()


@pytest.mark.parametrize("option", ["", "all"])
@pytest.mark.parametrize("name", ["elman-tanh", "gru", "lstm-peepholes"])
def test_equals_the_engine_from_the_last_step_to_the_first(name, option):
    for size in FEW_SIZES:
        problem = Problem(CELLS[name], np.float32, size, **OPTIONS.get(option, {}))
        problem.check(reverse=True)
        problem.check(reverse=True, d_hidden=False)
        problem.check(d_hidden=False)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["elman-tanh", "gru", "lstm-peepholes"])
def test_a_result_has_the_same_bits_whatever_the_batch(name, dtype):
    """Sums are made in one order, whatever the tile."""
    problem = Problem(CELLS[name], dtype, (7, 16, 600))  # so many that k is cut
    whole = bits(problem)
    for batch in (1, 2, 3, 5, 11):
        for want, got in zip(whole, bits(problem, batch=batch), strict=True):
            np.testing.assert_array_equal(got, want[:, :batch])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["elman-softplus", "gru", "lstm-all"] if EVERY else ["gru"])
def test_a_result_has_the_same_bits_whatever_the_width_of_vectors(name, dtype):
    """Vectors wider than the processor's are made of several: the code is the same."""
    problem = Problem(CELLS[name], dtype, (7, 5, 37), held="choose", scaled=True)
    narrow, *others = (bits(problem, target=host(width)) for width in WIDTHS)
    for other in others:
        for want, got in zip(narrow, other, strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", ["elman-tanh", "gru", "lstm-peepholes"])
@pytest.mark.parametrize("width", WIDTHS)
def test_equals_the_engine_with_other_vectors(name, width):
    for size in FEW_SIZES:
        problem = Problem(CELLS[name], np.float32, size, held="choose", scaled=True)
        problem.check(target=host(width))


def test_chunks_of_time_are_the_whole():
    problem = Problem(LSTM(), np.float64, (7, 3, 9))
    loops = kernel(LSTM(), "float64")
    compiled = Layer(loops, problem.hh[0], problem.ih[1], problem.hh[1])
    ax = np.stack([x @ problem.ih[0].T for x in problem.x])
    hidden, after, record = compiled.forward(ax, problem.state)
    want = compiled.backward(record, problem.d_hidden, problem.d_state)
    first, middle, one = compiled.forward(ax[:3], problem.state)
    second, last, other = compiled.forward(ax[3:], middle)
    np.testing.assert_array_equal(np.concatenate([first, second]), hidden)
    np.testing.assert_array_equal(last, after)
    later = compiled.backward(other, problem.d_hidden[3:], problem.d_state)
    earlier = compiled.backward(one, problem.d_hidden[:3], later.d_state)
    np.testing.assert_array_equal(np.concatenate([earlier.d_ax, later.d_ax]), want.d_ax)
    np.testing.assert_array_equal(earlier.d_state, want.d_state)


def test_nothing_is_kept_unless_requested():
    problem = Problem(LSTM(), np.float32, (7, 3, 9))
    compiled = Layer(kernel(LSTM(), "float32"), problem.hh[0])
    ax = np.stack([x @ problem.ih[0].T for x in problem.x])
    for reverse in (False, True):
        want = compiled.forward(ax, problem.state, reverse=reverse)
        got = compiled.forward(ax, problem.state, reverse=reverse, keep=False)
        np.testing.assert_array_equal(got[0], want[0])
        np.testing.assert_array_equal(got[1], want[1])
        assert got[2].stored.shape[1] == 1


@pytest.mark.parametrize("name", ["elman-tanh", "gru", "lstm-peepholes"])
def test_cotangents_may_be_written_into_those_of_an_earlier_call(name):
    problem = Problem(CELLS[name], np.float32, (7, 3, 9))
    loops = kernel(CELLS[name], "float32")
    compiled = Layer(loops, problem.hh[0], own=problem.own)
    ax = np.stack([x @ problem.ih[0].T for x in problem.x])
    _, _, record = compiled.forward(ax, problem.state)
    want = compiled.backward(record, problem.d_hidden, problem.d_state)
    other = compiled.backward(record, 2.0 * problem.d_hidden, problem.d_state)
    got = compiled.backward(record, problem.d_hidden, problem.d_state, into=other)
    assert got.d_ax is other.d_ax
    assert got.d_ah is other.d_ah
    for one, two in zip(got, want, strict=True):
        np.testing.assert_array_equal(one, two)
    _, _, shorter = compiled.forward(ax[:2], problem.state)
    assert compiled.backward(shorter, None, problem.d_state, into=got).d_ax.shape[0] == 2


def test_arrays_of_a_slab_do_not_overlap_and_start_at_a_cache_line():
    slabs = Slabs(np.dtype("float64"))
    arrays = [slabs.empty(*shape) for shape in ((3,), (0, 4), (50, 7), (8,), (1,), (40_000,))]
    for number, array in enumerate(arrays):
        array[...] = number
    for number, array in enumerate(arrays):
        assert (array == number).all()
        assert array.ctypes.data % 64 == 0 or array.size == 0


def test_layers_without_steps_or_sequences_run():
    for steps, batch in ((0, 3), (4, 0)):
        problem = Problem(GRU(), np.float32, (steps, batch, 5))
        compiled = Layer(kernel(GRU(), "float32"), problem.hh[0])
        ax = np.zeros((steps, batch, 15), np.float32)
        hidden, after, record = compiled.forward(ax, problem.state)
        assert hidden.shape == (steps, batch, 5)
        np.testing.assert_array_equal(after, problem.state)
        found = compiled.backward(record, problem.d_hidden, problem.d_state)
        np.testing.assert_array_equal(found.d_state, problem.d_state)


def test_arrays_may_be_views():
    problem = Problem(GRU(), np.float32, (7, 3, 9))
    want = bits(problem)
    wide = np.zeros((3, 7, 18), np.float32)  # batch first, one direction of two
    wide[:, :, 9:] = problem.d_hidden.swapaxes(0, 1)
    problem.d_hidden = wide[:, :, 9:].swapaxes(0, 1)
    problem.hh = np.asfortranarray(problem.hh[0]), problem.hh[1][None, :]
    for one, other in zip(bits(problem), want, strict=True):
        np.testing.assert_array_equal(one, other)
    problem.d_hidden = np.asfortranarray(problem.d_hidden)
    for one, other in zip(bits(problem), want, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("units", [1, 3, 8, 17])
def test_nan_stays_in_its_sequence(units):
    """Neither padding nor another sequence is affected."""
    problem = Problem(LSTM(True), np.float32, (4, 3, units), held="choose", scaled=True)
    want = bits(problem)
    problem.x[1, 1] = np.nan
    problem.d_hidden[2, 1] = np.inf
    problem.update[0][:, 1] = problem.update[1][:, 1] = True
    got = bits(problem)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one[:, ::2], other[:, ::2])
    assert np.isnan(got[0][1:, 1]).all()


def test_a_masked_step_changes_no_bit_whatever_its_values():
    problem = Problem(GRU(), np.float32, (5, 2, 11), held="choose", per_sequence=True)
    problem.update[0][:] = True
    problem.update[0][2:, 0] = False
    want = bits(problem)
    problem.x[2:, 0] = np.nan
    got = bits(problem)
    np.testing.assert_array_equal(got[0], want[0])
    assert (got[0][2:, 0] == got[0][1, 0]).all()
    np.testing.assert_array_equal(got[1], want[1])


def test_a_zero_factor_drops_what_is_finite():
    problem = Problem(Elman(), np.float64, (5, 2, 11), scaled=True)
    problem.factors[...] = 0.0
    ax = np.stack([x @ problem.ih[0].T for x in problem.x])
    want = np.tanh(ax + problem.ih[1] + problem.hh[1])
    np.testing.assert_allclose(bits(problem)[0], want, rtol=1e-15, atol=1e-15)
