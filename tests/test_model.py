"""The description of a network: a frozen, hashable and validated value."""

import pickle
from dataclasses import FrozenInstanceError, dataclass, replace

import numpy as np
import pytest

from portable_rnn import RNN
from portable_rnn.cells import GRU, LSTM, Elman

# As documented for torch.nn.RNN, GRU and LSTM: (gates·H, I), (gates·H, H), (gates·H,) twice.
GATES = {"elman": 1, "gru": 3, "lstm": 4}


@pytest.mark.parametrize(("cell", "gates"), GATES.items())
def test_shapes_and_order_are_those_of_torch(cell, gates):
    model = RNN(input_size=4, hidden_size=5, output_size=3, cell=cell)
    assert list(model.parameter_shapes.items()) == [
        ("weight_ih_l0", (gates * 5, 4)),
        ("weight_hh_l0", (gates * 5, 5)),
        ("bias_ih_l0", (gates * 5,)),
        ("bias_hh_l0", (gates * 5,)),
        ("readout.weight", (3, 5)),
        ("readout.bias", (3,)),
    ]
    params = model.init(seed=0)
    assert {name: array.shape for name, array in params.items()} == model.parameter_shapes
    assert list(params) == list(model.parameter_shapes)


def test_omitted_parts_have_no_parameters():
    weights = ["weight_ih_l0", "weight_hh_l0"]
    assert list(RNN(4, 5, bias=False).parameter_shapes) == weights
    assert list(RNN(4, 5, 3, bias=False).parameter_shapes) == [*weights, "readout.weight"]
    assert not any("readout" in name for name in RNN(4, 5).parameter_shapes)


def test_sizes_of_outputs_and_states():
    assert RNN(4, 5).feature_size == 5
    assert RNN(4, 5, 3).feature_size == 3
    assert RNN(4, 5).state_shape(7) == (1, 7, 5)
    assert RNN(4, 5).state_shape(None) == (1, 5)


def test_a_model_is_a_value():
    """So that it can be a static argument of jax.jit, or a key."""
    one, two = RNN(4, 5, cell="gru"), RNN(4, 5, cell="gru")
    _ = one.parameter_shapes  # cached values must not enter the comparison
    assert one == two
    assert hash(one) == hash(two)
    assert one != replace(one, hidden_size=6)
    assert pickle.loads(pickle.dumps(one)) == one
    with pytest.raises(FrozenInstanceError):
        one.hidden_size = 6


def test_a_cell_may_be_named_or_given():
    for name, cell in {"elman": Elman(), "gru": GRU(), "lstm": LSTM()}.items():
        assert RNN(4, 5, cell=name).cell_object == cell
        assert RNN(4, 5, cell=cell).cell_object is cell
        assert RNN(4, 5, cell=cell).parameter_shapes == RNN(4, 5, cell=name).parameter_shapes
    assert RNN(4, 5, nonlinearity="relu").cell_object == Elman("relu")


def test_a_model_can_be_rebuilt_from_to_dict():
    model = RNN(4, 5, 3, cell="lstm", bias=False, batch_first=True)
    assert RNN(**model.to_dict()) == model
    model = RNN(4, 5, cell=LSTM(peepholes=True))
    assert model.to_dict()["cell"] == {"name": "lstm", "peepholes": True}

    @dataclass(frozen=True)
    class Own(GRU):
        pass

    with pytest.raises(TypeError, match=r"^cell: only cells of the library .*got .*Own\("):
        RNN(4, 5, cell=Own()).to_dict()


@pytest.mark.parametrize("cell", GATES)
def test_init_is_uniform_within_one_over_the_root_of_the_hidden_size(cell):
    params = RNN(30, 25, 20, cell=cell).init(seed=0, dtype="float64")
    for name, array in params.items():
        assert np.abs(array).max() <= 0.2, name
    drawn = np.concat([array.ravel() for array in params.values()])
    assert np.abs(drawn).max() > 0.199
    assert abs(drawn.mean()) < 0.01
    # The variance of a uniform distribution of half-width 0.2.
    assert abs(drawn.var() / (0.04 / 3.0) - 1.0) < 0.05


def test_one_seed_is_one_set_of_numbers():
    model = RNN(4, 5, 3, cell="gru")
    once, again, other = model.init(seed=1), model.init(seed=1), model.init(seed=2)
    double = model.init(seed=1, dtype="float64")
    for name, array in once.items():
        assert array.dtype == np.float32
        assert array.tobytes() == again[name].tobytes()
        assert not np.array_equal(array, other[name])
        assert array.tobytes() == double[name].astype(np.float32).tobytes()


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"input_size": 0}, ValueError, "^input_size: .*got 0"),
        ({"hidden_size": -1}, ValueError, "^hidden_size: .*got -1"),
        ({"output_size": 0}, ValueError, "^output_size: .*got 0"),
        ({"hidden_size": 5.0}, TypeError, r"^hidden_size: .*got 5\.0"),
        ({"hidden_size": True}, TypeError, "^hidden_size: .*got True"),
        ({"cell": "gated"}, ValueError, "^cell: expected one of 'elman', 'gru', 'lstm'.*'gated'"),
        ({"cell": 3}, TypeError, "^cell: .*got 3"),
        ({"cell": GRU}, TypeError, r"^cell: expected an object, got the class GRU; write GRU\(\)$"),
        ({"nonlinearity": "gelu"}, ValueError, "^nonlinearity: .*got 'gelu'"),
        ({"nonlinearity": "relu", "cell": "gru"}, ValueError, "^nonlinearity: .*cell='gru'"),
        ({"bias": 1}, TypeError, "^bias: expected True or False, got 1"),
        ({"batch_first": None}, TypeError, "^batch_first: .*got None"),
        ({"num_layers": 0}, ValueError, "^num_layers: .*got 0"),
        ({"bidirectional": 2}, TypeError, "^bidirectional: expected True or False, got 2"),
        ({"dropout": 0.5}, ValueError, "^dropout: acts between layers, and num_layers is 1"),
        ({"dropout": 1.0, "num_layers": 2}, ValueError, r"^dropout: .*\[0, 1\), got 1.0"),
        ({"recurrent_dropout": -0.1}, ValueError, r"^recurrent_dropout: .*got -0.1"),
        ({"zoneout": "a"}, TypeError, r"^zoneout: expected a number in \[0, 1\), got 'a'"),
    ],
)
def test_a_wrong_description_names_what_is_wrong(options, error, message):
    with pytest.raises(error, match=message):
        RNN(**{"input_size": 4, "hidden_size": 5} | options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"seed": -1}, ValueError, "^seed: .*got -1"),
        ({"seed": 1.5}, TypeError, r"^seed: .*got 1\.5"),
        ({"seed": True}, TypeError, "^seed: .*got True"),
        ({"dtype": "int32"}, TypeError, "^dtype: .*got 'int32'"),
        ({"dtype": "float33"}, TypeError, "^dtype: .*got 'float33'"),
        ({"xp": pickle}, TypeError, "^xp: expected an array module"),
    ],
)
def test_init_names_what_it_cannot_use(options, error, message):
    with pytest.raises(error, match=message):
        RNN(4, 5).init(**options)
