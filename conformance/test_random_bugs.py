"""Bugs planted at random: drawn reproducibly, planted in the right place, noticed or not."""

import ast
import io
from pathlib import Path

import pytest
from rich.console import Console

import portable_rnn

from .mutants.edits import Bug, draw, plant
from .mutants.random import Suite, hunt

SOURCE = '''"""Toy."""


def double(x: int) -> int:
    """Return twice ``x``."""
    if x < 0:
        raise ValueError(f"x: expected 0 or more, got {x}")
    unused = 1
    return x + x
'''
TESTS = """import toy

def test_double():
    assert toy.double(3) == 6
"""


@pytest.fixture
def suite(tmp_path):
    (tmp_path / "library" / "toy").mkdir(parents=True)
    (tmp_path / "library" / "toy" / "__init__.py").write_text("from .numbers_ import double\n")
    (tmp_path / "library" / "toy" / "numbers_.py").write_text(SOURCE)
    for folder, text in (("tests", TESTS), ("conformance", "")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "test_numbers_.py").write_text(text)
    return Suite(tmp_path / "library" / "toy", tmp_path)


def bug(right, wrong):
    line = 1 + SOURCE[: SOURCE.index(right)].count("\n")
    return Bug("numbers_.py", "by hand", line, right, wrong)


def test_a_bug_is_noticed_by_its_test_and_one_that_changes_nothing_lives(suite):
    bugs = [
        bug("    return x + x\n", "    return x - x\n"),
        bug("    unused = 1\n", "    unused = 2\n"),
        bug("    unused = 1\n", "    while True: pass\n"),
    ]
    reported, console = [], Console(file=io.StringIO())
    command = ("tests/test_numbers_.py",)
    suite.near = lambda module: (command,)
    found = hunt(suite, bugs[:2], "near", 2, console, reported.append)
    assert [(one.bug, one.outcome) for one in found] == [(bugs[0], "noticed"), (bugs[1], "lived")]
    assert found[0].by == "tests/test_numbers_.py::test_double"
    assert len(reported) == 2
    assert suite.usual[command] > 0.0
    suite.usual[command] = -1.6  # so that the limit is two seconds
    assert suite.try_out(bugs[2], (command,)).outcome == "hung"


def test_tests_that_fail_without_a_bug_end_the_hunt(suite):
    (suite.root / "tests" / "test_numbers_.py").write_text("def test(): assert False\n")
    with pytest.raises(SystemExit, match="test fails without a bug"):
        hunt(suite, [bug("    unused = 1\n", "")], "near", 1, Console(file=io.StringIO()), print)


def test_tests_near_a_module_name_it_and_wide_is_every_test_on_numpy():
    suite = Suite(Path(portable_rnn.__file__).parent)
    near, wide = (stage("memory.py") for stage in (suite.near, suite.wide))
    assert near[0] == ("tests/test_memory.py",)
    assert "conformance/test_memory_budget.py" not in near[0]
    assert suite.near("training/loop.py")[0] == ("tests/test_training.py",)
    assert "tests/test_resume.py" in suite.near("training/loop.py")[1]
    assert wide == suite.wide("_calls/valid_steps.py")
    tests, rows = wide
    assert {"tests/test_api.py", "tests/test_memory.py"} <= set(tests)
    assert "tests/test_documents.py" not in tests
    assert "conformance/test_gradients.py" in rows
    assert rows[-1] == "--backend=numpy"


def test_bugs_are_drawn_alike_by_one_seed_and_leave_words_alone():
    sources = {"numbers_.py": SOURCE}
    every = draw(sources, 1000, 0)
    assert draw(sources, 5, 1) == draw(sources, 5, 1) != draw(sources, 5, 2)
    assert len(every) == len({(one.line, one.wrong) for one in every})
    for one in every:
        wrong = plant(one, SOURCE)
        assert ast.dump(ast.parse(wrong)) != ast.dump(ast.parse(SOURCE))
        assert '"""Return twice ``x``."""' in wrong
        assert ast.get_docstring(ast.parse(wrong)) == "Toy."
        assert "expected 0 or more, got" in wrong or one.kind == "statement lost"
    kinds = {one.kind for one in every}
    assert {"another operator", "boundary", "condition", "off by one", "statement lost"} <= kinds


def test_a_bug_is_planted_where_its_lines_are_nearest():
    one = Bug("m.py", "", 4, "a\n", "b\n")
    assert plant(one, "a\nx\nx\nx\na\n") == "a\nx\nx\nx\nb\n"
    with pytest.raises(ValueError, match="no longer there"):
        plant(one, "x\n")
    assert one.diff == "- a\n+ b"
