"""Oracles: the same gradients by other methods, sharing no code with the library.

``scalar_loop`` runs the formulas of ``conformance.cells`` as loops over scalars of any kind
(``numbers``), which ``tape`` differentiates; at 50 digits it is the reference for all others.
``jax_autograd`` is another network under JAX's autodiff, and ``differences`` needs function values
alone.
"""

__all__ = ["results"]


def results(outputs, state, d_params, d_x, d_state):
    """Give every result a name; the states are tuples of arrays."""
    named = {"outputs": outputs, "d_x": d_x}
    named |= {f"state[{i}]": part for i, part in enumerate(state)}
    named |= {f"d_state[{i}]": part for i, part in enumerate(d_state)}
    return named | {f"d_params[{name}]": array for name, array in d_params.items()}
