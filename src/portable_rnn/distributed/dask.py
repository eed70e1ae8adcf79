"""Gradients of shards on Dask workers."""

import asyncio
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError
from dataclasses import replace
from typing import Any

from .._arrays import checks as check
from .._arrays.namespace import Array
from .._calls.loss import Loss
from ..batches import Batch, Batches
from ..losses import softmax_cross_entropy
from ..model import RNN
from ..optimizers import Optimizer, sgd
from ..optimizers.inner import check_optimizer, refuse_scaled
from ..training.description import plain
from ..training.distributed import DistributedObjective, Sums
from ..training.evaluation import evaluate_objective
from ..training.names import Metrics, optimizer_of
from ..training.sources import check_source
from .parts import HostParams, Local, Work, add, from_params, limit_threads, part
from .shards import ToLoad, cut_batch

__all__ = ["DaskGradients"]

FAN_IN = 8  # more shards than that are added on workers, so many at a time
# Errors of Dask's, besides a cancelled future, by which it says that workers were lost.
LOST = ("KilledWorker", "CommClosedError")
REFRESH = 2.0  # seconds after which the scheduler is asked again for its workers


@check.named_options
class DaskGradients(DistributedObjective):
    """Gradients of the shards of a batch, computed on the workers of a Dask cluster.

    Give it to `portable_rnn.training.train` as ``gradients``. In each step the parameters are sent
    to the workers, the gradients of the shards come back, and the optimizer takes its step in the
    process that called `train`. So a run does not depend on any worker: the shards of one that is
    lost are computed again by others, with the same result to the last bit.

    Parameters
    ----------
    client : distributed.Client
    model : RNN
    loss : callable or str
        As for `portable_rnn.training.train`, and its mean. Shards are weighted by the weights of
        their steps, without those that cross-entropy leaves out by ``ignore_index``; so the loss
        and its gradient are those of the whole batch.
    metrics : dict of str to Metric, or names, optional
        Measured on the training batches, before the update, and on those of ``validation``.
    shards : int, optional
        Into how many parts to cut a batch of arrays, which is then sent to the workers. Not with
        `Shards`, which load their own. A run can only be resumed with the same number.
    timeout : float
        Seconds that a step may take at most, with all that is lost and computed again.
    retries : int
        How often a step is begun again if the cluster has lost track of it. (A shard of a worker
        that is lost is computed by another without that.)
    threads : int
        Threads of BLAS in the process of a worker.
    local_steps : int, optional
        Local SGD (Stich, arXiv 1805.09767): in each step of the run, every shard takes so many
        steps on batches of its own, those of steps ``n * local_steps`` and later, and the gradient
        is how far the parameters have moved back on average. With ``optimizer="sgd", lr=1.0`` for
        the run, its step is to the mean of their parameters. Needs `Shards`.
    local_optimizer : callable or str
        Takes the local steps. Its state begins anew in every step of the run.
    local_lr : float, optional
        Learning rate of the local steps.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Notes
    -----
    Calling it raises a TimeoutError if a step takes longer than ``timeout``, and a RuntimeError if
    workers are lost again and again. An error of ``load``, the loss or a metric is raised as it is,
    or with the step and the shard.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> from distributed import Client, LocalCluster
    >>> from portable_rnn.distributed import DaskGradients
    >>> model = prnn.RNN(input_size=1, hidden_size=8, output_size=2)
    >>> source = prnn.batches.Shuffled(np.ones((5, 6, 1)), np.zeros((5, 6), int), batch_size=4)
    >>> params = model.init(seed=0, dtype="float64")
    >>> with LocalCluster(1, processes=False, dashboard_address=":0") as cluster:
    ...     with Client(cluster) as client:
    ...         gradients = DaskGradients(client, model, shards=2, timeout=60)
    ...         run = prnn.training.train(model, params, source, steps=3, gradients=gradients)
    >>> run.step
    3
    """

    def __init__(
        self,
        client: Any,
        model: RNN,
        *,
        loss: Loss | str = softmax_cross_entropy,
        metrics: Metrics | None = None,
        shards: int | None = None,
        timeout: float = 300.0,
        retries: int = 3,
        threads: int = 1,
        local_steps: int | None = None,
        local_optimizer: Optimizer | str = sgd,
        local_lr: float | None = None,
    ) -> None:
        super().__init__(model, loss, metrics)
        if not all(hasattr(client, name) for name in ("submit", "gather", "sync", "nthreads")):
            raise TypeError(f"client: expected a distributed.Client, got {check.said(client)}")
        if getattr(client, "asynchronous", False):
            raise ValueError("client: expected one that waits, got one with asynchronous=True")
        self._client = client
        self._shards = None if shards is None else check.count("shards", shards)
        self._timeout = check.number("timeout", timeout, above=0.0)
        self._retries = check.integer("retries", retries, least=0)
        self._threads = check.integer("threads", threads, least=1, most=1024)
        self._local = _local(local_steps, local_optimizer, local_lr)
        self._work = Work(model, self.loss, self.metrics, self._local)
        self._sent: dict[int, tuple[Any, Any]] = {}  # by identity: what, and its future
        self._workers: list[str] = []
        self._asked = 0.0
        self._function: Callable[..., Sums] = computed

    def _sums(
        self,
        params: Mapping[str, Array],
        batch: Batch,
        state: Any,
        seed: tuple[int, int] | None,
    ) -> Sums:
        """Return the sums over the shards of a batch; without a seed, for an evaluation."""
        jobs, load = self._jobs(batch, state, seed)
        host, step = from_params(params), jobs[0][2]
        end = time.monotonic() + self._timeout
        futures: list[Any] = []
        for again in range(self._retries + 1):
            left = max(end - time.monotonic(), 1e-3)
            try:
                found: Sums = self._client.sync(
                    self._attempt, host, jobs, load, seed, futures, callback_timeout=left
                )
                return found
            except TimeoutError:
                raise self._late(step, futures) from None
            except Exception as error:
                if not isinstance(error, CancelledError) and type(error).__name__ not in LOST:
                    raise
                # A shard that ends one worker after the other is given up.
                self._forget()
                if again == self._retries or type(error).__name__ == "KilledWorker":
                    raise RuntimeError(
                        f"client: expected workers that last for step {step}, lost some "
                        f"{again + 1} times, perhaps for lack of memory; see their logs ({error})"
                    ) from error
            finally:
                futures.clear()
        raise AssertionError

    def evaluate(self, params: Mapping[str, Array], batches: Batches) -> dict[str, float]:
        """Return the mean loss over one epoch of batches, and the metrics.

        Parameters
        ----------
        params : dict of str to array
        batches : Batches
            `Shards`, or batches of arrays.

        Returns
        -------
        dict of str to float
            ``"loss"`` and each metric.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit; the message names it.
        """
        check_source("batches", batches, self.model, evaluated=True, described=False)
        found = evaluate_objective(self, params, batches)
        return {"loss": found.loss, **found.metrics}

    def _described(self) -> dict[str, Any]:
        """Return what determines a run besides its model, loss and data."""
        found: dict[str, Any] = {"shards": self._shards}
        if (local := self._local) is not None:
            found |= {"local_steps": local.steps, "local_lr": local.lr}
            found["local_optimizer"] = plain(local.optimizer)
        return found

    def _jobs(
        self, batch: Batch, state: Any, seed: tuple[int, int] | None
    ) -> tuple[list[tuple[Batch, Any, int, int]], Any]:
        """Return batch, state, step and number of each shard, and what loads them, if anything."""
        step = seed[1] if seed else 0
        load = None
        if isinstance(batch.x, ToLoad):
            if self._shards not in (None, batch.x.shards):
                raise ValueError(
                    f"shards: expected none with batches in {batch.x.shards} shards, "
                    f"got {self._shards}"
                )
            load, where = batch.x.load, batch.x.step
            if self._local is not None and seed is not None:
                where *= self._local.steps
            empty: Any = replace(batch.x, load=None, step=where)  # type: ignore[arg-type]
            cut = [batch._replace(x=empty)] * batch.x.shards
            step = batch.x.step
        elif self._local is not None and seed is not None:
            raise ValueError("local_steps: expected batches in Shards, of any step, got arrays")
        elif self._shards is None:
            raise ValueError("shards: expected a number, for batches of arrays, got none")
        else:
            fewer = seed is None  # the last batch of an evaluation may be small
            cut = cut_batch(self.model, batch, self._shards, fewer=fewer)
        states = [None] * len(cut) if state is None else list(state)
        if len(states) != len(cut):
            raise ValueError(f"state: expected those of {len(cut)} shards, got {len(states)}")
        return [(one, s, step, i) for i, (one, s) in enumerate(zip(cut, states, strict=True))], load

    async def _attempt(
        self,
        params: HostParams,
        jobs: list[tuple[Batch, Any, int, int]],
        load: Any,
        seed: tuple[int, int] | None,
        futures: list[Any],
    ) -> Sums:
        """Send what is needed, and wait for the sums."""
        client = self._client
        workers = await self._current_workers()
        work = self._send(self._work)
        loader = None if load is None else self._send(load)
        sent = _send(client, params)
        sums = [
            client.submit(
                self._function,
                *(work, sent, loader, *job, None if seed is None else seed[0], self._threads),
                pure=False,
                workers=[workers[job[3] % len(workers)]],
                allow_other_workers=True,
            )
            for job in jobs
        ]
        futures[:] = sums
        while len(sums) > FAN_IN:
            groups = [sums[i : i + FAN_IN] for i in range(0, len(sums), FAN_IN)]
            sums = [client.submit(add, group, pure=False) for group in groups]
        return add(await client.gather(sums))

    async def _current_workers(self) -> list[str]:
        """Return the addresses of the workers; wait until there are some."""
        while not self._workers or time.monotonic() - self._asked > REFRESH:
            self._workers = sorted(await self._client.nthreads())
            self._asked = time.monotonic()
            if not self._workers:
                await asyncio.sleep(0.1)
        return self._workers

    def _send(self, value: Any) -> Any:
        """Return a future of a value that is sent to the workers once."""
        if id(value) not in self._sent:
            self._sent[id(value)] = value, _send(self._client, value)
        return self._sent[id(value)][1]

    def _forget(self) -> None:
        """Forget what was sent, and to which workers."""
        self._sent.clear()
        self._workers = []

    def _late(self, step: int, futures: list[Any]) -> TimeoutError:
        """Return the error that says how far a step came in its time."""
        self._forget()
        ended = sum(future.status == "finished" for future in futures)
        got = f"{ended} of {len(futures)} shards" if futures else "no scheduler with workers"
        return TimeoutError(
            f"timeout: expected step {step} within {self._timeout:g} s, got {got}; see the "
            "dashboard of the cluster, or give more time"
        )


def _send(client: Any, value: Any) -> Any:
    """Return a future of a value.

    It is the result of a task, not scattered: the scheduler sends it again, by itself, if workers
    are lost with it. (Scattering to all workers fails while some end.)
    """
    import dask

    with dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"}):
        return client.submit(_same, value, pure=False)


def _same(value: Any) -> Any:
    return value


def computed(
    work: Work,
    params: HostParams,
    load: Any,
    batch: Batch,
    state: Any,
    step: int,
    shard: int,
    seed: int | None,
    threads: int,
) -> Sums:
    """Compute a shard; this runs on a worker."""
    limit_threads(threads)
    if isinstance(batch.x, ToLoad):
        batch = batch._replace(x=replace(batch.x, load=load))
    return part(work, params, batch, state, step, shard, seed)


def _local(steps: Any, optimizer: Any, lr: Any) -> Local | None:
    """Check the options of local steps."""
    found = check_optimizer("local_optimizer", optimizer_of(optimizer, "local_optimizer"))
    refuse_scaled("local_optimizer", found, "there is no scaled loss here")
    lr = None if lr is None else check.number("local_lr", lr, above=0.0)
    if steps is None:
        if lr is not None:
            raise ValueError(f"local_lr: expected local_steps with it, got {lr:g} alone")
        return None
    steps = check.count("local_steps", steps)
    if lr is None:
        raise ValueError("local_lr: expected a learning rate with local_steps, got none")
    return Local(steps, found, lr)
