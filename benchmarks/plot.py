"""Draw what `portable-rnn bench --json` has measured, and lay it out as tables.

python benchmarks/plot.py benchmarks/records/2026-12-train.json train.svg
"""

import io
import json
import sys
from pathlib import Path
from typing import Any

__all__ = ["svg", "tables"]

PEER = "torch.nn"
COLOURS = ("#1f4e79", "#b45309", "#3f7d4e", "#7a3b8f")


def svg(record: dict[str, Any]) -> bytes:
    """Plot the peer's time divided by ours against units: a panel per cell, a line per batch."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    cells, batches = _values(record, "cell"), _values(record, "B")
    figure = Figure(figsize=(3.1 * len(cells), 3.4), layout="constrained")
    panels = figure.subplots(1, len(cells), sharey=True, squeeze=False)[0]
    for panel, cell in zip(panels, cells, strict=True):
        for colour, batch in zip(COLOURS, batches, strict=False):
            rows = [row for row in record["rows"] if (row["cell"], row["B"]) == (cell, batch)]
            middle, low, high = zip(*(row["ratios"][PEER] for row in rows), strict=True)
            hidden = [row["H"] for row in rows]
            panel.plot(hidden, middle, "o-", color=colour, label=f"B = {batch}", markersize=4)
            panel.fill_between(hidden, low, high, color=colour, alpha=0.15, linewidth=0)
        panel.axhline(1, color="#444", linewidth=1, linestyle="--")
        panel.set_xscale("log", base=2)
        panel.set_yscale("log", base=2)
        panel.set_xticks(_values(record, "H"), map(str, _values(record, "H")))
        panel.set_yticks([0.5, 1, 2, 4, 8, 16, 32], ["0.5", "1", "2", "4", "8", "16", "32"])
        panel.minorticks_off()
        panel.grid(axis="y", color="#ddd", linewidth=0.6)
        panel.set_title(cell, fontsize=11)
        panel.set_xlabel("units H")
        panel.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel(f"time of {PEER} / ours")
    panels[0].legend(frameon=False)
    buffer = io.BytesIO()
    # A fixed salt: the same data give the same file.
    with rc_context({"svg.hashsalt": "portable-rnn"}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def tables(record: dict[str, Any]) -> str:
    """Return the same numbers as a Markdown table."""
    peers = [name for name in record["rows"][0]["ratios"] if name != "floor"]
    peers = [*sorted(peers), "floor"]
    versions = ", ".join(f"{name} {number}" for name, number in record["versions"].items())
    times, how_many = "process_us_per_step", "one thread"
    if (threads := record.get("threads", 1)) > 1:
        times, how_many = "clock_us_per_step", f"{threads} threads"
    columns = [f"ours / {name}" if name == "floor" else f"{name} / ours" for name in peers]
    lines = [
        f"Measured {record['date']} ({record['executor']}; {versions}): {record['dtype']}, "
        f"{how_many}, median and half the distance of the quartiles of {record['rounds']} rounds.",
        "",
        f"| cell, T, B, H | ours, µs/step | {' | '.join(columns)} |",
        f"| --- |{' --: |' * (len(columns) + 1)}",
    ]
    for row in record["rows"]:
        size = ", ".join(str(row[name]) for name in ("cell", "T", "B", "H"))
        found = [f"{row[times][row['ours']]:.1f}"]
        for name in peers:
            middle, low, high = row["ratios"][name]
            found.append(f"{middle:.2f} ±{(high - low) / 2:.2f}")
        lines.append(f"| {size} | {' | '.join(found)} |")
    return "\n".join(lines)


def _values(record: dict[str, Any], name: str) -> list[Any]:
    return list(dict.fromkeys(row[name] for row in record["rows"]))


if __name__ == "__main__":
    source, out = map(Path, sys.argv[1:])
    out.write_bytes(svg(json.loads(source.read_text(encoding="utf-8"))))
