"""The report of a run: one JSON document, a matrix for the terminal, and a page for a browser.

A run is four lists of plain records: `Row` (every backend there is, run or not), `Test` (every
outcome), `Error` (every array compared) and `Planted` (every planted bug, caught or not). `build`
turns them into a document, `merge` joins the documents of several sessions, since not all libraries
can be installed in one environment, and `print_matrix`, `write_json` and `write_html` show it.
`schema.md` lists the document's fields.

    python -m conformance.report torch.json cupy.json --json all.json --html all.html
    python -m conformance.report all.json --markdown conformance/reports/2001-02-03-cpu.md
"""

from .document import NOT_ASKED, SCHEMA, build, merge, read_json, write_json
from .page import write_html
from .record import write_markdown
from .records import Error, Planted, Row, Test
from .terminal import print_matrix
from .verdict import passed, verdict

__all__ = [
    "NOT_ASKED",
    "SCHEMA",
    "Error",
    "Planted",
    "Row",
    "Test",
    "build",
    "merge",
    "passed",
    "print_matrix",
    "read_json",
    "verdict",
    "write_html",
    "write_json",
    "write_markdown",
]
