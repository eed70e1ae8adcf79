"""Layer-normalised cells.

A normalisation uses a whole row: it subtracts the row's mean from each entry and divides by the
row's standard deviation. That is not pointwise by unit, but it stays within one sequence and one
step, and needs no matrix of parameters: all matrix products stay in the engine.

Entries of rows of 1024 numbers may be as large as 2e30 in float32 and bfloat16 and 1e165 in
float64, of shorter rows somewhat larger; in float16 as large, and in all dtypes as small, as the
dtype holds. Beyond that, squares are infinite, and the result and its gradient are NaN. (Those of
torch are 0 from about 1e18 on, for rows of 1024 in float32, and NaN far beyond.) Dividing each row
by its largest number first would avoid this, but takes 6 more calls for each normalisation: a
sixth of the time of a small network.

A row of zeros has the deviation sqrt(1e-5), so the gradient with respect to it is 316 times that
with respect to the normalised row. Over steps of such rows the gradient grows by about that factor
at each, and exceeds float16 (65504) after one or two: it is infinite, and results computed from it
are NaN. That is ordinary overflow: scale the loss down, skip steps by ``lengths`` or a ``mask``, or
use bfloat16 or float32.
"""

import math
from dataclasses import dataclass
from typing import Any

from .._arrays.functions import sum_over, to_accumulation_dtype
from .._arrays.namespace import Array, Namespace
from ..activations import sigmoid, sigmoid_derivative, tanh, tanh_derivative
from .protocol import Residuals, State, Vector

__all__ = ["LayerNormElman", "LayerNormLSTM"]

EPSILON = 1e-5  # added to the variance, as torch.nn.LayerNorm does
# A factor before squaring, so that float32 holds the square of 1e30. It cannot be smaller: XLA
# takes squares below 2**-126 for 0, and these must be negligible compared with EPSILON's term.
SMALL = 2.0**-42


@dataclass(frozen=True)
class LayerNormElman:
    """The simple recurrent network, layer-normalised: ``h' = tanh(w norm(ax + ah) + b)``.

    With ``norm(a) = (a - mean(a)) / sqrt(var(a) + 1e-5)`` over the H units. Equation 4 of Ba, Kiros
    and Hinton, arXiv 1607.06450. The gains w are ``weight_norm`` (H), which start from 1, and the
    biases b ``bias_norm`` (H), from 0; ax and ah have no biases.

    With 1024 units, entries of ``ax + ah`` may be as large as 2e30 in float32 and bfloat16, 1e165
    in float64, and any number in float16. Beyond that, results are NaN.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> list(prnn.RNN(4, 5, cell="layer_norm_elman").parameter_shapes)
    ['weight_ih_l0', 'weight_hh_l0', 'weight_norm_l0', 'bias_norm_l0']
    """

    gates = 1
    states = 1
    biased = False
    vectors = (Vector("weight_norm", 1, 1.0), Vector("bias_norm", 1, 0.0))

    def step(
        self, xp: Namespace, ax: Array, ah: Array, state: State, *own: Array
    ) -> tuple[State, Residuals]:
        """Return the new state; the residuals are h and those of the normalisation."""
        w, b = _rows(own)
        a, kept = norm(xp, ax + ah)
        h = tanh(xp, w * a + b)
        return (h,), (h, *kept)

    def step_vjp(
        self, xp: Namespace, residuals: Residuals, d_state: State, *own: Array
    ) -> tuple[Any, ...]:
        """Return the cotangents of one step, and of gains and biases."""
        w, _ = _rows(own)
        h, *kept = residuals
        (d_h,) = d_state
        d_y = d_h * tanh_derivative(xp, h)
        d_a = norm_vjp(xp, kept, d_y * w)
        return d_a, d_a, (None,), d_y * kept[0], d_y


@dataclass(frozen=True)
class LayerNormLSTM:
    """Long short-term memory, layer-normalised, state (h, c).

    Gates in the order i, f, g, o of ``a = w_x norm(ax) + w_h norm(ah) + b``::

        i, f, o = sigmoid(a_i), sigmoid(a_f), sigmoid(a_o)      g = tanh(a_g)
        c' = f c + i g                                          h' = o tanh(w_c norm(c') + b_c)

    Equations 20 to 22 of Ba, Kiros and Hinton, arXiv 1607.06450, with one bias of the gates instead
    of two: ax and ah are normalised over all 4·H entries, c' over H, with 1e-5 added to each
    variance. Parameters: ``weight_norm_ih``, ``weight_norm_hh`` and ``bias_norm`` (4·H),
    ``weight_norm_c`` and ``bias_norm_c`` (H). Gains start from 1, biases from 0; ax and ah have no
    biases.

    With 256 units, entries of ax and ah may be as large as 2e30 in float32 and bfloat16, 1e165 in
    float64, and any number in float16. Beyond that, results are NaN.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(4, 5, cell="layer_norm_lstm")
    >>> model.parameter_shapes["weight_norm_ih_l0"], model.parameter_shapes["bias_norm_c_l0"]
    ((20,), (5,))
    """

    gates = 4
    states = 2
    biased = False
    vectors = (
        Vector("weight_norm_ih", 4, 1.0),
        Vector("weight_norm_hh", 4, 1.0),
        Vector("bias_norm", 4, 0.0),
        Vector("weight_norm_c", 1, 1.0),
        Vector("bias_norm_c", 1, 0.0),
    )

    def step(
        self, xp: Namespace, ax: Array, ah: Array, state: State, *own: Array
    ) -> tuple[State, Residuals]:
        """Return the new state; residuals are the gates, c, and those of the normalisations."""
        w_x, w_h, b, w_c, b_c = _rows(own)
        _, c_before = state
        size = c_before.shape[-1]
        n_x, kept_x = norm(xp, ax)
        n_h, kept_h = norm(xp, ah)
        a = w_x * n_x + w_h * n_h + b
        i_f = sigmoid(xp, a[:, : 2 * size])
        g = tanh(xp, a[:, 2 * size : 3 * size])
        o = sigmoid(xp, a[:, 3 * size :])
        c = i_f[:, size:] * c_before + i_f[:, :size] * g
        n_c, kept_c = norm(xp, c)
        y = tanh(xp, w_c * n_c + b_c)
        return (o * y, c), (i_f, g, o, c_before, y, *kept_x, *kept_h, *kept_c)

    def step_vjp(
        self, xp: Namespace, residuals: Residuals, d_state: State, *own: Array
    ) -> tuple[Any, ...]:
        """Return the cotangents of one step, and of gains and biases."""
        w_x, w_h, _, w_c, _ = _rows(own)
        i_f, g, o, c_before, y, *kept = residuals
        kept_x, kept_h, kept_c = kept[:2], kept[2:4], kept[4:]
        d_h, d_c = d_state
        size = y.shape[-1]
        i, f = i_f[:, :size], i_f[:, size:]
        d_y = d_h * o * tanh_derivative(xp, y)
        d_c = d_c + norm_vjp(xp, kept_c, d_y * w_c)
        d_if = xp.concat([d_c * g, d_c * c_before], axis=1)
        d_a = xp.concat(
            [
                d_if * sigmoid_derivative(xp, i_f),
                d_c * i * tanh_derivative(xp, g),
                d_h * y * sigmoid_derivative(xp, o),
            ],
            axis=1,
        )
        d_own = (d_a * kept_x[0], d_a * kept_h[0], d_a, d_y * kept_c[0], d_y)
        d_ax, d_ah = norm_vjp(xp, kept_x, d_a * w_x), norm_vjp(xp, kept_h, d_a * w_h)
        return d_ax, d_ah, (None, d_c * f), *d_own


def _rows(own: tuple[Array, ...]) -> tuple[Array, ...]:
    """Return vectors as rows (1, N), with as many axes as what they multiply."""
    return tuple(vector[None, :] for vector in own)


def norm(xp: Namespace, a: Array) -> tuple[Array, Residuals]:
    """Normalise the rows of (B, N); the residuals are the result, and 1 over the deviation.

    Half precision is computed in float32, and the second residual stays in it: float16 cannot hold
    300². For how large rows may be, see the docstring of this module.
    """
    dtype, a = a.dtype, to_accumulation_dtype(xp, a)
    centred = a - _mean(xp, a)
    small, size = centred * SMALL, float(a.shape[-1])
    squares = sum_over(xp, small * small, axis=-1, keepdims=True) + size * EPSILON * SMALL**2
    # SMALL / sqrt(squares / size), but NaN for infinite squares: 0 would look like a result.
    scale = xp.sqrt(squares) * (SMALL * math.sqrt(size)) / squares
    normal = xp.astype(centred * scale, dtype, copy=False)
    return normal, (normal, scale)


def norm_vjp(xp: Namespace, residuals: Any, d_normal: Array) -> Array:
    """Return the cotangent of the argument of `norm`."""
    dtype, scale = d_normal.dtype, residuals[1]
    normal, d_normal = to_accumulation_dtype(xp, residuals[0]), to_accumulation_dtype(xp, d_normal)
    d_centred = d_normal - normal * _mean(xp, d_normal * normal)
    return xp.astype(scale * (d_centred - _mean(xp, d_normal)), dtype, copy=False)


def _mean(xp: Namespace, a: Array) -> Array:
    """Return the means of rows, (B, 1)."""
    return sum_over(xp, a, axis=-1, keepdims=True) / float(a.shape[-1])
