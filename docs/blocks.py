"""Find the code blocks of a document, and run them in order in one namespace, as a reader would.

Used by the build of the site (``hooks.py``) and by the tests (``tests/test_documents.py``).
"""

import contextlib
import io
import re
import shlex
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Block", "call", "find", "run", "with_outputs"]

FENCE = re.compile(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
COMMAND = "portable-rnn "


@dataclass(frozen=True)
class Block:
    """One fenced block: its language, its text, where that starts, and where the block ends."""

    language: str
    source: str
    line: int
    end: int
    indent: str


def find(text: str, *languages: str) -> list[Block]:
    """Return the blocks of some languages in order, including those inside tabs."""
    return [
        Block(
            match[2],
            textwrap.dedent(match[3]),
            text.count("\n", 0, match.start(3)),
            match.end(),
            match[1],
        )
        for match in FENCE.finditer(text)
        if match[2] in languages
    ]


def run(path: Path, folder: Path) -> list[str]:
    """Run a page inside ``folder``; return what each Python block printed.

    Python blocks share one namespace. Of the shell blocks, only those that consist of
    ``portable-rnn`` commands are run: the others install or test, and are checked by the tests.
    """
    names = {"__name__": "__main__"}
    printed = []
    for block in find(path.read_text(encoding="utf-8"), "python", "sh"):
        if block.language == "python":
            # Empty lines first, so that a traceback names the line of the page.
            code = compile("\n" * block.line + block.source, str(path), "exec")
            stdout = io.StringIO()
            with contextlib.chdir(folder), contextlib.redirect_stdout(stdout):
                exec(code, names)
            printed.append(stdout.getvalue())
        elif all(line.startswith(COMMAND) for line in block.source.splitlines()):
            for line in block.source.splitlines():
                call(line, folder)
    return printed


def call(line: str, folder: Path) -> str:
    """Run one ``portable-rnn`` command; return what it printed."""
    from portable_rnn.cli import main

    printed = io.StringIO()
    before, sys.argv = sys.argv, shlex.split(line, comments=True)
    try:
        with (
            contextlib.chdir(folder),
            contextlib.redirect_stdout(printed),
            contextlib.redirect_stderr(printed),
        ):
            main()
    except SystemExit as ended:
        if ended.code:
            raise RuntimeError(f"{line}\n{printed.getvalue()}") from None
    finally:
        sys.argv = before
    return printed.getvalue()


def with_outputs(text: str, printed: list[str]) -> str:
    """Return the page with a block of output after each Python block that printed something."""
    parts, at = [], 0
    for block, output in zip(find(text, "python"), printed, strict=True):
        parts.append(text[at : block.end])
        at = block.end
        if output:
            fenced = "\n``` { .text .output }\n" + output.rstrip("\n") + "\n```"
            parts.append(textwrap.indent(fenced, block.indent))
    return "".join([*parts, text[at:]])
