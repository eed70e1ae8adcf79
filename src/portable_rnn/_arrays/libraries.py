"""Find array libraries by name, for the command line, and check that they compute.

The library itself needs none of this; it works on whatever arrays it is given.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import checks as check
from .namespace import DTYPES, Namespace, resolve_namespace

__all__ = ["BACKENDS", "Available", "BackendUnavailable", "find"]


class BackendUnavailable(RuntimeError):
    """A library is not installed or cannot compute on its device; says why in one line."""


@dataclass(frozen=True)
class Available:
    """A library that was found to compute on a device."""

    xp: Namespace
    device: Any
    version: str
    device_name: str


def find(name: str, device: str | None = None, dtype: str = "float32") -> Available:
    """Import a library and try a computation on its device.

    Parameters
    ----------
    name : {"numpy", "cupy", "torch", "jax"}
    device : str, optional
        In the library's own notation: "cuda:1" for torch, "1" for CuPy, "cpu:0" for JAX.
    dtype : str
        The dtype that will be used; float64 is enabled in JAX.

    Returns
    -------
    Available

    Raises
    ------
    TypeError, ValueError
        If there is no backend, device or dtype of that name.
    BackendUnavailable
        If the library is not installed, or the device cannot compute.
    """
    name = check.choice("backend", name, BACKENDS)
    check.choice("dtype", dtype, DTYPES)
    if device is not None and not isinstance(device, str):
        raise TypeError(f"device: expected a text or None, got {check.said(device)}")
    try:
        module = importlib.import_module(name)
    except ImportError as error:
        package = "cupy-cuda12x[ctk]' or 'cupy-cuda13x[ctk]" if name == "cupy" else name
        raise BackendUnavailable(
            f"{name} is not installed ({_first_line(error)}): pip install '{package}'"
        ) from None
    found = BACKENDS[name](module, device, dtype)
    try:
        # Not the module itself: cupy.ones and similar functions have no `device`.
        found = replace(found, xp=resolve_namespace(found.xp))
        # Kernels and BLAS load lazily: only a real product shows that the device works.
        a = found.xp.ones((2, 2), dtype=getattr(found.xp, dtype), device=found.device)
        value = float(found.xp.tanh(found.xp.matmul(a, a))[0, 0])
    except Exception as error:
        raise BackendUnavailable(
            f"{found.device_name} does not compute: {_first_line(error)}"
        ) from error
    if abs(value - np.tanh(2.0)) > 1e-2:
        raise BackendUnavailable(f"{found.device_name} computes tanh(2) as {value}")
    return found


def _numpy(module: Any, device: str | None, dtype: str) -> Available:
    if device not in (None, "cpu"):
        raise ValueError(f"device: NumPy has only 'cpu', got {check.said(device)}")
    return Available(module, None, module.__version__, "cpu")


def _cupy(module: Any, device: str | None, dtype: str) -> Available:
    if not module.cuda.is_available():
        try:
            module.cuda.runtime.getDeviceCount()
            reason = "no CUDA device"
        except module.cuda.runtime.CUDARuntimeError as error:
            reason = f"no CUDA device ({_first_line(error)})"
        raise BackendUnavailable(reason)
    number = (device or "0").removeprefix("cuda:")
    count = module.cuda.runtime.getDeviceCount()
    if not number.isdigit() or int(number) >= count:
        raise ValueError(
            f"device: expected a CUDA device from 0 to {count - 1}, got {check.said(device)}"
        )
    module.cuda.Device(int(number)).use()
    label = module.cuda.runtime.getDeviceProperties(int(number))["name"].decode()
    return Available(module, None, module.__version__, f"cuda:{number} ({label})")


def _torch(module: Any, device: str | None, dtype: str) -> Available:
    try:
        chosen = module.device(device or "cpu")
        module.zeros(1, device=chosen)
    except (RuntimeError, AssertionError) as error:
        raise BackendUnavailable(f"device {check.said(device)}: {_first_line(error)}") from None
    return Available(module, chosen, module.__version__, str(chosen))


def _jax(module: Any, device: str | None, dtype: str) -> Available:
    if dtype == "float64":
        module.config.update("jax_enable_x64", True)
    platform, _, number = (device or "").partition(":")
    try:
        devices = module.devices(platform or None)
        chosen = devices[int(number or 0)]
    except (RuntimeError, ValueError, IndexError) as error:
        raise BackendUnavailable(f"device {check.said(device)}: {_first_line(error)}") from None
    label = f"{chosen.platform}:{chosen.id}"
    return Available(module.numpy, chosen, module.__version__, label)


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


BACKENDS: dict[str, Callable[[Any, str | None, str], Available]] = {
    "numpy": _numpy,
    "cupy": _cupy,
    "torch": _torch,
    "jax": _jax,
}
