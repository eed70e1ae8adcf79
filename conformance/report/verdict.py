"""The verdict of a document, in the same words for the terminal and the page."""

import math
import re
import textwrap
from typing import Any

from .document import NOT_ASKED, ratio

__all__ = [
    "SUITE",
    "blank",
    "caveats",
    "cell",
    "count",
    "dtypes",
    "judge",
    "number",
    "passed",
    "survivors",
    "table",
    "tests_run",
    "verdict",
]

SUITE = "(the suite itself)"
ORDER = ("float64", "float32", "bfloat16", "float16")


def passed(document: dict[str, Any]) -> bool:
    """Return whether a backend ran, no test failed, no error is too large, no bug survived."""
    ran = any(row["status"] == "ran" for row in document["rows"])
    return ran and not any(map(_wrong, document["results"])) and not survivors(document)


def survivors(document: dict[str, Any]) -> list[str]:
    """Return the planted bugs that no test noticed."""
    return [planted["bug"] for planted in document["planted"] if not planted["caught"]]


def verdict(document: dict[str, Any]) -> str:
    """Return one sentence: what ran, the worst error, what was not run and why."""
    rows, results = document["rows"], document["results"]
    ran = [row for row in rows if row["status"] == "ran"]
    shapes = [row for row in ran if row["kind"] == "shapes only"]
    idle = [row for row in rows if row["status"] == "not run" and row["reason"] != NOT_ASKED]
    unasked = sum(row["reason"] == NOT_ASKED for row in rows)
    parts = []
    if failed := [result for result in results if result["failed"] or result["error"]]:
        n = sum(result["failed"] + result["error"] for result in failed)
        parts.append(f"{count(n, 'test')} failed ({_where(failed)})")
    if above := [result for result in results if _above(result) and result not in failed]:
        parts.append(f"errors are above what is allowed although tests passed ({_where(above)})")
    if ran:
        only = f", {len(shapes)} of them for shapes only ({_names(shapes)})" if shapes else ""
        parts.append(f"{count(len(ran), 'backend')} ran{only}")
    else:
        parts.append("nothing ran")
    worsts = [result["worst"] for result in results if result["worst"]]
    if worsts:
        worst = max(worsts, key=lambda worst: (ratio(worst), float(worst["eps"])))
        parts.append(f"worst error {number(worst['eps'])} of {worst['allowed']:g} eps allowed")
    elif ran:
        parts.append("no numbers were compared")
    if planted := len(document["planted"]):
        alive = survivors(document)
        survived = f", survived: {', '.join(alive)}" if alive else ""
        parts.append(f"{count(planted, 'planted bug')}, {planted - len(alive)} caught{survived}")
    if idle:
        parts.append(f"{len(idle)} not run ({'; '.join(map(_short, idle))})")
    if unasked:
        parts.append(f"{count(unasked, 'backend')} not asked for")
    sentence = "; ".join(parts)
    return sentence[0].upper() + sentence[1:] + "."


def caveats(document: dict[str, Any]) -> list[str]:
    """Return what a reader should know about the code that ran."""
    commits = {session["commit"] for session in document["sessions"]}
    found = []
    if len(commits) > 1:
        short = sorted(commit[:12] if commit else "unknown" for commit in commits)
        found.append(f"The sessions ran at different commits: {', '.join(short)}.")
    if any(commit and commit.endswith("-dirty") for commit in commits):
        found.append("Files were changed since the commit (-dirty).")
    return found


def judge(row: dict[str, Any], result: dict[str, Any] | None) -> str:
    """Return how a cell of the matrix is coloured: the first of these words that is true.

    "failed", "not run", "shapes only", "nothing" (no test or no number), "good" (up to half
    of what is allowed) or "near".
    """
    if result is not None and _wrong(result):
        return "failed"
    if row["status"] == "not run":
        return "not run"
    if row["kind"] == "shapes only":
        return "shapes only"
    if result is None or tests_run(result) == 0:
        return "nothing"
    if result["worst"] is None:
        return "good" if result["passed"] and not _numeric(row, result) else "nothing"
    return "good" if ratio(result["worst"]) <= 0.5 else "near"


def blank(row: dict[str, Any], result: dict[str, Any] | None, dtype: str) -> bool:
    """Return whether a cell stays blank, since the row is not tested in that dtype."""
    return result is None and row["status"] == "ran" and dtype not in row["dtypes"]


def cell(row: dict[str, Any], result: dict[str, Any] | None) -> tuple[str, str]:
    """Return the two lines of a cell: the number, or what stands for it, and the tests."""
    if row["status"] == "not run":
        return "not run", counts(result) if result and tests_run(result) else ""
    if result is None:
        return "no tests", ""
    if row["kind"] == "shapes only":
        return "shapes only", counts(result)
    if result["worst"] is None:
        return ("no numbers", counts(result)) if _numeric(row, result) else (counts(result), "")
    return f"{number(result['worst']['eps'])} eps", counts(result)


def table(document: dict[str, Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return rows and their results by dtype: what ran first, what did not last."""
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for result in document["results"]:
        results.setdefault(result["backend"], {})[result["dtype"]] = result
    order = {("ran", "values"): 0, ("ran", "shapes only"): 1}
    rows = sorted(document["rows"], key=lambda row: order.get((row["status"], row["kind"]), 2))
    found = [(row, results.get(row["backend"], {})) for row in rows]
    if "" in results:
        suite: dict[str, Any] = dict.fromkeys(("library", "version", "device", "reason"), "")
        suite |= {"backend": SUITE, "kind": "values", "status": "ran", "dtypes": []}
        found.append((suite, results[""]))
    return found


def dtypes(document: dict[str, Any]) -> list[str]:
    """Return the dtypes with results, widest first; "" (of no dtype) last."""
    found = {result["dtype"] for result in document["results"]}
    known = [dtype for dtype in ORDER if dtype in found]
    return known + sorted(found - {*ORDER, ""}) + [""] * ("" in found)


def tests_run(result: dict[str, Any]) -> int:
    """Return how many tests ran, whatever their outcome."""
    return sum(result[name] for name in ("passed", "failed", "error", "xfailed"))


def counts(result: dict[str, Any]) -> str:
    """Return the outcomes in words, without those that did not occur."""
    words = {"error": "broke off", "xfailed": "failed as expected"}
    names = ("failed", "error", "passed", "xfailed", "skipped")
    return ", ".join(f"{result[n]:,} {words.get(n, n)}" for n in names if result[n]) or "no tests"


def count(n: int, what: str) -> str:
    """Return "1 test", "2 tests"."""
    return f"{n:,} {what}{'' if n == 1 else 's'}"


def number(eps: float | str) -> str:
    """Return an error in eps, with two or three digits; never rounded to look allowed."""
    eps = float(eps)
    if not math.isfinite(eps):
        return "∞"
    if eps == 0.0:
        return "0"
    if eps >= 1000:
        return f"{eps:.1e}".replace("e+0", "e").replace("e+", "e")
    if eps >= 10:
        return f"{math.ceil(eps * 10 - 1e-9) / 10:g}"
    return f"{eps:.2g}"


def _numeric(row, result):
    """Return False for tests of no dtype, or of the suite itself: they compare no numbers."""
    return bool(result["dtype"]) and row["backend"] != SUITE


def _wrong(result):
    return bool(result["failed"] or result["error"] or _above(result))


def _above(result):
    return result["worst"] is not None and ratio(result["worst"]) > 1.0


def _where(results):
    return ", ".join(dict.fromkeys(result["backend"] or "the suite itself" for result in results))


def _short(row):
    """Return why a row was not run, without the details in parentheses."""
    why = re.sub(r"\s*\([^()]*\)", "", row["reason"]) or "no reason given"
    why = why if why.startswith(row["backend"]) else f"{row['backend']}: {why}"
    return textwrap.shorten(why, 90, placeholder=" …")


def _names(rows):
    return ", ".join(row["backend"] for row in rows)
