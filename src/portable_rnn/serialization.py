"""Weights and checkpoints on disk: safetensors files, written atomically.

A file holds named arrays, and a header of plain JSON values. Nothing is ever unpickled, so a file
from elsewhere can at worst be refused. The file includes a checksum (CRC-32) of all that is
read back: it shows damage, not forgery.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ._arrays import checks as check
from ._arrays.host import check_device, from_bits, from_host, has_bfloat16
from ._arrays.namespace import (
    Array,
    Namespace,
    check_array,
    dtype_name,
    library_name,
    resolve_namespace,
)
from ._files.atomic import NO_CHECKSUM, write_atomically
from ._files.safetensors import (
    CODES,
    DTYPES,
    METADATA,
    Stored,
    checksum,
    from_file,
    on_host,
    to_file,
    to_stored,
)

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

# In the metadata of a file: the JSON values, and the checksum. If one of the two is lost, the other
# shows that the file is from this library, which writes both.
_HEADER, _CHECKSUM = "portable_rnn", "portable_rnn.crc32"
_REMEDY = "restore it from a copy, or make it again"


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


@check.named_options
def save_weights(path: str | os.PathLike[str], params: Mapping[str, Array]) -> None:
    """Write parameters as a safetensors file, with the names of ``torch.nn``.

    Parameters
    ----------
    path : path
        Replaced in one step if it exists.
    params : dict of str to array
        Of any library, device and dtype that files hold, including bfloat16.

    Raises
    ------
    TypeError, ValueError
        If ``path`` is not a path, ``params`` is not a dict of arrays by name, or an array has a
        dtype that files do not hold, such as complex128.
    OSError
        If the file cannot be written; an existing file is unchanged.
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
    _save(path, "params", params, {})


@check.named_options
def load_weights(
    path: str | os.PathLike[str],
    *,
    xp: Namespace | None = None,
    device: Any = None,
) -> dict[str, Array]:
    """Read parameters written by `save_weights`, or any safetensors file.

    A file from this library is checked against its checksum. A file from elsewhere has none, and is
    read as it is.

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
    TypeError, ValueError
        If ``path`` is not a path, ``xp`` is not an array module, or it has no such ``device``.
    CheckpointError
        If the file cannot be read, is damaged or cut short, or holds a dtype that the library
        lacks, as NumPy lacks bfloat16.
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
    arrays, header = load_arrays(path, xp=xp, device=device)
    if "run" in header and "format" in header:
        raise CheckpointError(
            f"{path}: expected weights, got a checkpoint of a training; go on from it with "
            "train(..., resume=True), and save the params of the run"
        )
    return arrays


@check.named_options
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
    TypeError, ValueError
        If ``path`` is not a path, ``arrays`` is not a dict of arrays by name, an array has a dtype
        that files do not hold, or ``header`` is not a dict of JSON values.
    OSError
        If the file cannot be written; an existing file is unchanged.
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
    _save(path, "arrays", arrays, header)


def _save(
    path: str | os.PathLike[str], argument: str, arrays: Any, header: Mapping[str, Any]
) -> None:
    """Save arrays as `save_arrays` does; errors call them ``argument``."""
    path = check.path("path", path)
    safetensors_numpy()  # do not write what could not be read back
    if not isinstance(arrays, Mapping):
        raise TypeError(f"{argument}: expected a dict of arrays, got {type(arrays).__name__}")
    for name, array in arrays.items():
        if check.text(f"{argument}, a name in it", name) == METADATA:
            raise ValueError(f"{argument}: expected names other than {METADATA!r}, got it")
        check_dtype(f"{argument}[{name!r}]", array)
    text = _as_json(header)
    stored = to_stored(arrays)
    metadata = {_HEADER: text, _CHECKSUM: checksum(stored, text)}
    write_atomically(path, *to_file(stored, metadata))


def _as_json(header: Any) -> str:
    if not isinstance(header, Mapping):
        raise TypeError(f"header: expected a dict, got {check.said(header)}")
    try:
        return json.dumps(dict(header))
    except Exception as error:  # any object may be given, and raise anything
        raise TypeError(f"header: expected plain values, as JSON has: {error}") from None


def check_dtype(name: str, array: Array) -> None:
    """Raise TypeError if files cannot hold the dtype of an array.

    Parameters
    ----------
    name : str
        The name of the array in the message.
    array : array, any shape

    Raises
    ------
    TypeError
        If ``array`` is not an array, or its dtype is complex or another that files do not hold.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.serialization import check_dtype
    >>> check_dtype("w", np.ones(2))
    """
    check.text("name", name)
    check_array(name, array)
    if dtype_name(array.dtype) not in CODES:
        raise TypeError(
            f"{name}: files hold the dtypes {', '.join(CODES)}, got {dtype_name(array.dtype)}"
        )


@check.named_options
def load_arrays(
    path: str | os.PathLike[str],
    *,
    xp: Namespace | None = None,
    device: Any = None,
) -> tuple[dict[str, Array], dict[str, Any]]:
    """Read what `save_arrays` wrote: arrays, and the JSON values.

    Parameters
    ----------
    path, xp, device
        As for `load_weights`.

    Returns
    -------
    arrays : dict of str to array
        In the dtypes of the file.
    header : dict
        Empty if the file is from elsewhere.

    Raises
    ------
    TypeError, ValueError, CheckpointError
        As for `load_weights`.
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
    path = check.path("path", path)
    xp = resolve_namespace(np if xp is None else xp)
    check_device(xp, device)
    stored, header = _read(path)
    return _to_library(path, stored, xp, device), header


def safetensors_numpy() -> Any:
    """Return :mod:`safetensors.numpy`, or raise an ImportError that says how to install it.

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


def _read(path: Path) -> tuple[dict[str, Stored], dict[str, Any]]:
    """Read a file, and check it against its checksum if it is from this library.

    Raises
    ------
    CheckpointError
        If the file cannot be read, is damaged or cut short.
    ImportError
        If safetensors is not installed (extra ``checkpoint``).
    """
    safetensors_numpy()
    try:
        found, metadata = from_file(path.read_bytes())
        text, expected = metadata.get(_HEADER), metadata.get(_CHECKSUM)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: there is no such file") from None
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error.strerror}") from None
    except Exception as error:  # safetensors' own error type is not a ValueError
        raise CheckpointError(
            f"{path}: expected a safetensors file, got one that is damaged or cut short ({error}); "
            f"{_REMEDY}"
        ) from error
    if text is None and expected is None:
        return found, {}
    if expected is None:
        raise CheckpointError(f"{path}: {NO_CHECKSUM}; {_REMEDY}")
    if text is None or expected != checksum(found, text):
        raise CheckpointError(
            f"{path}: is damaged, since its checksum does not match its content; {_REMEDY}"
        )
    header = json.loads(text)
    if not isinstance(header, dict):
        raise CheckpointError(f"{path}: expected an object as its header, got {check.said(header)}")
    return found, header


def _to_library(
    path: Path, stored: Mapping[str, Stored], xp: Namespace, device: Any
) -> dict[str, Array]:
    """Convert the arrays of a file to a library.

    Raises
    ------
    CheckpointError
        If the library does not have their dtype.
    """
    found = {}
    for name, of in stored.items():
        such = ", such as xp=torch or xp=jax.numpy" if of.code == "BF16" else ""
        lacking = f"{path}: {name} is of dtype {of.dtype}, and {library_name(xp)} has none"
        if of.code not in DTYPES or (such and not has_bfloat16(xp)):
            raise CheckpointError(f"{lacking}; load it into a library that does{such}")
        array = np.frombuffer(of.data, dtype=on_host(of.code)).reshape(of.shape)
        try:
            if of.code == "BF16":
                found[name] = from_bits(array, xp, device)
            else:
                found[name] = from_host(array.astype(of.dtype, copy=False), xp, device=device)
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{lacking} ({error})") from None
    return found
