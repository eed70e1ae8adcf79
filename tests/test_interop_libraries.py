"""Layers of Keras, Flax and Equinox and their conversions compute the same, with gradients.

``nox -s interop`` installs these libraries, and there none of the tests may be skipped.
"""

import os
from itertools import product

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import interop

from .needed import need

pytestmark = [
    pytest.mark.no_products,
    # Keras's own, about its variables.
    pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword"),
]

os.environ.setdefault("KERAS_BACKEND", "torch")
T, B, I, H, O, V = 5, 3, 4, 6, 2, 7  # noqa: E741
EPS = 8


@pytest.fixture
def jax():
    found = need("jax")
    with found.enable_x64(True):
        yield found


@pytest.fixture
def keras():
    return need("keras")


def normal(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def eps_apart(found, expected, least=1.0):
    """Return the largest difference, in eps of the expected array's dtype."""
    expected = np.asarray(expected)
    assert found.shape == expected.shape
    scale = max(np.abs(expected).max(initial=0), least)
    return np.abs(found - expected).max(initial=0) / scale / np.finfo(expected.dtype).eps


def check(model, params, x, d, outputs, grads):
    """Compare outputs and gradients, given as what their parameters are converted from."""
    params = {name: array.astype("float64") for name, array in params.items()}
    fwd = prnn.forward(model, params, x)
    assert eps_apart(fwd.outputs, outputs) < EPS
    found = prnn.backward(model, params, fwd.tape, d).params
    scale = np.abs(d).max()
    for name, expected in grads.items():
        # Where a library has one bias for two, the gradient is in one place and 0 in the other.
        there = expected != 0 if name.startswith("bias") else ...
        assert eps_apart(found[name][there], expected[there], scale) < EPS, name


# ------------------------------------------------------------------------------------ Keras

LAYERS = {
    f"{kind}-{'bias' if bias else 'no bias'}-{way}-{options}": (
        kind,
        way,
        {"use_bias": bias} | options,
    )
    for (kind, options), bias, way in product(
        [
            ("SimpleRNN", {}),
            ("SimpleRNN", {"activation": "relu"}),
            ("GRU", {}),
            ("GRU", {"reset_after": False}),
            ("LSTM", {}),
            ("LSTM", {"activation": "softsign"}),
        ],
        (True, False),
        ("forward", "both", "last", "backward"),
    )
}


def of_keras(keras, kind, way, options):
    layers = []
    for sequences in (True, way in ("forward", "both")):
        layer = getattr(keras.layers, kind)(
            H,
            return_sequences=sequences,
            go_backwards=way == "backward",
            **options,
        )
        layers.append(keras.layers.Bidirectional(layer) if way in ("both", "last") else layer)
    layers = layers[1:] if way == "backward" else layers  # its sequences would be reversed
    return layers


@pytest.mark.parametrize("case", LAYERS)
def test_layers_of_keras(keras, case):
    torch = need("torch")
    kind, way, options = LAYERS[case]
    layers = of_keras(keras, kind, way, options)
    bias = {"use_bias": options["use_bias"]}
    network = keras.Sequential([keras.Input((T, I)), *layers, keras.layers.Dense(O, **bias)])
    # Keras multiplies matrices of float64 in float32, so this is in float32, and ours in float64.
    weights = [
        0.5 * normal(i, *w.shape).astype(np.float32) for i, w in enumerate(network.get_weights())
    ]
    network.set_weights(weights)
    model, params = interop.from_keras(network)
    x = normal(50, B, T, I).astype(np.float32)
    outputs = network(torch.tensor(x))
    d = normal(51, *outputs.shape).astype(np.float32)
    values = [variable.value for variable in network.trainable_variables]
    grads = torch.autograd.grad(outputs, values, torch.tensor(d))
    back = interop.to_keras(model, params) if options.get("activation") != "softsign" else network
    for found, expected in zip(back.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(found, expected)
    network.set_weights([grad.numpy() for grad in grads])
    expected = interop.from_keras(network)[1]
    wide = (array.astype("float64") for array in (x, d))
    check(model, params, *wide, outputs.detach().numpy(), expected)


def test_a_network_of_tokens_of_keras(keras):
    network = keras.Sequential(
        [keras.layers.Embedding(V, I), keras.layers.LSTM(H), keras.layers.Dense(O)]
    )
    tokens = np.random.default_rng(0).integers(0, V, (B, T))
    expected = keras.ops.convert_to_numpy(network(tokens))
    model, params = interop.from_keras(network)
    assert model == prnn.RNN(I, H, O, "lstm", batch_first=True, vocabulary_size=V, pool="last")
    assert eps_apart(prnn.predict(model, params, tokens), expected) < EPS
    assert (
        eps_apart(keras.ops.convert_to_numpy(interop.to_keras(model, params)(tokens)), expected)
        < EPS
    )


KERAS_REFUSED = {
    "a number": (lambda k: 7, "source: expected a layer of Keras"),
    "no layers": (lambda k: [], "source: expected a recurrent layer, got none"),
    "a head alone": (lambda k: k.Sequential([k.Input((3,)), k.layers.Dense(2)]), "source: .* none"),
    "not built": (lambda k: k.layers.GRU(3), "source: gru.* has no weights yet"),
    "softmax": (
        lambda k: k.Sequential(
            [k.Input((T, I)), k.layers.GRU(3), k.layers.Dense(2, activation="softmax")]
        ),
        "source: Dense has activation='softmax'",
    ),
    "dropout": (
        lambda k: k.Sequential([k.Input((T, I)), k.layers.GRU(3, dropout=0.5)]),
        "source: dropout=0.5 has no counterpart",
    ),
    "a sum": (
        lambda k: k.Sequential(
            [k.Input((T, I)), k.layers.Bidirectional(k.layers.GRU(3), merge_mode="sum")]
        ),
        "source: merge_mode='sum' has no counterpart",
    ),
    "another function": (
        lambda k: k.Sequential([k.Input((T, I)), k.layers.LSTM(3, activation="gelu")]),
        "source: activation='gelu' has no counterpart",
    ),
    "layers that differ": (
        lambda k: k.Sequential(
            [k.Input((T, I)), k.layers.LSTM(3, return_sequences=True), k.layers.LSTM(4)]
        ),
        "source: expected layers that are alike, but 1 is not like 0",
    ),
    "a convolution": (
        lambda k: k.Sequential([k.Input((T, I)), k.layers.Conv1D(3, 2)]),
        "source: Conv1D has no counterpart",
    ),
    "sequences in another order": (
        lambda k: k.Sequential(
            [k.Input((T, I)), k.layers.GRU(3, go_backwards=True, return_sequences=True)]
        ),
        "source: go_backwards=True with return_sequences=True",
    ),
}


@pytest.mark.parametrize("case", KERAS_REFUSED)
def test_what_has_no_counterpart_in_a_description_is_refused(case):
    make, words = KERAS_REFUSED[case]
    with pytest.raises((TypeError, ValueError), match=f"^{words}"):
        interop.from_keras(make(need("keras")))


# --------------------------------------------------------------------------- Flax, Equinox


def over_time(jax, step, carry, x):
    """Run a cell over (T, B, I) from a state of zeros."""
    return jax.lax.scan(lambda c, x: step(c, x), carry, x)[1]


def pulled(jax, run, params, x, d):
    outputs, pull = jax.vjp(lambda p: run(p, jax.numpy.asarray(x)), params)
    return outputs, pull(jax.numpy.asarray(d))[0]


@pytest.mark.parametrize("name", ["SimpleCell", "GRUCell", "LSTMCell", "OptimizedLSTMCell"])
def test_cells_of_flax_nnx(jax, name):
    need("flax")
    from flax import nnx

    cell = getattr(nnx, name)(I, H, param_dtype="float64", dtype="float64", rngs=nnx.Rngs(0))
    graph, state = nnx.split(cell)
    drawn = iter(range(99))
    state = jax.tree.map(lambda a: jax.numpy.asarray(normal(next(drawn), *a.shape)), state)
    cell = nnx.merge(graph, state)
    x, d = normal(50, T, B, I), normal(51, T, B, H)
    zero = jax.numpy.zeros((B, H))
    carry = (zero, zero) if "LSTM" in name else zero

    def run(state, x):
        return over_time(jax, nnx.merge(graph, state), carry, x)

    outputs, grads = pulled(jax, run, state, x, d)
    model, params = interop.from_flax(cell)
    check(model, params, x, d, outputs, interop.from_flax(nnx.merge(graph, grads))[1])
    back = interop.to_flax(model, params)
    assert eps_apart(np.asarray(over_time(jax, back, carry, jax.numpy.asarray(x))), outputs) < EPS


@pytest.mark.parametrize("name", ["SimpleCell", "GRUCell", "LSTMCell", "OptimizedLSTMCell"])
def test_cells_of_flax_linen(jax, name):
    need("flax")
    import flax.linen

    cell = getattr(flax.linen, name)(H, param_dtype="float64")
    x, d = normal(50, T, B, I), normal(51, T, B, H)
    zero = jax.numpy.zeros((B, H))
    carry = (zero, zero) if "LSTM" in name else zero
    given = cell.init(jax.random.key(0), carry, jax.numpy.asarray(x[0]))["params"]
    drawn = iter(range(99))
    given = jax.tree.map(lambda a: jax.numpy.asarray(normal(next(drawn), *a.shape)), given)

    def run(given, x):
        return over_time(jax, lambda c, x: cell.apply({"params": given}, c, x), carry, x)

    outputs, grads = pulled(jax, run, given, x, d)
    model, params = interop.from_flax(given)
    check(model, params, x, d, outputs, interop.from_flax(grads)[1])
    back = interop.to_flax(model, params, api="linen")
    assert jax.tree.map(lambda a: a.shape, back) == jax.tree.map(lambda a: a.shape, given)
    assert eps_apart(np.asarray(run(back, jax.numpy.asarray(x))), outputs) < EPS


def test_a_bias_that_nnx_lacks_is_refused():
    need("flax")
    model = prnn.RNN(I, H, cell="gru")
    with pytest.raises(ValueError, match=r"^params: bias_hh_l0 has rows of n that are not 0"):
        interop.to_flax(model, model.init(seed=0))
    with pytest.raises(ValueError, match=r"^source: expected the parameters of SimpleCell"):
        interop.from_flax({"hf": 1})
    with pytest.raises(TypeError, match=r"^source: expected SimpleCell, .* got 7"):
        interop.from_flax(7)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", ["GRUCell", "LSTMCell"])
def test_cells_of_equinox(jax, name, bias):
    eqx = need("equinox")
    cell = getattr(eqx.nn, name)(I, H, use_bias=bias, key=jax.random.key(0), dtype="float64")
    x, d = normal(50, T, B, I), normal(51, T, B, H)
    zero = jax.numpy.zeros((B, H))
    carry = (zero, zero) if name == "LSTMCell" else zero

    def run(cell, x):
        def step(carry, x):
            carry = jax.vmap(cell)(x, carry)
            return carry, carry[0] if name == "LSTMCell" else carry

        return over_time(jax, step, carry, x)

    arrays, rest = eqx.partition(cell, eqx.is_array)
    drawn = iter(range(99))
    arrays = jax.tree.map(lambda a: jax.numpy.asarray(normal(next(drawn), *a.shape)), arrays)
    outputs, grads = pulled(jax, lambda a, x: run(eqx.combine(a, rest), x), arrays, x, d)
    model, params = interop.from_equinox(eqx.combine(arrays, rest))
    check(model, params, x, d, outputs, interop.from_equinox(eqx.combine(grads, rest))[1])
    back = interop.to_equinox(model, params)
    assert eps_apart(np.asarray(run(back, jax.numpy.asarray(x))), outputs) < EPS


@pytest.mark.parametrize("to", ["to_keras", "to_flax", "to_equinox"])
@pytest.mark.parametrize(
    "options",
    [
        {"cell": "layer_norm_lstm"},
        {"cell": prnn.cells.LSTM(peepholes=True)},
        {"cell": "lstm", "projection_size": 2},
        {"cell": "gru", "zoneout": 0.5},
        {"cell": "gru", "recurrent_dropout": 0.5},
        {"cell": "gru", "pool": "mean"},
        {"cell": "gru", "reverse": True},
    ],
)
def test_what_another_library_lacks_is_refused(to, options):
    need(to.removeprefix("to_"))
    with pytest.raises(ValueError, match=r"^model: .* has no counterpart in"):
        getattr(interop, to)(model := prnn.RNN(I, H, **options), model.init(seed=0))


@pytest.mark.parametrize("name", ["keras", "flax", "equinox", "torch"])
def test_an_absent_library_is_named(name, monkeypatch):
    for module in (name, f"{name}.nnx"):
        monkeypatch.setitem(__import__("sys").modules, module, None)
    model = prnn.RNN(I, H, cell="gru")
    with pytest.raises(
        ImportError, match=rf"^{name} is needed to convert its .*pip install {name}"
    ):
        getattr(interop, f"to_{name}")(model, model.init(seed=0))
