"""The libraries that compute eagerly: how each converts arrays from NumPy and back."""

import contextlib
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from .backend import Backend, Unavailable, host_dtype

__all__ = [
    "AnyBlas",
    "Custom",
    "Dpnp",
    "Mlx",
    "NumPy",
    "Strict",
    "Torch",
    "readonly",
    "strided",
]


def as_is(array: Any) -> Any:
    """Leave the layout as it is."""
    return array


def readonly(array: Any) -> Any:
    """Return a copy into which any write raises."""
    array = array.copy()
    array.flags.writeable = False
    return array


def strided(array: Any) -> Any:
    """Return a view, neither C- nor Fortran-contiguous, with NaN (or 99) between the values."""
    import numpy as np

    between = np.nan if array.dtype.kind == "f" else 99
    wide = np.full((2, *array.shape), between, dtype=array.dtype, order="F")
    wide[0, ...] = array
    return wide[0, ...]


@dataclass(frozen=True)
class NumPy(Backend):
    title: str = "NumPy"
    layout: Callable[[Any], Any] = as_is
    executor: str = "eager"

    def put(self, array):
        return self.layout(array)

    def available(self):
        from portable_rnn import RNN, executors

        if self.executor == "auto":
            with executors.use("auto"):
                how, _, reason = executors.explain(RNN(1, 1)).partition(": ")
            if how != "compiled":
                raise Unavailable(reason)

    @contextlib.contextmanager
    def session(self):
        from portable_rnn import executors

        warned = logging.Handler(logging.WARNING)
        said: list[str] = []
        warned.emit = lambda record: said.append(record.getMessage())  # type: ignore[method-assign]
        logger = logging.getLogger("portable_rnn")
        logger.addHandler(warned)
        try:
            with executors.use(self.executor):
                yield
        finally:
            logger.removeHandler(warned)
        assert not said, said  # such as a warning that nothing was compiled


@dataclass(frozen=True)
class AnyBlas(NumPy):
    @contextlib.contextmanager
    def session(self):
        from .any_blas import in_place_of_numpys

        with super().session(), in_place_of_numpys():
            yield


@dataclass(frozen=True)
class Strict(Backend):
    library: str = "array_api_strict"
    title: str = "array-api-strict"
    environment: str = "array-api-strict"
    packages: tuple[str, ...] = ("array-api-strict>=2.4",)
    on: str = "CPU_DEVICE"
    flags: dict[str, Any] = field(default_factory=dict, hash=False)

    def put(self, array):
        # The devices without 64-bit types have no int64 for labels either.
        if self.on == "no_x64" and array.dtype.kind == "i":
            array = array.astype("int32")
        return self.xp.asarray(array, device=self.xp.Device(self.on))

    def get(self, array):
        cpu = self.xp.Device("CPU_DEVICE")
        return super().get(self.xp.asarray(array, device=cpu, copy=True))

    def device(self):
        return self.on

    @contextlib.contextmanager
    def session(self):
        with self.xp.ArrayAPIStrictFlags(**self.flags) if self.flags else contextlib.nullcontext():
            yield


@dataclass(frozen=True)
class Torch(Backend):
    library: str = "torch"
    title: str = "PyTorch tensors"
    environment: str = "torch"
    packages: tuple[str, ...] = ("torch==2.13.0", "ml-dtypes>=0.5")
    on: str = "cpu"

    def available(self):
        if self.on == "cuda" and not self.xp.cuda.is_available():
            raise Unavailable("no CUDA device")

    def put(self, array):
        if array.dtype.name == "bfloat16":  # torch does not know NumPy's
            array, dtype = array.astype("float32"), self.xp.bfloat16
            return self.xp.asarray(array, dtype=dtype, device=self.on)
        # A copy: torch would share NumPy's memory, and hide a write into it.
        return self.xp.asarray(array.copy(), device=self.on)

    def get(self, array):
        dtype = str(array.dtype).removeprefix("torch.")
        if self.on == "meta":
            import numpy as np

            # Not uninitialised memory, which may hold values that NumPy warns of.
            nan = np.nan if np.dtype(dtype).kind in "fcV" else 0
            return np.full(tuple(array.shape), nan, dtype=dtype)
        if dtype == "bfloat16":
            return array.float().numpy(force=True).astype(host_dtype(dtype))
        return array.numpy(force=True).copy()

    def device(self):
        return self.xp.cuda.get_device_name() if self.on == "cuda" else self.on


@dataclass(frozen=True)
class Dpnp(Backend):
    library: str = "dpnp"
    title: str = "dpnp"
    environment: str = "dpnp"
    packages: tuple[str, ...] = ("dpnp>=0.18",)
    slow: bool = True

    def environ(self, bin_folder):
        # Its OpenCL driver for CPUs comes in the wheel, and is only found by name.
        lib = os.path.join(os.path.dirname(bin_folder), "lib")
        driver = os.path.join(lib, "libintelocl.so")
        if not os.path.exists(driver):
            return []  # not from the wheel: the caller's environment has to provide it
        return [("OCL_ICD_FILENAMES", driver), ("LD_LIBRARY_PATH", lib)]

    def get(self, array):
        return array.asnumpy().copy()

    def device(self):
        return str(self.xp.ones(1).sycl_device.name)


@dataclass(frozen=True)
class Mlx(Backend):
    """MLX is not quite the standard: the adapter drops ``device=`` and the like."""

    library: str = "mlx.core"
    title: str = "MLX, through [an adapter](conformance/mlx_adapter.py)"
    environment: str = "mlx"
    packages: tuple[str, ...] = ("mlx[cpu]>=0.25", "ml-dtypes>=0.5")
    dtypes: tuple[str, ...] = ("float32", "float16", "bfloat16")

    def put(self, array):
        if array.dtype.name == "bfloat16":
            return self.xp.array(array.astype("float32")).astype(self.xp.bfloat16)
        return self.xp.array(array)

    def get(self, array):
        import numpy as np

        if array.dtype == self.xp.bfloat16:
            return np.array(array.astype(self.xp.float32)).astype(host_dtype("bfloat16"))
        return np.array(array)

    def namespace(self, array):
        from .mlx_adapter import adapter

        return adapter()

    @contextlib.contextmanager
    def session(self):
        from portable_rnn import use_namespace

        with use_namespace(self.namespace(None)):
            yield


@dataclass(frozen=True)
class Custom(Backend):
    """Any module, by its import name; it must make arrays with ``asarray``."""

    environment: str = "custom"

    def get(self, array):
        import numpy as np

        for way in ("numpy", "get", "asnumpy", "compute"):
            if hasattr(array, way):
                return np.array(getattr(array, way)())
        try:
            return np.array(array)
        except (TypeError, ValueError):
            return np.array(np.from_dlpack(array))

    def namespace(self, array):
        return self.xp

    @contextlib.contextmanager
    def session(self):
        # The module under test, whichever namespace its arrays report.
        from portable_rnn import use_namespace

        with use_namespace(self.xp):
            yield

    def device(self):
        return str(getattr(self.xp.asarray([0.0]), "device", ""))
