"""Optimizers, step by step, beside ``torch.optim`` in float64, on NumPy.

On every backend they are held to plain formulas, in test_optimizers.py.
"""

import numpy as np
import pytest

from portable_rnn import optimizers

from .tolerances import assert_close

pytestmark = pytest.mark.oracle("torch")

PAIRS = {
    "sgd": (optimizers.sgd, "SGD", {"lr": 0.1}),
    "sgd-decay": (optimizers.sgd, "SGD", {"lr": 0.1, "weight_decay": 0.3}),
    "momentum": (optimizers.sgd, "SGD", {"lr": 0.1, "momentum": 0.9}),
    "nesterov": (
        optimizers.sgd,
        "SGD",
        {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.1},
    ),
    "rmsprop": (optimizers.rmsprop, "RMSprop", {"lr": 0.1, "alpha": 0.8, "eps": 1e-3}),
    "adam": (optimizers.adam, "Adam", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3}),
    "adamw": (optimizers.adamw, "AdamW", {"lr": 0.1, "weight_decay": 0.4}),
}


@pytest.mark.parametrize(("ours", "theirs", "options"), PAIRS.values(), ids=PAIRS)
def test_twenty_steps_equal_torch(ours, theirs, options):
    import torch

    rng = np.random.default_rng(0)
    params = {name: rng.standard_normal((3, 4)) for name in ("a", "b")}
    leaves = [torch.nn.Parameter(torch.from_numpy(p.copy())) for p in params.values()]
    peer, state = getattr(torch.optim, theirs)(leaves, **options), None
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
