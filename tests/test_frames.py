"""Frames of pandas, polars, xarray and Arrow, and arrays of HDF5 and Zarr: refused by name.

The engine returns arrays of the caller's library, and a frame is of none. So each argument that is
an array refuses it, and says how to make an array of it. ``lengths``, which may be any sequence of
ints, may also be a column of a frame. ``nox -s data`` installs the packages, and there none of
these tests may be skipped. `Chunked` takes stored arrays as they are.
"""

import re
import subprocess
import sys
import uuid

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import losses, metrics
from portable_rnn.batches import Batch, Chunked, Shuffled, Windows

from .needed import need

MODEL = prnn.RNN(3, 4, output_size=2)
PARAMS = MODEL.init(seed=0, dtype="float64")
A = np.arange(15.0).reshape(5, 3) / 15
X, Y = A[:, None, :], np.zeros((5, 1, 2))


def pandas(package):
    return {
        "DataFrame": package.DataFrame(A),
        "Series": package.Series(A[:, 0]),
        "Index": package.Index(A[:, 0]),
        "IntegerArray": package.array([1, 2, 3], dtype="Int64"),
    }


def polars(package):
    frame = package.DataFrame(A)
    return {"DataFrame": frame, "Series": frame["column_0"], "LazyFrame": frame.lazy()}


def xarray(package):
    array = package.DataArray(A, dims=("time", "feature"))
    return {
        "DataArray": array,
        "Variable": array.variable,
        "Dataset": package.Dataset({"a": ("time", A[:, 0]), "b": ("time", A[:, 1])}),
    }


def pyarrow(package):
    columns = {"a": A[:, 0], "b": A[:, 1]}
    return {
        "DoubleArray": package.array([0.5, None]),
        "BooleanArray": package.array([True, False]),
        "ChunkedArray": package.chunked_array([A[:2, 0], A[2:, 0]]),
        "Table": package.table(columns),
        "RecordBatch": package.record_batch(columns),
        "Tensor": package.Tensor.from_numpy(A),
    }


def h5py(package):
    return {"Dataset": in_hdf5(package, A)}


def in_hdf5(package, array):
    """Return a dataset of a file in memory, which is open as long as the dataset is there."""
    file = package.File(uuid.uuid4().hex, "w", driver="core", backing_store=False)
    return file.create_dataset("x", data=array)


def zarr(package):
    return {"Array": package.create_array(store={}, data=A)}


MADE = {make.__name__: make for make in (pandas, polars, xarray, pyarrow, h5py, zarr)}
# Where an array is expected; each function is called with the frame in its place.
TAKEN = {
    "x": [
        lambda f: prnn.predict(MODEL, PARAMS, f),
        lambda f: prnn.forward(MODEL, PARAMS, f),
        lambda f: prnn.bptt(MODEL, PARAMS, f, Y),
        lambda f: Shuffled(f, Y, batch_size=1),
        lambda f: Windows(f, Y, batch_size=1, window=2),
    ],
    "targets": [
        lambda f: prnn.bptt(MODEL, PARAMS, X, f, loss=losses.mean_squared_error),
        lambda f: prnn.bptt(MODEL, PARAMS, X, f),
        lambda f: losses.mean_squared_error(Y, f),
        lambda f: metrics.Accuracy()(Y, f),
        lambda f: Shuffled(X, f, batch_size=1),
        lambda f: Windows(X, f, batch_size=1, window=2),
    ],
    "weights": [
        lambda f: prnn.bptt(MODEL, PARAMS, X, Y, loss=losses.mean_squared_error, weights=f),
        lambda f: Shuffled(X, Y, batch_size=1, weights=f),
    ],
    "mask": [lambda f: prnn.predict(MODEL, PARAMS, X, mask=f)],
    "state": [lambda f: prnn.predict(MODEL, PARAMS, X, f)],
    "tokens": [lambda f: prnn.embed(A, f)],
    "sequences[0]": [lambda f: prnn.ragged.pack([f])],
    "params['weight_ih_l0']": [
        lambda f: prnn.predict(MODEL, PARAMS | {"weight_ih_l0": f}, X),
    ],
    "batches.batch(0).x": [lambda f: train(Batch(f, Y))],
    "batches.batch(0).weights": [lambda f: train(Batch(X, Y, f))],
}


def train(batch):
    class Source:
        def batch(self, step):
            return batch

    return prnn.training.train(MODEL, PARAMS, Source(), steps=1, loss=losses.mean_squared_error)


@pytest.fixture(params=MADE)
def frames(request):
    package = need(request.param)
    return package, MADE[request.param](package)


def refusals(make):
    for kind, frame in make.items():
        for argument, functions in TAKEN.items():
            for function in functions:
                with pytest.raises(TypeError) as refused:
                    function(frame)
                yield kind, frame, argument, str(refused.value)


def test_frames_are_refused_by_argument_type_and_the_call_that_converts_them(frames):
    package, make = frames
    for kind, _, argument, message in refusals(make):
        exported = f"{package.__name__}.{kind}" if hasattr(package, kind) else kind
        wanted = "an array of an array API library"
        start = f"{argument}: expected {wanted}, got {exported}; give "
        assert message.startswith(start), message


def test_the_call_named_makes_an_array_of_the_same_numbers(frames):
    """What the message says is run as it is written."""
    _, make = frames
    for frame in make.values():
        with pytest.raises(TypeError) as refused:
            prnn.predict(MODEL, PARAMS, frame)
        remedy = re.search(r"; give (?:an array, such as )?(.+)$", str(refused.value))[1]
        found = eval(remedy, {"x": frame, "np": np})
        assert type(found) is np.ndarray
        if found.shape == A.shape:
            np.testing.assert_array_equal(found, A)
            got = prnn.predict(MODEL, PARAMS, found)
            np.testing.assert_array_equal(got, prnn.predict(MODEL, PARAMS, A))


def test_lengths_are_read_from_any_column_of_ints(frames):
    package, _ = frames
    two = [5, 2]
    columns = {
        "pandas": lambda: [package.Series(two, index=[7, 3]), package.Series(two, dtype="Int64")],
        "polars": lambda: [package.Series(two)],
        "xarray": lambda: [package.DataArray(two)],
        "pyarrow": lambda: [package.array(two), package.chunked_array([[5], [2]])],
        "h5py": lambda: [in_hdf5(package, two)],
        "zarr": lambda: [package.create_array(store={}, data=np.asarray(two))],
    }[package.__name__]()
    x = np.repeat(X, 2, axis=1)
    wanted = prnn.predict(MODEL, PARAMS, x, lengths=two)
    for column in columns:
        np.testing.assert_array_equal(prnn.predict(MODEL, PARAMS, x, lengths=column), wanted)


UNREAD = {
    "polars": ("LazyFrame", "polars.LazyFrame; give lengths.collect().to_numpy()"),
    "xarray": ("Dataset", "xarray.Dataset; give lengths.to_dataarray().to_numpy()"),
}


@pytest.mark.parametrize("frames", UNREAD, indirect=True)
def test_lengths_of_a_frame_that_is_not_read_name_what_reads_it(frames):
    package, make = frames
    kind, remedy = UNREAD[package.__name__]
    with pytest.raises(TypeError, match=rf"^lengths: .*, got {re.escape(remedy)}$"):
        prnn.predict(MODEL, PARAMS, X, lengths=make[kind])


MISSING = {
    "pandas": lambda package: package.Series([5, None], dtype="Int64"),
    "polars": lambda package: package.Series([5, None]),
    "pyarrow": lambda package: package.array([5, None]),
}


@pytest.mark.parametrize("frames", MISSING, indirect=True)
def test_a_column_with_missing_lengths_is_refused(frames):
    package, _ = frames
    with pytest.raises(TypeError, match=r"^lengths: expected 2 ints"):
        prnn.predict(MODEL, PARAMS, np.repeat(X, 2, 1), lengths=MISSING[package.__name__](package))


def test_columns_of_mixed_types_say_that_they_are_no_numbers():
    frame = need("pandas").DataFrame(A).assign(name="a")
    with pytest.raises(TypeError, match=r"^x: expected a dtype of numbers, got object$"):
        Shuffled(frame.to_numpy()[:, None, :], Y, batch_size=1)


# What has a shape and slices of several axes; the others are tables and columns.
STORED = ("h5py.Dataset", "xarray.DataArray", "xarray.Variable", "zarr.Array")


def test_chunked_takes_stored_arrays_and_refuses_tables_by_name(frames):
    package, make = frames
    target = np.zeros(5)
    for kind, frame in make.items():
        if f"{package.__name__}.{kind}" in STORED:
            batch = Chunked(frame, target, batch_size=5, batch_axis=0).batch(0)
            assert type(batch.x) is np.ndarray
            np.testing.assert_array_equal(np.sort(batch.x, axis=0), A)
            continue
        for name in ("x", "targets"):
            given = {"x": A, "targets": target} | {name: frame}
            with pytest.raises(TypeError) as refused:
                Chunked(**given, batch_size=1, batch_axis=0)
            exported = f"{package.__name__}.{kind}" if hasattr(package, kind) else kind
            wanted = "an array with a shape, a dtype and slices"
            assert str(refused.value).startswith(
                f"{name}: expected {wanted}, got {exported}; give "
            )


def test_frames_elsewhere_are_described_in_a_few_words(frames):
    _, make = frames
    for kind, frame in make.items():
        for function in (
            lambda f: prnn.RNN(f, 4),
            lambda f: prnn.predict(MODEL, f, X),
            lambda f: prnn.training.train(MODEL, PARAMS, f, steps=1),
            lambda f: prnn.ragged.pack(f),
        ):
            # A dataset of xarray is a mapping, of other names.
            with pytest.raises((TypeError, ValueError)) as refused:
                function(frame)
            assert len(str(refused.value)) < 240, (kind, str(refused.value))
            assert "\n" not in str(refused.value)


def test_importing_the_package_imports_no_library_of_frames():
    names = ("batches", "cli", "interop", "plots", "serialization", "text", "training")
    modules = ", ".join(f"portable_rnn.{name}" for name in names)
    code = f"import sys, {modules}; print([m for m in {list(MADE)} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
