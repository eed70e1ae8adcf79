"""What may be wrong with an argument of each kind.

A `Value` is made for a place: the valid arguments of one call, on one row. Its verdict says what
is right: "refused" by the name of the argument; "misfit", which is wrong together with other
arguments, and refused by the name of any of them; or "taken", and if it is refused after all, by
some name.
"""

from . import arrays, networks, scalars, texts, training
from .values import KINDS, Place, Value, optional

__all__ = ["KINDS", "Place", "Value", "arrays", "networks", "scalars", "texts", "training"]

for name in ("count", "flag"):
    KINDS[f"optional {name}"] = optional(KINDS[name])
# In no direction of the parameters: with other directions one may give that.
KINDS["optional direction"] = lambda place: [
    value._replace(verdict="taken") if value.label == "{}" else value
    for value in optional(arrays.direction)(place)
]
