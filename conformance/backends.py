"""The backends that the suite runs on, one row each.

The single source for the fixtures, the nox sessions, the reasons why rows do not run, and the
table in the README, which ``python -m conformance.backends`` regenerates. Importing this module
imports no array library; `Backend.probe` does, and computes on the device.
"""

from pathlib import Path

from .backend import Backend
from .cupy_rows import CuPy, CuPyOnHost, CuPyWithoutDevice
from .lazy import Dask, Jax, Ndonnx
from .libraries import (
    AnyBlas,
    Dpnp,
    Mlx,
    NumPy,
    Strict,
    Torch,
    readonly,
    strided,
)

__all__ = ["BACKENDS", "by_environment", "replace_between", "support_table", "with_support_table"]

HALF = ("float64", "float32", "float16")
HALVES = (*HALF, "bfloat16")

BACKENDS: dict[str, Backend] = {
    row.id: row
    for row in (
        NumPy("numpy", dtypes=HALF, pairs=True, proves="the library itself, with all problems"),
        NumPy(
            "numpy-compiled",
            variant=True,
            executor="auto",
            packages=("llvmlite>=0.46",),
            proves="machine code made from the cells",
        ),
        NumPy("numpy-readonly", variant=True, layout=readonly, proves="no argument is written to"),
        NumPy("numpy-strided", variant=True, layout=strided, proves="any memory layout will do"),
        AnyBlas(
            "numpy-any_blas", variant=True, proves="no BLAS library's own rounding is relied on"
        ),
        Strict("array-api-strict", variant=True, proves="only the standard is called"),
        Strict(
            "array-api-strict-device1",
            on="device1",
            pairs=True,
            proves="results stay on the device",
        ),
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
        Torch("torch", dtypes=HALVES, pairs=True, proves="another library's arithmetic"),
        Torch(
            "torch-meta",
            on="meta",
            shapes_only=True,
            dtypes=("float32",),  # in float32 a float64 that slips in is noticed
            proves="no value is ever read",
        ),
        Torch(
            "torch-cuda",
            title="PyTorch on a CUDA GPU",
            environment="torch-cuda",
            on="cuda",
            dtypes=HALVES,
            pairs=True,
            gpu=True,
            proves="no host constant, no TF32",
        ),
        # JAX is normally used compiled, which takes the same paths except for the time loop.
        Jax(
            "jax",
            dtypes=HALVES,
            every_change=("test_gradients", "test_doors", "test_losses_edges", "test_streams"),
            proves="arrays that nothing can write to",
        ),
        Jax(
            "jax-jit",
            jit=True,
            dtypes=HALVES,
            many_steps=True,
            proves="compiled, time by `lax.scan`",
        ),
        Jax(
            "jax-x32",
            dtypes=("float32",),
            x64=False,
            every_change=("test_gradients",),
            proves="JAX as it comes, without 64 bits",
        ),
        Dask("dask", dtypes=HALF, proves="lazy, in two chunks, no compute inside a call"),
        Ndonnx("ndonnx", dtypes=HALF, proves="run by onnxruntime from a graph without values"),
        Ndonnx(
            "ndonnx-scan",
            dtypes=HALF,
            variant=True,
            executor="auto",
            proves="the same, time by ONNX's operator Scan",
        ),
        Dpnp("dpnp", proves="SYCL, the nearest relative of CuPy on a CPU"),
        Mlx("mlx", proves="what is not quite the standard"),
        CuPyWithoutDevice(
            "cupy-no-device",
            title="CuPy installed, and no GPU",
            proves="NumPy trains, and whoever asks for CuPy is told why not",
        ),
        CuPyOnHost(
            "cupy-host",
            dtypes=HALF,
            pairs=True,
            lazy=False,
            pool=False,
            every_change=("test_cuda_on_host", "test_cuda_on_host_streams"),
            proves="each thread of each kernel; memory is NaN until written, and when freed",
        ),
        CuPyOnHost(
            "cupy-host-fused",
            dtypes=HALVES,
            variant=True,
            executor="auto",
            lazy=False,
            pool=False,
            every_change=("test_gradients",),
            strided=True,
            proves="one kernel a step, made from the cells; any memory layout will do",
        ),
        CuPyOnHost(
            "cupy-host-persistent",
            dtypes=HALVES,
            variant=True,
            executor="persistent",
            every_change=("test_truncated",),
            proves="one kernel for all steps, its threads in random order",
        ),
        CuPyOnHost(
            "cupy-host-stream",
            variant=True,
            on_stream=True,
            executor="auto",
            every_change=("test_streams",),
            proves="a stream of the caller's, on which nothing runs until something waits",
        ),
        CuPyOnHost(
            "cupy-host-device1",
            variant=True,
            on=1,
            executor="auto",
            every_change=("test_streams", "test_training"),
            proves="arrays of a device that is not the current one",
        ),
        CuPy("cupy", dtypes=HALF, pairs=True, proves="the default stream"),
        CuPy(
            "cupy-fused",
            dtypes=HALVES,
            variant=True,
            executor="auto",
            proves="one kernel a step, made from the cells",
        ),
        CuPy(
            "cupy-persistent",
            dtypes=HALVES,
            variant=True,
            executor="persistent",
            proves="one kernel for all steps",
        ),
        CuPy("cupy-stream", on_stream=True, executor="auto", proves="a stream of the caller's"),
        Backend(
            "cupynumeric",
            "cupynumeric",
            title="cuPyNumeric",
            environment="cupynumeric",
            packages=("nvidia-cupynumeric",),
            gpu=True,
            # 26.6.1: "libcuda.so.1: cannot open shared object file" on a machine without one.
            needs="and its import needs libcuda.so.1, which comes with an NVIDIA driver",
            proves="distributed arrays",
        ),
    )
}

# The environment of the session `tests` of the noxfile has these.
ON_EVERY_CHANGE = ("numpy", "array-api-strict", "torch", "jax", "cupy-host")
BEGIN, END = "<!-- rows: written by python -m conformance.backends -->\n", "<!-- end of rows -->"


def by_environment() -> dict[str, list[Backend]]:
    """Return the rows of each nox session."""
    grouped: dict[str, list[Backend]] = {}
    for row in BACKENDS.values():
        grouped.setdefault(row.environment, []).append(row)
    return grouped


def support_table() -> str:
    """Return the README's table: each library, its dtypes, what its rows show, when they run."""
    libraries: dict[str, list[Backend]] = {}
    for row in BACKENDS.values():
        libraries.setdefault(row.title, []).append(row)
    lines = ["| arrays | floating types | rows of the suite | run |", "| --- | --- | --- | --- |"]
    for title, rows in libraries.items():
        shown = "; ".join(f"`{row.id}`: {row.proves}" for row in rows)
        dtypes = ", ".join(dict.fromkeys(dtype for row in rows for dtype in row.dtypes))
        lines.append(f"| {title} | {dtypes or 'none'} | {shown} | {_run(rows[0])} |")
    return "\n".join([*lines, ""])


def with_support_table(readme: str) -> str:
    """Return a README with the table between its two marks regenerated."""
    return replace_between(readme, BEGIN, END, support_table())


def replace_between(page: str, begin: str, end: str, text: str) -> str:
    """Return a page with the text between two marks replaced."""
    before, _, rest = page.partition(begin)
    _, found, after = rest.partition(end)
    if not found:
        raise ValueError(f"expected a line {begin.strip()} and a later one {end}")
    return f"{before}{begin}\n{text}\n{end}{after}"


def _run(row: Backend) -> str:
    if row.environment in ON_EVERY_CHANGE:
        return "on every change"
    return "needs a GPU, not run yet: `nox -t gpu`" if row.gpu else "by `nox -t cpu`"


def main() -> None:
    """Write the table into the README."""
    readme = Path(__file__).parent.parent / "README.md"
    readme.write_text(with_support_table(readme.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
