"""What the cells are held to: a page for each page of `portable_rnn.cells`.

A page holds the formulas of its cells for scalars and how a network is given them (``KINDS``), and
bugs that the suite must notice (``MUTANTS``). Whatever page lies in this folder takes part.
"""

from ..pages import by_name, load_pages
from .kind import Kind

__all__ = ["KINDS", "MUTANTS", "Kind"]

_PAGES = load_pages(__name__, __path__, without="kind")
_KINDS = sorted((kind for page in _PAGES for kind in page.KINDS), key=lambda kind: kind.seed)
KINDS: dict[str, Kind] = by_name((kind.name, kind) for kind in _KINDS)
MUTANTS = [mutant for page in _PAGES for mutant in page.MUTANTS]
