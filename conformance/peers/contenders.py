"""The same gradients from three libraries: a problem's host arrays in, named NumPy arrays out.

Names are those of `conformance.subject.results`: ``d_params[...]``, ``d_x``, ``d_state[i]``.
"""

from functools import cache

import numpy as np

from ..subject import results, solve

__all__ = ["jax_grad", "ours", "torch_nn"]


def ours(problem, host):
    """portable_rnn on NumPy."""
    return _gradients(solve(problem.model, host))


def torch_nn(problem, host):
    """torch.nn and autograd, in the dtype of the arrays."""
    import torch

    kind = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[problem.cell]
    module = kind(problem.inputs, problem.hidden).to(torch.from_numpy(host.x).dtype)
    module.load_state_dict({name: torch.from_numpy(a) for name, a in host.params.items()})
    x, *state = [torch.tensor(a, requires_grad=True) for a in (host.x, *_parts(host.state))]
    outputs, after = module(x, tuple(state) if len(state) == 2 else state[0])
    torch.autograd.backward(
        [outputs, *_parts(after)],
        [torch.from_numpy(d) for d in (host.d_outputs, *_parts(host.d_state))],
    )
    learned = {name: p.grad.numpy() for name, p in module.named_parameters()}
    return _gradients(
        results(None, (), learned, x.grad.numpy(), tuple(s.grad.numpy() for s in state))
    )


def jax_grad(problem, host):
    """jax.grad, jitted, of a lax.scan; compiled once for each cell and shape."""
    import jax

    given = (host.params, host.x, _parts(host.state), host.d_outputs, _parts(host.d_state))
    d_params, d_x, d_state = jax.tree.map(np.asarray, _jax_program(problem.cell)(*given))
    return _gradients(results(None, (), d_params, d_x, d_state))


@cache
def _jax_program(cell):
    """Return the gradient by (params, x, state) of ``<outputs, d_outputs> + <state, d_state>``."""
    import jax
    import jax.numpy as jnp
    from jax.nn import sigmoid

    def elman(a_x, a_h, h):
        return (jnp.tanh(a_x + a_h),)

    def gru(a_x, a_h, h):
        (x_r, x_z, x_n), (h_r, h_z, h_n) = jnp.split(a_x, 3, -1), jnp.split(a_h, 3, -1)
        r, z = sigmoid(x_r + h_r), sigmoid(x_z + h_z)
        n = jnp.tanh(x_n + r * h_n)
        return ((1 - z) * n + z * h,)

    def lstm(a_x, a_h, h, c):
        i, f, g, o = jnp.split(a_x + a_h, 4, -1)
        c = sigmoid(f) * c + sigmoid(i) * jnp.tanh(g)
        return sigmoid(o) * jnp.tanh(c), c

    advance = {"elman": elman, "gru": gru, "lstm": lstm}[cell]

    def pulled(params, x, state, d_outputs, d_state):
        def step(state, a_x):
            a_h = state[0] @ params["weight_hh_l0"].T + params["bias_hh_l0"]
            state = advance(a_x, a_h, *state)
            return state, state[0]

        a_x = x @ params["weight_ih_l0"].T + params["bias_ih_l0"]
        after, outputs = jax.lax.scan(step, tuple(part[0] for part in state), a_x)
        value = jnp.sum(outputs * d_outputs)
        return value + sum(jnp.sum(a * d[0]) for a, d in zip(after, d_state, strict=True))

    return jax.jit(jax.grad(pulled, argnums=(0, 1, 2)))


def _gradients(named):
    return {name: array for name, array in named.items() if name.startswith("d_")}


def _parts(value):
    return value if isinstance(value, tuple) else (value,)
