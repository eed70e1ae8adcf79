"""``portable-rnn info``: what is installed, and what it can run on."""

import platform
from importlib.metadata import PackageNotFoundError, version

import threadpoolctl
from rich.markup import escape
from rich.table import Table

from .. import __version__, executors
from .._arrays import libraries as backends
from .._executors.llvm_cache import folder
from ..cells import CELLS
from ..model import RNN
from .terminal import Console

__all__ = ["show_info", "version_of"]


def show_info(console: Console) -> None:
    """Print versions, backends with device or reason, executors, and BLAS libraries loaded."""
    console.print(
        f"[bold]portable-rnn {__version__}[/] on Python {platform.python_version()}, "
        f"{platform.platform()}; array-api-compat {version_of('array-api-compat')}",
        highlight=False,
        soft_wrap=True,
    )
    table = Table(title="backends", title_justify="left")
    for column in ("backend", "version", "runs on"):
        table.add_column(column, overflow="fold")
    for name in backends.BACKENDS:
        try:
            found = backends.find(name)
            table.add_row(name, found.version, f"[green]{found.device_name}[/]")
        except backends.BackendUnavailable as reason:
            table.add_row(name, version_of(name), f"[yellow]cannot run: {escape(str(reason))}[/]")
    console.print(table)
    console.print(_executors())

    blas = Table(title="BLAS and thread pools", title_justify="left")
    for column in ("library", "version", "kernel", "threads"):
        blas.add_column(column)
    pools = threadpoolctl.threadpool_info()
    for pool in pools:
        blas.add_row(
            str(pool["internal_api"]),
            str(pool["version"] or "-"),
            str(pool.get("architecture", "-")),
            str(pool["num_threads"]),
        )
    console.print(blas)
    if any(pool["num_threads"] > 1 for pool in pools if pool["user_api"] == "blas"):
        console.print(
            "[yellow]BLAS has several threads.[/] They wait for each other in every product, and "
            "on a busy machine a step may take many times as long: compare with "
            "OPENBLAS_NUM_THREADS=1 or MKL_NUM_THREADS=1."
        )


def _executors() -> Table:
    """Return which loops there are for NumPy's arrays, and which cells each serves."""
    table = Table(title="executors for NumPy arrays", title_justify="left")
    for column in ("executor", "runs", "cells"):
        table.add_column(column, overflow="fold")
    by_cell = {name: executors.explain(RNN(1, 1, cell=name)) for name in CELLS}
    compiled = [name for name, said in by_cell.items() if said.startswith("compiled")]
    if compiled:
        _, _, how = by_cell[compiled[0]].partition(": ")
        found = f"[green]{escape(how)}[/]; code is kept in {escape(str(folder() or 'memory'))}"
    else:
        _, _, reason = by_cell["elman"].partition(": ")
        found = f"[yellow]not available: {escape(reason)}[/]"
    table.add_row("compiled", found, ", ".join(compiled) or "-")
    rest = [name for name in by_cell if name not in compiled]
    table.add_row("eager", "the loop in Python, for all dtypes", ", ".join(rest) or "-")
    return table


def version_of(package: str) -> str:
    """Return the version of a package that is installed, or "-"."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"
