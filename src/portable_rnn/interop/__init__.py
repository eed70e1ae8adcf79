"""Models and parameters from other libraries, and back; each is imported when it is needed."""

from .equinox import from_equinox, to_equinox
from .flax import from_flax, to_flax
from .keras import from_keras, to_keras
from .onnx import OnnxNetwork, load_onnx
from .onnx_export import export_onnx
from .onnx_training import export_training_step
from .torch import TorchModules, from_torch, to_torch

__all__ = [
    "OnnxNetwork",
    "TorchModules",
    "export_onnx",
    "export_training_step",
    "from_equinox",
    "from_flax",
    "from_keras",
    "from_torch",
    "load_onnx",
    "to_equinox",
    "to_flax",
    "to_keras",
    "to_torch",
]
