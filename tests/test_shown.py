"""Results are shown by library, dtype and shape of their arrays, on a page."""

import dataclasses
import pickle
from typing import Any

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn._arrays.shown import short_repr

T, B, I, H, O = 40, 8, 4, 16, 3  # noqa: E741
MODEL = prnn.RNN(I, H, O, cell="lstm", num_layers=2)
PARAMS = MODEL.init(seed=0)
X, LABELS = np.full((T, B, I), 0.123456789, np.float32), np.zeros((T, B), np.int64)
RESULTS = {
    "forward": lambda: prnn.forward(MODEL, PARAMS, X),
    "tape": lambda: prnn.forward(MODEL, PARAMS, X).tape,
    "ragged tape": lambda: prnn.forward(MODEL, PARAMS, X, lengths=[T, *range(B - 1)]).tape,
    "gradients": lambda: prnn.backward(MODEL, PARAMS, prnn.forward(MODEL, PARAMS, X).tape, OUTPUTS),
    "result": lambda: prnn.bptt(MODEL, PARAMS, X, LABELS),
    "tangents": lambda: prnn.jvp(MODEL, PARAMS, X, d_x=X),
    "norms": lambda: prnn.per_example_norms(MODEL, PARAMS, X, LABELS),
    "flow": lambda: prnn.gradient_flow(MODEL, PARAMS, X, LABELS, iterations=1, arrays=True),
    "batch": lambda: prnn.batches.Batch(X, LABELS),
    "masks": lambda: prnn.dropout.draw(prnn.RNN(I, H, zoneout=0.5), X, 3),
    "run": lambda: prnn.training.Run(MODEL, PARAMS, 3, best_params=PARAMS, state=(X, X)),
}
DECODER = prnn.AttentionDecoder(prnn.RNN(I, H, cell="gru"), memory_size=I, output_size=O)
TOKENS = prnn.RNN(I, H, O, vocabulary_size=O)
RESULTS |= {
    "attention": lambda: prnn.attend(X, X),
    "its residuals": lambda: prnn.attend(X, X).residuals,
    "its gradients": lambda: prnn.attend_vjp(prnn.attend(X, X).residuals, X),
    "decoded": lambda: prnn.decode(DECODER, DECODER.init(), X, X),
    "its tape": lambda: prnn.decode(DECODER, DECODER.init(), X, X).tape[1],
    "gradients of a decoder": lambda: prnn.decode_vjp(
        DECODER, DECODER.init(), prnn.decode(DECODER, DECODER.init(), X, X).tape, OUTPUTS
    ),
    "beams": lambda: prnn.beam_search(TOKENS, TOKENS.init(), LABELS[0], T, end=1),
    "pooled": lambda: prnn.pool(X)[1],
}
OUTPUTS = np.full((T, B, O), 0.123456789, np.float32)


@pytest.mark.parametrize("name", RESULTS)
def test_a_result_is_shown_on_a_page_without_its_numbers(name):
    found = RESULTS[name]()
    text = repr(found)
    assert text == str(found)
    assert text.startswith(f"{type(found).__name__}(")
    assert len(text) < 2500
    assert "<numpy " in text
    assert "array(" not in text
    assert "0.1234" not in text
    if isinstance(found, tuple):  # still a named tuple, for all who unpack it
        assert type(found)(*found) is not found
        assert tuple(found) == tuple(found._asdict().values())
        assert repr(pickle.loads(pickle.dumps(found))) == text


def test_fields_are_shown_as_in_a_call():
    grads = prnn.Gradients({"w": np.zeros((2, 3), np.float32)}, None, (np.zeros(4), np.zeros(4)))
    assert repr(grads) == (
        "Gradients(\n"
        "    params={'w': <numpy float32 (2, 3)>},\n"
        "    x=None,\n"
        "    state=(<numpy float64 (4,)>, <numpy float64 (4,)>),\n"
        ")"
    )
    assert repr(prnn.batches.Batch(1, [2.5], fresh=False)) == (
        "Batch(x=1, targets=[2.5], weights=None, fresh=False, lengths=None)"
    )


def test_long_containers_are_cut_and_deep_ones_counted():
    many = prnn.batches.Batch(list(range(100)), ((((np.zeros(2), (np.zeros(3),)),),),), "a" * 1000)
    text = repr(many)
    assert "x=[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, ... 84 more]," in text
    assert "targets=((<tuple of 2 arrays>,),)," in text
    assert "a" * 380 in text
    assert "a" * 401 not in text


def test_a_model_is_shown_by_what_is_not_its_default():
    text = repr(prnn.training.Run(prnn.RNN(4, 5, cell="gru"), {}, 3, optimizer=prnn.optimizers.sgd))
    assert text.startswith("Run(\n    model=RNN(input_size=4, hidden_size=5, cell='gru'),\n")
    assert "    optimizer=sgd,\n" in text
    assert "pending" not in text


def test_a_run_is_shown_by_what_it_measured():
    run = prnn.training.Run(prnn.RNN(4, 5), {"w": np.ones(2), "v": np.ones(2)}, 9, step=7)
    run.loss, run.metrics, run.evaluation = 0.123456789, {"accuracy": 2 / 3}, 0.25
    assert repr(run) == (
        "Run(\n"
        "    model=RNN(input_size=4, hidden_size=5),\n"
        "    step=7,\n"
        "    steps=9,\n"
        "    loss=0.123457,\n"
        "    metrics={'accuracy': 0.666667},\n"
        "    evaluation=0.25,\n"
        "    best_step=0,\n"
        "    params=<dict of 2 arrays>,\n"
        "    optimizer=adam,\n"
        "    seed=0,\n"
        "    seconds=0,\n"
        ")"
    )


def test_classes_and_odd_objects_are_named():
    class Odd:
        dtype = "unlike any"
        shape = (1, 2)

    assert "unlike any (1, 2)>" in short_repr(prnn.batches.Batch(Odd(), Odd))
    assert "targets=Odd" in short_repr(prnn.batches.Batch(Odd(), Odd))


def test_what_is_traced_is_shown_and_leaves_a_compiled_function():
    jax = pytest.importorskip("jax")
    seen = []

    def step(x):
        found = prnn.Gradients({"w": x}, None, x + 1)
        seen.append(repr(found))
        return found

    found = jax.jit(step)(np.zeros((2, 3), np.float32))
    assert type(found) is prnn.Gradients
    assert seen == [repr(found)]
    assert "<jax float32 (2, 3)>" in seen[0]


@dataclasses.dataclass
class Held:
    array: Any
    more: Any = None
    other: Any = 1


def test_one_array_and_a_description_of_arrays_are_shown():
    """An array is equal to a default in parts only."""
    run = prnn.training.Run(prnn.RNN(4, 5), {}, 3, state=X, optimizer_state=Held(X, X))
    assert "    state=<numpy float32 (40, 8, 4)>,\n" in repr(run)
    shown = "Held(array=<numpy float32 (40, 8, 4)>, more=<numpy float32 (40, 8, 4)>)"
    assert shown in repr(prnn.batches.Batch(Held(X, X), 1))


def test_what_is_in_an_optimizer_is_named():
    optimizer = prnn.optimizers.clip_norm(prnn.optimizers.adam, 1.5)
    run = prnn.training.Run(prnn.RNN(4, 5), {}, 3, optimizer=optimizer)
    assert "    optimizer=ClipNorm(optimizer=adam, max_norm=1.5),\n" in repr(run)
