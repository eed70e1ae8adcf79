"""Recurrent cells: pointwise maps, each ``step`` beside its ``step_vjp``.

A cell never multiplies matrices and knows nothing of time. It is given the two projections
of one step, ``ax = x W_ihᵀ + b_ih`` and ``ah = h W_hhᵀ + b_hh``, both (B, gates·H), and the
state it starts from, a tuple of arrays (B, H) whose first entry is the hidden state ``h``.

- ``step(xp, ax, ah, state) -> state, residuals``: one step. ``residuals`` is a tuple of arrays, all
  that the derivative will need.
- ``step_vjp(xp, residuals, d_state) -> d_ax, d_ah, d_state_before``: the cotangent of the new state
  turned into those of ``ax``, ``ah`` and the old state. The first entry of ``d_state_before`` is
  None if ``h`` acts through ``ah`` alone. A cell that sees only the sum ``ax + ah`` returns one
  array twice, and the engine then does the work once.

Gate order, names and formulas are those of ``torch.nn.RNN``, ``GRU`` and ``LSTM`` (and cuDNN's).
"""

from dataclasses import dataclass
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from . import activations
from ._namespace import Array, Namespace
from .activations import sigmoid, sigmoid_derivative, tanh, tanh_derivative

__all__ = ["CELLS", "GRU", "LSTM", "Cell", "Elman"]

State: TypeAlias = tuple[Array, ...]
Residuals: TypeAlias = tuple[Array, ...]
StateCotangent: TypeAlias = tuple[Array | None, ...]


@runtime_checkable
class Cell(Protocol):
    """What the engine asks of a cell. Cells must be hashable: frozen dataclasses are.

    Examples
    --------
    A cell without gates or weights of its own, ``h' = (ax + ah) / 2``:

    >>> from dataclasses import dataclass
    >>> import portable_rnn as prnn
    >>> @dataclass(frozen=True)
    ... class Average:
    ...     gates = 1
    ...     states = 1
    ...
    ...     def step(self, xp, ax, ah, state):
    ...         return (0.5 * (ax + ah),), ()
    ...
    ...     def step_vjp(self, xp, residuals, d_state):
    ...         d_a = 0.5 * d_state[0]
    ...         return d_a, d_a, (None,)
    >>> isinstance(Average(), prnn.cells.Cell)
    True
    >>> prnn.RNN(input_size=3, hidden_size=4, cell=Average()).parameter_shapes["weight_ih_l0"]
    (4, 3)
    """

    @property
    def gates(self) -> int:
        """Rows of the weights, in units of the hidden size."""

    @property
    def states(self) -> int:
        """Number of state arrays (B, H); the first is the hidden state."""

    def step(self, xp: Namespace, ax: Array, ah: Array, state: State) -> tuple[State, Residuals]:
        """Advance the state by one step."""

    def step_vjp(
        self, xp: Namespace, residuals: Residuals, d_state: State
    ) -> tuple[Array, Array, StateCotangent]:
        """Pull the cotangent of the new state back through one step."""


@dataclass(frozen=True)
class Elman:
    """The simple recurrent network, ``h' = f(ax + ah)`` with f tanh or relu.

    Equations 10.8 and 10.9 of Goodfellow, Bengio, Courville, *Deep Learning* (2016);
    Elman, *Finding structure in time* (1990). Same as ``torch.nn.RNN``.

    Parameters
    ----------
    nonlinearity : {"tanh", "relu"}

    Raises
    ------
    ValueError
        If ``nonlinearity`` is neither.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> prnn.RNN(4, 5, nonlinearity="relu").cell_object
    Elman(nonlinearity='relu')
    """

    nonlinearity: Literal["tanh", "relu"] = "tanh"
    gates = 1
    states = 1

    def __post_init__(self) -> None:
        if self.nonlinearity not in ("tanh", "relu"):
            raise ValueError(f"nonlinearity: expected 'tanh' or 'relu', got {self.nonlinearity!r}")

    def step(self, xp: Namespace, ax: Array, ah: Array, state: State) -> tuple[State, Residuals]:
        """Equation 10.9."""
        f = activations.tanh if self.nonlinearity == "tanh" else activations.relu
        h = f(xp, ax + ah)
        return (h,), (h,)

    def step_vjp(
        self, xp: Namespace, residuals: Residuals, d_state: State
    ) -> tuple[Array, Array, StateCotangent]:
        """The diagonal factor of equations 10.21 to 10.28."""
        (h,) = residuals
        (d_h,) = d_state
        f_derivative = (
            activations.tanh_derivative
            if self.nonlinearity == "tanh"
            else activations.relu_derivative
        )
        d_a = d_h * f_derivative(xp, h)
        return d_a, d_a, (None,)


@dataclass(frozen=True)
class GRU:
    """The gated recurrent unit, reset gate applied after the matrix product.

    Gates in the order r, z, n::

        r = sigmoid(ax_r + ah_r)        z = sigmoid(ax_z + ah_z)
        n = tanh(ax_n + r * ah_n)       h' = (1 - z) n + z h

    Cho et al., arXiv 1406.1078, in the form of cuDNN and ``torch.nn.GRU``.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(4, 5, cell="gru")
    >>> model.cell_object, model.parameter_shapes["weight_hh_l0"]  # r, z and n, 5 rows each
    (GRU(), (15, 5))
    """

    gates = 3
    states = 1

    def step(self, xp: Namespace, ax: Array, ah: Array, state: State) -> tuple[State, Residuals]:
        """One step; the residuals are h, r and z side by side, n, and r * ah_n."""
        (h,) = state
        size = h.shape[-1]
        rz = sigmoid(xp, ax[:, : 2 * size] + ah[:, : 2 * size])
        r, z = rz[:, :size], rz[:, size:]
        reset = r * ah[:, 2 * size :]
        n = tanh(xp, ax[:, 2 * size :] + reset)
        return (n + z * (h - n),), (h, rz, n, reset)

    def step_vjp(
        self, xp: Namespace, residuals: Residuals, d_state: State
    ) -> tuple[Array, Array, StateCotangent]:
        """Cotangents of one step, gate by gate."""
        h, rz, n, reset = residuals
        (d_h,) = d_state
        size = h.shape[-1]
        r, z = rz[:, :size], rz[:, size:]
        d_an = d_h * (1.0 - z) * tanh_derivative(xp, n)
        # d_r sigmoid'(r) = (d_an ah_n) r (1 - r): the product r * ah_n is all that was kept.
        d_ar = d_an * reset * (1.0 - r)
        d_az = d_h * (h - n) * sigmoid_derivative(xp, z)
        d_ax = xp.concat([d_ar, d_az, d_an], axis=1)
        d_ah = xp.concat([d_ar, d_az, d_an * r], axis=1)
        return d_ax, d_ah, (d_h * z,)


@dataclass(frozen=True)
class LSTM:
    """Long short-term memory with a forget gate, state (h, c).

    Gates in the order i, f, g, o of ``a = ax + ah``::

        i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o)      g = tanh(a_g)
        c' = f c + i g                                          h' = o tanh(c')

    Hochreiter and Schmidhuber (1997); Gers et al. (2000). Same as ``torch.nn.LSTM``.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(4, 5, cell="lstm")
    >>> model.cell_object, model.parameter_shapes["weight_hh_l0"]  # i, f, g and o, 5 rows each
    (LSTM(), (20, 5))
    """

    gates = 4
    states = 2

    def step(self, xp: Namespace, ax: Array, ah: Array, state: State) -> tuple[State, Residuals]:
        """One step; the residuals are (i, f) side by side, g, o, c and c'."""
        _, c_before = state
        size = c_before.shape[-1]
        a = ax + ah
        i_f = sigmoid(xp, a[:, : 2 * size])
        g = tanh(xp, a[:, 2 * size : 3 * size])
        o = sigmoid(xp, a[:, 3 * size :])
        c = i_f[:, size:] * c_before + i_f[:, :size] * g
        return (o * xp.tanh(c), c), (i_f, g, o, c_before, c)

    def step_vjp(
        self, xp: Namespace, residuals: Residuals, d_state: State
    ) -> tuple[Array, Array, StateCotangent]:
        """Cotangents of one step; tanh(c') is recomputed rather than stored."""
        i_f, g, o, c_before, c = residuals
        d_h, d_c = d_state
        size = c.shape[-1]
        i, f = i_f[:, :size], i_f[:, size:]
        tanh_c = xp.tanh(c)
        d_c = d_c + d_h * o * tanh_derivative(xp, tanh_c)
        d_if = xp.concat([d_c * g, d_c * c_before], axis=1)
        d_a = xp.concat(
            [
                d_if * sigmoid_derivative(xp, i_f),
                d_c * i * tanh_derivative(xp, g),
                d_h * tanh_c * sigmoid_derivative(xp, o),
            ],
            axis=1,
        )
        return d_a, d_a, (None, d_c * f)


CELLS: dict[str, type[Elman] | type[GRU] | type[LSTM]] = {
    "elman": Elman,
    "gru": GRU,
    "lstm": LSTM,
}
"""The cells that `RNN` knows by name."""
