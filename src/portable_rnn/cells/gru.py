"""The gated recurrent unit, with the reset gate after the matrix product, and before it."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .._arrays.namespace import Array, Namespace
from .._arrays.signatures import named_options
from ..nonlinearities import Activation, Function, clip, clip_vjp, functions
from .options import checked_activations, checked_bound
from .protocol import Residuals, State, StateCotangent

__all__ = ["GRU", "ResetBeforeGRU"]


@named_options
@dataclass(frozen=True)
class GRU:
    """The gated recurrent unit, reset gate applied after the matrix product.

    Gates in the order r, z, n::

        r = sigmoid(ax_r + ah_r)        z = sigmoid(ax_z + ah_z)
        n = tanh(ax_n + r * ah_n)       h' = (1 - z) n + z h

    Cho et al., arXiv 1406.1078, in the form of cuDNN and ``torch.nn.GRU``, and of ONNX with
    ``linear_before_reset=1``.

    Parameters
    ----------
    activations : tuple of two
        Used instead of sigmoid and tanh; see :mod:`portable_rnn.nonlinearities`.
    clip : float, optional
        Bound of the arguments of these.

    Raises
    ------
    TypeError, ValueError
        If there is no such activation, or ``clip`` is not above 0.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(4, 5, cell="gru")
    >>> model.parameter_shapes["weight_hh_l0"]  # r, z and n, 5 rows each
    (15, 5)
    """

    activations: tuple[Activation, ...] = ("sigmoid", "tanh")
    clip: float | None = None
    gates = 3
    states = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "activations", checked_activations(self.activations, 2))
        object.__setattr__(self, "clip", checked_bound(self.clip))
        found = tuple(map(functions, self.activations))  # once, not at each step
        object.__setattr__(self, "_functions", found)
        object.__setattr__(self, "_logistic", self.activations[0] == "sigmoid")

    if TYPE_CHECKING:
        _functions: ClassVar[tuple[tuple[Function, Function], ...]]
        _logistic: ClassVar[bool]

    def step(
        self, xp: Namespace, ax: Array, ah: Array, state: State, *own: Array
    ) -> tuple[State, Residuals]:
        """Return the new state; the residuals are h, r and z in one array, n, and r * ah_n.

        If r is not a sigmoid, the last one is ah_n.
        """
        (f, _), (g, _) = self._functions
        (h,) = state
        size = h.shape[-1]
        a_rz = ax[:, : 2 * size] + ah[:, : 2 * size]
        inside: Residuals = ()
        if self.clip is not None:
            a_rz, inside = clip(xp, a_rz, self.clip)
        rz = f(xp, a_rz)
        r, z = rz[:, :size], rz[:, size:]
        reset = r * ah[:, 2 * size :]
        a_n = ax[:, 2 * size :] + reset
        if self.clip is not None:
            a_n, inside_n = clip(xp, a_n, self.clip)
            inside = (*inside, *inside_n)
        n = g(xp, a_n)
        kept = reset if self._logistic else ah[:, 2 * size :]
        return (n + z * (h - n),), (h, rz, n, kept, *inside)

    def step_vjp(
        self, xp: Namespace, residuals: Residuals, d_state: State, *own: Array
    ) -> tuple[Array, Array, StateCotangent]:
        """Return the cotangents of one step, gate by gate."""
        (_, f_derivative), (_, g_derivative) = self._functions
        h, rz, n, kept, *inside = residuals
        (d_h,) = d_state
        size = h.shape[-1]
        r, z = rz[:, :size], rz[:, size:]
        d_an = d_h * (1.0 - z) * g_derivative(xp, n)
        if inside:
            d_an = clip_vjp((inside[1],), d_an)
        # d_r sigmoid'(r) = (d_an ah_n) r (1 - r): for a sigmoid, only r * ah_n is kept.
        d_ar = d_an * kept * (1.0 - r if self._logistic else f_derivative(xp, r))
        d_az = d_h * (h - n) * f_derivative(xp, z)
        if inside:
            d_ar = clip_vjp((inside[0][:, :size],), d_ar)
            d_az = clip_vjp((inside[0][:, size:],), d_az)
        d_ax = xp.concat([d_ar, d_az, d_an], axis=1)
        d_ah = xp.concat([d_ar, d_az, d_an * r], axis=1)
        return d_ax, d_ah, (d_h * z,)


@named_options
@dataclass(frozen=True)
class ResetBeforeGRU(GRU):
    """The gated recurrent unit, reset gate applied to the state, before the matrix product.

    Gates in the order r, z, n, with ``v = r * h`` and ``a_n = ax_n + v W_hnᵀ + b_hn``::

        r = sigmoid(ax_r + ah_r)        z = sigmoid(ax_z + ah_z)
        n = tanh(a_n)                   h' = (1 - z) n + z h

    Cho et al., arXiv 1406.1078, as in the paper; same as Keras with ``reset_after=False`` and
    ONNX's default, ``linear_before_reset=0``. At each step the second product depends on the
    first: `GRU` is faster.

    Parameters and errors are those of `GRU`.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(4, 5, cell="reset_before_gru")
    >>> model.parameter_shapes == prnn.RNN(4, 5, cell="gru").parameter_shapes
    True
    """

    second_product = 1

    def before_product(
        self, xp: Namespace, ax: Array, ah: Array, state: State
    ) -> tuple[Array, Residuals]:
        """Return ``v = r * h``, with the reset gate r; the residuals are h and r."""
        (f, _), _ = self._functions
        (h,) = state
        size = h.shape[-1]
        a, inside = clip(xp, ax[:, :size] + ah[:, :size], self.clip)
        r = f(xp, a)
        return r * h, (h, r, *inside)

    def before_product_vjp(
        self, xp: Namespace, residuals: Residuals, d_v: Array
    ) -> tuple[Array, Array, StateCotangent]:
        """Return the cotangents that come through the reset gate."""
        (_, f_derivative), _ = self._functions
        h, r, *inside = residuals
        d_a = clip_vjp(tuple(inside), d_v * h * f_derivative(xp, r))
        zero = xp.zeros_like(d_a)
        d_a = xp.concat([d_a, zero, zero], axis=1)
        return d_a, d_a, (d_v * r,)

    def step(
        self, xp: Namespace, ax: Array, ah: Array, state: State, *own: Array
    ) -> tuple[State, Residuals]:
        """Return the new state; the residuals are h, z and n."""
        (f, _), (g, _) = self._functions
        (h,) = state
        size = h.shape[-1]
        a, inside = clip(xp, ax[:, size:] + ah[:, size:], self.clip)
        z, n = f(xp, a[:, :size]), g(xp, a[:, size:])
        return (n + z * (h - n),), (h, z, n, *inside)

    def step_vjp(
        self, xp: Namespace, residuals: Residuals, d_state: State, *own: Array
    ) -> tuple[Array, Array, StateCotangent]:
        """Return the cotangents of `step`; those of `before_product_vjp` are added to them."""
        (_, f_derivative), (_, g_derivative) = self._functions
        h, z, n, *inside = residuals
        (d_h,) = d_state
        d_az = d_h * (h - n) * f_derivative(xp, z)
        d_an = d_h * (1.0 - z) * g_derivative(xp, n)
        d_zn = clip_vjp(tuple(inside), xp.concat([d_az, d_an], axis=1))
        d_a = xp.concat([xp.zeros_like(h), d_zn], axis=1)
        return d_a, d_a, (d_h * z,)
