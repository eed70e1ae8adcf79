"""A custom cell, as a user writes it."""

from dataclasses import dataclass

from portable_rnn.activations import sigmoid, sigmoid_derivative, tanh, tanh_derivative


@dataclass(frozen=True)
class MinimalGated:
    """The minimal gated unit (Zhou et al., 2016), with one gate for reset and update."""

    gates = 2
    states = 1

    def step(self, xp, ax, ah, state):
        (h,) = state
        size = h.shape[-1]
        f = sigmoid(xp, ax[:, :size] + ah[:, :size])
        ah_n = ah[:, size:]
        n = tanh(xp, ax[:, size:] + f * ah_n)
        return ((1.0 - f) * h + f * n,), (h, f, ah_n, n)

    def step_vjp(self, xp, residuals, d_state):
        h, f, ah_n, n = residuals
        (d_h,) = d_state
        d_n = d_h * f * tanh_derivative(xp, n)
        d_f = (d_h * (n - h) + d_n * ah_n) * sigmoid_derivative(xp, f)
        d_ax, d_ah = xp.concat([d_f, d_n], axis=1), xp.concat([d_f, d_n * f], axis=1)
        return d_ax, d_ah, (d_h * (1.0 - f),)
