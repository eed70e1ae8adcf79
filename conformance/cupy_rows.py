"""CuPy: on a GPU, on a machine that has none, and on an emulated device."""

import contextlib
import ctypes
import os
import zlib
from dataclasses import dataclass

from . import cuda_on_host
from .backend import Backend, Unavailable

__all__ = ["CuPy", "CuPyOnHost", "CuPyWithoutDevice"]


@dataclass(frozen=True)
class CuPy(Backend):
    library: str = "cupy"
    title: str = "CuPy on a CUDA GPU"
    environment: str = "cupy"
    packages: tuple[str, ...] = ("cupy-cuda13x[ctk]>=14.0.1,!=14.1.0",)
    gpu: bool = True
    on_stream: bool = False
    executor: str = "eager"

    def available(self):
        if cuda_on_host.installed() or not self.xp.cuda.is_available():
            raise Unavailable("no CUDA device")

    def takes(self, model, dtype):
        from portable_rnn import executors

        with executors.use(self.executor):
            return not executors.explain(model, dtype, xp=self.xp).startswith("refused")

    def get(self, array):
        return array.get()

    @contextlib.contextmanager
    def session(self):
        from portable_rnn import executors

        with contextlib.ExitStack() as stack:
            stack.enter_context(executors.use(self.executor))
            if self.on_stream:
                stream = stack.enter_context(self.xp.cuda.Stream(non_blocking=True))
                stack.callback(stream.synchronize)
            yield

    def device(self):
        number = self.xp.cuda.Device().id
        return self.xp.cuda.runtime.getDeviceProperties(number)["name"].decode()

    def version(self):
        return self.xp.__version__


@dataclass(frozen=True)
class CuPyWithoutDevice(CuPy):
    """CuPy as on a laptop: its wheel is installed, and there is no GPU (test_no_device.py)."""

    environment: str = "cupy-no-device"
    packages: tuple[str, ...] = ("cupy-cuda13x>=14.0.1,!=14.1.0",)
    dtypes: tuple[str, ...] = ()
    gpu: bool = False

    def available(self):
        pass  # the tests hide all devices

    def device(self):
        return "no device"


@dataclass(frozen=True)
class CuPyOnHost(CuPy):
    """CuPy's own host code and kernels, executed on the CPU; see ``cuda_on_host/``.

    Attributes
    ----------
    on : int
        The device of the arrays; device 0 is the current one.
    lazy : bool
        Whether what is enqueued runs only when something waits for it.
    pool : bool
        Whether CuPy keeps freed memory. Without, an array that is gone is NaN.
    strided : bool
        Whether arrays are views, neither C- nor Fortran-contiguous, with NaN between the values.
    """

    title: str = "CuPy's host code and kernels, executed on the CPU"
    environment: str = "cupy-host"
    packages: tuple[str, ...] = ("cupy-cuda13x>=14.0.1,!=14.1.0",)
    gpu: bool = False
    on: int = 0
    lazy: bool = True
    pool: bool = True
    strided: bool = False

    def prepare(self, *, named):
        # CuPy runs on one or the other in a process.
        if named or not _has_driver():
            with contextlib.suppress(cuda_on_host.Unavailable):
                cuda_on_host.install(devices=2)

    def available(self):
        if not cuda_on_host.installed():
            raise Unavailable(cuda_on_host.why_not() or "there is a CUDA device: name this row")

    def put(self, array):
        with self.device_context():
            found = super().put(array)
            if self.strided:
                between = self.xp.nan if found.dtype.kind in "fV" else found.dtype.kind != "b"
                wide = self.xp.full((2, *found.shape), between, dtype=found.dtype, order="F")
                wide[0, ...] = found
                found = wide[0, ...]
            return found

    def device_context(self):
        return self.xp.cuda.Device(self.on)

    @contextlib.contextmanager
    def session(self):
        allocator = self.xp.cuda.get_allocator()
        if not self.pool:
            self.xp.cuda.set_allocator(None)
        try:
            name = os.environ.get("PYTEST_CURRENT_TEST", "").partition(" ")[0]
            cuda_on_host.device().host_seed(zlib.crc32(name.encode()))
            with cuda_on_host.settings(lazy=self.lazy), super().session():
                yield
        finally:
            self.xp.cuda.set_allocator(allocator)

    def _compute(self, xp):
        with self.device_context():
            super()._compute(xp)

    def device(self):
        return "this CPU, emulating one"


def _has_driver() -> bool:
    """Return whether there is a CUDA driver."""
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return not cuda_on_host.installed()
