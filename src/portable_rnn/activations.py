"""Pointwise nonlinearities: each value, and below it the derivative from that value.

The derivatives take the *value* of the function, not its argument, because the value is what
the forward pass already holds (``tanh' = 1 - tanh**2``). All of them are analytic, or piecewise
so on the real part: the same lines run at complex128 for complex-step checks.

Cells name them: ``"tanh"``, or ``("elu", 0.5)`` with the numbers alpha and beta that a function
has. These are the activation functions of ONNX's recurrent operators, with its defaults.
"""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, TypeAlias

from ._namespace import Array, Namespace

__all__ = [
    "NAMES",
    "Activation",
    "affine",
    "affine_derivative",
    "checked",
    "clip",
    "clip_vjp",
    "elu",
    "elu_derivative",
    "functions",
    "hard_sigmoid",
    "hard_sigmoid_derivative",
    "leaky_relu",
    "leaky_relu_derivative",
    "relu",
    "relu_derivative",
    "scaled_tanh",
    "scaled_tanh_derivative",
    "sigmoid",
    "sigmoid_derivative",
    "softplus",
    "softplus_derivative",
    "softsign",
    "softsign_derivative",
    "tanh",
    "tanh_derivative",
    "thresholded_relu",
    "thresholded_relu_derivative",
]

Activation: TypeAlias = str | tuple[str | float, ...]
Function: TypeAlias = Callable[..., Array]


def tanh(xp: Namespace, a: Array) -> Array:
    """Return ``tanh(a)`` (equation 10.9 of Goodfellow, Bengio, Courville 2016).

    Parameters
    ----------
    xp : module
        The namespace of ``a``.
    a : floating array, any shape

    Returns
    -------
    array, shape and dtype of ``a``

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.activations import tanh
    >>> print(tanh(np, np.asarray([-1.0, 0.0, 1.0])).round(4))
    [-0.7616  0.      0.7616]
    """
    return xp.tanh(a)


def tanh_derivative(xp: Namespace, h: Array) -> Array:
    """Return ``1 - h**2``, the diagonal of equation 10.21, for ``h = tanh(a)``.

    Parameters
    ----------
    xp : module
        The namespace of ``h``.
    h : floating array, any shape
        The value of `tanh`.

    Returns
    -------
    array, shape and dtype of ``h``

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.activations import tanh_derivative
    >>> print(tanh_derivative(np, np.asarray([-0.5, 0.0, 1.0])))
    [0.75 1.   0.  ]
    """
    return 1.0 - h * h


def sigmoid(xp: Namespace, a: Array) -> Array:
    """Return the logistic function of ``a`` as ``(1 + tanh(a/2)) / 2``.

    This form cannot overflow, needs no branch, and is accurate to an ulp of 1.

    Parameters
    ----------
    xp : module
        The namespace of ``a``.
    a : floating array, any shape

    Returns
    -------
    array, shape and dtype of ``a``

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.activations import sigmoid
    >>> print(sigmoid(np, np.asarray([-1000.0, 0.0, 1.0])).round(4))
    [0.     0.5    0.7311]
    """
    return 0.5 * xp.tanh(0.5 * a) + 0.5


def sigmoid_derivative(xp: Namespace, s: Array) -> Array:
    """Return ``s (1 - s)`` for ``s = sigmoid(a)``.

    Parameters
    ----------
    xp : module
        The namespace of ``s``.
    s : floating array, any shape
        The value of `sigmoid`.

    Returns
    -------
    array, shape and dtype of ``s``

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.activations import sigmoid_derivative
    >>> print(sigmoid_derivative(np, np.asarray([0.0, 0.5, 0.75])))
    [0.     0.25   0.1875]
    """
    return s * (1.0 - s)


def relu(xp: Namespace, a: Array) -> Array:
    """Return ``max(a, 0)``.

    Parameters
    ----------
    xp : module
        The namespace of ``a``.
    a : floating array, any shape
        Of a complex one the real part decides.

    Returns
    -------
    array, shape and dtype of ``a``

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.activations import relu
    >>> print(relu(np, np.asarray([1.0, 0.0, 2.0])))
    [1. 0. 2.]
    """
    return a * _is_positive(xp, a)


def relu_derivative(xp: Namespace, h: Array) -> Array:
    """Return 1 where ``h > 0`` and 0 elsewhere (0 at the kink, as torch has it).

    Parameters
    ----------
    xp : module
        The namespace of ``h``.
    h : floating array, any shape
        The value of `relu`.

    Returns
    -------
    array, shape and dtype of ``h``

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.activations import relu_derivative
    >>> print(relu_derivative(np, np.asarray([0.0, 3.0])))
    [0. 1.]
    """
    return _is_positive(xp, h)


# ------------------------------------------------------------ the others that ONNX describes


def affine(xp: Namespace, a: Array, alpha: float, beta: float) -> Array:
    """Return ``alpha a + beta``, entry by entry."""
    return alpha * a + beta


def affine_derivative(xp: Namespace, y: Array, alpha: float, beta: float) -> Array:
    """Return ``alpha``."""
    return xp.full_like(y, alpha)


def leaky_relu(xp: Namespace, a: Array, alpha: float) -> Array:
    """Return ``a`` where it is positive, and ``alpha a`` elsewhere."""
    return a * leaky_relu_derivative(xp, a, alpha)


def leaky_relu_derivative(xp: Namespace, y: Array, alpha: float) -> Array:
    """Return 1 where ``y > 0``, and ``alpha`` elsewhere."""
    return alpha + (1.0 - alpha) * _is_positive(xp, y)


def thresholded_relu(xp: Namespace, a: Array, alpha: float) -> Array:
    """Return ``a`` where it is above ``alpha``, and 0 elsewhere."""
    return a * _is_positive(xp, a - alpha)


def thresholded_relu_derivative(xp: Namespace, y: Array, alpha: float) -> Array:
    """Return 1 where ``y > 0``, and 0 elsewhere: the jump has no derivative."""
    return _is_positive(xp, y)


def scaled_tanh(xp: Namespace, a: Array, alpha: float, beta: float) -> Array:
    """Return ``alpha tanh(beta a)``."""
    return alpha * xp.tanh(beta * a)


def scaled_tanh_derivative(xp: Namespace, y: Array, alpha: float, beta: float) -> Array:
    """Return ``beta (alpha - y²/alpha)``."""
    return beta * (alpha - y * y / alpha)


def hard_sigmoid(xp: Namespace, a: Array, alpha: float, beta: float) -> Array:
    """Return ``alpha a + beta``, held between 0 and 1."""
    y = alpha * a + beta
    inside = _is_positive(xp, y) * _is_positive(xp, 1.0 - y)
    return xp.where(_real(xp, inside) > 0, y, _is_positive(xp, y - 1.0))


def hard_sigmoid_derivative(xp: Namespace, y: Array, alpha: float, beta: float) -> Array:
    """Return ``alpha`` where ``0 < y < 1``, and 0 elsewhere."""
    return alpha * _is_positive(xp, y) * _is_positive(xp, 1.0 - y)


def elu(xp: Namespace, a: Array, alpha: float) -> Array:
    """Return ``a`` where it is positive, and ``alpha (exp(a) - 1)`` elsewhere."""
    positive = relu(xp, a)
    return positive + alpha * xp.expm1(a - positive)


def elu_derivative(xp: Namespace, y: Array, alpha: float) -> Array:
    """Return 1 where ``y > 0``, and ``y + alpha`` elsewhere."""
    positive = _is_positive(xp, y)
    return positive + (1.0 - positive) * (y + alpha)


def softsign(xp: Namespace, a: Array) -> Array:
    """Return ``a / (1 + |a|)``."""
    return a / (1.0 + _magnitude(xp, a))


def softsign_derivative(xp: Namespace, y: Array) -> Array:
    """Return ``(1 - |y|)²``."""
    rest = 1.0 - _magnitude(xp, y)
    return rest * rest


def softplus(xp: Namespace, a: Array) -> Array:
    """Return ``log(1 + exp(a))``, which nothing overflows."""
    return relu(xp, a) + xp.log1p(xp.exp(-_magnitude(xp, a)))


def softplus_derivative(xp: Namespace, y: Array) -> Array:
    """Return the logistic function of ``a``, which is ``1 - exp(-y)``."""
    return -xp.expm1(-y)


# name: value, derivative from the value, and its numbers where none are given
_KINDS: dict[str, tuple[Function, Function, tuple[float, ...]]] = {
    "tanh": (tanh, tanh_derivative, ()),
    "sigmoid": (sigmoid, sigmoid_derivative, ()),
    "relu": (relu, relu_derivative, ()),
    "affine": (affine, affine_derivative, (1.0, 0.0)),
    "leaky_relu": (leaky_relu, leaky_relu_derivative, (0.01,)),
    "thresholded_relu": (thresholded_relu, thresholded_relu_derivative, (1.0,)),
    "scaled_tanh": (scaled_tanh, scaled_tanh_derivative, (1.0, 1.0)),
    "hard_sigmoid": (hard_sigmoid, hard_sigmoid_derivative, (0.2, 0.5)),
    "elu": (elu, elu_derivative, (1.0,)),
    "softsign": (softsign, softsign_derivative, ()),
    "softplus": (softplus, softplus_derivative, ()),
}
NAMES = tuple(_KINDS)
# Below these the value no longer tells the slope.
_LEAST = {"leaky_relu": 0.0, "thresholded_relu": 0.0, "elu": 0.0}


def checked(argument: str, given: Any) -> Activation:
    """Return a name, or a name and its numbers as a tuple, as it should be written.

    Parameters
    ----------
    argument : str
        What to call it in an error.
    given : str, or sequence of a str and the numbers alpha and beta
        ``"elu"``, or ``("elu", 0.5)``; what is left out is ONNX's default.

    Raises
    ------
    TypeError, ValueError
        If there is no such function, or not with these numbers.

    Examples
    --------
    >>> from portable_rnn.activations import checked
    >>> checked("f", "tanh"), checked("f", ["hard_sigmoid", 0.25])
    ('tanh', ('hard_sigmoid', 0.25, 0.5))
    """
    name, *numbers = [given] if isinstance(given, str) else list(given or [None])
    if not isinstance(name, str) or name not in _KINDS:
        raise ValueError(
            f"{argument}: expected one of {', '.join(map(repr, NAMES))}, perhaps in a tuple with "
            f"its numbers, got {given!r}"
        )
    defaults = _KINDS[name][2]
    if len(numbers) > len(defaults):
        raise ValueError(
            f"{argument}: {name!r} expected at most {len(defaults)} numbers, got {given!r}"
        )
    if not all(isinstance(n, (int, float)) and not isinstance(n, bool) for n in numbers):
        raise TypeError(f"{argument}: expected Python numbers after the name, got {given!r}")
    if not numbers:
        return name
    alpha, *rest = (*map(float, numbers), *defaults[len(numbers) :])
    if alpha < _LEAST.get(name, -math.inf) or (name == "scaled_tanh" and alpha == 0.0):
        least = "other than 0" if name == "scaled_tanh" else "of at least 0"
        raise ValueError(f"{argument}: {name!r} expected alpha {least}, got {alpha}")
    return (name, alpha, *rest)


@lru_cache(maxsize=64)
def functions(activation: Activation) -> tuple[Function, Function]:
    """Return value and derivative, both of ``(xp, array)``, of what `checked` returned."""
    name, *numbers = (activation,) if isinstance(activation, str) else activation
    value, derivative, defaults = _KINDS[str(name)]
    if not defaults:
        return value, derivative
    alpha_beta = tuple(map(float, numbers)) or defaults
    names = ("alpha", "beta")[: len(alpha_beta)]
    options = dict(zip(names, alpha_beta, strict=True))
    return partial(value, **options), partial(derivative, **options)


def clip(xp: Namespace, a: Array, bound: float | None) -> tuple[Array, tuple[Array, ...]]:
    """Hold ``a`` between ``-bound`` and ``bound``, as ONNX's ``clip`` does before the activations.

    Parameters
    ----------
    xp : module
        The namespace of ``a``.
    a : floating array, any shape
    bound : float, optional
        None for no bound: then nothing is done.

    Returns
    -------
    array, shape and dtype of ``a``
    residuals : tuple of arrays
    """
    if bound is None:
        return a, ()
    above, below = _is_positive(xp, a - bound), _is_positive(xp, -bound - a)
    inside = 1.0 - above - below
    # An infinite a times 0 would be NaN.
    held = xp.where(_real(xp, inside) > 0, a, bound * (above - below))
    return held, (inside,)


def clip_vjp(residuals: tuple[Array, ...], d_a: Array) -> Array:
    """Return the cotangent of what was clipped: 0 beyond the bound, the same up to it."""
    return d_a * residuals[0] if residuals else d_a


def _magnitude(xp: Namespace, a: Array) -> Array:
    """Return ``|a|``, by the sign of the real part."""
    return a * (2.0 * _is_positive(xp, a) - 1.0)


def _real(xp: Namespace, a: Array) -> Array:
    return xp.real(a) if xp.isdtype(a.dtype, "complex floating") else a


def _is_positive(xp: Namespace, a: Array) -> Array:
    return xp.astype(_real(xp, a) > 0, a.dtype)
