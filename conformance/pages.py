"""Folders of the suite of which every page takes part."""

import importlib
import pkgutil
from collections.abc import Iterable
from types import ModuleType
from typing import Any

__all__ = ["by_name", "load_pages"]


def load_pages(package: str, path: Iterable[str], *, without: str) -> list[ModuleType]:
    """Import all modules of a package but the one that says what a page holds."""
    names = [found.name for found in pkgutil.iter_modules(path) if found.name != without]
    return [importlib.import_module(f"{package}.{name}") for name in names]


def by_name(pairs: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return a dict of pairs, of which no two may have the same name."""
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise ValueError(f"two pages of the suite have {name!r}: one would hide the other")
        found[name] = value
    return found
