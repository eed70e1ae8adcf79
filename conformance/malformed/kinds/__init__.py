"""Values that may be wrong for an argument, by the kind of the argument.

A `Value` is made for a place: an argument of one valid call, on one row. Its verdict is the right
outcome: "refused", by the name of the argument; "misfit": wrong only together with other arguments,
and refused by the name of any of them; or "taken", and if it is refused nevertheless, by some name.
"""

from . import arrays, attention, interop, networks, scalars, texts, training
from .values import KINDS, Place, Value, optional

__all__ = [
    "KINDS",
    "Place",
    "Value",
    "arrays",
    "attention",
    "interop",
    "networks",
    "scalars",
    "texts",
    "training",
]

for name in ("count", "flag", "share"):
    KINDS[f"optional {name}"] = optional(KINDS[name])
# {} is taken: an empty direction of the parameters is valid together with other directions.
KINDS["optional direction"] = lambda place: [
    value._replace(verdict="taken") if value.label == "{}" else value
    for value in optional(arrays.direction)(place)
]
