"""The report shows what ran, and never more than that."""

import io
import json
import math
import re
import sys

import pytest

from .report import (
    NOT_ASKED,
    SCHEMA,
    Error,
    Planted,
    Row,
    Test,
    build,
    merge,
    passed,
    print_matrix,
    read_json,
    verdict,
    write_html,
    write_json,
)
from .report.__main__ import main
from .report.document import ratio
from .report.terminal import plain_matrix
from .report.verdict import judge, number

HERE = {
    "date": "2001-02-03T04:05:06+00:00",
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "platform": "Machine",
    "python": "CPython 3.99",
    "packages": {"numpy": "2.9"},
}
NUMPY = Row("numpy", "numpy", "2.9", "cpu", "values", "ran", "")
CUPY = Row("cupy", "cupy", "14.9", "H200", "values", "ran", "")
NO_CUPY = Row("cupy", "cupy", "", "", "values", "not run", "cupy finds no <CUDA> & no device")
DASK = Row("dask", "dask.array", "2001", "cpu", "shapes only", "ran", "")


def a_test(backend="numpy", outcome="passed", reason="", dtype="float32", name="f"):
    return Test(backend, dtype, f"conformance/test_x.py::test_{name}[{backend}]", outcome, reason)


def an_error(
    eps, backend="numpy", dtype="float32", array="d_x", steps=9, problem="P", allowed=32.0
):
    return Error(backend, dtype, "gru", problem, array, steps, eps, allowed)


def built(rows, tests, errors=(), planted=()):
    return build(rows, tests, errors, planted, HERE)


def good():
    skip = a_test("cupy", "skipped", f"not run: {NO_CUPY.reason}")
    errors = [an_error(0.0), an_error(3.0, problem="<worst>"), an_error(1.5)]
    return built([NUMPY, NO_CUPY], [a_test(), skip], errors)


def page(document, tmp_path):
    write_html(document, tmp_path / "page.html")
    return (tmp_path / "page.html").read_text(encoding="utf-8")


def printed(document, **options):
    console = pytest.importorskip("rich.console")
    file = io.StringIO()
    print_matrix(document, console.Console(file=file, width=200, **options))
    return file.getvalue()


def test_a_session_becomes_a_document():
    document = good()
    assert document["schema"] == SCHEMA
    (session,) = document["sessions"]
    assert {name: session[name] for name in HERE} == HERE
    (result, idle) = document["results"]
    assert (result["passed"], result["failed"], result["compared"]) == (1, 0, 3)
    assert result["worst"] == {
        "cell": "gru",
        "problem": "<worst>",
        "array": "d_x",
        "steps": 9,
        "eps": 3.0,
        "allowed": 32.0,
    }
    assert (idle["backend"], idle["skipped"], idle["worst"]) == ("cupy", 1, None)
    (errors,) = document["errors"]
    assert (errors["count"], errors["eps"]) == (3, 3.0)
    assert errors["bins"] == {"zero": 1, "1": 1, "0": 1}
    (note,) = document["notes"]
    assert note["reason"] == f"not run: {NO_CUPY.reason}"
    assert passed(document)


def test_the_environment_is_found_out():
    (session,) = build([NUMPY], [a_test()], [])["sessions"]
    assert set(session) == {"id", *HERE}
    assert {"numpy", "pytest"} <= set(session["packages"])
    assert session["commit"] is None or re.fullmatch("[0-9a-f]{40}(-dirty)?", session["commit"])


def test_json_can_be_read_back(tmp_path):
    document = built([NUMPY], [a_test(outcome="failed")], [an_error(math.nan)])
    write_json(document, tmp_path / "report.json")
    assert read_json(tmp_path / "report.json") == document
    assert document["results"][0]["worst"]["eps"] == "inf"
    json.loads((tmp_path / "report.json").read_text(), parse_constant=pytest.fail)


@pytest.mark.parametrize(
    ("eps", "name"),
    [(32.0, "5"), (math.nextafter(32.0, 0.0), "4"), (1e-9, "-8"), (1e300, "40"), (0.0, "zero")],
)
def test_bins_are_octaves(eps, name):
    assert built([NUMPY], [a_test()], [an_error(eps)])["errors"][0]["bins"] == {name: 1}


def test_records_that_contradict_each_other_are_refused():
    with pytest.raises(ValueError, match="no row of backend 'cupy'"):
        built([NUMPY], [a_test("cupy")])
    with pytest.raises(ValueError, match="outcome 'fine'"):
        built([NUMPY], [a_test(outcome="fine")])


def test_merging_keeps_the_worst_and_adds_the_rest():
    documents = [
        built([NUMPY], [a_test()], [an_error(eps, problem=str(eps), steps=steps)])
        for eps, steps in ((2.0, 9), (11.0, 9), (5.0, 1))
    ]
    one = merge(documents)
    (result,) = one["results"]
    assert (result["passed"], result["compared"]) == (3, 3)
    assert (result["worst"]["eps"], result["worst"]["problem"]) == (11.0, "11.0")
    assert [(e["steps"], e["count"], e["eps"]) for e in one["errors"]] == [
        (9, 2, 11.0),
        (1, 1, 5.0),
    ]
    assert len(one["sessions"]) == len(one["rows"][0]["runs"]) == 3
    assert merge([merge(documents[:2]), documents[2]]) == one
    assert documents[0]["errors"][0]["count"] == 1, "merging wrote into what it was given"


def test_the_worst_is_relative_to_what_is_allowed():
    errors = [an_error(9.0, allowed=32.0), an_error(3.0, allowed=4.0)]
    document = built([NUMPY], [a_test()], errors)
    assert document["results"][0]["worst"]["eps"] == 3.0
    assert ratio({"eps": 1e-9, "allowed": 0.0}) == math.inf
    assert ratio({"eps": 0.0, "allowed": 0.0}) == 0.0


def test_a_row_that_ran_in_one_session_ran():
    here = built([NUMPY, CUPY], [a_test(), a_test("cupy")], [an_error(4.0, "cupy")])
    for documents in ([good(), here], [here, good()]):
        cupy = {row["backend"]: row for row in merge(documents)["rows"]}["cupy"]
        assert (cupy["status"], cupy["reason"]) == ("ran", "")
        assert (cupy["version"], cupy["device"]) == ("14.9", "H200")
        assert {run["status"] for run in cupy["runs"]} == {"ran", "not run"}
        assert merge(documents)["notes"] == []
        assert [r["skipped"] for r in merge(documents)["results"]] == [0, 0]


def test_a_row_that_never_ran_keeps_every_reason_once():
    other = Row("cupy", "cupy", "", "", "values", "not run", "not installed")
    skip = a_test("cupy", "skipped", "not run: not installed")
    one = merge([good(), good(), built([NUMPY, other], [a_test(), skip])])
    assert one["rows"][1]["reason"] == f"{NO_CUPY.reason}; not installed"
    assert [note["reason"] for note in one["notes"]] == [
        f"not run: {NO_CUPY.reason}",
        "not run: not installed",
    ]
    assert one["results"][1]["skipped"] == 1, "the same test, three times"


def test_a_missing_library_is_not_a_reason_where_another_session_has_it():
    absent = Row("cupy", "cupy", "", "", "values", "not run", "cupy is not installed (really)")
    skip = a_test("cupy", "skipped", "not run: cupy is not installed (really)")
    away = built([NUMPY, absent], [a_test(), skip])
    unasked = Row("cupy", "cupy", "", "", "values", "not run", NOT_ASKED)
    idle = built([NUMPY, unasked], [a_test()])
    assert merge([away, idle, good()])["rows"][1]["reason"] == NO_CUPY.reason
    assert merge([idle, away])["rows"][1]["reason"] == "cupy is not installed (really)"
    assert merge([idle])["rows"][1]["reason"] == NOT_ASKED


def test_planted_bugs_are_counted_and_a_survivor_is_named(tmp_path):
    caught = [Planted(name, f"test_{name}", True) for name in ("<a>", "b")]
    well = built([NUMPY], [a_test()], [an_error(1.0)], caught)
    assert passed(well)
    assert "2 planted bugs, 2 caught." in verdict(well)
    assert "2<small> of 2</small></strong><span>planted bugs caught" in page(well, tmp_path)
    ill = built([NUMPY], [a_test()], [], [Planted("<a>", "test_<a>", False)])
    for documents in ([well, ill], [ill, well]):
        document = merge(documents)
        assert not passed(document)
        assert "2 planted bugs, 1 caught, survived: <a>." in verdict(document)
        assert "survived: &lt;a&gt;" in page(document, tmp_path)
        assert [bug["caught"] for bug in document["planted"] if bug["bug"] == "b"] == [True]
    assert "planted" not in verdict(good())


def test_a_row_without_arrays_misses_no_dtype(tmp_path):
    row = Row("bare", "cupy", "14.9", "no device", "values", "ran", "")
    half = Row("half", "cupy", "14.9", "H200", "values", "ran", "", ("float32", "float16"))
    tests = [a_test(), a_test("bare", dtype=""), a_test("half", dtype="float32")]
    document = built([NUMPY, row, half], [*tests, a_test(dtype="float16")], [an_error(1.0)])
    assert passed(document)
    lines = plain_matrix(document), page(document, tmp_path)
    for text, pattern in zip(lines, ("{} .*", "<b>{}</b>.*"), strict=True):
        (line,) = re.findall(pattern.format("bare"), text)
        assert "no tests" not in line
        assert "1 passed" in line
        (line,) = re.findall(pattern.format("half"), text)
        assert "no tests" in line, "what it is meant to be tested in is missed"


def test_a_failure_survives_merging_with_a_session_that_ran():
    required = built([NUMPY, NO_CUPY], [a_test(), a_test("cupy", "failed")])
    here = built([NUMPY, CUPY], [a_test(), a_test("cupy")])
    assert not passed(required)
    assert not passed(merge([here, required]))


def test_documents_that_cannot_be_merged_are_refused():
    document = good()
    with pytest.raises(ValueError, match="merged before"):
        merge([document, document])
    with pytest.raises(ValueError, match="expected a document of portable-rnn"):
        merge([document, {"schema": "other/1"}])
    values = Row("dask", "dask.array", "", "", "values", "ran", "")
    with pytest.raises(ValueError, match="only shapes in another"):
        merge([built([DASK], [a_test("dask")]), built([values], [a_test("dask")])])


@pytest.mark.parametrize(
    ("eps", "colour", "code"), [(16.0, "good", "32"), (16.1, "near", "33"), (32.1, "failed", "31")]
)
def test_colours_follow_the_allowance(eps, colour, code, tmp_path):
    document = built([NUMPY], [a_test()], [an_error(eps)])
    assert judge(document["rows"][0], document["results"][0]) == colour
    assert passed(document) == (eps <= 32.0)
    assert f'<td role="cell" class="{colour}"' in page(document, tmp_path)
    text = printed(document, force_terminal=True, color_system="standard")
    assert re.search(rf"\x1b\[(1;)?{code}m[^\x1b]*{eps:g} eps", text)


def test_a_failing_test_is_red_whatever_its_numbers(tmp_path):
    document = built([NUMPY], [a_test(), a_test(outcome="failed", name="g")], [an_error(1.0)])
    assert not passed(document)
    assert verdict(document).startswith("1 test failed (numpy); ")
    text = page(document, tmp_path)
    assert 'class="failed" data-dtype="float32"' in text
    assert "test_g" in text
    assert '<div class="verdict failed"' in text
    assert "FAILED 1 eps" in printed(document)


def test_nothing_run_is_a_failure(tmp_path):
    for document in (
        built([], []),
        built([NUMPY], []),
        built([NO_CUPY], [a_test("cupy", "skipped", "not run")]),
        built([NUMPY], [a_test(outcome="skipped", reason="tired")]),
        built([NUMPY], [a_test("")]),  # of the suite itself
    ):
        assert not passed(document)
        assert verdict(document).startswith("Nothing ran")
        assert all(row["status"] == "not run" for row in document["rows"])
        assert '<div class="verdict failed"' in page(document, tmp_path)
        assert "FAILED: Nothing ran" in plain_matrix(document)


def test_a_row_that_did_not_run_is_never_shown_as_passed(tmp_path):
    document = good()
    (row,) = re.findall(r"<tr[^>]*><th[^>]*><b>cupy</b>.*?</tr>", page(document, tmp_path))
    assert "not run" in row
    assert "cupy finds no &lt;CUDA&gt; &amp; no device" in row
    assert not re.search("passed|good|✓", row)
    (line,) = re.findall("cupy .*", plain_matrix(document).partition("PASSED")[0])
    assert "passed" not in line
    assert "cupy finds no <CUDA> & no device" in line
    assert "1 not run (cupy finds no <CUDA> & no device)" in verdict(document)


def test_shapes_only_shows_no_number(tmp_path):
    errors = [an_error(1.0), an_error(7.25, "dask")]
    document = built([NUMPY, DASK], [a_test(), a_test("dask")], errors)
    assert "7.25" not in json.dumps(document)
    (row,) = re.findall(r"<tr[^>]*><th[^>]*><b>dask</b>.*?</tr>", page(document, tmp_path))
    assert "shapes only" in row
    assert not re.search("eps|good|✓", row)
    assert "1 of them for shapes only (dask)" in verdict(document)
    assert re.search("dask.*shapes only.*1 passed", plain_matrix(document))


def test_a_number_is_not_rounded_to_what_is_allowed():
    assert number(32.000001) == "32.1"
    assert number(math.inf) == number("inf") == "∞"
    assert [number(eps) for eps in (0.0, 0.123, 32.0, 1.5e6)] == ["0", "0.12", "32", "1.5e6"]


def test_the_page_stands_alone_and_escapes(tmp_path):
    skips = [
        a_test(outcome="skipped", reason="<script>alert(1)</script>", name="a"),
        a_test("", "skipped", "every backend is here & well", name="b"),
        a_test(outcome="xfailed", reason='an "issue" of theirs', name="c"),
    ]
    errors = [an_error(eps, array="<b>", problem="<i>") for eps in (0.0, 1e-9, 2.0, math.inf)]
    text = page(built([NUMPY], [a_test(), *skips], errors), tmp_path)
    for reason in (
        "&lt;script&gt;alert(1)&lt;/script&gt;",
        "every backend is here &amp; well",
        "an &quot;issue&quot; of theirs",
    ):
        assert reason in text
    assert not re.search(r"https?://|<script|<link|@import|url\(|\bsrc=", text)
    assert "<b></text>" not in text
    assert "$" not in text
    for tag in ("svg", "details", "table", "section", "figure", "td", "dl"):
        assert len(re.findall(f"<{tag}[ >]", text)) == text.count(f"</{tag}>"), tag


def test_different_commits_are_reported():
    other = build([NUMPY], [a_test()], [], [], {**HERE, "commit": "f" * 40 + "-dirty"})
    text = plain_matrix(merge([good(), other]))
    assert "different commits: 0123456789ab, ffffffffffff" in text
    assert "(-dirty)" in text


def test_without_rich_the_matrix_is_plain_text(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "rich.console", None)
    print_matrix(good())
    assert capsys.readouterr().out == plain_matrix(good()) + "\n"
    assert "3 eps of 32, 1 passed" in plain_matrix(good())


def test_a_record_says_what_was_measured_and_where(tmp_path):
    write_json(good(), tmp_path / "a.json")
    out = tmp_path / "record.md"
    assert main([str(tmp_path / "a.json"), "--markdown", str(out)]) == 0
    text = out.read_text(encoding="utf-8")
    assert text.startswith(
        "# Conformance, 2001-02-03\n\nPassed: 1 backend ran; worst error 3 of 32"
    )
    assert "| numpy | 3 eps of 32, 1 passed | 2.9 cpu |" in text
    assert f"| cupy | not run | {NO_CUPY.reason} |" in text
    assert f"- commit: {HERE['commit']}" in text
    assert "- packages: numpy 2.9" in text


def test_the_command_merges_and_its_exit_code_is_the_verdict(tmp_path, capsys):
    bad = built([NUMPY], [a_test(outcome="error")])
    for name, document in {"a": good(), "b": good(), "bad": bad, "none": built([], [])}.items():
        write_json(document, tmp_path / name)
    a, b, out = (str(tmp_path / name) for name in ("a", "b", "out"))
    assert main([a, b, "--json", f"{out}.json", "--html", f"{out}.html"]) == 0
    assert "PASSED: 1 backend ran; worst error 3 of 32 eps allowed" in capsys.readouterr().out
    assert len(read_json(f"{out}.json")["sessions"]) == 2
    assert (tmp_path / "out.html").read_text(encoding="utf-8").startswith("<!doctype html>")
    assert main([a, str(tmp_path / "bad")]) == 1
    assert main([str(tmp_path / "none")]) == 1
    assert main([a, a]) == main([a, str(tmp_path / "absent")]) == 2
    assert "merged before" in capsys.readouterr().err
