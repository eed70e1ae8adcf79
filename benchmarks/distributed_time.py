"""Time of a training step on two worker processes, beside one process, and what more would do.

A GRU on 64 steps of a batch of 64, one thread for each process, steps of both alternately; H is
64, 128, 256 and 512. The ratio is that of two times of the same round, and its median. It needs two
cores for the workers and a share of a third for driver and scheduler, and nothing else to run.

    python benchmarks/distributed_time.py [--rounds N] [--workers N] [--batch N] [--json FILE]
"""

import argparse
from pathlib import Path

from portable_rnn.cli.bench_cluster import ClusterSizes, bench_cluster
from portable_rnn.cli.terminal import Console


def main() -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    sizes = ClusterSizes(given.workers, batches=(given.batch,), rounds=given.rounds)
    bench_cluster(sizes, Console(width=110), given.json)


if __name__ == "__main__":
    main()
