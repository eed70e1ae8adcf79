"""Whether tests on CuPy's arrays can run here: on a CUDA device, or on the emulated one."""

from importlib.util import find_spec

from conformance import cuda_on_host
from conformance.backends import BACKENDS

__all__ = ["why_not"]

NEEDED = {"llvmlite": "the problems are those of the compiled layers", "ml_dtypes": "for bfloat16"}


def why_not():
    """Return why tests on CuPy's arrays are not run; "" if they can be.

    To be asked before a module imports CuPy, or what imports it.
    """
    for module, what in NEEDED.items():
        if find_spec(module) is None:
            return f"not run: {module} is not installed ({what})"
    BACKENDS["cupy-host"].prepare(named=False)
    if cuda_on_host.installed():
        return ""
    try:
        import cupy
    except ImportError as error:
        return f"not run: {error}"
    if cupy.cuda.is_available():
        return ""
    return f"not run: no CUDA device, and none is emulated: {cuda_on_host.why_not()}"
