"""Every quantity of the derivation as this library computes it, on any array library.

Nothing is computed here that the library does not compute for every user. A cell that passes every
call on to the real one records what happens inside `portable_rnn.bptt`, and the terms of single
steps come from sequences of one step. Only Q1 to Q3, which are about a way that the library does
not take, are computed from its ŷ here.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .._arrays import checks as check
from .._arrays.host import check_device, find_dtype, from_host, to_host
from .._arrays.namespace import Array, Namespace, device_of, namespace_of, resolve_namespace
from .._executors.choose import use
from ..api import backward, bptt, forward
from ..cells import Elman, Residuals, State, StateCotangent
from ..losses import one_hot, softmax_cross_entropy
from ..losses.classification import log_softmax
from ..model import RNN
from . import arguments
from .equations import Quantities
from .exact import Progress, ignore
from .example import Example

__all__ = ["compute"]


@dataclass(frozen=True)
class _Witness:
    """An Elman cell that records what passes through it, in order."""

    seen: dict[str, list[Any]] = field(compare=False)  # kept out of the hash
    gates = 1
    states = 1

    def step(self, xp: Namespace, ax: Array, ah: Array, state: State) -> tuple[State, Residuals]:
        state, residuals = Elman().step(_Tanh(xp, self.seen["a"]), ax, ah, state)
        self.seen["h"].append(state[0])
        return state, residuals

    def step_vjp(
        self, xp: Namespace, residuals: Residuals, d_state: State
    ) -> tuple[Array, Array, StateCotangent]:
        self.seen["d_h"].append(d_state[0])
        return Elman().step_vjp(xp, residuals, d_state)


class _Tanh:
    """A namespace that records the arguments of tanh."""

    def __init__(self, xp: Namespace, asked: list[Any]) -> None:
        self._xp, self._asked = xp, asked

    def __getattr__(self, name: str) -> Any:
        return getattr(self._xp, name)

    def tanh(self, a: Array) -> Array:
        self._asked.append(a)
        return self._xp.tanh(a)


@check.named_options
def compute(
    example: Example,
    xp: Namespace = None,
    dtype: str = "float64",
    device: Any = None,
    *,
    progress: Progress | None = None,
) -> Quantities:
    """Run the library on an example, and collect every quantity of the equations.

    Parameters
    ----------
    example : Example
    xp : module, optional
        Such as ``numpy`` (the default), ``torch``, ``jax.numpy`` or ``cupy``.
    dtype : str
        A real floating type of that library, by name. Numbers that it does not hold are rounded to
        it; to compare, round them first: `Example.rounded`.
    device : optional
        In the library's notation.
    progress : callable, optional
        Called T times during the computation, as ``progress(done, total)``.

    Returns
    -------
    Quantities
        Of nested lists of floats.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type, or the library does not have the dtype or the device.

    Examples
    --------
    >>> from portable_rnn import book
    >>> found = book.compute(book.draw(steps=7))
    >>> len(found.d_h), len(found.d_h[0])
    (7, 5)
    """
    arguments.instance("example", example, Example)
    arguments.progress(progress)
    xp = resolve_namespace(np if xp is None else xp)
    if xp.isdtype(find_dtype(xp, dtype), "complex floating"):
        raise TypeError(f"dtype: expected a real floating type, got {check.said(dtype)}")
    check_device(xp, device)
    # Overflow is visible in the result; the eager executor calls the cell that records.
    with np.errstate(all="ignore"), use("eager"):
        return _Run(example, xp, dtype, device).quantities(progress or ignore)


class _Run:
    """A run of the library on one example."""

    def __init__(self, example: Example, xp: Namespace, dtype: str, device: Any) -> None:
        e = {
            letter: from_host(np.asarray(numbers), xp, dtype, device)
            for letter, numbers in vars(example).items()
        }
        self.x, self.y, self.h0, self.V = e["x"], e["y"], e["h0"], e["V"]
        self.xp = namespace_of(x=self.x)
        self.params = {
            "weight_ih_l0": e["U"],
            "weight_hh_l0": e["W"],
            "bias_ih_l0": e["b"],
            "bias_hh_l0": self.xp.zeros_like(e["b"]),  # torch has b in two parts, the book in one
            "readout.weight": e["V"],
            "readout.bias": e["c"],
        }
        self.seen: dict[str, list[Any]] = {"a": [], "h": [], "d_h": []}
        sizes = (self.x.shape[1], self.h0.shape[0], self.y.shape[1])
        self.model = RNN(*sizes, cell=_Witness(self.seen))

    def quantities(self, progress: Progress) -> Quantities:
        whole = bptt(
            self.model, self.params, self.x, self.y, state=self.h0[None, :], reduction="sum"
        )
        # Copies, since the single steps below are recorded too.
        a, h, d_h = list(self.seen["a"]), list(self.seen["h"]), self.seen["d_h"][::-1]
        steps = len(h)
        before = [self.h0[None, :], *h[:-1]]
        _, d_o = self._loss(whole.outputs, self.y)
        log_y_hat = log_softmax(self.xp, whole.outputs)
        log_p = [self.xp.sum(self.y[t, :] * log_y_hat[t, :]) for t in range(steps)]
        alone = []
        for t in range(steps):
            progress(t, steps)
            alone.append(self._step(t, before[t], d_h[t], d_o[t : t + 1, :]))
        from_later = [terms["state"][0, :] for terms in alone[1:]]
        y_hat = self.xp.exp(log_y_hat)
        matrix, jacobian, by_way = zip(
            *(self._through_y_hat(y_hat[t, :], self.y[t, :]) for t in range(steps)), strict=True
        )
        found = Quantities(
            a=[row[0, :] for row in a],
            h=[row[0, :] for row in h],
            o=whole.outputs,
            y_hat=y_hat,
            loss=whole.loss,
            loss_t=[
                self._loss(whole.outputs[t : t + 1, :], self.y[t : t + 1, :])[0]
                for t in range(steps)
            ],
            log_p=log_p,
            log_joint=-self._loss(whole.outputs[:2, :], self.y[:2, :])[0],
            d_loss_t=self._weights(whole.outputs, y_hat),
            d_o=d_o,
            d_h=[row[0, :] for row in d_h],
            from_later=[*from_later, self.xp.zeros_like(self.h0)],
            from_output=[terms["from_output"][0, :] for terms in alone],
            d_c=whole.grads["readout.bias"],
            d_b=whole.grads["bias_ih_l0"],
            d_V=whole.grads["readout.weight"],
            d_W_t=[terms["W"] for terms in alone],
            d_W=whole.grads["weight_hh_l0"],
            d_U_t=[terms["U"] for terms in alone],
            d_U=whole.grads["weight_ih_l0"],
            d_y_hat=-self.y / y_hat,
            jacobian=list(jacobian),
            matrix_times_y=list(matrix),
            by_way_of_y_hat=list(by_way),
        )
        return Quantities(*map(_numbers, found))

    def _loss(self, outputs: Array, y: Array) -> tuple[Array, Array]:
        return softmax_cross_entropy(outputs, y, reduction="sum")

    def _weights(self, outputs: Array, y_hat: Array) -> Array:
        """Return how often each L(t) is counted in the loss of the sequence.

        That is the gradient of the loss with respect to an output, divided by the gradient of L(t).
        With the least likely class as the target, the latter is ŷ - 1, which is at most -1/2.
        """
        xp, size = self.xp, self.y.shape[1]
        least = one_hot(xp, xp.argmin(y_hat, axis=1), size, y_hat.dtype)
        _, d_o = self._loss(outputs, least)
        return xp.sum(least * d_o, axis=1) / (xp.sum(least * y_hat, axis=1) - 1.0)

    def _step(self, t: int, before: Array, d_h: Array, d_o: Array) -> dict[str, Array]:
        """Pull cotangents back through step ``t`` only, first that of h(t), then that of o(t)."""
        ran = forward(self.model, self.params, self.x[t : t + 1, :], before)
        by_state = backward(self.model, self.params, ran.tape, d_state=d_h)
        self.seen["d_h"].clear()
        backward(self.model, self.params, ran.tape, d_outputs=d_o)
        return {
            "state": by_state.state,
            "W": by_state.params["weight_hh_l0"],
            "U": by_state.params["weight_ih_l0"],
            "from_output": self.seen["d_h"][0],
        }

    def _through_y_hat(self, y_hat: Array, y: Array) -> tuple[Array, Array, Array]:
        """Return Q1, Q2 and Q3 of one step: matrix times y, ∂ŷ/∂h, and the sum through ŷ."""
        xp, size = self.xp, y.shape[0]
        labels = xp.arange(size, dtype=xp.int32, device=device_of(y))
        identity = one_hot(xp, labels, size, y.dtype)
        columns = y_hat[:, None] * xp.ones_like(identity)  # ŷ 1ᵀ
        jacobian = xp.matmul(identity * columns - y_hat[:, None] * y_hat[None, :], self.V)
        by_way = xp.matmul((-y / y_hat)[None, :], jacobian)[0, :]
        return xp.matmul(columns - identity, y[:, None])[:, 0], jacobian, by_way


def _numbers(tree: Any) -> Any:
    """Convert arrays in nested lists to Python floats."""
    return [_numbers(branch) for branch in tree] if isinstance(tree, list) else _floats(tree)


def _floats(array: Array) -> Any:
    return to_host(array).astype(np.float64).tolist()
