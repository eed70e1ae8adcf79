"""What is shown of a run: by rich in a terminal, by tqdm in a notebook, else nothing."""

import importlib.util
import io
import re
import sys
import types

import pytest

from portable_rnn.training import train
from portable_rnn.training.progress import described

from .runs import MODEL, Stop, source


class Terminal(io.StringIO):
    def isatty(self):
        return True


def go(**options):
    given = {"validation": source(seed=9), "metrics": ["accuracy"], "lr": 0.05} | options
    return train(MODEL, MODEL.init(seed=0), source(), **{"steps": 30} | given)


def test_a_terminal_shows_losses_and_metrics_at_the_end(monkeypatch):
    pytest.importorskip("rich", reason="not run: rich is not installed")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    run = go()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", terminal.getvalue())
    assert "30/30" in text
    assert described(run) in text
    assert described(run) == (
        f"loss {run.loss:.4g}  accuracy {run.metrics['accuracy']:.4g}  [validation: loss "
        f"{run.evaluation:.4g}, accuracy {run.evaluation_metrics['accuracy']:.4g}]"
    )


def test_a_run_that_is_stopped_or_fails_leaves_the_terminal_as_it_was(monkeypatch):
    pytest.importorskip("rich", reason="not run: rich is not installed")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    go(callbacks=[Stop(4)])
    assert "4/30" in terminal.getvalue()
    assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count("\x1b[?25h") == 1

    class Fail(Stop):
        def on_step(self, run):
            raise KeyError(run.step)

    with pytest.raises(KeyError):
        go(callbacks=[Fail(0)])
    assert terminal.getvalue().count("\x1b[?25l") == terminal.getvalue().count("\x1b[?25h") == 2


@pytest.mark.parametrize("options", [{}, {"progress": False}])
def test_without_a_terminal_or_when_asked_nothing_is_shown(options, monkeypatch):
    stream = io.StringIO() if not options else Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    go(**options)
    assert stream.getvalue() == ""


class ZMQInteractiveShell:
    """What IPython calls the shell of a notebook."""


def test_a_notebook_shows_the_bar_of_tqdm(monkeypatch):
    pytest.importorskip("tqdm", reason="not run: tqdm is not installed")
    ipython = types.SimpleNamespace(get_ipython=ZMQInteractiveShell, version_info=(9, 0))
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setattr(sys, "stderr", stream := io.StringIO())
    run = go()
    last = stream.getvalue().split("\r")[-1]
    assert "30/30" in last
    assert f"loss {run.loss:.4g}" in last


def test_a_bar_without_a_library_for_it_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"progress: expected rich or tqdm.*portable-rnn\[progr"):
        go(progress=True)
    go(progress="auto")
