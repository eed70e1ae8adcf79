"""A step of training as an ONNX file, which onnxruntime and others run without this library."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from .._arrays import checks as check
from .._arrays.namespace import Array
from .._calls.checks import check_model, check_parameters
from .._executors import choose
from ..api import bptt
from ..losses import softmax_cross_entropy
from ..model import RNN
from ..optimizers import adam, clip_by_global_norm
from ..optimizers.inner import Optimizer, check_optimizer, step_where, taken
from ..serialization import write_atomically
from ..training.names import loss_of, optimizer_of
from .gates import Host, imported, on_host
from .onnx_sizes import PAIRS, Sizes, with_free_sizes

__all__ = ["export_training_step"]

IR_VERSION = 10


@check.named_options
def export_training_step(
    path: str | os.PathLike[str],
    model: RNN,
    params: Mapping[str, Array],
    *,
    optimizer: str | Optimizer = adam,
    loss: Any = softmax_cross_entropy,
    labels: bool = True,
    max_norm: float | None = None,
) -> dict[str, Host]:
    """Write one step of training as an ONNX file: forward, loss, BPTT, clipping and optimizer.

    T and B are free: time is the operator Scan, so that the graph is the same for any number of
    steps. Inputs are ``x``, as for `bptt`, ``targets``, ``lr``, ``step`` (0 at first), and the
    parameters and the optimizer's state, by their names. Outputs are ``loss``, and ``next.step``
    and so on, which are the inputs of the next step.

    Parameters
    ----------
    path : path
        Replaced in one step if it exists.
    model : RNN
        Without dropout and zoneout, whose masks are drawn outside of a graph.
    params : dict of str to array
        Initial values, in float32 or float64, of any library.
    optimizer : str or callable
        As for `train`.
    loss : str or callable
        As for `train`.
    labels : bool
        Whether targets are class indices of int64, (T, B) or (B, T), or (B,) with ``pool``;
        otherwise they have the shape and dtype of outputs.
    max_norm : float, optional
        Clip the gradient to this joint norm.

    Returns
    -------
    dict of str to NumPy array
        The inputs of the first step, besides ``x``, ``targets`` and ``lr``.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or a graph of free sizes cannot be made; the message names it.
        Nothing is then written.
    OSError
        If the file cannot be written; an existing file is unchanged.
    ImportError
        If ndonnx is not installed.

    Examples
    --------
    >>> import tempfile
    >>> import portable_rnn as prnn
    >>> from portable_rnn import interop
    >>> model = prnn.RNN(3, 4, 2, cell="gru")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = f"{folder}/step.onnx"
    ...     first = interop.export_training_step(path, model, model.init(seed=0))
    >>> list(first)[:3]
    ['step', 'weight_ih_l0', 'weight_hh_l0']
    """
    imported("ndonnx")
    path = check.path("path", path)
    check_model(model)
    if not isinstance(model, RNN):
        raise TypeError(f"model: expected an RNN, got {type(model).__name__}")
    check_parameters(model, params)
    for name in ("dropout", "recurrent_dropout", "zoneout"):
        if chance := getattr(model, name):
            raise ValueError(f"model: expected {name}=0.0, for masks are drawn, got {chance}")
    given = {name: on_host(f"params[{name!r}]", params[name]) for name in model.parameter_shapes}
    rule = check_optimizer("optimizer", optimizer_of(optimizer))
    if max_norm is not None:
        max_norm = check.number("max_norm", max_norm, above=0.0)
    step = _Step(model, given, rule, loss_of(loss), check.flag("labels", labels), max_norm)
    first, second = (step.traced(sizes) for sizes in PAIRS)
    onnx = imported("onnx")
    free = with_free_sizes(onnx, first, second, "x", (1, 0) if model.batch_first else (0, 1))
    free.ir_version = IR_VERSION
    free.producer_name = "portable_rnn"
    onnx.checker.check_model(free)
    write_atomically(path, free.SerializeToString())
    return step.first


class _Step:
    """A step of training, to be traced for any sizes."""

    def __init__(
        self,
        model: RNN,
        params: dict[str, Host],
        optimizer: Optimizer,
        loss: Any,
        labels: bool,
        max_norm: float | None,
    ) -> None:
        self.model, self.params, self.optimizer = model, params, optimizer
        self.loss, self.labels, self.max_norm = loss, labels, max_norm
        zeros = {name: np.zeros_like(array) for name, array in params.items()}
        # What a first step leaves; the values have no meaning before it.
        state: list[Host] = []
        self.tree = _taken_apart(taken(optimizer, zeros, zeros, None, 0.1)[1], state)
        self.state = {f"optimizer.{i}": np.zeros_like(array) for i, array in enumerate(state)}
        self.first = {"step": np.asarray(0, np.int64), **params, **self.state}

    def traced(self, sizes: Sizes) -> Any:
        """Return the graph for some sizes."""
        xp, spox = imported("ndonnx"), imported("spox._future")
        model, kind = self.model, next(iter(self.params.values())).dtype
        both = (sizes.batch, sizes.steps) if model.batch_first else tuple(sizes)
        tokens = model.vocabulary_size is not None
        of_targets = both if model.pool is None else (sizes.batch,)

        def argument(shape: tuple[int, ...], dtype: Any) -> Array:
            return xp.argument(shape=shape, dtype=getattr(xp, str(dtype)))

        x = argument(both if tokens else (*both, model.input_size), "int64" if tokens else kind)
        targets = (
            argument(of_targets, "int64")
            if self.labels
            else argument((*of_targets, model.feature_size), kind)
        )
        lr = argument((), kind)
        given = {name: argument(a.shape, a.dtype) for name, a in self.first.items()}
        params = {name: given[name] for name in self.params}
        state = _put_together(self.tree, [given[name] for name in self.state])
        # Constants are folded by NumPy: with onnxruntime, each of them would need a session.
        with spox.value_prop_backend(spox.ValuePropBackend.REFERENCE), choose.use("auto"):
            found = bptt(model, params, x, targets, loss=self.loss, grad_x=False)
            grads = found.grads
            if self.max_norm is not None:
                grads, _ = clip_by_global_norm(grads, self.max_norm)
            every, first = xp.asarray(True), given["step"] == 0
            new, after = step_where(xp, every, first, self.optimizer, params, grads, state, lr)
            leaves: list[Array] = []
            _taken_apart(after, leaves)
            outputs = {"loss": found.loss, "next.step": given["step"] + 1}
            outputs |= {f"next.{name}": array for name, array in new.items()}
            outputs |= {
                f"next.{name}": array for name, array in zip(self.state, leaves, strict=True)
            }
        return xp.build({"x": x, "targets": targets, "lr": lr, **given}, outputs)


def _taken_apart(tree: Any, arrays: list[Any]) -> Any:
    """Return a tree of dicts and tuples with places instead of arrays and numbers."""
    if isinstance(tree, Mapping):
        return {key: _taken_apart(value, arrays) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        parts = [_taken_apart(value, arrays) for value in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    if tree is None:
        return None
    arrays.append(np.asarray(tree) if isinstance(tree, (bool, int, float)) else tree)
    return len(arrays) - 1


def _put_together(tree: Any, arrays: list[Any]) -> Any:
    """Undo `_taken_apart`."""
    if isinstance(tree, Mapping):
        return {key: _put_together(value, arrays) for key, value in tree.items()}
    if isinstance(tree, (tuple, list)):
        parts = [_put_together(value, arrays) for value in tree]
        return type(tree)(*parts) if hasattr(tree, "_fields") else type(tree)(parts)
    return None if tree is None else arrays[tree]
