"""Functions of scalars, and of lists of them, for the oracles of the cells.

Each is given ``num``, the requested kind of number: float, complex, 50 digits, or a tape.
"""

__all__ = [
    *("affine", "clip", "elu_half", "hard_sigmoid_quarter", "norm", "recurrent"),
    *("scaled_tanh", "softplus", "softsign"),
]


def affine(weight, bias, v):
    """Return ``W v + b``; ``b`` may be None."""
    out = []
    for i, row in enumerate(weight):
        total = row[0] * v[0]
        for j in range(1, len(v)):
            total = total + row[j] * v[j]
        out.append(total if bias is None else total + bias[i])
    return out


def recurrent(w, h):
    """Return ``W_hh h + b_hh``, of the parameters of a layer by name."""
    return affine(w["weight_hh"], w.get("bias_hh"), h)


def real(a):
    """Return the number that decides between branches: the real part, on a tape or not."""
    return getattr(a, "data", a).real


def clip(num, a):
    """Clip to ±1.5."""
    return num.number(1.5) if real(a) > 1.5 else num.number(-1.5) if real(a) < -1.5 else a


def softsign(num, a):
    return a / (1 + (a if real(a) > 0 else -a))


def softplus(num, a):
    return num.log(1 + num.exp(a))


def elu_half(num, a):
    return a if real(a) > 0 else (num.exp(a) - 1) * 0.5


def hard_sigmoid_quarter(num, a):
    y = a * 0.25 + 0.5
    return num.number(0) if real(y) < 0 else num.number(1) if real(y) > 1 else y


def scaled_tanh(num, a):
    return num.tanh(a * 0.5) * 1.5


def norm(num, a):
    """Return ``(a - mean) / sqrt(var + 1e-5)`` of a list."""
    mean = sum(a[1:], a[0]) / len(a)
    apart = [one - mean for one in a]
    squares = [one * one for one in apart]
    variance = sum(squares[1:], squares[0]) / len(a)
    deviation = num.exp(num.log(variance + 1e-5) / 2)
    return [one / deviation for one in apart]
