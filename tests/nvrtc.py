"""NVRTC by ctypes, on machines that need no GPU: what kernels of the library take of a device.

The package ``nvidia-cuda-nvrtc`` is looked for in the folder that the variable
PORTABLE_RNN_NVRTC names (as of ``pip install --target FOLDER nvidia-cuda-nvrtc
nvidia-cuda-runtime``), then where packages are installed. The headers of half precision are those
of ``nvidia-cuda-runtime`` beside it, or of CUDA_PATH. For a process in which the emulated device is
not installed, whose library has the same name.
"""

import ctypes
import os
import re
import site
import sys
from dataclasses import dataclass
from pathlib import Path

__all__ = ["VARIABLE", "Compiler", "Resources", "Unavailable"]

VARIABLE = "PORTABLE_RNN_NVRTC"


class Unavailable(Exception):
    """NVRTC is not here; the message is the reason."""


@dataclass(frozen=True)
class Resources:
    """What a thread or a block of a kernel takes, as its assembler says."""

    registers: int
    spilled: int  # bytes of a thread, stores and loads
    stack: int
    static_shared: int  # bytes of a block


class Compiler:
    """NVRTC. Raises `Unavailable` if it is not found."""

    def __init__(self) -> None:
        path = _library()
        self._library = ctypes.CDLL(str(path))
        self._include = _headers(path)

    @property
    def version(self) -> str:
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._call("nvrtcVersion", ctypes.byref(major), ctypes.byref(minor))
        return f"{major.value}.{minor.value}"

    def compile(self, source: str, architecture: str) -> dict[str, Resources]:
        """Return the resources of each kernel of a source, compiled for ``sm_90`` or the like."""
        program, size = ctypes.c_void_p(), ctypes.c_size_t()
        text = source.encode()
        self._call("nvrtcCreateProgram", ctypes.byref(program), text, b"kernel.cu", 0, None, None)
        # As CuPy does.
        options = [f"--gpu-architecture={architecture}", "-std=c++17", "-ftz=true"]
        options += ["--ptxas-options=-v", f"-I{self._include}"]
        given = (ctypes.c_char_p * len(options))(*map(str.encode, options))
        status = self._library.nvrtcCompileProgram(program, len(options), given)
        self._call("nvrtcGetProgramLogSize", program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        self._call("nvrtcGetProgramLog", program, log)
        self._call("nvrtcDestroyProgram", ctypes.byref(program))
        said = log.value.decode()
        if status:
            raise AssertionError(f"for {architecture}: {said}")
        return _read(said)

    def _call(self, name: str, *arguments: object) -> None:
        status = getattr(self._library, name)(*arguments)
        if status:
            raise RuntimeError(f"{name} returned {status}")


def _read(log: str) -> dict[str, Resources]:
    """Return what the assembler says of each kernel."""
    found = {}
    for part in log.split("Compiling entry function '")[1:]:
        name = part.partition("'")[0]
        spills = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes", part)
        registers = re.search(r"Used (\d+) registers", part)
        assert spills is not None, log
        assert registers is not None, log
        shared = re.search(r"(\d+) bytes smem", part)
        found[name] = Resources(
            registers=int(registers[1]),
            spilled=int(spills[2]) + int(spills[3]),
            stack=int(spills[1]),
            static_shared=int(shared[1]) if shared else 0,
        )
    return found


def _folders() -> list[Path]:
    given = os.environ.get(VARIABLE)
    installed = [*site.getsitepackages(), *(path for path in sys.path if "site-packages" in path)]
    return [Path(folder) for folder in ([given] if given else installed)]


def _library() -> Path:
    if sys.platform != "linux":
        raise Unavailable(f"NVRTC is looked for on Linux, and this is {sys.platform}")
    for folder in _folders():
        for found in sorted(folder.glob("nvidia/*/lib/libnvrtc.so.*")):
            return found
    raise Unavailable(
        f"nvidia-cuda-nvrtc is not installed, nor in a folder that {VARIABLE} names: "
        "pip install nvidia-cuda-nvrtc nvidia-cuda-runtime"
    )


def _headers(library: Path) -> Path:
    cuda = Path(os.environ.get("CUDA_PATH", "/usr/local/cuda")) / "include"
    beside = [library.parent.parent / "include"]
    beside += sorted(library.parents[2].glob("*/include"))
    for folder in (*beside, cuda):
        if (folder / "cuda_fp16.h").exists():
            return folder
    raise Unavailable("there is no cuda_fp16.h: pip install nvidia-cuda-runtime")
