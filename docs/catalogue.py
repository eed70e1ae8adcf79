"""The table of cells in ``cells.md``, made from the docstrings and attributes of the cells.

``python -m docs.catalogue`` regenerates it; tests/test_documents.py checks that it is up to date.
"""

import re
from pathlib import Path

from conformance.backends import replace_between

from portable_rnn.cells import CELLS
from portable_rnn.cells.protocol import vectors_of

__all__ = ["table", "with_table"]

PAGE = Path(__file__).with_name("cells.md")
BEGIN = "<!-- cells: written by python -m docs.catalogue -->\n"
END = "<!-- end of cells -->"


def table() -> str:
    """Return a row for each cell that `RNN` knows by name."""
    head = ("`cell=`", "Object in `portable_rnn.cells`", "Gates", "State", "Parameters of its own")
    lines = [f"| {' | '.join((*head, 'What it is'))} |", "|-|-|-|-|-|-|"]
    for name, kind in CELLS.items():
        cell, text = kind(), kind.__doc__ or ""
        gates = re.search(r"Gates in the order (\w(?:, \w)*)\b", text)
        if cell.gates != (len(gates[1].split(",")) if gates else 1):
            wanted = f"'Gates in the order ' and {cell.gates} letters"
            raise ValueError(f"{name}: expected {wanted} in its docstring")
        own = ", ".join(f"`{v.name}` ({_size(v.multiple)})" for v in vectors_of(cell))
        row = (
            f"`{name}`",
            f"`{kind.__name__}`",
            gates[1] if gates else str(cell.gates),
            "h, c" if cell.states == 2 else "h",
            own,
            text.splitlines()[0].rstrip(".").replace("``", "`"),
        )
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _size(multiple: int) -> str:
    return "H" if multiple == 1 else f"{multiple}·H"


def with_table(page: str) -> str:
    """Return the text of the page with the table between its two marks regenerated."""
    return replace_between(page, BEGIN, END, f"{table()}\n")


if __name__ == "__main__":
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
