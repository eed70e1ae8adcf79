"""Count what reaches the device while something runs: kernels, transfers, and waits of the host.

On a GPU, torch's profiler sees what CUPTI records of the whole process, and so also what CuPy does.
The emulated device counts itself.
"""

from collections import Counter
from collections.abc import Callable
from importlib import import_module
from typing import Any

from conformance import cuda_on_host

from .settings import NotAvailable

__all__ = ["KINDS", "classify", "counter"]

KINDS = ("kernel", "h2d", "d2h", "d2d", "p2p", "memset", "sync", "query")
COPIES = {
    "Memcpy HtoD": "h2d",
    "Memcpy DtoH": "d2h",
    "Memcpy DtoD": "d2d",
    "Memcpy PtoP": "p2p",
    "Memset": "memset",
}
CALLS = {
    **{f"cuda{of}Synchronize": "sync" for of in ("Stream", "Device", "Event")},
    **{f"cu{of}Synchronize": "sync" for of in ("Stream", "Ctx", "Event")},
    **{f"{library}{of}Query": "query" for library in ("cuda", "cu") for of in ("Stream", "Event")},
}
IGNORED = ("Stream Sync", "Event Sync", "Context Sync", "Stream Wait", "ProfilerStep")  # are calls

Count = Callable[[Callable[[], Any]], Counter[str]]


def counter() -> tuple[str, Count]:
    """Return by what is counted, and a function that counts what a function does, of `KINDS`.

    Raises
    ------
    NotAvailable
        If nothing here sees the device, or if it does not see a copy to the host.
    """
    if cuda_on_host.installed():
        return "the emulated device", emulated
    try:
        torch = import_module("torch")
    except ImportError as error:
        raise NotAvailable(f"torch's profiler is needed: {error}") from None
    if not torch.cuda.is_available():
        raise NotAvailable("this torch sees no CUDA device, and its profiler nothing of CuPy's")
    torch.cuda.synchronize()  # its context is made

    def profiled(call: Callable[[], Any]) -> Counter[str]:
        return profile(torch, call) - profile(torch, lambda: None)  # its own waits

    return f"torch.profiler {torch.__version__}", profiled


def emulated(call: Callable[[], Any]) -> Counter[str]:
    """Count on the emulated device."""
    with cuda_on_host.Log() as log:
        call()
    counts = Counter({kind: log.counts[kind] for kind in KINDS})
    counts["kernel"] += sum(log.counts[kind] for kind in ("launch", "cooperative launch", "gemm"))
    return +counts


def profile(torch: Any, call: Callable[[], Any]) -> Counter[str]:
    """Count by torch's profiler."""
    profiler = torch.profiler
    both = [profiler.ProfilerActivity.CPU, profiler.ProfilerActivity.CUDA]
    with profiler.profile(activities=both) as found:
        call()
    cuda = torch.autograd.DeviceType.CUDA
    kinds = (classify(event.name, event.device_type == cuda) for event in found.events())
    return Counter(kind for kind in kinds if kind)


def classify(name: str, on_device: bool) -> str:
    """Return which of `KINDS` an event of the profiler is; "" if it is none."""
    if not on_device:
        return CALLS.get(name, "")
    if name.startswith(IGNORED):
        return ""
    return next((kind for start, kind in COPIES.items() if name.startswith(start)), "kernel")
