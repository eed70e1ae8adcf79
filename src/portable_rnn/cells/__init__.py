"""Recurrent cells: pointwise maps, each ``step`` beside its ``step_vjp``, each kind on its page.

`Cell` says what the engine asks of them. `CELLS` are those that :class:`portable_rnn.RNN` knows by
name; options go with an object, ``RNN(..., cell=LSTM(peepholes=True))``, or, in a configuration
file, with the name: ``{"name": "lstm", "peepholes": true}``.

Gate order, names and formulas of `Elman`, `GRU` and `LSTM` are those of ``torch.nn.RNN``, ``GRU``
and ``LSTM`` (and cuDNN's). Their options are those of ONNX's recurrent operators.
"""

from .by_name import CELLS, described, from_description
from .elman import Elman
from .gru import GRU, ResetBeforeGRU
from .layer_norm import LayerNormElman, LayerNormLSTM
from .lstm import LSTM
from .mgu import MGU
from .protocol import Cell, LateCell, Residuals, State, StateCotangent, Vector, vectors_of

__all__ = [
    "CELLS",
    "GRU",
    "LSTM",
    "MGU",
    "Cell",
    "Elman",
    "LateCell",
    "LayerNormElman",
    "LayerNormLSTM",
    "ResetBeforeGRU",
    "Residuals",
    "State",
    "StateCotangent",
    "Vector",
    "described",
    "from_description",
    "vectors_of",
]
