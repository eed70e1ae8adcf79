"""The page of a record: tables, in Markdown."""

from collections.abc import Iterable
from typing import Any

__all__ = ["markdown"]

NO_GPU = (
    "**No GPU has run this: the device was emulated on a CPU, and no time here means anything.**"
)
ORDER = ("device", "suite", "agreement", "contracts", "micro", "times", "sanitizer")


def markdown(record: dict[str, Any]) -> str:
    """Return the page of a record or a rehearsal, which says so in its title and in each table."""
    emulated = record["emulated"]
    title = "Rehearsal on an emulated device" if emulated else "Record of a GPU"
    parts = [f"# {title}, {record['date'][:10]}", *[NO_GPU] * emulated, _about(record)]
    stages = record["stages"]
    parts += ["## Stages", table(("stage", "status", "seconds", ""), _statuses(stages))]
    unit = "emulated µs" if emulated else "µs"
    for name in (*ORDER, *(name for name in stages if name not in ORDER)):
        found = stages.get(name, {}).get("found")
        if found and name in SHOWN:
            parts += [f"## {name.capitalize()}", *[NO_GPU] * emulated, *SHOWN[name](found, unit)]
    return "\n\n".join(parts) + "\n"


def table(head: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    """Return a table."""
    lines = [list(head), *(list(map(shown, row)) for row in rows)]
    rule = ["---"] * len(lines[0])
    return "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rule, *lines[1:]))


def shown(value: Any) -> str:
    """Return a value as it stands in a table."""
    text = f"{value:.4g}" if isinstance(value, float) else "" if value is None else str(value)
    return text.replace("|", "/").replace("\n", " ")


def _about(record: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in record["packages"].items())
    return f"Commit {record['commit']}, {record['platform']}, {record['python']}; {packages}."


def _statuses(stages: dict[str, Any]) -> Iterable[tuple[Any, ...]]:
    for name, stage in stages.items():
        yield name, stage["status"], stage["seconds"], stage["reason"]


def _device(found: dict[str, Any], unit: str) -> list[str]:
    named = {key: value for key, value in found.items() if not isinstance(value, (dict, list))}
    rows = (named | found["nvidia_smi"] | found["properties"]).items()
    return [table(("", found["name"]), rows)]


def _suite(found: dict[str, Any], unit: str) -> list[str]:
    head = ("row", "dtype", "passed", "failed", "skipped", "compared", "worst, eps", "of")
    rows = [
        (
            *(result[key] for key in ("backend", "dtype", "passed")),
            result["failed"] + result["error"],
            *(result[key] for key in ("skipped", "compared")),
            *(((worst := result["worst"]) and (worst["eps"], worst["problem"])) or ("", "")),
        )
        for result in found.get("results", ())
    ]
    return [table(head, rows)]


def _agreement(found: dict[str, Any], unit: str) -> list[str]:
    keys = ("cell", "T", "B", "H", "dtype")
    ran = {name for row in found["rows"] for name in row.get("error_eps", ())}
    names = [name for name in found["executors"] if name in ran]
    head = [
        *keys,
        *(f"{name}, eps" for name in names),
        *(f"{name} from eager" for name in names[1:]),
    ]
    rows = [
        [
            *(row[key] for key in keys),
            *(row.get("error_eps", {}).get(name) for name in names),
            *(row.get("from_eager_eps", {}).get(name) for name in names[1:]),
        ]
        for row in found["rows"]
    ]
    return ["Largest errors, compared with float64 and with the loop in Python.", table(head, rows)]


def _contracts(found: dict[str, Any], unit: str) -> list[str]:
    kinds = ("kernel", "h2d", "d2h", "sync", "query")
    head = ("cell", "executor", "operation", "kernels a step", "T", *kinds)
    rows = [
        (
            *(row[key] for key in ("cell", "executor", "operation", "kernels_per_step", "T")),
            *(row["counts"].get(kind, 0) for kind in kinds),
        )
        for row in found["rows"]
    ]
    return [f"Counted by {found['counted_by']}.", table(head, rows)]


def _micro(found: dict[str, Any], unit: str) -> list[str]:
    rows = []
    for name, value in found.items():
        for entry in value if isinstance(value, list) else [value]:
            if not isinstance(entry, dict):
                continue
            which = [f"{key} {entry[key]}" for key in ("nodes", "blocks", "B", "H") if key in entry]
            rows += [
                (name, ", ".join(which), key, number)
                for key, number in entry.items()
                if isinstance(number, float)
            ]
    return [table(("operation", "size", "figure", unit), rows)]


def _times(found: dict[str, Any], unit: str) -> list[str]:
    rows = [row for row in found["rows"] if "ratios" in row]
    parts = []
    for mine in dict.fromkeys(name for row in rows for name in row["ratios"]):
        others = dict.fromkeys(name for row in rows for name in row["ratios"].get(mine, ()))
        head = ("cell", "T", "B", "H", f"{mine}, {unit} a step", "floor, float32", *others)
        lines = []
        for row in (row for row in rows if mine in row["ratios"]):
            ratios = row["ratios"][mine]
            own = row["events_us_per_step"].get(mine, row["clock_us_per_step"][mine])
            sizes = (row[key] for key in ("cell", "T", "B", "H"))
            cells = (span(ratios[name]) if name in ratios else "" for name in others)
            lines.append((*sizes, own, row["floor_us"]["float32"], *cells))
        said = "Others: their time divided by ours, median over rounds (least to largest)."
        parts += [f"### {mine}", said, table(head, lines)]
    return parts


def span(ratio: list[float]) -> str:
    """Return a ratio with its range."""
    middle, low, high = ratio
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


def _sanitizer(found: dict[str, Any], unit: str) -> list[str]:
    every = {"by itself": found["alone"], **found["tools"]}
    rows = [(name, each["status"], each["errors"]) for name, each in every.items()]
    return [table(("tool", "exit status", "errors"), rows)]


SHOWN = {
    "device": _device,
    "suite": _suite,
    "agreement": _agreement,
    "contracts": _contracts,
    "micro": _micro,
    "times": _times,
    "sanitizer": _sanitizer,
}
