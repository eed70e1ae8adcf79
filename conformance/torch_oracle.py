"""The reference: torch.nn.RNN, GRU and LSTM at float64, differentiated by torch.

A problem's parameters go in by ``load_state_dict``, unchanged and strictly: names, shapes
and gate order are part of what is compared.
"""

from functools import lru_cache

import numpy as np

from .subject import results

__all__ = ["reference"]


@lru_cache(maxsize=256)
def reference(problem, dtype):
    """Return the results by name, float64, from inputs rounded to ``dtype``."""
    import torch

    host = problem.arrays(dtype)
    kind = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[problem.cell]
    options = {"nonlinearity": problem.nonlinearity} if problem.cell == "elman" else {}
    modules = torch.nn.ModuleDict(
        {
            "rnn": kind(
                problem.inputs,
                problem.hidden,
                bias=problem.bias,
                batch_first=problem.batch_first,
                **options,
            )
        }
    )
    if problem.outputs is not None:
        modules["readout"] = torch.nn.Linear(problem.hidden, problem.outputs, bias=problem.bias)
    modules = modules.double()
    modules.load_state_dict(
        {_torch_name(name): torch.tensor(a).double() for name, a in host.params.items()}
    )

    def leaf(array):
        return torch.tensor(array).double().requires_grad_()

    x = leaf(host.x)
    shape = (1, *(() if problem.batch is None else (problem.batch,)), problem.hidden)
    zeros = (np.zeros(shape),) * (2 if problem.cell == "lstm" else 1)
    before = [leaf(part) for part in (zeros if host.state is None else _parts(host.state))]
    outputs, after = modules["rnn"](x, tuple(before) if len(before) == 2 else before[0])
    if problem.outputs is not None:
        outputs = modules["readout"](outputs)

    pulled = [(outputs, host.d_outputs)] if host.d_outputs is not None else []
    if host.d_state is not None:
        pulled += zip(_parts(after), _parts(host.d_state), strict=True)
    # What a cotangent does not reach has no gradient in torch, and a zero one here.
    torch.autograd.backward([v for v, _ in pulled], [torch.tensor(d).double() for _, d in pulled])

    def gradient(tensor):
        return np.zeros(tuple(tensor.shape)) if tensor.grad is None else tensor.grad.numpy()

    learned = dict(modules.named_parameters())
    return results(
        outputs.detach().numpy(),
        tuple(part.detach().numpy() for part in _parts(after)),
        {name: gradient(learned[_torch_name(name)]) for name in host.params},
        gradient(x),
        tuple(map(gradient, before)),
    )


def _torch_name(name):
    return name if name.startswith("readout.") else f"rnn.{name}"


def _parts(value):
    return tuple(value) if isinstance(value, (tuple, list)) else (value,)
