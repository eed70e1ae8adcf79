"""Run all kernels once, for a tool that watches them: ``python -m benchmarks.gpu.kernels``."""

import argparse

from conformance import cuda_on_host

__all__ = ["main"]

SIZES = ((3, 1, 5), (4, 3, 40), (2, 17, 33))  # T, B, H: not multiples of what kernels take at once


def main() -> None:
    """Run forward and backward passes of every cell by every executor, each array on its own."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rehearse", action="store_true")
    if parser.parse_args().rehearse:
        cuda_on_host.install()
    import cupy as cp

    from portable_rnn.cells import CELLS

    from .contenders import draw, names_of_executors, on_cupy, passes, refusal

    cp.cuda.set_allocator(None)  # a pool would give room beyond the end of an array
    ran = 0
    for cell in CELLS:
        for steps, batch, hidden in SIZES:
            p = draw(cell, batch, hidden, 7, steps, "float32")
            for name in names_of_executors():
                if not refusal(p, name):
                    passes(on_cupy(p), name)()
                    ran += 1
    cp.cuda.Device().synchronize()
    wrong = cuda_on_host.memory_check() if cuda_on_host.installed() else ""
    if wrong:
        raise SystemExit(wrong)
    print(f"{ran} runs")


if __name__ == "__main__":
    main()
