"""Recurrent layers of Keras, with an embedding and a readout if there are any, and back.

Keras has matrices transposed, another order of a GRU's gates (z, r, h), and one bias where torch
has two, except for a GRU that resets after the product.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._arrays import checks as check
from .._arrays.namespace import Array, Namespace
from ..cells import GRU, LSTM, Elman, ResetBeforeGRU
from ..model import RNN
from .gates import Host, by_name, checked, converted, imported, in_order, on_host, refuse_options

__all__ = ["from_keras", "to_keras"]

GATES = {"SimpleRNN": ("h", "h"), "GRU": ("zrh", "rzh"), "LSTM": ("ifco", "ifco")}  # theirs, ours
KINDS = {Elman: "SimpleRNN", GRU: "GRU", ResetBeforeGRU: "GRU", LSTM: "LSTM"}


@check.named_options
def from_keras(source: Any, *, xp: Namespace | None = None) -> tuple[RNN, dict[str, Array]]:
    """Convert recurrent layers of Keras: a description, and a copy of their parameters.

    Parameters
    ----------
    source : keras.Layer, keras.Sequential, or sequence of layers
        ``SimpleRNN``, ``GRU`` or ``LSTM``, or ``Bidirectional`` with one; several, that are alike,
        in a row; an ``Embedding`` before them and a ``Dense`` after them. Layers are built.
    xp : module, optional
        Library of the parameters; NumPy by default.

    Returns
    -------
    model : RNN
        With ``batch_first``, and ``pool="last"`` if the last layer returns no sequences.
    params : dict of str to array

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or `RNN` has no counterpart of a layer or of an option of it;
        the message names it.
    ImportError
        If Keras is not installed.

    Examples
    --------
    >>> import keras
    >>> from portable_rnn.interop import from_keras
    >>> layer = keras.layers.GRU(4, return_sequences=True)
    >>> layer.build((None, None, 3))
    >>> model, params = from_keras(layer)
    >>> model.cell, params["weight_ih_l0"].shape
    ('gru', (12, 3))
    """
    keras = imported("keras")
    layers = _layers(keras, source)
    params: dict[str, Host] = {}
    options: dict[str, Any] = {}
    first = layers[0]
    if isinstance(first, keras.layers.Embedding):
        (params["embedding.weight"],) = _weights(first)
        options["vocabulary_size"] = params["embedding.weight"].shape[0]
        layers = layers[1:]
    if isinstance(layers[-1] if layers else None, keras.layers.TimeDistributed):
        layers = [*layers[:-1], layers[-1].layer]
    if isinstance(layers[-1] if layers else None, keras.layers.Dense):
        *layers, dense = layers
        _refuse_activation(dense)
        params |= _readout(dense)
        options["output_size"] = dense.units
    if not layers:
        raise ValueError("source: expected a recurrent layer, got none")
    descriptions = [_described(keras, layer) for layer in layers]
    for i, described in enumerate(descriptions):
        sequences = described.pop("return_sequences")
        if i + 1 == len(layers):
            options |= {} if sequences else {"pool": "last"}
        elif not sequences:
            raise ValueError(f"source: layer {i} returns no sequences, which layer {i + 1} needs")
        if described != descriptions[0]:
            raise ValueError(f"source: expected layers that are alike, but {i} is not like 0")
        for suffix, one in zip(("", "_reverse"), _directions(keras, layers[i]), strict=False):
            params |= _of_layer(one, f"_l{i}{suffix}")
    described = descriptions[0]
    if described["reverse"] and "pool" not in options:
        raise ValueError(
            "source: go_backwards=True with return_sequences=True returns steps in another order "
            "than reverse=True"
        )
    if "output_size" in options and ("readout.bias" in params) != described["bias"]:
        raise ValueError("source: expected biases in all layers and in Dense, or in none")
    model = RNN(
        input_size=params["weight_ih_l0"].shape[1],
        **described,
        **options,
        num_layers=len(layers),
        batch_first=True,
    )
    return converted(model, params, xp)


@check.named_options
def to_keras(model: RNN, params: Mapping[str, Array]) -> Any:
    """Convert a network to layers of Keras, with a copy of its parameters.

    Parameters
    ----------
    model : RNN
    params : dict of str to array
        Of any library.

    Returns
    -------
    keras.Sequential
        Of sequences (B, T, I).

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or Keras has no counterpart of an option; the message names it.
    ImportError
        If Keras is not installed.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> from portable_rnn.interop import to_keras
    >>> model = prnn.RNN(3, 4, 2, cell="lstm", num_layers=2)
    >>> [type(layer).__name__ for layer in to_keras(model, model.init(seed=0)).layers]
    ['LSTM', 'LSTM', 'Dense']
    """
    keras = imported("keras")
    cells = (Elman("tanh"), Elman("relu"), GRU(), ResetBeforeGRU(), LSTM())
    given = checked(model, params, "Keras", cells, dropout=0.0, projection_size=None, tied=False)
    if model.pool not in (None, "last") or (model.reverse and model.pool is None):
        option = "pool" if model.pool else "reverse"
        raise ValueError(f"model: {option}={getattr(model, option)!r} has no counterpart in Keras")
    dtype = given["weight_ih_l0"].dtype.name
    layers = [] if model.vocabulary_size is not None else [keras.Input((None, model.input_size))]
    if model.vocabulary_size is not None:
        layers = [keras.Input((None,), dtype="int32")]
        layers += [keras.layers.Embedding(model.vocabulary_size, model.input_size, dtype=dtype)]
    kind = KINDS[type(model.cell_object)]
    for i in range(model.num_layers):
        options: dict[str, Any] = {"use_bias": model.bias, "dtype": dtype}
        options["return_sequences"] = i + 1 < model.num_layers or model.pool is None
        options |= {"go_backwards": True} if model.reverse else {}
        if kind == "GRU":
            options["reset_after"] = model.cell_object == GRU()
        if kind == "SimpleRNN":
            options["activation"] = model.nonlinearity
        layer = getattr(keras.layers, kind)(model.hidden_size, **options)
        layers.append(keras.layers.Bidirectional(layer) if model.bidirectional else layer)
    if model.output_size is not None:
        layers.append(keras.layers.Dense(model.output_size, use_bias=model.bias, dtype=dtype))
    network = keras.Sequential(layers)
    weights = [given["embedding.weight"]] if model.vocabulary_size is not None else []
    for i in range(model.num_layers):
        for suffix in ("", "_reverse")[: model.directions]:
            weights += _to_layer(model, kind, given, f"_l{i}{suffix}")
    if model.output_size is not None:
        weights.append(given["readout.weight"].T)
        weights += [given["readout.bias"]] if model.bias else []
    network.set_weights(weights)
    return network


def _layers(keras: Any, source: Any) -> list[Any]:
    """Return layers, without those that compute nothing."""
    if isinstance(source, keras.Sequential):
        source = source.layers
    elif isinstance(source, keras.layers.Layer) and not isinstance(source, keras.Model):
        source = [source]
    if not isinstance(source, Sequence) or not all(
        isinstance(layer, keras.layers.Layer) for layer in source
    ):
        raise TypeError(
            f"source: expected a layer of Keras, a Sequential or several layers, "
            f"got {check.said(source)}"
        )
    layers = [layer for layer in source if not isinstance(layer, keras.layers.InputLayer)]
    if not layers:
        raise ValueError("source: expected a recurrent layer, got none")
    return layers


def _directions(keras: Any, layer: Any) -> tuple[Any, ...]:
    both = isinstance(layer, keras.layers.Bidirectional)
    return (layer.forward_layer, layer.backward_layer) if both else (layer,)


def _described(keras: Any, layer: Any) -> dict[str, Any]:
    """Return the options of `RNN` for a layer, and whether it returns sequences."""
    directions = _directions(keras, layer)
    if len(directions) == 2:
        refuse_options(layer, "source", "RNN", merge_mode="concat")
    one = directions[0]
    kind = type(one).__name__
    if kind not in GATES or not isinstance(one, getattr(keras.layers, kind)):
        raise ValueError(f"source: {type(one).__name__} has no counterpart in RNN")
    for each in directions:
        refuse_options(each, "source", "RNN", dropout=0.0, recurrent_dropout=0.0)
    activation = _named(one, "activation")
    if kind == "SimpleRNN":
        cell: Any = Elman(activation)
    else:
        recurrent = _named(one, "recurrent_activation")
        cells = {
            "GRU": GRU if getattr(one, "reset_after", False) else ResetBeforeGRU,
            "LSTM": LSTM,
        }
        functions = (recurrent, activation) if kind == "GRU" else (recurrent, *[activation] * 2)
        cell = cells[kind](activations=functions)
    return {
        **{"hidden_size": one.units, "cell": by_name(cell), "bias": one.use_bias},
        **{"bidirectional": len(directions) == 2},
        "reverse": len(directions) == 1 and one.go_backwards,
        "return_sequences": one.return_sequences,
    }


def _named(layer: Any, option: str) -> str:
    """Return the name of a nonlinearity that this library has too."""
    name = getattr(getattr(layer, option), "__name__", None)
    if name not in ("tanh", "sigmoid", "relu", "softsign", "softplus"):
        raise ValueError(f"source: {option}={name!r} has no counterpart in RNN")
    return str(name)


def _refuse_activation(dense: Any) -> None:
    name = getattr(dense.activation, "__name__", None)
    if name != "linear":
        raise ValueError(
            f"source: Dense has activation={name!r}, and a readout has none: losses and "
            "predictions of this library are of logits; set it to keras.activations.linear"
        )


def _weights(layer: Any) -> list[Host]:
    if not layer.weights:
        raise ValueError(f"source: {layer.name} has no weights yet; call it, or build it, first")
    values = [variable.value for variable in layer.weights]  # of its backend
    values = [value if hasattr(value, "detach") else np.asarray(value) for value in values]
    return [on_host(f"source: {layer.name}", value) for value in values]


def _readout(dense: Any) -> dict[str, Host]:
    kernel, *bias = _weights(dense)
    return {"readout.weight": kernel.T} | ({"readout.bias": bias[0]} if bias else {})


def _of_layer(layer: Any, end: str) -> dict[str, Host]:
    """Return the parameters of a layer in one direction."""
    theirs, ours = GATES[type(layer).__name__]
    kernel, recurrent, *bias = _weights(layer)
    found = {
        f"weight_ih{end}": in_order(kernel.T, theirs, ours),
        f"weight_hh{end}": in_order(recurrent.T, theirs, ours),
    }
    if bias:
        both = bias[0] if bias[0].ndim == 2 else (bias[0], np.zeros_like(bias[0]))
        for name, one in zip(("bias_ih", "bias_hh"), both, strict=True):
            found[f"{name}{end}"] = in_order(one, theirs, ours)
    return found


def _to_layer(model: RNN, kind: str, given: Mapping[str, Host], end: str) -> list[Host]:
    """Return the weights of a layer of Keras in one direction."""
    theirs, ours = GATES[kind]
    weights = [
        in_order(given[f"{name}{end}"], ours, theirs).T for name in ("weight_ih", "weight_hh")
    ]
    if not model.bias:
        return weights
    both = [in_order(given[f"{name}{end}"], ours, theirs) for name in ("bias_ih", "bias_hh")]
    apart = model.cell_object == GRU()  # the recurrent bias of n is inside the reset
    return [*weights, np.stack(both) if apart else both[0] + both[1]]
