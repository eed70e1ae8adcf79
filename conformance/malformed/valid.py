"""One valid call of each function, on the arrays of a row: the basis of campaigns."""

import tempfile
from collections.abc import Callable
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

import portable_rnn as prnn
from portable_rnn import book, distributed, optimizers, serialization, text
from portable_rnn.training.evaluation import evaluate_objective

from ..backend import Backend
from ..combinators import COMBINATORS
from ..inline_client import InlineClient
from .arguments import CALLABLES, arguments, spreads
from .calls import B, H, I, N, O, T, calls_of

__all__ = ["Valid"]

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
        self.calls = calls_of(self)
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

    def decoding(self) -> dict[str, Any]:
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
        if name in ("distributed.DaskGradients", "distributed.AllReduceGradients"):
            return lambda **given: self._differentiated(found(**given))
        if name == "optimizers.scaled_loss":
            return lambda **given: found(**given)(self.outputs, self.outputs**2)
        if name == "text.generate":
            return lambda **given: list(islice(found(**given), 2))
        if name == "use_namespace":
            return lambda **given: found(**given)(dict)()  # it checks when it is entered
        if any(spreads(name, argument) for argument in arguments(name)):
            # All are positional: the value of ``*args`` is given as one argument, and last.
            return lambda **given: found(*(given[a] for a in arguments(name) if a in given))
        return found

    def path(self, name: str = "") -> Path:
        """Return an unused path in an existing folder."""
        return Path(tempfile.mkdtemp(dir=self.folder)) / (name or "file")

    def _differentiated(self, gradients: Any) -> None:
        """Differentiate and evaluate, if the model is that of the parameters."""
        if gradients.model != self.model:
            return
        source = self.shuffled()
        gradients(self.params, source.batch(0))
        evaluate_objective(gradients, self.params, source)

    def load(self, step: int, shard: int) -> prnn.batches.Batch:
        return self.shuffled(seed=shard).batch(step)

    def shuffled(self, **options: Any) -> prnn.batches.Shuffled:
        return prnn.batches.Shuffled(**self.shuffled_arguments() | options)

    def shuffled_arguments(self) -> dict[str, Any]:
        return {
            **{"x": self.array(T, N, I), "batch_size": 2, "weights": self.array(T, N) ** 2},
            **{"targets": self.row.put(np.zeros((T, N), np.int64)), "lengths": [T, 1, 2, 3]},
            **{"seed": 1, "batch_axis": 1},
        }

    def windows_arguments(self) -> dict[str, Any]:
        labels = self.row.put(np.arange(40) % I)
        return {"x": labels, "targets": labels, "batch_size": 2, "window": 3, "encode": None}

    def optimizer(self, name: str, **options: Any) -> dict[str, Any]:
        optimizer = getattr(optimizers, name)
        _, state = optimizer(self.params, self.grads, **{"lr": 0.1} | options)
        given = {"params": self.params, "grads": self.grads, "state": state, "lr": 0.1}
        return given | options

    def state_of(self, optimizer: Any) -> Any:
        return optimizer(self.params, self.grads, None, lr=0.1)[1]

    def saved(self, suffix: str) -> Path:
        path = self.path(f"a{suffix}")
        serialization.save_weights(path, self.params)
        return path

    def saved_model(self) -> Path:
        prnn.save_model(folder := self.path(), self.model, self.params)
        return folder

    def layers(self) -> dict[str, Any]:
        return {name: a for name, a in self.params.items() if "." not in name}

    def _history(self) -> prnn.training.History:
        history = prnn.training.History()
        history.rows.append({"step": 1, "loss": 2.0})
        return history

    def _objects(self) -> dict[str, Callable[[], Any]]:
        return {
            "RNN": lambda: self.model,
            "AttentionDecoder": lambda: prnn.AttentionDecoder(prnn.RNN(I, H), 2, 3),
            "batches.Chunked": lambda: prnn.batches.Chunked(**self.shuffled_arguments()),
            "batches.Prefetched": lambda: prnn.batches.Prefetched(self.shuffled(), 1),
            "batches.Shuffled": self.shuffled,
            "distributed.Shards": lambda: distributed.Shards(self.load, 2),
            "distributed.DaskGradients": lambda: distributed.DaskGradients(
                InlineClient(), self.model, shards=2
            ),
            "batches.Windows": lambda: prnn.batches.Windows(**self.windows_arguments()),
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

    def score(self) -> dict[str, Any]:
        return {"weight": self.array(I, O)}

    def example_path(self) -> Path:
        book.write(path := self.path("a.json"), self.example)
        return path

    def text_path(self) -> Path:
        (path := self.path("a.txt")).write_text("abc", encoding="utf-8")
        return path
