"""Custom numbers from files, and claimed results of them: `portable-rnn book --from`."""

import copy
import io
import json
import re
from decimal import Decimal

import numpy as np
import pytest
from conformance.oracles.small_book import NUMBERS, right
from rich.console import Console

from portable_rnn import book
from portable_rnn.cli import book as cli_book

from . import command


def save(path, **changes):
    """Write the numbers with changes as JSON; None leaves one out."""
    numbers = {k: v for k, v in (copy.deepcopy(NUMBERS) | changes).items() if v is not None}
    path.write_text(json.dumps(numbers), encoding="utf-8")
    return path


def call(*args, code=0, columns="120"):
    status, shown = command.call("book", *args, COLUMNS=columns, NO_COLOR="1")
    assert status == code, shown
    assert "Traceback" not in shown
    return shown


# -------------------------------------------------------------------------- files


def test_json_and_npz_hold_the_same_example(tmp_path):
    claims = {"d_c": [0.1, 0.2, 0.3], "loss": 2.5}
    path = save(tmp_path / "numbers.json", claims=claims)
    arrays = {name: np.asarray(tree) for name, tree in NUMBERS.items()}
    np.savez(tmp_path / "n.npz", **arrays, **{f"claims.{k}": v for k, v in claims.items()})
    example, found = book.read(path)
    assert example == book.Example(**NUMBERS)
    assert example.y == ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    assert example.U[0] == (0.1, -0.2)  # the nearest float64, as Python reads it
    assert found["d_c"] == [Decimal("0.1"), Decimal("0.2"), Decimal("0.3")]
    other, found = book.read(str(tmp_path / "n.npz"))
    assert other == example
    assert found["d_c"].tolist() == claims["d_c"]
    assert set(found) == set(claims)


def test_biases_and_the_first_state_may_be_left_out(tmp_path):
    example, claims = book.read(save(tmp_path / "n.json", b=None, c=None, h0=None))
    assert (example.b, example.c, example.h0) == ((0.0,) * 3,) * 3
    assert claims == {}


def test_a_written_file_is_read_back_and_never_overwritten(tmp_path):
    path = tmp_path / "numbers.json"
    for example in (book.Example(**NUMBERS), book.draw(steps=1, targets="general")):
        path.unlink(missing_ok=True)
        book.write(path, example)
        assert book.read(path) == (example, {})
    assert "\n    [0.5625, 0.375, -0.125, -0.375],\n" in path.read_text()  # a row is a line
    before = path.read_bytes()
    with pytest.raises(FileExistsError, match=r"numbers\.json: expected a new file"):
        book.write(path, example)
    assert path.read_bytes() == before


def npz(**arrays):
    def make(path):
        with open(path, "wb") as file:
            np.savez(file, **arrays)

    return make


def damaged(path):
    np.savez_compressed(path.with_suffix(".npz"), **{n: np.asarray(v) for n, v in NUMBERS.items()})
    content = bytearray(path.with_suffix(".npz").read_bytes())
    content[60:90] = b"\xff" * 30
    path.write_bytes(content)


def text(content):
    return lambda path: path.write_bytes(
        content if isinstance(content, bytes) else content.encode()
    )


def changed(**changes):
    return lambda path: save(path, **changes)


BAD = {
    "there is no such file": lambda path: None,
    "cannot be read (Is a directory)": lambda path: path.mkdir(),
    "expected JSON or .npz, got neither (not UTF-8)": text(b"\xff\xfe\x00"),
    "expected JSON or .npz, got neither (Expecting value": text("U = 1"),
    "expected JSON or .npz, got neither (File is not a zip file)": text(b"PK\x03\x04 nothing"),
    "expected JSON or .npz, got neither (Error -3": damaged,
    "claims: expected an array for each, such as claims.d_c, got one for all": npz(
        **NUMBERS | {"claims": [1.0], "claims.d_c": [1.0, 2.0, 3.0]}
    ),
    "expected an object of arrays by name, got list": text("[[1, 2]]"),
    "expected matrices, got brackets too deep to read": text("[" * 100_000),
    "missing U, x": changed(U=None, x=None),
    "unknown H, w": changed(H=3, w=[1]),
    "U: expected one array of this name, got 2": text('{"U": [[1]], "U": [[2]]}'),
    "claims: expected an object, got list": changed(claims=[1]),
    "claims: expected names from a, h": changed(claims={"dU": [1]}),
    "claims.d_c: expected shape (3,), got (2,)": changed(claims={"d_c": [1, 2]}),
    "claims.d_c: expected real numbers, got '3'": changed(claims={"d_c": [1, 2, "3"]}),
    "claims.d_c: expected finite numbers, got NaN": changed(claims={"d_c": [1, 2, float("nan")]}),
    "U: expected rows of one length": changed(U=[[1, 2], [3]]),
    "x: expected finite numbers, got NaN": changed(x=[[1, float("nan")]]),
    "x: expected finite numbers, got Infinity": changed(x=[[1, float("inf")]]),
    "y: expected classes from 0 to 2, got 3": changed(y=[0, 3]),
    "W: expected shape (3, 3), got (3, 2)": changed(W=[[1, 2]] * 3),
    "b: expected numbers, got null": text(json.dumps(NUMBERS | {"b": None})),
    "x: expected finite numbers, got 1E+999": text(
        json.dumps(NUMBERS).replace('"x": [[1,', '"x": [[1e999,')
    ),
    "x: expected finite numbers, got Inf": text(
        json.dumps(NUMBERS).replace('"x": [[1,', f'"x": [[1e{"9" * 30},')
    ),
    "U: expected numbers, got Python objects": npz(U=np.asarray([None])),
    "U: expected real numbers, got 1j": npz(**NUMBERS | {"U": np.full((3, 2), 1j)}),
}


@pytest.mark.parametrize("words", BAD)
def test_a_bad_file_is_one_error_that_names_the_file_and_the_array(words, tmp_path):
    path = tmp_path / "numbers"
    BAD[words](path)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}: .*{re.escape(words)}") as error:
        book.read(path)
    assert "\n" not in str(error.value)


# -------------------------------------------------------------------- the command


def test_the_command_checks_custom_numbers(tmp_path):
    path = save(tmp_path / "my [b]numbers.json")
    shown = call("--from", path)
    assert "x in R², h in R³, o in R³, T = 2, " in shown
    assert "my [b]numbers.json" in shown.replace("\n", "")
    assert re.search(r"39 checks, all within 8 eps", shown)
    row = " ".join(f"{value:8.5f}" for value in right("d_h")[0])
    assert len(re.findall(re.escape(row), shown)) == 2
    assert "claims" not in shown
    narrow = call("--from", path, "--dtype", "float32", columns="80")
    assert max(map(len, narrow.splitlines())) <= 80
    assert "all within 8 eps" in narrow


def test_the_command_writes_what_it_reads(tmp_path):
    path = tmp_path / "it's.json"
    shown = call("--to", path, "--steps", "2", "--hidden", "2", "--seed", "3")
    assert book.read(path)[0] == book.draw(hidden=2, steps=2, seed=3)
    line = shown.split("then: portable-rnn book ")[1]
    assert line.strip() == f"--from '{tmp_path}/it'\"'\"'s.json'"
    assert "all within 8 eps" in call("--from", path)
    assert "expected a new file" in call("--to", path, code=2)


def test_claims_are_shown_with_the_right_values_and_decide_the_exit_status(tmp_path):
    d_o, d_c = right("d_o"), right("d_c")
    good = {"d_o": d_o.round(4).tolist(), "d_c": d_c.round(4).tolist()}
    shown = call("--from", save(tmp_path / "good.json", claims=good), "--only", "10.18")
    assert "2 claims, all right" in shown
    bad = good | {"d_o": (-d_o).round(4).tolist()}
    path = save(tmp_path / "bad.json", claims=bad)
    shown = call("--from", path, "--only", "10.18", code=1)
    assert "all within 8 eps" in shown
    assert "d_o  wrong: the negative of the right one" in shown
    assert "d_c  right" in shown
    assert "1 of 2 claims wrong: d_o" in shown
    claimed = " ".join(f"{value:8.5f}" for value in (-d_o[0]).round(4))
    wanted = " ".join(f"{value:8.5f}" for value in d_o[0])
    assert f"{claimed}  {wanted}" in shown
    document = call("--from", path, "--latex", code=1)
    assert "claims not right: d_o" in document
    assert r"\end{document}" in document


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--hidden", "5"), "hidden: expected no --hidden with --from"),
        (("--targets", "one-hot"), "targets: expected no --targets with --from"),
        (("--seed", "0"), "seed: expected no --seed with --from"),
        (("--to", "x.json"), "to: expected no --to with --from"),
    ],
)
def test_options_that_contradict_the_file_are_refused(args, words, tmp_path):
    shown = call("--from", save(tmp_path / "n.json"), *args, code=2)
    assert shown.startswith(f"error: {words}")


@pytest.mark.parametrize(
    ("changes", "args", "words"),
    [
        ({"y": [0, 9]}, (), "y: expected classes from 0 to 2, got 9"),
        ({"V": [[1e30] * 3] * 3}, (), "o(1): expected outputs up to 1e+17"),
        (
            {"x": [[1e39, 1]] * 2},
            ("--dtype", "float32"),
            "x: expected numbers that float32 can hold",
        ),
    ],
)
def test_errors_name_the_file(changes, args, words, tmp_path):
    path = save(tmp_path / "n.json", **changes)
    shown = " ".join(call("--from", path, *args, code=2).split())
    assert shown.startswith(f"error: {path}: {words}")


def test_examples_that_would_take_too_long_are_refused(tmp_path):
    path = save(tmp_path / "n.json", x=[[1, 0.5]] * 90_000, y=[0] * 90_000)
    assert "steps: expected at most 74074 of these sizes" in call("--from", path, code=2)
    assert "steps: expected at most" in call("--steps", "100000", code=2)
    assert "hidden: expected sizes with at most" in call("--hidden", "2000000000", code=2)
    assert "steps: expected at most 6 of" in call("--outputs", "700", "--steps", "7", code=2)


def test_the_path_of_a_file_is_text_in_latex(tmp_path):
    path = save(tmp_path / "my_50%.json")
    title = call("--from", path, "--latex").splitlines()[6]
    assert r"my\_50\%.json" in title
    assert cli_book._latex_text("a\\b{^}") == r"a\textbackslash{}b\{\textasciicircum{}\}"


def test_a_long_claim_is_shown_by_the_rows_around_the_worst(tmp_path):
    x, y = [[0.1, 0.05]] * 40, [0] * 40
    d_o = np.array(book.differentiate(book.Example(**NUMBERS | {"x": x, "y": y})).d_o, "float64")
    d_o[29] += 0.5
    path = save(tmp_path / "n.json", x=x, y=y, claims={"d_o": d_o.round(4).tolist()})
    shown = call("--from", path, "--only", "10.18", code=1)
    assert "rows 24 to 35 of 40, around the largest difference: --all" in shown
    assert f"{d_o[29, 0]:8.5f}"[:-1] in shown.split("your claims")[1]
    assert "around" not in call("--from", path, "--only", "10.18", "--all", code=1)


def test_a_wide_claim_is_shown_by_the_columns_around_the_worst_with_a_mark(tmp_path):
    example = book.draw(inputs=30, hidden=3, steps=2)
    d_U = np.array(book.differentiate(example).d_U, "float64").round(5)
    d_U[1, 17] += 0.5
    path = tmp_path / "n.json"
    path.write_text(json.dumps(vars(example) | {"claims": {"d_U": d_U.tolist()}}))
    shown = call("--from", path, "--only", "10.28", code=1).split("your claims")[1]
    assert "columns 14 to 21 of 30, around the largest difference: --all" in shown
    assert f"{d_U[1, 17]:.5f}*" in shown
    assert "* 1 of 90 numbers further off than allowed" in shown
    assert shown.count("*") == 2
    every = call("--from", path, "--only", "10.28", "--all", code=1).split("your claims")[1]
    assert "columns" not in every
    assert f"{d_U[0, 0]:.5f}" in every


def test_a_claim_that_is_wrong_everywhere_has_no_marks(tmp_path):
    path = save(tmp_path / "n.json", claims={"d_c": [1.0, 2.0, 3.0]})
    assert "*" not in call("--from", path, "--only", "10.22", code=1).split("your claims")[1]


def test_the_help_says_what_is_not_in_the_book():
    assert "Q1 to Q3 are not in the book" in " ".join(call("--help").replace("│", " ").split())


def test_amplified_rounding_and_overflow_are_reported(tmp_path):
    # Off by thousands of eps on every processor, with enough right digits.
    chaos = {"W": [[0, 1, -1], [-3, 1, -3], [-2, 2, 0]], "x": [[0.1, 0.05]] * 60, "y": [0] * 60}
    shown = call("--from", save(tmp_path / "n.json", **chaos))
    assert "these numbers amplify rounding" in " ".join(shown.split())
    vast = {"U": [[1e200, 1]] * 3, "x": [[1e200, 1]] * 2}
    shown = call("--from", save(tmp_path / "n.json", **vast), "--only", "10.8", code=1)
    assert "too large for float64, or computed from what is: 10.8" in shown
    steep = {"V": [[3e7, -1e7, 2e7], [2e7, 4e7, -3e7], [-2e7, 1e7, 5e7]]}
    steep["claims"] = {"d_y_hat": [[0, 0, 0], [1, 2, 3]]}
    shown = call("--from", save(tmp_path / "n.json", **steep), code=1)
    assert "1 of 1 claims wrong: d_y_hat" in shown
    small = {"V": [[1e4, 0, 0], [0, 0, 0], [0, 0, 0]], "y": [1, 1]}
    shown = call("--from", save(tmp_path / "n.json", **small), "--only", "Q3")
    assert "not checked: Q3, for it divides by ŷ" in shown


def test_long_work_shows_progress_and_short_work_none(monkeypatch):
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=80)
    monkeypatch.setattr(cli_book, "Console", lambda **_: console)
    clock = [0.0]
    monkeypatch.setattr(cli_book, "monotonic", lambda: clock[0])
    with cli_book._progress() as progress:
        show = progress("independent values")
        for clock[0] in (0.1, 0.9):
            show(1, 10)
        assert shown.getvalue() == ""
        clock[0] = 1.1
        show(5, 10)
        assert "independent values" in shown.getvalue()
        progress("values of the library")(0, 10)
    assert "values of the library" in shown.getvalue()
