"""A command of the command line in this process: much faster than one of its own."""

import contextlib
import io
import os
import sys
import warnings
from unittest import mock

from portable_rnn.cli.app import run


def call(*args, **environment):
    """Return the exit status of a command, and what it printed."""
    shown = io.StringIO()
    before, sys.argv = sys.argv, ["portable-rnn", *map(str, args)]
    try:
        with (
            mock.patch.dict(os.environ, environment),
            contextlib.redirect_stdout(shown),
            contextlib.redirect_stderr(shown),
            warnings.catch_warnings(),
        ):
            run()
    except SystemExit as end:
        return end.code or 0, shown.getvalue()
    finally:
        sys.argv = before
    raise AssertionError("a command ends with an exit status")
