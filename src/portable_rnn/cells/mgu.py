"""The minimal gated unit."""

from dataclasses import dataclass

from .._arrays.namespace import Array, Namespace
from ..activations import sigmoid, sigmoid_derivative, tanh, tanh_derivative
from .protocol import Residuals, State, StateCotangent

__all__ = ["MGU"]


@dataclass(frozen=True)
class MGU:
    """The minimal gated unit: one gate to forget and to update.

    Gates in the order f, n::

        f = sigmoid(ax_f + ah_f)
        n = tanh(ax_n + f * ah_n)       h' = (1 - f) h + f n

    Zhou et al., arXiv 1603.09420, but with the gate applied after the matrix product, as in `GRU`,
    not before.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(4, 5, cell="mgu")
    >>> model.parameter_shapes["weight_hh_l0"]  # f and n, 5 rows each
    (10, 5)
    """

    gates = 2
    states = 1

    def step(
        self, xp: Namespace, ax: Array, ah: Array, state: State, *own: Array
    ) -> tuple[State, Residuals]:
        """Return the new state; the residuals are h, f, n, and f * ah_n."""
        (h,) = state
        size = h.shape[-1]
        f = sigmoid(xp, ax[:, :size] + ah[:, :size])
        reset = f * ah[:, size:]
        n = tanh(xp, ax[:, size:] + reset)
        return (h + f * (n - h),), (h, f, n, reset)

    def step_vjp(
        self, xp: Namespace, residuals: Residuals, d_state: State, *own: Array
    ) -> tuple[Array, Array, StateCotangent]:
        """Return the cotangents of one step; the gate's is a sum of two."""
        h, f, n, reset = residuals
        (d_h,) = d_state
        d_an = d_h * f * tanh_derivative(xp, n)
        # As in `GRU`, (d_an ah_n) f (1 - f) needs only the product f * ah_n.
        d_af = d_h * (n - h) * sigmoid_derivative(xp, f) + d_an * reset * (1.0 - f)
        d_ax = xp.concat([d_af, d_an], axis=1)
        d_ah = xp.concat([d_af, d_an * f], axis=1)
        return d_ax, d_ah, (d_h * (1.0 - f),)
