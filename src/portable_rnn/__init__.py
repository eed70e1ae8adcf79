"""Exact recurrent-network gradients on the arrays you already have."""

from . import (
    batches,
    cells,
    dropout,
    losses,
    optimizers,
    ragged,
    schedules,
    serialization,
    training,
)
from ._namespace import use_namespace
from .api import (
    Forward,
    Gradients,
    Result,
    Tape,
    backward,
    bptt,
    forward,
    predict,
)
from .model import RNN
from .streams import stream
from .truncated import truncated_bptt

__version__ = "0.1.0"

__all__ = [
    "RNN",
    "Forward",
    "Gradients",
    "Result",
    "Tape",
    "backward",
    "batches",
    "bptt",
    "cells",
    "dropout",
    "forward",
    "losses",
    "optimizers",
    "predict",
    "ragged",
    "schedules",
    "serialization",
    "stream",
    "training",
    "truncated_bptt",
    "use_namespace",
]
