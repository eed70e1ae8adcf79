"""Masks: how often they drop, what they keep fixed, and prediction without them."""

import numpy as np
import pytest
from conformance.tolerances import assert_close

import portable_rnn as prnn
from portable_rnn.dropout import Masks, draw

T, B, I, H = 40, 30, 3, 20  # noqa: E741


def model_of(**chances):
    layers = 2 if "dropout" in chances else 1
    return prnn.RNN(I, H, cell="lstm", num_layers=layers, **chances)


def test_masks_drop_as_often_as_they_should_and_keep_the_mean():
    p = 0.3
    chances = {"dropout": p, "recurrent_dropout": p, "zoneout": p}
    masks = draw(model_of(**chances), np.zeros((T, B, I)), seed=0)
    for factors, shape in ((masks.between[0], (T, B, H)), (masks.recurrent[0], (B, H))):
        assert factors.shape == shape
        np.testing.assert_array_equal(np.unique(factors), [0.0, 1.0 / (1.0 - p)])
        sigma = np.sqrt(p * (1 - p) / factors.size)
        assert abs((factors == 0).mean() - p) < 4 * sigma
    for update in masks.update[0]:
        assert update.dtype == bool
        assert abs((~update).mean() - p) < 4 * np.sqrt(p * (1 - p) / update.size)
    assert not np.array_equal(*masks.update[0])  # h and c are drawn separately


def test_each_layer_and_direction_has_masks_of_its_own():
    chances = {"dropout": 0.5, "recurrent_dropout": 0.5, "zoneout": 0.5}
    model = prnn.RNN(I, H, cell="lstm", num_layers=3, bidirectional=True, **chances)
    masks = draw(model, np.zeros((T, B, I)), seed=0)
    choices = [np.stack(update) for update in masks.update]
    for drawn, count in ((masks.between, 2), (masks.recurrent, 6), (choices, 6)):
        assert len(drawn) == count
        assert len({array.tobytes() for array in drawn}) == count


def test_masks_of_two_kinds_differ():
    """They come from random numbers of their own, although their shapes are the same."""
    chances = {"dropout": 0.5, "recurrent_dropout": 0.5, "zoneout": 0.5}
    masks = draw(prnn.RNN(I, H, num_layers=2, **chances), np.zeros((1, B, I)), seed=0)
    kinds = (masks.between[0][0] > 0, masks.recurrent[0] > 0, masks.update[0][0][0])
    assert len({kind.tobytes() for kind in kinds}) == 3


def test_masks_change_with_the_seed_and_with_nothing_else():
    model, x = model_of(dropout=0.5), np.zeros((T, B, I))
    first = draw(model, x, seed=(1, 2)).between[0]
    assert np.array_equal(first, draw(model, x + 1, seed=(1, 2)).between[0])
    for seed in ((1, 3), (2, 1), 1):
        assert not np.array_equal(first, draw(model, x, seed=seed).between[0])


def test_recurrent_dropout_drops_the_same_units_at_every_step():
    """A unit that is dropped never acts on another: its column of W_hh has no effect."""
    model = prnn.RNN(I, H, recurrent_dropout=0.5)
    params = model.init(seed=0, dtype="float64")
    x = np.random.default_rng(0).standard_normal((T, 1, I))
    masks = draw(model, x, seed=0)
    dropped = masks.recurrent[0][0] == 0
    assert dropped.any()
    other = params | {"weight_hh_l0": np.where(dropped, 9.0, params["weight_hh_l0"])}
    got, want = (prnn.forward(model, p, x, dropout=masks).outputs for p in (other, params))
    np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_zoneout_predicts_with_the_expected_state(cell):
    """After one step the prediction is the mean over many draws."""
    model = prnn.RNN(I, 4, cell=cell, zoneout=0.4)
    params = model.init(seed=0, dtype="float64")
    rng = np.random.default_rng(0)
    x = np.repeat(rng.standard_normal((1, 1, I)), 20_000, axis=1)
    state = [np.repeat(rng.standard_normal((1, 1, 4)), 20_000, axis=1) for _ in range(2)]
    state = tuple(state) if cell == "lstm" else state[0]
    drawn = prnn.forward(model, params, x, state, dropout=5).state
    want = prnn.predict(model, params, x, state, return_state=True)[1]
    dense = prnn.RNN(I, 4, cell=cell)
    new = prnn.predict(dense, params, x, state, return_state=True)[1]
    for some, mean, old, fresh in zip(*map(np.asarray, (drawn, want, state, new)), strict=True):
        some, mean = np.reshape(some, (-1, 4)), np.reshape(mean, (-1, 4))
        np.testing.assert_allclose(some.mean(axis=0), mean[0], atol=0.02)
        old, fresh = np.reshape(old, (-1, 4)), np.reshape(fresh, (-1, 4))
        assert_close(mean, 0.4 * old + 0.6 * fresh, "the mean of old and new", k=8)


def test_dropout_is_off_only_where_false_is_given():
    model = model_of(dropout=0.5, recurrent_dropout=0.2)
    params, x = model.init(seed=0), np.ones((T, B, I), np.float32)
    plain = prnn.predict(model, params, x)
    assert prnn.forward(model, params, x, dropout=False).outputs.tobytes() == plain.tobytes()
    assert not np.allclose(prnn.forward(model, params, x, dropout=0).outputs, plain)
    with pytest.raises(ValueError, match=r"^dropout: .*dropout and recurrent_dropout.*got None"):
        prnn.forward(model, params, x)
    with pytest.raises(ValueError, match=r"^dropout, a seed: .*got -1"):
        prnn.forward(model, params, x, dropout=-1)
    assert draw(prnn.RNN(I, H), x, seed=0) == Masks()


@pytest.mark.parametrize("name", ["dropout", "recurrent_dropout", "zoneout"])
@pytest.mark.parametrize("chance", [-0.1, 1.0, 1.5, float("nan")])
def test_a_chance_outside_its_range_is_refused(name, chance):
    with pytest.raises(ValueError, match=rf"^{name}: expected .*\[0, 1\)|^{name}: .*finite"):
        prnn.RNN(I, H, num_layers=2, **{name: chance})
