"""Data-parallel training by `train`: one program in several processes, one all-reduce a step.

    python examples/all_reduce.py --processes 2 --checkpoint run.safetensors

Processes are those of torch.distributed, and arrays NumPy's; the same program runs under
``torchrun`` or MPI if it gets rank and size from there. For CuPy arrays, see
`examples/data_parallel.py` for an all-reduce by NCCL.
"""

import argparse
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

import portable_rnn as prnn
from portable_rnn.distributed import AllReduceGradients, Shards

MODEL = prnn.RNN(input_size=8, hidden_size=32, output_size=4, cell="gru")
SHARDS, TIME = 2, 20


def load(step: int, shard: int) -> prnn.batches.Batch:
    """Return a shard of a batch; the sequences of all shards have different lengths."""
    rng = np.random.default_rng([step, shard])
    count = 8 + 4 * shard
    x = rng.standard_normal((TIME, count, 8)).astype(np.float32)
    labels = np.argmax(np.cumsum(x[:, :, :4], axis=0), axis=2)
    return prnn.batches.Batch(x, labels, lengths=rng.integers(1, TIME + 1, count))


def all_reduce(vector: Any) -> Any:
    """Add vectors of all processes; the tensor shares the array's memory."""
    dist.all_reduce(torch.from_numpy(vector))
    return vector


def work(rank: int, size: int, port: int, steps: int, checkpoint: str | None) -> None:
    """Train in one of ``size`` processes: all with the same arguments."""
    torch.set_num_threads(1)
    store = dist.TCPStore("127.0.0.1", port, size, is_master=rank == 0)
    dist.init_process_group("gloo", store=store, rank=rank, world_size=size)
    run = prnn.training.train(
        MODEL,
        MODEL.init(seed=0),
        Shards(load, SHARDS),
        steps=steps,
        lr=0.01,
        max_norm=1.0,
        gradients=AllReduceGradients(MODEL, all_reduce, rank=rank, size=size),
        checkpoint=checkpoint,
        resume=checkpoint is not None,
        progress="auto" if rank == 0 else False,
    )
    if rank == 0:
        print(f"{size} processes, loss {run.loss:.4f}")
    dist.destroy_process_group()


def main() -> None:
    """Start the processes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--checkpoint", metavar="FILE")
    given = parser.parse_args()
    port = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False).port
    arguments = (given.processes, port, given.steps, given.checkpoint)
    mp.spawn(work, arguments, nprocs=given.processes)


if __name__ == "__main__":
    main()
