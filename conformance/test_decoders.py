"""Decoders with attention on every backend: against torch's autograd, or NumPy's own there."""

from importlib.util import find_spec

import numpy as np

import portable_rnn as prnn

from .backend import host_dtype
from .selection import full_precision
from .tolerances import allowed_eps, assert_close

dtypes = full_precision

T, S, B, I, H, M, A, V = 4, 5, 3, 2, 3, 4, 3, 4  # noqa: E741 (the letters of the documents)
END = 3
MASK = np.asarray(
    [[1, 1, 0], [0, 1, 1], [1, 1, 0], [1, 0, 1], [0, 0, 1]], np.bool_
)  # of the memory
LENGTHS = (4, 2, 3)  # of the decoder's steps
VECTORS = prnn.AttentionDecoder(prnn.RNN(I, H, cell="gru", num_layers=2), M, V)
TOKENS = prnn.AttentionDecoder(
    prnn.RNN(I, H, cell="lstm", vocabulary_size=V), M, V, score="additive", attention_size=A
)
DECODERS = {"vectors": VECTORS, "tokens": TOKENS}


class Case:
    def __init__(self, name):
        self.id = name


def cases(row, dtype):
    """Return both decoders in full precision, one of them in half or where each takes long."""
    if row.slow and dtype not in full_precision(row):
        return []
    few = row.slow or row.variant or dtype not in full_precision(row)
    return [Case("tokens")] if few else [Case("vectors"), Case("tokens")]


def drawn(decoder, dtype):
    """Return parameters, input, memory, initial state, cotangents of the outputs and the state."""
    rng, rnn = np.random.default_rng(0), decoder.rnn
    params = {name: 1.5 * a for name, a in decoder.init(seed=1, dtype="float64").items()}
    x = rng.standard_normal((T, B, I))
    memory, d_outputs = rng.standard_normal((S, B, M)), rng.standard_normal((T, B, V))
    state = tuple(rng.standard_normal(shape) for shape in rnn.state_shapes(B))
    d_state = tuple(rng.standard_normal(shape) for shape in rnn.state_shapes(B))
    given = tree(lambda a: a.astype(host_dtype(dtype)), (params, x, memory, state, d_outputs))
    if rnn.vocabulary_size:
        given = given[0], rng.integers(0, V, (T, B)).astype(np.int32), *given[2:]
    return *given, tree(lambda a: a.astype(host_dtype(dtype)), d_state)


def tree(f, given):
    """Apply a function to the arrays in a tuple of arrays, dicts and tuples."""
    if isinstance(given, dict):
        return {name: f(array) for name, array in given.items()}
    return tuple(tree(f, one) for one in given) if isinstance(given, tuple) else f(given)


def wide(given):
    return tree(lambda a: a if a.dtype.kind == "i" else a.astype(np.float64), given)


def state_of(parts):
    return parts if len(parts) > 1 else parts[0]


def decode_and_back(static, mask, params, x, memory, state, d_outputs, d_state):
    decoder = static
    steps = {"lengths": LENGTHS, "memory_mask": mask}
    outputs, after, weights, tape = prnn.decode(
        decoder, params, x, memory, state_of(state), **steps
    )
    found = prnn.decode_vjp(decoder, params, tape, d_outputs, state_of(d_state))
    assert list(found.params) == list(params)  # which jax.jit sorts
    parts = {"outputs": outputs, "weights": weights, "d_memory": found.memory}
    parts |= {} if found.x is None else {"d_x": found.x}
    for name, value in (("state", after), ("d_state", found.state)):
        both = value if isinstance(value, tuple) else (value,)
        parts |= {f"{name}[{i}]": part for i, part in enumerate(both)}
    return parts | {f"d_{name}": array for name, array in found.params.items()}


def reference(decoder, params, x, memory, state, d_outputs, d_state):
    """Return the same by torch's autograd, a sequence at a time."""
    import torch

    def leaf(array):
        return torch.from_numpy(array).requires_grad_(array.dtype.kind == "f")

    given = wide((params, x, memory, state))
    w, x, memory, state = tree(leaf, given)
    rnn, lstm = decoder.rnn, decoder.rnn.cell == "lstm"
    module = (torch.nn.LSTM if lstm else torch.nn.GRU)(I, H, rnn.num_layers).double()
    flat = {name: array for name, array in w.items() if "." not in name}
    x_in = w["embedding.weight"][x.long()] if rnn.vocabulary_size else x
    outputs, weights = torch.zeros(T, B, V).double(), torch.zeros(T, B, S).double()
    after = [torch.zeros_like(part) for part in state]
    for b, n in enumerate(LENGTHS):
        before = tuple(part[:, b] for part in state)
        call = torch.func.functional_call
        h, last = call(module, flat, (x_in[:n, b], before if lstm else before[0]))
        for part, one in zip(after, last if lstm else (last,), strict=True):
            part[:, b] = one
        valid = torch.from_numpy(MASK[:, b].nonzero()[0])
        m = memory[valid, b]
        if decoder.score == "additive":
            inner = (h @ w["attention.weight_query"].T)[:, None] + m @ w[
                "attention.weight_memory"
            ].T
            scores = torch.tanh(inner) @ w["attention.weight_score"][0]
        else:
            scores = h @ w["attention.weight"] @ m.T
        p = torch.softmax(scores, dim=1)
        weights[:n, b, valid] = p
        a = torch.tanh(torch.cat([p @ m, h], dim=1) @ w["combine.weight"].T)
        outputs[:n, b] = a @ w["readout.weight"].T + w["readout.bias"]
    total = (outputs * torch.from_numpy(wide(d_outputs))).sum()
    for part, one in zip(after, d_state, strict=True):
        total = total + (part * torch.from_numpy(wide(one))).sum()
    total.backward()
    found = {"outputs": outputs, "weights": weights, "d_memory": memory.grad}
    found |= {} if rnn.vocabulary_size else {"d_x": x.grad}
    found |= {f"state[{i}]": part for i, part in enumerate(after)}
    found |= {f"d_state[{i}]": part.grad for i, part in enumerate(state)}
    found |= {f"d_{name}": array.grad for name, array in w.items()}
    return {name: array.detach().numpy() for name, array in found.items()}


def test_a_decoder_and_its_cotangents_are_those_of_torch(backend, dtype, problem, record):
    """Where torch is not installed, others are compared with NumPy's in float64."""
    decoder = DECODERS[problem.id]
    given = drawn(decoder, dtype)
    if find_spec("torch"):
        want = reference(decoder, *given)
    else:
        with prnn.use_namespace(np):
            want = decode_and_back(decoder, MASK, *wide(given))
    found = backend.call(decode_and_back, decoder, backend.put(MASK), *tree(backend.put, given))
    assert found.keys() == want.keys()
    allowed = allowed_eps(backend.id, dtype)
    for name, array in want.items():
        what = f"{backend.id}: {name} of a decoder of {problem.id}"
        assert found[name].dtype == backend.put(given[2]).dtype, what
        if backend.shapes_only:
            assert tuple(found[name].shape) == array.shape
            continue
        eps = assert_close(backend.get(found[name]), array, what, scale=1.0, k=allowed)
        record(decoder.rnn.cell, f"decoder-{problem.id}", name, T, eps, allowed)


def made(static, mask, params, start, memory, state):
    (steps,) = static
    given = {"state": state_of(state), "memory": memory, "memory_mask": mask}
    tokens = prnn.generate(TOKENS, params, start, steps, **given)
    beams = prnn.beam_search(TOKENS, params, start, steps, end=END, width=2, **given)
    return {
        **{"tokens": tokens, "beams": beams.tokens},
        **{"lengths": beams.lengths, "scores": beams.scores},
    }


def test_what_a_decoder_makes_is_what_it_finds_likely(backend, dtype):
    """The tokens are the most likely of `decode`; scores are the sums of its log-probabilities."""
    params, x, memory, state, *_ = drawn(TOKENS, dtype)
    given = params, x[0], memory, state
    found = backend.call(made, (3,), backend.put(MASK), *tree(backend.put, given))
    if backend.shapes_only:
        return
    found = {name: backend.get(array) for name, array in found.items()}
    params, start, memory, state = wide(given)

    def log_p(tokens):
        x = np.concatenate([start[None], tokens[:-1]])
        with prnn.use_namespace(np):
            given = x, memory, state_of(state)
            outputs = prnn.decode(TOKENS, params, *given, memory_mask=MASK).outputs
        return outputs - np.log(np.exp(outputs).sum(axis=2, keepdims=True))

    assert np.array_equal(found["tokens"], log_p(found["tokens"]).argmax(axis=2))
    for n in range(2):
        tokens = found["beams"][:, :, n]
        rows = np.take_along_axis(log_p(tokens), tokens[..., None], axis=2)[..., 0]
        counts = np.arange(3)[:, None] < found["lengths"][:, n]
        want = np.where(counts, rows, 0.0).sum(axis=0)
        assert_close(found["scores"][:, n], want, f"{backend.id}: scores of beam {n}", scale=1.0)
