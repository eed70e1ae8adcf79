"""The cluster of a command: workers on this machine, or those of a scheduler elsewhere."""

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from typing import Any

from .._arrays import checks as check
from .terminal import Console

__all__ = ["SHARDS", "check_cluster", "connected"]

SHARDS = 4  # of a batch, on the workers of a scheduler
WAIT = 30.0  # seconds until there is a worker


def check_cluster(workers: int | None, scheduler: str | None) -> bool:
    """Check the options that name a cluster; return whether there is one."""
    if workers is not None:
        check.count("workers", workers)
        if scheduler is not None:
            raise ValueError(f"scheduler: expected none with --workers, got {scheduler}")
    elif scheduler is None:
        return False
    else:
        check.text("scheduler", scheduler, least=1)
    if find_spec("distributed") is None:
        name = "workers" if scheduler is None else "scheduler"
        raise ImportError(
            f"{name}: expected Dask's distributed to be installed; "
            "pip install 'portable-rnn[distributed]'"
        )
    return True


@contextmanager
def connected(workers: int | None, scheduler: str | None, console: Console) -> Iterator[Any]:
    """Give a client of a cluster, of which the dashboard's address is printed; or None.

    Raises
    ------
    ValueError
        If there is no scheduler at the address, or it has no worker.
    """
    if not check_cluster(workers, scheduler):
        yield None
        return
    import distributed

    logging.getLogger("distributed").setLevel(logging.ERROR)  # what can be mended is
    with ExitStack() as stack:
        address: Any = scheduler
        if scheduler is None:
            with console.status("starting workers"):
                address = stack.enter_context(
                    distributed.LocalCluster(
                        n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0"
                    )
                )
        try:
            direct = True if scheduler is None else None  # results need not pass the scheduler
            client = stack.enter_context(
                distributed.Client(address, timeout=WAIT, direct_to_workers=direct)
            )
            client.wait_for_workers(1, timeout=WAIT)
        except (OSError, TimeoutError, ValueError) as error:
            raise ValueError(
                f"scheduler: expected one with workers at {scheduler or 'this machine'}, got none "
                f"within {WAIT:g} s ({error})"
            ) from None
        where = client.dashboard_link if find_spec("bokeh") else "none (pip install bokeh)"
        count = check.counted(len(client.nthreads()), "worker")
        console.print(f"{count}; dashboard: {where}", markup=False, highlight=False, soft_wrap=True)
        yield client
