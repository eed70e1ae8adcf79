"""A network is its layers and directions, one after another: whatever its options and layout.

The reference runs every sequence alone, over its valid steps, through networks of one layer and one
direction, which `conformance/` checks against the formulas. Gradients are compared in
`tests/test_recurrence.py` and `conformance/`.
"""

from dataclasses import replace

import numpy as np
import pytest
from conformance.tolerances import assert_close

import portable_rnn as prnn
from portable_rnn.cells import LSTM
from portable_rnn.dropout import Masks

STEPS, BATCH, INPUTS, HIDDEN, OUTPUTS = 6, 3, 2, 4, 2
CELLS = {
    "elman": {"cell": "elman"},
    "gru": {"cell": "gru"},
    "lstm": {"cell": "lstm"},
    "second product": {"cell": "reset_before_gru"},
    "own vectors": {"cell": "layer_norm_lstm"},
    "peepholes, projected": {"cell": LSTM(peepholes=True), "projection_size": 3},
}
CHANCES = {"recurrent_dropout": 0.5, "zoneout": 0.3}
OPTIONS = {
    "plain": {},
    "no bias": {"bias": False},
    "between": {"dropout": 0.5},
    "recurrent": {"recurrent_dropout": 0.5},
    "zoneout": {"zoneout": 0.3},
    "all dropout": {"dropout": 0.5, **CHANCES},
}
RAGGED = ("", "lengths", "mask")


def network(cell, option, layers, bidirectional):
    options = {**CELLS[cell], **OPTIONS[option], "num_layers": layers}
    if layers == 1:
        options["dropout"] = 0.0  # there is nothing between layers
    return prnn.RNN(INPUTS, HIDDEN, OUTPUTS, bidirectional=bidirectional, **options)


def draw(model, seed=0):
    """Return parameters, x (T, B, I) and a state, with numbers of one scale."""
    rng = np.random.default_rng(seed)
    params = {k: 0.4 * rng.standard_normal(s) for k, s in model.parameter_shapes.items()}
    x = rng.standard_normal((STEPS, BATCH, INPUTS))
    return params, x, tuple(rng.standard_normal(s) for s in model.state_shapes(BATCH))


def steps_there(ragged):
    """Return the valid steps (T, B), and the option that gives them."""
    there = np.random.default_rng(1).random((STEPS, BATCH)) < 0.7
    if ragged == "lengths":
        lengths = [STEPS, 0, 4]
        return np.arange(STEPS)[:, None] < np.asarray(lengths), {"lengths": lengths}
    if ragged == "mask":
        return there, {"mask": there}
    return np.ones_like(there), {}


def one_by_one(model, params, x, state, masks, there):
    """Return outputs (T, B, O) and final states of layers that are run separately."""
    outputs = np.zeros((STEPS, BATCH, model.feature_size))
    after = [np.array(part) for part in state]
    for b in range(BATCH):
        here, y = there[:, b], x[there[:, b], b]
        for layer in range(model.num_layers):
            if layer and masks.between:
                y = y * masks.between[layer - 1][here, b]
            halves = []
            for direction in range(model.directions):
                i = layer * model.directions + direction
                half, now = alone(model, params, y, [s[i, b] for s in state], masks, (i, here, b))
                halves.append(half)
                for part, new in zip(after, now, strict=True):
                    part[i, b] = new
            y = np.concatenate(halves, axis=1)
        outputs[here, b] = y @ params["readout.weight"].T + params.get("readout.bias", 0.0)
    return outputs, after


def alone(model, params, y, state, masks, which):
    """Run one layer in one direction over one sequence (T', I)."""
    i, here, b = which
    layer, direction = divmod(i, model.directions)
    order = slice(None, None, -1 if direction else 1)
    chances = {name: getattr(model, name) for name in CHANCES}
    single = replace(
        prnn.RNN(y.shape[1], HIDDEN, cell=model.cell, bias=model.bias, **chances),
        projection_size=model.projection_size,
    )
    end = f"_l{layer}" + ("_reverse" if direction else "")
    weights = {
        name.removesuffix(end) + "_l0": array
        for name, array in params.items()
        if name.endswith(end)
    }
    if not len(y):
        return np.zeros((0, model.recurrent_size)), state
    own = Masks(
        recurrent=tuple(m[b : b + 1] for m in masks.recurrent[i : i + 1]),
        update=tuple(
            tuple(u[here, b : b + 1][order] for u in part) for part in masks.update[i : i + 1]
        ),
    )
    before = tuple(part[None, None] for part in state)
    drops = own if any(chances.values()) else None
    first = before if len(before) > 1 else before[0]
    fwd = prnn.forward(single, weights, y[order, None], first, dropout=drops)
    now = fwd.state if isinstance(fwd.state, tuple) else (fwd.state,)
    return fwd.outputs[order, 0], [part[0, 0] for part in now]


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("layers", [1, 2, 3])
@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize("cell", CELLS)
def test_a_network_is_its_layers_one_by_one(cell, option, layers, bidirectional):
    model = network(cell, option, layers, bidirectional)
    params, x, state = draw(model)
    masks = prnn.dropout.draw(model, x, 5)
    drops = {"dropout": masks} if masks != Masks() else {}
    for ragged in RAGGED:
        there, given = steps_there(ragged)
        wanted, after = one_by_one(model, params, x, state, masks, there)
        fwd = prnn.forward(
            model, params, x, state if len(state) > 1 else state[0], **given, **drops
        )
        assert_close(fwd.outputs, wanted, f"outputs, {ragged}", scale=1.0)
        found = fwd.state if len(state) > 1 else (fwd.state,)
        for got, want in zip(found, after, strict=True):
            assert_close(got, want, f"state, {ragged}", scale=1.0)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("option", ["plain", "all dropout"])
@pytest.mark.parametrize("cell", CELLS)
def test_a_layout_changes_nothing_but_the_layout(cell, option, layers, bidirectional):
    """Batch first, and without a batch: outputs, states and all gradients."""
    model = network(cell, option, layers, bidirectional)
    params, x, state = draw(model)
    d_outputs = np.random.default_rng(2).standard_normal((STEPS, BATCH, OUTPUTS))
    masks = prnn.dropout.draw(model, x, 5)
    # Layer norm divides by small deviations, and both sides have rounded.
    allowed = {"scale": np.max(np.abs(d_outputs)), "k": 64 if cell == "own vectors" else 16}

    def run(model, x, state, d_outputs, **options):
        state = state if len(state) > 1 else state[0]
        fwd = prnn.forward(model, params, x, state, **options)
        grads = prnn.backward(model, params, fwd.tape, d_outputs)
        states = zip(("h", "c"), _parts(fwd.state), strict=False)
        d_states = zip(("d_h", "d_c"), _parts(grads.state), strict=False)
        named = {"outputs": fwd.outputs, "x": grads.x, **dict(states), **dict(d_states)}
        return named | grads.params

    drops = {"dropout": masks} if masks != Masks() else {}
    want = run(model, x, state, d_outputs, **drops)
    turned = run(
        *(replace(model, batch_first=True), x.swapaxes(0, 1), state, d_outputs.swapaxes(0, 1)),
        **drops,
    )
    for name, array in want.items():
        got = turned[name].swapaxes(0, 1) if name in ("outputs", "x") else turned[name]
        assert_close(got, array, f"{name}, batch first", **allowed)
    total = dict.fromkeys(params, 0.0)
    for b in range(BATCH):
        some = Masks(
            tuple(m[:, b : b + 1] for m in masks.between),
            tuple(m[b : b + 1] for m in masks.recurrent),
            tuple(tuple(u[:, b : b + 1] for u in part) for part in masks.update),
        )
        one = run(
            *(model, x[:, b], tuple(part[:, b] for part in state), d_outputs[:, b]),
            **({"dropout": some} if drops else {}),
        )
        for name, array in want.items():
            if name in params:
                total[name] = total[name] + one[name]
            else:
                what = f"{name} of sequence {b}"
                assert_close(one[name], array[:, b], what, **allowed)
    for name, array in total.items():
        assert_close(array, want[name], f"{name}, added up", **allowed)


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one way", "both ways"])
@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("cell", CELLS)
def test_no_bias_is_a_bias_of_zero(cell, layers, bidirectional):
    model = network(cell, "no bias", layers, bidirectional)
    with_bias = replace(model, bias=True)
    params, x, state = draw(model)
    state = state if len(state) > 1 else state[0]
    zeros = {name: np.zeros(shape) for name, shape in with_bias.parameter_shapes.items()}
    d_outputs = np.random.default_rng(2).standard_normal((STEPS, BATCH, OUTPUTS))
    found = []
    for one, weights in ((model, params), (with_bias, zeros | params)):
        fwd = prnn.forward(one, weights, x, state)
        grads = prnn.backward(one, weights, fwd.tape, d_outputs)
        found.append({"outputs": fwd.outputs, "x": grads.x, **grads.params})
    for name, array in found[0].items():
        assert_close(array, found[1][name], name, scale=np.max(np.abs(d_outputs)))


def _parts(state):
    return state if isinstance(state, tuple) else (state,)
