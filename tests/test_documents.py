"""What README and CONTRIBUTING show is what happens."""

import re
from pathlib import Path

import numpy as np
import pytest
from conformance.backends import BACKENDS, with_support_table
from conformance.libraries import NumPy

ROOT = Path(__file__).parent.parent


def blocks(name, language):
    text = (ROOT / name).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def test_the_readme_trains(capsys):
    (source,) = blocks("README.md", "python")
    names = {}
    exec(compile(source, "README.md", "exec"), names)
    losses = [float(line.split()[-1]) for line in capsys.readouterr().out.splitlines()]
    assert len(losses) == 6
    assert losses[-1] < 0.02 * losses[0]
    assert isinstance(names["outputs"], np.ndarray)


def test_the_cell_of_the_guide_has_the_right_gradient():
    names = {}
    for source in blocks("CONTRIBUTING.md", "python"):
        exec(compile(source, "CONTRIBUTING.md", "exec"), names)
    assert names["gradient"].shape == (2,)  # the assertions ran for every parameter


def test_ci_runs_the_command_of_the_readme():
    _, command = blocks("README.md", "sh")
    assert command in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_the_table_of_arrays_is_that_of_the_suite():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert with_support_table(readme) == readme, "stale: run python -m conformance.backends"


def test_a_row_that_is_not_in_the_table_is_noticed(monkeypatch):
    monkeypatch.setitem(BACKENDS, "another", NumPy("another", proves="something else"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "`another`: something else" in with_support_table(readme)
    with pytest.raises(ValueError, match="expected a line <!-- rows"):
        with_support_table("no marks")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "conformance/README.md"])
def test_links_lead_somewhere(name):
    path = ROOT / name
    links = re.findall(r"\]\((?!https?://)([^)#]*)(#[^)]*)?\)", path.read_text(encoding="utf-8"))
    for target, anchor in links:
        found = path.parent / target if target else path
        assert found.exists(), target
        if anchor:
            headings = re.findall(r"^#+ (.*)$", found.read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor[1:] in {h.lower().replace(" ", "-") for h in headings}, anchor
