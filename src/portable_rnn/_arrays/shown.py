"""Short representations of results: arrays by library, dtype and shape, without their numbers.

No value is read, so nothing waits for a device or computes a lazy array, and what is traced can be
shown as well.
"""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
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


def short_repr(value: Any) -> str:
    """Return the text of a named tuple or dataclass, with arrays by library, dtype and shape.

    It has the form of a call, on several lines if it does not fit on one.
    """
    if is_dataclass(value) and not isinstance(value, type):
        entries = [(f"{f.name}=", getattr(value, f.name)) for f in fields(value) if f.repr]
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
    elif isinstance(value, (tuple, list)):
        entries, ends = [("", part) for part in value], ("[", "]")
        if isinstance(value, tuple):
            ends = ("(", ",)" if len(value) == 1 else ")")
    else:
        return _other(value)
    if depth >= DEPTH and (count := sum(1 for _ in _arrays(value))):
        return f"<{name} of {count} array{'s' if count > 1 else ''}>"
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


def _arrays(value: Any) -> Iterator[Any]:
    """Yield the arrays in a value."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        yield value
    elif isinstance(value, (tuple, list, Mapping)):
        for part in value.values() if isinstance(value, Mapping) else value:
            yield from _arrays(part)


def _other(value: Any) -> str:
    """Return the text of what holds no arrays: of a description, what is not its default."""
    name = getattr(value, "__name__", None)
    if is_dataclass(value) and not isinstance(value, type):
        given = [f for f in fields(value) if f.repr and getattr(value, f.name) != f.default]
        shown = ", ".join(f"{f.name}={getattr(value, f.name)!r}" for f in given)
        text = f"{type(value).__name__}({shown})"
    else:
        text = name if callable(value) and isinstance(name, str) else repr(value)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
