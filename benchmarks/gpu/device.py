"""Stage: the device, its driver, and what CuPy says of it."""

import shutil
import subprocess
from typing import Any

from .settings import NotAvailable, Save, Settings

__all__ = ["run"]

PROPERTIES = (
    *("major", "minor", "multiProcessorCount", "totalGlobalMem", "clockRate", "l2CacheSize"),
    *("sharedMemPerBlockOptin", "sharedMemPerMultiprocessor", "regsPerMultiprocessor"),
    *("cooperativeLaunch", "maxThreadsPerMultiProcessor"),
)
ASKED = ("name", "driver_version", "clocks.max.sm", "clocks.sm", "power.limit", "pstate")


def run(settings: Settings, save: Save) -> dict[str, Any]:
    """Return name, versions and properties of the current device."""
    try:
        import cupy as cp
    except ImportError as error:
        raise NotAvailable(f"cupy cannot be imported: {error}") from None
    if not cp.cuda.is_available():
        raise NotAvailable(_why_not(cp))
    runtime = cp.cuda.runtime
    try:
        right = float(cp.tanh(cp.ones(3)).sum())  # a driver may be there, and not work
    except Exception as error:
        raise NotAvailable(f"{type(error).__name__}: {error}") from None
    properties = runtime.getDeviceProperties(cp.cuda.Device().id)
    return {
        "name": properties["name"].decode(),
        "count": runtime.getDeviceCount(),
        "driver": runtime.driverGetVersion(),
        "runtime": runtime.runtimeGetVersion(),
        "nvidia_smi": nvidia_smi(),
        "properties": {name: properties.get(name) for name in PROPERTIES},
        "problems": [] if abs(right - 2.2847824) < 1e-6 else [f"3·tanh(1) is {right}"],
    }


def _why_not(cp: Any) -> str:
    try:
        cp.cuda.runtime.getDeviceCount()
    except Exception as error:
        return str(error)
    return "cupy.cuda.is_available() is False"


def nvidia_smi() -> dict[str, str]:
    """Return what the tool of the driver says; {} if it is not there."""
    if shutil.which("nvidia-smi") is None:
        return {}
    command = ["nvidia-smi", f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    values = done.stdout.splitlines()[0].split(", ") if done.stdout else []
    return dict(zip(ASKED, values, strict=False))
