"""Run the NumPy tests with other matrix kernels than this machine would use.

OpenBLAS chooses its kernels by the processor, and each rounds differently. ``OPENBLAS_CORETYPE``
selects those of another processor, if this one has their instructions. ::

    python -m conformance.kernels                        # every kernel, one thread and two
    python -m conformance.kernels --threads 1 --other    # another and any BLAS, in one run
    python -m conformance.kernels --kernel SkylakeX -- tests conformance --backend=numpy

Each kernel runs in its own processes, and `conformance.any_blas` is tried as well: it stands for
the kernels that are not available. ``--other`` saves time: one kernel other than the machine's own,
with `conformance.any_blas` on top of it. A test that relies on the bits of a kernel fails there,
and one run for each kernel shows which kernel. Arguments after ``--`` are passed to pytest.
"""

import argparse
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

__all__ = ["KERNELS", "available", "main"]

ROOT = Path(__file__).parent.parent
# The processor flags, as Linux names them, that each x86 kernel of the OpenBLAS in NumPy's wheels
# needs. Some names, such as Zen or Cooperlake, are aliases there, which `available` finds out.
KERNELS = {
    "Prescott": {"pni"},
    "Nehalem": {"sse4_2"},
    "Sandybridge": {"avx"},
    "Haswell": {"avx2", "fma"},
    "Zen": {"avx2", "fma"},
    "SkylakeX": {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl"},
    "Cooperlake": {"avx512f", "avx512cd", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16"},
}
ANY_BLAS = "any BLAS, emulated"


def flags() -> set[str]:
    """Return the processor's flags as Linux lists them; an empty set elsewhere."""
    try:
        found = re.search(r"^flags\s*:(.*)$", Path("/proc/cpuinfo").read_text("utf-8"), re.M)
    except OSError:
        return set()
    return set(found[1].split()) if found else set()


def taken(kernel: str | None) -> str:
    """Return the kernel that NumPy uses when asked for ``kernel``; "" if not OpenBLAS."""
    code = (
        "import numpy, threadpoolctl\n"
        "found = [i for i in threadpoolctl.threadpool_info() if i['internal_api'] == 'openblas']\n"
        "print(found[0]['architecture'] if found else '')"
    )
    environ = {name: value for name, value in os.environ.items() if name != "OPENBLAS_CORETYPE"}
    variables = environ | ({"OPENBLAS_CORETYPE": kernel} if kernel else {})
    command = [sys.executable, "-c", code]
    return subprocess.run(
        command, env=variables, capture_output=True, text=True, check=True
    ).stdout.strip()


def available() -> dict[str, str]:
    """Return the available kernels, each with a name that selects it."""
    found: dict[str, str] = {}
    has = flags()
    for name, needed in KERNELS.items():
        if needed <= has and (kernel := taken(name)):
            found.setdefault(kernel, name)
    return found


class Run(NamedTuple):
    """One run of the tests."""

    title: str
    threads: int
    environ: dict[str, str]
    any_blas: bool  # whether the emulated product is on top


def runs(options: argparse.Namespace) -> Iterator[Run]:
    """Yield the runs to make."""
    kernels, own = available(), taken(os.environ.get("OPENBLAS_CORETYPE"))
    if options.kernel:
        kernels = {taken(name): name for name in options.kernel}
    elif options.other:  # the last is the newest, and differs most from the others
        kernels = dict([(k, name) for k, name in kernels.items() if k != own][-1:])
    if not kernels:
        print("no kernel to choose from: only OpenBLAS on x86 under Linux has several")
    for kernel, name in kernels.items():
        title = f"{kernel} and {ANY_BLAS}" if options.other else kernel
        for threads in options.threads:
            yield Run(title, threads, {"OPENBLAS_CORETYPE": name}, options.other)
    if not options.kernel and not (options.other and kernels):
        yield Run(ANY_BLAS, 1, {}, True)


def run(one: Run, arguments: list[str]) -> tuple[int, str]:
    """Run the tests; return the exit status and pytest's summary line."""
    plugin = ["-p", "conformance.any_blas"] if one.any_blas else []
    limits = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"), str(one.threads))
    workers = max(1, (os.cpu_count() or 1) // one.threads)  # more would oversubscribe the cores
    process = subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", f"-n{workers}", *plugin, *arguments],
        cwd=ROOT,
        env=os.environ | limits | one.environ,
        stdout=subprocess.PIPE,
        text=True,
    )
    last = ""
    for line in process.stdout or ():
        print(line, end="", flush=True)
        last = line.strip() if re.search(r"\d (passed|failed|error)", line) else last
    return process.wait(), last.strip("= ")


def main() -> int:
    """Run the tests under each kernel and print a table; return 1 if any failed."""
    parser = argparse.ArgumentParser(
        prog="python -m conformance.kernels",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kernel", action="append", choices=KERNELS, help="only this; repeatable")
    parser.add_argument("--threads", action="append", type=int, help="of BLAS; 1, 2 by default")
    parser.add_argument(
        "--other", action="store_true", help="one run: another kernel, and any BLAS"
    )
    parser.add_argument("arguments", nargs="*", help="of pytest; 'tests' by default")
    options = parser.parse_args()
    options.threads = options.threads or [1, 2]
    if min(options.threads) < 1:
        parser.error(f"--threads: expected at least 1, got {min(options.threads)}")
    arguments = options.arguments or ["tests"]
    found = []
    for one in runs(options):
        print(f"\n{one.title}, {one.threads} BLAS thread{'s'[: one.threads - 1]}", flush=True)
        start = time.perf_counter()
        status, last = run(one, arguments)
        found.append((one.title, one.threads, status, last, time.perf_counter() - start))
    show(found)
    return int(any(status for _, _, status, _, _ in found))


def show(found: list[tuple[str, int, int, str, float]]) -> None:
    """Print the result of each run."""
    from rich.console import Console
    from rich.table import Table

    table = Table("kernel", "threads", "result", "tests", title="BLAS kernels")
    for title, threads, status, last, seconds in found:
        result = "[red]failed[/]" if status else "[green]passed[/]"
        table.add_row(title, str(threads), result, f"{last or 'no summary'} [{seconds:.0f} s]")
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
