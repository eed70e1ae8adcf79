"""Weights and checkpoints on disk: safetensors files, written whole or not at all.

A file holds named arrays, and a header of plain JSON values beside them. Nothing is ever
unpickled, so a file from elsewhere can at worst be refused.
"""

import json
import os
import secrets
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ._host import from_host, to_host
from ._namespace import Array, Namespace, dtype_name

__all__ = [
    "CheckpointError",
    "check_dtype",
    "load_arrays",
    "load_weights",
    "safetensors_numpy",
    "save_arrays",
    "save_weights",
    "write_atomically",
]

_HEADER = "portable_rnn"
# What NumPy and safetensors both know, and so comes back as it was; bfloat16 does not.
DTYPES = ("float16", "float32", "float64", "int32", "int64")


class CheckpointError(ValueError):
    """A file that cannot be read, or does not belong to what it is loaded into.

    Examples
    --------
    >>> from portable_rnn.serialization import CheckpointError, load_weights
    >>> try:
    ...     load_weights("none.safetensors")
    ... except CheckpointError as error:
    ...     print(error)
    none.safetensors: there is no such file
    """


def save_weights(path: str | os.PathLike[str], params: Mapping[str, Array]) -> None:
    """Write parameters as a safetensors file, with the names of ``torch.nn``.

    Parameters
    ----------
    path : path
        Replaced in one step if it exists.
    params : dict of str to array
        Of any library and device.

    Raises
    ------
    TypeError
        If files cannot hold the dtype, such as bfloat16.
    ImportError
        If safetensors is not installed (extra ``checkpoint``).

    Examples
    --------
    >>> import tempfile
    >>> import portable_rnn as prnn
    >>> params = prnn.RNN(4, 5).init(seed=0)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     prnn.serialization.save_weights(f"{folder}/weights.safetensors", params)
    ...     loaded = prnn.serialization.load_weights(f"{folder}/weights.safetensors")
    >>> bool((loaded["weight_hh_l0"] == params["weight_hh_l0"]).all())
    True
    """
    save_arrays(path, params, {})


def load_weights(
    path: str | os.PathLike[str],
    *,
    xp: Namespace | None = None,
    device: Any = None,
) -> dict[str, Array]:
    """Read parameters written by `save_weights`, or any safetensors file.

    Parameters
    ----------
    path : path
    xp : module, optional
        Library of the arrays; NumPy by default.
    device : device of that library, optional

    Returns
    -------
    dict of str to array
        In the dtypes of the file.

    Raises
    ------
    CheckpointError
        If the file cannot be read or is cut short.
    ImportError
        If safetensors is not installed (extra ``checkpoint``).

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from portable_rnn.serialization import load_weights, save_weights
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/w.safetensors", {"w": np.ones(3, np.float32)})
    ...     load_weights(f"{folder}/w.safetensors", xp=np)
    {'w': array([1., 1., 1.], dtype=float32)}
    """
    arrays, _ = load_arrays(path)
    return {name: from_host(array, xp, device=device) for name, array in arrays.items()}


def save_arrays(
    path: str | os.PathLike[str], arrays: Mapping[str, Array], header: Mapping[str, Any]
) -> None:
    """Write named arrays of any library and JSON values to one file, atomically.

    Parameters
    ----------
    path : path
        Replaced in one step if it exists.
    arrays : dict of str to array
        Of any library, device and shape.
    header : dict of plain values

    Raises
    ------
    TypeError
        If files cannot hold a dtype, or JSON a value.
    ImportError
        If safetensors is not installed (extra ``checkpoint``).

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from portable_rnn.serialization import load_arrays, save_arrays
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_arrays(f"{folder}/run.safetensors", {"a": np.arange(3)}, {"step": 7})
    ...     load_arrays(f"{folder}/run.safetensors")
    ({'a': array([0, 1, 2])}, {'step': 7})
    """
    save = safetensors_numpy().save
    for name, array in arrays.items():
        check_dtype(name, array)
    on_host = {name: np.asarray(to_host(a), order="C") for name, a in arrays.items()}
    write_atomically(path, save(on_host, metadata={_HEADER: json.dumps(header)}))


def check_dtype(name: str, array: Array) -> None:
    """Raise TypeError if files cannot hold the dtype of an array.

    Parameters
    ----------
    name : str
        What the message calls the array.
    array : array, any shape

    Raises
    ------
    TypeError
        If the dtype is none of float16, float32, float64, int32 and int64.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.serialization import check_dtype
    >>> check_dtype("w", np.ones(2))
    """
    if dtype_name(array.dtype) not in DTYPES:
        raise TypeError(
            f"{name}: files hold the dtypes {', '.join(DTYPES)}, got {dtype_name(array.dtype)}"
        )


def load_arrays(
    path: str | os.PathLike[str],
) -> tuple[dict[str, np.ndarray[Any, Any]], dict[str, Any]]:
    """Read what `save_arrays` wrote: NumPy arrays, and the JSON values.

    Parameters
    ----------
    path : path

    Returns
    -------
    arrays : dict of str to NumPy array
    header : dict
        Empty if the file is of another origin.

    Raises
    ------
    CheckpointError
        If the file cannot be read or is cut short.
    ImportError
        If safetensors is not installed (extra ``checkpoint``).

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from portable_rnn.serialization import load_arrays, save_weights
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_weights(f"{folder}/w.safetensors", {"w": np.ones(2)})
    ...     load_arrays(f"{folder}/w.safetensors")
    ({'w': array([1., 1.])}, {})
    """
    load = safetensors_numpy().load
    try:
        data = Path(path).read_bytes()
        arrays = load(data)
        (length,) = struct.unpack("<Q", data[:8])
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        return arrays, json.loads(metadata.get(_HEADER, "{}"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such file") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    except Exception as error:  # safetensors' own error type is not a ValueError
        raise CheckpointError(
            f"{path}: expected a safetensors file, got one that is damaged or cut short ({error})"
        ) from error


def write_atomically(path: str | os.PathLike[str], data: bytes) -> None:
    """Write ``data`` so that ``path`` holds either all of it or what it held before.

    Into a temporary file beside it, to the disk, then renamed over it, then the folder
    to the disk: a crash at any moment leaves a whole file, and perhaps a hidden ``.part``.

    Parameters
    ----------
    path : path
        In a folder that exists.
    data : bytes

    Raises
    ------
    OSError
        If the file cannot be written; ``path`` is then as it was.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> from portable_rnn.serialization import write_atomically
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_atomically(Path(folder) / "note.txt", b"whole")
    ...     (Path(folder) / "note.txt").read_bytes()
    b'whole'
    """
    path = Path(path)
    if not path.parent.is_dir():  # or the message would name the temporary file
        raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def safetensors_numpy() -> Any:
    """Return :mod:`safetensors.numpy`, or raise ImportError that says how to install it.

    Returns
    -------
    module

    Raises
    ------
    ImportError
        If safetensors is not installed.

    Examples
    --------
    >>> from portable_rnn.serialization import safetensors_numpy
    >>> safetensors_numpy().__name__
    'safetensors.numpy'
    """
    try:
        import safetensors.numpy
    except ImportError:
        raise ImportError(
            "safetensors is needed to read and write files: pip install safetensors"
        ) from None
    return safetensors.numpy
