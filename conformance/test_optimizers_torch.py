"""Optimizers and schedules, step by step, compared with ``torch.optim`` in float64, on NumPy.

test_optimizers.py checks them against plain formulas on every backend.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from portable_rnn import optimizers, schedules
from portable_rnn.optimizers import averaged_params, ema, mixed_precision, sgd

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


def test_averaged_parameters_equal_torch():
    import torch
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    rng = np.random.default_rng(0)
    params, state = {"weight": rng.standard_normal((1, 4))}, None
    module = torch.nn.Linear(4, 1, bias=False, dtype=torch.float64)
    averaged = AveragedModel(module, multi_avg_fn=get_ema_multi_avg_fn(0.75))
    optimizer = ema(sgd, 0.75)
    for _ in range(6):
        grads = {"weight": rng.standard_normal((1, 4))}
        params, state = optimizer(params, grads, state, lr=0.1)
        with torch.no_grad():
            module.weight.copy_(torch.from_numpy(params["weight"]))
        averaged.update_parameters(module)
    found = averaged_params(params, state)["weight"]
    assert_close(found, averaged.module.weight.detach().numpy(), "average")


def test_a_dynamic_loss_scale_changes_as_in_torch():
    import torch

    scaler = torch.amp.GradScaler("cpu", init_scale=64.0, growth_interval=3)
    optimizer = mixed_precision(sgd, loss_scale=64.0, growth_interval=3)
    params, state = {"w": np.ones(2, np.float32)}, None
    leaf = torch.nn.Parameter(torch.ones(2))
    peer = torch.optim.SGD([leaf], lr=0.1)
    for finite in (0, 1, 1, 1, 1, 1, 0, 1, 1, 1, 0, 0):
        scaler.scale(torch.zeros(()))  # makes the scale
        scale = scaler.get_scale()
        slope = np.asarray([scale, scale if finite else np.inf], np.float32)
        leaf.grad = torch.from_numpy(slope.copy())
        scaler.step(peer)
        scaler.update()
        params, state = optimizer(params, {"w": slope}, state, lr=0.1)
        assert float(state["scale"]) == scaler.get_scale()
        np.testing.assert_allclose(params["w"], leaf.detach().numpy(), rtol=1e-6)
    assert int(state["step"]) == 8


@pytest.mark.parametrize(
    "options",
    [{}, {"pct_start": 0.5, "div_factor": 4.0}, *({"pct_start": p} for p in (0.0, 0.03, 1.0))],
)
def test_one_cycle_equals_torch(options):
    import torch

    peer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        peer, 0.3, total_steps=17, cycle_momentum=False, **options
    )
    for step in range(17):
        found = schedules.one_cycle(step, lr=0.3, steps=17, **options)
        assert found == pytest.approx(cycle.get_last_lr()[0], rel=1e-12)
        peer.step()
        if step < 16:
            cycle.step()
    assert schedules.one_cycle(99, lr=0.3, steps=17, **options) == found


@pytest.mark.parametrize("patience", [1, 3])
def test_a_plateau_lowers_the_rate_as_in_torch(patience):
    import torch

    rng, every = np.random.default_rng(patience), 2
    peer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    lower = torch.optim.lr_scheduler.ReduceLROnPlateau(
        peer, factor=0.5, patience=patience - 1, threshold=0.0, min_lr=0.03
    )
    given = {"lr": 0.5, "factor": 0.5, "patience": patience, "final": 0.03}
    run = SimpleNamespace(learning_rate=float("nan"), best_step=0, evaluate_every=every)
    best, rates = float("inf"), []
    for step in range(80):
        run.learning_rate = schedules.plateau(step, run=run, **given)
        rates.append(run.learning_rate)
        assert run.learning_rate == peer.param_groups[0]["lr"], step
        peer.step()
        if (step + 1) % every == 0:  # as `train` does after the step
            evaluation = float(rng.uniform()) if step < 60 else 2.0
            lower.step(evaluation)
            if evaluation < best:
                best, run.best_step = evaluation, step + 1
    assert rates[-1] == 0.03
    assert len(set(rates)) > 3
