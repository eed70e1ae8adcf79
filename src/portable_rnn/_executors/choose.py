"""Which executor serves a call."""

from collections.abc import Iterable

from .._arrays.namespace import Array, Namespace, is_traced, make_static, whole_sequence
from .base import Executor
from .eager import EAGER, WHOLE
from .lax import LAX

__all__ = ["choose"]


def choose(xp: Namespace, arrays: Iterable[Array]) -> Executor:
    """Return the executor for a call on these arrays."""
    if not whole_sequence(xp):
        return EAGER
    found = LAX if is_traced(xp, *arrays) else WHOLE
    make_static(xp, type(found))  # it stands on the tape, which may leave a compiled function
    return found
