"""What all layers of one call share."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from .._arrays.namespace import Array, Namespace
from .affine import SUMS, Products

if TYPE_CHECKING:
    from .recurrence import Recurrence

__all__ = ["Segments", "Sequence", "Setup", "Step"]

# The steps of an array (T, ...): a list of them, or the array itself, depending on the executor.
Sequence: TypeAlias = Any
Step: TypeAlias = Callable[[Any, Any], tuple[Any, Any]]


class Segments(NamedTuple):
    """How chunks are grouped into segments, which are run again if not all can be kept."""

    chunk: int  # most rows of a chunk
    segment: int  # most rows of a segment
    checkpoints: int  # states that are kept (see _engine/gradient_checkpointing.py)


class Setup(NamedTuple):
    """How a network runs through its input; fields per layer are in the order of the states."""

    xp: Namespace
    executor: Any  # of _executors/base.py; nothing here knows which
    recurrence: "Recurrence"  # the step of all layers
    rows: int = 1  # of a chunk of time (see _engine/chunks.py)
    products: Products = SUMS  # how the factors of a weight's gradient are combined
    keep: bool = True  # whether there will be a backward pass
    grad_x: bool = True  # whether it returns the cotangent of the input
    reverse: bool = False  # from the last step to the first
    widths: tuple[int, ...] | None = None  # sequences at each step, nonincreasing
    order: Array | None = None  # (B,); which sequences they are (see _engine/chunks.py)
    inverse: Array | None = None  # (B,)
    mask: Array | None = None  # (T, B, 1); the valid steps
    between: tuple[Array, ...] = ()  # (T, B, D·H); factors of the input of each layer but the first
    recurrent: tuple[Array, ...] = ()  # (B, H); factors of h before it is multiplied by W_hh
    update: tuple[tuple[Array, ...], ...] = ()  # (T, B, 1) or (T, B, H), for each state array
    segments: Segments | None = None  # under a memory budget
