"""Where and when a session ran."""

import platform
import subprocess
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

__all__ = ["environment"]

ALWAYS = ("portable-rnn", "numpy", "array-api-compat", "pytest")


def environment(
    libraries: Iterable[str] = (), given: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Return date, commit, platform, Python and the versions of packages of ``libraries``.

    Entries in ``given`` are taken as they are.
    """
    find: dict[str, Callable[[], Any]] = {
        "date": lambda: datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "platform": system,
        "python": lambda: f"{platform.python_implementation()} {platform.python_version()}",
        "packages": lambda: packages(libraries),
    }
    given = given or {}
    return {name: given[name] if name in given else find[name]() for name in find}


def system() -> str:
    """Return operating system, its version and the machine, without what a vendor appends."""
    return f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}"


def commit(file: Path = Path(__file__)) -> str | None:
    """Return the commit of the checkout that tracks ``file``, "-dirty" if it was edited since."""
    git = ["git", "-C", str(file.parent)]
    try:
        # A package installed below some other project's checkout is not of that commit.
        subprocess.run([*git, "ls-files", "--error-unmatch", file.name], **QUIET)
        what = [*git, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
        return subprocess.run(what, **QUIET).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


QUIET: dict[str, Any] = {"check": True, "capture_output": True, "text": True, "timeout": 10}


def packages(libraries):
    """Return the installed version of every distribution that holds one of these modules."""
    holders = metadata.packages_distributions()  # cupy is in cupy-cuda12x, or in cupy-cuda13x
    modules = sorted({library.partition(".")[0] for library in libraries if library})
    found = {}
    for name in (*ALWAYS, *(name for module in modules for name in holders.get(module, ()))):
        try:
            found[name.lower().replace("_", "-")] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found
