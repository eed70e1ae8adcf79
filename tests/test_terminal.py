"""Printed text has no control sequences except those of the command line itself."""

import io
import os
import random
import shutil
import subprocess

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from portable_rnn.cli import app
from portable_rnn.cli.terminal import Console, printable, quoted, styled

from .command import call

pytestmark = pytest.mark.no_products

EVIL = "a\x1b[31mb\x9b2Jc\x07\x7f\u202ed"
SHOWN = r"a\x1b[31mb\x9b2Jc\x07\x7f\u202ed"


def test_every_control_character_is_written_out():
    every = "".join(map(chr, (*range(32), *range(127, 160))))
    shown = printable(every)
    assert [c for c in shown if ord(c) < 32 or 127 <= ord(c) < 160] == ["\t", "\n"]
    assert printable("naïve – 漢字 🙂\n\tשלום") == "naïve – 漢字 🙂\n\tשלום"
    assert printable(os.fsdecode(b"caf\xe9")) == r"caf\udce9"
    assert printable(shown) == shown


@pytest.mark.parametrize(
    "thing",
    [
        EVIL,
        Text(EVIL, style="red"),
        styled(("x", "dim"), EVIL),
        Panel(EVIL, title=Text(EVIL)),
    ],
    ids=["str", "text", "assembled", "panel"],
)
def test_printed_objects_have_no_control_characters(thing):
    file = io.StringIO()
    Console(file=file, width=200, highlight=False).print(thing, markup=False)
    assert r"\x1b[31mb\x9b2Jc" in file.getvalue()
    assert not set(file.getvalue()) & set("\x1b\x9b\x07\x7f\u202e")


@pytest.mark.parametrize("thing", ["{}", Panel("{}")], ids=["str", "panel"])
@pytest.mark.parametrize("make", [str, styled])
def test_no_control_character_is_dropped(make, thing):
    """Rich drops these five characters from text."""
    text, file = make("a\x07\x08\x0b\x0c\rb"), io.StringIO()
    Console(file=file, width=80).print(text if thing == "{}" else Panel(text))
    assert r"a\x07\x08\x0b\x0c\rb" in file.getvalue()


@pytest.mark.parametrize("make", [str, styled])
def test_escaped_lines_are_broken_and_not_cropped(make):
    file = io.StringIO()
    Console(file=file, width=40).print(Panel(make("\x1b" * 30)))
    inside = "".join(line.strip("│ ") for line in file.getvalue().splitlines()[1:-1])
    assert inside == r"\x1b" * 30


@pytest.mark.parametrize("shell", ["bash", "zsh", "ksh"])
def test_a_word_for_a_shell_is_printable_and_means_the_same(shell):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    for text in ("The ", "it's", r"a\b", EVIL, "\x07\x08\r\n\t'\\7\x1b7", os.fsdecode(b"caf\xe9 ")):
        word = quoted(text)
        assert printable(word) == word
        assert "\n" not in word
        shown = subprocess.run([shell, "-c", f"printf %s {word}"], capture_output=True, check=True)
        assert shown.stdout == os.fsencode(text)


def test_a_table_stays_aligned():
    table = Table(EVIL)
    table.add_row(EVIL)
    table.add_row("b")
    file = io.StringIO()
    Console(file=file, width=80).print(table)
    assert len({len(line) for line in file.getvalue().splitlines()}) == 1
    assert file.getvalue().count(r"\x1b[31mb") == 2


def test_colours_of_the_command_line_are_kept():
    file = io.StringIO()
    terminal = Console(file=file, force_terminal=True, color_system="standard", highlight=False)
    terminal.print(f"[red]{EVIL.replace('[', chr(92) + '[')}[/]")
    assert file.getvalue().startswith("\x1b[31ma\\x1b")
    assert file.getvalue().count("\x1b") == 2


@pytest.fixture
def run(tmp_path):
    """Return a run whose text, prompt and name hold escape sequences."""
    text = tmp_path / "t\x1b[31mext"
    text.write_text("".join(random.Random(0).choices(["The \x1b[31m", "cat ", "sat.\n"], k=200)))
    out = tmp_path / "r\x1b[2J"
    sizes = ("--hidden", 4, "--batch-size", 2, "--window", 3, "--steps", 12)
    code, shown = call("train", "--out", out, "--text", text, *sizes)
    assert code == 0, shown
    assert r"t\x1b[31mext" in shown
    assert "\x1b" not in shown
    return out


def test_what_a_network_has_learned_is_written_out(run):
    code, shown = call("sample", run, "--prompt", "The \x1b[31mcat\n", "--length", 200)
    assert code == 0
    assert shown.startswith("The \\x1b[31mcat\n")
    assert "\x1b" not in shown
    assert shown.count("\n") > 3  # of the text, and the last one


@pytest.mark.parametrize(
    "command",
    [
        ("sample", EVIL),
        ("sample", "none", EVIL),
        ("train", "--text", EVIL),
        ("train", "--out", EVIL, "--resume"),
        ("train", "--cell", EVIL),
        ("train", "--hidden", EVIL),
        ("train", "--backend", EVIL),
        ("train", "--device", EVIL),
        ("train", f"--{EVIL}"),
        ("book", "--from", EVIL),
        ("book", "--only", EVIL),
        ("book", "--targets", EVIL),
        (EVIL,),
    ],
    ids=lambda command: " ".join(command)[:20].replace(EVIL[:3], "evil").encode("ascii", "ignore"),
)
def test_errors_are_written_out(tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    code, shown = call(*command)
    assert code == 2, shown
    assert "Traceback" not in shown
    assert not set(shown) & set("\x1b\x9b\x07\x7f\u202e"), shown


@pytest.mark.parametrize(
    ("command", "error"),
    [
        (("train", "--hidden", "x"), "hidden: expected an int, got 'x'"),
        (("train", "--lr", "x"), "lr: expected a number, got 'x'"),
        (("train", "--hiden", "3"), "hiden: expected an option of "),
        (("train", "--hiden", "3"), "an unknown one; did you mean --hidden?"),
        (("train", "--learning-rate", "3"), "an unknown one; did you mean --lr?"),
        (("train", "--cell", "GRU"), "got 'GRU'; did you mean gru?"),
        (("train", "--lr"), "lr: expected a value, got none"),
        (
            ("trian",),
            "command: expected train, sample, book, bench, info, got 'trian'; did you mean train",
        ),
        (("sample",), "run: expected a value, got none"),
        (("sample", "a", "b"), "portable-rnn sample: expected fewer arguments, got more: (b)"),
        (("sample", "r", "--length", "0"), "length: expected at least 1, got 0"),
        (("book", "--digits", "99"), "digits: expected at most 40, got 99"),
    ],
)
def test_wrong_options_are_reported_like_all_other_errors(command, error):
    code, shown = call(*command)
    assert code == 2
    assert shown.startswith("error: ")
    assert error in shown
    assert shown.count("\n") == 1


def test_latex_is_written_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("book", "--to", "n\x1b[31m.json", "--steps", 1)[0] == 0
    code, shown = call("book", "--from", "n\x1b[31m.json", "--latex", "--only", "10.8")
    assert code == 0
    assert r"\documentclass" in shown
    assert "\x1b" not in shown


def test_a_traceback_is_written_out_too(monkeypatch):
    def fail(*args):
        raise TypeError(EVIL)

    monkeypatch.setattr(app, "show_info", fail)
    code, shown = call("info")
    assert code == 1
    assert shown.startswith("Traceback")
    assert SHOWN in shown
