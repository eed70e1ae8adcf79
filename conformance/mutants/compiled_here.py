"""Whether the compiled loops are tried on this machine, and on which vectors.

On every change the loops are tried on vectors of 128 and 256 bits, which all current x86-64
processors have, so that the same code is tried everywhere. With the environment variable
EVERY_CELL, as `nox -s compiled` sets it, every width that the processor has is tried.
"""

import os
import platform

from portable_rnn._executors.llvm_target import BITS, Unavailable, host

__all__ = ["EVERY", "ON", "why_not"]

EVERY = "EVERY_CELL" in os.environ
ON = {} if EVERY else {BITS: "256"}  # environment variables to set


def why_not() -> str:
    """Return why they are not tried here; '' if they are."""
    try:
        host(None if EVERY else 256)
    except Unavailable as reason:
        return f"not run: {reason}"
    if EVERY or platform.machine().lower() in ("x86_64", "amd64"):
        return ""
    return f"not run: the compiled loops have yet to be tried on {platform.machine()}"
