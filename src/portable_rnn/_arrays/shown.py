"""Short representations of results: arrays by library, dtype and shape, without their numbers.

No value is read, so nothing waits for a device or computes a lazy array, and what is traced can be
shown as well.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, fields, is_dataclass
from typing import Any, TypeAlias

from .namespace import device_of, dtype_name

__all__ = ["short_repr"]

WIDTH = 88
MOST = 16  # entries of a container that are shown
LONGEST = 400  # characters of anything else
DEPTH = 3  # of containers in containers; below, arrays are counted
LIBRARIES = {"jaxlib": "jax"}  # by the package that the type of an array is from

Ends: TypeAlias = tuple[str, str]
Entries: TypeAlias = list[tuple[str, Any]]  # with labels


class _Text(str):
    """A text that is its own representation."""

    __repr__ = str.__str__


def short_repr(value: Any, first: Sequence[str] = (), counted: Sequence[str] = ()) -> str:
    """Return the text of a named tuple or dataclass, with arrays by library, dtype and shape.

    It has the form of a call, on several lines if it does not fit on one. Of a dataclass, fields
    that are None, NaN or empty are left out, some fields come first, and of some the arrays are
    only counted.
    """
    if is_dataclass(value) and not isinstance(value, type):
        names = [f.name for f in fields(value) if f.repr]
        names = [*first, *(name for name in names if name not in first)]
        entries = [
            (f"{name}=", _count(found) if name in counted else _rounded(found))
            for name in names
            if not _is_empty(found := getattr(value, name))
        ]
        return _written(entries, (f"{type(value).__name__}(", ")"), 0, 0)
    return _shown(value, 0, 0)


def _shown(value: Any, depth: int, used: int) -> str:
    """Return the text of a value in so many containers, behind so many characters."""
    if not isinstance(value, type) and hasattr(value, "dtype") and hasattr(value, "shape"):
        return _array(value)
    name = type(value).__name__
    if isinstance(value, Mapping):
        entries, ends = [(f"{key!r}: ", part) for key, part in value.items()], ("{", "}")
    elif isinstance(value, tuple) and hasattr(value, "_fields"):
        entries = [(f"{key}=", part) for key, part in zip(value._fields, value, strict=True)]
        ends = f"{name}(", ")"
    elif is_dataclass(value) and not isinstance(value, type):
        given = [f.name for f in fields(value) if f.repr and not _is_default(value, f)]
        entries, ends = [(f"{one}=", getattr(value, one)) for one in given], (f"{name}(", ")")
    elif isinstance(value, (tuple, list)):
        entries, ends = [("", part) for part in value], ("[", "]")
        if isinstance(value, tuple):
            ends = ("(", ",)" if len(value) == 1 else ")")
    else:
        return _other(value)
    if depth >= DEPTH and any(True for _ in _arrays(value)):
        return _count(value)
    return _written(entries, ends, depth, used)


def _written(entries: Entries, ends: Ends, depth: int, used: int) -> str:
    """Return the text of a container, on one line if it fits."""
    indent = "    " * (depth + 1)
    texts = [
        label + _shown(value, depth + 1, len(indent) + len(label))
        for label, value in entries[:MOST]
    ]
    if len(entries) > MOST:
        texts.append(f"... {len(entries) - MOST} more")
    line = f"{ends[0]}{', '.join(texts)}{ends[1]}"
    if "\n" not in line and used + len(line) < WIDTH:
        return line
    return f"{ends[0]}\n{''.join(f'{indent}{t},{chr(10)}' for t in texts)}{indent[4:]}{ends[1][-1]}"


def _array(array: Any) -> str:
    """Return library, dtype and shape of an array, and its device, unless that is a CPU."""
    package = type(array).__module__.partition(".")[0]
    try:
        device = str(device_of(array)).strip("<>")
    except Exception:  # it is traced, or has none
        device = "cpu"
    where = "" if "cpu" in device.lower() or device == "None" else f" on {device}"
    kind = f"{LIBRARIES.get(package, package)} {dtype_name(array.dtype)}"
    return f"<{kind} {tuple(array.shape)}{where}>"


def _is_empty(value: Any) -> bool:
    if isinstance(value, (float, Mapping)):  # no array, which can be compared with anything
        return not (value if isinstance(value, Mapping) else math.isfinite(value))
    return value is None


def _is_default(value: Any, field: Field[Any]) -> bool:
    """Return whether a field of a dataclass is its default, which is no array."""
    found = getattr(value, field.name)
    return found is field.default or (type(found) is type(field.default) and found == field.default)


def _rounded(value: Any) -> Any:
    """Return floats, also in a dict, with the digits that are of interest."""
    if isinstance(value, dict):
        return {key: _rounded(part) for key, part in value.items()}
    return _Text(f"{value:.6g}") if isinstance(value, float) else value


def _count(value: Any) -> str:
    count = sum(1 for _ in _arrays(value))
    return _Text(f"<{type(value).__name__} of {count} array{'' if count == 1 else 's'}>")


def _arrays(value: Any) -> Iterator[Any]:
    """Yield the arrays in a value."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        yield value
    elif isinstance(value, (tuple, list, Mapping)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _arrays(part)


def _other(value: Any) -> str:
    """Return the text of what holds no arrays."""
    name = getattr(value, "__name__", None)
    text = name if callable(value) and isinstance(name, str) else repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
