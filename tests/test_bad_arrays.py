"""Arguments that only look like fitting arrays are refused by name, with a remedy."""

import re
import sys
import types

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import losses

pytestmark = pytest.mark.no_products

T, B, I, H, O = 5, 2, 3, 4, 6  # noqa: E741
MODEL = prnn.RNN(I, H, O)
PARAMS = MODEL.init(seed=0, dtype="float64")
X = np.ones((T, B, I))
LABELS = np.zeros((T, B), dtype=np.int64)
STATE = np.zeros((1, B, H))
ROWS = np.ones((T, B, O))
MISSING = {"lengths": {"lengths": [T, 2]}, "mask": {"mask": np.ones((T, B), dtype=bool)}}
# Each as a function of x, targets and options.
FUNCTIONS = {
    "bptt": lambda x, y, **o: prnn.bptt(MODEL, PARAMS, x, y, **o),
    "truncated": lambda x, y, **o: prnn.truncated_bptt(MODEL, PARAMS, x, y, k1=2, k2=3, **o),
    "flow": lambda x, y, **o: prnn.gradient_flow(MODEL, PARAMS, x, y, **o),
    "gradients": lambda x, y, **o: prnn.per_example_gradients(MODEL, PARAMS, x, y, **o),
    "norms": lambda x, y, **o: prnn.per_example_norms(MODEL, PARAMS, x, y, **o),
    "hvp": lambda x, y, **o: prnn.hvp(MODEL, PARAMS, x, y, PARAMS, **o),
    "newton": lambda x, y, **o: prnn.gauss_newton_product(MODEL, PARAMS, x, y, PARAMS, **o),
}
PASSES = FUNCTIONS | {
    "forward": lambda x, y, **o: prnn.forward(MODEL, PARAMS, x, **o),
    "predict": lambda x, y, **o: prnn.predict(MODEL, PARAMS, x, **o),
    "jvp": lambda x, y, **o: prnn.jvp(MODEL, PARAMS, x, d_params=PARAMS, **o),
}


def unreached(outputs, targets, weights=None):
    raise AssertionError("the loss was called")


@pytest.mark.parametrize("steps", MISSING)
@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize(
    ("weights", "error", "message"),
    [
        (np.ones((1, B)), ValueError, r"expected shape \(5, 2\), .*got \(1, 2\)$"),
        (np.ones((T, 1)), ValueError, r"expected shape \(5, 2\), .*got \(5, 1\)$"),
        (np.ones(B), ValueError, r"expected shape \(5, 2\), .*got \(2,\)$"),
        (np.ones((B, T)), ValueError, r"expected shape \(5, 2\), .*got \(2, 5\)$"),
        (np.ones(()), ValueError, r"expected shape \(5, 2\), .*got \(\)$"),
        (2.0, TypeError, "expected an array .*got float"),
        (np.ones((T, B)).tolist(), TypeError, "got list; .*np.asarray"),
        (np.ones((T, B), np.float32), TypeError, "expected dtype float64 like x, got float32"),
        (np.ones((T, B), np.int64), TypeError, "expected dtype float64 like x, got int64"),
        (np.ma.ones((T, B)), TypeError, "got MaskedArray"),
    ],
)
def test_weights_together_with_missing_steps_fit_or_are_refused(
    name, steps, weights, error, message
):
    with pytest.raises(error, match=f"^weights: .*{message}"):
        FUNCTIONS[name](X, LABELS, loss=unreached, weights=weights, **MISSING[steps])


def test_a_weight_for_each_step_is_not_taken_for_one_for_each_sequence():
    """Where there are as many steps as sequences, (T,) broadcasts to the wrong one."""
    x, labels = np.ones((3, 3, I)), np.zeros((3, 3), np.int64)
    weights = np.asarray([1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match=r"^weights: expected shape \(3, 3\)"):
        prnn.bptt(MODEL, PARAMS, x, labels, lengths=[3, 2, 1], weights=weights)
    source = prnn.batches.Shuffled(x, labels, batch_size=3, lengths=[3, 2, 1])
    batch = source.batch(0)._replace(weights=weights)

    class One:
        steps_per_epoch = 1

        def batch(self, step):
            return batch

    wanted = r"^batches\.batch\(0\)\.weights: expected shape \(3, 3\)"
    with pytest.raises(ValueError, match=wanted):
        prnn.training.evaluate(MODEL, PARAMS, One())


@pytest.mark.parametrize("batch_first", [False, True])
def test_weights_in_the_layout_of_x_are_taken(batch_first):
    model = prnn.RNN(I, H, O, batch_first=batch_first)
    rng = np.random.default_rng(0)
    x, labels, weights = rng.normal(size=(T, B, I)), rng.integers(0, O, (T, B)), rng.random((T, B))
    there = np.arange(T)[:, None] < [T, 2]
    want = prnn.bptt(MODEL, PARAMS, x, labels, weights=weights * there).loss
    if batch_first:
        x, labels, weights = np.moveaxis(x, 1, 0), labels.T, weights.T
    for kind in (float, bool):
        given = weights.astype(kind)
        got = prnn.bptt(model, PARAMS, x, labels, weights=given, lengths=[T, 2]).loss
        if kind is float:
            np.testing.assert_allclose(got, want, rtol=1e-14)


TANH, RELU = (prnn.RNN(I, H, O, nonlinearity=name) for name in ("tanh", "relu"))
OTHER_LSTM = prnn.cells.LSTM(activations=("sigmoid", "tanh", "relu"))


@pytest.mark.parametrize(
    ("made_by", "read_by", "message"),
    [
        (TANH, RELU, "nonlinearity='relu', got one with nonlinearity='tanh'$"),
        (
            *(prnn.RNN(I, H, O, cell="lstm"), prnn.RNN(I, H, O, cell=OTHER_LSTM)),
            r"cell=LSTM\(.*, got one with cell='lstm'$",
        ),
        (TANH, prnn.RNN(I, H, O, batch_first=True), "batch_first=True, .*batch_first=False$"),
        (TANH, prnn.RNN(I, H + 1, O), "hidden_size=5, got one with hidden_size=4$"),
        (prnn.RNN(I, H, O, zoneout=0.25), TANH, r"zoneout=0\.0, got one with zoneout=0\.25$"),
        (
            *(prnn.RNN(I, H, O, num_layers=2), prnn.RNN(I, H, O, bidirectional=True)),
            "num_layers=1, got one with num_layers=2$",
        ),
    ],
)
def test_a_tape_of_another_model_is_refused_with_the_difference(made_by, read_by, message):
    x = np.ones((3, 3, I))
    fwd = prnn.forward(made_by, made_by.init(seed=0, dtype="float64"), x, dropout=False)
    with pytest.raises(ValueError, match=f"^tape: expected one of the same model, with {message}"):
        prnn.backward(read_by, read_by.init(seed=0, dtype="float64"), fwd.tape, fwd.outputs)


def test_a_tape_of_an_equal_model_written_differently_is_taken():
    by_name, by_object = prnn.RNN(I, H, O, cell="lstm"), prnn.RNN(I, H, O, cell=prnn.cells.LSTM())
    params = by_name.init(seed=0, dtype="float64")
    fwd = prnn.forward(by_name, params, X)
    want = prnn.backward(by_name, params, fwd.tape, ROWS).params
    got = prnn.backward(by_object, params, fwd.tape, ROWS).params
    assert all(np.array_equal(got[name], want[name]) for name in want)
    relu = prnn.RNN(I, H, O, cell=prnn.cells.Elman("relu"))
    tape = prnn.forward(RELU, PARAMS, X).tape
    prnn.backward(relu, PARAMS, tape, ROWS)


LIKE_ARRAYS = {
    "masked": (np.ma.masked_array(X, X > 2), r"got MaskedArray; give x\.filled\(\.\.\.\)"),
    "list": (X.tolist(), r"got list; give an array, such as np\.asarray\(x\)$"),
    "tuple": (tuple(X.tolist()), r"got tuple; give an array, such as np\.asarray\(x\)$"),
    "big-endian": (X.astype(">f8"), r"float64 like params, got >f8; .*x\.astype\('float64'\)$"),
    "longdouble": (X.astype(np.longdouble), r"float64 like .*, got .*x\.astype\('float64'\)$"),
    "single": (
        X.astype(np.float32),
        r"float64 like params, got float32; give x\.astype\('float64'\), .*dtype='float32'\)$",
    ),
    "integers": (X.astype(int), r"float64 like params, got int64; give x\.astype\('float64'\)$"),
    "objects": (X.astype(object), "float64 like params, got object"),
}


@pytest.mark.parametrize("kind", LIKE_ARRAYS)
@pytest.mark.parametrize("name", PASSES)
def test_array_like_values_are_refused_with_a_remedy(name, kind):
    x, message = LIKE_ARRAYS[kind]
    with pytest.raises(TypeError, match=rf"^x: .*{message}"):
        PASSES[name](x, LABELS)


@pytest.mark.parametrize("name", PASSES)
def test_a_state_of_another_dtype_is_refused(name):
    with pytest.raises(TypeError, match=r"^state: expected dtype float64 like x, got float32"):
        PASSES[name](X, LABELS, state=STATE.astype(np.float32))


@pytest.mark.parametrize("name", FUNCTIONS)
def test_targets_of_another_dtype_are_refused(name):
    rows = ROWS.astype(np.float32)
    with pytest.raises(TypeError, match=r"^targets: expected (dtype float64|integer).*got float32"):
        FUNCTIONS[name](X, rows)
    with pytest.raises(TypeError, match=r"^class_weights: expected dtype float64.*got float32"):
        FUNCTIONS[name](X, LABELS, class_weights=np.ones(O, np.float32))


class Frame:
    """Like those of pandas and polars."""

    def to_numpy(self):
        return X


class LazyFrame:
    """Like polars'."""

    def collect(self):
        return Frame()

    def collect_schema(self):
        return {}


class Dataset(dict):
    """Like xarray's."""

    def to_dataarray(self):
        return Frame()


class ArrowArray(Frame):
    """Like pyarrow's with nulls."""

    def __arrow_c_array__(self, requested_schema=None):
        raise NotImplementedError

    def __array__(self, dtype=None, copy=None):
        return X

    def to_numpy(self, zero_copy_only=True):
        raise ValueError("needed to copy")


class Sparse:
    """Like those of SciPy."""

    def toarray(self):
        return X


@pytest.mark.parametrize("name", PASSES)
def test_frames_and_sparse_matrices_are_refused_with_the_conversion(name):
    """Libraries of frames may be absent here; tests/test_frames.py has their own."""
    for x, remedy in (
        (Frame(), "x.to_numpy()"),
        (LazyFrame(), "x.collect().to_numpy()"),
        (Dataset(), "x.to_dataarray().to_numpy()"),
        (ArrowArray(), "an array, such as np.asarray(x)"),
        (Sparse(), "x.toarray()"),
    ):
        with pytest.raises(TypeError, match=rf"^x: .* got \w+; give {re.escape(remedy)}$"):
            PASSES[name](x, LABELS)


def test_a_type_is_named_as_users_import_it(monkeypatch):
    monkeypatch.setattr(Frame, "__module__", "frames.core")
    monkeypatch.setitem(sys.modules, "frames", types.SimpleNamespace(Frame=Frame))
    with pytest.raises(TypeError, match=r"^x: .*, got frames\.Frame; give x\.to_numpy\(\)$"):
        prnn.predict(MODEL, PARAMS, Frame())


def test_lengths_are_a_column_or_name_what_makes_one():
    columns = np.asarray([T, 2]), memoryview(np.asarray([T, 2]))
    for column in columns:
        prnn.predict(MODEL, PARAMS, X, lengths=column)
    wanted = r"^lengths: expected \d ints .*, got "
    with pytest.raises(TypeError, match=wanted + r"LazyFrame; give lengths\.collect\(\)"):
        prnn.predict(MODEL, PARAMS, X, lengths=LazyFrame())
    with pytest.raises(TypeError, match=wanted + r"\[None, 2\]$"):
        prnn.predict(MODEL, PARAMS, X, lengths=[None, 2])


@pytest.mark.parametrize("dtype", [">f8", np.longdouble, np.clongdouble, object, "U1"])
def test_parameters_of_an_unsupported_dtype_are_refused(dtype):
    params = {name: array.astype(dtype) for name, array in PARAMS.items()}
    with pytest.raises(TypeError, match=r"^params: expected (a floating dtype|.*byte order)"):
        prnn.predict(MODEL, params, X.astype(dtype))
    with pytest.raises(TypeError, match=r"^outputs: expected (a floating dtype|.*byte order)"):
        losses.mean_squared_error(ROWS.astype(dtype), ROWS.astype(dtype))


def test_matrices_are_refused_and_memory_maps_are_arrays(tmp_path):
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.matrix(np.ones((T, I)))
    with pytest.raises(TypeError, match=r"^x: .*got numpy\.matrix; give .*np\.asarray\(x\)"):
        prnn.predict(MODEL, PARAMS, matrix)
    mapped = np.memmap(tmp_path / "x", dtype=np.float64, mode="w+", shape=X.shape)
    mapped[:] = X
    assert np.array_equal(prnn.predict(MODEL, PARAMS, mapped), prnn.predict(MODEL, PARAMS, X))


@pytest.mark.parametrize("name", ["lengths", "mask", "weights", "targets", "state"])
def test_masked_arrays_are_refused_by_every_function(name):
    given = {
        "lengths": np.ma.masked_array([T, 2], [False, True]),
        "mask": np.ma.ones((T, B), dtype=bool),
        "weights": np.ma.ones((T, B)),
        "targets": np.ma.zeros((T, B), dtype=np.int64),
        "state": np.ma.zeros((1, B, H)),
    }[name]
    for function in FUNCTIONS.values():
        options = {} if name == "targets" else {name: given}
        with pytest.raises(TypeError, match=rf"^{name}: .*got MaskedArray"):
            function(X, given if name == "targets" else LABELS, **options)


def test_labels_become_rows_of_any_dtype_and_library():
    torch = pytest.importorskip("torch")
    labels = torch.asarray([2, 0])
    for dtype in (torch.float32, "float32"):
        rows = losses.one_hot(torch, labels, 3, dtype)
        assert rows.dtype == torch.float32
        assert rows.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert losses.one_hot(np, np.asarray([1], np.uint8), 2, np.bool_).tolist() == [[False, True]]
    with pytest.raises(
        TypeError, match=r"^labels: expected an array of numpy like xp, got .*torch"
    ):
        losses.one_hot(np, labels, 3, np.float32)


def test_tensors_that_are_not_dense_are_refused():
    torch = pytest.importorskip("torch")
    params = MODEL.init(seed=0, xp=torch)
    for sparse in (torch.ones(T, I).to_sparse(), torch.ones(T, I).to_sparse_coo()):
        with pytest.raises(TypeError, match=r"^x: .*a sparse one; give x\.to_dense\(\)$"):
            prnn.predict(MODEL, params, sparse)
    with pytest.raises(TypeError, match=r"^x: .*give x\.to\(torch\.float32\), or params"):
        prnn.predict(MODEL, params, torch.ones(T, I, dtype=torch.float64))
