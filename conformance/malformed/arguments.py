"""All functions to call, and the kind of each argument.

The kind of an argument is the one that lists its name in `NAMED`, unless `IN_FUNCTION` overrides
it. `UNTRIED` has the kinds that are not tried, each with the reason.
"""

import importlib
import inspect
import types
from collections.abc import Callable
from typing import Any

from ..public_names import DESCRIBED, described, members

__all__ = ["CALLABLES", "UNTRIED", "arguments", "kind_of", "spreads"]

# What a user imports by its path, and classes of objects that public functions return.
FURTHER = ("portable_rnn.streaming", "portable_rnn.text", "portable_rnn.plots")

UNTRIED = {
    "record": "holds results, and is checked by the functions that take it",
    "inner": "runs between the checks of the functions that call it, some at every step",
    "hook": "does nothing until it is overridden",
    "of one of several libraries": (
        "needs that library, and tests/test_interop_*.py have its wrong values"
    ),
    "of torch": "is of torch, and tests/test_torch_layer.py has its wrong values",
    "of JAX": "is of JAX, and tests/test_jax_layer.py has its wrong values",
    "captured": "is of CuPy, and test_cuda_graphs.py has its wrong values",
}

NAMED = {
    "model": "model",
    "dict of arrays": "params grads",
    "direction": "vector",
    "optional direction": "d_params",
    "floating array": "x outputs d_pooled d_context",
    "array of any floating dtype": "weight d_vectors",
    "query": "query",
    "values": "values",
    "residuals": "residuals",
    "score": "score",
    "decoder": "decoder",
    "recurrent layers": "rnn",
    "feedback": "feedback",
    "how to pool": "how",
    "optional array": "d_x d_outputs d_weights weights class_weights",
    "labels": "labels tokens start",
    "targets": "targets",
    "state": "state d_state",
    "lengths": "lengths input_lengths target_lengths memory_lengths",
    "mask": "mask memory_mask",
    "loss": "loss",
    "optimizer": "optimizer",
    "optimizers by name": "optimizers",
    "transformation": "transformation",
    "run": "run",
    "schedule": "schedule",
    "tape": "tape",
    "dropout": "dropout",
    "budget": "memory",
    "unknown option": "options loss_options",
    "namespace": "xp",
    "dtype": "dtype",
    "device": "device",
    "path": "path checkpoint",
    "count": (
        "k1 k2 iterations steps batch batch_size window every input_size hidden_size num_layers "
        "query_size memory_size width "
        "log_every save_every classes inputs hidden digits validation_batch_size"
    ),
    "optional count": (
        "checkpoint_every output_size projection_size evaluate_every patience threads "
        "vocabulary_size growth_interval top_k attention_size"
    ),
    "number of steps": "step warmup seed length end",
    "flag": (
        "grad_x check_finite return_state by_loss_step arrays bias batch_first bidirectional "
        "reverse nesterov amsgrad debias resume peepholes coupled tied zero_infinity full "
        "log_target"
    ),
    "optional flag": "check_targets",
    "optional integer": "ignore_index",
    "reduction": "reduction",
    "pool": "pool",
    "chance": "recurrent_dropout zoneout momentum alpha decay",
    "share": "label_smoothing share pct_start",
    "number of at least 0": (
        "weight_decay final temperature eps rate max_norm gamma delta factor loss_scale "
        "div_factor final_div_factor length_penalty"
    ),
    "learning rate": "lr",
    "quantile": "quantile",
    "betas": "betas",
    "bound": "clip",
    "cell": "cell",
    "nonlinearity": "nonlinearity",
    "activations": "activations",
    "source": "batches",
    "optional source": "validation",
    "callbacks": "callbacks",
    "axis": "batch_axis",
    "class index": "blank",
    "encode": "encode",
    "sequences": "sequences",
    "text": "text characters prompt train held_out title reason",
    "vocabulary": "vocabulary",
    "example": "example",
    "quantities": "exact found",
    "claims": "claims",
    "progress": "progress",
}

IN_FUNCTION = {
    "RNN": {"dropout": "chance"},
    "RNN.init": {
        **dict.fromkeys(("inputs", "recurrent"), "scheme"),
        **{"biases": "kind of biases", "forget_bias": "forget bias of another cell"},
        "xp": "optional namespace",
    },
    "AttentionDecoder": {"output_size": "count"},
    "AttentionDecoder.init": {
        **dict.fromkeys(("inputs", "recurrent"), "scheme"),
        **{"biases": "kind of biases", "forget_bias": "forget bias of another cell"},
        "xp": "optional namespace",
    },
    **{name: {"memory": "steps of a memory"} for name in ("attend", "decode")},
    "attention.init": {"weights": "scheme", "xp": "optional namespace"},
    "pool": {"outputs": "outputs to pool"},
    "decode_vjp": {"tape": "tape of a decoder"},
    "generate": {
        **{"start": "floating array", "memory": "optional array", "seed": "seed of masks"},
        "temperature": "no number but 0",
    },
    "beam_search": {"memory": "optional array"},
    "RNN.state_shape": {"batch_size": "optional count"},
    "RNN.state_shapes": {"batch_size": "optional count"},
    "RNN.parameters": {"*": "inner"},
    "RNN.weights": {"*": "inner"},
    "activations": {"*": "inner"},
    "batches": dict.fromkeys(("x", "targets", "weights"), "kept array"),
    "batches.Chunked": {"xp": "optional namespace", "chunk": "optional count"},
    "batches.Prefetched": {"count": "count", "source": "source"},
    "ragged.unpack": {"packed": "kept array"},
    "book.Example": {
        **dict.fromkeys("UWVx", "numbers"),
        **dict.fromkeys(("b", "c", "h0"), "optional numbers"),
        "y": "classes",
    },
    "book.document": {"checks": "checks"},
    "book.draw": {"outputs": "count", "targets": "choice of targets"},
    "book.compute": {"xp": "optional namespace"},
    "executors.explain": {"xp": "optional namespace"},
    "executors.capture": {"*": "captured"},
    "executors.CapturedCall": {"*": "record"},
    "distributed": {
        **{"client": "client", "all_reduce": "all-reduce", "metrics": "metrics of a run"},
        **dict.fromkeys(("load", "make"), "loader"),
        **{"loss": "loss of classes", "retries": "number of steps", "threads": "count"},
        **dict.fromkeys(("steps_per_epoch", "shards", "local_steps"), "optional count"),
        **{"timeout": "number of at least 0", "local_lr": "bound"},
        **{"local_optimizer": "optimizer of a loss", "rank": "number of steps", "size": "count"},
        "carry": "flag",
    },
    "distributed.Shards": {"shards": "count"},
    "dropout.draw": {"seed": "seed of masks"},
    "embed_vjp": {"vocabulary_size": "count"},
    "executors": {"name": "executor", "dtype": "dtype"},
    "losses.binary_focal_cross_entropy": {"alpha": "optional share"},
    "losses.ctc": {"outputs": "array of any floating dtype", "targets": "labels in order"},
    "losses.ctc_greedy_decode": {"outputs": "array of any floating dtype"},
    "optimizers": {"state": "state of an optimizer"},
    "optimizers.scaled_loss": {
        **{"loss": "loss of numbers too", "optimizer": "optimizer of a loss"},
        "state": "state with a scale",
    },
    "plots.gradient_flow": {"flow": "flow"},
    "plots.learning_curve": {"metrics": "metrics", "baselines": "baselines"},
    "schedules": {"lr": "number of at least 0"},
    "schedules.plateau": {"factor": "share"},
    "save_model": {"folder": "folder to be made"},
    "load_model": {"folder": "folder of a model", "xp": "optional namespace"},
    "torch.Layer": {"*": "of torch"},
    "jax.layer": {"*": "of JAX"},
    **{
        f"interop.{way}_{library}": {"*": "of one of several libraries"}
        for way in ("from", "to")
        for library in ("keras", "flax", "equinox")
    },
    **{
        f"interop.{name}": {"*": "of one of several libraries"}
        for name in ("load_onnx", "export_onnx", "export_training_step")
    },
    "interop.OnnxNetwork": {"*": "record"},
    "interop.TorchModules": {"*": "record"},
    "interop": {
        "source": "network of another library",
        **dict.fromkeys(("recurrent", "readout", "embedding"), "place in a network"),
        **{"xp": "optional namespace", "options": "unknown option"},
    },
    "serialization.check_dtype": {"name": "name of an array", "array": "any array"},
    "serialization.load_arrays": {"xp": "optional namespace"},
    "serialization.load_weights": {"xp": "optional namespace"},
    "serialization.save_arrays": {"arrays": "dict of arrays", "header": "header"},
    "serialization.write_atomically": {"data": "data"},
    "text.Vocabulary.decode": {"indices": "indices"},
    "text.Vocabulary.encode": {"dtype": "dtype of labels"},
    "text.read_text": {"paths": "paths"},
    "vector_to_parameters": {"vector": "floating array"},
    "metrics": {
        **{"measured": "inner", "k": "count"},
        **{"average": "average", "threshold": "threshold"},
    },
    "training.evaluate": {"metrics": "metrics of a run", "predict": "own function"},
    "training.train": {
        **{"max_norm": "bound", "lr": "rate or schedule", "metrics": "metrics of a run"},
        **dict.fromkeys(("gradients", "predict", "epochs"), "own function"),
        "progress": "whether to show",
    },
    "training.Callback": {"*": "hook"},
    "training.History.column": {"name": "name of a column"},
    "training.TensorBoard": {"folder": "folder to be made"},
    "training.WandB": {"run": "run of another package", "options": "inner"},
    "training.MLflow.on_start": {"run": "hook"},
    **{
        f"training.{logger}.{event}": {"run": "hook"}
        for logger in ("TensorBoard", "WandB")
        for event in ("on_start", "on_end")
    },
    **{
        name: {"*": "record"}
        for name in (
            *("attention.Attention", "attention.AttentionGradients"),
            *("Beams", "Decoded", "DecoderGradients"),
            *("ExampleNorms", "Forward", "GradientFlow", "Gradients", "Result", "Tangents", "Tape"),
            *("batches.Batch", "dropout.Masks", "memory.Plan", "training.Run"),
            *("book.Check", "book.Claim", "book.Equation", "book.Quantities"),
        )
    },
    "training.Run.stop": {"reason": "text"},
}
CELL_METHODS = ("step", "step_vjp", "before_product", "before_product_vjp")
BY_NAME = {name: kind for kind, names in NAMED.items() for name in names.split()}


def callables() -> dict[str, Callable[..., Any]]:
    """Return functions, constructible classes, and methods, each once, by name."""
    names = dict(DESCRIBED) | described(members([*map(importlib.import_module, FURTHER)]))
    found: dict[str, Any] = {}
    for name, value in names.items():
        if not getattr(value, "_is_protocol", False) and value not in found.values():
            found[name.removeprefix("portable_rnn.")] = value
    return found | {
        f"{name}.{member}": getattr(cls, member)
        for name, cls in found.items()
        if inspect.isclass(cls)
        for member, value in list(vars(cls).items())
        if isinstance(value, (types.FunctionType, classmethod))
        and not member.startswith("_")
        and member not in getattr(cls, "__annotations__", {})  # a default that is a function
    }


def parameters(name: str) -> dict[str, inspect.Parameter]:
    """Return the parameters of a function, or of the constructor of a class."""
    function = CALLABLES[name]
    try:
        found = dict(inspect.signature(function).parameters)
    except ValueError:  # an exception, which takes what Python's exceptions take
        return {}
    if inspect.isfunction(function) and inspect.isclass(CALLABLES.get(name.rpartition(".")[0])):
        del found["self"]
    return found


def arguments(name: str) -> list[str]:
    """Return the names of the parameters of a function."""
    return list(parameters(name))


def spreads(name: str, argument: str) -> bool:
    """Return whether an argument takes any number of positional values."""
    return parameters(name)[argument].kind is inspect.Parameter.VAR_POSITIONAL


def collects(name: str, argument: str) -> bool:
    """Return whether an argument takes all options that have no parameter."""
    return parameters(name)[argument].kind is inspect.Parameter.VAR_KEYWORD


def kind_of(function: str, argument: str) -> str:
    """Return the kind of an argument.

    Raises
    ------
    KeyError
        If none is known.
    """
    place = function
    if function.startswith("cells.") and function.rpartition(".")[2] in CELL_METHODS:
        return "inner"
    while place:
        known = IN_FUNCTION.get(place, {})
        if found := known.get(argument) or known.get("*"):
            return found
        place = place.rpartition(".")[0]
    if argument not in BY_NAME:
        raise KeyError(
            f"{function}: expected a kind of its argument {argument!r} in NAMED or IN_FUNCTION "
            "of conformance/malformed/arguments.py"
        )
    return BY_NAME[argument]


CALLABLES = callables()
