"""What the cells are held to: a page for each page of `portable_rnn.cells`.

A page holds the formulas of its cells for scalars and how a network is given them (``KINDS``), and
bugs that the suite must notice (``MUTANTS``). Whatever page lies in this folder takes part.
"""

import importlib
import pkgutil

from .kind import Kind

__all__ = ["KINDS", "MUTANTS", "Kind"]

_PAGES = [
    importlib.import_module(f"{__name__}.{found.name}")
    for found in pkgutil.iter_modules(__path__)
    if found.name != "kind"
]
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in sorted((kind for page in _PAGES for kind in page.KINDS), key=lambda kind: kind.seed)
}
MUTANTS = [mutant for page in _PAGES for mutant in page.MUTANTS]
