"""What all tests run on, unless they say otherwise."""

import os

import pytest

# The executor for NumPy's arrays, unless the environment says which; before the library reads it.
os.environ.setdefault("PORTABLE_RNN_EXECUTOR", "eager")


@pytest.fixture(autouse=True, scope="session")
def time_is_cut():
    """Cut time as for larger networks: of the tests' small ones, a chunk has thousands of rows."""
    from portable_rnn._engine import chunks

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "NUMBERS", 0)
        yield
