"""Networks as ONNX files, and recurrent operators of ONNX files as networks."""

import json
import os
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from .._arrays import checks as check
from .._arrays.host import from_host
from .._arrays.namespace import Array, Namespace, resolve_namespace
from .._calls.checks import check_parameters
from ..model import RNN
from ..serialization import CheckpointError
from .gates import Host, converted, imported
from .onnx_nodes import OPERATORS, Layer, layer_of

__all__ = ["METADATA", "OnnxNetwork", "load_onnx"]

METADATA = "portable_rnn"  # the key of the description in a file
# What may stand between two layers.
BETWEEN = ("Squeeze", "Unsqueeze", "Transpose", "Reshape", "Identity", "Dropout", "Cast")


class OnnxNetwork(NamedTuple):
    """What an ONNX file holds of a recurrent network.

    Attributes
    ----------
    model : RNN
    params : dict of str to array
    state : array, or for LSTM a pair, or None
        The initial state, if it is a constant of the file other than zeros.
    lengths : NumPy array, shape (B,), or None
        The lengths of sequences, if they are a constant of the file.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> from portable_rnn import interop
    >>> model = prnn.RNN(3, 4, cell="gru")
    >>> interop.OnnxNetwork(model, model.init(seed=0)).state is None
    True
    """

    model: RNN
    params: dict[str, Array]
    state: Any = None
    lengths: Host | None = None


@check.named_options
def load_onnx(source: Any, *, node: str | None = None, xp: Namespace | None = None) -> OnnxNetwork:
    """Read the recurrent layers of an ONNX file: a description, and their parameters.

    A file of `export_onnx` gives the whole network back. Of any other, the operators RNN, GRU and
    LSTM are read, and nothing before and after them: several must be layers one after another.

    Parameters
    ----------
    source : path, bytes, or onnx.ModelProto
    node : str, optional
        The name of one operator, or of its first output, to read it alone.
    xp : module, optional
        Library of the parameters; NumPy by default.

    Returns
    -------
    OnnxNetwork
        A tuple of model, parameters, and the initial state and lengths if they are constants.
        Models of ``layout=1`` are ``batch_first``.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, there are no such operators, or `RNN` has no counterpart of
        one; the message names it.
    CheckpointError
        If the file cannot be read.
    ImportError
        If onnx is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import portable_rnn as prnn
    >>> from portable_rnn import interop
    >>> model = prnn.RNN(3, 4, 2, cell="gru")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     interop.export_onnx(f"{folder}/m.onnx", model, model.init(seed=0))
    ...     network = interop.load_onnx(f"{folder}/m.onnx")
    >>> network.model == model, network.params["readout.weight"].shape
    (True, (2, 4))
    """
    onnx = imported("onnx")
    if node is not None:
        check.text("node", node)
    space = None if xp is None else resolve_namespace(xp)
    graph = _Graph(onnx, _read(onnx, source))
    nodes = _chosen(graph, node)
    layers = [_layer(graph, one) for one in nodes]
    model, params = _stacked(layers, [_name(one) for one in nodes])
    if node is None and (described := graph.metadata.get(METADATA)) is not None:
        model, params = _described(described, model, params, graph)
    model, arrays = converted(model, params, xp)
    states = [_constant_states(graph, one) for one in nodes]
    state = None
    if any(array.any() for both in states for array in both):
        if len({len(both) for both in states}) > 1:
            raise ValueError("source: only some layers have constant initial states")
        joined = [np.concatenate(parts) for parts in zip(*states, strict=True)]
        found = tuple(from_host(array, space) for array in joined)
        state = found if len(found) > 1 else found[0]
    return OnnxNetwork(model, arrays, state, graph.constant(_input(nodes[0], 4)))


class _Graph:
    """A graph: who makes which value, and what constants are."""

    def __init__(self, onnx: Any, model: Any) -> None:
        self.onnx, self.model = onnx, model
        self.nodes = list(model.graph.node)
        self.makers = {name: node for node in self.nodes for name in node.output if name}
        self.initializers = {one.name: one for one in model.graph.initializer}
        self.metadata = {one.key: one.value for one in model.metadata_props}

    def constant(self, name: str) -> Host | None:
        """Return a value that does not depend on an input; None if there is none such."""
        if name in self.initializers:
            found: Host = self.onnx.numpy_helper.to_array(self.initializers[name])
            return found
        makers = self._makers(name) if name else None
        if makers is None:
            return None
        helper = self.onnx.helper
        nodes = [node for node in self.nodes if any(node is one for one in makers)]
        used = {i: self.initializers[i] for n in nodes for i in n.input if i in self.initializers}
        value = helper.make_tensor_value_info(name, self.onnx.TensorProto.FLOAT, None)
        alone = helper.make_graph(nodes, "constant", [], [value], list(used.values()))
        kept = helper.make_model(alone, opset_imports=self.model.opset_import)
        evaluator = imported("onnx.reference").ReferenceEvaluator(kept)
        return np.asarray(evaluator.run([name], {})[0])

    def _makers(self, name: str) -> list[Any] | None:
        """Return the operators that make a value; None if it depends on an input."""
        waiting, found = [name], {}
        while waiting:
            if (one := waiting.pop()) in self.initializers or not one:
                continue
            if (node := self.makers.get(one)) is None:
                return None
            if node.output[0] not in found:
                found[node.output[0]] = node
                waiting += node.input
        return list(found.values())


def _read(onnx: Any, source: Any) -> Any:
    if isinstance(source, onnx.ModelProto):
        return source
    if isinstance(source, bytes):
        name, load = "source", onnx.load_model_from_string
    else:
        name, load = str(check.path("source", source)), onnx.load
    try:
        model = load(source if isinstance(source, bytes) else os.fspath(source))
    except FileNotFoundError:
        raise CheckpointError(f"{name}: there is no such file") from None
    except OSError as error:
        raise CheckpointError(f"{name}: cannot be read: {error.strerror}") from None
    except Exception as error:  # of protobuf, and of what the file names
        raise CheckpointError(f"{name}: expected an ONNX model ({check.said(error)})") from None
    if not model.graph.node:
        raise CheckpointError(f"{name}: expected an ONNX model, got one without operators")
    return model


def _name(node: Any) -> str:
    return str(node.name or next((name for name in node.output if name), node.op_type))


def _input(node: Any, at: int) -> str:
    return str(node.input[at]) if len(node.input) > at else ""


def _chosen(graph: _Graph, asked: str | None) -> list[Any]:
    """Return the operators to read, in order."""
    every = [n for n in graph.nodes if n.op_type in OPERATORS and n.domain in ("", "ai.onnx")]
    if not every:
        raise ValueError("source: expected an operator RNN, GRU or LSTM in its graph, got none")
    names = ", ".join(repr(_name(one)) for one in every)
    if asked is not None:
        found = [n for n in every if asked in (n.name, *n.output[:1])]
        if len(found) != 1:
            raise ValueError(f"node: expected one of {names}, got {asked!r}")
        return found
    for before, after in pairwise(every):
        value = _input(after, 0)
        while (maker := graph.makers.get(value)) is not None and maker.op_type in BETWEEN:
            value = maker.input[0]
        if value != before.output[0]:
            raise ValueError(
                f"node: expected one of {names}, since these are not layers one after another"
            )
    return every


def _layer(graph: _Graph, node: Any) -> Layer:
    name, helper = _name(node), graph.onnx.helper
    attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
    arrays = []
    for part, at in (("W", 1), ("R", 2), ("B", 3), ("P", 7)):
        given = _input(node, at)
        arrays.append(graph.constant(given))
        if given and arrays[-1] is None:
            raise ValueError(f"{name}: expected {part} as a constant, got one that is computed")
    if {array.dtype.kind for array in arrays if array is not None} != {"f"}:
        raise ValueError(f"{name}: expected arrays of float16, float32 or float64")
    return layer_of(name, node.op_type, attributes, arrays)


def _stacked(layers: Sequence[Layer], names: Sequence[str]) -> tuple[RNN, dict[str, Host]]:
    """Return operators, one after another, as one network."""
    first = layers[0].options
    features = first["hidden_size"] * (1 + first["bidirectional"])
    biased = any(layer.options["bias"] for layer in layers)
    for name, layer in zip(names[1:], layers[1:], strict=True):
        wanted = first | {"input_size": features, "bias": layer.options["bias"]}
        for option, value in layer.options.items():
            if value != wanted[option]:
                raise ValueError(
                    f"{name}: expected {option}={wanted[option]!r} after {names[0]}, got {value!r}"
                )
    model = RNN(**first | {"num_layers": len(layers), "bias": biased})
    params = {
        f"{part}_l{number}{end}": array
        for number, layer in enumerate(layers)
        for (part, end), array in layer.params.items()
    }
    dtype = params["weight_ih_l0"].dtype
    for name, shape in model.parameter_shapes.items():
        params.setdefault(name, np.zeros(shape, dtype))  # biases of some layers alone
    return model, params


def _described(
    text: str, found: RNN, params: dict[str, Host], graph: _Graph
) -> tuple[RNN, dict[str, Host]]:
    """Return the network that a file of `export_onnx` describes."""
    try:
        model = RNN(**json.loads(text)["model"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise CheckpointError(f"source: its description is not one of a model: {error}") from None
    for name in ("cell_object", "num_layers", "hidden_size", "input_size", "reversed_directions"):
        if (got := getattr(found, name)) != (said := getattr(model, name)):
            raise CheckpointError(
                f"source: its description says {name}={said!r}, and its operators {got!r}"
            )
    for name in ("embedding.weight", "readout.weight", "readout.bias"):
        if name in model.parameter_shapes and (array := graph.constant(name)) is not None:
            params[name] = array
    params = {name: params[name] for name in model.parameter_shapes if name in params}
    try:
        check_parameters(model, params)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"source: does not hold what it describes: {error}") from None
    return model, params


def _constant_states(graph: _Graph, node: Any) -> list[Host]:
    """Return the initial states (D, B, H) of an operator that are constants."""
    found = [graph.constant(_input(node, at)) for at in (5, 6)]
    states = [array for array in found if array is not None]
    layout = any(one.name == "layout" and one.i for one in node.attribute)
    return [np.swapaxes(array, 0, 1) if layout else array for array in states]
