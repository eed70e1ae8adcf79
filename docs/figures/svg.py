"""Write SVG for the pictures of the derivation: boxes, arrows, and letters with indices.

A picture has its own background, and its colours follow the reader's colour scheme: it can be read
on light and on dark pages. Coordinates are rounded, so the same picture is the same file.
"""

import math
import re
from xml.sax.saxutils import escape

__all__ = ["Picture"]

# class: colour on a light background, and on a dark one
COLOURS = {
    "paper": ("#ffffff", "#14181d"),
    "box": ("#f2f5f8", "#222a33"),
    "ink": ("#1b1f24", "#e8edf2"),
    "muted": ("#57606a", "#a3adb8"),
    "faint": ("#c4ccd4", "#47525e"),
    "forward": ("#0a5cad", "#74b9ff"),
    "backward": ("#b03a06", "#ffa36c"),
    "third": ("#2e7d32", "#81c784"),
}


class Picture:
    """An SVG to draw into; (0, 0) is at the top left."""

    def __init__(self, width: int, height: int, title: str, description: str) -> None:
        self.size, self.title, self.description = (width, height), title, description
        self.parts: list[str] = []

    def line(self, points, colour="ink", width=1.6, dashed=False, arrow=False) -> None:
        """Draw a line through points, with an arrow at its end if wanted."""
        points = [(float(x), float(y)) for x, y in points]
        if arrow:
            points[-1] = self._head(points[-2], points[-1], colour)
        path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        dash = ' stroke-dasharray="5 4"' if dashed else ""
        self.parts.append(
            f'<path d="{path}" class="s-{colour}" fill="none" stroke-width="{width}"{dash} '
            'stroke-linejoin="round"/>'
        )

    def circle(self, x, y, r, label, colour="ink", size=20) -> None:
        """Draw a node with letters in it."""
        self.parts.append(
            f'<circle cx="{x}" cy="{y}" r="{r}" class="f-box s-{colour}" stroke-width="1.6"/>'
        )
        self.text(x, y + size * 0.32, label, colour, size, anchor="middle", letters=True)

    def box(self, x, y, width, height, colour="ink") -> None:
        """Draw a rounded box."""
        self.parts.append(
            f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="7" '
            f'class="f-box s-{colour}" stroke-width="1.4"/>'
        )

    def text(
        self, x, y, text, colour="ink", size=14, anchor="start", letters=False, bold=False
    ) -> None:
        """Write text; ``h^{(t)}`` and ``h_{i}`` raise and lower the text in the braces."""
        spans, shift = [], 0.0
        for piece in re.findall(r"\^\{[^}]*\}|_\{[^}]*\}|(?:(?![\^_]\{).)+", text):
            raised = {"^": -0.38, "_": 0.22}.get(piece[0] if piece[1:2] == "{" else "", 0.0) * size
            body = piece[2:-1] if raised else piece
            small = f' font-size="{size * 0.68:.1f}"' if raised else ""
            spans.append(f'<tspan dy="{raised - shift:.1f}"{small}>{escape(body)}</tspan>')
            shift = raised
        kind = "letters" if letters else "words"
        weight = ' font-weight="600"' if bold else ""
        self.parts.append(
            f'<text x="{x:.1f}" y="{y:.1f}" class="f-{colour} {kind}" font-size="{size}" '
            f'text-anchor="{anchor}"{weight}>{"".join(spans)}</text>'
        )

    def _head(self, start, end, colour):
        """Draw an arrow's head at ``end``; return where its line should stop."""
        angle = math.atan2(end[1] - start[1], end[0] - start[0])
        corners = [end]
        for turn in (2.72, -2.72):
            corners.append(
                (end[0] + 9 * math.cos(angle + turn), end[1] + 9 * math.sin(angle + turn))
            )
        path = "M" + " L".join(f"{x:.1f} {y:.1f}" for x, y in corners) + " Z"
        self.parts.append(f'<path d="{path}" class="f-{colour}"/>')
        return end[0] - 6 * math.cos(angle), end[1] - 6 * math.sin(angle)

    def source(self) -> str:
        """Return the file."""
        width, height = self.size

        def rules(which):
            return "".join(
                f".f-{name}{{fill:{pair[which]}}}.s-{name}{{stroke:{pair[which]}}}"
                for name, pair in COLOURS.items()
            )

        return "\n".join(
            [
                f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
                f'width="{width}" height="{height}" role="img" aria-labelledby="title desc">',
                f'<title id="title">{escape(self.title)}</title>',
                f'<desc id="desc">{escape(self.description)}</desc>',
                f"<style>{rules(0)}@media (prefers-color-scheme: dark){{{rules(1)}}}"
                ".letters{font-family:'STIX Two Text','Times New Roman',Times,serif;"
                "font-style:italic}"
                ".words{font-family:system-ui,'Segoe UI',Roboto,Arial,sans-serif}</style>",
                f'<rect width="{width}" height="{height}" class="f-paper"/>',
                *self.parts,
                "</svg>\n",
            ]
        )
