"""Pointwise nonlinearities: each value, and below it the derivative from that value.

The derivatives take the *value* of the function, not its argument, because the value is what
the forward pass already holds (``tanh' = 1 - tanh**2``). All of them are analytic, or piecewise
analytic by the real part: the same lines run at complex128 for complex-step checks.
"""

from ._arrays.functions import is_positive, real_part
from ._arrays.namespace import Array, Namespace

__all__ = [
    "relu",
    "relu_derivative",
    "sigmoid",
    "sigmoid_derivative",
    "tanh",
    "tanh_derivative",
]


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
        For a complex array, the real part decides.

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
    # Not a product: an overflow to -infinity times 0 would be NaN. NaN stays NaN.
    return xp.where(real_part(xp, a) <= 0, xp.zeros_like(a), a)


def relu_derivative(xp: Namespace, h: Array) -> Array:
    """Return 1 where ``h > 0`` and 0 elsewhere (0 at the kink, as in torch).

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
    return is_positive(xp, h)
