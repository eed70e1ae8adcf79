"""Turn Sphinx roles in docstrings into links of this site, checked like all others."""

import re
from typing import Any

import griffe

ROLE = re.compile(r":(class|data|func|meth|mod):`~?([^`]+)`")
LITERAL = re.compile(r"::$", re.MULTILINE)
# Modules with a page on the site; the others are only read as source.
MODULES = {
    f"portable_rnn.{name}"
    for name in (
        *("activations", "batches", "cells", "dropout", "losses", "memory", "optimizers"),
        *("plots", "ragged", "schedules", "serialization", "sklearn", "training"),
    )
}


class Roles(griffe.Extension):
    """Rewrite the docstring of every object as it is loaded."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Turn roles into references, and the ``::`` of a literal block into a colon."""
        if obj.docstring:
            obj.docstring.value = LITERAL.sub(":", ROLE.sub(_link, obj.docstring.value))


def _link(role: re.Match[str]) -> str:
    kind, name = role.groups()
    if (kind == "mod" and name not in MODULES) or not name.startswith("portable_rnn"):
        return f"`{name}`"
    # In source files, portable_rnn.bptt is the module, not the function.
    target = "portable_rnn.api.bptt" if name == "portable_rnn.bptt" else name
    return f"[`{name}`][{target}]"
