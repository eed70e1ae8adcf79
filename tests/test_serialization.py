"""Files are whole or absent, and hold exactly what was put into them."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.serialization import (
    CheckpointError,
    load_arrays,
    load_weights,
    save_arrays,
    save_weights,
    write_atomically,
)


def test_weights_come_back_bit_for_bit(tmp_path):
    params = prnn.RNN(3, 4, 2, cell="lstm").init(seed=1)
    save_weights(tmp_path / "w.safetensors", params)
    loaded = load_weights(tmp_path / "w.safetensors")
    assert set(loaded) == set(params)
    for name, array in params.items():
        assert loaded[name].dtype == array.dtype
        assert loaded[name].tobytes() == array.tobytes()


def test_header_comes_back(tmp_path):
    header = {"step": 3, "loss": 0.1, "nested": {"cell": "gru", "none": None}}
    save_arrays(tmp_path / "a", {"x": np.zeros((2, 0)), "y": np.asarray(1.5)}, header)
    arrays, found = load_arrays(tmp_path / "a")
    assert found == header
    assert arrays["x"].shape == (2, 0)
    assert arrays["y"].shape == ()


def test_a_view_is_saved_as_what_it_shows(tmp_path):
    save_arrays(tmp_path / "a", {"x": np.arange(6.0).reshape(2, 3).T}, {})
    np.testing.assert_array_equal(load_arrays(tmp_path / "a")[0]["x"], [[0, 3], [1, 4], [2, 5]])


@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.999])
def test_a_file_cut_short_is_refused(tmp_path, share):
    path = tmp_path / "w.safetensors"
    save_weights(path, {"x": np.ones(100)})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(CheckpointError, match=r"w\.safetensors.*cut short"):
        load_weights(path)


@pytest.mark.parametrize("content", [b"not a safetensors file at all", b"\x80\x04N."])
def test_another_kind_of_file_is_refused(tmp_path, content):
    (tmp_path / "w").write_bytes(content)
    with pytest.raises(CheckpointError, match="w: expected a safetensors file"):
        load_arrays(tmp_path / "w")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="nowhere: there is no such file"):
        load_arrays(tmp_path / "nowhere")


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "f"
    write_atomically(path, b"old")

    def fail(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_writers_and_readers_at_once_see_whole_files(tmp_path):
    path = tmp_path / "f"
    contents = [bytes([i]) * 100_000 for i in range(4)]
    write_atomically(path, contents[0])

    def write(content):
        for _ in range(25):
            write_atomically(path, content)
            assert path.read_bytes() in contents

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(write, content) for content in contents]:
            done.result()
    assert [p.name for p in tmp_path.iterdir()] == ["f"]


def test_a_dtype_that_would_not_come_back_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"x: files hold the dtypes .* got complex128"):
        save_arrays(tmp_path / "a", {"x": np.zeros(2, dtype=complex)}, {})
    assert not list(tmp_path.iterdir())


def test_data_is_on_the_disk_before_it_takes_the_name(tmp_path, monkeypatch):
    events = []
    monkeypatch.setattr(os, "fsync", lambda fd: events.append("fsync"))
    replace = os.replace
    monkeypatch.setattr(os, "replace", lambda a, b: (events.append("rename"), replace(a, b)))
    write_atomically(tmp_path / "f", b"data")
    assert events[:2] == ["fsync", "rename"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"w\.safetensors: there is no folder .*nowhere$"):
        save_weights(tmp_path / "nowhere" / "w.safetensors", {"w": np.ones(2)})


def test_what_went_wrong_is_told_also_where_no_file_could_be_made(tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError("not here")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(PermissionError, match="not here"):
        write_atomically(tmp_path / "note", b"whole")
