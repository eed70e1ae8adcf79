"""Every public function of arrays, called once with ordinary numbers.

`calls` returns functions by name. Their results are not checked here.
"""

from collections.abc import Callable
from functools import partial
from itertools import product
from typing import Any

import numpy as np

import portable_rnn as prnn
from portable_rnn import losses, optimizers

from .cells import KINDS
from .losses import LOSSES
from .optimizers import ALL_CASES

__all__ = ["MODELS", "calls"]

MODELS = {
    **{name: kind.options for name, kind in KINDS.items()},
    "relu": {"cell": "elman", "nonlinearity": "relu"},
    "deep": {"cell": "gru", "num_layers": 2, "bidirectional": True},
    "dropout": {"cell": "lstm", "num_layers": 2, "dropout": 0.5, "recurrent_dropout": 0.25},
    "zoneout": {"cell": "gru", "zoneout": 0.25},
}
T, B, C = 4, 3, 2


def calls(name, dtype, put):
    """Return functions by name: those of a named model, or for None those without a model.

    ``put`` moves a NumPy array to the library.
    """
    rng = np.random.default_rng(0)

    def draw(*shape):
        return put(rng.standard_normal(shape).astype(dtype))

    labels = put(rng.integers(0, C, (T, B)))
    return _plain(draw, labels, put, dtype) if name is None else _passes(name, draw, labels, put)


def _plain(draw, labels, put, dtype):
    o, rows, factors = draw(T, B, C), abs(draw(T, B, C)), abs(draw(C))
    rows = rows / (1.0 + rows)  # probabilities, too
    weights = put(np.ones((T, B), dtype=dtype))
    mask = put(np.arange(T * B).reshape(T, B) % 3 > 0)
    masked = put(np.where(np.arange(C) == 1, -np.inf, np.ones((T, B, C))).astype(dtype))
    zeros = put(np.zeros((T, B), dtype=np.int64))
    found: dict[str, Callable[..., Any]] = {}
    for name in LOSSES:
        loss, targets = getattr(losses, name), LOSSES[name].fit(rows)
        for which, w in (("all", None), ("weights", weights), ("mask", mask)):
            for reduction in ("mean", "sum"):
                given = {"weights": w, "reduction": reduction}
                found[f"{name} {which} {reduction}"] = partial(loss, o, targets, **given)
    options: dict[str, Any] = {"class_weights": factors, "label_smoothing": 0.1, "ignore_index": 1}
    ce = losses.softmax_cross_entropy
    found["labels"] = lambda: ce(o, labels)
    found["labels with options"] = lambda: ce(o, labels, weights=weights, **options)
    found["masked classes"] = lambda: ce(masked, zeros)
    found["unchecked labels"] = lambda: ce(o, labels, check_targets=False)
    found["far logits"] = lambda: ce(100.0 * o, labels)
    in_order = put(np.asarray([[1, 1], [1, -1], [-1, -1]]))
    found["ctc"] = lambda: losses.ctc(o, in_order, input_lengths=[T, 2, 0])
    found["ctc of far logits"] = lambda: losses.ctc(100.0 * o, in_order, check_targets=False)
    found["ctc without an alignment"] = lambda: losses.ctc(
        o, in_order, input_lengths=[1] * B, zero_infinity=True
    )
    found["decoding"] = lambda: losses.ctc_greedy_decode(o, weights=mask)
    found["far binary logits"] = lambda: losses.binary_cross_entropy(100.0 * o, rows)

    found |= _by_hand(draw, put)
    params, grads = {"a": draw(3, 2), "b": draw(2)}, {"a": draw(3, 2), "b": draw(2)}
    for case, (name, of_case) in ALL_CASES.items():

        def steps(optimizer=getattr(optimizers, name), options=of_case):
            state, moved = None, params
            for factor in (1.0, 0.0, 0.5):
                moved, state = optimizer(
                    moved, {n: factor * g for n, g in grads.items()}, state, **options
                )
            return moved

        found[case] = steps
    for bound in (0.1, 1e3, np.inf):
        found[f"clip {bound:g}"] = lambda bound=bound: optimizers.clip_by_global_norm(grads, bound)
    found["clip zeros"] = lambda: optimizers.clip_by_global_norm({"a": 0.0 * grads["a"]}, 1.0)
    return found


def _by_hand(draw, put):
    """What networks are put together of, and networks that run on their own outputs."""

    def drawn(shapes):
        return {name: draw(*shape) for name, shape in shapes.items()}

    tokens, start = put(np.asarray([[1, 0, 2], [2, 1, 1]])), put(np.asarray([1, 0, 2]))
    memory, lengths = draw(T, B, C), [3, 0, 1]
    found: dict[str, Callable[..., Any]] = {
        "embed": lambda: prnn.embed(draw(4, C), tokens),
        "embed_vjp": lambda: prnn.embed_vjp(tokens, draw(2, B, C), 4),
    }
    for how, both in product(("last", "mean", "max"), (False, True)):

        def pool(how=how, both=both):
            _, residuals = prnn.pool(memory, how, lengths=lengths, bidirectional=both)
            return prnn.pool_vjp(residuals, draw(B, C))

        found[f"pool {how}, both directions {both}"] = pool
    for score in ("dot", "scaled_dot", "general", "additive"):
        own = prnn.attention.init(score, C, C, 5 if score == "additive" else None)
        own = drawn({name: array.shape for name, array in own.items()})

        def attend(*axes, score=score, own=own):
            query = draw(*axes, B, C)
            _, weights, residuals = prnn.attend(query, memory, own, score=score, lengths=lengths)
            return prnn.attend_vjp(residuals, query, weights)

        found |= {f"attend {score}": partial(attend, T), f"attend {score}, one step": attend}
    rnn = prnn.RNN(3, C, vocabulary_size=C + 1)
    decoder = prnn.AttentionDecoder(rnn, C, C + 1, score="additive", attention_size=5)
    params, steps = drawn(decoder.parameter_shapes), {"memory": memory, "memory_lengths": lengths}

    def decode():
        made = prnn.decode(decoder, params, tokens, memory, memory_lengths=lengths)
        return prnn.decode_vjp(decoder, params, made.tape, made.outputs)

    given = (decoder, params, start, 3)
    found["decode"] = decode
    found["generate"] = partial(prnn.generate, *given, **steps, temperature=0.5, top_k=2)
    found["beam_search"] = partial(prnn.beam_search, *given, **steps, end=1, width=9)
    return found


def _passes(name, draw, labels, put):
    model = prnn.RNN(3, 4, C, **MODELS[name])
    params = {name: draw(*shape) for name, shape in model.parameter_shapes.items()}
    x, h = draw(T, B, 3), tuple(draw(*shape) for shape in model.state_shapes(B))
    state, d_outputs = h if len(h) > 1 else h[0], draw(T, B, C)
    lengths, mask = [4, 0, 2], put(np.asarray([[1, 0, 1], [1, 0, 1], [1, 0, 0], [0, 0, 1]]) > 0)
    drawn: dict[str, Any] = {"dropout": 0} if model.dropout or model.zoneout else {}
    given = (model, params, x)

    def back():
        fwd = prnn.forward(*given, state, **drawn)
        return prnn.backward(model, params, fwd.tape, d_outputs, state)

    found: dict[str, Callable[..., Any]] = {
        "predict": lambda: prnn.predict(*given),
        "predict one sequence": lambda: prnn.predict(model, params, x[:, 0, :]),
        "forward and backward": back,
        "bptt": lambda: prnn.bptt(*given, labels, **drawn),
        "bptt of ragged batches": lambda: prnn.bptt(*given, labels, lengths=lengths, **drawn),
        "bptt of gaps": lambda: prnn.bptt(*given, labels, mask=mask, **drawn),
        "jvp": lambda: prnn.jvp(*given, d_x=x),
        "hvp": lambda: prnn.hvp(*given, labels, params, **drawn),
        "gauss_newton_product": lambda: prnn.gauss_newton_product(*given, labels, params, **drawn),
        "per_example_norms": lambda: prnn.per_example_norms(*given, labels, **drawn),
        "per_example_gradients": lambda: prnn.per_example_gradients(*given, labels, **drawn),
    }
    found["gradient_flow"] = lambda: prnn.gradient_flow(
        *given, labels, iterations=2, by_loss_step=True, **drawn
    )
    if not model.bidirectional:
        found["truncated_bptt"] = lambda: prnn.truncated_bptt(*given, labels, k1=2, k2=3, **drawn)
        found["stream"] = lambda: prnn.stream(model, params).feed(x)
    return found
