"""Put the emulated device where CuPy finds it."""

import ctypes
import os
import re
import sys
import sysconfig
from importlib import import_module
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import build
from .sorting import replace_thrust

__all__ = ["Unavailable", "device", "install", "installed", "why_not"]

RUNTIME = "cupy_backends.cuda.api.runtime"
CUBLAS = "cupy_backends.cuda.libs.cublas"


class Unavailable(Exception):
    """The emulation cannot run here; the message is the reason."""


class State:
    """What is kept as long as the process: CuPy holds pointers into it."""

    core: Any = None
    kept: list[Any] = []
    devices = 0
    reason = ""  # why `install` has failed
    settings: dict[str, bool] = {}


def installed() -> bool:
    """Return whether this process has the emulated device."""
    return State.core is not None


def device() -> Any:
    """Return the emulated device's library, by `ctypes`."""
    if State.core is None:
        raise Unavailable("the emulated device is not installed in this process")
    return State.core


def why_not() -> str:
    """Return the reason why the emulation cannot be installed here; "" if it can."""
    if installed():
        return ""
    if State.reason:
        return State.reason
    if sys.platform != "linux":
        return f"it is for Linux, and this is {sys.platform}"
    if build.compiler() is None:
        return "there is no C++ compiler (g++ or clang++, or the one that CXX names)"
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return f"the headers of Python are not in {sysconfig.get_path('include')}"
    if find_spec("cupy") is None:
        return "cupy is not installed: pip install cupy-cuda13x"
    if "cupy" in sys.modules or RUNTIME in sys.modules:
        return "cupy is imported already, without it"
    return ""


def install(*, devices: int = 1, peers: bool = False) -> None:
    """Have CuPy, which is not imported yet, run on an emulated device.

    Parameters
    ----------
    devices : int
        How many devices there are.
    peers : bool
        Whether each can read the memory of the others.

    Raises
    ------
    Unavailable
        If it cannot. CuPy is not to be used in this process then.
    """
    if installed():
        if devices != State.devices:
            raise Unavailable(f"this process has {State.devices} emulated devices already")
        settings(devices=devices, peers=peers)
        return
    if reason := why_not():
        raise Unavailable(reason)
    try:
        _install(devices=devices, peers=peers)
    except Unavailable as error:
        State.reason = str(error)
        raise


def _install(*, devices: int, peers: bool) -> None:
    os.environ.setdefault("CUPY_CACHE_DIR", str(build.cache() / "kernels"))
    os.environ["CUPY_ACCELERATORS"] = ""  # CUB is compiled for a GPU
    # Without a driver the module can be imported, and says what its interface is.
    runtime = import_module(RUNTIME)
    table: dict[str, Any] = runtime.__pyx_capi__
    signatures = {name: _capsule_name(capsule) for name, capsule in table.items()}
    functions = {name: text for name, text in signatures.items() if "(" in text}
    written = _written()
    missing = [
        (name, text.partition("(")[0].rstrip().endswith("*"))
        for name, text in functions.items()
        if name not in (*written, "check_status") and not name.startswith("make_")
    ]
    try:
        folder = build.libraries(missing, _needed(CUBLAS))
    except build.CompileError as error:
        raise Unavailable(f"the emulated libraries cannot be compiled: {error}") from None
    core = ctypes.CDLL(str(folder / "libcudahost.so"), mode=ctypes.RTLD_GLOBAL)
    for name in build.NAMES:
        State.kept.append(ctypes.CDLL(str(folder / name), mode=ctypes.RTLD_GLOBAL))
    _replace(core, runtime, table, signatures)
    _set_compiler(core)
    core.host_failure.restype = ctypes.c_char_p
    for name in ("host_in_use", "host_peak", "host_pending"):
        getattr(core, name).restype = ctypes.c_long
    State.core, State.devices = core, devices
    settings(devices=devices, peers=peers)
    replace_thrust(core)


def settings(*, devices: int, peers: bool = False, lazy: bool = False, dry: bool = False) -> None:
    """Set how the device behaves from now on."""
    State.devices, State.settings = devices, {"peers": peers, "lazy": lazy, "dry": dry}
    device().host_settings(devices, int(peers), int(lazy), int(dry))


def _written() -> list[str]:
    """Return the names of the entries that are emulated."""
    source = (build.HERE / "runtime.cpp").read_text()
    return re.findall(r"^ENTRY\([\w ]+, (\w+),", source, re.MULTILINE)


def _needed(module: str) -> list[str]:
    """Return the names of the functions of cuBLAS that occur in an extension module."""
    name, _, last = module.rpartition(".")
    found = PathFinder.find_spec(last, import_module(name).__path__)
    assert found is not None
    assert found.origin is not None
    content = Path(found.origin).read_bytes()
    return sorted({name.decode() for name in re.findall(rb"\0(cublas[A-Z]\w+)(?=\0)", content)})


# ------------------------------------------------------------------- CuPy's module `runtime`

_python = ctypes.pythonapi
_python.PyCapsule_GetName.restype = ctypes.c_char_p
_python.PyCapsule_GetName.argtypes = [ctypes.py_object]
_python.PyCapsule_GetPointer.restype = ctypes.c_void_p
_python.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
_python.PyCapsule_New.restype = ctypes.py_object
_python.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]

TYPES: dict[str, Any] = {
    "int": ctypes.c_int,
    "unsigned int": ctypes.c_uint,
    "float": ctypes.c_float,
    "intptr_t": ctypes.c_ssize_t,
    "size_t": ctypes.c_size_t,
    "uintmax_t": ctypes.c_uint64,
}


def _capsule_name(capsule: Any) -> str:
    return _python.PyCapsule_GetName(capsule).decode()


def _replace(core: Any, runtime: Any, table: dict[str, Any], signatures: dict[str, str]) -> None:
    """Replace the entries of a module, for C and for Python, by those of the emulated device."""
    status = table["check_status"]
    pointer = _python.PyCapsule_GetPointer(status, signatures["check_status"].encode())
    core.host_python.argtypes = [ctypes.c_void_p, ctypes.py_object, ctypes.py_object]
    core.host_python.restype = None
    core.host_python(pointer, runtime.PointerAttributes, properties)
    core.host_entry.restype = ctypes.c_char_p
    signature, function = ctypes.c_char_p(), ctypes.c_void_p()
    for number in range(core.host_entries()):
        found = core.host_entry(number, ctypes.byref(signature), ctypes.byref(function))
        name = found.decode()
        if name not in signatures:
            raise Unavailable(f"this CuPy has no runtime.{name}")
        text = signatures[name]
        if signature.value is not None and signature.value.decode() != text:
            raise Unavailable(f"runtime.{name} of this CuPy is {text}, not {signature.value!r}")
        encoded = text.encode()
        State.kept.append(encoded)  # a capsule holds a pointer to its name
        table[name] = _python.PyCapsule_New(function.value, encoded, None)
        if hasattr(runtime, name):
            setattr(runtime, name, _in_python(text, function.value))


def _in_python(signature: str, address: Any) -> Any:
    """Return a function of Python that calls an entry."""
    result, _, rest = signature.partition("(")
    parameters = [part.strip() for part in rest.rstrip(")").split(",")]
    if parameters == ["void"]:
        parameters = []
    kinds: list[Any] = [
        TYPES.get(part, ctypes.py_object if part.startswith("PyObject") else ctypes.c_void_p)
        for part in (part.replace("__pyx_skip_dispatch", "").strip() for part in parameters)
    ]
    result = result.strip()
    kind = TYPES.get(result, ctypes.py_object)
    entry = ctypes.PYFUNCTYPE(kind, *kinds)(address)
    extra = sum("__pyx_" in part for part in parameters)
    count = len(kinds) - extra

    def call(*arguments: Any) -> Any:
        return entry(*arguments[:count], *[0] * extra)

    return call


def properties(number: int) -> dict[str, Any]:
    """Return what `getDeviceProperties` does."""
    return {
        "name": b"this CPU as a CUDA device (emulated)",
        "totalGlobalMem": 16 << 30,
        "sharedMemPerBlock": 48 << 10,
        "sharedMemPerBlockOptin": 227 << 10,
        "sharedMemPerMultiprocessor": 228 << 10,
        "regsPerBlock": 65536,
        "regsPerMultiprocessor": 65536,
        "warpSize": 32,
        "maxThreadsPerBlock": 1024,
        "maxThreadsDim": (1024, 1024, 64),
        "maxGridSize": (2147483647, 65535, 65535),
        "clockRate": 1980000,
        "totalConstMem": 65536,
        "major": 9,
        "minor": 0,
        "multiProcessorCount": 132,
        "l2CacheSize": 50 << 20,
        "maxThreadsPerMultiProcessor": 2048,
        "cooperativeLaunch": 1,
        "concurrentKernels": 1,
        "unifiedAddressing": 1,
        "pciBusID": number,
        "pciDeviceID": 0,
        "pciDomainID": 0,
    }


# ------------------------------------------------------------------------------ the compiler

_PUT = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_size_t)
_COMPILE = ctypes.CFUNCTYPE(
    ctypes.c_int,
    *(ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int, ctypes.POINTER(ctypes.c_char_p)),
    *(_PUT, ctypes.c_void_p),
)


@_COMPILE
def _compile(source: Any, name: Any, many: Any, options: Any, put: Any, program: Any) -> int:
    try:
        image = build.compile_kernels(source.decode(), [options[i].decode() for i in range(many)])
    except Exception as error:  # all must be said by CuPy
        text = str(error).encode()
        put(program, text, len(text))
        return 1
    put(program, image, len(image))
    return 0


def _set_compiler(core: Any) -> None:
    core.host_compiler.argtypes = [_COMPILE, ctypes.c_char_p]
    version = f"// emulated {build.digest()}".encode()
    State.kept.append(version)
    core.host_compiler(_compile, version)
