"""Single cells: the pullback of a step is the derivative of that step."""

import json
from pathlib import Path

import numpy as np
import pytest
from conformance.complex_step import gradient
from conformance.tolerances import assert_close

import portable_rnn as prnn
from portable_rnn import cells
from portable_rnn.cells import (
    CELLS,
    GRU,
    LSTM,
    Cell,
    Elman,
    ResetBeforeGRU,
)
from portable_rnn.cells.by_name import described, from_description
from portable_rnn.cells.protocol import vectors_of
from portable_rnn.nonlinearities import NAMES

ALL = {
    **{name: kind() for name, kind in CELLS.items()},
    "elman-relu": Elman("relu"),
    "elman-clip": Elman("elu", clip=0.5),
    "gru-options": GRU(("softsign", ("elu", 0.5)), clip=0.9),
    "reset_before_gru-options": ResetBeforeGRU(("hard_sigmoid", "softplus"), clip=0.9),
    "lstm-peepholes": LSTM(peepholes=True),
    "lstm-coupled": LSTM(coupled=True),
    "lstm-activations": LSTM(activations=("hard_sigmoid", "softsign", ("scaled_tanh", 2.0, 0.5))),
    "lstm-all": LSTM(True, True, ("softsign", "elu", "leaky_relu"), 0.7),
}
BATCH, HIDDEN = 3, 4
CATALOGUE = Path(__file__).parent.parent / "docs" / "cells.md"


def arrays(cell, seed=0):
    rng = np.random.default_rng(seed)
    pre = [rng.standard_normal((BATCH, cell.gates * HIDDEN)) for _ in range(2)]
    state = [rng.standard_normal((BATCH, HIDDEN)) for _ in range(cell.states)]
    d_state = tuple(rng.standard_normal((BATCH, HIDDEN)) for _ in range(cell.states))
    return *pre, state, d_state


def vectors(cell):
    rng = np.random.default_rng(1)
    return [rng.standard_normal(vector.multiple * HIDDEN) for vector in vectors_of(cell)]


@pytest.mark.parametrize("name", ALL)
def test_step_vjp_is_the_derivative_of_step(name):
    cell = ALL[name]
    (ax, ah, state, d_state), own = arrays(cell), vectors(cell)

    def pulled(ax, ah, *rest):
        state, own = rest[: cell.states], rest[cell.states :]
        after, _ = cell.step(np, ax, ah, state, *own)
        return sum(np.sum(d * s) for d, s in zip(d_state, after, strict=True))

    _, residuals = cell.step(np, ax, ah, tuple(state), *own)
    d_ax, d_ah, d_before, *d_own = cell.step_vjp(np, residuals, d_state, *own)
    assert all(d.shape == (BATCH, *v.shape) for d, v in zip(d_own, own, strict=True))
    scale = max(np.abs(d).max() for d in d_state)
    for index, got in enumerate([d_ax, d_ah, *d_before, *(d.sum(axis=0) for d in d_own)]):
        want = gradient(pulled, [ax, ah, *state, *own], index)
        if got is None:  # the old state acts only through ah, which is held fixed here
            assert not np.any(want)
        else:
            assert_close(got, want, f"{name}, argument {index}", scale=scale, k=16)


@pytest.mark.parametrize("name", [name for name in ALL if hasattr(ALL[name], "second_product")])
def test_before_product_vjp_is_the_derivative_of_before_product(name):
    cell = ALL[name]
    ax, ah, state, (d_v,) = arrays(cell)
    early = (cell.gates - cell.second_product) * HIDDEN

    def pulled(ax, ah, *state):
        return np.sum(d_v * cell.before_product(np, ax, ah[:, :early], state)[0])

    _, residuals = cell.before_product(np, ax, ah[:, :early], tuple(state))
    d_ax, d_ah, d_before = cell.before_product_vjp(np, residuals, d_v)
    for index, got in enumerate([d_ax, d_ah, *d_before]):
        want = gradient(pulled, [ax, ah, *state], index)
        assert_close(got, want, f"{name}, argument {index}", scale=np.abs(d_v).max(), k=8)


@pytest.mark.parametrize(
    ("name", "direct"),
    [
        ("elman", [False]),
        ("elman-relu", [False]),
        ("gru", [True]),
        ("lstm", [False, True]),
        ("lstm-all", [False, True]),
        ("mgu", [True]),
        ("layer_norm_lstm", [False, True]),
    ],
)
def test_only_a_state_with_a_path_around_ah_has_its_own_cotangent(name, direct):
    ax, ah, state, d_state = arrays(ALL[name])
    own = vectors(ALL[name])
    _, residuals = ALL[name].step(np, ax, ah, tuple(state), *own)
    _, _, d_before, *_ = ALL[name].step_vjp(np, residuals, d_state, *own)
    assert [d is not None for d in d_before] == direct


@pytest.mark.parametrize(
    ("name", "same"),
    [("elman", True), ("gru", False), ("lstm", True), ("lstm-coupled", True), ("mgu", False)],
)
def test_a_cell_of_the_sum_returns_one_array_twice(name, same):
    ax, ah, state, d_state = arrays(ALL[name])
    _, residuals = ALL[name].step(np, ax, ah, tuple(state))
    d_ax, d_ah, _ = ALL[name].step_vjp(np, residuals, d_state)
    assert (d_ax is d_ah) == same


@pytest.mark.parametrize("name", ALL)
def test_arguments_are_not_written_to(name):
    cell = ALL[name]
    (ax, ah, state, d_state), own = arrays(cell), vectors(cell)
    for array in (ax, ah, *state, *d_state, *own):
        array.flags.writeable = False
    _, residuals = cell.step(np, ax, ah, tuple(state), *own)
    before = [array.copy() for array in residuals]
    cell.step_vjp(np, residuals, d_state, *own)
    assert all(np.array_equal(a, b) for a, b in zip(residuals, before, strict=True))


def test_gates_are_in_the_documented_order():
    """Saturate one gate at a time, with H = 1, to identify its part of the formula."""
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


def test_cells_satisfy_the_protocol():
    for cell in ALL.values():
        assert isinstance(cell, Cell)
        assert isinstance(hash(cell), int)
    assert {type(cell) for cell in ALL.values()} == set(CELLS.values())
    assert Elman() != Elman("relu")


@pytest.mark.parametrize("name", ALL)
def test_a_cell_can_be_stored_as_json(name):
    """As JSON, and as an option of RNN."""
    found = json.loads(json.dumps(described(ALL[name])))
    assert from_description(found) == ALL[name]
    model = prnn.RNN(3, 4, cell=ALL[name])
    assert prnn.RNN(**json.loads(json.dumps(model.to_dict()))) == model
    assert model.to_dict() == json.loads(json.dumps(model.to_dict()))  # what checkpoints compare
    with_name = prnn.RNN(3, 4, cell=described(CELLS[found["name"]]()))
    assert with_name.cell_object == CELLS[found["name"]]()


def test_clipped_cells_clip():
    """Otherwise the tests of their derivatives would not cover the bound."""
    ax, ah, state, _ = arrays(GRU())
    (free,), _ = GRU().step(np, ax, ah, tuple(state))
    (held,), _ = GRU(clip=0.9).step(np, ax, ah, tuple(state))
    assert np.any(free != held)
    bounded = np.clip(ax[:, :HIDDEN] + ah[:, :HIDDEN], -0.9, 0.9)
    v, _ = ResetBeforeGRU(clip=0.9).before_product(np, ax, ah[:, : 2 * HIDDEN], tuple(state))
    np.testing.assert_allclose(v, state[0] / (1.0 + np.exp(-bounded)), rtol=1e-14)


def test_gains_start_from_one_and_biases_from_zero():
    params = prnn.RNN(3, 4, 2, cell="layer_norm_lstm", num_layers=2, bidirectional=True).init()
    for name, array in params.items():
        if "_norm" in name:
            assert np.all(array == (1.0 if name.startswith("weight") else 0.0)), name
        else:
            assert np.unique(array).size == array.size, name
        assert not name.startswith(("bias_ih", "bias_hh"))
    assert "readout.bias" in params
    assert sum("_norm" in name for name in params) == 4 * 5


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: Elman("gelu"), ValueError, "^nonlinearity: expected one of 'tanh', .*'gelu'"),
        (lambda: Elman(None), ValueError, "^nonlinearity: .*got None"),
        (lambda: Elman(("tanh", 2.0)), ValueError, "^nonlinearity: 'tanh' expected at most 0"),
        (lambda: Elman(("elu", "1")), TypeError, "^nonlinearity, a number .*: .*got '1'"),
        (lambda: Elman(("elu", -1.0)), ValueError, "^nonlinearity: .*of at least 0, got -1.0"),
        (lambda: Elman(("scaled_tanh", 0.0)), ValueError, "^nonlinearity: .*other than 0"),
        (lambda: Elman(clip=0.0), ValueError, r"^clip: .*got 0\.0"),
        (lambda: Elman(clip=float("nan")), ValueError, "^clip: .*got nan"),
        (lambda: Elman(clip="1"), TypeError, "^clip: .*got '1'"),
        (lambda: GRU("tanh"), ValueError, "^activations: expected 2 .*got 'tanh'"),
        (lambda: GRU(("tanh",)), ValueError, "^activations: expected 2"),
        (lambda: LSTM(activations=("tanh", "tanh", "gelu")), ValueError, r"^activations\[2\]: "),
        (lambda: LSTM(peepholes=1), TypeError, "^peepholes: expected True or False, got 1"),
        (lambda: LSTM(coupled=None), TypeError, "^coupled: .*got None"),
        (lambda: from_description({"name": "lstn"}), ValueError, "^cell: .*got 'lstn'"),
        (lambda: from_description({"name": "gru", "hole": 1}), ValueError, "^cell: 'gru' .*hole"),
        (lambda: from_description({"name": "mgu", "clip": 1}), ValueError, "no options, got clip"),
        (lambda: prnn.RNN(2, 3, cell="gru", projection_size=2), ValueError, "^projection_size: "),
        (lambda: prnn.RNN(2, 3, cell="lstm", projection_size=3), ValueError, "less than hidden"),
        (lambda: prnn.RNN(2, 3, cell="lstm", projection_size=0), ValueError, "^projection_size: "),
    ],
)
def test_a_wrong_option_is_named(make, error, message):
    with pytest.raises(error, match=message):
        make()


def test_every_activation_is_documented_where_it_is_named():
    text = CATALOGUE.read_text("utf-8")
    for name in NAMES:
        assert f"`{name}`" in text, name
    for name, kind in CELLS.items():
        assert kind.__name__ in cells.__all__
        assert f"`{name}`" in text
        assert f"`{kind.__name__}`" in text


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
@pytest.mark.parametrize("steps", [1, 2, 4])
@pytest.mark.parametrize("cell", ["layer_norm_elman", "layer_norm_lstm"])
def test_zero_rows_in_half_precision_are_right_or_seen_to_overflow(cell, steps):
    """Each multiplies the gradient by 316: beyond the range of float16 it is infinite or NaN."""
    model, found = prnn.RNN(3, 4, 2, cell=cell), {}
    for dtype in ("float16", "float64"):
        params = model.init(seed=0, dtype="float16")  # of the same numbers
        params = {name: array.astype(dtype) for name, array in params.items()}
        x, labels = np.zeros((steps, 2, 3), dtype), np.zeros((steps, 2), int)
        result = prnn.bptt(model, params, x, labels)
        found[dtype] = result.grads | {"x": result.grad_x}
    for name, want in found["float64"].items():
        got = found["float16"][name].astype("float64")
        seen = np.isfinite(got)
        assert seen.all() or (steps > 1 and not name.startswith("readout")), name
        tolerance = 16 * 2.0**-10 * max(1.0, np.abs(want).max())
        assert np.all(np.abs(got - want)[seen] <= tolerance), name


def test_a_cell_with_a_former_name_is_refused():
    """As a plain cell, it would compute something else."""

    class Former(prnn.cells.Elman):
        late = 1

    with pytest.raises(TypeError, match="second_product, got late"):
        prnn.RNN(3, 4, cell=Former())
