"""JAX's own autodiff, of a network as a JAX user would write it: one sequence, one scan, vmap.

The weights are split into gates, which are multiplied one by one inside the loop.
"""

import numpy as np

from . import results

__all__ = ["gradients"]


def sequence(problem, w, xs, state):
    """Run one sequence, xs (T, I), from state arrays (1, H)."""
    import jax
    from jax import numpy as jnp

    sigmoid, size = jax.nn.sigmoid, problem.hidden
    activation = {"tanh": jnp.tanh, "relu": jax.nn.relu}[problem.nonlinearity]

    def linear(kind, gate, v):
        rows = slice(gate * size, (gate + 1) * size)
        product = jnp.dot(w[f"weight_{kind}_l0"][rows], v)
        return product + w[f"bias_{kind}_l0"][rows] if problem.bias else product

    def step(state, x):
        h = state[0][0]

        def both(gate):
            return linear("ih", gate, x) + linear("hh", gate, h)

        if problem.cell == "elman":
            after = [activation(both(0))]
        elif problem.cell == "gru":
            new = jnp.tanh(linear("ih", 2, x) + sigmoid(both(0)) * linear("hh", 2, h))
            update = sigmoid(both(1))
            after = [(1 - update) * new + update * h]
        else:
            c = sigmoid(both(1)) * state[1][0] + sigmoid(both(0)) * jnp.tanh(both(2))
            after = [sigmoid(both(3)) * jnp.tanh(c), c]
        y = after[0]
        if problem.outputs is not None:
            y = jnp.dot(w["readout.weight"], y) + w.get("readout.bias", 0.0)
        return tuple(part[None] for part in after), y

    after, ys = jax.lax.scan(step, state, xs)
    return ys, after


def gradients(problem, inputs):
    """Return all results by name, float64, from the inputs of a problem."""
    import jax

    jax.config.update("jax_enable_x64", True)

    @jax.jit
    def pull(w, x, state, d_outputs, d_state):
        def run(w, x, state):
            if problem.batch is None:
                return sequence(problem, w, x, state)
            axis = 0 if problem.batch_first else 1
            one = lambda *arrays: sequence(problem, *arrays)  # noqa: E731
            return jax.vmap(one, in_axes=(None, axis, 1), out_axes=(axis, 1))(w, x, state)

        found, vjp = jax.vjp(run, w, x, state)
        return found, vjp((d_outputs, d_state))

    features, size = problem.outputs or problem.hidden, problem.hidden
    shape = (1, size) if problem.batch is None else (1, problem.batch, size)
    zeros = (np.zeros(shape),) * (2 if problem.cell == "lstm" else 1)
    d_outputs = inputs.d_outputs
    (outputs, after), (d_w, d_x, d_state) = pull(
        inputs.params,
        inputs.x,
        parts(inputs.state) or zeros,
        np.zeros((*inputs.x.shape[:-1], features)) if d_outputs is None else d_outputs,
        parts(inputs.d_state) or zeros,
    )
    return jax.tree.map(np.asarray, results(outputs, after, d_w, d_x, d_state))


def parts(state):
    return () if state is None else state if isinstance(state, tuple) else (state,)
