"""The libraries that defer computation: compiled JAX, Dask's lazy arrays, ndonnx's graphs."""

import contextlib
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from typing import Any

from .backend import Backend

__all__ = ["Dask", "Jax", "Ndonnx"]


@dataclass(frozen=True)
class Jax(Backend):
    library: str = "jax.numpy"
    title: str = "JAX arrays"
    environment: str = "jax"
    packages: tuple[str, ...] = ("jax>=0.6",)
    slow: bool = True
    many_steps: bool = False
    one_piece: bool = True
    jit: bool = False
    x64: bool = True

    def call(self, function, static, *arrays):
        return (_jitted(function) if self.jit else function)(static, *arrays)

    @contextlib.contextmanager
    def session(self):
        jax = import_module("jax")
        with jax.enable_x64(self.x64), jax.default_matmul_precision("highest"):
            yield

    def device(self):
        return str(import_module("jax").devices()[0])


@lru_cache
def _jitted(function):
    return import_module("jax").jit(function, static_argnums=0)


@dataclass(frozen=True)
class Dask(Backend):
    """Two chunks along the batch; a compute inside the call is an error."""

    library: str = "dask.array"
    title: str = "Dask arrays"
    environment: str = "dask"
    packages: tuple[str, ...] = ("dask[array]>=2025.1",)
    slow: bool = True
    many_steps: bool = False
    one_piece: bool = True

    def put(self, array):
        halves = tuple(
            (size - size // 2, size // 2) if axis == 1 and array.ndim == 3 and size > 1 else size
            for axis, size in enumerate(array.shape)
        )
        return self.xp.from_array(array, chunks=halves)

    def get(self, array):
        return super().get(array.compute(scheduler="synchronous"))

    def call(self, function, static, *arrays):
        def refuse(*args, **kwargs):
            raise AssertionError("a value was computed inside the call")

        dask = import_module("dask")
        with dask.config.set(scheduler=refuse):
            found = function(static, *arrays)
        # All at once: each alone would start again from the first step.
        computed = dask.persist(*found.values(), scheduler="synchronous")
        return dict(zip(found, computed, strict=True))


@dataclass(frozen=True)
class Ndonnx(Backend):
    """Traced into an ONNX graph without values, which onnxruntime then runs."""

    library: str = "ndonnx"
    title: str = "ndonnx, traced to ONNX"
    environment: str = "ndonnx"
    packages: tuple[str, ...] = ("ndonnx>=0.17", "onnxruntime>=1.20")
    slow: bool = True
    many_steps: bool = False
    one_piece: bool = True
    reads: bool = False
    executor: str = "eager"

    def get(self, array):
        return array.unwrap_numpy().copy()

    def call(self, function, static, *arrays):
        # Building takes seconds, so graphs are cached by shapes and dtypes.
        like = repr(_mapped(lambda array: (tuple(array.shape), str(array.dtype)), arrays))
        key = (self.executor, function, static, like)
        if key not in _GRAPHS:
            _GRAPHS[key] = self.build(function, static, arrays)
        run, used, names = _GRAPHS[key]
        feeds = {f"in{i}": array.unwrap_numpy() for i, array in enumerate(_flat(arrays))}
        results = run(None, {name: feeds[name] for name in used})
        return {name: self.xp.asarray(array) for name, array in zip(names, results, strict=True)}

    def build(self, function, static, arrays):
        """Trace ``function``; return a call of its graph, and the names of inputs and results."""

        def argument(array):
            return self.xp.argument(shape=tuple(array.shape), dtype=array.dtype)

        arguments = tuple(_mapped(argument, tree) for tree in arrays)
        # Constants are folded while the graph is built. With onnxruntime, ndonnx's default, each of
        # them needs a session, and most are shapes for a special case of `matmul`.
        spox = import_module("spox._future")
        folding = spox.value_prop_backend(spox.ValuePropBackend.REFERENCE)
        with folding, import_module("portable_rnn").executors.use(self.executor):
            found = function(static, *arguments)
        inputs = {f"in{i}": array for i, array in enumerate(_flat(arguments))}
        outputs = {f"out{i}": array for i, array in enumerate(found.values())}
        graph = self.xp.build(inputs, outputs).SerializeToString()
        session = import_module("onnxruntime").InferenceSession(graph)
        used = [node.name for node in session.get_inputs()]
        assert [node.name for node in session.get_outputs()] == list(outputs)
        return session.run, used, tuple(found)


_GRAPHS: dict[Any, Any] = {}


def _mapped(f, tree):
    if tree is None:
        return None
    if isinstance(tree, dict):
        return {name: _mapped(f, value) for name, value in tree.items()}
    if isinstance(tree, tuple):
        parts = [_mapped(f, value) for value in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    return f(tree)


def _flat(tree):
    found: list[Any] = []
    _mapped(found.append, tree)
    return found
