"""Settings and fixtures for all tests."""

import os
import sys
import zlib

import pytest
from conformance import cuda_on_host

# The executor for NumPy's arrays, unless the environment sets one; before the library reads it.
os.environ.setdefault("PORTABLE_RNN_EXECUTOR", "eager")


@pytest.fixture(autouse=True)
def jax_is_as_before():
    """Restore JAX's float64 setting, which a command may change, for later tests of the process."""
    before = "jax" in sys.modules and sys.modules["jax"].config.jax_enable_x64
    yield
    if "jax" in sys.modules and sys.modules["jax"].config.jax_enable_x64 != before:
        sys.modules["jax"].config.update("jax_enable_x64", before)


@pytest.fixture(scope="module")
def short_chunks():
    """Cut time every 384 rows, as for networks with hundreds of units, whatever the executor."""
    from portable_rnn._engine import chunks

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chunks, "NUMBERS", 0)
        yield


@pytest.fixture(scope="module")
def compiled_anew(tmp_path_factory):
    """Keep compiled code in a new folder, for the tests of one file."""
    from conformance.mutants import compiled_here

    from portable_rnn._executors import llvm_cache

    with pytest.MonkeyPatch.context() as patch:
        for name, value in compiled_here.ON.items():
            patch.setenv(name, value)
        patch.setenv(llvm_cache.FOLDER, str(tmp_path_factory.mktemp("code")))
        yield


@pytest.fixture
def emulated_memory():
    """Have the emulated device, if there is one, run in an order of the test; check its memory."""
    if not cuda_on_host.installed():
        yield
        return
    name = os.environ["PYTEST_CURRENT_TEST"].partition(" ")[0]
    cuda_on_host.device().host_seed(zlib.crc32(name.encode()))
    yield
    assert not cuda_on_host.memory_check()


@pytest.fixture(autouse=True, scope="session")
def time_is_cut():
    """Cut time as for larger networks: chunks of the small ones in tests have thousands of rows.

    With another executor, as in the second run of the session `tests`, time is cut as for users.
    """
    from portable_rnn._engine import chunks

    with pytest.MonkeyPatch.context() as patch:
        if os.environ["PORTABLE_RNN_EXECUTOR"] == "eager":
            patch.setattr(chunks, "NUMBERS", 0)
        yield
