"""Files are whole or absent, and hold exactly what was saved."""

import errno
import json
import os
import struct
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn._files.atomic import NO_CHECKSUM, leftovers
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


NAMES = ["w" * 100, "w" * 101, *("w" * n for n in range(241, 256)), "é" * 127]


@pytest.mark.skipif(os.name != "posix", reason="elsewhere whole paths are short")
@pytest.mark.parametrize("name", NAMES, ids=lambda name: f"{len(name)}{name[0]}")
def test_a_name_may_be_as_long_as_the_system_takes(tmp_path, name):
    write_atomically(tmp_path / name, b"old")
    write_atomically(tmp_path / name, b"whole")
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == {name: b"whole"}


@pytest.mark.skipif(os.name != "posix", reason="elsewhere whole paths are short")
def test_the_rest_of_a_killed_write_is_found_by_the_name_of_its_file(tmp_path, monkeypatch):
    """For names of any length; names that differ only at the end have different leftovers."""
    replace = os.replace

    def killed(temporary, path):
        replace(temporary, path)
        temporary.write_bytes(b"")
        left[path.name] = temporary

    left = {}
    monkeypatch.setattr(os, "replace", killed)
    names = [f"{'w' * n}{end}" for n in (1, 98, 99, 100, 101, 254) for end in "ab"]
    for name in names:
        write_atomically(tmp_path / name, b"")
    for other in (f".{'w' * 249}.part", f".{'0' * 32}.0123abcd.part", ".w.0123abcd.part"):
        (tmp_path / other).write_bytes(b"")
    for name in names:
        assert list(leftovers(tmp_path / name)) == [left[name]]


def test_a_dtype_that_would_not_come_back_is_refused(tmp_path):
    with pytest.raises(TypeError, match=r"^arrays\['x'\]: files hold the dtypes .* got complex128"):
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


def test_an_error_is_reported_also_where_no_file_could_be_created(tmp_path, monkeypatch):
    def refuse(*args):
        raise PermissionError("not here")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(PermissionError, match="not here"):
        write_atomically(tmp_path / "note", b"whole")


def test_the_system_s_message_names_the_file_that_was_asked_for(tmp_path, monkeypatch):
    """For a full disk it names no file, and for a missing permission the temporary one."""
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    refused = PermissionError(errno.EACCES, os.strerror(errno.EACCES), "/x/.w.0123abcd.part")
    for error in (full, refused):

        def fail(descriptor, error=error):
            raise error

        monkeypatch.setattr(os, "fsync", fail)
        with pytest.raises(type(error)) as caught:
            save_weights(tmp_path / "w", {"w": np.ones(2)})
        assert caught.value.errno == error.errno
        assert str(caught.value).endswith(f"{error.strerror}: '{tmp_path / 'w'}'")


def test_others_can_read_the_files(tmp_path):
    """The reference implementation reads them; arrays are aligned to the size of a number."""
    from safetensors import safe_open
    from safetensors.numpy import load_file

    arrays = {
        "flag": np.array([True, False, True]),
        "half": np.float16([1.5]),
        "none": np.zeros((2, 0, 3)),
        "scalar": np.asarray(3, np.int64),
        "turned": np.arange(6, dtype=">f4").reshape(2, 3).T,
        "é/\u2028": np.arange(5, dtype=np.uint8),
    }
    path = tmp_path / "w"
    save_arrays(path, arrays, {"ü": 1})
    found = load_file(path)
    assert set(found) == set(arrays)
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (
            array.dtype.newbyteorder("="),
            array.shape,
        )
        np.testing.assert_array_equal(found[name], array)
    with safe_open(path, framework="np") as file:
        assert json.loads(file.metadata()["portable_rnn"]) == {"ü": 1}
    data = path.read_bytes()
    length = int.from_bytes(data[:8], "little")
    assert length % 8 == 0
    for name, entry in json.loads(data[8 : 8 + length]).items():
        if name != "__metadata__":
            assert entry["data_offsets"][0] % arrays[name].itemsize == 0
    again, _ = load_arrays(path)
    assert all(array.flags.writeable for array in again.values())


def test_the_same_arrays_are_the_same_file(tmp_path):
    params = prnn.RNN(3, 4, 2, cell="lstm").init(seed=1)
    for name in "ab":
        save_arrays(tmp_path / name, params, {"step": 3})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_file_of_another_origin_has_no_checksum_and_is_read(tmp_path):
    from safetensors.numpy import save_file

    arrays = {"w": np.arange(4.0), "c": np.ones(2, np.complex64)}
    for metadata in (None, {"format": "pt"}):
        save_file(arrays, tmp_path / "w", metadata=metadata)
        found = load_weights(tmp_path / "w")
        assert all(found[name].tobytes() == array.tobytes() for name, array in arrays.items())


@pytest.mark.parametrize("lost", ["portable_rnn", "portable_rnn.crc32"])
def test_a_file_that_has_lost_its_checksum_or_header_is_not_taken_for_another_s(tmp_path, lost):
    from safetensors.numpy import load_file, save_file

    save_weights(tmp_path / "w", {"w": np.arange(4.0)})
    data = (tmp_path / "w").read_bytes()
    held = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    assert set(held) == {"portable_rnn", "portable_rnn.crc32"}
    del held[lost]
    save_file(load_file(tmp_path / "w"), tmp_path / "w", metadata=held)
    with pytest.raises(
        CheckpointError, match=rf"w: ({NO_CHECKSUM}|is damaged, .*); .*copy, or make"
    ):
        load_weights(tmp_path / "w")


def test_a_file_that_another_program_has_written_anew_keeps_its_checksum(tmp_path):
    """The checksum covers names, shapes and numbers, in any order."""
    from safetensors.numpy import load_file, save_file

    params = prnn.RNN(3, 4, 2).init(seed=1)
    save_weights(tmp_path / "w", params)
    data = (tmp_path / "w").read_bytes()
    held = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
    arrays = load_file(tmp_path / "w")
    save_file(arrays, tmp_path / "again", metadata=held)
    assert (tmp_path / "again").read_bytes() != data
    assert set(load_weights(tmp_path / "again")) == set(params)
    arrays["weight_hh_l0"] = arrays["weight_hh_l0"].T.copy()
    save_file(arrays, tmp_path / "again", metadata=held)
    with pytest.raises(CheckpointError, match="again: is damaged"):
        load_weights(tmp_path / "again")


def test_numpy_says_that_it_has_no_bfloat16(tmp_path):
    bits = np.asarray([0x3F80, 0xC000], dtype="<u2")
    header = b'{"w":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}'
    (tmp_path / "w").write_bytes(struct.pack("<Q", len(header)) + header + bits.tobytes())
    for read in (load_weights, load_arrays):
        with pytest.raises(
            CheckpointError, match=r"w: w is of dtype bfloat16, and numpy has none; .*xp=torch or"
        ):
            read(tmp_path / "w")


@pytest.mark.parametrize(
    "call",
    [
        lambda path: save_weights(path, {"w": np.ones(1)}),
        lambda path: save_arrays(path, {"w": np.ones(1)}, {}),
        load_weights,
        load_arrays,
        lambda path: write_atomically(path, b""),
    ],
)
@pytest.mark.parametrize(
    ("path", "kind"), [("", ValueError), (None, TypeError), (3, TypeError), (b"w", TypeError)]
)
def test_wrong_paths_are_refused(call, path, kind):
    with pytest.raises(kind, match="path: expected a path, got"):
        call(path)


def test_a_value_that_is_no_array_is_not_saved(tmp_path):
    with pytest.raises(TypeError, match=r"^params\['w'\]: expected an array"):
        save_weights(tmp_path / "w", {"w": [1.0, 2.0]})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("params", "kind", "message"),
    [
        (None, TypeError, "params: expected a dict of arrays, got NoneType"),
        ([("w", np.ones(2))], TypeError, "params: expected a dict of arrays, got list"),
        ({1: np.ones(2)}, TypeError, "params, a name in it: expected a text, got 1"),
        ({"\ud800": np.ones(2)}, ValueError, "params, a name in it: .*UTF-8"),
        ({"__metadata__": np.ones(2)}, ValueError, "params: expected names other than"),
        ({"w": np.ones(2, object)}, TypeError, r"params\['w'\]: files hold .* got object"),
    ],
)
def test_parameters_that_no_file_can_hold_are_named(tmp_path, params, kind, message):
    with pytest.raises(kind, match=f"^{message}"):
        save_weights(tmp_path / "w", params)
    assert not list(tmp_path.iterdir())


def test_a_header_is_a_dict_of_json_values(tmp_path):
    cycle = {}
    cycle["again"] = cycle
    for header in (None, 3, [], "text", {"a": object()}, {"a": 10**5000}, {(1, 2): 3}, cycle):
        with pytest.raises(TypeError, match=r"^header: expected "):
            save_arrays(tmp_path / "a", {"x": np.ones(2)}, header)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("data", ["text", None, 3, np.ones(2, object), np.ones(4)[::2]])
def test_data_without_a_contiguous_buffer_is_not_written(tmp_path, data):
    with pytest.raises(TypeError, match=r"^data: expected bytes, or what has a buffer"):
        write_atomically(tmp_path / "f", b"good", data)
    assert not list(tmp_path.iterdir())


def test_a_path_that_no_file_can_have_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"^path: expected a path, got"):
        write_atomically(f"{tmp_path}/\ud800", b"")
    with pytest.raises(OSError, match=f"{tmp_path}/aaa"):
        write_atomically(tmp_path / ("a" * 300), b"")


def test_a_device_and_a_library_are_refused_before_the_file_is_read(tmp_path):
    with pytest.raises(ValueError, match=r"^device: expected one of numpy, got 'gpu'"):
        load_weights(tmp_path / "none", device="gpu")
    with pytest.raises(TypeError, match=r"^xp: expected an array module .*got 3"):
        load_weights(tmp_path / "none", xp=3)
