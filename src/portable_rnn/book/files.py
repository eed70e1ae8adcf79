"""Examples in files: JSON, or NumPy's ``.npz``."""

import io
import json
import os
import zipfile
import zlib
from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np

from .._arrays import checks as check
from .._files.atomic import naming
from . import arguments
from .claims import check_claims
from .example import Example

__all__ = ["read", "write"]

NEEDED = ("U", "W", "V", "x", "y")
OPTIONAL = ("b", "c", "h0", "claims")
_DAMAGED = (  # and what else zipfile raises, for a password or an unknown compression
    *(zipfile.BadZipFile, EOFError, OSError, KeyError, zlib.error),
    *(RuntimeError, NotImplementedError),
)
ZIP = (b"PK\x03\x04", b"PK\x05\x06")  # first bytes of an .npz, and of an empty one
CLAIM = "claims."  # prefix of the name of a claim in .npz, which cannot nest arrays


def read(path: str | os.PathLike[str]) -> tuple[Example, dict[str, Any]]:
    """Read an example, and claims about it, from a file.

    Parameters
    ----------
    path : path
        A JSON object of nested lists, or the ``.npz`` of `numpy.savez`, with the names of
        `Example`: U, W, V, x and y; b, c and h0 are zeros if they are left out. ``claims`` holds
        your own results by the names of `Quantities`: in JSON another object, in ``.npz`` arrays
        named ``claims.d_o`` and so on.

    Returns
    -------
    example : Example
    claims : dict of str to nested lists
        For `check_claims`. Empty if the file has none.

    Raises
    ------
    TypeError
        If ``path`` is not a path.
    ValueError
        If the file cannot be read or has another format, a name is missing, unknown or repeated,
        or an array does not fit. The message begins with the file and the array.

    Examples
    --------
    >>> import json, tempfile
    >>> from pathlib import Path
    >>> from portable_rnn import book
    >>> numbers = {"U": [[0.5]], "W": [[1]], "V": [[1], [-1]], "x": [[1], [2]], "y": [0, 1]}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = Path(folder) / "numbers.json"
    ...     _ = path.write_text(json.dumps(numbers | {"claims": {"d_c": [0.5, -0.5]}}))
    ...     example, claims = book.read(path)
    >>> example.y, sorted(claims)
    (((1.0, 0.0), (0.0, 1.0)), ['d_c'])
    """
    path = check.path("path", path)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise ValueError(f"{path}: there is no such file") from None
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        found = _from_npz(content) if content.startswith(ZIP) else _from_json(content)
        missing = [name for name in NEEDED if name not in found]
        unknown = [name for name in found if name not in (*NEEDED, *OPTIONAL)]
        if missing or unknown:
            got = [f"missing {', '.join(missing)}"] if missing else []
            got += [f"unknown {', '.join(unknown)}"] if unknown else []
            raise ValueError(
                f"expected {', '.join(NEEDED)}, and perhaps {', '.join(OPTIONAL)}: {'; '.join(got)}"
            )
        for name in OPTIONAL:
            if name in found and found[name] is None:
                raise ValueError(f"{name}: expected numbers, got null (leave it out instead)")
        claims = found.pop("claims", {})
        if not isinstance(claims, Mapping):
            raise ValueError(f"claims: expected an object, got {type(claims).__name__}")
        example = Example(**found)
        check_claims(example, claims)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None
    except RecursionError:
        raise ValueError(f"{path}: expected matrices, got brackets too deep to read") from None
    return example, dict(claims)


def write(path: str | os.PathLike[str], example: Example) -> None:
    """Write an example as JSON, with each row of a matrix on its own line.

    Parameters
    ----------
    path : path
    example : Example

    Raises
    ------
    TypeError, ValueError
        If ``path`` is not a path, or ``example`` is not an `Example`.
    FileExistsError
        If the file exists: it may have been edited.

    Examples
    --------
    >>> import tempfile
    >>> from portable_rnn import book
    >>> example = book.draw(targets="general")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     book.write(f"{folder}/numbers.json", example)
    ...     book.read(f"{folder}/numbers.json") == (example, {})
    True
    """
    path = check.path("path", path)
    arguments.instance("example", example, Example)
    parts = []
    for name, tree in vars(example).items():
        rows = tree if isinstance(tree[0], tuple) else None
        lines = [f"    {json.dumps(row)}" for row in rows] if rows else []
        text = "[\n" + ",\n".join(lines) + "\n  ]" if rows else json.dumps(tree)
        parts.append(f'  "{name}": {text}')
    try:
        with naming(path), open(path, "x", encoding="utf-8") as file:
            file.write("{\n" + ",\n".join(parts) + "\n}\n")
    except FileExistsError:
        what = "a folder" if path.is_dir() else "one that exists"
        raise FileExistsError(f"{path}: expected a new file, got {what}") from None
    except OSError as error:
        raise OSError(f"{path}: cannot be written: {error.strerror}") from None


def _from_json(content: bytes) -> dict[str, Any]:
    try:
        found = json.loads(
            content.decode("utf-8-sig"),
            # Decimals keep the digits that were written, by which claims are judged.
            parse_float=_decimal,
            parse_constant=Decimal,
            object_pairs_hook=_unique,
        )
    except UnicodeDecodeError:
        raise ValueError("expected JSON or .npz, got neither (not UTF-8)") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"expected JSON or .npz, got neither ({error})") from None
    if not isinstance(found, dict):
        raise ValueError(f"expected an object of arrays by name, got {type(found).__name__}")
    return found


def _decimal(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits, beyond float64 too
        return Decimal(float(text))


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    for name in names:
        if names.count(name) > 1:
            raise ValueError(f"{name}: expected one array of this name, got {names.count(name)}")
    return dict(pairs)


def _from_npz(content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            files = arrays.files
            for name in files:
                try:
                    found[name] = arrays[name]
                except ValueError as error:
                    objects = "allow_pickle" in str(error)
                    got = "Python objects" if objects else f"what cannot be read ({error})"
                    raise ValueError(f"{name}: expected numbers, got {got}") from None
    except _DAMAGED as error:
        raise ValueError(f"expected JSON or .npz, got neither ({error})") from None
    for name in files:
        if files.count(name) > 1:
            raise ValueError(f"{name}: expected one array of this name, got {files.count(name)}")
    if "claims" in files:
        raise ValueError("claims: expected an array for each, such as claims.d_c, got one for all")
    claims = {name.removeprefix(CLAIM): found.pop(name) for name in files if name.startswith(CLAIM)}
    return found | ({"claims": claims} if claims else {})
