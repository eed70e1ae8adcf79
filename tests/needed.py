"""Libraries that tests compare with: skipped by name without them, unless all are required."""

import importlib
import os

import pytest


def need(name):
    """Return a library; skip the test, or the whole file, without it."""
    if os.environ.get("INTEROP_REQUIRED"):
        return importlib.import_module(name)
    return pytest.importorskip(name, reason=f"not run: {name} is not installed")
