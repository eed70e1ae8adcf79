"""Nonlinearities that cells take by name: those of ONNX's recurrent operators, with its defaults.

They are given as ``"tanh"``, or as ``("elu", 0.5)`` with the numbers alpha and beta of a function.
As in :mod:`portable_rnn.activations`, a derivative takes the value of the function.
"""

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, TypeAlias

from ._arrays.functions import is_positive, real_part
from ._arrays.namespace import Array, Namespace
from ._arrays.scalars import number, said
from .activations import (
    relu,
    relu_derivative,
    sigmoid,
    sigmoid_derivative,
    tanh,
    tanh_derivative,
)

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
    "numbers_of",
    "scaled_tanh",
    "scaled_tanh_derivative",
    "softplus",
    "softplus_derivative",
    "softsign",
    "softsign_derivative",
    "thresholded_relu",
    "thresholded_relu_derivative",
]

Activation: TypeAlias = str | tuple[str | float, ...]
Function: TypeAlias = Callable[..., Array]


def affine(xp: Namespace, a: Array, alpha: float, beta: float) -> Array:
    """Return ``alpha a + beta``, entry by entry."""
    return alpha * a + beta


def affine_derivative(xp: Namespace, y: Array, alpha: float, beta: float) -> Array:
    """Return ``alpha``."""
    return xp.full_like(y, alpha)


def leaky_relu(xp: Namespace, a: Array, alpha: float) -> Array:
    """Return ``a`` where it is positive, and ``alpha a`` elsewhere."""
    rest = alpha * a if alpha else xp.zeros_like(a)  # 0 times an infinite a would be NaN
    return xp.where(real_part(xp, a) <= 0, rest, a)


def leaky_relu_derivative(xp: Namespace, y: Array, alpha: float) -> Array:
    """Return 1 where ``y > 0``, and ``alpha`` elsewhere."""
    return xp.where(real_part(xp, y) > 0, xp.ones_like(y), xp.full_like(y, alpha))


def thresholded_relu(xp: Namespace, a: Array, alpha: float) -> Array:
    """Return ``a`` where it is above ``alpha``, and 0 elsewhere."""
    return xp.where(real_part(xp, a) <= alpha, xp.zeros_like(a), a)


def thresholded_relu_derivative(xp: Namespace, y: Array, alpha: float) -> Array:
    """Return 1 where ``y > 0``, and 0 elsewhere: the jump has no derivative."""
    return is_positive(xp, y)


def scaled_tanh(xp: Namespace, a: Array, alpha: float, beta: float) -> Array:
    """Return ``alpha tanh(beta a)``."""
    return alpha * xp.tanh(beta * a)


def scaled_tanh_derivative(xp: Namespace, y: Array, alpha: float, beta: float) -> Array:
    """Return ``beta (alpha - y²/alpha)``."""
    return beta * (alpha - y * y / alpha)


def hard_sigmoid(xp: Namespace, a: Array, alpha: float, beta: float) -> Array:
    """Return ``alpha a + beta``, clipped to [0, 1]."""
    y = alpha * a + beta
    y = xp.where(real_part(xp, y) <= 0, xp.zeros_like(y), y)
    return xp.where(real_part(xp, y) >= 1, xp.ones_like(y), y)


def hard_sigmoid_derivative(xp: Namespace, y: Array, alpha: float, beta: float) -> Array:
    """Return ``alpha`` where ``0 < y < 1``, and 0 elsewhere."""
    return alpha * is_positive(xp, y) * is_positive(xp, 1.0 - y)


def elu(xp: Namespace, a: Array, alpha: float) -> Array:
    """Return ``a`` where it is positive, and ``alpha (exp(a) - 1)`` elsewhere."""
    rest = xp.where(real_part(xp, a) > 0, xp.zeros_like(a), a)
    return relu(xp, a) + alpha * xp.expm1(rest)


def elu_derivative(xp: Namespace, y: Array, alpha: float) -> Array:
    """Return 1 where ``y > 0``, and ``y + alpha`` elsewhere."""
    return xp.where(real_part(xp, y) > 0, xp.ones_like(y), y + alpha)


def softsign(xp: Namespace, a: Array) -> Array:
    """Return ``a / (1 + |a|)``."""
    sign = _sign(xp, a)
    infinite = xp.isinf(real_part(xp, a))  # there the quotient would be NaN
    a = xp.where(infinite, xp.zeros_like(a), a)
    return xp.where(infinite, sign, a / (1.0 + _magnitude(xp, a)))


def softsign_derivative(xp: Namespace, y: Array) -> Array:
    """Return ``(1 - |y|)²``."""
    rest = 1.0 - _magnitude(xp, y)
    return rest * rest


def softplus(xp: Namespace, a: Array) -> Array:
    """Return ``log(1 + exp(a))``, without overflow."""
    return relu(xp, a) + xp.log1p(xp.exp(-_magnitude(xp, a)))


def softplus_derivative(xp: Namespace, y: Array) -> Array:
    """Return the logistic function of ``a``, which is ``1 - exp(-y)``."""
    return -xp.expm1(-y)


# name: value, derivative from the value, and default numbers
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
# Least values of alpha: below them the value no longer determines the slope.
_LEAST = {"leaky_relu": 0.0, "thresholded_relu": 0.0, "elu": 0.0}


def checked(argument: str, given: Any) -> Activation:
    """Check a nonlinearity; return its name, or a tuple of its name and numbers.

    Parameters
    ----------
    argument : str
        The name to use in errors.
    given : str, or sequence of a str and the numbers alpha and beta
        ``"elu"``, or ``("elu", 0.5)``; numbers left out are ONNX's defaults.

    Raises
    ------
    TypeError, ValueError
        If there is no such function, or it does not take these numbers.

    Examples
    --------
    >>> from portable_rnn.nonlinearities import checked
    >>> checked("f", "tanh"), checked("f", ["hard_sigmoid", 0.25])
    ('tanh', ('hard_sigmoid', 0.25, 0.5))
    """
    parts: list[Any] = list(given) if isinstance(given, (tuple, list)) and given else [given]
    name, *numbers = parts
    if not isinstance(name, str) or name not in _KINDS:
        raise ValueError(
            f"{argument}: expected one of {', '.join(map(repr, NAMES))}, perhaps in a tuple with "
            f"its numbers, got {said(given)}"
        )
    defaults = _KINDS[name][2]
    if len(numbers) > len(defaults):
        raise ValueError(
            f"{argument}: {name!r} expected at most {len(defaults)} numbers, got {said(given)}"
        )
    if not numbers:
        return name
    given_numbers = [number(f"{argument}, a number after the name", n) for n in numbers]
    alpha, *rest = (*given_numbers, *defaults[len(numbers) :])
    if alpha < _LEAST.get(name, -math.inf) or (name == "scaled_tanh" and alpha == 0.0):
        least = "other than 0" if name == "scaled_tanh" else "of at least 0"
        raise ValueError(f"{argument}: {name!r} expected alpha {least}, got {alpha}")
    return (name, alpha, *rest)


def numbers_of(activation: Activation) -> tuple[float, ...]:
    """Return the numbers alpha and beta of a result of `checked`, as far as it has them.

    Examples
    --------
    >>> from portable_rnn.nonlinearities import numbers_of
    >>> numbers_of("tanh"), numbers_of("elu"), numbers_of(("hard_sigmoid", 0.25, 0.5))
    ((), (1.0,), (0.25, 0.5))
    """
    name, *numbers = (activation,) if isinstance(activation, str) else activation
    return tuple(map(float, numbers)) or _KINDS[str(name)][2]


@lru_cache(maxsize=64)
def functions(activation: Activation) -> tuple[Function, Function]:
    """Return value and derivative, as functions of ``(xp, array)``, for a result of `checked`."""
    name = activation if isinstance(activation, str) else activation[0]
    value, derivative, _ = _KINDS[str(name)]
    if not (numbers := numbers_of(activation)):
        return value, derivative
    options = dict(zip(("alpha", "beta"), numbers, strict=False))
    return partial(value, **options), partial(derivative, **options)


def clip(xp: Namespace, a: Array, bound: float | None) -> tuple[Array, tuple[Array, ...]]:
    """Clip ``a`` to ``[-bound, bound]``, as ONNX's ``clip`` does before the activations.

    Parameters
    ----------
    xp : module
        The namespace of ``a``.
    a : floating array, any shape
    bound : float, optional
        None for no clipping.

    Returns
    -------
    array, shape and dtype of ``a``
    residuals : tuple of arrays
    """
    if bound is None:
        return a, ()
    above, below = is_positive(xp, a - bound), is_positive(xp, -bound - a)
    inside = 1.0 - above - below
    # An infinite a times 0 would be NaN.
    held = xp.where(real_part(xp, inside) > 0, a, bound * (above - below))
    return held, (inside,)


def clip_vjp(residuals: tuple[Array, ...], d_a: Array) -> Array:
    """Return the cotangent of the argument of `clip`: 0 beyond the bound, unchanged up to it."""
    return d_a * residuals[0] if residuals else d_a


def _magnitude(xp: Namespace, a: Array) -> Array:
    """Return ``|a|``, by the sign of the real part."""
    return a * _sign(xp, a)


def _sign(xp: Namespace, a: Array) -> Array:
    """Return 1 where the real part is positive, and -1 elsewhere."""
    return 2.0 * is_positive(xp, a) - 1.0
