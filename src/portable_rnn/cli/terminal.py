"""The one way to the terminal: characters that would command it are shown, not obeyed.

Texts, prompts and file names come from elsewhere. An escape sequence in one could hide what is
printed, or rename the window.
"""

import re
import sys
from collections.abc import Iterable
from typing import Any

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment

__all__ = ["Console", "printable", "write"]

# Control characters but newline and tab; what turns the direction of writing; and halves of
# surrogate pairs, by which Python keeps bytes of file names that are no UTF-8.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return a text with its control characters written out, such as ``\x1b``."""
    return _COMMANDS.sub(lambda found: ascii(found[0])[1:-1], text)


class Console(rich.console.Console):
    """Rich's console, which escapes the characters that are printed but not its own commands."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the parts of what is printed, every text among them printable."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)


def write(text: Any, *, end: str = "\n") -> None:
    """Print a text as it is laid out, whatever the width of the terminal."""
    sys.stdout.write(printable(str(text)) + end)
    sys.stdout.flush()
