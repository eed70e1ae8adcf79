"""Names of parameters, and the arrays of a layer by them."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ._arrays.namespace import Array
from ._engine.affine import Linear
from ._engine.recurrence import Weights
from .cells.protocol import Vector

__all__ = ["LayerNames", "layer_of", "linear_of", "names_of"]


class LayerNames(NamedTuple):
    """The names of a layer's parameters: weight and bias of each product, and own vectors."""

    ih: tuple[str, str]
    hh: tuple[str, str]
    hr: tuple[str, str] | None
    own: tuple[str, ...]


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
