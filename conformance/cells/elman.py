"""The simple recurrent network: ``h' = f(W_ih x + b_ih + W_hh h + b_hh)``."""

from portable_rnn.cells import Elman

from ..mutant import Mutant, gradients
from ..oracles.scalars import clip, recurrent, softplus
from .kind import Kind

__all__ = ["KINDS", "MUTANTS"]


def elman(num, w, ax, state, nonlinearity="tanh"):
    f = getattr(num, nonlinearity)
    return ([f(x + h) for x, h in zip(ax, recurrent(w, state[0]), strict=True)],)


def onnx_elman(num, w, ax, state):
    ah = recurrent(w, state[0])
    return ([softplus(num, clip(num, x + h)) for x, h in zip(ax, ah, strict=True)],)


KINDS = [
    Kind("elman", elman, {"cell": "elman"}, seed=0),
    Kind("onnx_elman", onnx_elman, {"cell": Elman("softplus", clip=1.5)}, seed=10),
]
MUTANTS = [
    Mutant(
        "tanh derivative without the square",
        "activations.py",
        "return 1.0 - h * h",
        "return 1.0 - h",
        gradients("elman-default"),
    ),
    Mutant(
        "gradient through a clip",
        "nonlinearities.py",
        "return d_a * residuals[0] if residuals else d_a",
        "return d_a",
        gradients("onnx_elman-default"),
    ),
]
