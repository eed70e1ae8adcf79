"""The network of the book with small sizes and few digits, and its right values."""

from typing import Any

import mpmath
import numpy as np

from . import book_recursion

__all__ = ["NUMBERS", "right"]

NUMBERS: dict[str, Any] = {
    "U": [[0.1, -0.2], [0.5, 0.3], [-0.3, 0.7]],
    "W": [[0.1, 0.2, -0.3], [0.3, -0.1, 0.2], [0.2, 0.1, 0.4]],
    "b": [0.1, 0, -0.1],
    "V": [[0.3, -0.1, 0.2], [0.2, 0.4, -0.3], [-0.2, 0.1, 0.5]],
    "c": [0, 0.1, 0.2],
    "h0": [0.7, 0, -0.7],
    "x": [[1, 0.5], [0.3, -0.7]],
    "y": [0, 2],
}


def right(name):
    """Return the right values, by the recursion in mpmath."""
    with mpmath.workdps(50):
        p = {
            letter: book_recursion.exact(tree) for letter, tree in NUMBERS.items() if letter != "y"
        }
        y = book_recursion.exact(np.eye(3)[NUMBERS["y"]])
        want = book_recursion.forward(p, y) | book_recursion.recursion(p, y)
    return np.asarray(want[name], dtype=np.float64)
