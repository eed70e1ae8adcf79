"""Recurrent cells: pointwise maps, each ``step`` with its ``step_vjp``, one kind in each module.

`Cell` says what the engine requires. `CELLS` are those that :class:`portable_rnn.RNN` knows by
name; options are given with an object, ``RNN(..., cell=LSTM(peepholes=True))``, or, in a
configuration file, with the name: ``{"name": "lstm", "peepholes": true}``.

Gate order, names and formulas of `Elman`, `GRU` and `LSTM` are those of ``torch.nn.RNN``, ``GRU``
and ``LSTM`` (and cuDNN's). Their options are those of ONNX's recurrent operators.
"""

from collections.abc import Callable

from .elman import Elman
from .gru import GRU, ResetBeforeGRU
from .layer_norm import LayerNormElman, LayerNormLSTM
from .lstm import LSTM
from .mgu import MGU
from .protocol import Cell
from .protocol import Residuals as Residuals
from .protocol import State as State
from .protocol import StateCotangent as StateCotangent

__all__ = [
    "CELLS",
    "GRU",
    "LSTM",
    "MGU",
    "Cell",
    "Elman",
    "LayerNormElman",
    "LayerNormLSTM",
    "ResetBeforeGRU",
]

CELLS: dict[str, Callable[..., Cell]] = {
    "elman": Elman,
    "gru": GRU,
    "lstm": LSTM,
    "mgu": MGU,
    "reset_before_gru": ResetBeforeGRU,
    "layer_norm_elman": LayerNormElman,
    "layer_norm_lstm": LayerNormLSTM,
}
"""The cells that `RNN` knows by name."""
