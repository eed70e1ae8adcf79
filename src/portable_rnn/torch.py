"""A network as a module of torch, to stand between other modules.

In a training step, tensors are arrays of NumPy on a CPU and of CuPy on a GPU, in the same memory
(DLPack), so that loops run as they do for these libraries; torch's autograd sees one function.
Where torch has to differentiate or map this function itself, as for a second derivative or in
`torch.func`, the library runs on the tensors as they are, and torch records its operations.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from operator import attrgetter
from typing import Any, NamedTuple

import numpy as np

from ._arrays import checks as check
from ._calls.checks import check_model, check_parameters
from .api import backward, forward, predict
from .model import RNN

try:
    import torch
except ImportError:
    raise ImportError("torch is needed for portable_rnn.torch: pip install torch") from None
from torch.autograd.forward_ad import unpack_dual
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

__all__ = ["Layer"]

Tensors = tuple[torch.Tensor, ...]


@check.named_options
class Layer(torch.nn.Module):  # type: ignore[misc]
    """A network as a module of torch: ``Layer(RNN(3, 4, cell="gru"))`` for ``torch.nn.GRU(3, 4)``.

    Parameters have the names of the model, which are torch's. The module can be differentiated
    twice, and used under `torch.func` (``grad``, ``vmap``, ``jvp``); ``torch.compile`` leaves it as
    it is, with a break in its graph.

    Parameters
    ----------
    model : RNN
        With any cell, also of your own, and with an embedding, a readout or a pool if you like.
    params : dict of str to tensor, optional
        Initial values; by default ``model.init``, with a seed from torch's generator.
    dtype : torch.dtype, optional
        Of parameters that are drawn; torch's default dtype by default.
    device : torch.device or str, optional

    Attributes
    ----------
    model : RNN

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import torch
    >>> import portable_rnn as prnn
    >>> from portable_rnn.torch import Layer
    >>> layer = Layer(prnn.RNN(3, 4, cell="gru", num_layers=2))
    >>> outputs, state = layer(torch.zeros(5, 2, 3))
    >>> tuple(outputs.shape), tuple(state.shape)
    ((5, 2, 4), (2, 2, 4))
    >>> layer.load_state_dict(torch.nn.GRU(3, 4, num_layers=2).state_dict())
    <All keys matched successfully>
    """

    def __init__(
        self,
        model: RNN,
        params: Mapping[str, torch.Tensor] | None = None,
        *,
        dtype: Any = None,
        device: Any = None,
    ) -> None:
        super().__init__()
        check_model(model)
        if not isinstance(model, RNN):
            raise TypeError(f"model: expected an RNN, got {type(model).__name__}")
        if params is None:
            dtype = torch.get_default_dtype() if dtype is None else dtype
            seed = int(torch.randint(2**62, ()))
            params = model.init(seed=seed, xp=torch, dtype=dtype, device=device)
        else:
            check_parameters(model, params)
        self.model = model
        for name, array in params.items():
            part, _, own = name.rpartition(".")
            if part and part not in self._modules:
                self.add_module(part, torch.nn.Module())
            given = torch.as_tensor(array, dtype=dtype, device=device).detach().clone()
            self.get_submodule(part).register_parameter(own, torch.nn.Parameter(given))

    @check.named_options
    def forward(
        self,
        x: torch.Tensor | PackedSequence,
        state: Any = None,
        *,
        lengths: Any = None,
        mask: Any = None,
    ) -> tuple[Any, Any]:
        """Run the network over sequences.

        Parameters
        ----------
        x : tensor, shape (T, B, I), (B, T, I) with ``batch_first``, or (T, I); or PackedSequence
            For a model with a vocabulary, integer tokens instead: (T, B), (B, T) or (T,).
        state : tensor, shape (L·D, B, H), or (L·D, H) if unbatched; for LSTM a pair, optional
        lengths, mask : optional
            The valid steps, as for :func:`portable_rnn.forward`. A packed sequence has its own.

        Returns
        -------
        outputs : tensor, shape (T, B, O) in the layout of ``x``; or PackedSequence
        state : tensor, or for LSTM a pair
            After the last step.

        Raises
        ------
        TypeError, ValueError
            If an argument does not fit; the message names it.
        """
        if isinstance(x, PackedSequence):
            return self._packed(x, state, lengths, mask)
        if not isinstance(x, torch.Tensor):
            raise TypeError(f"x: expected a tensor of torch, got {check.said(x)}")
        given = {"lengths": lengths, "mask": mask}
        if torch.compiler.is_compiling():
            run = torch.compiler.disable(self._run)
            return run(x, state, given)  # type: ignore[no-any-return]
        return self._run(x, state, given)

    def extra_repr(self) -> str:
        """Return what torch shows of the module: its description."""
        return repr(self.model)

    def _run(self, x: torch.Tensor, state: Any, options: dict[str, Any]) -> tuple[Any, Any]:
        model = self.model
        if model.dropout or model.recurrent_dropout or model.zoneout:
            options["dropout"] = int(torch.randint(2**62, ())) if self.training else False
        states = () if state is None else state if isinstance(state, tuple) else (state,)
        if strange := [part for part in states if not isinstance(part, torch.Tensor)]:
            raise TypeError(f"state: expected tensors of torch, got {check.said(strange[0])}")
        names = tuple(model.parameter_shapes)
        tensors = (x, *states, *(attrgetter(name)(self) for name in names))
        run = _Run(model, names, len(states), options)
        if any(map(_is_followed, tensors)):
            found = forward(model, *run.named(tensors), **options)
            return found.outputs, found.state
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            outputs, *after = _Function.apply(run, *tensors)
        else:
            outputs, *after = run.without_tape(tensors)
        return outputs, tuple(after) if len(after) > 1 else after[0]

    def _packed(
        self, x: PackedSequence, state: Any, lengths: Any, mask: Any
    ) -> tuple[PackedSequence, Any]:
        if lengths is not None or mask is not None:
            name = "lengths" if lengths is not None else "mask"
            raise ValueError(f"{name}: expected none with a packed sequence, which has its own")
        first = self.model.batch_first
        padded, lengths = pad_packed_sequence(x, batch_first=first)
        outputs, state = self(padded, state, lengths=lengths)
        if x.sorted_indices is not None:  # as it was packed, also where lengths are equal
            outputs = outputs.index_select(0 if first else 1, x.sorted_indices)
            lengths = lengths[x.sorted_indices.cpu()]
        data = pack_padded_sequence(outputs, lengths, batch_first=first).data
        return PackedSequence(data, x.batch_sizes, x.sorted_indices, x.unsorted_indices), state


class _Run(NamedTuple):
    """What a run needs beside tensors: ``x``, states and parameters, in this order."""

    model: RNN
    names: tuple[str, ...]
    states: int
    options: dict[str, Any]

    def named(self, tensors: tuple[Any, ...]) -> tuple[dict[str, Any], Any, Any]:
        """Return parameters, ``x`` and state, as the library's functions take them."""
        x, states, params = tensors[0], tensors[1 : 1 + self.states], tensors[1 + self.states :]
        return dict(zip(self.names, params, strict=True)), x, _state(states)

    def without_tape(self, tensors: Tensors) -> Tensors:
        """Return outputs and states."""
        options = dict(self.options)
        with _current_stream(tensors[0]):
            params, x, state = self.named(tuple(map(_as_array, tensors)))
            if options.get("dropout"):
                found = forward(self.model, params, x, state, **options)
                outputs, after = found.outputs, found.state
            else:
                options.pop("dropout", None)
                outputs, after = predict(self.model, params, x, state, return_state=True, **options)
            return tuple(map(_as_tensor, (outputs, *_parts(after))))


class _Function(torch.autograd.Function):  # type: ignore[misc]
    @staticmethod
    def forward(ctx: Any, run: _Run, *tensors: torch.Tensor) -> Tensors:
        with _current_stream(tensors[0]):
            params, x, state = run.named(tuple(map(_as_array, tensors)))
            found = forward(run.model, params, x, state, **run.options)
            outputs = tuple(map(_as_tensor, (found.outputs, *_parts(found.state))))
        ctx.run, ctx.tape = run, found.tape
        # The tape holds the memory of all of them: torch notices if one is changed before the way
        # back.
        ctx.save_for_backward(*tensors, *outputs)
        ctx.set_materialize_grads(False)
        return outputs

    @staticmethod
    def backward(ctx: Any, *cotangents: torch.Tensor | None) -> tuple[torch.Tensor | None, ...]:
        run, count = ctx.run, len(cotangents)
        tensors, outputs = ctx.saved_tensors[:-count], ctx.saved_tensors[-count:]
        given: list[Any] = [*cotangents]
        if all(d is None for d in given):
            return (None,) * (1 + len(tensors))
        if any(d is not None for d in given[1:]):
            pairs = zip(given[1:], outputs[1:], strict=True)
            given[1:] = [torch.zeros_like(of) if d is None else d for d, of in pairs]
        if torch.is_grad_enabled():  # for a second derivative
            params, x, state = run.named(tensors)
            tape = forward(run.model, params, x, state, **run.options).tape
            return _pulled_back(ctx, params, tape, given)
        with _current_stream(tensors[0]):
            params, _, _ = run.named(tuple(map(_as_array, tensors)))
            given = [None if d is None else _as_array(d) for d in given]
            found = _pulled_back(ctx, params, ctx.tape, given)
            return tuple(None if d is None else _as_tensor(d) for d in found)


def _pulled_back(ctx: Any, params: Any, tape: Any, cotangents: list[Any]) -> tuple[Any, ...]:
    """Return the gradients for all arguments of `_Function`, of the library of the cotangents."""
    run, (d_outputs, *d_state) = ctx.run, cotangents
    d_final = None if d_state[0] is None else _state(d_state)
    grad_x = ctx.needs_input_grad[1]
    found = backward(run.model, params, tape, d_outputs, d_final, grad_x=grad_x)
    d_states = _parts(found.state) if run.states else ()
    return None, found.x, *d_states, *(found.params[name] for name in run.names)


def _state(parts: Any) -> Any:
    return tuple(parts) if len(parts) > 1 else parts[0] if parts else None


def _parts(state: Any) -> tuple[Any, ...]:
    return state if isinstance(state, tuple) else (state,)


def _is_followed(tensor: torch.Tensor) -> bool:
    """Return whether a transformation of `torch.func`, or forward mode, follows a tensor."""
    wrapped = torch.func.debug_unwrap(tensor, recurse=False) is not tensor
    return wrapped or unpack_dual(tensor).tangent is not None


def _as_array(tensor: torch.Tensor) -> Any:
    """Return an array of NumPy or CuPy in the same memory; the tensor, if they cannot hold it."""
    tensor = tensor.detach()
    if tensor.device.type == "cpu" and tensor.dtype != torch.bfloat16:
        return np.from_dlpack(tensor)
    if tensor.is_cuda and find_spec("cupy"):
        import cupy

        return cupy.from_dlpack(tensor)
    return tensor


def _as_tensor(array: Any) -> torch.Tensor:
    return array if isinstance(array, torch.Tensor) else torch.from_dlpack(array)


@contextmanager
def _current_stream(tensor: torch.Tensor) -> Iterator[None]:
    """Have CuPy work on torch's current stream, so that neither waits for the other."""
    if not (tensor.is_cuda and find_spec("cupy")):
        yield
        return
    import cupy

    current = torch.cuda.current_stream(tensor.device)
    with cupy.cuda.Device(tensor.device.index), cupy.cuda.ExternalStream(current.cuda_stream):
        yield
