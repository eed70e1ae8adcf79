"""What the command line says of wrong options: as all other errors, ``name: expected X, got Y``."""

import re
from typing import Any

from typer.core import TyperGroup

from .._arrays import checks as check

__all__ = ["Commands", "Interrupted", "Misused"]


class Commands(TyperGroup):
    """The commands; what typer has to say of wrong options is said as all other errors are."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Read the options before the command."""
        return _explained(super().make_context, *args, **options)

    def invoke(self, *args: Any, **options: Any) -> Any:
        """Read the options of the command, and run it."""
        return _explained(super().invoke, *args, **options)


class Interrupted(Exception):
    """Ctrl-C, past typer."""


def _explained(call: Any, *args: Any, **options: Any) -> Any:
    try:
        return call(*args, **options)
    except KeyboardInterrupt:  # typer would end without a word
        raise Interrupted from None
    except Exception as error:
        # Typer's, and click's under older ones; without arguments, the help is one.
        if not hasattr(error, "format_message") or type(error).__name__.startswith("NoArgs"):
            raise
        raise Misused(_in_own_words(error)) from None


class Misused(ValueError):
    """What the command line was given does not fit its options."""


def _in_own_words(error: Any) -> str:
    """Return what is wrong with the options as ``name: expected X, got Y``."""
    said, command = error.message.rstrip("."), getattr(error.ctx, "command_path", "portable-rnn")
    param, option = getattr(error, "param", None), getattr(error, "option_name", None)
    name = (option or getattr(param, "name", None) or "").lstrip("-").replace("-", "_")
    if found := re.match("No such command '(.*?)'", said):
        known = list(error.ctx.command.commands)
        near = check.suggestion(found[1], known)
        return f"command: expected {', '.join(known)}, got {found[1]!r}{near}"
    if said.startswith("No such option"):
        known = [o[2:] for p in error.ctx.command.params for o in p.opts if o.startswith("--")]
        near = check.suggestion(name, known).replace("mean ", "mean --")
        return f"{name}: expected an option of {command}, got an unknown one{near}"
    if "issing" in type(error).__name__ or said.endswith("requires an argument"):
        shown = (getattr(param, "metavar", None) or name).lower()
        return f"{shown}: expected a value, got none; see {command} --help"
    if said.startswith("Got unexpected extra argument"):
        return f"{command}: expected fewer arguments, got more: {said[said.rindex('(') :]}"
    if name and param is not None:
        for word, wanted in (
            ("than or equal to", f"expected at {'least' if 'greater' in said else 'most'}"),
            ("integer", "expected an int"),
            ("number", "expected a number"),
            ("float", "expected a number"),
        ):
            if word in said:
                bound = re.search(r"equal to (\S+)", said)
                return f"{name}: {wanted}{f' {bound[1]}' if bound else ''}{_given(error)}"
    return f"{name or command}: {said[:1].lower()}{said[1:]}"


def _given(error: Any) -> str:
    """Return ', got ...' where an error knows what was given."""
    cause, found = error.__cause__, re.match(r"'?(.*?)'? is not ", error.message)
    value = str(cause.errors()[0]["input"]) if hasattr(cause, "errors") else found and found[1]
    if value is None:
        return ""
    return f", got {value if re.fullmatch('[-+.0-9]+', value) else repr(value)}"
