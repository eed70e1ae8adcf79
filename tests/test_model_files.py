"""A model in a folder: what is saved is loaded, also from several files; damage is named."""

import json

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.serialization import CheckpointError, load_weights, save_arrays

pytestmark = pytest.mark.no_products

save_file = pytest.importorskip("safetensors.numpy").save_file
MODEL = prnn.RNN(3, 4, 2, cell="gru", num_layers=2, bidirectional=True)
OTHERS = [
    prnn.RNN(3, 4, cell=prnn.cells.LSTM(peepholes=True), batch_first=True),
    prnn.RNN(3, 4, 7, vocabulary_size=7, nonlinearity=("elu", 0.5), pool="mean"),
    prnn.RNN(3, 4, cell="lstm", projection_size=2, reverse=True, zoneout=0.25),
]


@pytest.fixture
def folder(tmp_path):
    prnn.save_model(tmp_path, MODEL, MODEL.init(seed=0))
    return tmp_path


def same(found, expected):
    assert list(found) == list(expected)
    for name, array in expected.items():
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
@pytest.mark.parametrize("model", [MODEL, *OTHERS])
def test_a_model_is_loaded_as_it_was_saved(tmp_path, model, dtype):
    params = model.init(seed=1, dtype=dtype)
    prnn.save_model(tmp_path / "new" / "folder", model, params)
    loaded, found = prnn.load_model(tmp_path / "new" / "folder")
    assert loaded == model
    same(found, params)


def test_parameters_go_to_another_library_with_bfloat16(tmp_path):
    torch = pytest.importorskip("torch")
    params = MODEL.init(seed=1, xp=torch, dtype=torch.bfloat16)
    prnn.save_model(tmp_path, MODEL, params)
    _, found = prnn.load_model(tmp_path, xp=torch)
    assert all(torch.equal(found[name], array) for name, array in params.items())
    with pytest.raises(CheckpointError, match="numpy has none"):
        prnn.load_model(tmp_path)


def shard(folder):
    """Spread the parameters over two files, as other libraries do."""
    params = load_weights(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    files = {}
    for i, names in enumerate((list(params)[:3], list(params)[3:])):
        file = f"model-0000{i + 1}-of-00002.safetensors"
        save_file({name: params[name] for name in names}, folder / file)
        files |= dict.fromkeys(names, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    return files


def test_parameters_in_several_files_are_one_model(folder):
    shard(folder)
    model, found = prnn.load_model(folder)
    assert model == MODEL
    same(found, MODEL.init(seed=0))
    prnn.save_model(folder, MODEL, MODEL.init(seed=5))  # in one file again
    same(prnn.load_model(folder)[1], MODEL.init(seed=5))


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("../model.safetensors", "files of its own folder"),
        ("..\\model.safetensors", "files of its own folder"),
        ("/etc/passwd", "files of its own folder"),
        ("..", "files of its own folder"),
        ("", "files of its own folder"),
        ("none.safetensors", "none.safetensors: there is no such file"),
        ("model-00002-of-00002.safetensors", "lacks .*, which .* says is in it"),
        (7, "expected weight_map, a file for each name"),
    ],
)
def test_an_index_names_files_of_its_folder_that_hold_what_it_says(folder, file, words):
    files = shard(folder)
    index = {"weight_map": files | {next(iter(files)): file}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=words):
        prnn.load_model(folder)


def config_with(**entries):
    return json.dumps({"format": 1, "model": MODEL.to_dict()} | entries)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "config.json: expected JSON"),
        ("[" * 10**5, "config.json: expected JSON"),
        ("[]", "config.json: expected an object, got"),
        ("{}", "config.json: expected the description of a portable_rnn model in format 1"),
        (config_with(format=2), "in format 1, got format=2"),
        (config_with(model={"input_size": 0}), "config.json: does not describe a model: "),
        (config_with(model=MODEL.to_dict() | {"new": 1}), "config.json: does not describe a model"),
        (config_with(model=MODEL.to_dict() | {"bias": False}), "parameters of another model"),
    ],
)
def test_a_description_that_is_not_one_is_named(folder, text, words):
    (folder / "config.json").write_text(text)
    with pytest.raises(CheckpointError, match=words):
        prnn.load_model(folder)


def test_every_cut_of_a_file_is_noticed(folder):
    for name in ("config.json", "model.safetensors"):
        whole = (folder / name).read_bytes()
        for end in range(0, len(whole) - 2, 97):
            (folder / name).write_bytes(whole[:end])
            with pytest.raises(CheckpointError, match=name):
                prnn.load_model(folder)
        (folder / name).write_bytes(whole)
    prnn.load_model(folder)


def test_parameters_of_other_names_are_refused(folder):
    (folder / "model.safetensors").unlink()
    save_arrays(folder / "model.safetensors", {"w": np.ones(2)}, {})
    with pytest.raises(CheckpointError, match=r"lacks parameters of config.json: .*mis"):
        prnn.load_model(folder)


def test_what_cannot_be_saved_leaves_no_folder(tmp_path):
    folder = tmp_path / "new"
    params = MODEL.init(seed=0)
    decoder = prnn.AttentionDecoder(prnn.RNN(3, 4), 2, 3)
    for model, given in ((MODEL, {}), (MODEL, params | {"more": params["weight_hh_l0"]})):
        with pytest.raises(ValueError, match=r"^params: "):
            prnn.save_model(folder, model, given)
    with pytest.raises(TypeError, match=r"^model: expected an RNN, got AttentionDecoder"):
        prnn.save_model(folder, decoder, decoder.init(seed=0))
    assert not folder.exists()
