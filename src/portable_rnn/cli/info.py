"""``portable-rnn info``: what is installed, and what it can run on."""

import platform
from importlib.metadata import PackageNotFoundError, version

import threadpoolctl
from rich.markup import escape
from rich.table import Table

from .. import __version__
from .._arrays import libraries as backends
from .terminal import Console

__all__ = ["show_info"]


def show_info(console: Console) -> None:
    """Print versions, backends with device or reason, and the BLAS libraries loaded."""
    console.print(
        f"[bold]portable-rnn {__version__}[/] on Python {platform.python_version()}, "
        f"{platform.platform()}; array-api-compat {_version('array-api-compat')}",
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
            table.add_row(name, _version(name), f"[yellow]cannot run: {escape(str(reason))}[/]")
    console.print(table)

    blas = Table(title="BLAS and thread pools", title_justify="left")
    for column in ("library", "version", "kernel", "threads"):
        blas.add_column(column)
    for pool in threadpoolctl.threadpool_info():
        blas.add_row(
            str(pool["internal_api"]),
            str(pool["version"] or "-"),
            str(pool.get("architecture", "-")),
            str(pool["num_threads"]),
        )
    console.print(blas)


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "-"
