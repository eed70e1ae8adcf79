"""The time loop of ONNX, for arrays that ndonnx traces."""

import sys
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from .._arrays.namespace import Array
from .._engine.affine import AT_ONCE, Products
from .._engine.setup import Sequence, Step
from .lax import Lax

__all__ = ["ONNX_SCAN", "OnnxScan"]


@dataclass(frozen=True)
class OnnxScan(Lax):
    """The operator Scan: the graph does not grow with the number of steps, which may be free.

    A sequence is one array (T, ...), or a tuple of them, as for `Lax`.
    """

    @property
    def sums(self) -> Products:
        """Sums over all steps at once, with as many operators whatever their number."""
        return AT_ONCE

    def scan(
        self, f: Step, carry: Any, xs: tuple[Sequence, ...], *, reverse: bool = False
    ) -> tuple[Any, Any]:
        """Have the graph contain the loop."""
        states: list[Any] = []
        inputs: list[Any] = []
        state_tree, input_tree = _taken_apart(carry, states), _taken_apart(xs, inputs)
        trees: list[Any] = []

        def body(*values: Any) -> list[Any]:
            arrays = [_array(value) for value in values]
            after, y = f(
                _put_together(state_tree, arrays[: len(states)]),
                _put_together(input_tree, arrays[len(states) :]),
            )
            found: list[Any] = []
            trees[:] = [_taken_apart(after, found), _taken_apart(tuple(y), found)]
            identity = import_module("spox.opset.ai.onnx.v21").identity
            return [identity(array.unwrap_spox()) for array in found]

        out = _scan(
            [array.unwrap_spox() for array in states],
            [array.unwrap_spox() for array in inputs],
            body,
            reverse=reverse,
        )
        arrays = [_array(value) for value in out]
        after, ys = (_put_together(tree, arrays) for tree in trees)
        return after, ys


def _scan(states: list[Any], inputs: list[Any], body: Any, *, reverse: bool) -> list[Any]:
    """Return the results of the operator Scan.

    This is spox's ``scan``, which in version 0.18 gives the body's arguments the wrong types: it
    takes the first ones for those that are scanned, and these are the states.
    """
    spox, v21 = import_module("spox"), import_module("spox.opset.ai.onnx.v21")
    types = [spox.Tensor((a := one.unwrap_tensor()).dtype, a.shape) for one in states]
    types += [spox.Tensor((a := one.unwrap_tensor()).dtype, a.shape[1:]) for one in inputs]
    graph = v21.subgraph(types, body)
    count = len(graph.requested_results) - len(states)
    order = [int(reverse)]
    scan = v21._Scan(
        v21._Scan.Attributes(
            body=v21.AttrGraph(graph, name="body"),
            num_scan_inputs=v21.AttrInt64(len(inputs), name="num_scan_inputs"),
            scan_input_axes=None,
            scan_input_directions=v21.AttrInt64s(order * len(inputs), name="scan_input_directions"),
            scan_output_axes=None,
            scan_output_directions=v21.AttrInt64s(order * count, name="scan_output_directions"),
        ),
        v21._Scan.Inputs(initial_state_and_scan_inputs=v21.unwrap_vars([*states, *inputs])),
        out_variadic=len(graph.requested_results),
    )
    found: list[Any] = scan.get_output_vars(
        input_prop_values=v21.create_prop_dict(initial_state_and_scan_inputs=[*states, *inputs])
    ).final_state_and_scan_outputs
    return found


def _array(value: Any) -> Array:
    """Return a value of spox as an array of ndonnx, which is loaded where there are such."""
    typed = import_module("ndonnx._typed_array.onnx")._var_to_tyarray(value)
    return sys.modules["ndonnx"].Array._from_tyarray(typed)


def _taken_apart(tree: Any, arrays: list[Any]) -> Any:
    """Return a tree of tuples with places instead of arrays; append its arrays to ``arrays``."""
    if tree is None:
        return None
    if isinstance(tree, (tuple, list)):
        parts = [_taken_apart(one, arrays) for one in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    arrays.append(tree)
    return len(arrays) - 1


def _put_together(tree: Any, arrays: list[Any]) -> Any:
    """Undo `_taken_apart`."""
    if tree is None:
        return None
    if isinstance(tree, tuple):
        parts = [_put_together(one, arrays) for one in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return arrays[tree]


ONNX_SCAN = OnnxScan()
