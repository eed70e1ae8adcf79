"""The other cells over scalars, each from its own formulas: weights in, no engine, no shared gates.

Each is given ``w``, the parameters of its layer by name, ``x W_ihᵀ + b_ih``, and the state before.
"""

__all__ = ["MORE", "affine"]


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
    return affine(w["weight_hh"], w.get("bias_hh"), h)


# ------------------------------------------------------------------- functions of a scalar


def real(a):
    """Return what decides between branches: the real part of the number, on a tape or not."""
    return getattr(a, "data", a).real


def clip(num, a):
    """Hold between ±1.5."""
    return num.number(1.5) if real(a) > 1.5 else num.number(-1.5) if real(a) < -1.5 else a


def magnitude(a):
    return a if real(a) > 0 else -a


def softsign(num, a):
    return a / (1 + magnitude(a))


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


# ------------------------------------------------------------------------------- the cells


def mgu(num, w, ax, state):
    """``f``, then ``n``; the gate comes after the product, as in torch's GRU."""
    (h,), size = state, len(state[0])
    ah, after = recurrent(w, h), []
    for j in range(size):
        f = num.sigmoid(ax[j] + ah[j])
        n = num.tanh(ax[size + j] + f * ah[size + j])
        after.append((1 - f) * h[j] + f * n)
    return (after,)


def reset_before(num, w, ax, state, sigma, tanh, held):
    """Cho et al. as printed: ``U (r ∘ h)``; Keras' reset_after=False."""
    (h,), size = state, len(state[0])
    ah, bias = recurrent(w, h), w.get("bias_hh")
    r = [sigma(num, held(num, ax[j] + ah[j])) for j in range(size)]
    rh = [r[j] * h[j] for j in range(size)]
    rest = None if bias is None else bias[2 * size :]
    un, after = affine(w["weight_hh"][2 * size :], rest, rh), []
    for j in range(size):
        z = sigma(num, held(num, ax[size + j] + ah[size + j]))
        n = tanh(num, held(num, ax[2 * size + j] + un[j]))
        after.append((1 - z) * n + z * h[j])
    return (after,)


def reset_before_gru(num, w, ax, state):
    return reset_before(
        num, w, ax, state, lambda num, a: num.sigmoid(a), lambda num, a: num.tanh(a), unheld
    )


def onnx_reset_before_gru(num, w, ax, state):
    return reset_before(num, w, ax, state, hard_sigmoid_quarter, softsign, clip)


def unheld(num, a):
    return a


def peephole_lstm(num, w, ax, state):
    """Gers and Schmidhuber: o looks at the new cell state."""
    (h, c), size = state, len(state[1])
    ah, p, h_after, c_after = recurrent(w, h), w["weight_peephole"], [], []
    for j in range(size):
        a = [ax[k * size + j] + ah[k * size + j] for k in range(4)]
        i = num.sigmoid(a[0] + p[j] * c[j])
        f = num.sigmoid(a[1] + p[size + j] * c[j])
        c_after.append(f * c[j] + i * num.tanh(a[2]))
        o = num.sigmoid(a[3] + p[2 * size + j] * c_after[j])
        h_after.append(o * num.tanh(c_after[j]))
    return h_after, c_after


def coupled_lstm(num, w, ax, state):
    """Input, cell, output; what is not let in is kept."""
    (h, c), size = state, len(state[1])
    ah, h_after, c_after = recurrent(w, h), [], []
    for j in range(size):
        i = num.sigmoid(ax[j] + ah[j])
        g = num.tanh(ax[size + j] + ah[size + j])
        o = num.sigmoid(ax[2 * size + j] + ah[2 * size + j])
        c_after.append((1 - i) * c[j] + i * g)
        h_after.append(o * num.tanh(c_after[j]))
    return h_after, c_after


def projected_lstm(num, w, ax, state):
    """``h`` is smaller than ``c``: torch's proj_size."""
    (h, c), size = state, len(state[1])
    ah, m, c_after = recurrent(w, h), [], []
    for j in range(size):
        i = num.sigmoid(ax[j] + ah[j])
        f = num.sigmoid(ax[size + j] + ah[size + j])
        g = num.tanh(ax[2 * size + j] + ah[2 * size + j])
        o = num.sigmoid(ax[3 * size + j] + ah[3 * size + j])
        c_after.append(f * c[j] + i * g)
        m.append(o * num.tanh(c_after[j]))
    return affine(w["weight_hr"], None, m), c_after


def layer_norm_elman(num, w, ax, state):
    """Equation 4 of Ba et al."""
    ah = recurrent(w, state[0])
    normal = norm(num, [x + h for x, h in zip(ax, ah, strict=True)])
    gain, bias = w["weight_norm"], w["bias_norm"]
    return ([num.tanh(gain[j] * a + bias[j]) for j, a in enumerate(normal)],)


def layer_norm_lstm(num, w, ax, state):
    """Equations 20 to 22 of Ba et al."""
    (h, c), size = state, len(state[1])
    nx, nh = norm(num, ax), norm(num, recurrent(w, h))
    gain_x, gain_h, bias = w["weight_norm_ih"], w["weight_norm_hh"], w["bias_norm"]
    a = [gain_x[j] * nx[j] + gain_h[j] * nh[j] + bias[j] for j in range(4 * size)]
    c_after = [
        num.sigmoid(a[size + j]) * c[j] + num.sigmoid(a[j]) * num.tanh(a[2 * size + j])
        for j in range(size)
    ]
    gain, bias = w["weight_norm_c"], w["bias_norm_c"]
    return [
        num.sigmoid(a[3 * size + j]) * num.tanh(gain[j] * n + bias[j])
        for j, n in enumerate(norm(num, c_after))
    ], c_after


def onnx_elman(num, w, ax, state):
    ah = recurrent(w, state[0])
    return ([softplus(num, clip(num, x + h)) for x, h in zip(ax, ah, strict=True)],)


def onnx_gru(num, w, ax, state):
    """ONNX's formulas with linear_before_reset=1."""
    (h,), size = state, len(state[0])
    ah, after = recurrent(w, h), []
    for j in range(size):
        r = hard_sigmoid_quarter(num, clip(num, ax[j] + ah[j]))
        z = hard_sigmoid_quarter(num, clip(num, ax[size + j] + ah[size + j]))
        n = elu_half(num, clip(num, ax[2 * size + j] + r * ah[2 * size + j]))
        after.append((1 - z) * n + z * h[j])
    return (after,)


def onnx_lstm(num, w, ax, state):
    """ONNX's formulas with P and input_forget=1; rows of the weights are i, g, o."""
    (h, c), size = state, len(state[1])
    ah, p, h_after, c_after = recurrent(w, h), w["weight_peephole"], [], []
    for j in range(size):
        a = [ax[k * size + j] + ah[k * size + j] for k in range(3)]
        i = hard_sigmoid_quarter(num, clip(num, a[0] + p[j] * c[j]))
        c_after.append((1 - i) * c[j] + i * softsign(num, clip(num, a[1])))
        o = hard_sigmoid_quarter(num, clip(num, a[2] + p[size + j] * c_after[j]))
        h_after.append(o * scaled_tanh(num, c_after[j]))
    return h_after, c_after


MORE = {
    "mgu": mgu,
    "reset_before_gru": reset_before_gru,
    "peephole_lstm": peephole_lstm,
    "coupled_lstm": coupled_lstm,
    "projected_lstm": projected_lstm,
    "layer_norm_elman": layer_norm_elman,
    "layer_norm_lstm": layer_norm_lstm,
    "onnx_elman": onnx_elman,
    "onnx_gru": onnx_gru,
    "onnx_reset_before_gru": onnx_reset_before_gru,
    "onnx_lstm": onnx_lstm,
}
