"""Long short-term memory, with optional peepholes and coupled gates."""

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from .._arrays.namespace import Array, Namespace
from .._arrays.scalars import flag
from .._arrays.signatures import named_options
from ..nonlinearities import Activation, Function, clip, clip_vjp, functions
from .options import checked_activations, checked_bound
from .protocol import Residuals, State, Vector

__all__ = ["LSTM"]


@named_options
@dataclass(frozen=True)
class LSTM:
    """Long short-term memory with a forget gate, state (h, c).

    Gates in the order i, f, g, o of ``a = ax + ah``::

        i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o)      g = tanh(a_g)
        c' = f c + i g                                          h' = o tanh(c')

    Hochreiter and Schmidhuber (1997); Gers et al. (2000). Same as ``torch.nn.LSTM``, and with
    options as ONNX's ``LSTM``.

    Parameters
    ----------
    peepholes : bool
        Whether gates see the cell state: ``p_i c`` is added to ``a_i``, ``p_f c`` to ``a_f`` and
        ``p_o c'``, with the new one, to ``a_o``, unit by unit (Gers and Schmidhuber, 2000). The
        parameter ``weight_peephole`` holds p_i, p_f and p_o; ONNX's ``P`` has i, o, f.
    coupled : bool
        Whether ``f = 1 - i`` instead of a gate (CIFG of Greff et al., arXiv 1503.04069; ONNX's
        ``input_forget``). Gates are then i, g, o, and peepholes p_i, p_o.
    activations : tuple of three
        Used instead of sigmoid, the tanh of g, and the tanh of c'; see
        :mod:`portable_rnn.nonlinearities`.
    clip : float, optional
        Bound of the arguments of sigmoid and the tanh of g, peepholes included; not of c'.

    Raises
    ------
    TypeError, ValueError
        If an option has the wrong type or value; the message names it.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> prnn.RNN(4, 5, cell="lstm").parameter_shapes["weight_hh_l0"]  # i, f, g and o, 5 rows each
    (20, 5)
    >>> model = prnn.RNN(4, 5, cell=prnn.cells.LSTM(peepholes=True, coupled=True))
    >>> model.parameter_shapes["weight_hh_l0"], model.parameter_shapes["weight_peephole_l0"]
    ((15, 5), (10,))
    """

    peepholes: bool = False
    coupled: bool = False
    activations: tuple[Activation, ...] = ("sigmoid", "tanh", "tanh")
    clip: float | None = None
    states = 2

    def __post_init__(self) -> None:
        object.__setattr__(self, "peepholes", flag("peepholes", self.peepholes))
        object.__setattr__(self, "coupled", flag("coupled", self.coupled))
        object.__setattr__(self, "activations", checked_activations(self.activations, 3))
        object.__setattr__(self, "clip", checked_bound(self.clip))
        found = tuple(map(functions, self.activations))  # once, not at each step
        object.__setattr__(self, "_functions", found)
        object.__setattr__(self, "gates", 3 if self.coupled else 4)

    if TYPE_CHECKING:
        gates: ClassVar[int]
        _functions: ClassVar[tuple[tuple[Function, Function], ...]]

    @cached_property
    def vectors(self) -> tuple[Vector, ...]:
        """The peepholes, if there are any."""
        return (Vector("weight_peephole", self.gates - 1),) if self.peepholes else ()

    def step(
        self, xp: Namespace, ax: Array, ah: Array, state: State, *own: Array
    ) -> tuple[State, Residuals]:
        """Return the new state; the residuals are i and f in one array, g, o, c and c'."""
        (sigma, _), (tanh_g, _), (tanh_c, _) = self._functions
        _, c_before = state
        size = c_before.shape[-1]
        split = (self.gates - 2) * size
        a = ax + ah
        a_if, a_g, a_o = a[:, :split], a[:, split : split + size], a[:, split + size :]
        if own:
            p = own[0][None, :]
            a_if = a_if + p[:, :split] * self._both(xp, c_before)
        inside: Residuals = ()
        if self.clip is not None:
            (a_if, kept_if), (a_g, kept_g) = clip(xp, a_if, self.clip), clip(xp, a_g, self.clip)
            inside = (*kept_if, *kept_g)
        i_f = sigma(xp, a_if)
        g = tanh_g(xp, a_g)
        i = i_f[:, :size]
        f = 1.0 - i if self.coupled else i_f[:, size:]
        c = f * c_before + i * g
        if own:
            a_o = a_o + p[:, split:] * c
        if self.clip is not None:
            a_o, kept_o = clip(xp, a_o, self.clip)
            inside = (*inside, *kept_o)
        o = sigma(xp, a_o)
        return (o * tanh_c(xp, c), c), (i_f, g, o, c_before, c, *inside)

    def step_vjp(
        self, xp: Namespace, residuals: Residuals, d_state: State, *own: Array
    ) -> tuple[Any, ...]:
        """Return the cotangents of one step; tanh(c') is recomputed rather than stored."""
        (_, sigma_d), (_, tanh_g_d), (tanh_c, tanh_c_d) = self._functions
        i_f, g, o, c_before, c, *inside = residuals
        d_h, d_c = d_state
        size = c.shape[-1]
        i = i_f[:, :size]
        f = 1.0 - i if self.coupled else i_f[:, size:]
        squashed = tanh_c(xp, c)
        d_ao = d_h * squashed * sigma_d(xp, o)
        if inside:
            d_ao = clip_vjp((inside[2],), d_ao)
        d_c = d_c + d_h * o * tanh_c_d(xp, squashed)
        if own:
            p = own[0][None, :]
            split = (self.gates - 2) * size
            d_c = d_c + d_ao * p[:, split:]
        if self.coupled:
            d_if = d_c * (g - c_before)
        else:
            d_if = xp.concat([d_c * g, d_c * c_before], axis=1)
        d_aif, d_ag = d_if * sigma_d(xp, i_f), d_c * i * tanh_g_d(xp, g)
        if inside:
            d_aif, d_ag = clip_vjp((inside[0],), d_aif), clip_vjp((inside[1],), d_ag)
        d_a = xp.concat([d_aif, d_ag, d_ao], axis=1)
        d_c_before = d_c * f
        if not own:
            return d_a, d_a, (None, d_c_before)
        seen = d_aif * p[:, :split]
        d_c_before = d_c_before + seen[:, :size]
        if not self.coupled:
            d_c_before = d_c_before + seen[:, size:]
        d_p = xp.concat([d_aif * self._both(xp, c_before), d_ao * c], axis=1)
        return d_a, d_a, (None, d_c_before), d_p

    def _both(self, xp: Namespace, c: Array) -> Array:
        """Return c for each gate that uses it: i and f, or only i."""
        return c if self.coupled else xp.concat([c, c], axis=1)
