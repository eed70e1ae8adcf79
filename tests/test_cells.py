"""Each cell alone: the pullback of a step is the derivative of that very step."""

import numpy as np
import pytest
from conformance.complex_step import gradient
from conformance.tolerances import assert_close

from portable_rnn.cells import CELLS, GRU, LSTM, Cell, Elman

ALL = {"elman": Elman(), "elman-relu": Elman("relu"), "gru": GRU(), "lstm": LSTM()}
BATCH, HIDDEN = 3, 4


def arrays(cell, seed=0):
    rng = np.random.default_rng(seed)
    pre = [rng.standard_normal((BATCH, cell.gates * HIDDEN)) for _ in range(2)]
    state = [rng.standard_normal((BATCH, HIDDEN)) for _ in range(cell.states)]
    d_state = tuple(rng.standard_normal((BATCH, HIDDEN)) for _ in range(cell.states))
    return *pre, state, d_state


@pytest.mark.parametrize("name", ALL)
def test_step_vjp_is_the_derivative_of_step(name):
    cell = ALL[name]
    ax, ah, state, d_state = arrays(cell)

    def pulled(ax, ah, *state):
        after, _ = cell.step(np, ax, ah, state)
        return sum(np.sum(d * s) for d, s in zip(d_state, after, strict=True))

    _, residuals = cell.step(np, ax, ah, tuple(state))
    d_ax, d_ah, d_before = cell.step_vjp(np, residuals, d_state)
    scale = max(np.abs(d).max() for d in d_state)
    for index, got in enumerate([d_ax, d_ah, *d_before]):
        want = gradient(pulled, [ax, ah, *state], index)
        if got is None:  # the old state acts through ah alone, which is held fixed here
            assert not np.any(want)
        else:
            assert_close(got, want, f"{name}, argument {index}", scale=scale, k=8)


@pytest.mark.parametrize(
    ("name", "direct"),
    [("elman", [False]), ("elman-relu", [False]), ("gru", [True]), ("lstm", [False, True])],
)
def test_only_a_state_with_a_way_around_ah_has_a_cotangent_of_its_own(name, direct):
    ax, ah, state, d_state = arrays(ALL[name])
    _, residuals = ALL[name].step(np, ax, ah, tuple(state))
    _, _, d_before = ALL[name].step_vjp(np, residuals, d_state)
    assert [d is not None for d in d_before] == direct


@pytest.mark.parametrize(("name", "same"), [("elman", True), ("gru", False), ("lstm", True)])
def test_a_cell_of_the_sum_hands_out_one_array_twice(name, same):
    ax, ah, state, d_state = arrays(ALL[name])
    _, residuals = ALL[name].step(np, ax, ah, tuple(state))
    d_ax, d_ah, _ = ALL[name].step_vjp(np, residuals, d_state)
    assert (d_ax is d_ah) == same


@pytest.mark.parametrize("name", ALL)
def test_nothing_given_is_written_to(name):
    cell = ALL[name]
    ax, ah, state, d_state = arrays(cell)
    for array in (ax, ah, *state, *d_state):
        array.flags.writeable = False
    _, residuals = cell.step(np, ax, ah, tuple(state))
    before = [array.copy() for array in residuals]
    cell.step_vjp(np, residuals, d_state)
    assert all(np.array_equal(a, b) for a, b in zip(residuals, before, strict=True))


def test_gates_stand_in_the_documented_order():
    """Saturate one gate at a time, with H = 1, and see which part of the formula it is."""
    h, c = np.asarray([[0.5]]), np.asarray([[0.25]])

    def gates(*values):
        return np.asarray([values], dtype=np.float64)

    none = gates(0, 0, 0)
    # r closed: ah_n does not reach n.  z open: the old state stays.
    (got,), _ = GRU().step(np, gates(-60, -60, 0), gates(0, 0, 9), (h,))
    assert abs(got.item()) < 1e-12
    (got,), _ = GRU().step(np, gates(60, -60, 0), gates(0, 0, 9), (h,))
    assert got.item() == pytest.approx(np.tanh(9.0))
    (got,), _ = GRU().step(np, gates(0, 60, 9), none, (h,))
    assert got.item() == pytest.approx(0.5)

    def lstm(*values):
        (h_after, c_after), _ = LSTM().step(np, gates(*values), gates(0, 0, 0, 0), (h, c))
        return h_after.item(), c_after.item()

    assert lstm(-60, 60, 60, 60) == pytest.approx((np.tanh(0.25), 0.25))  # i closed: c stays
    assert lstm(60, -60, 60, 60) == pytest.approx((np.tanh(1.0), 1.0))  # f closed: c = g
    assert lstm(60, -60, -60, 60) == pytest.approx((np.tanh(-1.0), -1.0))  # g alone has a sign
    assert lstm(60, -60, 60, -60) == pytest.approx((0.0, 1.0))  # o closed: h = 0


def test_cells_are_what_the_engine_asks_for():
    for cell in ALL.values():
        assert isinstance(cell, Cell)
        assert isinstance(hash(cell), int)
    assert set(CELLS) == {"elman", "gru", "lstm"}
    assert Elman() != Elman("relu")


def test_an_unknown_nonlinearity_is_named():
    with pytest.raises(ValueError, match=r"^nonlinearity: expected 'tanh' or 'relu', got 'gelu'"):
        Elman("gelu")
