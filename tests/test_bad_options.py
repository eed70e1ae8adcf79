"""Options that are unknown, or of another kind, are refused by the function that was called."""

import inspect

import numpy as np
import pytest
from conformance.public_names import DESCRIBED, METHODS

import portable_rnn as prnn
from portable_rnn import dropout, losses, plots
from portable_rnn._arrays import libraries as backends

pytestmark = pytest.mark.no_products

T, B, I, H, O = 5, 2, 3, 4, 6  # noqa: E741
MODEL = prnn.RNN(I, H, O)
PARAMS = MODEL.init(seed=0, dtype="float64")
X = np.ones((T, B, I))
LABELS = np.zeros((T, B), dtype=np.int64)
ROWS = np.ones((T, B, O))
FORWARD = (MODEL, PARAMS, X)
BPTT = (*FORWARD, LABELS)
FUNCTIONS = {
    "bptt": (prnn.bptt, BPTT, {}),
    "truncated_bptt": (prnn.truncated_bptt, BPTT, {"k1": 2, "k2": 3}),
    "gradient_flow": (prnn.gradient_flow, BPTT, {}),
    "per_example_gradients": (prnn.per_example_gradients, BPTT, {}),
    "per_example_norms": (prnn.per_example_norms, BPTT, {}),
    "hvp": (prnn.hvp, (*BPTT, PARAMS), {}),
    "gauss_newton_product": (prnn.gauss_newton_product, (*BPTT, PARAMS), {}),
}


def unreached(outputs, targets, *, weights=None, delta=1.0):
    raise AssertionError("the loss was called")


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("option", "meant"), [("length", "lengths"), ("wieghts", "weights"), ("delt", "delta")]
)
def test_an_unknown_option_is_refused_by_the_function_that_was_called(name, option, meant):
    function, args, given = FUNCTIONS[name]
    match = rf"^{option}: .* of {name} \(.*\) or of the loss unreached \(weights, delta\), .*\; "
    with pytest.raises(TypeError, match=match + rf"did you mean {meant}\?$"):
        function(*args, loss=unreached, **given, **{option: [5, 2]})


@pytest.mark.parametrize(
    ("name", "option"),
    [("gradient_flow", "memory"), ("truncated_bptt", "memory"), ("hvp", "grad_x")],
)
def test_an_option_of_another_function_is_refused(name, option):
    function, args, given = FUNCTIONS[name]
    with pytest.raises(TypeError, match=rf"^{option}: expected an option of {name} \("):
        function(*args, **given, **{option: 1})


def test_jvp_names_its_own_options():
    with pytest.raises(TypeError, match=r"^dropout: expected an option of jvp \(state, d_params"):
        prnn.jvp(*FORWARD, d_params=PARAMS, dropout=3)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_loss_of_another_form_is_refused_before_it_is_called(name):
    function, args, given = FUNCTIONS[name]

    def required(outputs, targets, *, delta):
        raise AssertionError("the loss was called")

    for loss, message in (
        (lambda outputs: None, r"^loss: .*\(outputs, targets, \*\*options\).*takes \(outputs\)$"),
        (lambda *, outputs, targets: None, r"^loss: .* takes \(\*, outputs, targets\)$"),
        (
            required,
            r"^loss: expected delta=.*, which required has no default for, got nothing$",
        ),
        (None, "^loss: expected a callable, got NoneType$"),
    ):
        with pytest.raises(TypeError, match=message):
            function(*args, loss=loss, **given)


def test_losses_of_any_callable_form_are_called():
    class Squares:
        def __call__(self, outputs, targets, weights, *, scale=1.0):
            value, d_outputs = losses.mean_squared_error(outputs, targets, weights=weights)
            return scale * value, scale * d_outputs

        __hash__ = None  # as in a dataclass that is not frozen

    want = prnn.bptt(*FORWARD, ROWS, loss=losses.mean_squared_error, lengths=[T, 2])
    got = prnn.bptt(*FORWARD, ROWS, loss=Squares(), lengths=[T, 2], scale=2.0)
    assert got.loss == 2.0 * want.loss
    anything = prnn.bptt(*FORWARD, ROWS, loss=lambda *args, **options: Squares()(*args, None))
    assert anything.loss == prnn.bptt(*FORWARD, ROWS, loss=losses.mean_squared_error).loss


class FaultyRepr:
    def __repr__(self):
        raise RuntimeError("no text for this")


class NoGates(prnn.cells.MGU):
    gates = "four"


class NoStates(prnn.cells.MGU):
    states = 0


NOT_FLAGS = [1, 0, "yes", None, np.ones(2, dtype=bool), [True], 0.0]
FLAGS = {
    "forward": (prnn.forward, FORWARD, ["check_finite"]),
    "predict": (prnn.predict, FORWARD, ["return_state", "check_finite"]),
    "bptt": (prnn.bptt, BPTT, ["grad_x", "check_finite"]),
    "truncated_bptt": (
        lambda *args, **options: prnn.truncated_bptt(*args, k1=2, k2=3, **options),
        *(BPTT, ["grad_x", "check_finite"]),
    ),
    "gradient_flow": (prnn.gradient_flow, BPTT, ["by_loss_step", "arrays"]),
    "hvp": (prnn.hvp, (*BPTT, PARAMS), ["check_finite"]),
    "RNN": (prnn.RNN, (I, H), ["bias", "batch_first", "bidirectional"]),
    "LSTM": (prnn.cells.LSTM, (), ["peepholes", "coupled"]),
}


@pytest.mark.parametrize("value", NOT_FLAGS, ids=str)
@pytest.mark.parametrize("name", FLAGS)
def test_a_truthy_value_is_no_flag(name, value):
    function, args, flags = FLAGS[name]
    for flag in flags:
        with pytest.raises(TypeError, match=f"^{flag}: expected True or False, got "):
            function(*args, **{flag: value})


def test_a_numpy_bool_is_a_flag():
    model = prnn.RNN(I, H, O, batch_first=np.True_)
    assert model == prnn.RNN(I, H, O, batch_first=True)
    assert model.batch_first is True
    tape = prnn.forward(*FORWARD).tape
    assert prnn.backward(MODEL, PARAMS, tape, ROWS, grad_x=np.False_).x is None


# function, arguments, error, message
CASES = [
    (prnn.RNN, (I, H, O), {"dropout": "0.3", "num_layers": 2}, TypeError, r"dropout: .*\[0, 1\)"),
    (prnn.RNN, (I, H, O), {"zoneout": True}, TypeError, r"zoneout: .* got True"),
    (prnn.RNN, (I, H, O), {"cell": "lstn"}, ValueError, "cell: .*; did you mean lstm"),
    (prnn.memory.plan, (MODEL, 9, 2), {"device": "gpu"}, ValueError, "device: .*did you mean cuda"),
    (prnn.RNN, (I, H, O), {"cell": {"name": ["lstm"]}}, ValueError, "cell: .*name of one of"),
    (prnn.RNN, (I, H, O), {"nonlinearity": 3}, ValueError, "nonlinearity: expected one of"),
    (prnn.RNN, (I, H, O), {"nonlinearity": np.ones(2)}, ValueError, "nonlinearity: expected one"),
    (prnn.cells.LSTM, (), {"clip": True}, TypeError, "clip: .*above 0, got True"),
    (MODEL.init, (), {"seed": True}, TypeError, "seed: expected an int, got True"),
    (MODEL.init, (), {"seed": "0"}, TypeError, "seed: expected an int, got '0'"),
    (MODEL.init, (), {"dtype": None}, TypeError, "dtype: .*got None"),
    (MODEL.init, (), {"dtype": np.dtype(">f4")}, TypeError, "dtype: expected a floating type"),
    (MODEL.init, (), {"dtype": np.longdouble}, TypeError, "dtype: expected a floating type"),
    (MODEL.init, (), {"device": "cuda"}, ValueError, "device: expected one of numpy, got 'cuda'"),
    (MODEL.state_shape, (0,), {}, ValueError, "batch_size: expected at least 1, got 0"),
    (MODEL.state_shapes, ("2",), {}, TypeError, "batch_size: expected an int, got '2'"),
    (prnn.forward, FORWARD, {"dropout": ()}, ValueError, "dropout, a seed: .*empty tuple"),
    (prnn.forward, FORWARD, {"dropout": True}, TypeError, "dropout, a seed: .*got True"),
    (dropout.draw, (MODEL, X, ()), {}, ValueError, "seed: .*empty tuple"),
    (dropout.draw, (MODEL, X[0, 0], 0), {}, ValueError, r"x: expected shape \(T, B, 3\)"),
    (dropout.draw, (MODEL, LABELS, 0), {}, TypeError, "x: expected a floating dtype"),
    (dropout.draw, ("gru", X, 0), {}, TypeError, "model: expected an RNN, got str"),
    (dropout.expected, (np, None, X), {}, TypeError, "model: expected an RNN, got NoneType"),
    (
        *(dropout.expected, (np, prnn.RNN(I, H, zoneout=0.5), [1.0]), {}),
        *(TypeError, r"x: .* got list; give an array, such as np\.asarray\(x\)"),
    ),
    (
        *(dropout.expected, (3, prnn.RNN(I, H, zoneout=0.5), X), {}),
        *(TypeError, "xp: expected a namespace"),
    ),
    (prnn.gradient_flow, BPTT, {"iterations": 2.5}, TypeError, "iterations: expected an int"),
    (
        *(losses.softmax_cross_entropy, (ROWS, LABELS), {"check_targets": "no"}),
        *(TypeError, "check_targets: expected True or False, got 'no'"),
    ),
    (
        *(losses.softmax_cross_entropy, (ROWS, LABELS), {"label_smoothing": "0.1"}),
        *(TypeError, r"label_smoothing: expected a number in \[0, 1\], got '0\.1'"),
    ),
    (
        *(losses.softmax_cross_entropy, (ROWS, LABELS), {"ignore_index": 0.0}),
        *(TypeError, "ignore_index: expected an int, got 0.0"),
    ),
    (
        *(losses.mean_squared_error, (ROWS, ROWS), {"reduction": np.ones(3)}),
        *(TypeError, r"reduction: expected 'mean' or 'sum', got an array of shape \(3,\)"),
    ),
    (losses.one_hot, (np, LABELS, 3, np.float32(0.5)), {}, TypeError, "dtype: .*got"),
    (losses.one_hot, (np, LABELS, 3, "floot"), {}, TypeError, "dtype: .*got 'floot'"),
    (losses.one_hot, (np, LABELS, 2.0, "float32"), {}, TypeError, "classes: .*got 2.0"),
    (losses.one_hot, (np, LABELS + 0.7, 3, "float32"), {}, TypeError, "labels: .*got float64"),
    (losses.one_hot, (3, LABELS, 3, "float32"), {}, TypeError, "xp: expected an array module"),
    (backends.find, (["numpy"],), {}, TypeError, r"backend: .*got \['numpy'\]"),
    (backends.find, ("numpy", 3), {}, TypeError, "device: expected a text or None, got 3"),
    (backends.find, ("numpy", None, "float33"), {}, ValueError, "dtype: .*got 'float33'"),
    (plots.gradient_flow, (3,), {}, TypeError, "flow: .*got 3"),
    (plots.learning_curve, (3, {}, ""), {}, TypeError, "metrics: .*got 3"),
    (plots.learning_curve, ([{}], {}, ""), {}, TypeError, r"metrics\[0\]: .*got {}"),
    (plots.learning_curve, ({"a": "21"},), {}, TypeError, r"metrics\['a'\]: expected a sequence"),
    (plots.learning_curve, ({"a": [1, "2"]},), {}, TypeError, r"metrics\['a'\]\[1\]: .*got '2'"),
    (plots.learning_curve, ({"a": [(1,)]},), {}, ValueError, r"metrics\['a'\]\[0\]: .*got 1 entr"),
    (plots.learning_curve, ({3: [1.0]},), {}, TypeError, "metrics, a name: expected a text, got 3"),
    (plots.learning_curve, ([], {"a": "b"}, ""), {}, TypeError, r"baselines\['a'\]: .*got 'b'"),
    (plots.learning_curve, ([], {3: 1.0}, ""), {}, TypeError, "baselines, a name: .*got 3"),
    (plots.learning_curve, ([], {}, 3), {}, TypeError, "title: expected a text, got 3"),
    (plots.learning_curve, ("", {}, ""), {}, TypeError, "metrics: expected a sequence .*got ''"),
    (plots.learning_curve, ([], {}, "\ud800"), {}, ValueError, "title: .*UTF-8"),
    (
        *(plots.learning_curve, ([{"step": 1, "training_bits": "2"}], {}, ""), {}),
        *(TypeError, r"metrics\[0\]\['training_bits'\]: expected a number, got '2'"),
    ),
    (plots.gradient_flow, (prnn.GradientFlow,), {}, TypeError, "flow: .*got GradientFlow"),
    (losses.one_hot, (np, LABELS, 3, np.dtype("M8[s]")), {}, TypeError, "dtype: expected a dtype"),
    (dropout.expected, (3, MODEL, X), {}, TypeError, "xp: expected a namespace .*got 3"),
    (dropout.expected, (np, MODEL, X[0, 0]), {}, ValueError, "x: expected shape"),
    (losses.one_hot, (np, LABELS, 2**31, "float32"), {}, ValueError, "classes: expected at most"),
    (dropout.expected, (np, prnn.RNN(I, H, zoneout=0.5), X[0, 0]), {}, ValueError, "x: expected"),
    (prnn.stream, (MODEL, PARAMS, np.ones((1, 0, H))), {}, ValueError, "state: expected at least"),
    (prnn.RNN, (I, H), {"cell": NoGates()}, TypeError, r"cell\.gates: expected an int, got 'four'"),
    (prnn.RNN, (I, H), {"cell": NoStates()}, ValueError, r"cell\.states: expected at least 1"),
    (
        *(prnn.RNN, (I, H), {"cell": {"name": "lstm", "peepholes": "yes"}}, TypeError),
        "cell: peepholes: expected True or False, got 'yes'",
    ),
    *(
        (function, args, {name: value}, error, f"{name}: .*that cannot be printed")
        for value in (FaultyRepr(), 10**5000)
        for function, args, name, error in (
            (prnn.RNN, (I, H), "cell", TypeError),
            (prnn.RNN, (I, H), "nonlinearity", ValueError),
            (prnn.cells.GRU, (), "activations", ValueError),
            (MODEL.init, (), "xp", TypeError),
            (MODEL.init, (), "dtype", TypeError),
            (MODEL.init, (), "device", ValueError),
        )
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case[0].__name__}-{case[4][:14]}")
def test_an_option_of_another_kind_is_named(case):
    function, args, given, error, message = case
    with pytest.raises(error, match=f"^{message}"):
        function(*args, **given)


def test_a_namespace_is_refused_where_it_is_chosen():
    with (
        pytest.raises(TypeError, match=r"^xp: expected a namespace .*got 'numpy'"),
        prnn.use_namespace("numpy"),
    ):
        raise AssertionError("it was entered")


HINTING = {
    name: value
    for name, value in (DESCRIBED | METHODS).items()
    if callable(value)
    and not (isinstance(value, type) and issubclass(value, (tuple, Exception)))
    and not name.endswith((".Check", ".Claim", ".Equation", ".Plan"))  # records of results
    and any(
        p.default is not p.empty or p.kind is p.KEYWORD_ONLY
        for p in inspect.signature(value).parameters.values()
    )
    and not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(value).parameters.values())
    and name not in ("portable_rnn.RNN.parameters", "portable_rnn.training.Run.optimizer")
}


@pytest.mark.parametrize("name", HINTING)
def test_every_public_function_refuses_an_unknown_option_by_its_name(name):
    with pytest.raises(TypeError, match=r"^nonsense: expected an option of .*, got an unknown"):
        HINTING[name](nonsense=1)


@pytest.mark.parametrize(
    ("function", "option", "meant"),
    [
        (prnn.forward, "length", "lengths"),
        (prnn.streaming.Stream.step, "masks", "mask"),
        (prnn.streaming.Stream.feed, "length", "lengths"),
        (prnn.predict, "length", "lengths"),
        (prnn.backward, "gradx", "grad_x"),
        (prnn.optimizers.adam, "learning_rate", "lr"),
        (prnn.optimizers.sgd, "LR", "lr"),
        (prnn.optimizers.clip_by_global_norm, "clipnorm", "max_norm"),
        (prnn.RNN, "hidden", "hidden_size"),
        (prnn.RNN, "layers", "num_layers"),
        (prnn.training.train, "epoch", "epochs"),
        (prnn.cells.LSTM, "peephole", "peepholes"),
        (prnn.batches.Windows, "windows", "window"),
        (prnn.memory.plan, "budget", None),
        (prnn.dropout.draw, "seeds", "seed"),
    ],
)
def test_an_unknown_option_is_refused_with_the_nearest_name(function, option, meant):
    end = rf"; did you mean {meant}\?$" if meant else "got an unknown one$"
    with pytest.raises(TypeError, match=rf"^{option}: expected an option of .*{end}"):
        function(**{option: 3})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: prnn.training.train(MODEL, PARAMS, X, X, steps=3),
            r"^train: expected at most 3 arguments .*\(model, params, batches\), got 4",
        ),
        (
            lambda: prnn.batches.Shuffled(X, X, 3),
            r"^Shuffled: expected at most 2 arguments without a name \(x, targets\), got 3; ",
        ),
        (
            lambda: prnn.optimizers.adam(PARAMS, PARAMS, None, 0.1),
            r"^adam: expected at most 3 .* 4",
        ),
        (
            lambda: prnn.stream(MODEL, PARAMS).feed(X, X),
            r"^Stream\.feed: expected at most 1 .* got 2",
        ),
    ],
    ids=["train", "Shuffled", "adam", "feed"],
)
def test_keyword_only_options_are_not_taken_by_position(call, message):
    with pytest.raises(TypeError, match=message):
        call()


def test_other_type_errors_are_unchanged():
    with pytest.raises(TypeError, match=r"missing 1 required keyword-only argument: 'batch_size'"):
        prnn.batches.Shuffled(X, X)
    with pytest.raises(TypeError, match=r"^lr: expected a number"):
        prnn.optimizers.adam(PARAMS, PARAMS, lr="much")


@pytest.mark.parametrize("cell", ["GRU", "Lstm", {"name": "GRU"}])
def test_the_name_of_a_cell_in_upper_case_gets_a_suggestion(cell):
    with pytest.raises(ValueError, match=r"^cell: .*; did you mean (gru|lstm)\?$"):
        prnn.RNN(3, 4, cell=cell)


@pytest.mark.parametrize("chance", ["dropout", "recurrent_dropout", "zoneout"])
@pytest.mark.parametrize(
    "function",
    [
        prnn.bptt,
        prnn.truncated_bptt,
        prnn.hvp,
        prnn.gauss_newton_product,
        prnn.per_example_gradients,
        prnn.per_example_norms,
        prnn.forward,
    ],
    ids=lambda f: f.__name__,
)
def test_dropout_must_be_given_where_a_model_has_it(function, chance):
    """None is refused: results without dropout would be those of another function."""
    model = prnn.RNN(3, 4, 2, num_layers=2, **{chance: 0.5})
    params, x = model.init(seed=0, dtype="float64"), np.ones((5, 2, 3))
    given = [] if function is prnn.forward else [np.zeros((5, 2), int)]
    if function in (prnn.hvp, prnn.gauss_newton_product):
        given.append(params)
    options = {"k1": 2, "k2": 4} if function is prnn.truncated_bptt else {}
    with pytest.raises(ValueError, match=rf"^dropout: this model has {chance}: expected a seed"):
        function(model, params, x, *given, **options)
