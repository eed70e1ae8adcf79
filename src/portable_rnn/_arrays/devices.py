"""The device and error state a call runs with, and whether values can be read."""

import functools
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ParamSpec, TypeVar

from .namespace import (
    PLAIN,
    Array,
    is_array_api_strict_namespace,
    is_cupy_array,
    is_jax_namespace,
    is_numpy_array,
    is_numpy_namespace,
    is_torch_array,
    is_traced,
    own_namespace,
)

__all__ = ["device_context", "is_captured", "on_host", "with_device_of_arguments"]

P = ParamSpec("P")
R = TypeVar("R")


def on_host(array: Array) -> bool:
    """Return whether values of ``array`` can be read without a device transfer."""
    if type(array) in PLAIN:
        return True
    xp = own_namespace(array)
    if is_torch_array(array):
        return bool(array.device.type == "cpu")
    if is_jax_namespace(xp):
        return not is_traced(xp, array) and {d.platform for d in array.devices()} == {"cpu"}
    return bool(is_numpy_namespace(xp) or is_array_api_strict_namespace(xp))


def device_context(array: Array) -> AbstractContextManager[Any]:
    """Return what makes the device of a CuPy array the current one; nothing for other arrays."""
    return array.device if is_cupy_array(array) else nullcontext()


def is_captured() -> bool:
    """Return whether the current stream of CuPy, which is imported, is captured in a CUDA graph."""
    return bool(sys.modules["cupy"].cuda.get_current_stream().is_capturing())


def with_device_of_arguments(f: Callable[P, R]) -> Callable[P, R]:
    """Wrap ``f`` to run on the device of its first CuPy array, and ignore underflow in NumPy.

    CuPy allocates on the current device, whatever the device of the operands. NumPy can be set to
    raise on underflow (``np.seterr``); here underflow is rounding, such as a softmax probability
    of 1e-50, which is 0 in float32.
    """

    @functools.wraps(f)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        of_numpy = False
        for arg in (*args, *kwargs.values()):
            array: Any = arg
            if type(arg) not in PLAIN and (type(arg) is dict or isinstance(arg, Mapping)):
                array = next(iter(arg.values()), None)
            if type(array) in PLAIN:
                of_numpy = True
                if array is not arg:  # parameters: then all other arrays are NumPy's, or refused
                    break
                continue
            if not hasattr(array, "dtype"):
                continue
            if is_cupy_array(array):
                with array.device:
                    return f(*args, **kwargs)
            of_numpy = of_numpy or is_numpy_array(array)
        if of_numpy:
            with sys.modules["numpy"].errstate(under="ignore"):
                return f(*args, **kwargs)
        return f(*args, **kwargs)

    return call
