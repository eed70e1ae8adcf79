"""Whose arrays the suite runs on: one row per backend, and how to tell whether it is here.

To try another library, add a row. A row that cannot run is reported as "not run", with its
reason; name it in the environment variable PORTABLE_RNN_REQUIRE (ids, separated by commas) to have
that be a failure.
"""

import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np

__all__ = ["BACKENDS", "Backend", "Unavailable", "required", "why_not"]


class Unavailable(Exception):
    """A backend cannot run here; the message is the reason."""


def as_is(array):
    return array


def readonly(array):
    """Any write into it raises."""
    array = array.copy()
    array.flags.writeable = False
    return array


def strided(array):
    """Neither C- nor Fortran-contiguous, with NaN (or 99) between the values."""
    between = np.nan if array.dtype.kind == "f" else 99
    wide = np.full((2, *array.shape), between, dtype=array.dtype, order="F")
    wide[0, ...] = array
    return wide[0, ...]


@dataclass(frozen=True)
class Backend:
    """One library on one device in one layout.

    Attributes
    ----------
    id : str
    library : str
        The module to import.
    device : str, optional
        The name of the device, for libraries that have to be told.
    layout : callable
        Applied to the NumPy array before it is moved.
    compiles : bool
        Whether every new shape takes long, so that fewer shapes are tried.
    jit : bool
        Whether the whole computation is compiled by XLA.
    """

    id: str
    library: str
    device: str | None = None
    layout: Callable[[Any], Any] = as_is
    compiles: bool = False
    jit: bool = False

    @property
    def xp(self) -> Any:
        module = import_module(self.library)
        if self.library == "jax.numpy":
            import_module("jax").config.update("jax_enable_x64", True)
            import_module("jax").config.update("jax_default_matmul_precision", "highest")
        return module

    def put(self, array: np.ndarray) -> Any:
        """Move a NumPy array to this backend."""
        if self.library == "numpy":
            return self.layout(array)
        device = {} if self.device is None else {"device": self.xp.Device(self.device)}
        return self.xp.asarray(array, **device)

    def get(self, array: Any) -> np.ndarray:
        """Copy an array of this backend to NumPy."""
        if self.library == "cupy":
            return array.get()
        if self.library == "array_api_strict":
            array = self.xp.asarray(array, device=self.xp.Device("CPU_DEVICE"), copy=True)
        if self.library == "torch":
            return array.numpy(force=True).copy()
        return np.array(array)

    def call(self, function: Callable[..., Any], static: Any, *arrays: Any) -> Any:
        """Return ``function(static, *arrays)``, compiled if this backend does that."""
        return (_jitted(function) if self.jit else function)(static, *arrays)

    def probe(self) -> None:
        """Use the device for real, or raise Unavailable."""
        try:
            xp = self.xp
        except ImportError as error:
            raise Unavailable(f"{self.library} is not installed ({error})") from error
        if self.library == "cupy" and not xp.cuda.is_available():
            raise Unavailable("cupy finds no CUDA device")
        # A library may import and still lack a driver, a compiler or a float64.
        try:
            a = self.put(np.asarray([[1.0, 2.0], [3.0, 4.0]]))
            got = self.get(xp.tanh(xp.matmul(a, a)))
        except Exception as error:
            raise Unavailable(f"{type(error).__name__}: {error}") from error
        want = np.tanh(np.asarray([[7.0, 10.0], [15.0, 22.0]]))
        if got.dtype != np.float64 or not np.allclose(got, want):
            raise Unavailable(f"tanh(a·a) gave {got}")


BACKENDS = {
    row.id: row
    for row in (
        Backend("numpy", "numpy"),
        Backend("numpy-readonly", "numpy", layout=readonly),
        Backend("numpy-strided", "numpy", layout=strided),
        Backend("array-api-strict", "array_api_strict", device="device1"),
        Backend("torch", "torch"),
        Backend("jax", "jax.numpy", compiles=True),
        Backend("jax-jit", "jax.numpy", compiles=True, jit=True),
        Backend("cupy", "cupy"),
    )
}


@lru_cache
def why_not(name: str) -> str | None:
    """Return the reason why a backend cannot run here, or None."""
    try:
        BACKENDS[name].probe()
    except Unavailable as reason:
        return str(reason)
    return None


def required(setting: str | None = None, known: Iterable[str] = BACKENDS) -> set[str]:
    """Return the ids in PORTABLE_RNN_REQUIRE, or raise ValueError if one is unknown."""
    if setting is None:
        setting = os.environ.get("PORTABLE_RNN_REQUIRE", "")
    names = {name.strip() for name in setting.split(",") if name.strip()}
    if unknown := names - set(known):
        raise ValueError(
            f"PORTABLE_RNN_REQUIRE: no backend {', '.join(sorted(unknown))}; "
            f"there are {', '.join(known)}"
        )
    return names


@lru_cache
def _jitted(function):
    return import_module("jax").jit(function, static_argnums=0)
