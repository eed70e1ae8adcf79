"""The simple recurrent network."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from .._arrays.namespace import Array, Namespace
from .._arrays.signatures import named_options
from ..nonlinearities import Activation, Function, checked, clip, clip_vjp, functions
from .options import checked_bound
from .protocol import Residuals, State, StateCotangent

__all__ = ["Elman"]


@named_options
@dataclass(frozen=True)
class Elman:
    """The simple recurrent network, ``h' = f(ax + ah)``.

    Equations 10.8 and 10.9 of Goodfellow, Bengio, Courville, *Deep Learning* (2016);
    Elman, *Finding structure in time* (1990). Same as ``torch.nn.RNN``, and ONNX's ``RNN``.

    Parameters
    ----------
    nonlinearity : str, or tuple of a str and numbers
        f: tanh, relu, or another of :mod:`portable_rnn.nonlinearities`.
    clip : float, optional
        Bound of ``ax + ah``.

    Raises
    ------
    TypeError, ValueError
        If there is no such nonlinearity, or ``clip`` is not above 0.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> prnn.RNN(4, 5, nonlinearity="relu").cell_object
    Elman(nonlinearity='relu', clip=None)
    """

    nonlinearity: Activation = "tanh"
    clip: float | None = None
    gates = 1
    states = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "nonlinearity", checked("nonlinearity", self.nonlinearity))
        object.__setattr__(self, "clip", checked_bound(self.clip))
        f, slope = functions(self.nonlinearity)  # looked up once, not at each step
        object.__setattr__(self, "_f", f)
        object.__setattr__(self, "_slope", slope)

    if TYPE_CHECKING:
        _f: ClassVar[Function]
        _slope: ClassVar[Function]

    def step(
        self, xp: Namespace, ax: Array, ah: Array, state: State, *own: Array
    ) -> tuple[State, Residuals]:
        """Return the new state, by equation 10.9, and residuals."""
        if self.clip is None:
            h = self._f(xp, ax + ah)
            return (h,), (h,)
        a, inside = clip(xp, ax + ah, self.clip)
        h = self._f(xp, a)
        return (h,), (h, *inside)

    def step_vjp(
        self, xp: Namespace, residuals: Residuals, d_state: State, *own: Array
    ) -> tuple[Array, Array, StateCotangent]:
        """Multiply by the diagonal factor of equations 10.21 to 10.28."""
        h, *inside = residuals
        (d_h,) = d_state
        d_a = d_h * self._slope(xp, h)
        if inside:
            d_a = clip_vjp(tuple(inside), d_a)
        return d_a, d_a, (None,)
