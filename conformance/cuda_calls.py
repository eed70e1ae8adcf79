"""Calls of the public functions on arrays of one library, for the contracts of a CUDA device.

Each case makes its arrays, and returns a function of no arguments that calls the library.
"""

from collections.abc import Callable, Iterator
from functools import cached_property, partial
from typing import Any

import numpy as np

import portable_rnn as prnn
from portable_rnn import losses, optimizers

__all__ = ["BUDGETS", "CALLS", "SHAPE", "Given", "leaves"]

SHAPE = STEPS, BATCH, INPUTS, HIDDEN, OUTPUTS = 10, 4, 3, 5, 4  # more steps than CuPy joins at once
LENGTHS = np.asarray([10, 3, 7, 1])
TOKENS = 6


class Given:
    """Arguments of a library, put on a device by ``put``."""

    def __init__(self, xp: Any, put: Callable[[Any], Any]) -> None:
        self.xp, self.put, self.rng = xp, put, np.random.default_rng(0)

    def normal(self, *shape: int) -> Any:
        return self.put(self.rng.standard_normal(shape).astype(np.float32))

    @cached_property
    def x(self) -> Any:
        return self.normal(STEPS, BATCH, INPUTS)

    @cached_property
    def labels(self) -> Any:
        return self.put(self.rng.integers(0, OUTPUTS, (STEPS, BATCH)))

    @cached_property
    def rows(self) -> Any:
        return self.normal(STEPS, BATCH, OUTPUTS)

    @cached_property
    def steps(self) -> np.ndarray[Any, Any]:  # a mask, on the host
        return self.rng.random((STEPS, BATCH)) < 0.7

    def network(self, cell: str = "lstm", **options: Any) -> tuple[prnn.RNN, dict[str, Any]]:
        """Return a model and its parameters."""
        model = prnn.RNN(INPUTS, HIDDEN, OUTPUTS, cell=cell, **options)
        return model, {name: self.put(a) for name, a in model.init(seed=0).items()}

    def direction(self, params: dict[str, Any], size: float = 1.0) -> dict[str, Any]:
        return {name: self.put(np.full(p.shape, size, "float32")) for name, p in params.items()}

    def bptt(self, cell: str = "lstm", network: Any = None, **options: Any) -> Callable[[], Any]:
        model, params = self.network(cell, **(network or {}))
        targets = options.pop("targets", self.labels)
        return partial(prnn.bptt, model, params, self.x, targets, **options)

    def masks(self, **options: Any) -> Callable[[], Any]:
        """Return a call with dropout masks that are on the device already."""
        model, _ = self.network(**options)
        drawn = prnn.dropout.draw(model, self.x, 0)
        return self.bptt(network=options, dropout=drawn)

    def loss(self, loss: Any, targets: Any, **options: Any) -> Callable[[], Any]:
        return partial(loss, self.normal(STEPS, BATCH, OUTPUTS), targets, **options)

    def step(self, rule: Any, states: bool = True, **options: Any) -> Callable[[], Any]:
        """Return a call of an optimizer's second step."""
        _, params = self.network()
        grads = self.direction(params, 0.1)
        state = rule(params, grads, **options)[1] if states else None
        return partial(rule, params, grads, state, **options)

    def scaled(self) -> Callable[[], Any]:
        _, params = self.network()
        state = DYNAMIC(params, self.direction(params), lr=0.1)[1]
        loss = optimizers.scaled_loss(losses.softmax_cross_entropy, DYNAMIC, state)
        return self.loss(loss, self.labels)

    def of_vector(self, function: Any, **options: Any) -> Callable[[], Any]:
        model, params = self.network()
        return partial(function, model, params, self.x, self.labels, self.direction(params))

    def derivative(self, function: Any, **options: Any) -> Callable[[], Any]:
        return partial(function, *self.network(), self.x, self.labels, **options)

    def jvp(self) -> Callable[[], Any]:
        model, params = self.network()
        return partial(prnn.jvp, model, params, self.x, d_params=self.direction(params))

    def forward(self) -> Callable[[], Any]:
        network = self.network()

        def call() -> Any:
            found = prnn.forward(*network, self.x)
            return found.outputs, found.state

        return call

    def backward(self) -> Callable[[], Any]:
        network = self.network()
        tape = prnn.forward(*network, self.x).tape
        return partial(prnn.backward, *network, tape, self.rows)

    def stream(self, mask: Any = None) -> Callable[[], Any]:
        stream = prnn.stream(*self.network())
        return partial(stream.step, self.x[0], mask=mask)

    def feed(self) -> Callable[[], Any]:
        return partial(prnn.stream(*self.network()).feed, self.x)

    def tokens(self) -> Callable[[], Any]:
        indices = self.put(self.rng.integers(0, TOKENS, (STEPS, BATCH)))
        return partial(prnn.embed, self.normal(TOKENS, INPUTS), indices)

    def rows_of_tokens(self) -> Callable[[], Any]:
        indices = self.put(self.rng.integers(0, TOKENS, (STEPS, BATCH)))
        return partial(prnn.embed_vjp, indices, self.normal(STEPS, BATCH, INPUTS), TOKENS)

    def packed(self) -> Callable[[], Any]:
        return partial(prnn.ragged.pack, [self.x[: int(n), b] for b, n in enumerate(LENGTHS)])

    def shuffled(self) -> Callable[[], Any]:
        return partial(prnn.batches.Shuffled(self.x, self.labels, batch_size=3).batch, 0)

    def windows(self) -> Callable[[], Any]:
        long, labels = self.normal(24, INPUTS), self.put(np.arange(24) % OUTPUTS)
        return partial(prnn.batches.Windows(long, labels, batch_size=2, window=4).batch, 1)

    def one_hot(self) -> Callable[[], Any]:
        return partial(losses.one_hot, self.xp, self.labels, OUTPUTS, self.xp.float32)


DYNAMIC = optimizers.mixed_precision(optimizers.accumulate(optimizers.adam, 2), growth_interval=2)
RANDOM: dict[str, Any] = {"num_layers": 2, "dropout": 0.3, "recurrent_dropout": 0.2, "zoneout": 0.1}
BOTH = {"num_layers": 2, "bidirectional": True}
CLASSES = {"ignore_index": 1, "label_smoothing": 0.1}

CALLS: dict[str, Callable[[Given], Callable[[], Any]]] = {
    "forward": Given.forward,
    "backward": Given.backward,
    "predict": lambda g: partial(prnn.predict, *g.network(), g.x, return_state=True),
    "bptt of elman": lambda g: g.bptt("elman"),
    "bptt of gru": lambda g: g.bptt("gru"),
    "bptt of lstm": lambda g: g.bptt("lstm"),
    "bptt of mgu": lambda g: g.bptt("mgu"),
    "bptt of two layers and directions": lambda g: g.bptt("gru", BOTH),
    "bptt of a projection": lambda g: g.bptt(network={"projection_size": 3}),
    "bptt with a checkpoint every 3 steps": lambda g: g.bptt(checkpoint_every=3),
    "bptt with a mask": lambda g: g.bptt(mask=g.put(g.steps)),
    "bptt with a mask of the host": lambda g: g.bptt(mask=g.steps),
    "bptt with lengths": lambda g: g.bptt(lengths=g.put(LENGTHS)),
    "bptt with lengths of the host": lambda g: g.bptt(lengths=LENGTHS),
    "bptt with sorted lengths": lambda g: g.bptt(lengths=sorted(map(int, LENGTHS), reverse=True)),
    "bptt with masks of dropout": lambda g: g.masks(**RANDOM),
    "bptt with a seed": lambda g: g.bptt(network=RANDOM, dropout=1),
    "bptt that checks numbers": lambda g: g.bptt(check_finite=True),
    "bptt that checks labels": lambda g: g.bptt(check_targets=True),
    "bptt of squares": lambda g: g.bptt(targets=g.rows, loss=losses.mean_squared_error),
    "truncated bptt": lambda g: g.derivative(prnn.truncated_bptt, k1=1, k2=2),
    "a step of a stream": Given.stream,
    "a step of a stream with a mask": lambda g: g.stream(g.put(g.steps[0])),
    "a chunk of a stream": Given.feed,
    "softmax cross-entropy": lambda g: g.loss(
        losses.softmax_cross_entropy,
        g.labels,
        weights=g.put(np.ones((STEPS, BATCH), "float32")),
        class_weights=g.put(np.ones(OUTPUTS, "float32")),
        **CLASSES,
    ),
    "mean squared error": lambda g: g.loss(
        losses.mean_squared_error, g.rows, weights=g.put(g.steps)
    ),
    "binary cross-entropy": lambda g: g.loss(
        losses.binary_cross_entropy, g.put(np.ones((STEPS, BATCH, OUTPUTS), "float32"))
    ),
    "sgd": lambda g: g.step(optimizers.sgd, lr=0.1, momentum=0.9, nesterov=True, weight_decay=0.1),
    "adam": lambda g: g.step(optimizers.adam),
    "adam at a rate of the device": lambda g: g.step(
        optimizers.adam, lr=g.put(np.asarray(0.1, "float32"))
    ),
    "adamw": lambda g: g.step(optimizers.adamw, lr=0.1),
    "rmsprop": lambda g: g.step(optimizers.rmsprop),
    "lion": lambda g: g.step(optimizers.lion, lr=0.1),
    "adagrad": lambda g: g.step(optimizers.adagrad, lr=0.1),
    "an average of parameters": lambda g: g.step(
        optimizers.ema(
            optimizers.by_name({"*bias*": optimizers.accumulate(optimizers.adam, 2), "*": None}),
            debias=True,
        ),
        lr=0.1,
    ),
    "a dynamic loss scale": lambda g: g.step(DYNAMIC, lr=0.1),
    "a loss with a dynamic scale": lambda g: g.scaled(),
    "clipping": lambda g: partial(optimizers.clip_by_global_norm, g.direction(g.network()[1]), 1.0),
    "clipping to a norm of the device": lambda g: partial(
        optimizers.clip_by_global_norm,
        g.direction(g.network(num_layers=3)[1]),
        g.put(np.asarray(1.0, "float32")),
    ),
    "jvp": Given.jvp,
    "hvp": lambda g: g.of_vector(prnn.hvp),
    "gauss-newton product": lambda g: g.of_vector(prnn.gauss_newton_product),
    "per-example gradients": lambda g: g.derivative(prnn.per_example_gradients),
    "per-example norms": lambda g: g.derivative(prnn.per_example_norms),
    "gradient flow": lambda g: g.derivative(prnn.gradient_flow, arrays=True, by_loss_step=True),
    "embed": Given.tokens,
    "embed_vjp": Given.rows_of_tokens,
    "masks of dropout": lambda g: partial(prnn.dropout.draw, g.network(**RANDOM)[0], g.x, (0, 3)),
    "pack": Given.packed,
    "unpack": lambda g: partial(prnn.ragged.unpack, g.x, LENGTHS),
    "a batch of sequences": Given.shuffled,
    "a batch of windows": Given.windows,
    "means of dropout": lambda g: g.bptt(network={"zoneout": 0.1}, dropout=False),
    "one-hot rows": Given.one_hot,
}

# What cannot be avoided, where the default is nothing.
BUDGETS: dict[str, dict[str, int]] = {
    # The mask, and the order of the sequences with its inverse.
    "bptt with a mask of the host": {"h2d": 1},
    "bptt with lengths of the host": {"h2d": 2},
    "bptt with sorted lengths": {"h2d": 1},
    "bptt that checks numbers": {"d2h": 1, "sync": 1},
    "bptt that checks labels": {"d2h": 1, "sync": 1},
    "a batch of sequences": {"h2d": 1},
    # The vectors that the power method begins with.
    "gradient flow": {"h2d": 2},
}


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the arrays of a result, by name."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        yield name, value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield from leaves(one, f"{name}.{key}")
    elif isinstance(value, (tuple, list)):
        for i, one in enumerate(value):
            yield from leaves(one, f"{name}.{i}")
    elif hasattr(value, "__dataclass_fields__"):
        yield from leaves(vars(value), name)
