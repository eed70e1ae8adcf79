"""CuPy without a GPU: a CUDA driver, cuBLAS and NVRTC that run on the host, and count.

Call `install` before CuPy is imported. CuPy is the wheel as it is: its own Python, its extension
modules and the sources of its kernels run, and each thread of a kernel is executed. `Log` counts
what reaches the device. See the README beside this file.
"""

from .install import Unavailable, device, install, installed, why_not
from .log import Log, failure, memory_check, settings

__all__ = [
    "Log",
    "Unavailable",
    "device",
    "failure",
    "install",
    "installed",
    "memory_check",
    "settings",
    "why_not",
]
