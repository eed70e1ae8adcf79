"""A model in a folder: its description as JSON, and its parameters as a safetensors file.

The names of the files, and the index of parameters that are spread over several, are those of
Hugging Face's model folders.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ._arrays import checks as check
from ._arrays.namespace import Array, Namespace
from ._calls.checks import check_model, check_parameters
from .model import RNN
from .serialization import (
    CheckpointError,
    load_arrays,
    safetensors_numpy,
    save_arrays,
    write_atomically,
)

__all__ = ["load_model", "save_model"]

CONFIG, WEIGHTS = "config.json", "model.safetensors"
INDEX = f"{WEIGHTS}.index.json"
FORMAT = 1


@check.named_options
def save_model(folder: str | os.PathLike[str], model: RNN, params: Mapping[str, Array]) -> None:
    """Write a model to a folder: ``config.json`` and ``model.safetensors``.

    Parameters
    ----------
    folder : path
        Made if it does not exist. Its files of these two names are replaced.
    model : RNN
        With a cell that the library names; no file can describe an object of your own.
    params : dict of str to array
        Of any library and device.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it. Nothing is then written.
    OSError
        If a file cannot be written.
    ImportError
        If safetensors is not installed (extra ``checkpoint``).

    Examples
    --------
    >>> import tempfile
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(3, 4, 2, cell="gru")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     prnn.save_model(folder, model, model.init(seed=0))
    ...     loaded, params = prnn.load_model(folder)
    >>> loaded == model, params["readout.weight"].shape
    (True, (2, 4))
    """
    folder = check.path("folder", folder)
    check_model(model)
    if not isinstance(model, RNN):
        raise TypeError(f"model: expected an RNN, got {type(model).__name__}")
    check_parameters(model, params)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"folder: expected a folder, or none yet, got the file {folder}")
    safetensors_numpy()  # before a folder is made
    config = {"format": FORMAT, "library": "portable_rnn", "model": model.to_dict()}
    folder.mkdir(parents=True, exist_ok=True)
    # The parameters first, with the description: a folder that is half written is then noticed.
    save_arrays(folder / WEIGHTS, params, {"model": config["model"]})
    (folder / INDEX).unlink(missing_ok=True)  # of parameters that are replaced
    write_atomically(folder / CONFIG, (json.dumps(config, indent=2) + "\n").encode())


@check.named_options
def load_model(
    folder: str | os.PathLike[str],
    *,
    xp: Namespace | None = None,
    device: Any = None,
) -> tuple[RNN, dict[str, Array]]:
    """Read a model that `save_model` wrote.

    The parameters may be spread over several files, which ``model.safetensors.index.json`` names.

    Parameters
    ----------
    folder : path
    xp : module, optional
        Library of the arrays; NumPy by default.
    device : device of that library, optional

    Returns
    -------
    model : RNN
    params : dict of str to array
        In the dtypes of the files.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.
    CheckpointError
        If a file cannot be read, is damaged or cut short, or the files are not of one model; the
        message names the file.
    ImportError
        If safetensors is not installed (extra ``checkpoint``).

    Examples
    --------
    >>> import tempfile
    >>> import portable_rnn as prnn
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     try:
    ...         prnn.load_model(folder)
    ...     except prnn.serialization.CheckpointError as error:
    ...         print(str(error).removeprefix(folder))
    /config.json: there is no such file
    """
    folder = check.path("folder", folder)
    safetensors_numpy()
    if not folder.is_dir():
        raise CheckpointError(f"folder: expected that of a model, got {folder}, which is no folder")
    path = folder / CONFIG
    config = _read_json(path)
    if config.get("format") != FORMAT or not isinstance(described := config.get("model"), dict):
        raise CheckpointError(
            f"{path}: expected the description of a portable_rnn model in format {FORMAT}, got "
            f"format={check.said(config.get('format'))}"
        )
    try:
        model = RNN(**described)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: does not describe a model: {error}") from None
    params: dict[str, Array] = {}
    for weights, names in _weights_of(folder).items():
        found, header = load_arrays(weights, xp=xp, device=device)
        if header.get("model", described) != described:
            raise CheckpointError(f"{weights}: holds parameters of another model than {CONFIG}")
        if missing := [name for name in names if name not in found]:
            raise CheckpointError(f"{weights}: lacks {missing[0]}, which {INDEX} says is in it")
        params |= {name: found[name] for name in names} if names else found
    try:
        check_parameters(model, params)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{folder}: lacks parameters of {CONFIG}: {error}") from None
    return model, {name: params[name] for name in model.parameter_shapes}


def _weights_of(folder: Path) -> dict[Path, list[str]]:
    """Return the files of parameters, each with the names that it should hold; empty if any."""
    path = folder / INDEX
    if not path.exists():
        return {folder / WEIGHTS: []}
    files = _read_json(path).get("weight_map")
    if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
        raise CheckpointError(f"{path}: expected weight_map, a file for each name")
    found: dict[Path, list[str]] = {}
    for name, file in files.items():
        if file != PurePosixPath(file.replace("\\", "/")).name or file in ("", ".", ".."):
            raise CheckpointError(f"{path}: expected files of its own folder, got {file!r:.80}")
        found.setdefault(folder / file, []).append(name)
    return found


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such file") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: expected JSON: {error}") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"{path}: expected an object, got {check.said(found)}")
    return found
