"""Graphs of given sizes made into graphs of free ones.

A graph that was traced for T steps and B sequences contains T and B in constants, such as the
shapes of a reshape. Traced twice, for two pairs of large primes, it shows where: constants that
differ are T, B or T·B, times a number that is the same in both. Each is computed from the input
instead, and whatever depends on a size in another way is refused.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

__all__ = ["PAIRS", "Sizes", "with_free_sizes"]


class Sizes(NamedTuple):
    """A number of steps, and of sequences."""

    steps: int
    batch: int

    @property
    def named(self) -> dict[str, int]:
        """What can stand in a constant."""
        return {"T": self.steps, "B": self.batch, "TB": self.steps * self.batch}


PAIRS = Sizes(1009, 1013), Sizes(997, 1019)


def with_free_sizes(onnx: Any, first: Any, second: Any, source: str, axes: tuple[int, int]) -> Any:
    """Return a model of free sizes, from two that were traced for the two `PAIRS`.

    Parameters
    ----------
    onnx : module
    first, second : onnx.ModelProto
    source : str
        The input that has T and B, along ``axes``.

    Raises
    ------
    ValueError
        If the graphs differ otherwise than in sizes.
    """
    sizes = _SizesOf(onnx, source, axes)
    pairs = list(zip(_nodes(first.graph), _nodes(second.graph), strict=True))
    for one, other in pairs:
        if (one.op_type, list(one.input)) != (other.op_type, list(other.input)):
            raise ValueError("model: its graph has other operators for other sizes")
        for attribute, changed in zip(one.attribute, other.attribute, strict=True):
            if attribute.HasField("g") or attribute == changed:
                continue
            if one.op_type != "Constant" or not attribute.HasField("t"):
                raise ValueError(f"model: {attribute.name} of its {one.op_type} depends on a size")
            arrays = [onnx.numpy_helper.to_array(a.t) for a in (attribute, changed)]
            name = sizes.value(*arrays)
            del one.attribute[:]
            one.op_type = "Identity"
            one.input.append(name)
            break
    _free(first.graph, second.graph)
    rest = list(first.graph.node)
    del first.graph.node[:]
    first.graph.node.extend([*sizes.nodes, *rest])
    return first


class _SizesOf:
    """Operators that compute sizes, and what is made of them, from an input."""

    def __init__(self, onnx: Any, source: str, axes: tuple[int, int]) -> None:
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.known: dict[Any, str] = {}
        for name, axis in zip(("T", "B"), axes, strict=True):
            self._node("Shape", [source], name, start=axis, end=axis + 1)
        self._node("Mul", [self._name("T"), self._name("B")], "TB")

    def value(self, first: Any, second: Any) -> str:
        """Return the name of what a constant is for any sizes."""
        if first.shape != second.shape and _counts(first) and _counts(second):
            return self._range(first, len(second))
        if first.shape != second.shape or first.dtype != second.dtype or first.ndim > 1:
            raise ValueError("model: an array in its graph has the size of its inputs")
        entries = zip(first.reshape(-1).tolist(), second.reshape(-1).tolist(), strict=True)
        found = tuple(self._entry(*entry) for entry in entries)
        key = (found, first.dtype.name, first.shape)
        if key not in self.known:
            name = self._name(f"size_{len(self.known)}")
            parts = [self._part(*entry) for entry in found]
            joined = self._node("Concat", parts, f"{name}_joined", axis=0)
            kind = self.onnx.helper.np_dtype_to_tensor_dtype(first.dtype)
            cast = self._node("Cast", [joined], f"{name}_cast", to=kind)
            shape = self._constant(np.asarray(first.shape, np.int64))
            self.known[key] = self._node("Reshape", [cast, shape], name)
        return self.known[key]

    def _range(self, array: Any, other: int) -> str:
        """Return the name of the numbers 0, 1, ... below a size."""
        size = self._scalar(self._part(*self._entry(len(array), other)))
        zero, one = (self._scalar(self._part("", number)) for number in (0, 1))
        name = self._node("Range", [zero, size, one], f"range_{size.rpartition('/')[2]}")
        kind = self.onnx.helper.np_dtype_to_tensor_dtype(array.dtype)
        return self._node("Cast", [name], f"{name}_{kind}", to=kind)

    def _scalar(self, name: str) -> str:
        return self._node("Squeeze", [name], f"{name}_scalar")

    def _entry(self, first: float, second: float) -> tuple[str, float]:
        """Return which size an entry is a multiple of, and the factor."""
        if first == second:
            return "", first
        one, other = (pair.named for pair in PAIRS)
        for name in one:
            if first / one[name] == second / other[name] == first // one[name]:
                return name, first // one[name]
        raise ValueError(
            f"model: a number in its graph depends on sizes otherwise than as a multiple of T, B "
            f"or T·B: it is {first} and {second} for T, B of {PAIRS[0][:]} and {PAIRS[1][:]}"
        )

    def _part(self, name: str, factor: float) -> str:
        """Return the name of a vector of one integer."""
        constant = self._constant(np.asarray([int(factor)], np.int64))
        if not name:
            return constant
        size = self._name(name)
        return size if factor == 1 else self._node("Mul", [size, constant], f"{size}_{factor}")

    def _constant(self, array: Any) -> str:
        key = ("constant", array.tobytes(), array.shape)
        if key not in self.known:
            tensor = self.onnx.numpy_helper.from_array(array)
            self.known[key] = self._node("Constant", [], f"number_{len(self.known)}", value=tensor)
        return self.known[key]

    def _node(self, operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        name = self._name(name)
        if all(name != output for node in self.nodes for output in node.output):
            self.nodes.append(
                self.onnx.helper.make_node(operator, inputs, [name], name, **attributes)
            )
        return name

    def _name(self, name: str) -> str:
        return name if name.startswith("sizes/") else f"sizes/{name}"


def _counts(array: Any) -> bool:
    return array.ndim == 1 and np.array_equal(array, np.arange(len(array)))


def _nodes(graph: Any) -> Iterator[Any]:
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _nodes(attribute.g)


def _free(first: Any, second: Any) -> None:
    """Give sizes their names in the types of all values of the first graph."""
    values = ((*graph.input, *graph.output, *graph.value_info) for graph in (first, second))
    for value, other in zip(*values, strict=True):
        shapes = (one.type.tensor_type.shape.dim for one in (value, other))
        for dimension, changed in zip(*shapes, strict=True):
            if dimension.dim_value == changed.dim_value:
                continue
            names = {size: name for name, size in PAIRS[0].named.items()}
            name = names.get(dimension.dim_value, "")
            dimension.Clear()
            if name in ("T", "B"):  # others are computed, and have no name
                dimension.dim_param = name
    for node, other in zip(first.node, second.node, strict=True):
        for attribute, changed in zip(node.attribute, other.attribute, strict=False):
            if attribute.HasField("g"):
                _free(attribute.g, changed.g)
