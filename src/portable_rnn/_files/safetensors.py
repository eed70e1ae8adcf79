"""Read and write the safetensors format.

A file is eight bytes with the length of a header; the header, JSON with the dtype, shape and
offsets of every array; and the numbers, little-endian.
"""

import json
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np

from .._arrays.host import all_to_host
from .._arrays.namespace import Array, dtype_name

__all__ = [
    "CODES",
    "DTYPES",
    "METADATA",
    "Stored",
    "checksum",
    "from_file",
    "on_host",
    "to_file",
    "to_stored",
]

# Names of dtypes in files, and here. bfloat16, which NumPy lacks, is kept as bits.
DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
    "C64": "complex64",  # only read: no parameter is complex
}
CODES = {name: code for code, name in DTYPES.items() if code != "C64"}
METADATA = "__metadata__"  # the key that safetensors reserves for it


class Stored(NamedTuple):
    """An array as stored in a file: the file's name of its dtype, its shape, and its bytes."""

    code: str
    shape: tuple[int, ...]
    data: Any

    @property
    def dtype(self) -> str:
        """The standard name of the dtype, if it has one."""
        return DTYPES.get(self.code, self.code)


def to_file(stored: Mapping[str, Stored], metadata: Mapping[str, str]) -> Iterator[Any]:
    """Yield the parts of a file, array after array: it is never in memory as a whole."""
    # Wide dtypes first, so that each array begins at a multiple of its item size.
    ordered = sorted(stored, key=lambda name: -on_host(stored[name].code).itemsize)
    entries: dict[str, Any] = {METADATA: metadata}
    end = 0
    for name in ordered:
        code, shape, data = stored[name]
        start, end = end, end + data.nbytes
        entries[name] = {"dtype": code, "shape": shape, "data_offsets": (start, end)}
    described = json.dumps(entries, separators=(",", ":")).encode()
    described += b" " * (-len(described) % 8)
    yield struct.pack("<Q", len(described)) + described
    yield from (stored[name].data for name in ordered)


def from_file(data: bytes) -> tuple[dict[str, Stored], dict[str, Any]]:
    """Return the arrays and the metadata of a file; may raise any error if it is damaged."""
    from safetensors import deserialize

    arrays = dict(deserialize(data))  # type: ignore[no-untyped-call]
    (length,) = struct.unpack("<Q", data[:8])
    entries = json.loads(data[8 : 8 + length])
    metadata = entries.pop(METADATA, None) or {}
    stored = {
        name: Stored(arrays[name]["dtype"], tuple(arrays[name]["shape"]), arrays[name]["data"])
        for name in entries
    }
    return stored, metadata


def to_stored(arrays: Mapping[str, Array]) -> dict[str, Stored]:
    """Return arrays as stored in a file; wait for a device once."""
    found = {}
    for name, host in zip(arrays, all_to_host(tuple(arrays.values())), strict=True):
        code = CODES[dtype_name(arrays[name].dtype)]
        plain = np.asarray(host, dtype=on_host(code), order="C")
        found[name] = Stored(code, plain.shape, plain.reshape(-1).view(np.uint8))
    return found


def on_host(code: str) -> np.dtype[Any]:
    """Return the little-endian NumPy dtype for the numbers of a file."""
    return np.dtype("uint16" if code == "BF16" else DTYPES[code]).newbyteorder("<")


def checksum(stored: Mapping[str, Stored], text: str) -> str:
    """Return the CRC-32 of all that is read from a file, whatever the order of its arrays."""
    names = sorted(stored)
    described = json.dumps([(name, *stored[name][:2]) for name in names])
    found = zlib.crc32((described + text).encode(errors="surrogatepass"))
    for name in names:
        found = zlib.crc32(stored[name].data, found)
    return f"{found:08x}"
