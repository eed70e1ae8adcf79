"""Models and parameters from other libraries, and back; each is imported when it is needed."""

from .torch import TorchModules, from_torch, to_torch

__all__ = ["TorchModules", "from_torch", "to_torch"]
