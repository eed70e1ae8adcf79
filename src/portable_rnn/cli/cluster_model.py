"""The time of a step on a cluster, from measured parts: a model, to plan with."""

import math
from dataclasses import dataclass

from ..distributed.dask import FAN_IN

__all__ = ["NETWORK", "Costs", "Network"]


@dataclass(frozen=True)
class Network:
    """What connects the machines of a cluster, in addition to what was measured on one.

    Attributes
    ----------
    bandwidth : float
        Bytes a second, of each machine.
    latency : float
        Seconds of a message there and back.
    """

    bandwidth: float = math.inf
    latency: float = 0.0


NETWORK = Network(bandwidth=1.25e9, latency=2e-4)  # 10 Gbit/s, within one hall


@dataclass(frozen=True)
class Costs:
    """The parts of a step, in seconds.

    Attributes
    ----------
    compute : float
        The gradient of one shard.
    trip : float
        From the driver to the workers and back, with nothing to send or to compute.
    task : float
        What each shard adds to that, at the scheduler above all.
    byte : float
        To send one byte from a process to another, packed and unpacked.
    update : float
        The optimizer's step.
    size : int
        Bytes of the parameters.
    """

    compute: float
    trip: float
    task: float
    byte: float
    update: float
    size: int

    def here(self, workers: int, shards: int) -> float:
        """Return the time of a step on one machine, where all copies of all processes add up."""
        return self._fixed(workers, shards) + (workers + shards) * self.size * self.byte

    def on(self, network: Network, workers: int, shards: int, local_steps: int = 1) -> float:
        """Return the time of a step on machines with a network, one worker on each.

        Parameters go to one worker, and from there on to all, each of which sends them on: as often
        as their number can be doubled. Gradients come back over as many levels as `FAN_IN` of them
        are added at once, each of which is one more trip.
        """
        levels = max(1, math.ceil(math.log(shards, FAN_IN) - 1e-9)) if shards > 1 else 1
        copies = 1 + math.ceil(math.log2(workers)) + levels * min(shards, FAN_IN)
        sent = copies * self.size * (self.byte + 1 / network.bandwidth)
        waits = (levels - 1) * self.trip + (1 + levels) * network.latency
        more = (local_steps - 1) * math.ceil(shards / workers) * (self.compute + self.update)
        return self._fixed(workers, shards) + sent + waits + more

    def efficiency(self, network: Network, workers: int, local_steps: int = 1) -> float:
        """Return which share of the time workers compute, with one shard each."""
        alone = local_steps * (self.compute + self.update)
        return alone / self.on(network, workers, workers, local_steps)

    def local_steps_for(self, share: float, network: Network, workers: int) -> int:
        """Return after how many steps of its own a worker computes that share of the time."""
        alone = self.compute + self.update
        rest = self.on(network, workers, workers) - alone
        return max(1, math.ceil(share / (1 - share) * rest / alone - 1e-9))

    def _fixed(self, workers: int, shards: int) -> float:
        turns = math.ceil(shards / workers)
        return self.trip + shards * self.task + turns * self.compute + self.update
