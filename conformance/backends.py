"""Whose arrays the suite runs on: one row per backend.

The single source for the fixtures, the nox sessions, the reasons of what does not run, and the
README's table. Importing this module imports no array library; `Backend.probe` does, and uses
the device for real.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["BACKENDS", "Backend", "Custom", "Unavailable", "by_environment"]


class Unavailable(Exception):
    """A backend cannot run here; the message is the reason."""


@dataclass(frozen=True)
class Backend:
    """One library on one device in one layout, as NumPy arrays would have it done.

    Attributes
    ----------
    id : str
    library : str
        The module to import.
    environment : str
        The nox session that runs the row, each with packages of its own.
    packages : tuple of str
        What that session installs.
    dtypes : tuple of str
        The floating types the suite runs in.
    few_shapes : bool
        Whether every new shape takes long, so that fewer problems are tried.
    one_piece : bool
        Whether time cannot be cut, for the library sees the whole sequence as one computation.
    variant : bool
        Whether the row is another layout, device or setting of a library that has a row with
        all problems, so that the pairs of options are left to that one.
    shapes_only : bool
        Whether arrays have no values, so that only shapes, dtypes and devices are checked.
    gpu : bool
        Whether the row needs a CUDA device.
    proves : str
        What the row shows that others do not; for the README's table.
    """

    id: str
    library: str = "numpy"
    environment: str = "numpy"
    packages: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ("float64", "float32")
    few_shapes: bool = False
    one_piece: bool = False
    variant: bool = False
    shapes_only: bool = False
    gpu: bool = False
    proves: str = ""

    @property
    def xp(self) -> Any:
        """The namespace to make arrays with."""
        return import_module(self.library)

    def put(self, array: Any) -> Any:
        """Move a NumPy array to this backend."""
        return self.xp.asarray(array)

    def get(self, array: Any) -> Any:
        """Copy an array of this backend to NumPy."""
        import numpy as np

        return np.array(array)

    def call(self, function: Callable[..., Any], static: Any, *arrays: Any) -> Any:
        """Return ``function(static, *arrays)``, compiled if this backend does that."""
        return function(static, *arrays)

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Hold for the duration of one test."""
        yield

    def available(self) -> None:
        """Raise Unavailable if the library is here and its device is not."""

    def device(self) -> str:
        """Name the device for the report."""
        return "cpu"

    def version(self) -> str:
        """Return the version of the library."""
        package = self.library.split(".")[0].replace("_", "-")
        try:
            return version(package)
        except PackageNotFoundError:
            return str(getattr(sys.modules.get(self.library), "__version__", ""))

    def environ(self, bin_folder: str) -> list[tuple[str, str]]:
        """Return what the environment must hold before Python starts."""
        return []

    def probe(self) -> None:
        """Use the device for real, or raise Unavailable with the reason."""
        import numpy as np

        try:
            xp = self.xp
        except ImportError as error:
            raise Unavailable(f"{self.library} is not installed ({_line(error)})") from error
        self.available()
        # A library may import and still lack a driver, a compiler or a dtype.
        dtype = self.dtypes[0]
        try:
            with self.session():
                a = self.put(np.asarray([[1.0, 2.0], [3.0, 4.0]], dtype=dtype))
                got = self.get(xp.tanh(xp.matmul(a, a)))
        except Exception as error:
            raise Unavailable(f"{type(error).__name__}: {_line(error)}") from error
        want = np.tanh(np.asarray([[7.0, 10.0], [15.0, 22.0]]))
        if got.dtype != dtype or not (self.shapes_only or np.allclose(got, want, rtol=1e-6)):
            raise Unavailable(f"tanh(a·a) gave {got} of {got.dtype}")


# ----------------------------------------------------------------------------- NumPy


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
    layout: Callable[[Any], Any] = as_is

    def put(self, array):
        return self.layout(array)


# ------------------------------------------------------------------ array-api-strict


@dataclass(frozen=True)
class Strict(Backend):
    library: str = "array_api_strict"
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


# ----------------------------------------------------------------------------- torch


@dataclass(frozen=True)
class Torch(Backend):
    library: str = "torch"
    environment: str = "torch"
    packages: tuple[str, ...] = ("torch==2.13.0",)
    on: str = "cpu"

    def available(self):
        if self.on == "cuda" and not self.xp.cuda.is_available():
            raise Unavailable("no CUDA device")

    def put(self, array):
        # A copy: torch would share NumPy's memory, and hide a write into it.
        return self.xp.asarray(array.copy(), device=self.on)

    def get(self, array):
        if self.on == "meta":
            import numpy as np

            return np.empty(tuple(array.shape), dtype=str(array.dtype).removeprefix("torch."))
        return array.numpy(force=True).copy()

    def device(self):
        return self.xp.cuda.get_device_name() if self.on == "cuda" else self.on


# ------------------------------------------------------------------------------- JAX


@dataclass(frozen=True)
class Jax(Backend):
    library: str = "jax.numpy"
    environment: str = "jax"
    packages: tuple[str, ...] = ("jax>=0.6",)
    few_shapes: bool = True
    one_piece: bool = True
    jit: bool = False
    x64: bool = True

    def call(self, function, static, *arrays):
        return (_jitted(function) if self.jit else function)(static, *arrays)

    @contextlib.contextmanager
    def session(self):
        jax = import_module("jax")
        with jax.enable_x64(self.x64), jax.default_matmul_precision("highest"):
            yield

    def device(self):
        return str(import_module("jax").devices()[0])


@lru_cache
def _jitted(function):
    return import_module("jax").jit(function, static_argnums=0)


# ------------------------------------------------------------------------------ lazy


@dataclass(frozen=True)
class Dask(Backend):
    """Two chunks along the batch; a compute inside the call is an error."""

    library: str = "dask.array"
    environment: str = "dask"
    packages: tuple[str, ...] = ("dask[array]>=2025.1",)
    few_shapes: bool = True
    one_piece: bool = True

    def put(self, array):
        halves = tuple(
            (size - size // 2, size // 2) if axis == 1 and array.ndim == 3 and size > 1 else size
            for axis, size in enumerate(array.shape)
        )
        return self.xp.from_array(array, chunks=halves)

    def get(self, array):
        return super().get(array.compute(scheduler="synchronous"))

    def call(self, function, static, *arrays):
        def refuse(*args, **kwargs):
            raise AssertionError("a value was computed inside the call")

        with import_module("dask").config.set(scheduler=refuse):
            return function(static, *arrays)


@dataclass(frozen=True)
class Ndonnx(Backend):
    """Traced into an ONNX graph without values, which onnxruntime then runs."""

    library: str = "ndonnx"
    environment: str = "ndonnx"
    packages: tuple[str, ...] = ("ndonnx>=0.17", "onnxruntime>=1.20")
    few_shapes: bool = True
    one_piece: bool = True

    def get(self, array):
        return array.unwrap_numpy().copy()

    def call(self, function, static, *arrays):
        leaves: dict[str, Any] = {}

        def argument(array):
            name = f"in{len(leaves)}"
            leaves[name] = array
            return self.xp.argument(shape=tuple(array.shape), dtype=array.dtype)

        arguments = tuple(_mapped(argument, tree) for tree in arrays)
        found = function(static, *arguments)
        names = {f"in{i}": a for i, a in enumerate(_flat(arguments))}
        outputs = {f"out{i}": a for i, a in enumerate(found.values())}
        graph = self.xp.build(names, outputs)
        feeds = {name: array.unwrap_numpy() for name, array in leaves.items()}
        run = import_module("onnxruntime").InferenceSession(graph.SerializeToString()).run
        used = {node.name for node in graph.graph.input}
        results = run(list(outputs), {k: v for k, v in feeds.items() if k in used})
        return dict(zip(found, map(self.xp.asarray, results), strict=True))


def _mapped(f, tree):
    if tree is None:
        return None
    if isinstance(tree, dict):
        return {name: _mapped(f, value) for name, value in tree.items()}
    if isinstance(tree, tuple):
        parts = [_mapped(f, value) for value in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return f(tree)


def _flat(tree):
    found: list[Any] = []
    _mapped(found.append, tree)
    return found


# ---------------------------------------------------------------------------- others


@dataclass(frozen=True)
class Dpnp(Backend):
    library: str = "dpnp"
    environment: str = "dpnp"
    packages: tuple[str, ...] = ("dpnp>=0.18",)

    def environ(self, bin_folder):
        # Its OpenCL driver for CPUs comes in the wheel, and is found by name only.
        lib = os.path.join(os.path.dirname(bin_folder), "lib")
        driver = os.path.join(lib, "libintelocl.so")
        return [("OCL_ICD_FILENAMES", driver), ("LD_LIBRARY_PATH", lib)]

    def get(self, array):
        return array.asnumpy().copy()

    def device(self):
        return str(self.xp.ones(1).sycl_device.name)


@dataclass(frozen=True)
class Mlx(Backend):
    """MLX is not quite the standard: the adapter drops ``device=`` and the like."""

    library: str = "mlx.core"
    environment: str = "mlx"
    packages: tuple[str, ...] = ("mlx[cpu]>=0.25",)
    dtypes: tuple[str, ...] = ("float32",)

    def put(self, array):
        return self.xp.array(array)

    @contextlib.contextmanager
    def session(self):
        from portable_rnn import use_namespace

        from .mlx_adapter import adapter

        with use_namespace(adapter()):
            yield


@dataclass(frozen=True)
class CuPy(Backend):
    library: str = "cupy"
    environment: str = "cupy"
    packages: tuple[str, ...] = ("cupy-cuda13x[ctk]>=14.0.1,!=14.1.0",)
    gpu: bool = True
    on_stream: bool = False

    def available(self):
        if not self.xp.cuda.is_available():
            raise Unavailable("no CUDA device")

    def get(self, array):
        return array.get()

    @contextlib.contextmanager
    def session(self):
        if not self.on_stream:
            yield
            return
        with self.xp.cuda.Stream(non_blocking=True) as stream:
            yield
            stream.synchronize()

    def device(self):
        number = self.xp.cuda.Device().id
        return self.xp.cuda.runtime.getDeviceProperties(number)["name"].decode()

    def version(self):
        return self.xp.__version__


@dataclass(frozen=True)
class Custom(Backend):
    """Any module, by its import name; it must make arrays with ``asarray``."""

    environment: str = "custom"

    def put(self, array):
        return self.xp.asarray(array)

    def get(self, array):
        import numpy as np

        for way in ("numpy", "get", "asnumpy", "compute"):
            if hasattr(array, way):
                return np.array(getattr(array, way)())
        try:
            return np.array(array)
        except (TypeError, ValueError):
            return np.array(np.from_dlpack(array))

    @contextlib.contextmanager
    def session(self):
        # The module under test, whatever namespace its arrays would name as their own.
        from portable_rnn import use_namespace

        with use_namespace(self.xp):
            yield

    def device(self):
        return str(getattr(self.xp.asarray([0.0]), "device", ""))


HALF = ("float64", "float32", "float16")

BACKENDS = {
    row.id: row
    for row in (
        NumPy("numpy", dtypes=HALF, proves="the reference implementation's arrays"),
        NumPy(
            "numpy-readonly",
            variant=True,
            layout=readonly,
            proves="nothing is written to what is given",
        ),
        NumPy("numpy-strided", variant=True, layout=strided, proves="any memory layout will do"),
        Strict("array-api-strict", variant=True, proves="only the standard is called"),
        Strict("array-api-strict-device1", on="device1", proves="results stay on the device"),
        Strict(
            "array-api-strict-no_float64",
            on="no_float64",
            variant=True,
            dtypes=("float32",),
            proves="no float64 on the way",
        ),
        Strict(
            "array-api-strict-no_x64",
            on="no_x64",
            variant=True,
            dtypes=("float32",),
            proves="no 64-bit type on the way",
        ),
        Strict(
            "array-api-strict-2022.12",
            variant=True,
            flags={"api_version": "2022.12", "enabled_extensions": ()},
            proves="the oldest standard supported, without extensions",
        ),
        Torch("torch", dtypes=HALF, proves="another library's own arithmetic"),
        Torch(
            "torch-meta", on="meta", shapes_only=True, proves="no value is needed, no host constant"
        ),
        Torch("torch-cuda", environment="torch-cuda", on="cuda", gpu=True, proves="torch on a GPU"),
        Jax("jax", proves="arrays that cannot be written to"),
        Jax("jax-jit", jit=True, proves="traced and compiled, time by lax.scan"),
        Jax("jax-x32", dtypes=("float32",), x64=False, proves="JAX as it comes, without 64 bits"),
        Dask("dask", proves="lazy in two chunks, no compute inside a call"),
        Ndonnx("ndonnx", proves="traced into ONNX, run by onnxruntime"),
        Dpnp("dpnp", proves="SYCL, the nearest relative of CuPy on a CPU"),
        Mlx("mlx", proves="a library that needs an adapter"),
        Backend(
            "cupynumeric",
            "cupynumeric",
            "cupynumeric",
            gpu=True,
            proves="distributed arrays; needs libcuda even to import",
        ),
        CuPy("cupy", proves="a CUDA GPU, on the default stream"),
        CuPy("cupy-stream", on_stream=True, proves="a CUDA GPU, on a stream of the caller's"),
    )
}


def by_environment() -> dict[str, list[Backend]]:
    """Return the rows of each nox session."""
    grouped: dict[str, list[Backend]] = {}
    for row in BACKENDS.values():
        grouped.setdefault(row.environment, []).append(row)
    return grouped


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
