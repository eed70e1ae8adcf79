"""Models and parameters from other libraries, and back; each is imported when it is needed."""

from .equinox import from_equinox, to_equinox
from .flax import from_flax, to_flax
from .keras import from_keras, to_keras
from .torch import TorchModules, from_torch, to_torch

__all__ = [
    "TorchModules",
    "from_equinox",
    "from_flax",
    "from_keras",
    "from_torch",
    "to_equinox",
    "to_flax",
    "to_keras",
    "to_torch",
]
