"""The command: ``python -m benchmarks.gpu [--out FOLDER] [--rehearse] [--only STAGES]``.

It ends with 0 if all stages are right or not available, 1 if one failed, 2 if an option is wrong,
and 77 if there is no CUDA device; nothing is written then.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from portable_rnn.serialization import write_atomically

from . import page
from .runner import STAGES, record

NO_DEVICE = 77


def main() -> int:
    """Run the stages, write the record and the page, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("--out", type=Path, default=Path("build/gpu"), help="default: build/gpu")
    parser.add_argument("--rehearse", action="store_true", help="on the emulated device")
    parser.add_argument("--only", default="", help="names of stages with commas between")
    options = parser.parse_args()
    names = [stage.name for stage in STAGES]
    only = [name for name in options.only.split(",") if name]
    if unknown := [name for name in only if name not in names]:
        parser.error(f"--only: expected some of {', '.join(names)}, got {', '.join(unknown)}")
    wanted = [stage for stage in STAGES if not only or stage.name in (*only, "device")]
    with tempfile.TemporaryDirectory() as folder:
        found = record(wanted, Path(folder), rehearse=options.rehearse)
        device = found["stages"]["device"]
        if device["status"] == "not available":
            print(f"no CUDA device: {device['reason']}", file=sys.stderr)
            return NO_DEVICE
        name = f"{'rehearsal' if found['emulated'] else 'gpu'}-{found['date'][:10]}"
        options.out.mkdir(parents=True, exist_ok=True)
        to = options.out / f"{name}.json"
        write_atomically(to, (json.dumps(found, indent=1) + "\n").encode())
        write_atomically(to.with_suffix(".md"), page.markdown(found).encode())
        (options.out / f"{name}-logs").mkdir(exist_ok=True)
        for log in Path(folder).iterdir():
            (options.out / f"{name}-logs" / log.name).write_bytes(log.read_bytes())
    print(f"{to}, and {to.with_suffix('.md').name}")
    return int(any(stage["status"] == "failed" for stage in found["stages"].values()))


if __name__ == "__main__":
    sys.exit(main())
