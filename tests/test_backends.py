"""Libraries by name: a reason in one line if one cannot run."""

import sys
import types

import numpy as np
import pytest

from portable_rnn._arrays import libraries as backends
from portable_rnn._arrays.libraries import BackendUnavailable

pytestmark = pytest.mark.no_products


def test_numpy_is_available():
    found = backends.find("numpy")
    assert found.device_name == "cpu"


def test_unknown_names_and_devices_are_errors():
    with pytest.raises(ValueError, match="backend: expected 'numpy', 'cupy', 'torch' or 'jax'"):
        backends.find("tensorflow")
    with pytest.raises(ValueError, match="device: NumPy has only 'cpu', got 'cuda'"):
        backends.find("numpy", "cuda")


def test_a_library_that_is_not_installed_is_a_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)  # makes the import fail
    with pytest.raises(BackendUnavailable, match="cupy is not installed"):
        backends.find("cupy")


def test_cupy_without_a_device_is_a_reason_in_one_line(monkeypatch):
    class CUDARuntimeError(RuntimeError):
        pass

    def get_device_count():
        raise CUDARuntimeError("cudaErrorInsufficientDriver: too old\nfor this runtime")

    cuda = types.SimpleNamespace(
        is_available=lambda: False,
        runtime=types.SimpleNamespace(
            CUDARuntimeError=CUDARuntimeError, getDeviceCount=get_device_count
        ),
    )
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(cuda=cuda))
    with pytest.raises(BackendUnavailable) as caught:
        backends.find("cupy")
    assert str(caught.value) == "no CUDA device (cudaErrorInsufficientDriver: too old)"


def test_a_library_that_computes_wrongly_is_not_available(monkeypatch):
    broken = types.ModuleType("broken")
    vars(broken).update(vars(np), tanh=lambda a: a)
    monkeypatch.setattr(backends, "resolve_namespace", lambda xp: broken)
    with pytest.raises(BackendUnavailable, match=r"computes tanh\(2\) as 2"):
        backends.find("numpy")


def test_the_namespace_found_takes_a_device_where_the_module_does_not(monkeypatch):
    """As with CuPy: ``cupy.ones`` has no ``device``, the namespace of its arrays does."""

    class Bare(types.ModuleType):
        __version__ = "1"
        zeros = staticmethod(lambda shape: np.zeros(shape))

    monkeypatch.setitem(sys.modules, "numpy", Bare("bare"))
    found = backends.find("numpy")
    assert found.xp.ones(2, device=None).shape == (2,)
