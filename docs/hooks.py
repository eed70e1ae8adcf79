"""Hooks that add outputs, figures, tables and the report to the pages of the site.

None of these are written by hand: the tutorials are run, the figures drawn from their data, and the
conformance report made from records. ``nox -s docs`` makes a record if there is none.
"""

import json
import math
import re
import sys
import tempfile
from pathlib import Path
from typing import Any

from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks import plot  # noqa: E402
from conformance import report  # noqa: E402
from conformance.report.verdict import number  # noqa: E402
from docs import blocks  # noqa: E402

RECORDS = ROOT / "benchmarks" / "records"
TOKENS, HOST, PROGRAMS, LAYER, ONNX = (
    RECORDS / f"2026-12-{of}.json"
    for of in ("tokens", "host", "programs", "torch-layer", "onnx-training")
)
RAGGED, MEMORY, CALLS = (RECORDS / f"2026-11-{of}.json" for of in ("ragged", "memory", "calls"))
BENCH = {
    work: RECORDS / f"{month}-{work}.json"
    for month, work in (
        ("2026-12", "train"),
        ("2026-12", "threads"),
        ("2026-11", "train-avx2"),
        ("2026-11", "predict"),
        ("2026-11", "step"),
    )
}
COMMITTED, BUILT = ROOT / "conformance" / "reports", ROOT / "build" / "conformance"
FIGURES = (".png", ".svg")

_printed: dict[str, list[str]] = {}
_tables: dict[str, str] = {}


def on_files(files: Files, config: Any) -> Files:
    """Run every page with Python in it, and add the figures and reports."""
    for page in files.documentation_pages():
        if not page.inclusion.is_in_nav():
            continue
        with tempfile.TemporaryDirectory() as folder:
            _printed[page.src_uri] = blocks.run(Path(page.abs_src_path), Path(folder))
            for figure in sorted(Path(folder).iterdir()):
                if figure.suffix in FIGURES:
                    uri = f"{Path(page.src_uri).parent.as_posix()}/{figure.name}".removeprefix("./")
                    files.append(File.generated(config, uri, content=figure.read_bytes()))

    records = {work: json.loads(path.read_text(encoding="utf-8")) for work, path in BENCH.items()}
    picture = plot.svg(records["train"])
    files.append(File.generated(config, "images/train-time.svg", content=picture))
    _tables.update({work: plot.tables(record) for work, record in records.items()})

    ragged, memory, calls = (
        json.loads(path.read_text(encoding="utf-8"))["rows"] for path in (RAGGED, MEMORY, CALLS)
    )
    _tables["ragged"] = _table({"cell": "{}", "ratio": "{:.2f}"}, ragged)
    _tables["memory"] = _table(
        {
            "plan": "{}",
            "time": "{:.2f}",
            "time planned": "{:.2f}",
            "MiB": "{:.1f}",
            "MiB planned": "{:.1f}",
        },
        memory,
    )
    _tables["calls"] = _table(
        {"call": "{}", "processor": "{:.0f}", "bare processor": "{:.0f}", "ratio": "{:.1f}"}, calls
    )

    host = json.loads(HOST.read_text(encoding="utf-8"))["rows"]
    passes = [f"{name} {way}" for name in ("eager", "fused") for way in ("forward", "backward")]
    forms = dict.fromkeys(passes, "{:.0f}")
    _tables["host"] = _table({"cell": "{}", "batch": "{}", **forms}, host)

    tokens = json.loads(TOKENS.read_text(encoding="utf-8"))["rows"]
    ratios = {"eager / ours", "torch / ours", "an output at each step / ours"}
    for row in tokens:  # a row has some of the ratios
        row |= dict.fromkeys(ratios - row.keys(), math.nan)
    _tables["tokens"] = _table(
        {
            "work": "{}",
            "ours, ms": "{:.2f}",
            "torch / ours": "{:.2f}",
            "eager / ours": "{:.2f}",
            "an output at each step / ours": "{:.2f}",
        },
        tokens,
    ).replace("nan", "")

    programs = json.loads(PROGRAMS.read_text(encoding="utf-8"))["rows"]
    _tables.update({f"result of {row['program']}": _result(row) for row in programs})
    of_libraries = {name: "{:.3f}" for name in ("ours", "torch", "keras")}
    seconds = {f"{name}, s": "{:.2f}" for name in of_libraries}
    ratios = {f"{name} / ours": "{:.1f}" for name in ("torch", "keras")}
    for row in programs:  # not all are in Keras
        row |= dict.fromkeys((of_libraries | seconds | ratios).keys() - row.keys(), math.nan)
    columns = {"program": "{}", "lines": "{}", "result": "{}", **of_libraries, **seconds, **ratios}
    _tables["programs"] = _table(columns, programs).replace("nan", "")

    layers = json.loads(LAYER.read_text(encoding="utf-8"))["rows"]
    _tables["torch layer"] = _table(
        {"cell": "{}", "batch": "{}", "hidden": "{}", "torch / ours": "{:.2f}"}, layers
    )

    steps = json.loads(ONNX.read_text(encoding="utf-8"))["rows"]
    ratios = {f"onnxruntime / {name}": "{:.2f}" for name in ("eager", "compiled")}
    _tables["onnx training"] = _table({"cell": "{}", "batch": "{}", "hidden": "{}"} | ratios, steps)

    document = _conformance()
    with tempfile.TemporaryDirectory() as folder:
        page = Path(folder) / "page.html"
        report.write_html(document, page)
        html = page.read_text(encoding="utf-8")
    files.append(File.generated(config, "conformance.html", content=html))
    _tables["conformance"] = _matrix(document)
    _tables["dated"] = _last_dated()
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Put outputs under their blocks, and tables in their places."""
    if printed := _printed.get(page.file.src_uri):
        markdown = blocks.with_outputs(markdown, printed)
    for name, table in _tables.items():
        markdown = markdown.replace(f"<!-- table: {name} -->", table)
    return markdown


def _conformance() -> dict[str, Any]:
    """Return the committed records, or else those of the last run here, merged."""
    found = sorted(COMMITTED.glob("*.json")) or sorted(BUILT.glob("*.json"))
    found = [path for path in found if path.stem != "all"]  # merged by `nox -s report`
    if not found:
        raise PluginError(
            f"no conformance report in {BUILT}: build the site with `nox -s docs`, or first run "
            "`pytest conformance --backend=numpy --report-json=build/conformance/numpy.json`"
        )
    return report.merge(map(report.read_json, found))


def _table(columns: dict[str, str], rows: list[dict[str, Any]]) -> str:
    """Return records as a table of the columns, each with its format."""
    lines = [f"| {' | '.join(columns)} |", f"| --- |{' --: |' * (len(columns) - 1)}"]
    for row in rows:
        cells = (form.format(row[name]) for name, form in columns.items())
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _result(row: dict[str, Any]) -> str:
    """Return a sentence with the results of a program and its peers."""
    names = {"ours": "here", "torch": "torch", "keras": "Keras"}
    found = [
        f"{label} {row[name]:.3f} in {row[f'{name}, s']:.1f} s"
        for name, label in names.items()
        if name in row
    ]
    return f"{row['lines']} lines. {row['result'].capitalize()}: {', '.join(found)} on one core."


def _last_dated() -> str:
    """Return the newest committed report on all libraries, with headings one level lower."""
    kept = sorted(COMMITTED.glob("*-cpu.md"))
    text = kept[-1].read_text(encoding="utf-8") if kept else ""
    return re.sub(r"^#", "##", text, flags=re.MULTILINE)


def _matrix(document: dict[str, Any]) -> str:
    """Return worst errors and tests of every backend that ran, as a table."""
    dtypes = [
        name
        for name in ("float64", "float32", "float16", "bfloat16")
        if any(r["dtype"] == name and r["worst"] for r in document["results"])
    ]
    lines = [
        f"Made {max(session['date'] for session in document['sessions'])[:10]}. "
        f"{report.verdict(document)}",
        "",
        f"| backend | {' | '.join(dtypes)} | tests |",
        f"| --- |{' --: |' * (len(dtypes) + 1)}",
    ]
    for row in document["rows"]:
        results = [r for r in document["results"] if r["backend"] == row["backend"]]
        if row["status"] != "ran":
            continue
        cells = []
        for dtype in dtypes:
            worst = next((r["worst"] for r in results if r["dtype"] == dtype), None)
            cells.append(f"{number(worst['eps'])} of {worst['allowed']:g}" if worst else "")
        passed = sum(r["passed"] for r in results)
        failed = sum(r["failed"] + r["error"] for r in results)
        tests = f"{passed} passed" + (f", {failed} failed" if failed else "")
        about = " ".join(filter(None, (row["library"], row["version"], row["device"])))
        lines.append(f"| **{row['backend']}**, {about} | {' | '.join(cells)} | {tests} |")
    return "\n".join(lines)
