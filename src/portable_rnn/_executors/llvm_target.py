"""The processor that code is made for: how wide its vectors are, and how many it holds."""

import os
import platform
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

__all__ = ["BITS", "Target", "Unavailable", "host"]

# Bits of a vector, to have others than the widest of the processor.
BITS = "PORTABLE_RNN_VECTOR_BITS"
WIDTHS = (128, 256, 512)


class Unavailable(RuntimeError):
    """Nothing can be compiled here; the message says why."""


@dataclass(frozen=True)
class Target:
    """A processor, and how code is to use its vectors."""

    triple: str
    cpu: str
    features: str
    bits: int  # of a vector
    registers: int  # how many vectors it holds

    def lanes(self, dtype: str) -> int:
        """Return how many numbers a vector has."""
        return self.bits // (32 if dtype == "float32" else 64)

    @property
    def accumulators(self) -> int:
        """How many sums a matrix product keeps in registers; some are left for its factors."""
        return self.registers * 3 // 4

    @property
    def text(self) -> str:
        """All of it: code for equal texts is equal."""
        return f"{self.triple} {self.cpu} {self.features} {self.bits} {self.registers}"

    def machine(self) -> Any:
        """Return LLVM's description of it."""
        llvm = binding()
        target = llvm.Target.from_triple(self.triple)
        return target.create_target_machine(cpu=self.cpu, features=self.features, opt=3)


def host(bits: int | None = None) -> Target:
    """Return this processor.

    Parameters
    ----------
    bits : int, optional
        Of a vector: 128, 256 or 512. By default what the environment variable
        ``PORTABLE_RNN_VECTOR_BITS`` says, or the most that it has. Wider ones than it has are put
        together from several, and what is computed is the same.

    Raises
    ------
    Unavailable
        If llvmlite is not there, or the processor has no fused multiply-add on vectors.
    ValueError
        If there are no such vectors.
    """
    return _host(_asked() if bits is None else bits)


def binding() -> Any:
    """Return ``llvmlite.binding``, ready to make code for this machine."""
    try:
        import llvmlite.binding as llvm
    except ImportError as error:
        wanted = "llvmlite: pip install llvmlite"
        raise Unavailable(f"needs {wanted} ({error})") from None
    _initialize()
    return llvm


def _asked() -> int | None:
    text = os.environ.get(BITS, "")
    if text and not text.isdecimal():
        raise ValueError(f"{BITS}: expected one of {', '.join(map(str, WIDTHS))}, got {text!r}")
    return int(text) if text else None


@lru_cache(maxsize=8)
def _host(bits: int | None) -> Target:
    llvm = binding()
    if bits is not None and bits not in WIDTHS:
        raise ValueError(f"vectors: expected {', '.join(map(str, WIDTHS))} bits, got {bits}")
    # Said of this process: a 32-bit one on a 64-bit processor has fewer registers.
    triple, cpu = llvm.get_process_triple(), llvm.get_host_cpu_name()
    found = dict(llvm.get_host_cpu_features())
    if platform.machine().lower() in ("arm64", "aarch64"):
        widest, registers = 128, 32
        bits = bits or widest
    elif found.get("avx2") and found.get("fma"):
        widest = 512 if found.get("avx512f") and found.get("avx512vl") else 256
        bits = bits or widest
        registers = 32 if bits > 256 and widest > 256 else 16
    else:
        raise Unavailable(f"no fused multiply-add on vectors: {cpu}")
    if bits < 512 and widest == 512:
        # To do without: then without the instructions too, as a processor that lacks them.
        found |= {name: False for name in found if name.startswith(("avx512", "avx10"))}
    features = ",".join(f"{'+' if has else '-'}{name}" for name, has in sorted(found.items()))
    return Target(triple, cpu, features, bits, registers)


@lru_cache(maxsize=1)
def _initialize() -> None:
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
