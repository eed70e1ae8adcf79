"""The page's recipes for sktime and skorch, with these libraries."""

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="not run: scikit-learn is not installed")

pytestmark = pytest.mark.no_products

PAGE = Path(__file__).parent.parent / "docs" / "howto" / "sklearn.md"


def recipe(library):
    """Run the block of the page that is marked with the name of a library."""
    pytest.importorskip(library, reason=f"not run: {library} is not installed")
    text = PAGE.read_text(encoding="utf-8")
    (source,) = re.findall(rf"<!-- {library} -->\n```py\n(.*?)```", text, re.DOTALL)
    names = {}
    exec(compile(source, str(PAGE), "exec"), names)
    return names


@pytest.mark.filterwarnings("ignore")  # of sktime's own plans
def test_sktime_forecasts_by_a_regressor():
    forecast = np.ravel(recipe("sktime")["forecast"])
    np.testing.assert_allclose(forecast, 10.0 + np.sin(0.3 * np.arange(200, 210)), atol=0.1)


@pytest.mark.filterwarnings("ignore")  # of skorch's and torch's
def test_skorch_trains_a_network_as_a_module():
    pytest.importorskip("torch", reason="not run: torch is not installed")
    names = recipe("skorch")
    assert names["classifier"].score(names["X"], names["y"]) > 0.85
