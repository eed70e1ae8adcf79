"""Load the folders of the suite in which every page takes part."""

import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType
from typing import Any

__all__ = ["by_name", "load_pages"]


def load_pages(package: str, path: Iterable[str], *, without: str) -> list[ModuleType]:
    """Import all modules of a package except the one that defines the contents of a page."""
    names = [found.name for found in pkgutil.iter_modules(path) if found.name != without]
    return [importlib.import_module(f"{package}.{name}") for name in names]


def by_name(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return a dict of pairs; raise if two have the same name."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"two pages of the suite have {name!r}: one would hide the other")
        found[name] = value
    return found
