"""Wrong arguments are refused at once, by name, with expected and given value."""

import sys

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import losses, plots
from portable_rnn._arrays.namespace import resolve_namespace

pytestmark = pytest.mark.no_products

T, B, I, H, O = 5, 2, 3, 4, 6  # noqa: E741
MODEL = prnn.RNN(I, H, O)
PARAMS = MODEL.init(seed=0, dtype="float64")
GRU, LSTM = (prnn.RNN(I, H, O, cell=cell) for cell in ("gru", "lstm"))
X = np.ones((T, B, I))
LABELS = np.zeros((T, B), dtype=np.int64)
STATE = np.zeros((1, B, H))
TAPE = prnn.forward(MODEL, PARAMS, X).tape
NAN = np.where(np.arange(T)[:, None, None] == 3, np.nan, X)


def without(name):
    return {key: array for key, array in PARAMS.items() if key != name}


def forward(*, model=MODEL, params=PARAMS, x=X, state=None, **options):
    return prnn.forward(model, params, x, state, **options)


def backward(*, model=MODEL, params=PARAMS, tape=TAPE, d_outputs=None, d_state=None):
    return prnn.backward(model, params, tape, d_outputs, d_state)


def bptt(*, targets=LABELS, **options):
    return prnn.bptt(MODEL, PARAMS, X, targets, **options)


def cross_entropy(*, outputs=np.ones((T, B, O)), targets=LABELS, **options):
    return losses.softmax_cross_entropy(outputs, targets, **options)


def squares(*, outputs=np.ones((T, B, O)), targets=np.ones((T, B, O)), **options):
    return losses.mean_squared_error(outputs, targets, **options)


def logits(*, outputs=np.ones((T, B, O)), targets=np.ones((T, B, O)), **options):
    return losses.binary_cross_entropy(outputs, targets, **options)


def wrong_shape(outputs, targets):
    return np.asarray(0.0), outputs[:, 0]


def no_gradient(outputs, targets):
    return np.asarray(0.0), None


def single(outputs, targets):
    return np.asarray(0.0), outputs.astype(np.float32)


PARTS = (STATE, STATE)

# function, arguments, error, start of the message, a pattern for the rest
CASES = [
    # sequences
    (forward, {"x": np.ones(I)}, ValueError, "x: ", r"\(T, B, 3\) or \(T, 3\).* got \(3,\)"),
    (forward, {"x": np.ones((1, T, B, I))}, ValueError, "x: ", r"got \(1, 5, 2, 3\)"),
    (forward, {"x": np.ones((T, B, I + 1))}, ValueError, "x: ", r"got \(5, 2, 4\)"),
    (forward, {"x": np.ones((0, B, I))}, ValueError, "x: ", r"at least one .*got \(0, 2, 3\)"),
    (forward, {"x": np.ones((T, 0, I))}, ValueError, "x: ", r"at least one .*got \(5, 0, 3\)"),
    (forward, {"x": X.tolist()}, TypeError, "x: ", "got list"),
    (forward, {"x": None}, TypeError, "x: ", "got NoneType"),
    (forward, {"x": X.astype(np.float32)}, TypeError, "x: ", "float64 .*got float32"),
    (forward, {"x": X.astype(np.int64)}, TypeError, "x: ", "float64 .*got int64"),
    (forward, {"x": NAN, "check_finite": True}, ValueError, "x: ", "got 6 NaN .*out of 30"),
    # states
    (forward, {"state": STATE[0]}, ValueError, "state: ", r"\(1, 2, 4\), got \(2, 4\)"),
    (forward, {"state": np.zeros((1, B + 1, H))}, ValueError, "state: ", r"got \(1, 3, 4\)"),
    (forward, {"state": PARTS}, ValueError, "state: ", "one array, got 2"),
    (forward, {"state": STATE.astype(np.float32)}, TypeError, "state: ", "got float32"),
    (forward, {"state": "zeros"}, TypeError, "state: ", "got str"),
    (
        *(forward, {"state": np.full_like(STATE, np.inf), "check_finite": True}),
        *(ValueError, "state", "got 8 NaN or infinite out of 8"),
    ),
    # parameters
    (forward, {"params": list(PARAMS.values())}, TypeError, "params: ", "dict .*got list"),
    (forward, {"params": {}}, ValueError, "params: ", "missing weight_ih_l0, weight_hh_l0"),
    (forward, {"params": without("bias_hh_l0")}, ValueError, "params: ", "missing bias_hh_l0 "),
    (
        *(forward, {"params": without("readout.bias") | {"readout_bias": np.ones(O)}}),
        *(ValueError, "params: ", "missing readout.bias; unknown readout_bias"),
    ),
    (
        *(forward, {"params": PARAMS | {"weight_ih_l0": np.ones((I, H))}}),
        *(ValueError, r"params\['weight_ih_l0'\]: ", r"\(4, 3\), got \(3, 4\)"),
    ),
    (
        *(forward, {"params": PARAMS | {"bias_hh_l0": np.ones(H, dtype=np.float32)}}),
        *(TypeError, r"params\['bias_hh_l0'\]: ", "float64 .*got float32"),
    ),
    (
        *(forward, {"params": PARAMS | {"bias_hh_l0": [0.0] * H}}),
        *(TypeError, r"params\['bias_hh_l0'\]: ", "got list"),
    ),
    (
        *(forward, {"params": {k: a.astype(np.int64) for k, a in PARAMS.items()}}),
        *(TypeError, "params: ", "floating .*got int64"),
    ),
    (
        *(forward, {"params": PARAMS | {"bias_hh_l0": np.full(H, np.nan)}, "check_finite": True}),
        *(ValueError, "bias_hh_l0: ", "got 4 NaN"),
    ),
    (
        forward,
        {"model": GRU},
        ValueError,
        r"params\['weight_ih_l0'\]: ",
        r"\(12, 3\), got \(4, 3\)",
    ),
    (forward, {"model": "gru"}, TypeError, "model: ", "got str"),
    # the backward pass
    (backward, {}, ValueError, "d_outputs, d_state: ", "neither"),
    (backward, {"tape": X, "d_state": STATE}, TypeError, "tape: ", "got ndarray$"),
    (
        *(backward, {"tape": prnn.forward(MODEL, PARAMS, X), "d_state": STATE}),
        *(TypeError, "tape: ", r"got Forward; give its \.tape$"),
    ),
    (backward, {"d_outputs": np.ones((T, B, H))}, ValueError, "d_outputs: ", r"got \(5, 2, 4\)"),
    (
        backward,
        {"d_outputs": np.ones((T - 1, B, O))},
        ValueError,
        "d_outputs: ",
        r"got \(4, 2, 6\)",
    ),
    (backward, {"d_outputs": 1.0}, TypeError, "d_outputs: ", "got float"),
    (
        *(backward, {"d_outputs": np.ones((T, B, O), dtype=np.float32)}),
        *(TypeError, "d_outputs: ", "float64 .*got float32"),
    ),
    (backward, {"d_state": np.ones((B, H))}, ValueError, "d_state: ", r"got \(2, 4\)"),
    # losses, through bptt and alone
    (bptt, {"loss": "mse"}, TypeError, "loss: ", "callable, got str"),
    (bptt, {"loss": wrong_shape}, ValueError, "d_outputs returned by the loss: ", r"got \(5, 6\)"),
    (bptt, {"loss": no_gradient}, TypeError, "d_outputs returned by the loss: ", "got NoneType"),
    (bptt, {"loss": single}, TypeError, "d_outputs returned by the loss: ", "got float32"),
    (bptt, {"targets": LABELS - 1}, ValueError, "targets: ", "0 to 5, got values from -1 to -1"),
    (bptt, {"targets": LABELS + O}, ValueError, "targets: ", "0 to 5, got values from 6 to 6"),
    (bptt, {"targets": LABELS[1:]}, ValueError, "targets: ", r"\(5, 2\), got \(4, 2\)"),
    (bptt, {"targets": LABELS.tolist()}, TypeError, "targets: ", "got list"),
    (cross_entropy, {"targets": LABELS[..., None]}, ValueError, "targets: ", r"got \(5, 2, 1\)"),
    (cross_entropy, {"targets": LABELS > 0}, TypeError, "targets: ", "got bool"),
    (
        *(cross_entropy, {"targets": np.ones((T, B, O), dtype=np.float32)}),
        *(TypeError, "targets: ", "float64, got float32"),
    ),
    (cross_entropy, {"targets": np.ones((T, B, 1))}, ValueError, "targets: ", r"got \(5, 2, 1\)"),
    (cross_entropy, {"weights": np.ones(T)}, ValueError, "weights: ", r"\(5, 2\).*got \(5,\)"),
    (
        *(cross_entropy, {"weights": np.ones((T, B), dtype=np.float32)}),
        *(TypeError, "weights: ", "got float32"),
    ),
    (
        *(cross_entropy, {"weights": np.ones((T, B), dtype=np.int64)}),
        *(TypeError, "weights: ", "got int64"),
    ),
    (
        cross_entropy,
        {"class_weights": np.ones(O - 1)},
        ValueError,
        "class_weights: ",
        r"got \(5,\)",
    ),
    (cross_entropy, {"label_smoothing": 1.5}, ValueError, "label_smoothing: ", r"got 1\.5"),
    (cross_entropy, {"label_smoothing": -0.1}, ValueError, "label_smoothing: ", r"got -0\.1"),
    (cross_entropy, {"reduction": "none"}, ValueError, "reduction: ", "got 'none'"),
    (
        *(cross_entropy, {"targets": np.ones((T, B, O)), "ignore_index": 2}),
        *(ValueError, "ignore_index: ", "got rows"),
    ),
    (squares, {"targets": np.ones((T, B, 1))}, ValueError, "targets: ", r"got \(5, 2, 1\)"),
    (squares, {"targets": LABELS}, ValueError, "targets: ", r"got \(5, 2\)"),
    (squares, {"reduction": None}, TypeError, "reduction: ", "got None"),
    (logits, {"targets": np.ones((T, B, O), dtype=np.int64)}, TypeError, "targets: ", "got int64"),
    (logits, {"weights": np.ones((B, T))}, ValueError, "weights: ", r"got \(2, 5\)"),
]


def name_of(case):
    function, given, _, start, _ = case
    return f"{function.__name__}-{start.strip(': ')}-{'+'.join(given) or 'nothing'}"


@pytest.mark.parametrize("case", CASES, ids=name_of)
def test_a_message_names_the_argument_and_what_it_got(case):
    function, given, error, start, rest = case
    before = {k: a.copy() for k, a in PARAMS.items()} | {"x": X.copy(), "labels": LABELS.copy()}
    with pytest.raises(error, match=f"^{start}.*{rest}"):
        function(**given)
    for name, array in (PARAMS | {"x": X, "labels": LABELS}).items():
        assert np.array_equal(array, before[name])


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (STATE, ValueError, r"^state: expected a pair \(h, c\) of arrays, got 1"),
        ((STATE, STATE, STATE), ValueError, r"^state: .*pair .*got 3"),
        ((STATE, STATE[0]), ValueError, r"^state\[1\]: .*got \(2, 4\)"),
        ((STATE, None), TypeError, r"^state\[1\]: .*got NoneType"),
        ((STATE, STATE.astype(np.float32)), TypeError, r"^state\[1\]: .*got float32"),
    ],
)
def test_an_lstm_expects_a_pair_of_states(state, error, message):
    params = LSTM.init(seed=0, dtype="float64")
    with pytest.raises(error, match=message):
        prnn.forward(LSTM, params, X, state)
    with pytest.raises(error, match=message.replace("state", "d_state", 1)):
        prnn.backward(LSTM, params, prnn.forward(LSTM, params, X).tape, None, state)


def test_a_tape_of_other_arrays_is_refused_by_name():
    """Promoting float32 parameters to the tape's float64 would hide a mistake."""
    d_outputs = np.ones((T, B, O))
    with pytest.raises(TypeError, match=r"float64.* got float32|float32.* got float64"):
        prnn.backward(MODEL, MODEL.init(seed=0, dtype="float32"), TAPE, d_outputs)


def test_a_loss_that_returns_no_pair_is_named():
    with pytest.raises(TypeError, match=r"loss: expected it to return \(value, d_outputs\), got f"):
        prnn.bptt(MODEL, PARAMS, X, None, loss=lambda outputs, targets: 0.5)


@pytest.mark.parametrize("given", [{"lengths": [T, 2]}, {"mask": np.ones((T, B), dtype=bool)}])
def test_a_loss_without_weights_is_named_where_steps_are_missing(given):
    def last(outputs, targets):
        raise AssertionError("the loss was called")

    for function in (
        prnn.bptt,
        prnn.per_example_gradients,
        prnn.gradient_flow,
        lambda *args, **options: prnn.truncated_bptt(*args, k1=1, k2=2, **options),
        lambda *args, **options: prnn.hvp(*args, PARAMS, **options),
        lambda *args, **options: prnn.gauss_newton_product(*args, PARAMS, **options),
    ):
        with pytest.raises(
            TypeError, match=r"^loss: .* take weights=.*got .*\(outputs, targets\)$"
        ):
            function(MODEL, PARAMS, X, LABELS, loss=last, **given)

    def any_options(outputs, targets, **options):
        return losses.softmax_cross_entropy(outputs, targets, **options)

    got = prnn.bptt(MODEL, PARAMS, X, LABELS, loss=any_options, **given).loss
    assert got == prnn.bptt(MODEL, PARAMS, X, LABELS, **given).loss


DROPPING = prnn.RNN(I, H, O, num_layers=2, dropout=0.5, recurrent_dropout=0.5, zoneout=0.5)
DRAWN = prnn.dropout.draw(DROPPING, X, seed=0)


@pytest.mark.parametrize(
    ("masks", "error", "message"),
    [
        (prnn.dropout.Masks(), ValueError, r"between 1 of .*\(5, 2, 4\), got none; .* give False$"),
        (DRAWN._replace(between=()), ValueError, r"between 1 of shape \(5, 2, 4\), got none"),
        (DRAWN._replace(recurrent=()), ValueError, r"recurrent 2 of shape \(2, 4\), got none"),
        (DRAWN._replace(update=DRAWN.update[:1]), ValueError, r"update 2 of .*\(5, 2, 4\), got 1$"),
        (
            *(prnn.dropout.draw(DROPPING, np.ones((T + 2, B, I)), seed=0), ValueError),
            r"between 1 of shape \(5, 2, 4\), got \(7, 2, 4\)$",
        ),
        (
            *(prnn.dropout.draw(DROPPING, np.ones((T, B + 1, I)), seed=0), ValueError),
            r"between 1 of shape \(5, 2, 4\), got \(5, 3, 4\)$",
        ),
        (
            *(DRAWN._replace(recurrent=(np.ones((B, H + 1)),) * 2), ValueError),
            r"recurrent 2 of shape \(2, 4\), got \(2, 5\)$",
        ),
        (
            *(DRAWN._replace(update=tuple((u[0],) for (u,) in DRAWN.update)), ValueError),
            r"update 2 of .*got \(2, 4\)$",
        ),
        (
            *(DRAWN._replace(update=tuple((u, u) for (u,) in DRAWN.update)), ValueError),
            r"update 2 of .*got 2 arrays in the place of 1$",
        ),
        (
            *(prnn.dropout.draw(DROPPING, X.astype(np.float32), seed=0), TypeError),
            "between: expected dtype float64 like x, got float32",
        ),
        (DRAWN._replace(between=(None,)), TypeError, "between: expected an array.*got NoneType"),
        *(
            (DRAWN._replace(**{name: None}), TypeError, f"{name}: expected a tuple, got NoneType$")
            for name in DRAWN._fields
        ),
        (DRAWN._replace(between=np.ones((1, T, B, H))), TypeError, "between: .* got ndarray$"),
        (
            *(DRAWN._replace(update=tuple(u for (u,) in DRAWN.update)), TypeError),
            "update: expected a tuple, got ndarray$",
        ),
        (0.5, TypeError, r", a seed: expected an int, got 0\.5"),
        ((3, -1), ValueError, ", a seed: expected at least 0, got -1"),
    ],
)
def test_dropout_that_does_not_fit_is_refused(masks, error, message):
    params = DROPPING.init(seed=0, dtype="float64")
    with pytest.raises(error, match=rf"^dropout.*{message}"):
        prnn.bptt(DROPPING, params, X, LABELS, dropout=masks)


@pytest.mark.parametrize("kind", ["boolean", "floating"])
@pytest.mark.parametrize("name", DRAWN._fields)
def test_masks_of_another_library_or_device_are_refused(name, kind):
    strict = pytest.importorskip("array_api_strict")
    xp = resolve_namespace(strict)
    here = prnn.dropout.draw(DROPPING, xp.ones((T, B, I)), seed=0)
    if kind == "floating":
        here = here._replace(update=tuple((xp.astype(u, xp.float64),) for (u,) in here.update))
    params = DROPPING.init(seed=0, dtype="float64", xp=xp)

    def moved(move):
        arrays = getattr(here, name)
        if name == "update":
            return here._replace(update=tuple(tuple(map(move, part)) for part in arrays))
        return here._replace(**{name: tuple(map(move, arrays))})

    far = strict.Device("device1")
    for masks, error, message in (
        (moved(np.asarray), TypeError, "expected an array of array_api_strict like x, got .*numpy"),
        (moved(lambda a: a.to_device(far)), ValueError, "expected device .* like x, got .*device1"),
    ):
        with pytest.raises(error, match=rf"^dropout\.{name}: {message}"):
            prnn.forward(DROPPING, params, xp.ones((T, B, I)), dropout=masks)


@pytest.mark.parametrize("batch_first", [True, False])
def test_masks_that_fit_are_taken_and_those_for_all_sequences_too(batch_first):
    for cell in ("gru", "lstm"):
        options = {"batch_first": batch_first, "bidirectional": True, "num_layers": 2}
        model = prnn.RNN(I, H, O, cell=cell, zoneout=0.25, dropout=0.5, **options)
        params = model.init(seed=0, dtype="float64")
        x = np.moveaxis(X, 1, 0) if batch_first else X
        labels = LABELS.T if batch_first else LABELS
        drawn = prnn.dropout.draw(model, x, seed=3)
        want = prnn.bptt(model, params, x, labels, dropout=3).loss
        assert prnn.bptt(model, params, x, labels, dropout=drawn).loss == want
        expected = prnn.dropout.expected(np, model, x)
        ones = expected._replace(between=(np.ones((T, 1, 2 * H)),))
        got = prnn.forward(model, params, x, dropout=ones, lengths=[2, T]).outputs
        np.testing.assert_array_equal(got, prnn.predict(model, params, x, lengths=[2, T]))


def test_drawing_without_matplotlib_names_what_to_install(monkeypatch):
    for name in ("matplotlib", "matplotlib.figure", "matplotlib.backends.backend_agg"):
        monkeypatch.setitem(sys.modules, name, None)
    flow = prnn.gradient_flow(MODEL, PARAMS, X, LABELS)
    for draw in (lambda: plots.gradient_flow(flow), lambda: plots.learning_curve([], {}, "")):
        with pytest.raises(ImportError, match=r"pip install matplotlib.* extra 'plot'"):
            draw()


def test_a_tape_of_another_model_is_refused_by_name():
    other = prnn.RNN(I, H + 1, O)
    with pytest.raises(
        ValueError, match=r"^tape: expected one .*hidden_size=5, got .*hidden_size=4$"
    ):
        prnn.backward(other, other.init(seed=0, dtype="float64"), TAPE, np.ones((T, B, O)))


@pytest.mark.parametrize("name", ["model", "steps", "masks", "stack_tapes"])
def test_half_a_tape_is_refused_by_name(name):
    with pytest.raises(TypeError, match=r"^tape"):
        prnn.backward(MODEL, PARAMS, TAPE._replace(**{name: None}), np.ones((T, B, O)))


def test_batch_first_says_its_own_layout():
    model = prnn.RNN(I, H, O, batch_first=True)
    with pytest.raises(ValueError, match=r"^x: expected shape \(B, T, 3\) or \(T, 3\)"):
        prnn.predict(model, PARAMS, np.ones((B, T, I + 1)))


def test_infinite_values_pass_unless_check_finite_is_set():
    """Reading values waits for a device, so the check is optional."""
    assert np.isnan(forward(x=NAN).outputs[3:]).all()
    assert np.isfinite(forward(x=NAN).outputs[:3]).all()
