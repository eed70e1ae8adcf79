"""The interface of the rows of `backends.py`: move arrays, and say why a row cannot run."""

import contextlib
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

__all__ = ["Backend", "Unavailable", "host_dtype"]


class Unavailable(Exception):
    """A backend cannot run here; the message is the reason."""


@dataclass(frozen=True)
class Backend:
    """One library on one device in one layout; the methods here suit a NumPy-like library.

    Attributes
    ----------
    id : str
    library : str
        The module to import.
    title : str
        The common name of the library.
    environment : str
        The nox session that runs the row, each with packages of its own.
    packages : tuple of str
        What that session installs.
    dtypes : tuple of str
        The floating types the suite runs in; none for a row without arrays.
    slow : bool
        Whether every operation, or every new shape, takes long, so that fewer problems are tried.
    many_steps : bool
        Whether 512 steps are tried nevertheless.
    pairs : bool
        Whether all pairs of options are tried too.
    one_piece : bool
        Whether time cannot be cut, since the library sees the whole sequence as one computation.
    variant : bool
        Whether the row is another layout, device or setting of a library that has a row with
        more problems.
    every_change : tuple of str
        The test modules that run it on every change, if not all: the session that names it runs
        all.
    shapes_only : bool
        Whether arrays have no values, so that only shapes, dtypes and devices are checked.
    reads : bool
        Whether a value can be read, as training does with the loss.
    gpu : bool
        Whether the row needs a CUDA device.
    needs : str
        What the row needs besides its installed packages.
    proves : str
        What the row shows that others do not; for the README's table.
    """

    id: str
    library: str = "numpy"
    title: str = ""
    environment: str = "numpy"
    packages: tuple[str, ...] = ()
    dtypes: tuple[str, ...] = ("float64", "float32")
    slow: bool = False
    many_steps: bool = True
    pairs: bool = False
    one_piece: bool = False
    variant: bool = False
    every_change: tuple[str, ...] = ()
    shapes_only: bool = False
    reads: bool = True
    gpu: bool = False
    needs: str = ""
    proves: str = ""

    @property
    def xp(self) -> Any:
        """The namespace to make arrays with."""
        return import_module(self.library)

    def put(self, array: Any) -> Any:
        """Move a NumPy array to this backend."""
        return self.xp.asarray(array)

    def get(self, array: Any) -> Any:
        """Copy an array of this backend to NumPy."""
        import numpy as np

        return np.array(array)

    def namespace(self, array: Any) -> Any:
        """Return the namespace that computes with this backend's arrays."""
        from array_api_compat import array_namespace

        return array_namespace(array)

    def device_context(self) -> contextlib.AbstractContextManager[Any]:
        """Return what makes the device of the arrays current, for functions of the library."""
        return contextlib.nullcontext()

    def call(self, function: Callable[..., Any], static: Any, *arrays: Any) -> Any:
        """Return ``function(static, *arrays)``, a dict of arrays; compiled if this backend does."""
        return function(static, *arrays)

    @contextlib.contextmanager
    def session(self) -> Iterator[None]:
        """Apply settings for the duration of one test."""
        yield

    def prepare(self, *, named: bool) -> None:
        """Make ready what must be there before the library is imported; once in each process.

        Parameters
        ----------
        named : bool
            Whether the row was asked for by name.
        """

    def available(self) -> None:
        """Raise Unavailable if the library is installed and its device is missing."""

    def takes(self, model: Any, dtype: str) -> bool:
        """Return whether a model can be run in a dtype; one that cannot must be refused."""
        return True

    def device(self) -> str:
        """Name the device for the report."""
        return "cpu"

    def version(self) -> str:
        """Return the version of the library."""
        package = self.library.split(".")[0].replace("_", "-")
        try:
            return version(package)
        except PackageNotFoundError:
            return str(getattr(sys.modules.get(self.library), "__version__", ""))

    def environ(self, bin_folder: str) -> list[tuple[str, str]]:
        """Return the environment variables to set before Python starts."""
        return []

    def probe(self) -> None:
        """Compute on the device, or raise Unavailable with the reason."""
        try:
            xp = self.xp
        except ModuleNotFoundError as error:
            needs = f"; {self.needs}" if self.needs else ""
            reason = f"{self.library} is not installed ({_line(error)}){needs}"
            raise Unavailable(reason) from error
        except ImportError as error:
            raise Unavailable(f"{self.library} cannot be imported: {_line(error)}") from error
        self.available()
        if self.dtypes:
            self._compute(xp)

    def _compute(self, xp: Any) -> None:
        # A library may import and still lack a driver, a compiler or a dtype.
        import numpy as np

        dtype = self.dtypes[0]
        try:
            with self.session():
                a = self.put(np.asarray([[1.0, 2.0], [3.0, 4.0]], dtype=dtype))
                got = self.get(xp.tanh(xp.matmul(a, a)))
        except Exception as error:
            raise Unavailable(f"{type(error).__name__}: {_line(error)}") from error
        want = np.tanh(np.asarray([[7.0, 10.0], [15.0, 22.0]]))
        if got.dtype != dtype or not (self.shapes_only or np.allclose(got, want, rtol=1e-6)):
            raise Unavailable(f"tanh(a·a) gave {got} of {got.dtype}")


def host_dtype(name: str) -> Any:
    """Return NumPy's dtype of that name; bfloat16 is from ml_dtypes, which must be installed."""
    import numpy as np

    return np.dtype(import_module("ml_dtypes").bfloat16 if name == "bfloat16" else name)


def _line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]
