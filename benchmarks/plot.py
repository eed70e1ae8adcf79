"""Draw what `step_time.py --json` has measured, and lay it out as a table.

python benchmarks/plot.py benchmarks/records/2026-11.json step-time.svg
"""

import io
import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["svg", "table"]

RATIO = "torch.nn / NumPy"
COLOURS = {"elman": "#1f4e79", "gru": "#5f83b1", "lstm": "#b45309"}


def svg(record: dict[str, Any]) -> bytes:
    """Return bars of torch's time by ours, one group per size, as an SVG file."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    sizes, cells = _sizes(record), list(dict.fromkeys(row["cell"] for row in record["rows"]))
    width = 0.8 / len(cells)
    figure = Figure(figsize=(7.5, 3.8), layout="constrained")
    axes = figure.subplots()
    for place, cell in enumerate(cells):
        found = [_ratio(record, cell, *size) for size in sizes]
        at = [index + (place - (len(cells) - 1) / 2) * width for index in range(len(sizes))]
        bars = axes.bar(at, found, width * 0.92, label=cell, color=COLOURS.get(cell))
        axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=9)
    axes.axhline(1, color="#444", linewidth=1, linestyle="--")
    axes.set_xticks(range(len(sizes)), [f"B = {batch}, H = {hidden}" for batch, hidden in sizes])
    axes.set_ylabel("time of torch.nn / ours on NumPy")
    axes.set_title("forward and backward; above 1, ours is faster", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    buffer = io.BytesIO()
    # A fixed salt: the same data give the same file.
    with rc_context({"svg.hashsalt": "portable-rnn"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def table(record: dict[str, Any]) -> str:
    """Return the same numbers as a Markdown table, with the command that measured them."""
    sizes = _sizes(record)
    lines = [
        f"Measured {record['date']}: `{record['command']}`, T = {record['steps']}, float32, "
        f"one thread, median of {record['rounds']} rounds.",
        "",
        f"| cell | {' | '.join(f'B = {batch}, H = {hidden}' for batch, hidden in sizes)} |",
        f"| --- |{' --: |' * len(sizes)}",
    ]
    for cell in dict.fromkeys(row["cell"] for row in record["rows"]):
        found = " | ".join(f"{_ratio(record, cell, *size):.2f}" for size in sizes)
        lines.append(f"| {cell} | {found} |")
    return "\n".join(lines)


def _sizes(record: dict[str, Any]) -> list[tuple[int, int]]:
    return list(dict.fromkeys((row["B"], row["H"]) for row in record["rows"]))


def _ratio(record: dict[str, Any], cell: str, batch: int, hidden: int) -> float:
    (row,) = (r for r in record["rows"] if (r["cell"], r["B"], r["H"]) == (cell, batch, hidden))
    return float(row[RATIO])


if __name__ == "__main__":
    source, out = map(Path, sys.argv[1:])
    out.write_bytes(svg(json.loads(source.read_text(encoding="utf-8"))))
