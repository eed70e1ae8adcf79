"""Names of parameters, and the arrays of a layer by them."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ._arrays.namespace import Array
from ._engine.affine import Linear
from ._engine.recurrence import Weights
from .cells.protocol import Vector, vectors_of

__all__ = ["LayerNames", "layer_of", "linear_of", "names_of", "shapes_of", "suffixes"]


class LayerNames(NamedTuple):
    """The names of a layer's parameters: weight and bias of each product, and own vectors."""

    ih: tuple[str, str]
    hh: tuple[str, str]
    hr: tuple[str, str] | None
    own: tuple[str, ...]


def suffixes(model: Any) -> tuple[str, ...]:
    """Return how names end, by direction."""
    return ("", "_reverse")[: model.directions]


def shapes_of(model: Any) -> dict[str, tuple[int, ...]]:
    """Return names and shapes of all parameters of a network."""
    rows, size = model.cell_object.gates * model.hidden_size, model.input_size
    biases = model.bias and getattr(model.cell_object, "biased", True)
    shapes: dict[str, tuple[int, ...]] = {}
    if model.vocabulary_size is not None:
        shapes["embedding.weight"] = (model.vocabulary_size, size)
    for layer in range(model.num_layers):
        for suffix in suffixes(model):
            end = f"_l{layer}{suffix}"
            shapes[f"weight_ih{end}"] = (rows, size)
            shapes[f"weight_hh{end}"] = (rows, model.recurrent_size)
            if biases:
                shapes |= {f"bias_ih{end}": (rows,), f"bias_hh{end}": (rows,)}
            if model.projection_size:
                shapes[f"weight_hr{end}"] = (model.projection_size, model.hidden_size)
            for vector in vectors_of(model.cell_object):
                shapes[f"{vector.name}{end}"] = (vector.multiple * model.hidden_size,)
        size = model.directions * model.recurrent_size
    if model.output_size is not None:
        if not model.tied:
            shapes["readout.weight"] = (model.output_size, size)
        if model.bias:
            shapes["readout.bias"] = (model.output_size,)
    return shapes


def names_of(shapes: Mapping[str, Any], vectors: Iterable[Vector], end: str) -> LayerNames:
    """Return the names of a layer in a direction, which end in ``end``."""

    def product(name: str) -> Any:
        weight = f"weight_{name}{end}"
        return (weight, f"bias_{name}{end}") if weight in shapes else None

    own = tuple(f"{vector.name}{end}" for vector in vectors)
    return LayerNames(product("ih"), product("hh"), product("hr"), own)


def layer_of(params: Mapping[str, Array], names: LayerNames) -> Weights:
    """Pick the arrays of one layer out of a dict of parameters."""
    ih, hh, hr = (linear_of(params, product) for product in names[:3])
    return Weights(ih, hh, hr, tuple(params[name] for name in names.own))


def linear_of(params: Mapping[str, Array], names: tuple[str, str] | None) -> Any:
    """Pick one product out of a dict of parameters; None if there is none."""
    if names is None:
        return None
    bias = params.get(names[1])
    return Linear(params[names[0]], None if bias is None else bias[None, :])
