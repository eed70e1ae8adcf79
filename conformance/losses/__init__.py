"""What the losses are checked against: a page for each, with its ``DEFINITION``.

A page also has ``MUTANTS``, bugs that the suite must notice. Every page in this folder takes part.
Values and gradients are computed one number at a time, and differentiated by the tape.
"""

import numpy as np

from ..oracles.numbers import FLOAT
from ..oracles.tape import Tape
from ..pages import by_name, load_pages
from .definition import CLASSES, FACTORS, Case, Definition

__all__ = [
    "CASES",
    "CLASSES",
    "FACTORS",
    "LOSSES",
    "MUTANTS",
    "OF_THEIR_OWN",
    "Case",
    "Definition",
    "value_and_gradient",
]

# Losses that count steps by code of their own, not by what others share with the last of these.
OF_THEIR_OWN = ("softmax_cross_entropy", "mean_squared_error", "huber")
_PAGES = load_pages(__name__, __path__, without="definition")
LOSSES: dict[str, Definition] = by_name((p.DEFINITION.name, p.DEFINITION) for p in _PAGES)
MUTANTS = [mutant for page in _PAGES for mutant in page.MUTANTS]
# All cases by name: the loss, and its arguments.
CASES: dict[str, tuple[Definition, Case]] = by_name(
    (name, (loss, case)) for loss in LOSSES.values() for name, case in loss.cases.items()
)


def value_and_gradient(name, outputs, targets, *, weights=None, reduction="mean", **options):
    """Return the loss and its gradient, float64, for outputs (..., C) of any leading shape."""
    tape, shape = Tape(FLOAT), outputs.shape
    rows = np.frompyfunc(tape.number, 1, 1)(outputs.reshape(-1, shape[-1]).astype("float64"))
    rows_of = targets.shape[len(shape) - 1 :]  # labels have none
    wanted = targets.reshape(-1, *rows_of)
    counted = np.ones(len(rows)) if weights is None else np.asarray(weights).reshape(-1)
    total, count = LOSSES[name].total(tape, rows, wanted, counted, **options)
    scale = 1.0 / count if reduction == "mean" else 1.0
    tape.pull_back([(total, scale)])
    gradient = np.asarray([v.grad for v in rows.flat], dtype="float64").reshape(shape)
    return np.asarray(total.data * scale), gradient
