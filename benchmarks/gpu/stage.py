"""Run one stage in this process, and write what it found: ``python -m benchmarks.gpu.stage``."""

import argparse
import json
import traceback
from importlib import import_module
from pathlib import Path
from typing import Any

from portable_rnn.serialization import write_atomically

from . import settings
from .settings import NotAvailable

__all__ = ["main"]


def main() -> None:
    """Run the function ``run`` of a module; what it saves or returns is written each time."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("module", help="of which run(settings, save) is called")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--rehearse", action="store_true")
    options = parser.parse_args()
    from conformance import cuda_on_host

    def write(status: str, reason: str, found: dict[str, Any]) -> None:
        told = {"status": status, "reason": reason, "found": found}
        told["emulated"] = cuda_on_host.installed()  # of the device, whatever the options are
        write_atomically(options.to, json.dumps(told).encode())

    kept: dict[str, Any] = {}

    def save(found: dict[str, Any]) -> None:
        kept.clear()
        kept.update(found)
        write("failed", "it did not end", kept)

    try:
        if options.rehearse:
            cuda_on_host.install()
        found = import_module(options.module).run(settings.of(rehearse=options.rehearse), save)
    except (NotAvailable, cuda_on_host.Unavailable) as reason:
        write("not available", str(reason), kept)
    except Exception as error:
        traceback.print_exc()
        write("failed", f"{type(error).__name__}: {error}", kept)
    else:
        problems = found.get("problems", [])
        write("failed" if problems else "ok", "; ".join(problems), found)


if __name__ == "__main__":
    main()
