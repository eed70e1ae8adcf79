"""The reference: torch.nn.RNN, GRU and LSTM at float64, differentiated by torch.

A problem's parameters go in by ``load_state_dict``, unchanged and strictly: names, shapes
and gate order are part of what is compared.
"""

from functools import lru_cache

import numpy as np

from .subject import results

__all__ = ["modules_of", "reference"]


@lru_cache(maxsize=256)
def reference(problem, dtype):
    """Return the results by name, float64, from inputs rounded to ``dtype``."""
    import torch

    host = problem.arrays(dtype)
    modules = modules_of(problem, host)

    def leaf(array):
        return torch.tensor(array).double().requires_grad_()

    x = leaf(host.x)
    zeros = tuple(map(np.zeros, problem.model.state_shapes(problem.batch)))
    before = [leaf(part) for part in (zeros if host.state is None else _parts(host.state))]
    outputs, after = _run(modules, x, before, host.lengths)

    after = tuple(after)
    pulled = [(outputs, host.d_outputs)] if host.d_outputs is not None else []
    if host.d_state is not None:
        pulled += zip(after, _parts(host.d_state), strict=True)
    # An array that no cotangent reaches has no gradient in torch, and a zero one here.
    torch.autograd.backward([v for v, _ in pulled], [torch.tensor(d).double() for _, d in pulled])

    def gradient(tensor):
        return np.zeros(tuple(tensor.shape)) if tensor.grad is None else tensor.grad.numpy()

    learned = dict(modules.named_parameters())
    return results(
        outputs.detach().numpy(),
        tuple(part.detach().numpy() for part in after),
        {name: gradient(learned[_torch_name(name)]) for name in host.params},
        gradient(x),
        tuple(map(gradient, before)),
    )


def modules_of(problem, host):
    """Return torch's modules, float64, with the parameters of a problem."""
    import torch

    kind = {"elman": torch.nn.RNN, "gru": torch.nn.GRU}.get(problem.cell, torch.nn.LSTM)
    options = {"nonlinearity": problem.nonlinearity} if problem.cell == "elman" else {}
    if problem.model.projection_size:
        options = {"proj_size": problem.model.projection_size}
    modules = torch.nn.ModuleDict(
        {
            "rnn": kind(
                problem.inputs,
                problem.hidden,
                bias=problem.bias,
                batch_first=problem.batch_first,
                num_layers=problem.layers,
                bidirectional=problem.bidirectional,
                **options,
            )
        }
    )
    if problem.outputs is not None:
        features = problem.model.directions * problem.model.recurrent_size
        modules["readout"] = torch.nn.Linear(features, problem.outputs, bias=problem.bias)
    modules = modules.double()
    modules.load_state_dict(
        {_torch_name(name): torch.tensor(a).double() for name, a in host.params.items()}
    )
    return modules


def _run(modules, x, before, lengths):
    """Return outputs and final states; sequences with lengths are packed as in torch."""
    import torch
    from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

    def go(x, before):
        return modules["rnn"](x, tuple(before) if len(before) == 2 else before[0])

    if lengths is None:
        outputs, after = go(x, before)
        return modules["readout"](outputs) if "readout" in modules else outputs, _parts(after)
    # torch refuses a sequence without steps: its state stays, and its outputs are zero.
    axis = 0 if modules["rnn"].batch_first else 1
    some, lengths = torch.tensor(np.flatnonzero(lengths)), lengths[lengths > 0]
    options = {"batch_first": modules["rnn"].batch_first}
    packed = pack_padded_sequence(
        x.index_select(axis, some), torch.tensor(lengths), enforce_sorted=False, **options
    )
    found, after = go(packed, [part.index_select(1, some) for part in before])
    found, _ = pad_packed_sequence(found, total_length=x.shape[1 - axis], **options)
    if "readout" in modules:
        there = torch.arange(x.shape[1 - axis])[:, None] < torch.tensor(lengths)
        found = modules["readout"](found) * (there.T if axis == 0 else there)[..., None]
    shape = [*x.shape[:2], found.shape[2]]
    outputs = torch.zeros(shape, dtype=x.dtype).index_copy(axis, some, found)
    both = zip(before, _parts(after), strict=True)
    return outputs, [old.index_copy(1, some, new) for old, new in both]


def _torch_name(name):
    return name if name.startswith("readout.") else f"rnn.{name}"


def _parts(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)
