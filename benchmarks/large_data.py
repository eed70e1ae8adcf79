"""Train from data on disk that is larger than the memory allowed, and resume to the same bits.

A file of random sequences is made, a network is trained from it for one epoch in a process of its
own, again in two parts, and the largest memory of a process is printed. Pages of a file that is
mapped to memory do not count: the system keeps them while nobody else needs them.

    python benchmarks/large_data.py --store memmap zarr h5py [--megabytes N] [--folder PATH]

``--json PATH`` writes a record. The files are in a folder that is removed.
"""

import argparse
import datetime
import importlib
import resource
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path
from typing import Any

import measuring  # before any library starts its threads
import numpy as np

import portable_rnn as prnn
from portable_rnn.batches import Chunked, Prefetched
from portable_rnn.training import Callback, Run, train

STEPS, INPUTS, PIECE = 64, 32, 512  # a sequence is 8 kB, and 4 MB are written at a time
MODEL = prnn.RNN(INPUTS, 16, 2, cell="gru", pool="last", batch_first=True)


class Watch(Callback):
    """Measure memory (MB), and stop after a number of steps."""

    def __init__(self, step: int | None) -> None:
        self.step, self.most = step, 0.0

    def on_step(self, run: Run) -> None:
        """Look at both."""
        status = Path("/proc/self/status").read_text(encoding="utf-8")
        own = next(line for line in status.splitlines() if line.startswith("RssAnon"))
        self.most = max(self.most, int(own.split()[1]) / 1024)
        if run.step == self.step:
            run.stop("half of them")


def opened(store: str, folder: Path, count: int = 0) -> tuple[Any, Any]:
    """Return inputs and targets on disk; made for ``count`` sequences, if it is not 0."""
    shapes = {"x": (count, STEPS, INPUTS), "targets": (count,)}
    dtypes = {"x": np.float32, "targets": np.int8}
    if store == "memmap":
        mode = "w+" if count else "r"
        maps = [
            np.lib.format.open_memmap(
                folder / f"{name}.npy", mode, dtypes[name], shapes[name] if count else None
            )
            for name in shapes
        ]
        return maps[0], maps[1]
    if store == "zarr":
        import zarr

        if count:
            group = zarr.open_group(folder / "data.zarr", mode="w")
            for name, shape in shapes.items():
                group.create_array(
                    name, shape=shape, dtype=dtypes[name], chunks=(PIECE, *shape[1:])
                )
        else:
            group = zarr.open_group(folder / "data.zarr", mode="r")
        return group["x"], group["targets"]
    import h5py

    file = h5py.File(folder / "data.h5", "w" if count else "r")
    for name, shape in shapes.items() if count else ():
        file.create_dataset(name, shape, dtypes[name], chunks=(PIECE, *shape[1:]))
    return file["x"], file["targets"]


def write(store: str, folder: Path, count: int) -> None:
    """Fill the file with random sequences; the target is the sign of a sum."""
    x, targets = opened(store, folder, count)
    rng = np.random.default_rng(0)
    for start in range(0, count, PIECE):
        size = min(PIECE, count - start)
        piece = rng.standard_normal((size, STEPS, INPUTS), dtype=np.float32)
        x[start : start + size] = piece
        targets[start : start + size] = piece[:, -8:, 0].sum(axis=1) > 0


def learn(store: str, folder: Path, checkpoint: Path, stop: int | None) -> None:
    """Train for an epoch, or until a step, and print memory (MB) and a checksum of the result."""
    watch = Watch(stop)
    source = Chunked(*opened(store, folder), batch_size=256, batch_axis=0, seed=1)
    run = train(
        MODEL,
        MODEL.init(seed=0),
        Prefetched(source),
        steps=source.steps_per_epoch,
        lr=0.01,
        checkpoint=checkpoint,
        save_every=100,
        resume=True,
        callbacks=[watch],
    )
    bits = zlib.crc32(b"".join(array.tobytes() for array in run.params.values()))
    whole = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(watch.most if store == "memmap" else whole, run.step, bits)


def measure(store: str, megabytes: int, parent: Path | None) -> dict[str, Any]:
    """Make the file, train whole and in two parts, and return what was measured."""
    with tempfile.TemporaryDirectory(dir=parent) as made:
        folder, count = Path(made), megabytes * 2**20 // (4 * STEPS * INPUTS)
        # Also this in a process of its own: what it held would count as its children's.
        code = f"import large_data as of; of.write({store!r}, of.Path({made!r}), {count})"
        subprocess.run(
            [sys.executable, "-c", code], check=True, cwd=Path(__file__).parent, timeout=3000
        )
        command = [sys.executable, __file__, "--store", store, "--folder", made]

        def trained(name: str, *more: str) -> list[str]:
            ended = subprocess.run(
                [*command, "--learn", str(folder / name), *more],
                capture_output=True,
                text=True,
                check=False,
                timeout=3000,
            )
            if ended.returncode:
                sys.exit(ended.stderr)
            return ended.stdout.split()

        begun = time.perf_counter()
        whole = trained("whole")
        seconds = time.perf_counter() - begun
        parts = [trained("parts", "--stop", str(int(whole[1]) // 2)), trained("parts")]
    return {
        "store": store,
        "megabytes": megabytes,
        "most_megabytes_in_memory": round(max(float(one[0]) for one in (whole, *parts))),
        "same_bits": parts[1][1:] == whole[1:],
        "seconds_of_an_epoch": round(seconds, 1),
    }


def main() -> None:
    """Measure each store, print a line of it, and write a record if it is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--store", choices=("memmap", "zarr", "h5py"), nargs="+", required=True)
    parser.add_argument("--megabytes", type=int, default=2048)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--learn", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--stop", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.learn:
        learn(options.store[0], options.folder, options.learn, options.stop)
        return
    rows = []
    for store in options.store:
        rows.append(row := measure(store, options.megabytes, options.folder))
        same = "resumed-to-the-same-bits" if row["same_bits"] else "differs"
        print(store, row["most_megabytes_in_memory"], same, flush=True)
    if options.json:
        used = [np, *(importlib.import_module(one) for one in options.store if one != "memmap")]
        today = datetime.date.today().isoformat()
        measuring.write(options.json, tuple(used), date=today, rows=rows)


if __name__ == "__main__":
    main()
