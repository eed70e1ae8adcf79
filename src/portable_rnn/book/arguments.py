"""Check arguments that only the functions of the book have.

Other arguments are checked as in the whole library, by ``_arrays/checks.py``. All checks come
first in a public function; the mathematics behind it checks nothing.
"""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from .._arrays import checks as check
from .equations import SAME, SHAPES, Quantities
from .parse import flat, refusing_depth, shape_or_error

if TYPE_CHECKING:
    from .example import Example

__all__ = ["digits", "dtype", "instance", "instances", "progress", "quantities", "size", "sizes_of"]

DTYPES = ("float32", "float64")
MOST = 2_000_000  # products of weights: about half a minute and 1.5 GB with 50 digits
MOST_DIGITS = 1000


def instance(name: str, value: Any, kind: type) -> None:
    """Check that ``value`` is an object of the class ``kind``, and not the class itself."""
    if not isinstance(value, kind):
        article = "an" if kind.__name__[0] in "AEIOU" else "a"
        got = f"the class {value.__name__}" if isinstance(value, type) else check.said(value)
        raise TypeError(f"{name}: expected {article} {kind.__name__}, got {got}")


def instances(name: str, value: Any, kind: type) -> None:
    """Check that ``value`` is a list of objects of the class ``kind``."""
    if not isinstance(value, (list, tuple)):
        raise TypeError(f"{name}: expected a list of {kind.__name__}, got {check.said(value)}")
    for index, one in enumerate(value):
        instance(f"{name}[{index}]", one, kind)


def quantities(name: str, value: Any, example: Example) -> None:
    """Check that ``value`` holds the quantities of ``example``; for "exact", finite Decimals."""
    instance(name, value, Quantities)
    sizes = sizes_of(example)
    exact = name == "exact"
    kinds: Any = Decimal if exact else (float, int, Decimal)
    wanted = f"numbers of {'decimal.Decimal' if exact else 'float'}"
    for field, letters in SHAPES.items():
        label, tree = f"{name}.{field}", getattr(value, field)
        if tree is None and field in SAME:
            continue
        shape = tuple(sizes[letter] for letter in letters)
        with refusing_depth(label):
            got = shape_or_error(label, tree)
        if got != shape:
            said = check.said(got)
            raise ValueError(f"{label}: expected shape {shape} as the example has it, got {said}")
        for one in flat(tree):
            if not isinstance(one, kinds) or isinstance(one, bool):
                raise TypeError(f"{label}: expected {wanted}, got {check.said(one)}")
            if exact and not one.is_finite():
                raise ValueError(f"{label}: expected finite numbers, got {check.said(one)}")


def dtype(value: Any) -> str:
    """Check the name of a dtype in which errors can be measured."""
    return check.choice("dtype", value, DTYPES)


def digits(value: Any) -> int:
    """Check the number of digits to print or compute."""
    return check.integer("digits", value, least=1, most=MOST_DIGITS)


def progress(value: Any) -> None:
    """Check a callback for progress, or None."""
    if value is not None:
        check.function("progress", value, "(done, total)", "done", "total")


def size(inputs: int, hidden: int, outputs: int, steps: int) -> None:
    """Refuse sizes that would take long, and perhaps too much memory."""
    products = hidden * (inputs + hidden + outputs)
    products += hidden * outputs**2 // 8  # ∂ŷ/∂h, whose products are simpler
    if steps * products <= MOST:
        return
    why = "for the independent values take a scalar operation per weight and step"
    if most := MOST // products:
        raise ValueError(f"steps: expected at most {most} of these sizes, {why}, got {steps}")
    sizes = {"inputs": inputs, "hidden": hidden, "outputs": outputs}
    largest = max(sizes, key=lambda name: sizes[name])
    raise ValueError(
        f"{largest}: expected sizes with at most {MOST} products in a step, {why}, "
        f"got {sizes[largest]}"
    )


def sizes_of(example: Example) -> dict[str, int]:
    """Return I, H, O and T."""
    inputs, hidden = len(example.U[0]), len(example.W)
    return {"I": inputs, "H": hidden, "O": len(example.V), "T": len(example.x)}
