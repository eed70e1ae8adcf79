"""Work on vectors of which the last may not be whole."""

from collections.abc import Callable

from .llvm_function import Function, index
from .llvm_math import Value

__all__ = ["with_masks"]


def with_masks(
    f: Function, left: Value, width: int, write: Callable[[list[Value | None]], None]
) -> None:
    """Write work on some vectors, of which ``left`` numbers are there: all, or those of masks."""
    b, lanes = f.builder, f.vectors.lanes
    with b.if_else(b.icmp_signed(">=", left, index(width * lanes))) as (whole, partly):
        with whole:
            write([None] * width)
        with partly:
            write([f.first_lanes(b.sub(left, index(i * lanes))) for i in range(width)])
