"""One valid call of each function, on the arrays of a row: the basis of campaigns."""

import tempfile
from collections.abc import Callable
from functools import cached_property
from itertools import islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

import portable_rnn as prnn
from portable_rnn import book, optimizers, serialization, text

from ..backend import Backend
from ..combinators import COMBINATORS
from ..losses import LOSSES
from ..optimizers import RULES
from .arguments import CALLABLES, arguments, spreads

__all__ = ["Valid"]

T, B, I, H, O = 5, 2, 3, 4, 6  # noqa: E741
N = 4  # sequences to take batches from
DYNAMIC = optimizers.mixed_precision(optimizers.sgd, growth_interval=5)
MAKERS = {f"optimizers.{name}" for name in COMBINATORS}
DROPPING = {"num_layers": 2, "dropout": 0.5, "recurrent_dropout": 0.25, "zoneout": 0.25}


class Valid:
    """Arguments for every function, made for each call, and the function to call.

    Attributes
    ----------
    row : Backend
    other : Backend or None
        A row of another library, if one is installed.
    folder : Path
        Where files may be written.
    """

    def __init__(self, row: Backend, other: Backend | None, folder: Path) -> None:
        self.row, self.other, self.folder = row, other, folder
        self.dtype = "float64"
        self.model = prnn.RNN(I, H, O)
        self.dropping = prnn.RNN(I, H, O, cell="lstm", **DROPPING)
        self.params, self.more_params = map(self.init, (self.model, self.dropping))
        self.x = self.array(T, B, I)
        self.targets = row.put(np.arange(T * B).reshape(T, B) % O)
        self.state = self.array(1, B, H)
        self.state2 = (self.array(2, B, H), self.array(2, B, H))
        self.outputs = self.array(T, B, O)
        self.grads = {name: self.row.put(np.ones(a.shape)) for name, a in self.params.items()}
        self.example = book.draw(steps=2)
        self.letters = prnn.RNN(3, 5, 3, cell="lstm")
        self.tokens = prnn.RNN(I, H, O, vocabulary_size=O)
        self.decoder = prnn.AttentionDecoder(prnn.RNN(I, H, cell="lstm", **DROPPING), O, 3)
        self.calls = self._calls()
        self.objects = self._objects()

    # Objects that take long to make on some rows are made when a call first needs them.
    @cached_property
    def exact(self) -> book.Quantities:
        return book.differentiate(self.example)

    @cached_property
    def found(self) -> book.Quantities:
        return book.compute(self.example)

    @cached_property
    def tape(self) -> prnn.Tape:
        return prnn.forward(self.model, self.params, self.x).tape

    @cached_property
    def flow(self) -> prnn.GradientFlow:
        return prnn.gradient_flow(self.model, self.params, self.x, self.targets)

    def _decoding(self) -> dict[str, Any]:
        return {
            **{"decoder": self.decoder, "params": self.init(self.decoder), "x": self.x},
            **{"memory": self.outputs, "state": self.state2, "dropout": 3},
        }

    def init(self, model: Any) -> dict[str, Any]:
        host = model.init(seed=0, dtype=self.dtype)
        return {name: self.row.put(array) for name, array in host.items()}

    def array(self, *shape: int) -> Any:
        return self.row.put(np.random.default_rng(shape).normal(size=shape))

    def arguments(self, name: str) -> dict[str, Any]:
        """Return valid arguments of a function; those left out have defaults."""
        return dict(self.calls[name]()) if name in self.calls else {}

    def function(self, name: str) -> Callable[..., Any]:
        """Return a function or bound method; generators and contexts that it returns are used."""
        owner, _, member = name.rpartition(".")
        found = CALLABLES[name]
        if owner in self.objects and owner in CALLABLES:
            found = getattr(self.objects[owner](), member)
        if name in MAKERS:  # of an optimizer, which takes a step
            return lambda **given: found(**given)(self.params, self.grads, None, lr=0.1)
        if name == "optimizers.scaled_loss":
            return lambda **given: found(**given)(self.outputs, self.outputs**2)
        if name == "text.generate":
            return lambda **given: list(islice(found(**given), 2))
        if name == "use_namespace":
            return lambda **given: found(**given).__enter__()  # its thread is its own
        if any(spreads(name, argument) for argument in arguments(name)):
            # All are positional: the value of ``*args`` is given as one argument, and last.
            return lambda **given: found(*(given[a] for a in arguments(name) if a in given))
        return found

    def path(self, name: str = "") -> Path:
        """Return an unused path in an existing folder."""
        return Path(tempfile.mkdtemp(dir=self.folder)) / (name or "file")

    def shuffled(self, **options: Any) -> prnn.batches.Shuffled:
        return prnn.batches.Shuffled(**self._shuffled() | options)

    def _shuffled(self) -> dict[str, Any]:
        return {
            **{"x": self.array(T, N, I), "batch_size": 2, "weights": self.array(T, N) ** 2},
            **{"targets": self.row.put(np.zeros((T, N), np.int64)), "lengths": [T, 1, 2, 3]},
            **{"seed": 1, "batch_axis": 1},
        }

    def _windows(self) -> dict[str, Any]:
        labels = self.row.put(np.arange(40) % I)
        return {"x": labels, "targets": labels, "batch_size": 2, "window": 3, "encode": None}

    def _optimizer(self, name: str, **options: Any) -> dict[str, Any]:
        optimizer = getattr(optimizers, name)
        _, state = optimizer(self.params, self.grads, **{"lr": 0.1} | options)
        given = {"params": self.params, "grads": self.grads, "state": state, "lr": 0.1}
        return given | options

    def _state(self, optimizer: Any) -> Any:
        return optimizer(self.params, self.grads, None, lr=0.1)[1]

    def _saved(self, suffix: str) -> Path:
        path = self.path(f"a{suffix}")
        serialization.save_weights(path, self.params)
        return path

    def _saved_model(self) -> Path:
        prnn.save_model(folder := self.path(), self.model, self.params)
        return folder

    def _layers(self) -> dict[str, Any]:
        return {name: a for name, a in self.params.items() if "." not in name}

    def _history(self) -> prnn.training.History:
        history = prnn.training.History()
        history.rows.append({"step": 1, "loss": 2.0})
        return history

    def _objects(self) -> dict[str, Callable[[], Any]]:
        return {
            "RNN": lambda: self.model,
            "AttentionDecoder": lambda: prnn.AttentionDecoder(prnn.RNN(I, H), 2, 3),
            "batches.Shuffled": self.shuffled,
            "batches.Windows": lambda: prnn.batches.Windows(**self._windows()),
            **{
                f"metrics.{name}": getattr(prnn.metrics, name)
                for name in prnn.metrics.__all__
                if name != "Metric"
            },
            "training.Callback": prnn.training.Callback,
            "training.History": self._history,
            "training.Run": lambda: prnn.training.Run(self.model, self.params, 1),
            "book.Example": lambda: self.example,
            "streaming.Stream": lambda: prnn.stream(self.model, self.params, self.state),
            "text.Vocabulary": lambda: text.Vocabulary("abc"),
        }

    def _calls(self) -> dict[str, Callable[[], dict[str, Any]]]:
        network = {"model": self.model, "params": self.params, "x": self.x}
        more = {"model": self.dropping, "params": self.more_params, "x": self.x}
        learned = network | {"targets": self.targets, "loss": prnn.losses.softmax_cross_entropy}
        direction = {name: self.row.put(np.ones(a.shape)) for name, a in self.params.items()}
        rows = {"outputs": self.outputs, "targets": self.outputs**2, "reduction": "sum"}
        weighed = rows | {"weights": self.array(T, B) ** 2}
        sampled = {"model": self.letters, "params": self.init(self.letters)}
        return {
            "forward": lambda: more | {"state": self.state2, "lengths": [T, 2], "dropout": (1, 2)},
            "predict": lambda: more | {"state": self.state2, "lengths": [T, 2]},
            "backward": lambda: {
                **{"model": self.model, "params": self.params, "tape": self.tape},
                **{"d_outputs": self.outputs, "d_state": self.state, "grad_x": True},
            },
            "bptt": lambda: (
                more
                | {"targets": self.targets, "state": self.state2, "lengths": [T, 2], "dropout": 3}
            ),
            "use_namespace": lambda: {"xp": self.row.namespace(self.x)},
            "gauss_newton_product": lambda: learned | {"vector": direction},
            "hvp": lambda: learned | {"vector": direction},
            "jvp": lambda: {
                **network,
                **{"state": self.state, "d_params": direction, "d_x": self.x},
                **{"d_state": self.state},
            },
            "gradient_flow": lambda: (
                more
                | {"targets": self.targets, "state": self.state2, "lengths": [T, 2]}
                | {"dropout": (1, 2), "iterations": 2}
            ),
            "per_example_gradients": lambda: learned,
            "per_example_norms": lambda: learned,
            "stream": lambda: {"model": self.model, "params": self.params, "state": self.state},
            "truncated_bptt": lambda: (
                more
                | {"targets": self.targets, "k1": 2, "k2": 3, "state": self.state2}
                | {"lengths": [T, 2], "dropout": 3}
            ),
            "RNN": lambda: {
                **{"input_size": I, "hidden_size": H, "output_size": O, "cell": "elman"},
                **{"nonlinearity": "relu", "num_layers": 2, "dropout": 0.5, "reverse": True},
            },
            "RNN.state_shape": lambda: {"batch_size": 2},
            "RNN.state_shapes": lambda: {"batch_size": 2},
            "RNN.init": lambda: {"seed": 0, "xp": self.row.xp, "dtype": self.dtype},
            "batches.Shuffled": self._shuffled,
            "batches.Shuffled.batch": lambda: {"step": 1},
            "batches.Windows": self._windows,
            "batches.Windows.batch": lambda: {"step": 1},
            "dropout.draw": lambda: {"model": self.dropping, "x": self.x, "seed": 0},
            "dropout.expected": lambda: {
                **{"xp": self.row.namespace(self.x), "model": self.dropping, "x": self.x}
            },
            **{
                f"losses.{name}": lambda loss=loss: (
                    weighed | {"targets": loss.fit(1.0 / (1.0 + self.outputs**2))}
                )
                for name, loss in LOSSES.items()
            },
            "losses.softmax_cross_entropy": lambda: {
                **weighed,
                **{"targets": self.targets, "class_weights": self.array(O) ** 2},
                **{"ignore_index": 1, "label_smoothing": 0.1},
            },
            "losses.ctc": lambda: {
                **{"outputs": self.outputs, "input_lengths": [T, 2], "target_lengths": [3, 1]},
                **{"targets": self.row.put(np.asarray([[1, 2, 2], [3, 4, 4]]))},
                **{"weights": self.row.put(np.ones((T, B), dtype=bool))},
            },
            "losses.ctc_greedy_decode": lambda: {
                **{"outputs": self.outputs, "input_lengths": [T, 2]},
                **{"weights": self.row.put(np.ones((T, B), dtype=bool))},
            },
            "losses.one_hot": lambda: {
                **{"xp": self.row.namespace(self.x), "labels": self.targets, "classes": O},
                **{"dtype": self.x.dtype},
            },
            "executors.explain": lambda: {
                **{"model": self.model, "dtype": "float32", "xp": self.row.xp}
            },
            "embed": lambda: {"weight": self.outputs[0, ...], "tokens": self.targets % B},
            "embed_vjp": lambda: {
                **{"tokens": self.targets, "d_vectors": self.outputs, "vocabulary_size": O}
            },
            "pool": lambda: {"outputs": self.outputs, "how": "max", "lengths": [T, 2]},
            "pool_vjp": lambda: {
                "residuals": prnn.pool(self.outputs, "mean")[1],
                "d_pooled": self.array(B, O),
            },
            "attend": lambda: {
                **{"query": self.x, "memory": self.outputs, "values": self.array(T, B, 7)},
                **{"params": self._score(), "score": "general", "lengths": [T, 2]},
            },
            "attend_vjp": lambda: {
                "residuals": prnn.attend(
                    self.x, self.outputs, self._score(), score="general"
                ).residuals,
                **{"d_context": self.array(T, B, O), "d_weights": self.array(T, B, T)},
            },
            "attention.init": lambda: {
                **{"score": "additive", "query_size": 2, "memory_size": 3, "attention_size": 4},
                **{"seed": 0, "xp": self.row.xp, "dtype": self.dtype},
            },
            "AttentionDecoder": lambda: {
                **{"rnn": prnn.RNN(I, H), "memory_size": 2, "output_size": 3},
                **{"score": "additive", "attention_size": 4},
            },
            "AttentionDecoder.init": lambda: {
                **{"seed": 0, "xp": self.row.xp, "dtype": self.dtype}
            },
            "decode": lambda: self._decoding() | {"lengths": [T, 2], "memory_lengths": [3, T]},
            "decode_vjp": lambda: {
                **{"decoder": self.decoder, "params": self.init(self.decoder)},
                **{"tape": prnn.decode(**self._decoding()).tape, "d_outputs": self.array(T, B, 3)},
                "d_state": self.state2,
            },
            "generate": lambda: {
                **{"model": self.model, "params": self.params, "start": self.x[0, ...]},
                **{"steps": 2, "feedback": lambda outputs, step: outputs[:, :I]},
                **{"state": self.state, "seed": (1, 2)},
            },
            "beam_search": lambda: {
                **{"model": self.tokens, "params": self.init(self.tokens), "steps": 2},
                **{"start": self.targets[0, ...], "end": 1, "width": 2, "state": self.state},
                "length_penalty": 0.5,
            },
            "executors.use": lambda: {"name": "auto", "threads": 2},
            "parameters_to_vector": lambda: {"params": self.params},
            "vector_to_parameters": lambda: {
                **{"vector": prnn.parameters_to_vector(self.params), "params": self.params}
            },
            "memory.plan": lambda: {
                **{"model": self.model, "steps": 64, "batch": 2, "dtype": "float32"}
            },
            **{
                f"optimizers.{rule.name}": lambda rule=rule: self._optimizer(
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
                **{"params": self.params, "state": self._state(optimizers.ema(optimizers.sgd))}
            },
            "optimizers.by_name": lambda: {"optimizers": {"*": optimizers.adam}},
            "optimizers.from_optax": lambda: {
                "transformation": SimpleNamespace(
                    init=lambda params: (), update=lambda grads, state, params: (grads, state)
                )
            },
            "optimizers.scaled_loss": lambda: {
                **{"loss": prnn.losses.softmax_cross_entropy, "optimizer": DYNAMIC},
                **{"state": self._state(DYNAMIC)},
            },
            "optimizers.clip_by_global_norm": lambda: {"grads": self.grads, "max_norm": 1.0},
            "ragged.pack": lambda: {"sequences": [self.array(2, I), self.array(3, I)]},
            "ragged.unpack": lambda: {"packed": self.x, "lengths": [T, 2]},
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
                **{"folder": self.path(), "model": self.model, "params": self.params},
            },
            "load_model": lambda: {"folder": self._saved_model()},
            "interop.from_torch": lambda: {"source": self._layers(), "recurrent": ""},
            "interop.to_torch": lambda: {"model": self.model, "params": self.params},
            "serialization.check_dtype": lambda: {"name": "w", "array": self.x},
            "serialization.load_arrays": lambda: {"path": self._saved(".safetensors")},
            "serialization.load_weights": lambda: {"path": self._saved(".npz")},
            "serialization.save_arrays": lambda: {
                **{"path": self.path(), "arrays": self.params, "header": {"format": 1}}
            },
            "serialization.save_weights": lambda: {
                **{"path": self.path("a.npz"), "params": self.params}
            },
            "serialization.write_atomically": lambda: {"path": self.path(), "data": b"data"},
            "training.evaluate": lambda: {
                **{"model": self.model, "params": self.params, "batches": self.shuffled()}
            },
            "training.train": lambda: {
                **{"model": self.model, "params": self.params, "batches": self.shuffled()},
                **{"steps": 2, "max_norm": 1.0, "validation": self.shuffled(seed=2)},
                **{"evaluate_every": 1, "patience": 5, "log_every": 1, "save_every": 1},
                **{"checkpoint": self.path(), "resume": True},
            },
            "training.Run.stop": lambda: {"reason": "enough"},
            "training.History.column": lambda: {"name": "loss"},
            "training.TensorBoard": lambda: {"folder": self.path()},
            "training.WandB": lambda: {"run": None},
            **{
                f"metrics.{name}.measure": lambda: {
                    **{"outputs": self.outputs, "targets": self.targets},
                    "weights": self.array(T, B) ** 2,
                }
                for name in ("Accuracy", "TopKAccuracy", "F1", "Perplexity")
            },
            **{
                f"metrics.{name}.measure": lambda: {
                    **{"outputs": self.outputs, "targets": self.outputs**2},
                    "weights": self.array(T, B) ** 2,
                }
                for name in ("BinaryAccuracy", "MeanAbsoluteError", "RootMeanSquaredError", "R2")
            },
            "metrics.F1": lambda: {"average": "macro", "ignore_index": None},
            "cells.GRU": lambda: {"activations": ("sigmoid", "tanh"), "clip": 3.0},
            "cells.ResetBeforeGRU": lambda: {"activations": ("sigmoid", "tanh"), "clip": 3.0},
            "cells.LSTM": lambda: {"activations": ("sigmoid", "tanh", "tanh"), "clip": 3.0},
            "cells.Elman": lambda: {"nonlinearity": ("elu", 0.5), "clip": 3.0},
            "book.Example": lambda: dict(vars(self.example)),
            "book.Example.rounded": lambda: {"dtype": "float32"},
            "book.check_claims": lambda: {"example": self.example, "claims": {"loss": 3.9}},
            "book.compare": lambda: {
                **{"example": self.example, "found": self.found, "exact": self.exact}
            },
            "book.compute": lambda: {"example": self.example, "xp": self.row.xp},
            "book.differentiate": lambda: {"example": self.example, "digits": 20},
            "book.document": lambda: {
                "checks": book.compare(self.example, self.found, self.exact),
                "title": "Numbers",
            },
            "book.draw": lambda: {"inputs": 2, "hidden": 2, "outputs": 2, "steps": 2, "seed": 1},
            "book.judge": lambda: {
                **{"example": self.example, "exact": self.exact, "claims": {"loss": 3.9}}
            },
            "book.left_out": lambda: {"example": self.example, "exact": self.exact},
            "book.read": lambda: {"path": self._example()},
            "book.write": lambda: {"path": self.path("a.json"), "example": self.example},
            "streaming.Stream": lambda: {
                **{"model": self.model, "params": self.params, "state": self.state}
            },
            "streaming.Stream.step": lambda: {"x": self.array(B, I)},
            "streaming.Stream.feed": lambda: {"x": self.x, "lengths": [T, 2]},
            "text.Vocabulary": lambda: {"characters": "abc"},
            "text.Vocabulary.of": lambda: {"text": "abc"},
            "text.Vocabulary.encode": lambda: {"text": "abba"},
            "text.Vocabulary.decode": lambda: {"indices": [0, 2, 1]},
            "text.baselines": lambda: {"train": "abba", "held_out": "aba"},
            "text.generate": lambda: {
                **sampled,
                **{"vocabulary": text.Vocabulary("abc"), "prompt": "ab", "length": 2},
            },
            "text.read_text": lambda: {"paths": [self._text()]},
            "text.split_text": lambda: {
                **{"text": "abc" * 100, "batch_size": 2, "window": 3, "validation_batch_size": 2}
            },
            "plots.gradient_flow": lambda: {"flow": self.flow},
            "plots.learning_curve": lambda: {
                **{"metrics": [{"step": 1, "training_bits": 2.0}], "baselines": {"xz": 2.5}},
                **{"title": "text"},
            },
        }

    def _score(self) -> dict[str, Any]:
        return {"weight": self.array(I, O)}

    def _example(self) -> Path:
        book.write(path := self.path("a.json"), self.example)
        return path

    def _text(self) -> Path:
        (path := self.path("a.txt")).write_text("abc", encoding="utf-8")
        return path
