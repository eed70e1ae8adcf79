"""A command of the command line in this process: much faster than one of its own."""

import contextlib
import io
import os
import subprocess
import sys
import warnings
from unittest import mock

from portable_rnn.cli import app


def run(*args, **environment):
    """Return what a process that runs a command would, with what it printed."""
    out, err = io.StringIO(), io.StringIO()
    return subprocess.CompletedProcess(
        args, _run(args, environment, out, err), out.getvalue(), err.getvalue()
    )


def call(*args, **environment):
    """Return the exit status of a command, and what it printed, errors in between."""
    shown = io.StringIO()
    return _run(args, environment, shown, shown), shown.getvalue()


def _run(args, environment, out, err):
    before, sys.argv = sys.argv, ["portable-rnn", *map(str, args)]
    try:
        with (
            mock.patch.dict(os.environ, environment),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            warnings.catch_warnings(),
        ):
            app.run()
    except SystemExit as end:
        return end.code or 0
    finally:
        sys.argv = before
    raise AssertionError("a command ends with an exit status")
