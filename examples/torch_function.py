"""A network of this library as a module of torch: torch's autograd on both sides of it.

Tensors are not copied: on a GPU they are arrays of CuPy that share their memory (DLPack), on the
CPU arrays of NumPy, so that this library runs the loop as it does for its own users. All work goes
to torch's current stream.

Without a reason to leave torch's tensors there is a simpler way: the functions of this library
take them as they are.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

import portable_rnn as prnn

__all__ = ["Network"]


def as_array(tensor: torch.Tensor) -> Any:
    """Return an array of CuPy or NumPy that shares the memory of a tensor."""
    tensor = tensor.detach().contiguous()
    if not tensor.is_cuda:
        return np.from_dlpack(tensor)
    import cupy

    return cupy.from_dlpack(tensor)


@contextmanager
def stream_of(tensor: torch.Tensor) -> Iterator[None]:
    """Have CuPy work on torch's current stream, so that neither waits for the other."""
    if not tensor.is_cuda:
        yield
        return
    import cupy

    current = torch.cuda.current_stream(tensor.device)
    with cupy.cuda.Device(tensor.device.index), cupy.cuda.ExternalStream(current.cuda_stream):
        yield


class _Run(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, model: prnn.RNN, x: torch.Tensor, *params: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(*params)  # torch notices if they are changed before `backward`
        ctx.model = model
        with stream_of(x):
            arrays = dict(zip(model.parameter_shapes, map(as_array, params), strict=True))
            fwd = prnn.forward(model, arrays, as_array(x))
            ctx.tape = fwd.tape
            return torch.from_dlpack(fwd.outputs)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, d_outputs: torch.Tensor) -> tuple[Any, ...]:
        with stream_of(d_outputs):
            params = map(as_array, ctx.saved_tensors)
            arrays = dict(zip(ctx.model.parameter_shapes, params, strict=True))
            grads = prnn.backward(ctx.model, arrays, ctx.tape, as_array(d_outputs))
            d_params = (torch.from_dlpack(grads.params[name]) for name in arrays)
            return None, torch.from_dlpack(grads.x), *d_params


class Network(torch.nn.Module):
    """A network with torch's parameters; its outputs begin at a state of zeros.

    Parameters
    ----------
    model : RNN
    seed : int
    """

    def __init__(self, model: prnn.RNN, seed: int = 0) -> None:
        super().__init__()
        self.model = model
        drawn = model.init(seed=seed, xp=torch)
        # A name of torch has no dot, those of the readout have one.
        self.weights = torch.nn.ParameterDict(
            {name.replace(".", "__"): torch.nn.Parameter(array) for name, array in drawn.items()}
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the outputs (T, B, O) for inputs (T, B, I)."""
        named = (self.weights[name.replace(".", "__")] for name in self.model.parameter_shapes)
        return _Run.apply(self.model, x, *named)
