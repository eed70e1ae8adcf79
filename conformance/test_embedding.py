"""Embeddings and networks of tokens on every backend, against plain sums and torch in float64."""

import math
from importlib.util import find_spec
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest

import portable_rnn as prnn

from .problems import TORCH_CELLS
from .selection import full_precision
from .tolerances import allowed_eps, assert_close

dtypes = full_precision

V, T, B, I, H, C = 7, 6, 3, 4, 5, 3  # noqa: E741 (the letters of the documents)
# Shape of the tokens, how many there may be, and how many are used: one for all, some, each once.
CASES = {
    "some": ((5, 3), 9, 9),
    "one token": ((4, 11), 3, 1),
    "few of many": ((2, 3), 40, 40),
    "a single one": ((1,), 2, 2),
    "many rows": ((60, 5), 6, 6),
}
LENGTHS = (4, 6, 1)


def embed_and_back(static, weight, tokens, d_vectors):
    (count,) = static
    vectors = prnn.embed(weight, tokens)
    return {"vectors": vectors, "d_weight": prnn.embed_vjp(tokens, d_vectors, count)}


@pytest.mark.parametrize("name", CASES)
def test_vectors_are_rows_and_their_cotangents_add_up(backend, dtype, name, record):
    shape, count, used = CASES[name]
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((count, I)).astype(dtype)
    tokens = rng.integers(0, used, shape).astype(np.int32)
    d_vectors = rng.standard_normal((*shape, I)).astype(dtype)
    want = np.zeros((count, I))
    for token in range(count):
        rows = d_vectors[tokens == token].astype(np.float64)
        want[token] = [math.fsum(column) for column in rows.T]
    given = tuple(map(backend.put, (weight, tokens, d_vectors)))
    found = backend.call(embed_and_back, (count,), *given)
    assert found["d_weight"].dtype == given[0].dtype
    if backend.shapes_only:
        assert tuple(found["vectors"].shape) == (*shape, I)
        assert tuple(found["d_weight"].shape) == (count, I)
        return
    assert np.array_equal(backend.get(found["vectors"]), weight[tokens])
    allowed = allowed_eps(backend.id, dtype)
    scale = float(np.abs(d_vectors).max())
    eps = assert_close(
        backend.get(found["d_weight"]), want, f"{backend.id}: {name}", scale=scale, k=allowed
    )
    record("functions", f"embedding-{name}", "d_weight", math.prod(shape), eps, allowed)


def train_step(static, params, tokens, labels):
    model, lengths = static
    result = prnn.bptt(model, params, tokens, labels, lengths=lengths)
    assert result.grad_x is None
    return {"loss": result.loss, "outputs": result.outputs} | result.grads


def drawn(cell, tied, batch_first, dtype):
    options = {"input_size": H, "output_size": V, "tied": True} if tied else {}
    model = prnn.RNN(
        **({"input_size": I, "hidden_size": H, "output_size": C} | options),
        **{"cell": cell, "vocabulary_size": V, "batch_first": batch_first},
    )
    rng = np.random.default_rng(1)
    params = model.init(seed=0, dtype=dtype)
    tokens = rng.integers(0, V, (T, B)).astype(np.int32)
    labels = rng.integers(0, model.output_size, (T, B)).astype(np.int32)
    return model, params, tokens, labels


def reference(model, params, tokens, labels, lengths):
    """Return the loss and its gradients by torch, a sequence at a time."""
    import torch

    kind = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[model.cell]
    module = kind(model.input_size, model.hidden_size).double()
    wide = {name: torch.from_numpy(a.astype(np.float64)) for name, a in params.items()}
    module.load_state_dict({name: a for name, a in wide.items() if "." not in name})
    outer = {name: a.requires_grad_() for name, a in wide.items() if "." in name}
    embedding = outer["embedding.weight"]
    readout = outer.get("readout.weight", embedding)
    total, count = 0.0, sum(lengths or (T,) * B)
    for b in range(B):
        steps = slice(0, lengths[b] if lengths else T)
        h, _ = module(embedding[torch.from_numpy(tokens[steps, b]).long()])
        rows = h @ readout.T + outer["readout.bias"]
        wanted = torch.from_numpy(labels[steps, b]).long()
        total = total + torch.nn.functional.cross_entropy(rows, wanted, reduction="sum") / count
    total.backward()
    found = {"loss": total.detach().numpy()}
    named = dict(module.named_parameters()) | outer
    return found | {name: named[name].grad.numpy() for name in params}


class Case(NamedTuple):
    cell: str
    tied: bool
    batch_first: bool
    lengths: tuple[int, ...] | None

    @property
    def id(self):
        words = (
            "tied" * self.tied,
            "batch_first" * self.batch_first,
            "lengths" * bool(self.lengths),
        )
        return "-".join(filter(None, (self.cell, *words)))


def cases(row, dtype):
    """Return networks: all for NumPy, one cell for others."""
    if dtype not in full_precision(row):
        return []
    cells = TORCH_CELLS if row.library == "numpy" else ("gru",)
    layouts = ((False, False), (True, False), (False, True))
    every = product(cells, layouts, (None, LENGTHS))
    return [Case(cell, *layout, lengths) for cell, layout, lengths in every]


def test_a_network_of_tokens_trains_as_torchs(backend, dtype, problem, record):
    """NumPy's is compared with torch, where it is installed, and others with NumPy's in float64."""
    cell, tied, batch_first, lengths = problem
    model, params, tokens, labels = drawn(cell, tied, batch_first, dtype)
    if backend.library == "numpy" and find_spec("torch"):
        want = reference(model, params, tokens, labels, lengths)
    else:
        wide = {name: array.astype(np.float64) for name, array in params.items()}
        given = (tokens.T, labels.T) if batch_first else (tokens, labels)
        with prnn.use_namespace(np):
            want = train_step((model, lengths), wide, *given)
        del want["outputs"]
    if batch_first:
        tokens, labels = tokens.T.copy(), labels.T.copy()
    moved = {name: backend.put(array) for name, array in params.items()}
    given = backend.put(tokens), backend.put(labels)
    found = backend.call(train_step, (model, lengths), moved, *given)
    if backend.shapes_only:
        assert {n: tuple(found[n].shape) for n in params} == model.parameter_shapes
        return
    allowed = allowed_eps(backend.id, dtype)
    for name, array in want.items():
        what = f"{backend.id}: {name} of a {cell} of tokens"
        eps = assert_close(backend.get(found[name]), array, what, scale=1.0, k=allowed)
        record(cell, f"tokens-{cell}", name, T, eps, allowed)


def in_parts(static, params, tokens):
    (model,) = static
    stream = prnn.stream(model, params)
    first, some = stream.step(tokens[0, ...]), stream.feed(tokens[1:4, ...])
    whole = prnn.predict(model, params, tokens)
    return {"0": first, "1": some, "2": stream.step(tokens[4, ...]), "whole": whole}


def test_a_stream_of_tokens_is_the_whole(backend, dtype):
    model, params, tokens, _ = drawn("gru", False, False, dtype)
    moved = {name: backend.put(array) for name, array in params.items()}
    found = backend.call(in_parts, (model,), moved, backend.put(tokens))
    if backend.shapes_only:
        return
    whole = backend.get(found["whole"])
    for name, steps in (("0", 0), ("1", slice(1, 4)), ("2", 4)):
        ref, what = whole[steps].astype(np.float64), f"{backend.id}: part {name}"
        allowed = allowed_eps(backend.id, dtype)
        assert_close(backend.get(found[name]), ref, what, scale=1.0, k=allowed)
