"""A stream equals the batch, one or a few steps at a time, and holds only the state."""

import copy
import gc
import pickle
import tracemalloc

import numpy as np
import pytest
from conformance.tolerances import assert_close

import portable_rnn as prnn
from portable_rnn._arrays import checks as check

T, B, I, H = 9, 3, 4, 5  # noqa: E741


def network(cell="gru", **options):
    model = prnn.RNN(I, H, 2, cell=cell, **options)
    x = np.random.default_rng(0).standard_normal((T, B, I))
    return model, model.init(seed=0, dtype="float64"), x


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
@pytest.mark.parametrize("cuts", [[], [4], [1, 2, 8]])
def test_chunks_of_any_size_are_the_whole(cell, cuts):
    model, params, x = network(cell, num_layers=2, zoneout=0.2)
    whole, after = prnn.predict(model, params, x, return_state=True)
    stream = prnn.stream(model, params)
    outputs = [stream.feed(part) for part in np.split(x, cuts)]
    assert_close(np.concatenate(outputs), whole, "outputs", k=8)
    assert_close(np.asarray(stream.state), np.asarray(after), "state", k=8)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize(
    "wrong",
    [
        lambda x: pytest.importorskip("array_api_strict").asarray(x),
        lambda x: x.astype(np.float32),
        lambda x: x[:1],
        lambda x: x[:, :2],
    ],
    ids=["library", "dtype", "batch", "size"],
)
def test_a_step_that_is_refused_leaves_the_stream_as_it_was(cell, wrong):
    model, params, x = network(cell)
    whole = prnn.predict(model, params, x)
    stream = prnn.stream(model, params)
    outputs = [stream.step(x[0])]
    with pytest.raises((TypeError, ValueError), match=r"^x: expected"):
        stream.step(wrong(x[1]))
    outputs += [stream.step(x_t) for x_t in x[1:4]]
    with pytest.raises((TypeError, ValueError), match=r"^x: expected"):
        stream.step(wrong(x[4]))
    assert all(isinstance(part, np.ndarray) for part in check.state_parts(stream.state))
    outputs += [stream.step(x_t) for x_t in x[4:]]
    assert_close(np.stack(outputs), whole, "outputs", k=8)


def test_a_copy_of_a_stream_is_independent():
    model, params, x = network("lstm")
    whole = prnn.predict(model, params, x)
    stream = prnn.stream(model, params)
    stream.feed(x[:4])
    stream.step(x[4])
    for twin in (copy.deepcopy(stream), pickle.loads(pickle.dumps(stream))):
        rest = np.stack([twin.step(x_t) for x_t in x[5:]])
        assert_close(rest, whole[5:], "outputs", k=8)
    assert_close(stream.feed(x[5:]), whole[5:], "outputs", k=8)


def test_steps_and_chunks_see_the_parameters_that_were_given():
    model, params, x = network()
    whole = prnn.predict(model, params, x)
    stream = prnn.stream(model, params)
    params["weight_ih_l0"] = np.zeros_like(params["weight_ih_l0"])
    outputs = np.concatenate([stream.step(x[0])[None], stream.feed(x[1:])])
    assert_close(outputs, whole, "outputs", k=8)


@pytest.mark.parametrize("options", [{}, {"batch_first": True}])
def test_single_steps_are_the_whole(options):
    model, params, x = network("lstm", **options)
    whole = prnn.predict(model, params, x.transpose(1, 0, 2) if options else x)
    stream = prnn.stream(model, params)
    outputs = np.stack([stream.step(x_t) for x_t in x], axis=1 if options else 0)
    assert_close(outputs, whole, "outputs", k=8)
    single = prnn.stream(model, params)  # one sequence, without a batch
    outputs = np.stack([single.step(x_t) for x_t in x[:, 1]])
    assert_close(outputs, whole[1] if options else whole[:, 1], "outputs of one", k=8)


def test_one_step_at_a_time_has_the_same_bits_where_rows_are_multiplied_alike():
    """The same product of one row, whatever the number of steps."""
    model, params, x = network("lstm")
    stream, outputs, state = prnn.stream(model, params), [], None
    for x_t in x:
        y, state = prnn.predict(model, params, x_t[None], state, return_state=True)
        outputs.append(stream.step(x_t))
        assert outputs[-1].tobytes() == y.tobytes()
    for mine, ref in zip(stream.state, state, strict=True):
        assert mine.tobytes() == ref.tobytes()


def test_sequences_may_pause_and_have_lengths():
    model, params, x = network()
    there = np.random.default_rng(1).random((T, B)) < 0.6
    whole, after = prnn.predict(model, params, x, mask=there, return_state=True)
    stream = prnn.stream(model, params)
    outputs = [stream.step(x_t, mask=mask_t) for x_t, mask_t in zip(x, there, strict=True)]
    assert_close(np.stack(outputs), whole, "outputs", k=8)
    assert_close(stream.state, after, "state", k=8)
    stream = prnn.stream(model, params)
    first, second = stream.feed(x[:5], lengths=[5, 2, 0]), stream.feed(x[5:], lengths=[4, 0, 0])
    whole = prnn.predict(model, params, x, lengths=[9, 2, 0])
    assert_close(np.concatenate([first, second]), whole, "outputs", k=8)


def test_a_stream_starts_from_a_state_and_can_be_reset_to_one():
    model, params, x = network("lstm")
    _, state = prnn.predict(model, params, x[:4], return_state=True)
    stream = prnn.stream(model, params, state)
    first = stream.feed(x[4:])
    stream.state = state
    assert stream.feed(x[4:]).tobytes() == first.tobytes()
    stream.state = None
    assert stream.feed(x).tobytes() == prnn.predict(model, params, x).tobytes()


@pytest.mark.no_products
def test_memory_does_not_grow():
    model = prnn.RNN(16, 64, 8, cell="gru", num_layers=2)
    stream, x = prnn.stream(model, model.init(seed=0)), np.zeros((1, 16), np.float32)
    held = []
    tracemalloc.start()
    for steps in (100, 2000):
        for _ in range(steps):
            stream.step(x)
        gc.collect()
        held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert held[1] - held[0] < 8 * 2000  # bytes: no object is that small; NumPy keeps some to reuse


def test_bad_input_is_named_and_leaves_the_state():
    both = prnn.RNN(I, H, bidirectional=True)
    with pytest.raises(ValueError, match=r"^model: expected one direction for a stream, got bidir"):
        prnn.stream(both, {})  # the first argument that is checked
    model, params, x = network()
    with pytest.raises(ValueError, match=r"^params: missing"):
        prnn.stream(model, {})
    with pytest.raises(TypeError, match=r"^model: expected an RNN, got str"):
        prnn.stream("gru", params)
    stream = prnn.stream(model, params)
    stream.feed(x[:2])
    state = stream.state
    for call, message in (
        (lambda: stream.step(x), r"^x: expected one step of shape \(B, 4\) or \(4,\), got \(9, 3,"),
        (lambda: stream.step(x[0, :, :3]), r"^x: expected one step .*got \(3, 3\)"),
        (lambda: stream.step(x[0, :2]), r"^x: expected a batch of 3 like the state, got 2"),
        (lambda: stream.step(x[0, 0]), r"^x: expected a batch of 3 like the state, got none"),
        (lambda: stream.feed(x[0]), r"^x: expected a batch of 3 like the state, got none"),
        (lambda: stream.feed(x[:0, :2]), r"^x: expected a batch of 3 like the state, got 2"),
        (lambda: stream.feed(x[:0, :, :3]), r"^x: expected shape .*got \(1, 3, 3\)"),
        (lambda: stream.feed(x[:0], lengths=[0, 1, 0]), r"^lengths: expected 3 ints of 0 to 0"),
        (lambda: stream.feed(x[:0], mask=np.ones((1, 3), bool)), r"^mask: expected shape \(0, 3"),
        (lambda: stream.step(x[0], mask=np.ones((1, 3), bool)), r"^mask: expected shape \(3,\)"),
        (lambda: stream.feed(x, lengths=[1, 2, 10]), r"^lengths: .*got 10"),
    ):
        with pytest.raises(ValueError, match=message):
            call()
        assert stream.state is state
    with pytest.raises(TypeError, match=r"^x: expected an array"):
        stream.step(x[0].tolist())
    with pytest.raises(TypeError, match=r"^x: expected dtype float64"):
        stream.step(x[0].astype(np.float32))


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        ("zeros", TypeError, "^state: expected an array of an array API library, got str"),
        (np.zeros((1, 2, 4)), ValueError, r"^state: expected a pair \(h, c\) of arrays, got 1"),
        ((), ValueError, r"^state: expected a pair \(h, c\) of arrays, got 0"),
        (
            (np.zeros((1, 2, 4)), np.zeros((1, 3, 4))),
            ValueError,
            r"^state\[1\]: .*got \(1, 3, 4\)$",
        ),
        ((np.zeros((2, 4)), np.zeros((2, 4))), ValueError, r"^state\[0\]: expected shape \(1, 4\)"),
        ((np.zeros((1, 2, 4), np.float32),) * 2, TypeError, r"^state\[0\]: .*like params, got flo"),
    ],
)
@pytest.mark.parametrize("batch_first", [False, True])
def test_a_state_that_does_not_fit_is_refused_before_the_first_step(
    state, error, message, batch_first
):
    model = prnn.RNN(3, 4, cell="lstm", batch_first=batch_first)
    params = model.init(seed=0, dtype="float64")
    with pytest.raises(error, match=message):
        prnn.stream(model, params, state)
    good = (np.zeros((1, 2, 4)),) * 2
    assert prnn.stream(model, params, good).state is good


def test_a_step_of_no_sequences_is_refused_and_changes_nothing():
    model = prnn.RNN(3, 4)
    stream = prnn.stream(model, model.init(seed=0, dtype="float64"))
    stream.step(np.ones((2, 3)))
    before = stream.state
    with pytest.raises(ValueError, match=r"^x: expected one step of shape .*got \(0, 3\)$"):
        stream.step(np.ones((0, 3)))
    assert stream.state is before


@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("readout", [2, None])
def test_a_chunk_of_no_steps_changes_nothing(batch_first, readout):
    model = prnn.RNN(I, H, readout, cell="lstm", batch_first=batch_first)
    params = model.init(seed=0, dtype="float64")
    x = np.random.default_rng(0).normal(size=(2, 7, I) if batch_first else (7, 2, I))
    nothing = x[:, :0] if batch_first else x[:0]
    stream = prnn.stream(model, params)
    shape = (2, 0, readout or H) if batch_first else (0, 2, readout or H)
    for _ in range(2):
        outputs = stream.feed(nothing)
        assert (outputs.shape, outputs.dtype) == (shape, x.dtype)
    assert stream.state is None
    first = stream.feed(x)
    before = stream.state
    empty = np.zeros(nothing.shape[:2], dtype=bool)
    for options in ({}, {"lengths": [0, 0]}, {"mask": empty}):
        assert stream.feed(nothing, **options).shape == shape
        assert stream.state is before
    np.testing.assert_array_equal(first, prnn.predict(model, params, x))
