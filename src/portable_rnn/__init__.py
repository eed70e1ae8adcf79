"""Exact recurrent-network gradients on the arrays you already have."""

from . import cells, losses
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

__version__ = "0.1.0"

__all__ = [
    "RNN",
    "Forward",
    "Gradients",
    "Result",
    "Tape",
    "backward",
    "bptt",
    "cells",
    "forward",
    "losses",
    "predict",
]
