"""The distributions of error, drawn as SVG: one small histogram per row, one panel per dtype."""

import math
from html import escape
from typing import Any

from .document import LOWEST, ratio
from .verdict import dtypes, number

__all__ = ["figures"]

WIDTH, RIGHT, TOP, ROW, BOTTOM = 460, 52, 22, 27, 34
BAR = 20  # height of the tallest bar of a row
GLYPH = 6.25  # width of one letter of a row's label


def figures(document: dict[str, Any]) -> str:
    """Return all figures as HTML."""
    errors = document["errors"]
    order = [row["backend"] for row in document["rows"]]
    backends = sorted(dict.fromkeys(error["backend"] for error in errors), key=order.index)
    octaves = sorted({_octave(error["steps"]) for error in errors})
    arrays = dict.fromkeys(error["array"] for error in errors)
    cells = dict.fromkeys(error["cell"] for error in errors)
    return "\n".join(
        _figure(document, title, labels, key)
        for title, labels, key in (
            ("By backend", backends, lambda error: error["backend"]),
            ("By number of steps T", [_steps(o) for o in octaves], _steps_of),
            ("By array, <code>d_</code> for a gradient", list(arrays), lambda e: e["array"]),
            ("By cell", list(cells), lambda error: error["cell"]),
        )
    )


def _figure(document, title, labels, key):
    errors = document["errors"]
    low, high = _range(errors)
    left = 10 + GLYPH * max(map(len, labels))
    panels = []
    for dtype in [d for d in dtypes(document) if any(e["dtype"] == d for e in errors)]:
        rows: dict[str, list[Any]] = {label: [] for label in labels}
        for error in errors:
            if error["dtype"] == dtype:
                rows[key(error)].append(error)
        panels.append(_panel(dtype, rows, low, high, left))
    return f'<h3>{title}</h3>\n<div class="panels">\n{"".join(panels)}\n</div>'


def _panel(dtype, rows, low, high, left):
    """Draw the rows over one axis: exactly zero, then octaves of eps, then not finite."""
    height = TOP + ROW * len(rows) + BOTTOM
    columns = high - low + 2
    infinite = any("inf" in error["bins"] for errors in rows.values() for error in errors)
    column = (WIDTH - RIGHT - left) / (columns + infinite)

    def x(exponent):  # the edge of a bin; one column at the left is for exactly zero
        return left + (exponent - low + 1.4) * column

    out, worst_of_rows = [], []
    for tick in range(low, high + 1):
        if tick % (3 if columns < 24 else 6) == 0:
            y = TOP + ROW * len(rows)
            out.append(f'<path class="grid" d="M{x(tick):.1f} {TOP}V{y}"/>')
            out.append(f'<text class="tick" x="{x(tick):.1f}" y="{y + 14}">{_power(tick)}</text>')
    zero = left + 0.5 * column
    end = TOP + ROW * len(rows) + 14
    out.append(f'<text class="tick" x="{zero:.1f}" y="{end}">0</text>')
    if infinite:
        out.append(f'<text class="tick" x="{x(high + 1.1):.1f}" y="{end}">∞</text>')
    middle = (left + WIDTH - RIGHT) / 2
    out.append(f'<text class="axis" x="{middle:.1f}" y="{end + 15}">error in eps of {dtype}</text>')
    for i, (label, errors) in enumerate(rows.items()):
        base = TOP + ROW * (i + 1) - 3
        out.append(f'<text class="label" x="{left - 8:.1f}" y="{base - 3}">{escape(label)}</text>')
        out.append(f'<path class="base" d="M{left:.1f} {base}H{WIDTH - RIGHT}"/>')
        if not errors:
            continue
        worst = max(errors, key=ratio)
        over = ratio(worst) > 1.0
        bins = _sum(errors)
        for name, count in bins.items():
            tall = max(1.5, BAR * count / max(bins.values()))
            at = left + 0.1 * column if name == "zero" else x(high) if name == "inf" else x(name)
            beyond = over and (name == "inf" or (name != "zero" and 2.0**name >= worst["allowed"]))
            out.append(
                f'<rect class="{"over" if beyond else "bar"}" x="{at + 0.5:.1f}" '
                f'y="{base - tall:.1f}" width="{column - 1:.1f}" height="{tall:.1f}">'
                f"<title>{escape(label)}: {count:,} arrays with {_interval(name)}</title></rect>"
            )
        eps = float(worst["eps"])
        if math.isfinite(eps) and eps > 0.0:
            at = min(max(x(math.log2(eps)), x(low)), x(high))
            out.append(f'<path class="worst" d="M{at:.1f} {base + 2}v-{BAR}"/>')
        text = ("✗ " if over else "") + number(eps)
        style = "max over-text" if over else "max"
        out.append(f'<text class="{style}" x="{WIDTH}" y="{base - 3}">{text}</text>')
        worst_of_rows.append(f"{label} {number(eps)}")
    for allowed in sorted({e["allowed"] for errors in rows.values() for e in errors} - {0.0}):
        at = x(math.log2(allowed))
        out.append(f'<path class="limit" d="M{at:.1f} {TOP - 6}V{TOP + ROW * len(rows)}"/>')
        out.append(
            f'<text class="limit-text" x="{at:.1f}" y="{TOP - 9}">{allowed:g} allowed</text>'
        )
    out.append(f'<text class="max" x="{WIDTH}" y="{TOP - 9}">worst</text>')
    summary = f"Errors in {dtype}, in eps. Worst of each row: {', '.join(worst_of_rows)}."
    return (
        f'<figure><figcaption>{escape(dtype)}</figcaption><svg viewBox="0 0 {WIDTH} {height}" '
        f'role="img" aria-label="{escape(summary)}">{"".join(out)}</svg></figure>'
    )


def _range(errors):
    """Return the lowest and the highest edge of a bin, and room for the limit."""
    exponents = [int(name) for e in errors for name in e["bins"] if name not in ("zero", "inf")]
    limits = [math.ceil(math.log2(e["allowed"])) for e in errors if e["allowed"] > 0.0]
    return min([-4, *exponents]), max([2, *(e + 1 for e in exponents), *(n + 1 for n in limits)])


def _sum(errors):
    total: dict[str | int, int] = {}
    for error in errors:
        for name, count in error["bins"].items():
            name = name if name in ("zero", "inf") else int(name)
            total[name] = total.get(name, 0) + count
    return total


def _octave(steps):
    return max(steps, 1).bit_length() - 1


def _steps(octave):
    return "1" if octave == 0 else f"{2**octave}–{2 ** (octave + 1) - 1}"


def _steps_of(error):
    return _steps(_octave(error["steps"]))


def _power(exponent):
    if exponent < 0:
        return f"1/{2**-exponent}"
    return f"{2**exponent}" if exponent < 14 else f"2^{exponent}"


def _interval(name):
    if name == "zero":
        return "no error at all"
    if name == "inf":
        return "an error that is not finite"
    if name == LOWEST:
        return f"an error below {_power(name + 1)} eps"
    return f"an error from {_power(name)} to {_power(name + 1)} eps"
