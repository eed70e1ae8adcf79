"""Optimizers, step by step, compared with ``torch.optim`` in float64, on NumPy.

test_optimizers.py checks them against plain formulas on every backend.
"""

import numpy as np
import pytest

from portable_rnn import optimizers

from .optimizers import ALL_CASES, RULES
from .tolerances import assert_close

pytestmark = pytest.mark.oracle("torch")


@pytest.mark.parametrize(
    "case", [case for case, (name, _) in ALL_CASES.items() if RULES[name].torch]
)
def test_twenty_steps_equal_torch(case):
    import torch

    name, options = ALL_CASES[case]
    ours, theirs = getattr(optimizers, name), getattr(torch.optim, RULES[name].torch)
    rng = np.random.default_rng(0)
    params = {name: rng.standard_normal((3, 4)) for name in ("a", "b")}
    leaves = [torch.nn.Parameter(torch.from_numpy(p.copy())) for p in params.values()]
    peer, state = theirs(leaves, **options), None
    for _ in range(20):
        grads = {name: rng.standard_normal((3, 4)) for name in params}
        for leaf, g in zip(leaves, grads.values(), strict=True):
            leaf.grad = torch.from_numpy(g)
        peer.step()
        params, state = ours(params, grads, state, **options)
    for (name, p), leaf in zip(params.items(), leaves, strict=True):
        assert_close(p, leaf.detach().numpy(), name)


@pytest.mark.parametrize("max_norm", [0.5, 100.0])
def test_clipping_equals_torch(max_norm):
    import torch

    rng = np.random.default_rng(0)
    grads = {name: rng.standard_normal((3, 4)) for name in ("a", "b")}
    leaves = [torch.zeros(3, 4, dtype=torch.float64, requires_grad=True) for _ in grads]
    for leaf, g in zip(leaves, grads.values(), strict=True):
        leaf.grad = torch.from_numpy(g.copy())
    norm = torch.nn.utils.clip_grad_norm_(leaves, max_norm)
    clipped, ours = optimizers.clip_by_global_norm(grads, max_norm)
    np.testing.assert_allclose(float(ours), float(norm), rtol=1e-15)
    for (name, g), leaf in zip(clipped.items(), leaves, strict=True):
        # torch divides by the norm plus 1e-6, and so is off by that much.
        np.testing.assert_allclose(g, leaf.grad.numpy(), rtol=1e-5, err_msg=name)
