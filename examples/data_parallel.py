"""Data-parallel training: one process for each GPU, and one all-reduce of NCCL a step.

    python examples/data_parallel.py [NUMBER OF GPUS]

Each process has all parameters and a share of the sequences of each batch. Gradients of *sums* of
losses are added, and divided by the number of steps of the whole batch: so shares, and sequences in
them, may have different lengths. All processes then take the same step with the same numbers.
"""

import multiprocessing
import sys
from collections.abc import Callable
from typing import Any

import numpy as np

import portable_rnn as prnn

MODEL = prnn.RNN(input_size=8, hidden_size=64, output_size=4, cell="gru")
STEPS, BATCH, TIME = 20, 32, 50

AllReduce = Callable[[Any], Any]  # from a vector to the sum of those of all processes


def reduced_step(
    params: dict[str, Any],
    state: Any,
    x: Any,
    labels: Any,
    lengths: Any,
    all_reduce: AllReduce,
    total: int,
) -> tuple[dict[str, Any], Any, dict[str, Any], Any]:
    """Take one step on a share of a batch that has ``total`` steps of time in all its sequences.

    Returns parameters, state of the optimizer, and gradients and loss of the whole batch.
    """
    own = prnn.bptt(MODEL, params, x, labels, lengths=lengths, grad_x=False, reduction="sum")
    # The loss travels with the gradients.
    sums = own.grads | {"loss": own.loss}
    vector = all_reduce(prnn.parameters_to_vector(sums)) / total
    found = prnn.vector_to_parameters(vector, sums)
    loss = found.pop("loss")
    grads, _ = prnn.optimizers.clip_by_global_norm(found, max_norm=1.0)
    params, state = prnn.optimizers.adam(params, grads, state, lr=1e-3)
    return params, state, found, loss


def data(step: int) -> tuple[Any, Any, Any]:
    """Return a batch on the host: the same in all processes, which take a share each."""
    rng = np.random.default_rng(step)
    x = rng.standard_normal((TIME, BATCH, 8)).astype(np.float32)
    labels = np.argmax(np.cumsum(x[:, :, :4], axis=0), axis=2)
    return x, labels, rng.integers(1, TIME + 1, BATCH)


def train(rank: int, size: int, xp: Any, all_reduce: AllReduce) -> tuple[dict[str, Any], Any]:
    """Train in one of ``size`` processes; return parameters and the last loss, equal in all."""
    params, state, loss = MODEL.init(seed=0, xp=xp), None, None
    share = slice(rank * BATCH // size, (rank + 1) * BATCH // size)
    for step in range(STEPS):
        x, labels, lengths = data(step)
        own = xp.asarray(x[:, share]), xp.asarray(labels[:, share]), lengths[share]
        params, state, _, loss = reduced_step(
            params, state, *own, all_reduce, total=int(lengths.sum())
        )
    return params, loss


def work(rank: int, size: int) -> None:
    """Train on the GPU of a process."""
    import cupy
    from cupyx.distributed import init_process_group

    cupy.cuda.Device(rank).use()
    group = init_process_group(size, rank)

    def all_reduce(vector: Any) -> Any:
        out = cupy.empty_like(vector)
        group.all_reduce(vector, out, stream=cupy.cuda.get_current_stream())
        return out

    _, loss = train(rank, size, cupy, all_reduce)
    if rank == 0:
        print(f"{size} processes, loss {float(loss):.4f}")


def main() -> None:
    """Start a process for each GPU."""
    import cupy

    size = int(sys.argv[1]) if len(sys.argv) > 1 else cupy.cuda.runtime.getDeviceCount()
    spawn = multiprocessing.get_context("spawn")
    processes = [spawn.Process(target=work, args=(rank, size)) for rank in range(size)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if any(process.exitcode for process in processes):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
