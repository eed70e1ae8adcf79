"""A cluster of processes on this machine, for tests."""

import dask
import distributed


def cluster(workers):
    # A worker that is killed again, 15 seconds after it was, would be given up by default.
    dask.config.set({"distributed.deploy.lost-worker-timeout": "1h"})
    return distributed.LocalCluster(
        n_workers=workers, threads_per_worker=1, processes=True, dashboard_address="127.0.0.1:0"
    )
