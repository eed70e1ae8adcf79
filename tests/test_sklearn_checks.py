"""The checks that scikit-learn has for estimators, whole, and with arrays of other libraries."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("sklearn", reason="not run: scikit-learn is not installed")

from sklearn.utils.estimator_checks import check_estimator, estimator_checks_generator

from portable_rnn.sklearn import RNNClassifier, RNNForecaster, RNNRegressor

pytestmark = pytest.mark.no_products

# Those of the array API need an environment variable, which SciPy reads when it is imported.
ARRAYS = """
from unittest import SkipTest

from sklearn.utils.estimator_checks import estimator_checks_generator
from portable_rnn.sklearn import {name}

for estimator, check in estimator_checks_generator({name}(hidden_size=4, max_iter=3)):
    if "array_api" not in check.func.__name__:
        continue
    given = " ".join(map(str, check.keywords.values()))
    if "cupy" in given:  # its arrays are made on a device
        continue
    try:
        check(estimator)
        print("passed", check.func.__name__, given)
    except SkipTest as why:
        print("skipped", given, why)
"""


@pytest.mark.parametrize("estimator", [RNNClassifier(), RNNRegressor()], ids=repr)
def test_all_checks_of_scikit_learn_pass(estimator):
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    assert not [r for r in results if r["status"] not in ("passed", "skipped")]
    assert sum(r["status"] == "passed" for r in results) > 50
    skipped = {r["check_name"] for r in results if r["status"] == "skipped"}
    assert all("array_api" in name for name in skipped)


@pytest.mark.parametrize("name", ["RNNClassifier", "RNNRegressor"])
def test_checks_of_other_libraries_pass(name):
    libraries = [pytest.importorskip(library) for library in ("torch", "array_api_strict")]
    ended = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", ARRAYS.format(name=name)],
        capture_output=True,
        text=True,
        env=os.environ | {"SCIPY_ARRAY_API": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert ended.returncode == 0, ended.stderr
    passed = [line for line in ended.stdout.splitlines() if line.startswith("passed")]
    for library in libraries:
        assert sum(library.__name__ in line for line in passed) >= 2, ended.stdout


def test_checks_do_not_apply_to_series_of_any_length():
    with pytest.warns(match="Can't test estimator RNNForecaster"):
        assert len(list(estimator_checks_generator(RNNForecaster()))) == 1  # that it can be cloned
