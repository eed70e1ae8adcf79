"""Check options that are not arrays: flags, counts, numbers, choices, paths, functions.

Each check returns the plain value, or raises an error that names the argument. Text and booleans
are not numbers, although Python would convert them; nor is NaN.
"""

import inspect
import math
import operator
import os
import re
import sys
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from fractions import Fraction
from pathlib import Path
from typing import Any

__all__ = [
    "as_array_remedy",
    "choice",
    "count",
    "counted",
    "flag",
    "function",
    "integer",
    "number",
    "path",
    "said",
    "size_in_bytes",
    "suggestion",
    "text",
    "type_name",
]

PART = 2**20
LARGEST = 2**63 - 1  # no size is larger
SUFFIXES = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "ki": 2**10, "mi": 2**20, "gi": 2**30}


# Names that other libraries have for options of this one.
_OTHER_WORDS: Mapping[str, tuple[str, ...]] = {
    "learning_rate": ("lr",),
    "step_size": ("lr",),
    "epochs": ("steps",),
    "num_epochs": ("steps",),
    "iterations": ("steps",),
    "units": ("hidden_size", "hidden"),
    "layers": ("num_layers",),
    "proj_size": ("projection_size",),
    "time_major": ("batch_first",),
    "clipnorm": ("max_norm",),
    "clip_norm": ("max_norm",),
    "criterion": ("loss",),
    "loss_fn": ("loss",),
    "rng": ("seed",),
    "key": ("seed",),
    "weight": ("class_weights", "weights"),
    "gpu": ("cuda",),
}


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: 1 check, 2 checks."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return '; did you mean ...?' if a known name is similar, else ''."""
    names = {one.lower(): one for one in reversed(tuple(known))}
    near = [one for one in _OTHER_WORDS.get(name.lower(), ()) if one in names.values()]
    near = near or [names[one] for one in get_close_matches(name.lower(), names, n=1)]
    return f"; did you mean {near[0]}?" if near else ""


def flag(name: str, value: Any) -> bool:
    """Check that ``value`` is True or False, not merely truthy or falsy."""
    if value is True or value is False:
        return value
    if not _is_flag(value):
        raise TypeError(f"{name}: expected True or False, got {said(value)}")
    return bool(value)


def integer(name: str, value: Any, *, least: int | None = None, most: int | None = None) -> int:
    """Check that ``value`` is a whole number within optional bounds; return it as an int."""
    try:
        if _is_flag(value):
            raise TypeError
        whole = operator.index(value)
    except Exception:  # any object may be given, and raise anything
        raise TypeError(f"{name}: expected an int, got {said(value)}") from None
    if least is not None and whole < least:
        raise ValueError(f"{name}: expected at least {least}, got {said(whole)}")
    if most is not None and whole > most:
        raise ValueError(f"{name}: expected at most {most}, got {said(whole)}")
    if abs(whole) > LARGEST:
        raise ValueError(f"{name}: expected an int of 64 bits, got {said(whole)}")
    return whole


def count(name: str, value: Any) -> int:
    """Check that a count, such as a number of steps, is at least 1; return it as an int."""
    return integer(name, value, least=1)


def number(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    infinite: bool = False,
) -> float:
    """Check that ``value`` is a real number within bounds; return it as a Python float.

    A NumPy scalar would widen float32 arrays.
    """
    wanted = _bounded(least, above, most, below)
    try:
        if isinstance(value, (str, bytes)) or _is_flag(value) or _dimensions(value):
            raise TypeError
        found = float(value)
    except OverflowError:
        raise ValueError(f"{name}: expected {wanted}, got {said(value)}") from None
    except Exception:
        raise TypeError(f"{name}: expected {wanted}, got {said(value)}") from None
    good = (
        not math.isnan(found)
        and (infinite or not math.isinf(found))
        and (least is None or found >= least)
        and (above is None or found > above)
        and (most is None or found <= most)
        and (below is None or found < below)
    )
    if not good:
        raise ValueError(f"{name}: expected {wanted}, got {said(value)}")
    return found


def choice(name: str, value: Any, choices: Iterable[str]) -> str:
    """Check that ``value`` is one of a few strings."""
    every = tuple(choices)
    if not isinstance(value, str) or value not in every:
        *most, last = map(repr, every)
        wanted = f"{', '.join(most)} or {last}" if most else last
        error = ValueError if isinstance(value, str) else TypeError
        near = suggestion(value, every) if isinstance(value, str) else ""
        raise error(f"{name}: expected {wanted}, got {said(value)}{near}")
    return value


def text(name: str, value: Any, *, least: int = 0) -> str:
    """Check that ``value`` is a string of ``least`` or more characters, encodable in UTF-8."""
    if not isinstance(value, str):
        raise TypeError(f"{name}: expected a text, got {said(value)}")
    if len(value) < least:
        wanted = "at least one character" if least == 1 else f"at least {least} characters"
        raise ValueError(f"{name}: expected {wanted}, got {said(value)}")
    try:
        for start in range(0, len(value), PART):  # no copy of all of a large text
            value[start : start + PART].encode()
    except UnicodeEncodeError as error:
        found = error.object[error.start]
        raise ValueError(f"{name}: expected characters of UTF-8, got {said(found)}") from None
    return value


def size_in_bytes(name: str, value: Any) -> int:
    """Return a number of bytes, given as one or as a text such as '64 MiB'."""
    wanted = "expected bytes, or a text such as '64 MiB'"
    if isinstance(value, str):
        found = re.fullmatch(r"\s*([0-9]+\.?[0-9]*|\.[0-9]+)\s*([kKmMgG]?i?)[bB]?\s*", value)
        if found is None or found[2].lower() not in SUFFIXES:
            raise ValueError(f"{name}: {wanted}, got {said(value)}")
        return int(Fraction(found[1]) * SUFFIXES[found[2].lower()])
    try:
        return integer(name, value, least=1)
    except TypeError:
        raise TypeError(f"{name}: {wanted}, got {said(value)}") from None


def path(name: str, value: Any) -> Path:
    """Check that ``value`` is a path that is not empty."""
    if not isinstance(value, (str, os.PathLike)) or not isinstance(os.fspath(value), str):
        raise TypeError(f"{name}: expected a path, got {said(value)}")
    text = os.fspath(value)
    try:
        os.fsencode(text)
        good = bool(text) and "\0" not in text
    except UnicodeEncodeError:  # characters that the file system cannot encode
        good = False
    if not good:
        raise ValueError(f"{name}: expected a path, got {said(text)}")
    return Path(text)


def function(name: str, value: Any, form: str, *args: Any, **options: Any) -> None:
    """Check that ``value`` can be called with these arguments and options.

    ``form`` is the signature to show in errors, such as ``(params, grads, state, lr=...)``. A class
    can be called, but returns an object of its own, and often shows no signature.
    """
    if not callable(value) or isinstance(value, type):
        kind = "the class " if isinstance(value, type) else ""
        raise TypeError(f"{name}: expected a callable {form}, got {kind}{said(value)}")
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):  # functions not written in Python may have none
        return
    try:
        signature.bind(*args, **options)
    except TypeError as error:
        raise TypeError(
            f"{name}: expected a callable {form}, got one that takes {signature} ({error})"
        ) from None


def said(value: Any) -> str:
    """Return a short description of a value for an error message."""
    try:
        if not isinstance(value, type) and _dimensions(value):
            plain = hasattr(value, "dtype") and not hasattr(value, "to_numpy")
            return (
                f"{'an array' if plain else f'a {type_name(value)}'} of shape {tuple(value.shape)}"
            )
        if isinstance(value, type) or callable(value):
            return str(getattr(value, "__name__", type(value).__name__))
        text = re.sub(r"\s*\n\s*", " ", repr(value))
    except Exception:  # an int of more digits than Python will print, or a faulty repr
        text = f"one of {type(value).__name__} that cannot be printed"
    return text if len(text) <= 80 else f"{text[:60]}... ({type(value).__name__})"


def type_name(value: Any) -> str:
    """Return the name of a value's type as it is imported, such as pandas.DataFrame, or list."""
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    module = sys.modules.get(package)
    exported = package != "builtins" and vars(module or kind).get(kind.__name__) is kind
    return f"{package}.{kind.__name__}" if exported else kind.__name__


def as_array_remedy(name: str, value: Any) -> str:
    """Return how to make an array of an object that holds numbers; '' if that is unknown.

    Found by the methods of its type, since no library of frames is imported here.
    """
    kind = type(value)
    if hasattr(kind, "to_dataarray"):  # a dataset of xarray
        return f"; give {name}.to_dataarray().to_numpy()"
    if hasattr(kind, "collect_schema") and not hasattr(kind, "to_numpy"):  # polars.LazyFrame
        return f"; give {name}.collect().to_numpy()"
    # An array of Arrow makes no copy by default, and then refuses nulls and booleans.
    if hasattr(kind, "to_numpy") and not hasattr(kind, "__arrow_c_array__"):
        return f"; give {name}.to_numpy()"  # pandas, polars, xarray
    if hasattr(kind, "toarray"):  # sparse matrices of SciPy
        return f"; give {name}.toarray()"
    if isinstance(value, (list, tuple, int, float, complex)) or hasattr(kind, "__array__"):
        return f"; give an array, such as np.asarray({name})"
    return ""


def _is_flag(value: Any) -> bool:
    """Return whether ``value`` is a boolean of Python or NumPy, by the name of its type."""
    return type(value).__name__ in ("bool", "bool_")


def _dimensions(value: Any) -> int:
    return len(getattr(value, "shape", ()))


def _bounded(
    least: float | None, above: float | None, most: float | None, below: float | None
) -> str:
    low, high = least if above is None else above, most if below is None else below
    if low is not None and high is not None:
        start, end = "(" if above is not None else "[", ")" if below is not None else "]"
        return f"a number in {start}{low:g}, {high:g}{end}"
    if low is not None:
        return f"a number above {low:g}" if above is not None else f"a number of at least {low:g}"
    if high is not None:
        return f"a number below {high:g}" if below is not None else f"a number of at most {high:g}"
    return "a number"
