"""What the cells are checked against: a page for each page of `portable_rnn.cells`.

A page holds the formulas of its cells for scalars and how a network is given them (``KINDS``), and
bugs that the suite must notice (``MUTANTS``). Every page in this folder takes part.
"""

from ..pages import by_name, load_pages
from .kind import Kind

__all__ = ["KINDS", "MUTANTS", "Kind"]

_PAGES = load_pages(__name__, __path__, without="kind")
_BY_SEED = by_name((f"seed={kind.seed}", kind) for page in _PAGES for kind in page.KINDS)
KINDS: dict[str, Kind] = by_name(
    (kind.name, kind) for kind in sorted(_BY_SEED.values(), key=lambda kind: kind.seed)
)
MUTANTS = [mutant for page in _PAGES for mutant in page.MUTANTS]
