"""Pointwise nonlinearities: each value, and below it the derivative from that value.

The derivatives take the *value* of the function, not its argument, because the value is what
the forward pass already holds (``tanh' = 1 - tanh**2``). All of them are analytic, or piecewise
so on the real part: the same lines run at complex128 for complex-step checks.
"""

from ._namespace import Array, Namespace

__all__ = [
    "relu",
    "relu_derivative",
    "sigmoid",
    "sigmoid_derivative",
    "tanh",
    "tanh_derivative",
]


def tanh(xp: Namespace, a: Array) -> Array:
    """Return ``tanh(a)`` (equation 10.9 of Goodfellow, Bengio, Courville 2016)."""
    return xp.tanh(a)


def tanh_derivative(xp: Namespace, h: Array) -> Array:
    """Return ``1 - h**2``, the diagonal of equation 10.21, for ``h = tanh(a)``."""
    return 1.0 - h * h


def sigmoid(xp: Namespace, a: Array) -> Array:
    """Return the logistic function of ``a`` as ``(1 + tanh(a/2)) / 2``.

    This form cannot overflow, needs no branch, and is accurate to an ulp of 1.
    """
    return 0.5 * xp.tanh(0.5 * a) + 0.5


def sigmoid_derivative(xp: Namespace, s: Array) -> Array:
    """Return ``s (1 - s)`` for ``s = sigmoid(a)``."""
    return s * (1.0 - s)


def relu(xp: Namespace, a: Array) -> Array:
    """Return ``max(a, 0)``."""
    return a * _is_positive(xp, a)


def relu_derivative(xp: Namespace, h: Array) -> Array:
    """Return 1 where ``h > 0`` and 0 elsewhere (0 at the kink, as torch has it)."""
    return _is_positive(xp, h)


def _is_positive(xp: Namespace, a: Array) -> Array:
    real = xp.real(a) if xp.isdtype(a.dtype, "complex floating") else a
    return xp.astype(real > 0, a.dtype)
