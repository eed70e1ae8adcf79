"""The emulated libraries, and kernels for them: what a C++ compiler makes of the sources here.

What is made is kept in a folder of the user's cache, by the contents of all that went into it.
"""

import hashlib
import os
import re
import shutil
import struct
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

__all__ = ["CompileError", "cache", "compile_kernels", "compiler", "libraries"]

HERE = Path(__file__).parent
INCLUDE = HERE / "include"
SOURCES = ("device", "entries", "grid", "driver", "nvrtc", "cublas", "runtime")
# The names by which CuPy loads its libraries; each of these is an empty one that needs the core.
NAMES = ("libcuda.so.1", "libnvrtc.so.13", "libcublas.so.13", "libcublasLt.so.13")
FLAGS = ("-std=c++17", "-fPIC", "-shared", "-w", "-ffp-contract=off")


class CompileError(Exception):
    """The compiler refused a source; the message is what it said."""


def compiler() -> str | None:
    """Return the C++ compiler: what the variable CXX names, or g++, or clang++; None without."""
    given = os.environ.get("CXX")
    return next(filter(None, map(shutil.which, [given] if given else ["g++", "clang++"])), None)


def cache() -> Path:
    """Return the folder for what was compiled; the variable CUDA_ON_HOST_CACHE names another."""
    user = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("CUDA_ON_HOST_CACHE") or Path(user) / "cuda_on_host")


def run(*command: str | Path) -> None:
    """Run the compiler."""
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
    if done.returncode:
        raise CompileError(done.stderr)


def digest(*parts: str) -> str:
    """Return a name for something that is made of some texts, of this code, by this compiler."""
    found = hashlib.sha256()
    files = [*sorted(HERE.glob("*.cpp")), *sorted(HERE.glob("*.h")), *sorted(INCLUDE.iterdir())]
    for text in (*parts, str(compiler()), *(file.read_text() for file in (*files, Path(__file__)))):
        found.update(text.encode() + b"\0")
    return found.hexdigest()[:32]


def libraries(missing: Iterable[tuple[str, bool]], cublas: Iterable[str]) -> Path:
    """Return the folder of the emulated libraries, which are made if they are not there.

    Parameters
    ----------
    missing : iterable of (name, whether it returns an object)
        Entries of CuPy's module `runtime` that are not emulated.
    cublas : iterable of names
        Functions that CuPy's extension module for cuBLAS needs.
    """
    entries = "".join(f"MISSING({name}, {str(object).lower()})\n" for name, object in missing)
    source = (HERE / "cublas.cpp").read_text()
    written = set(re.findall(r"\bcublas\w+", source))
    written |= {f"cublas{letter}gemm_v2" for letter in "SDCZ"}
    # CUBLAS_STATUS_NOT_SUPPORTED
    unwritten = sorted(set(cublas) - written)
    refused = "".join(f"int {name}(void) {{ return 15; }}\n" for name in unwritten)
    folder = cache() / f"libraries-{digest(entries, refused, sysconfig.get_path('include'))}"
    if folder.exists():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        made = Path(name)
        (made / "missing.inc").write_text(entries)
        (made / "refused.cpp").write_text(f'extern "C" {{\n{refused}}}\n')
        include = ("-I", HERE, "-I", made, "-I", sysconfig.get_path("include"))
        sources = [HERE / f"{source}.cpp" for source in SOURCES]
        core = made / "libcudahost.so"
        command = (str(compiler()), *FLAGS, "-O2", *include)
        run(*command, "-Wl,-soname,libcudahost.so", *sources, made / "refused.cpp", "-o", core)
        for each in NAMES:
            (made / "empty.cpp").write_text("")
            run(
                *command,
                f"-Wl,-soname,{each}",
                "-Wl,--no-as-needed",
                "-Wl,-rpath,$ORIGIN",
                made / "empty.cpp",
                core,
                "-o",
                made / each,
            )
        _put(made, folder)
    return folder


def _put(made: Path, place: Path) -> None:
    """Move a folder to its place, unless another process has put one there."""
    try:
        made.rename(place)
        made.mkdir()  # for the end of `TemporaryDirectory`
    except OSError:
        if not place.exists():
            raise


CUPY_HEADERS = (
    *("cupy/complex.cuh", "cupy/carray.cuh", "cupy/atomics.cuh", "cupy/math_constants.h"),
)
KERNEL = re.compile(
    r'extern\s+"C"\s+__global__\s+void\s+'
    r"(?P<attributes>(?:__\w+__\s*\([^()]*\)\s*)*)(?P<name>\w+)\s*\("
)
DYNAMIC_SHARED = re.compile(
    r"extern\s+__shared__\s+(?:__align__\s*\(\s*\d+\s*\)\s+)?(?P<type>[\w\s]+?)\s+(?P<name>\w+)\s*"
    r"\[\s*\]\s*;"
)
# Threads of a kernel that wait for each other are fibers.
WAITS = re.compile(r"__sync|__shfl|_sync\s*\(|__activemask|__nanosleep|__trap|host_wait|clock64")


def compile_kernels(source: str, options: Iterable[str]) -> bytes:
    """Compile a source of CUDA for the host, and return the image of the module.

    Raises
    ------
    CompileError
    """
    found = list(KERNEL.finditer(source))
    text = DYNAMIC_SHARED.sub(
        r"\g<type>* \g<name> = (\g<type>*)host_thread->dynamic_shared;", source
    )
    waits = str(WAITS.search(source) is not None).lower()
    for kernel in found:
        most = _number("__launch_bounds__", kernel, 0)
        cluster = _number("__cluster_dims__", kernel, 1)
        text += f"\nCUDA_ON_HOST_KERNEL({kernel['name']}, {waits}, {most}, {cluster})"
    # Headers of CUDA, which options may name too, are not needed: ours stand for them.
    flags = [o for o in options if o.startswith("-D") or (o.startswith("-I") and "cupy" in o)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "kernel.cpp").write_text(text + "\n")
        # A kernel may have the name of a function of the C library.
        # Variables of templates are those of a module, and not of the process.
        own = ("-Wl,-Bsymbolic", *(() if "clang" in str(compiler()) else ("-fno-gnu-unique",)))
        command = (str(compiler()), *FLAGS, "-O1", *own, *_headers(source, flags))
        run(*command, *flags, folder / "kernel.cpp", "-o", folder / "kernel.so")
        image = (folder / "kernel.so").read_bytes()
    return b"CUDAHOST" + struct.pack("<Q", len(image)) + image


def _headers(source: str, flags: list[str]) -> list[str]:
    """Return the options that include what NVRTC defines, and CuPy's headers if a source does.

    They are compiled once, for g++: a kernel then takes a third of the time.
    """
    names = ["cuda_prelude.h", *(name for name in CUPY_HEADERS if name in source)]
    text = "".join(f"#include <{name}>\n" for name in names)
    include = ["-I", str(INCLUDE), *flags]
    folder = cache() / f"headers-{digest(text, *flags, *map(_content, flags))}"
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent) as name:
            made = Path(name)
            (made / "all.h").write_text(text)
            if "clang" not in str(compiler()):
                flags = [flag for flag in FLAGS if flag != "-shared"]
                command = (str(compiler()), *flags, "-O1", *include, "-x", "c++-header")
                run(*command, made / "all.h", "-o", made / "all.h.gch")
            _put(made, folder)
    return ["-I", str(INCLUDE), "-include", str(folder / "all.h")]


@lru_cache(maxsize=64)
def _content(flag: str) -> str:
    """Return what tells headers of one version of CuPy from those of another."""
    files = sorted(Path(flag[2:]).glob("cupy/*")) if flag.startswith("-I") else []
    return " ".join(f"{file.name} {file.stat().st_size}" for file in files if file.is_file())


def _number(attribute: str, kernel: re.Match[str], default: int) -> int:
    """Return the first number of an attribute of a kernel: of a cluster, the product of all."""
    given = re.search(rf"{attribute}\s*\(([^()]*)\)", kernel["attributes"])
    if given is None:
        return default
    numbers = [int(part) for part in given[1].split(",")]
    return numbers[0] * numbers[1] * numbers[2] if default else numbers[0]
