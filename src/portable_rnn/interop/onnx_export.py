"""Networks written as ONNX files, which onnxruntime and others run."""

import json
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._arrays import checks as check
from .._arrays.namespace import Array
from .._calls.checks import check_model, check_parameters
from ..model import RNN
from ..serialization import write_atomically
from .gates import Host, imported, on_host
from .onnx import METADATA
from .onnx_nodes import attributes_of, parts_of

__all__ = ["export_onnx"]

OPSET, IR_VERSION = 18, 8
LARGEST = 2**31 - 1  # bytes of a file; others hold their arrays in files beside them


@check.named_options
def export_onnx(
    path: str | os.PathLike[str],
    model: RNN,
    params: Mapping[str, Array],
    *,
    lengths: bool = False,
    state: bool = False,
) -> None:
    """Write a network as an ONNX file: embedding, recurrent layers, pool and readout.

    T and B are free. Inputs are ``x``, as for `predict`, and if asked for ``lengths`` (B,), of
    int32, and the initial state ``h_0``, for LSTM also ``c_0``. Outputs are ``outputs``, and the
    final state ``h_n`` and ``c_n``. Dropout and zoneout, which only act in training, are left out,
    but kept in the description.

    Parameters
    ----------
    path : path
        Replaced in one step if it exists.
    model : RNN
        With cell "elman", "gru", "reset_before_gru" or "lstm", with any of their options.
    params : dict of str to array
        Of any library, in float16, float32 or float64. (onnxruntime 1.32 runs recurrent
        operators in float32 alone.)
    lengths, state : bool
        Whether the network has these inputs.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or ONNX has no counterpart of an option; the message names it.
        Nothing is then written.
    OSError
        If the file cannot be written; an existing file is unchanged.
    ImportError
        If onnx is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import onnx
    >>> import portable_rnn as prnn
    >>> from portable_rnn import interop
    >>> model = prnn.RNN(3, 4, 2, cell="gru", num_layers=2)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     interop.export_onnx(f"{folder}/m.onnx", model, model.init(seed=0))
    ...     graph = onnx.load(f"{folder}/m.onnx").graph
    >>> [node.op_type for node in graph.node if node.op_type == "GRU"]
    ['GRU', 'GRU']
    """
    onnx = imported("onnx")
    path = check.path("path", path)
    check_model(model)
    if not isinstance(model, RNN):
        raise TypeError(f"model: expected an RNN, got {type(model).__name__}")
    check_parameters(model, params)
    lengths, state = check.flag("lengths", lengths), check.flag("state", state)
    given = {name: on_host(f"params[{name!r}]", array) for name, array in params.items()}
    size = sum(array.nbytes for array in given.values())
    if size > LARGEST:
        raise ValueError(f"params: an ONNX file holds at most {LARGEST} bytes, got {size}")
    made = _Export(onnx, model, given, lengths=lengths, state=state).made()
    write_atomically(path, made.SerializeToString())


class _Export:
    """A graph that is being made."""

    def __init__(
        self, onnx: Any, model: RNN, params: dict[str, Host], *, lengths: bool, state: bool
    ) -> None:
        self.onnx, self.model, self.params = onnx, model, params
        self.helper = onnx.helper
        self.dtype = next(iter(params.values())).dtype
        self.kind = self.helper.np_dtype_to_tensor_dtype(self.dtype)
        self.lengths, self.state = "lengths" if lengths else "", state
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self.operator, self.attributes = attributes_of(model)
        self.states = ("h", "c")[: model.cell_object.states]

    def node(self, operator: str, *inputs: str, outputs: int = 1, name: str = "", **of: Any) -> Any:
        """Add an operator; return the name of its output, or of several."""
        name = name or f"{operator}_{len(self.nodes)}"
        names = [name] if outputs == 1 else [f"{name}:{i}" for i in range(outputs)]
        made = self.helper.make_node(operator, list(inputs), names, name=f"/{name}", **of)
        self.nodes.append(made)
        return names[0] if outputs == 1 else names

    def array(self, array: Any, name: str = "") -> str:
        """Add a constant; return its name."""
        name = name or f"constant_{len(self.initializers)}"
        if all(one.name != name for one in self.initializers):
            array = np.ascontiguousarray(array).reshape(np.shape(array))
            self.initializers.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def made(self) -> Any:
        """Return the whole model."""
        model = self.model
        tokens = model.vocabulary_size is not None
        current = "x"
        if model.batch_first:
            current = self.node("Transpose", current, perm=[1, 0] if tokens else [1, 0, 2])
        if tokens:
            weight = self.array(self.params["embedding.weight"], "embedding.weight")
            current = self.node("Gather", weight, current, axis=0)
        current, last = self.layers(current)
        if model.pool is not None:
            current = self.pooled(current, last)
        if model.output_size is not None:
            current = self.readout(current)
            if self.lengths and model.pool is None:
                current = self.where_valid(current, 0.0)
        if model.batch_first and model.pool is None:
            current = self.node("Transpose", current, perm=[1, 0, 2])
        self.node("Identity", current, name="outputs")
        made = self.helper.make_model(
            self.graph(),
            opset_imports=[self.helper.make_opsetid("", OPSET)],
            ir_version=IR_VERSION,
            producer_name="portable_rnn",
        )
        described = json.dumps({"format": 1, "model": model.to_dict()})
        self.helper.set_model_props(made, {METADATA: described})
        self.onnx.checker.check_model(made, full_check=True)
        return made

    def layers(self, current: str) -> tuple[str, str]:
        """Add the recurrent layers; return their features (T, B, F), and the last h (D, B, H)."""
        model, count = self.model, self.model.num_layers
        before: dict[str, list[str]] = {}
        for one in self.states if self.state else ():
            sizes = self.array(np.full(count, model.directions, np.int64))
            split = self.node("Split", f"{one}_0", sizes, outputs=count, axis=0)
            before[one] = split if count > 1 else [split]
        after: list[list[str]] = []
        for number in range(count):
            parts = parts_of(model, self.params, number)
            names = {key: self.array(a, f"{key}_l{number}") for key, a in parts.items()}
            first = [before[one][number] if one in before else "" for one in self.states]
            inputs = [current, names["W"], names["R"], names.get("B", ""), self.lengths, *first]
            if "P" in names:
                inputs.append(names["P"])
            while not inputs[-1]:
                inputs.pop()
            outputs = 1 + len(self.states)
            every, *final = self.node(
                self.operator,
                *inputs,
                outputs=outputs,
                name=f"{self.operator}_l{number}",
                **self.attributes,
            )
            after.append(final)
            if model.directions == 1:
                current = self.node("Squeeze", every, self.array(np.asarray([1])))
            else:
                turned = self.node("Transpose", every, perm=[0, 2, 1, 3])
                current = self.node("Reshape", turned, self.array(np.asarray([0, 0, -1])))
        for one, finals in zip(self.states, zip(*after, strict=True), strict=True):
            self.node("Concat", *finals, name=f"{one}_n", axis=0)
        return current, after[-1][0]

    def pooled(self, features: str, last: str) -> str:
        """Reduce features (T, B, F) to (B, F)."""
        time = self.array(np.asarray([0]))
        if self.model.pool == "last":
            turned = self.node("Transpose", last, perm=[1, 0, 2])
            return str(self.node("Reshape", turned, self.array(np.asarray([0, -1]))))
        if not self.lengths:
            operator = "ReduceMean" if self.model.pool == "mean" else "ReduceMax"
            return str(self.node(operator, features, time, keepdims=0))
        other = 0.0 if self.model.pool == "mean" else -np.inf
        masked = self.where_valid(features, other)
        if self.model.pool == "max":
            return str(self.node("ReduceMax", masked, time, keepdims=0))
        total = self.node("ReduceSum", masked, time, keepdims=0)
        count = self.node("Cast", self.lengths, to=self.kind)
        count = self.node("Unsqueeze", count, self.array(np.asarray([1])))
        return str(self.node("Div", total, count))

    def where_valid(self, features: str, other: float) -> str:
        """Replace the features (T, B, F) of padding by a number."""
        zero, one = self.array(np.asarray(0, np.int32)), self.array(np.asarray(1, np.int32))
        steps = self.node("Squeeze", self.node("Shape", features, start=0, end=1))
        steps = self.node("Cast", steps, to=self.onnx.TensorProto.INT32)
        step = self.node("Unsqueeze", self.node("Range", zero, steps, one), self.array([1]))
        valid = self.node("Less", step, self.lengths)
        valid = self.node("Unsqueeze", valid, self.array(np.asarray([2])))
        return str(self.node("Where", valid, features, self.array(np.asarray(other, self.dtype))))

    def readout(self, features: str) -> str:
        """Multiply by the readout's weight, and add its bias."""
        name = "embedding.weight" if self.model.tied else "readout.weight"
        weight = self.node("Transpose", self.array(self.params[name], name), perm=[1, 0])
        product = self.node("MatMul", features, weight)
        if "readout.bias" not in self.params:
            return str(product)
        return str(
            self.node("Add", product, self.array(self.params["readout.bias"], "readout.bias"))
        )

    def graph(self) -> Any:
        """Return the operators with inputs and outputs."""
        model, kinds, value = self.model, self.onnx.TensorProto, self.helper.make_tensor_value_info
        steps = ["B", "T"] if model.batch_first else ["T", "B"]
        size = [] if model.vocabulary_size is not None else [model.input_size]
        kind = kinds.INT64 if model.vocabulary_size is not None else self.kind
        inputs = [value("x", kind, [*steps, *size])]
        if self.lengths:
            inputs.append(value("lengths", kinds.INT32, ["B"]))
        state = [model.num_layers * model.directions, "B", model.hidden_size]
        if self.state:
            inputs += [value(f"{one}_0", self.kind, state) for one in self.states]
        shape = ["B"] if model.pool is not None else steps
        outputs = [value("outputs", self.kind, [*shape, model.feature_size])]
        outputs += [value(f"{one}_n", self.kind, state) for one in self.states]
        return self.helper.make_graph(
            self.nodes, "portable_rnn", inputs, outputs, self.initializers
        )
