"""The programs of the front page in torch: same data, initial values, batches and steps.

Each function takes the names that the block of the page has made before its model, and the model
and its initial parameters; it returns the result that the block ends with.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy, ctc_loss, log_softmax, mse_loss
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from portable_rnn import RNN

__all__ = ["PROGRAMS"]

Names = dict[str, Any]
Arrays = dict[str, np.ndarray]


class Network(torch.nn.Module):
    """An embedding if there are tokens, recurrent layers, and a readout of all steps."""

    def __init__(self, model: RNN, params: Arrays) -> None:
        super().__init__()
        if model.vocabulary_size is not None:
            self.embedding = torch.nn.Embedding(model.vocabulary_size, model.input_size)
        kind = {"gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[str(model.cell)]
        both = model.bidirectional
        self.recurrent = kind(model.input_size, model.hidden_size, bidirectional=both)
        if model.output_size is not None:
            self.readout = torch.nn.Linear(model.directions * model.hidden_size, model.output_size)
        renamed = {n if "." in n else f"recurrent.{n}": torch.tensor(params[n]) for n in params}
        self.load_state_dict({n: renamed[n] for n in self.state_dict()})

    def features(self, x: torch.Tensor, lengths: Any = None, state: Any = None) -> Any:
        """Return the hidden states of all steps, and the final state."""
        x = self.embedding(x) if hasattr(self, "embedding") else x
        if lengths is None:
            return self.recurrent(x, state)
        packed = pack_padded_sequence(x, torch.as_tensor(lengths), enforce_sorted=False)
        found, state = self.recurrent(packed, state)
        return pad_packed_sequence(found, total_length=len(x))[0], state


def train(
    network: Any,
    source: Any,
    epochs: int,
    lr: float,
    loss: Callable[..., torch.Tensor],
    evaluate: Callable[[], float] | None = None,
    max_norm: float | None = None,
) -> float:
    """Train by Adam, given the loss of a batch; evaluate ten times, and return the last result."""
    adam = torch.optim.Adam(network.parameters(), lr=lr)
    steps, result = epochs * source.steps_per_epoch, math.nan
    for step in range(steps):
        batch = source.batch(step)
        adam.zero_grad()
        loss(torch.from_numpy(batch.x), torch.from_numpy(batch.targets), batch.lengths).backward()
        if max_norm is not None:
            torch.nn.utils.clip_grad_norm_(network.parameters(), max_norm)
        adam.step()
        if evaluate is not None and (step + 1) % (steps // 10) == 0:
            result = evaluate()
    return result


def mask(x: torch.Tensor, lengths: Any) -> torch.Tensor:
    """Return which steps (T, B) are valid."""
    return torch.arange(len(x))[:, None] < torch.as_tensor(lengths)


def six_lines(names: Names, model: RNN, params: Arrays) -> float:
    network = Network(model, params)

    def outputs(x: torch.Tensor) -> torch.Tensor:
        return network.readout(network.features(x)[0].mean(dim=0))

    def loss(x: torch.Tensor, labels: torch.Tensor, _: Any) -> torch.Tensor:
        return cross_entropy(outputs(x), labels)

    train(network, names["data"], epochs=10, lr=0.01, loss=loss)
    with torch.no_grad():
        found = outputs(torch.from_numpy(names["x"][:, 1200:])).argmax(dim=1).numpy()
    return float(np.mean(found == names["kinds"][1200:]))


def classify_texts(names: Names, model: RNN, params: Arrays) -> float:
    network = Network(model, params)

    def outputs(x: torch.Tensor, lengths: Any) -> torch.Tensor:
        total = network.features(x, lengths)[0].sum(dim=0)  # those of padding are zero
        return network.readout(total / torch.as_tensor(lengths)[:, None])

    def loss(x: torch.Tensor, labels: torch.Tensor, lengths: Any) -> torch.Tensor:
        return cross_entropy(outputs(x, lengths), labels)

    evaluate = partial(accuracy, outputs, names["held_out"])
    return train(network, names["train"], epochs=8, lr=0.01, loss=loss, evaluate=evaluate)


def tag_each_step(names: Names, model: RNN, params: Arrays) -> float:
    network = Network(model, params)

    def outputs(x: torch.Tensor, lengths: Any) -> torch.Tensor:
        return network.readout(network.features(x, lengths)[0])

    def loss(x: torch.Tensor, tags: torch.Tensor, lengths: Any) -> torch.Tensor:
        valid = mask(x, lengths)
        return cross_entropy(outputs(x, lengths)[valid], tags[valid])

    evaluate = partial(accuracy, outputs, names["held_out"])
    return train(network, names["train"], epochs=10, lr=0.02, loss=loss, evaluate=evaluate)


def accuracy(outputs: Any, source: Any) -> float:
    """Return the share of labels, of sequences or of valid steps, that are right."""
    right = []
    for step in range(source.steps_per_epoch):
        batch = source.batch(step)
        x, labels = torch.from_numpy(batch.x), torch.from_numpy(batch.targets)
        with torch.no_grad():
            found = outputs(x, batch.lengths).argmax(dim=-1) == labels
        right.append(found if labels.ndim == 1 else found[mask(x, batch.lengths)])
    return float(torch.cat(right).double().mean())


class Decoder(torch.nn.Module):
    """A recurrent network, attention by dot products, and a readout of both."""

    def __init__(self, decoder: Any, params: Arrays) -> None:
        super().__init__()
        size = decoder.rnn.hidden_size
        self.network = Network(decoder.rnn, params)
        self.combine = torch.nn.Linear(2 * size, size, bias=False)
        self.readout = torch.nn.Linear(size, decoder.output_size)
        own = {n: torch.tensor(a) for n, a in params.items() if n.startswith(("comb", "read"))}
        self.load_state_dict(own, strict=False)

    def forward(self, x: torch.Tensor, memory: torch.Tensor, state: Any) -> Any:
        hidden, state = self.network.features(x, state=state)
        query, memory = hidden.transpose(0, 1), memory.transpose(0, 1)
        weights = torch.softmax(query @ memory.transpose(1, 2), dim=2)
        joined = torch.cat([weights @ memory, query], dim=2)
        return self.readout(torch.tanh(self.combine(joined))).transpose(0, 1), state


def add_digit_by_digit(names: Names, model: RNN, params: Any) -> float:
    encoder, decoder = Network(model, params[0]), Decoder(names["decoder"], params[1])
    learned = [*encoder.parameters(), *decoder.parameters()]
    adam = torch.optim.Adam(learned, lr=0.01)
    for step in range(500):
        x, y, *_ = map(torch.from_numpy, names["data"].batch(step)[:2])
        adam.param_groups[0]["lr"] = 2e-5 * (500 - step)
        outputs, _ = decoder(torch.cat([x[2:3], y[:-1]]), *encoder.features(x))
        adam.zero_grad()
        cross_entropy(outputs.flatten(0, 1), y.flatten()).backward()
        adam.step()
    token, written = torch.from_numpy(names["sums"][2:3, :1000]), []
    with torch.no_grad():
        memory, state = encoder.features(torch.from_numpy(names["sums"][:, :1000]))
        for _ in range(3):
            outputs, state = decoder(token, memory, state)
            token = outputs.argmax(dim=2)
            written.append(token[0].numpy())
    return float((np.stack(written) == names["digits"][:, :1000]).all(axis=0).mean())


def forecast_a_series(names: Names, model: RNN, params: Arrays) -> float:
    network = Network(model, params)

    def loss(x: torch.Tensor, targets: torch.Tensor, _: Any) -> torch.Tensor:
        return mse_loss(network.readout(network.features(x)[0]), targets)

    train(network, names["data"], epochs=3, lr=0.005, loss=loss)
    past, made = torch.from_numpy(names["past"].copy()), []
    with torch.no_grad():
        _, state = network.features(past[:-1])
        value = past[-1:]
        for _ in range(24):
            hidden, state = network.features(value, state=state)
            value = network.readout(hidden)
            made.append(value[0].numpy())
    return float(np.abs(np.stack(made) - names["future"]).mean())


def read_lines(names: Names, model: RNN, params: Arrays) -> float:
    network = Network(model, params)

    def loss(x: torch.Tensor, labels: torch.Tensor, lengths: Any) -> torch.Tensor:
        log_p = log_softmax(network.readout(network.features(x, lengths)[0]), dim=2)
        counts = (labels > 0).sum(dim=1)
        return ctc_loss(log_p, labels, torch.as_tensor(lengths), counts)

    train(network, names["data"], epochs=12, lr=0.02, loss=loss, max_norm=5.0)
    x, lengths, labels = names["x"][:, :200], names["lengths"][:200], names["labels"][:200]
    with torch.no_grad():
        outputs = network.readout(network.features(torch.from_numpy(x), lengths)[0]).numpy()
    right = 0
    for best, length, wanted in zip(outputs.argmax(axis=2).T, lengths, labels, strict=True):
        changed = np.diff(best[:length], prepend=0) != 0
        found = best[:length][changed & (best[:length] != 0)]
        right += list(found) == list(wanted[wanted > 0])
    return right / len(labels)


PROGRAMS: dict[str, Callable[[Names, Any, Any], float]] = {
    "six lines": six_lines,
    "classify texts": classify_texts,
    "add digit by digit": add_digit_by_digit,
    "forecast a series": forecast_a_series,
    "tag each step": tag_each_step,
    "read lines": read_lines,
}
