"""Exact recurrent-network gradients on the arrays you already have."""

from . import (
    attention,
    batches,
    cells,
    dropout,
    executors,
    losses,
    memory,
    metrics,
    optimizers,
    ragged,
    schedules,
    serialization,
    training,
)
from ._arrays.namespace import use_namespace
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
from .attention import attend, attend_vjp
from .beams import Beams, beam_search
from .decoders import AttentionDecoder, Decoded, DecoderGradients, decode, decode_vjp
from .derivatives.curvature import Tangents, gauss_newton_product, hvp, jvp
from .derivatives.flow import GradientFlow, gradient_flow
from .derivatives.per_example import ExampleNorms, per_example_gradients, per_example_norms
from .embedding import embed, embed_vjp
from .generation import generate
from .model import RNN
from .model_files import load_model, save_model
from .pooling import pool, pool_vjp
from .streaming import stream
from .truncated import truncated_bptt
from .vectors import parameters_to_vector, vector_to_parameters

__version__ = "0.1.0"

__all__ = [
    "RNN",
    "AttentionDecoder",
    "Beams",
    "Decoded",
    "DecoderGradients",
    "ExampleNorms",
    "Forward",
    "GradientFlow",
    "Gradients",
    "Result",
    "Tangents",
    "Tape",
    "attend",
    "attend_vjp",
    "attention",
    "backward",
    "batches",
    "beam_search",
    "bptt",
    "cells",
    "decode",
    "decode_vjp",
    "dropout",
    "embed",
    "embed_vjp",
    "executors",
    "forward",
    "gauss_newton_product",
    "generate",
    "gradient_flow",
    "hvp",
    "jvp",
    "load_model",
    "losses",
    "memory",
    "metrics",
    "optimizers",
    "parameters_to_vector",
    "per_example_gradients",
    "per_example_norms",
    "pool",
    "pool_vjp",
    "predict",
    "ragged",
    "save_model",
    "schedules",
    "serialization",
    "stream",
    "training",
    "truncated_bptt",
    "use_namespace",
    "vector_to_parameters",
]
