"""The one way to the terminal: characters that would command it are shown, not obeyed.

Texts, prompts and file names come from elsewhere. An escape sequence in one could hide what is
printed, or rename the window.
"""

import logging
import os
import re
import shlex
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import rich.console
from rich.console import ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

__all__ = ["Console", "messages_on", "printable", "quoted", "styled", "write"]

# Control characters but newline and tab; what turns the direction of writing; and halves of
# surrogate pairs, by which Python keeps bytes of file names that are no UTF-8.
_COMMANDS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return a text with its control characters written out, such as ``\x1b``."""
    return _COMMANDS.sub(lambda found: ascii(found[0])[1:-1], text)


def quoted(text: str) -> str:
    r"""Return a text as a word of a shell, with control characters such as ``$'\x1b'``.

    As bytes, which mean the same in every locale; bash, zsh, ksh and POSIX 2024 know the form.
    """
    if not _COMMANDS.search(text) and "\n" not in text and "\t" not in text:
        return shlex.quote(text)
    return "$'" + "".join(map(_in_shell, text)) + "'"


def _in_shell(character: str) -> str:
    if character in "\\'":
        return "\\" + character
    if character in "\n\t":
        return {"\n": r"\n", "\t": r"\t"}[character]
    if _COMMANDS.match(character):  # of three octal digits: of a hexadecimal number some read more
        return "".join(f"\\{byte:03o}" for byte in os.fsencode(character))
    return character


def styled(*parts: str | tuple[str, str]) -> Text:
    """Return texts, some with a style, as one; rich would drop some of their control characters."""
    return Text.assemble(
        *(
            printable(part) if isinstance(part, str) else (printable(part[0]), part[1])
            for part in parts
        )
    )


class Console(rich.console.Console):
    """Rich's console, which escapes the characters that are printed but not its own commands."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Return a text with markup, printable before its lines are broken."""
        return super().render_str(printable(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Yield the parts of what is printed, every text among them printable."""
        for text, style, control in super().render(renderable, options):
            yield Segment(text if control else printable(text), style, control)


@contextmanager
def messages_on(console: Console) -> Iterator[None]:
    """Show on a console what the library says of its work."""
    logger, handler = logging.getLogger("portable_rnn"), logging.Handler()
    handler.emit = lambda record: console.print(styled((record.getMessage(), "dim")))  # type: ignore[method-assign]
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def write(text: Any, *, end: str = "\n") -> None:
    """Print a text as it is laid out, whatever the width of the terminal."""
    sys.stdout.write(printable(str(text)) + end)
    sys.stdout.flush()
