"""Recurrent layers of torch, with an embedding and a readout if there are any, and back.

Names, shapes and gate order are the same, so arrays are only copied.
"""

import re
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NamedTuple

from .._arrays import checks as check
from .._arrays.host import bits_to_host, from_bits, from_host, to_host
from .._arrays.namespace import Array, Namespace, dtype_name, resolve_namespace
from .._calls.checks import check_model, check_parameters
from ..cells import GRU, LSTM, Elman
from ..model import RNN

__all__ = ["TorchModules", "from_torch", "to_torch"]

CELLS = {1: "elman", 3: "gru", 4: "lstm"}  # by their number of gates
OF_A_LAYER = re.compile(r"(weight_ih|weight_hh|weight_hr|bias_ih|bias_hh)(_l\d+)?(_reverse)?")


class TorchModules(NamedTuple):
    """The parts of a network, as modules of torch.

    Attributes
    ----------
    recurrent : torch.nn.RNN, GRU or LSTM
    readout : torch.nn.Linear, or None
    embedding : torch.nn.Embedding, or None

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> from portable_rnn.interop import to_torch
    >>> model = prnn.RNN(3, 4, cell="lstm")
    >>> to_torch(model, model.init(seed=0)).recurrent
    LSTM(3, 4)
    """

    recurrent: Any
    readout: Any = None
    embedding: Any = None


@check.named_options
def from_torch(
    source: Any,
    *,
    recurrent: str = "",
    readout: str | None = None,
    embedding: str | None = None,
    xp: Namespace | None = None,
    **options: Any,
) -> tuple[RNN, dict[str, Array]]:
    """Convert a recurrent network of torch: its description, and a copy of its parameters.

    Parameters
    ----------
    source : torch.nn.Module, or dict of str to tensor
        A ``torch.nn.RNN``, ``GRU`` or ``LSTM``, or the cell of one; a module with one in it; or the
        state dict of either.
    recurrent, readout, embedding : str, optional
        Where in the module, or in the names of the state dict, the recurrent layers, the
        ``torch.nn.Linear`` after them and the ``torch.nn.Embedding`` before them are, such as
        "encoder.rnn".
    xp : module, optional
        Library of the parameters; NumPy by default.
    **options
        Of `RNN`, for what parameters do not tell: ``nonlinearity``, ``batch_first``, ``dropout``,
        ``pool``, ``tied``. A module tells the first three.

    Returns
    -------
    model : RNN
    params : dict of str to array

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or `RNN` has no counterpart of a part; the message names it.
    ImportError
        If torch is not installed.

    Examples
    --------
    >>> import torch
    >>> from portable_rnn.interop import from_torch
    >>> model, params = from_torch(torch.nn.GRU(3, 4, num_layers=2, batch_first=True))
    >>> model.cell, model.num_layers, model.batch_first, type(params["weight_hh_l1"]).__name__
    ('gru', 2, True, 'ndarray')
    """
    nn = _torch().nn
    if not isinstance(source, nn.Module) and not (isinstance(source, Mapping) and source):
        wanted = "a torch.nn.Module or its state dict"
        raise TypeError(f"source: expected {wanted}, got {check.said(source)}")
    places = {"recurrent": recurrent, "readout": readout, "embedding": embedding}
    for name, place in places.items():
        if place is not None or name == "recurrent":
            check.text(name, place)
    if isinstance(source, nn.Module):
        found = _of_module(nn, source, places)
        options = found | options
        source = source.state_dict()
    parts = {name: _entries(source, name, place) for name, place in places.items()}
    layers = _named_as_layers(parts["recurrent"], recurrent)
    _refuse_more("readout", parts["readout"], readout)
    _refuse_more("embedding", parts["embedding"], embedding)
    tied = options.get("tied", False)
    model = RNN(**_sizes(layers, parts) | options)
    params = layers | {f"readout.{name}": a for name, a in parts["readout"].items()}
    if "weight" in parts["embedding"]:
        params["embedding.weight"] = parts["embedding"]["weight"]
    if tied:
        params.pop("readout.weight", None)
    try:
        check_parameters(model, params)
    except (TypeError, ValueError) as error:
        raise ValueError(f"source: does not fit {model}: {error}") from None
    space = None if xp is None else resolve_namespace(xp)
    return model, {name: _copied(name, params[name], space) for name in model.parameter_shapes}


@check.named_options
def to_torch(model: RNN, params: Mapping[str, Array]) -> TorchModules:
    """Convert a network to modules of torch, with a copy of its parameters.

    Parameters
    ----------
    model : RNN
        With an Elman, GRU or LSTM cell as torch has it.
    params : dict of str to array
        Of any library.

    Returns
    -------
    TorchModules

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or torch has no counterpart of an option; the message names it.
    ImportError
        If torch is not installed.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> from portable_rnn.interop import to_torch
    >>> model = prnn.RNN(3, 4, 2, cell="gru")
    >>> modules = to_torch(model, model.init(seed=0))
    >>> modules.recurrent, modules.readout
    (GRU(3, 4), Linear(in_features=4, out_features=2, bias=True))
    """
    torch = _torch()
    check_model(model)
    if not isinstance(model, RNN):
        raise TypeError(f"model: expected an RNN, got {type(model).__name__}")
    check_parameters(model, params)
    given = {name: _tensor(array) for name, array in params.items()}
    of = {"dtype": next(iter(given.values())).dtype}
    layers = _layer_class(torch.nn, model)(
        *(model.input_size, model.hidden_size, model.num_layers),
        **{"bias": model.bias, "batch_first": model.batch_first, "dropout": model.dropout},
        **{"bidirectional": model.bidirectional} | of,
        **({"proj_size": model.projection_size} if model.projection_size else {}),
        **({"nonlinearity": model.nonlinearity} if model.cell == "elman" else {}),
    )
    heads: dict[str, Any] = {}
    if model.output_size is not None:
        size = model.directions * model.recurrent_size
        heads["readout"] = torch.nn.Linear(size, model.output_size, bias=model.bias, **of)
    if model.vocabulary_size is not None:
        heads["embedding"] = torch.nn.Embedding(model.vocabulary_size, model.input_size, **of)
    if model.tied:
        heads["readout"].weight = heads["embedding"].weight
    with torch.no_grad():
        for name, array in given.items():
            part, _, own = name.rpartition(".")
            heads.get(part, layers).get_parameter(own).copy_(array)
    return TorchModules(layers, **heads)


def _torch() -> Any:
    try:
        return import_module("torch")
    except ImportError:
        raise ImportError("torch is needed to convert its modules: pip install torch") from None


def _of_module(nn: Any, source: Any, places: Mapping[str, str | None]) -> dict[str, Any]:
    """Check the parts of a module; return the options of `RNN` that its arrays do not tell."""
    kinds = {
        "recurrent": (nn.RNN, nn.GRU, nn.LSTM, nn.RNNCell, nn.GRUCell, nn.LSTMCell),
        "readout": (nn.Linear,),
        "embedding": (nn.Embedding,),
    }
    found = {}
    for name, kind in kinds.items():
        if (place := places[name]) is None:
            continue
        try:
            found[name] = source.get_submodule(place)
        except AttributeError:
            found[name] = None
        if type(found[name]) not in kind:
            there = [at for at, part in source.named_modules() if type(part) in kind]
            raise ValueError(
                f"{name}: expected where a {' or '.join(one.__name__ for one in kind)} is, such as "
                f"{', '.join(map(repr, there)) or 'none here'}, got {place!r}, "
                f"where {type(found[name]).__name__} is"
            )
    if getattr(found.get("embedding"), "max_norm", None) is not None:
        raise ValueError("embedding: torch's max_norm has no counterpart")
    layers = found["recurrent"]
    options = {"batch_first": getattr(layers, "batch_first", False)}
    if getattr(layers, "num_layers", 1) > 1:
        options["dropout"] = layers.dropout
    if (nonlinearity := getattr(layers, "nonlinearity", "tanh")) != "tanh":
        options["nonlinearity"] = nonlinearity
    return options


def _entries(state: Mapping[str, Any], name: str, place: str | None) -> dict[str, Any]:
    """Return the arrays of one part, by their names in it."""
    if place is None:
        return {}
    start = f"{place}." if place else ""
    for key, array in state.items():
        if not isinstance(key, str) or not hasattr(array, "shape"):
            raise TypeError(
                f"source: expected a dict of arrays by name, got {check.said(key)} in it"
            )
    inside = {key[len(start) :]: array for key, array in state.items() if key.startswith(start)}
    found = {key: array for key, array in inside.items() if "." not in key}
    if not found:
        raise ValueError(
            f"source, {name}: no parameters are at {place!r} (there are {', '.join(state)})"
        )
    return found


def _named_as_layers(entries: Mapping[str, Any], place: str) -> dict[str, Any]:
    """Check the names of recurrent layers; those of a single cell become those of a layer."""
    layers = {}
    for name, array in entries.items():
        if not (match := OF_A_LAYER.fullmatch(name)):
            raise ValueError(
                f"source, recurrent: expected where parameters of torch's recurrent layers are, "
                f"got {place!r}, where {name} is"
            )
        layers[name if match[2] else f"{name}_l0"] = array
    return layers


def _refuse_more(name: str, entries: Mapping[str, Any], place: str | None) -> None:
    if entries.keys() - {"weight", "bias"} or (entries and "weight" not in entries):
        raise ValueError(
            f"{name}: expected where a weight is, and perhaps a bias, "
            f"got {place!r}, where {', '.join(entries)} are"
        )


def _sizes(layers: Mapping[str, Any], parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return the options of `RNN` that shapes and names tell."""
    for name in ("weight_ih_l0", "weight_hh_l0"):
        if name not in layers or len(layers[name].shape) != 2:
            among = ", ".join(layers)
            raise ValueError(f"source, recurrent: expected a matrix {name} among {among}")
    rows, inputs = layers["weight_ih_l0"].shape
    projection = layers.get("weight_hr_l0")
    hidden = (layers["weight_hh_l0"] if projection is None else projection).shape[1]
    if (cell := CELLS.get(rows / hidden)) is None:
        raise ValueError(
            f"source, recurrent: expected 1, 3 or 4 gates of {hidden} rows in weight_ih_l0, "
            f"got {rows} rows"
        )
    found = {
        **{"input_size": inputs, "hidden_size": hidden, "cell": cell},
        **{"num_layers": len({re.search(r"_l\d+", name)[0] for name in layers})},  # type: ignore[index]
        **{"bidirectional": any(name.endswith("_reverse") for name in layers)},
        **{"bias": any(name.startswith("bias") for name in layers)},
    }
    if projection is not None:
        found["projection_size"] = projection.shape[0]
    if parts["readout"]:
        found["output_size"] = parts["readout"]["weight"].shape[0]
    if parts["embedding"]:
        found["vocabulary_size"] = parts["embedding"]["weight"].shape[0]
    return found


def _copied(name: str, tensor: Any, xp: Namespace | None) -> Array:
    if dtype_name(tensor.dtype) != "bfloat16":
        return from_host(to_host(tensor).copy(), xp)
    try:
        return from_bits(bits_to_host(tensor).copy(), xp)
    except TypeError as error:
        raise TypeError(f"source: {name} is bfloat16, and {error}; give xp=torch") from None


def _layer_class(nn: Any, model: RNN) -> Any:
    """Return torch's class of the layers, or refuse what it has no counterpart of."""
    for name, without in {
        **{"recurrent_dropout": 0.0, "zoneout": 0.0, "pool": None, "reverse": False},
    }.items():
        if (value := getattr(model, name)) != without:
            raise ValueError(f"model: {name}={value!r} has no counterpart in torch's layers")
    cells = {
        Elman("tanh"): nn.RNN,
        Elman("relu"): nn.RNN,
        GRU(): nn.GRU,
        LSTM(): nn.LSTM,
    }
    if model.cell_object not in cells:
        raise ValueError(f"model: cell {check.said(model.cell)} has no counterpart in torch")
    return cells[model.cell_object]


def _tensor(array: Array) -> Any:
    torch = _torch()
    if dtype_name(array.dtype) == "bfloat16":
        return from_bits(bits_to_host(array), torch)
    return torch.as_tensor(to_host(array))
