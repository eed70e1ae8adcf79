"""Valid arguments of each function, by name: what differs from function to function."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

import portable_rnn as prnn
from portable_rnn import book, optimizers, text

from ..inline_client import InlineClient
from ..losses import LOSSES
from ..optimizers import RULES

__all__ = ["DYNAMIC", "B", "H", "I", "N", "O", "T", "calls_of"]

T, B, I, H, O = 5, 2, 3, 4, 6  # noqa: E741
N = 4  # sequences to take batches from
DYNAMIC = optimizers.mixed_precision(optimizers.sgd, growth_interval=5)


def calls_of(valid: Any) -> dict[str, Callable[[], dict[str, Any]]]:
    """Return what makes valid arguments of each function, from the arrays of a `Valid`."""
    network = {"model": valid.model, "params": valid.params, "x": valid.x}
    more = {"model": valid.dropping, "params": valid.more_params, "x": valid.x}
    learned = network | {"targets": valid.targets, "loss": prnn.losses.softmax_cross_entropy}
    direction = {name: valid.row.put(np.ones(a.shape)) for name, a in valid.params.items()}
    rows = {"outputs": valid.outputs, "targets": valid.outputs**2, "reduction": "sum"}
    weighed = rows | {"weights": valid.array(T, B) ** 2}
    sampled = {"model": valid.letters, "params": valid.init(valid.letters)}
    return {
        "forward": lambda: more | {"state": valid.state2, "lengths": [T, 2], "dropout": (1, 2)},
        "predict": lambda: more | {"state": valid.state2, "lengths": [T, 2]},
        "backward": lambda: {
            **{"model": valid.model, "params": valid.params, "tape": valid.tape},
            **{"d_outputs": valid.outputs, "d_state": valid.state, "grad_x": True},
        },
        "bptt": lambda: (
            more
            | {"targets": valid.targets, "state": valid.state2, "lengths": [T, 2], "dropout": 3}
        ),
        "use_namespace": lambda: {"xp": valid.row.namespace(valid.x)},
        "gauss_newton_product": lambda: learned | {"vector": direction},
        "hvp": lambda: learned | {"vector": direction},
        "jvp": lambda: {
            **network,
            **{"state": valid.state, "d_params": direction, "d_x": valid.x},
            **{"d_state": valid.state},
        },
        "gradient_flow": lambda: (
            more
            | {"targets": valid.targets, "state": valid.state2, "lengths": [T, 2]}
            | {"dropout": (1, 2), "iterations": 2}
        ),
        "per_example_gradients": lambda: learned,
        "per_example_norms": lambda: learned,
        "stream": lambda: {"model": valid.model, "params": valid.params, "state": valid.state},
        "truncated_bptt": lambda: (
            more
            | {"targets": valid.targets, "k1": 2, "k2": 3, "state": valid.state2}
            | {"lengths": [T, 2], "dropout": 3}
        ),
        "RNN": lambda: {
            **{"input_size": I, "hidden_size": H, "output_size": O, "cell": "elman"},
            **{"nonlinearity": "relu", "num_layers": 2, "dropout": 0.5, "reverse": True},
        },
        "RNN.state_shape": lambda: {"batch_size": 2},
        "RNN.state_shapes": lambda: {"batch_size": 2},
        "RNN.init": lambda: {"seed": 0, "xp": valid.row.xp, "dtype": valid.dtype},
        "batches.Chunked": lambda: valid.shuffled_arguments() | {"chunk": 3, "xp": np},
        "batches.Chunked.batch": lambda: {"step": 1},
        "batches.Prefetched": lambda: {"source": valid.shuffled(), "count": 1},
        "batches.Prefetched.batch": lambda: {"step": 1},
        "batches.Shuffled": valid.shuffled_arguments,
        "batches.Shuffled.batch": lambda: {"step": 1},
        "batches.Windows": valid.windows_arguments,
        "batches.Windows.batch": lambda: {"step": 1},
        "distributed.Shards": lambda: {"load": valid.load, "shards": 2, "carry": False},
        "distributed.Shards.from_sources": lambda: {
            **{"make": lambda shard: valid.shuffled(), "shards": 2, "steps_per_epoch": 3}
        },
        "distributed.Shards.batch": lambda: {"step": 1},
        "distributed.DaskGradients": lambda: {
            **{"client": InlineClient(), "model": valid.model, "shards": 1, "metrics": ["accuracy"]}
        },
        "distributed.DaskGradients.evaluate": lambda: {
            **{"params": valid.params, "batches": valid.shuffled()}
        },
        "distributed.AllReduceGradients": lambda: {
            **{"model": valid.model, "all_reduce": lambda vector: vector, "rank": 0, "size": 1},
            **{"shards": 1, "metrics": ["accuracy"]},
        },
        "dropout.draw": lambda: {"model": valid.dropping, "x": valid.x, "seed": 0},
        "dropout.expected": lambda: {
            **{"xp": valid.row.namespace(valid.x), "model": valid.dropping, "x": valid.x}
        },
        **{
            f"losses.{name}": lambda loss=loss: (
                weighed | {"targets": loss.fit(1.0 / (1.0 + valid.outputs**2))}
            )
            for name, loss in LOSSES.items()
        },
        "losses.softmax_cross_entropy": lambda: {
            **weighed,
            **{"targets": valid.targets, "class_weights": valid.array(O) ** 2},
            **{"ignore_index": 1, "label_smoothing": 0.1},
        },
        "losses.ctc": lambda: {
            **{"outputs": valid.outputs, "input_lengths": [T, 2], "target_lengths": [3, 1]},
            **{"targets": valid.row.put(np.asarray([[1, 2, 2], [3, 4, 4]]))},
            **{"weights": valid.row.put(np.ones((T, B), dtype=bool))},
        },
        "losses.ctc_greedy_decode": lambda: {
            **{"outputs": valid.outputs, "input_lengths": [T, 2]},
            **{"weights": valid.row.put(np.ones((T, B), dtype=bool))},
        },
        "losses.one_hot": lambda: {
            **{"xp": valid.row.namespace(valid.x), "labels": valid.targets, "classes": O},
            **{"dtype": valid.x.dtype},
        },
        "executors.explain": lambda: {
            **{"model": valid.model, "dtype": "float32", "xp": valid.row.xp}
        },
        "embed": lambda: {"weight": valid.outputs[0, ...], "tokens": valid.targets % B},
        "embed_vjp": lambda: {
            **{"tokens": valid.targets, "d_vectors": valid.outputs, "vocabulary_size": O}
        },
        "pool": lambda: {"outputs": valid.outputs, "how": "max", "lengths": [T, 2]},
        "pool_vjp": lambda: {
            "residuals": prnn.pool(valid.outputs, "mean")[1],
            "d_pooled": valid.array(B, O),
        },
        "attend": lambda: {
            **{"query": valid.x, "memory": valid.outputs, "values": valid.array(T, B, 7)},
            **{"params": valid.score(), "score": "general", "lengths": [T, 2]},
        },
        "attend_vjp": lambda: {
            "residuals": prnn.attend(
                valid.x, valid.outputs, valid.score(), score="general"
            ).residuals,
            **{"d_context": valid.array(T, B, O), "d_weights": valid.array(T, B, T)},
        },
        "attention.init": lambda: {
            **{"score": "additive", "query_size": 2, "memory_size": 3, "attention_size": 4},
            **{"seed": 0, "xp": valid.row.xp, "dtype": valid.dtype},
        },
        "AttentionDecoder": lambda: {
            **{"rnn": prnn.RNN(I, H), "memory_size": 2, "output_size": 3},
            **{"score": "additive", "attention_size": 4},
        },
        "AttentionDecoder.init": lambda: {**{"seed": 0, "xp": valid.row.xp, "dtype": valid.dtype}},
        "decode": lambda: valid.decoding() | {"lengths": [T, 2], "memory_lengths": [3, T]},
        "decode_vjp": lambda: {
            **{"decoder": valid.decoder, "params": valid.init(valid.decoder)},
            **{"tape": prnn.decode(**valid.decoding()).tape, "d_outputs": valid.array(T, B, 3)},
            "d_state": valid.state2,
        },
        "generate": lambda: {
            **{"model": valid.model, "params": valid.params, "start": valid.x[0, ...]},
            **{"steps": 2, "feedback": lambda outputs, step: outputs[:, :I]},
            **{"state": valid.state, "seed": (1, 2)},
        },
        "beam_search": lambda: {
            **{"model": valid.tokens, "params": valid.init(valid.tokens), "steps": 2},
            **{"start": valid.targets[0, ...], "end": 1, "width": 2, "state": valid.state},
            "length_penalty": 0.5,
        },
        "executors.use": lambda: {"name": "auto", "threads": 2},
        "parameters_to_vector": lambda: {"params": valid.params},
        "vector_to_parameters": lambda: {
            **{"vector": prnn.parameters_to_vector(valid.params), "params": valid.params}
        },
        "memory.plan": lambda: {
            **{"model": valid.model, "steps": 64, "batch": 2, "dtype": "float32"}
        },
        **{
            f"optimizers.{rule.name}": lambda rule=rule: valid.optimizer(
                rule.name, **max(rule.cases.values(), key=len)
            )
            for rule in RULES.values()
        },
        **{
            f"optimizers.{name}": lambda given=given: {"optimizer": optimizers.sgd} | given
            for name, given in (
                ("accumulate", {"every": 2}),
                ("clip_norm", {"max_norm": 1.0}),
                ("ema", {"decay": 0.5, "debias": True}),
                ("mixed_precision", {"loss_scale": 2.0, "growth_interval": 5}),
                ("scale_lr", {"factor": 0.5}),
            )
        },
        "optimizers.averaged_params": lambda: {
            **{"params": valid.params, "state": valid.state_of(optimizers.ema(optimizers.sgd))}
        },
        "optimizers.by_name": lambda: {"optimizers": {"*": optimizers.adam}},
        "optimizers.from_optax": lambda: {
            "transformation": SimpleNamespace(
                init=lambda params: (), update=lambda grads, state, params: (grads, state)
            )
        },
        "optimizers.scaled_loss": lambda: {
            **{"loss": prnn.losses.softmax_cross_entropy, "optimizer": DYNAMIC},
            **{"state": valid.state_of(DYNAMIC)},
        },
        "optimizers.clip_by_global_norm": lambda: {"grads": valid.grads, "max_norm": 1.0},
        "ragged.pack": lambda: {"sequences": [valid.array(2, I), valid.array(3, I)]},
        "ragged.unpack": lambda: {"packed": valid.x, "lengths": [T, 2]},
        "schedules.constant": lambda: {"step": 3, "lr": 0.1, "warmup": 2},
        "schedules.cosine": lambda: {"step": 3, "lr": 0.1, "steps": 10, "warmup": 2},
        "schedules.linear_warmup": lambda: {
            **{"step": 3, "schedule": lambda step: 0.1, "warmup": 2}
        },
        "schedules.one_cycle": lambda: {"step": 3, "lr": 0.1, "steps": 10},
        "schedules.plateau": lambda: {
            **{"step": 8, "lr": 0.1, "factor": 0.5, "patience": 2, "final": 0.0},
            "run": SimpleNamespace(learning_rate=0.1, best_step=4, evaluate_every=2),
        },
        "schedules.exponential": lambda: {"step": 3, "lr": 0.1, "rate": 0.5, "every": 2},
        "save_model": lambda: {
            **{"folder": valid.path(), "model": valid.model, "params": valid.params},
        },
        "load_model": lambda: {"folder": valid.saved_model()},
        "interop.from_torch": lambda: {"source": valid.layers(), "recurrent": ""},
        "interop.to_torch": lambda: {"model": valid.model, "params": valid.params},
        "serialization.check_dtype": lambda: {"name": "w", "array": valid.x},
        "serialization.load_arrays": lambda: {"path": valid.saved(".safetensors")},
        "serialization.load_weights": lambda: {"path": valid.saved(".npz")},
        "serialization.save_arrays": lambda: {
            **{"path": valid.path(), "arrays": valid.params, "header": {"format": 1}}
        },
        "serialization.save_weights": lambda: {
            **{"path": valid.path("a.npz"), "params": valid.params}
        },
        "serialization.write_atomically": lambda: {"path": valid.path(), "data": b"data"},
        "training.evaluate": lambda: {
            **{"model": valid.model, "params": valid.params, "batches": valid.shuffled()}
        },
        "training.train": lambda: {
            **{"model": valid.model, "params": valid.params, "batches": valid.shuffled()},
            **{"steps": 2, "max_norm": 1.0, "validation": valid.shuffled(seed=2)},
            **{"evaluate_every": 1, "patience": 5, "log_every": 1, "save_every": 1},
            **{"checkpoint": valid.path(), "resume": True},
        },
        "training.Run.stop": lambda: {"reason": "enough"},
        "training.History.column": lambda: {"name": "loss"},
        "training.TensorBoard": lambda: {"folder": valid.path()},
        "training.WandB": lambda: {"run": None},
        **{
            f"metrics.{name}.measure": lambda: {
                **{"outputs": valid.outputs, "targets": valid.targets},
                "weights": valid.array(T, B) ** 2,
            }
            for name in ("Accuracy", "TopKAccuracy", "F1", "Perplexity")
        },
        **{
            f"metrics.{name}.measure": lambda: {
                **{"outputs": valid.outputs, "targets": valid.outputs**2},
                "weights": valid.array(T, B) ** 2,
            }
            for name in ("BinaryAccuracy", "MeanAbsoluteError", "RootMeanSquaredError", "R2")
        },
        "metrics.F1": lambda: {"average": "macro", "ignore_index": None},
        "cells.GRU": lambda: {"activations": ("sigmoid", "tanh"), "clip": 3.0},
        "cells.ResetBeforeGRU": lambda: {"activations": ("sigmoid", "tanh"), "clip": 3.0},
        "cells.LSTM": lambda: {"activations": ("sigmoid", "tanh", "tanh"), "clip": 3.0},
        "cells.Elman": lambda: {"nonlinearity": ("elu", 0.5), "clip": 3.0},
        "book.Example": lambda: dict(vars(valid.example)),
        "book.Example.rounded": lambda: {"dtype": "float32"},
        "book.check_claims": lambda: {"example": valid.example, "claims": {"loss": 3.9}},
        "book.compare": lambda: {
            **{"example": valid.example, "found": valid.found, "exact": valid.exact}
        },
        "book.compute": lambda: {"example": valid.example, "xp": valid.row.xp},
        "book.differentiate": lambda: {"example": valid.example, "digits": 20},
        "book.document": lambda: {
            "checks": book.compare(valid.example, valid.found, valid.exact),
            "title": "Numbers",
        },
        "book.draw": lambda: {"inputs": 2, "hidden": 2, "outputs": 2, "steps": 2, "seed": 1},
        "book.judge": lambda: {
            **{"example": valid.example, "exact": valid.exact, "claims": {"loss": 3.9}}
        },
        "book.left_out": lambda: {"example": valid.example, "exact": valid.exact},
        "book.read": lambda: {"path": valid.example_path()},
        "book.write": lambda: {"path": valid.path("a.json"), "example": valid.example},
        "streaming.Stream": lambda: {
            **{"model": valid.model, "params": valid.params, "state": valid.state}
        },
        "streaming.Stream.step": lambda: {"x": valid.array(B, I)},
        "streaming.Stream.feed": lambda: {"x": valid.x, "lengths": [T, 2]},
        "text.Vocabulary": lambda: {"characters": "abc"},
        "text.Vocabulary.of": lambda: {"text": "abc"},
        "text.Vocabulary.encode": lambda: {"text": "abba"},
        "text.Vocabulary.decode": lambda: {"indices": [0, 2, 1]},
        "text.baselines": lambda: {"train": "abba", "held_out": "aba"},
        "text.generate": lambda: {
            **sampled,
            **{"vocabulary": text.Vocabulary("abc"), "prompt": "ab", "length": 2},
        },
        "text.read_text": lambda: {"paths": [valid.text_path()]},
        "text.split_text": lambda: {
            **{"text": "abc" * 100, "batch_size": 2, "window": 3, "validation_batch_size": 2}
        },
        "plots.gradient_flow": lambda: {"flow": valid.flow},
        "plots.learning_curve": lambda: {
            **{"metrics": [{"step": 1, "training_bits": 2.0}], "baselines": {"xz": 2.5}},
            **{"title": "text"},
        },
    }
