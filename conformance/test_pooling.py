"""Pools, and networks with one output for each sequence, on every backend.

Pools are compared with plain loops, networks with torch in float64.
"""

from importlib.util import find_spec
from itertools import product, starmap
from typing import NamedTuple

import numpy as np

import portable_rnn as prnn

from .backend import host_dtype
from .problems import TORCH_CELLS
from .selection import full_precision
from .tolerances import allowed_eps, assert_close

T, B, I, H, C = 6, 3, 4, 5, 3  # noqa: E741 (the letters of the documents)
POOLS = ("last", "mean", "max")
MASK = np.asarray([[1, 1, 0], [1, 0, 1], [0, 1, 0], [1, 1, 0], [1, 0, 0], [0, 0, 0]], np.bool_)
STEPS = {"": {}, "lengths": {"lengths": (4, 6, 1)}, "mask": {"mask": MASK}}


class Case(NamedTuple):
    cell: str
    pool: str
    bidirectional: bool
    steps: str

    @property
    def id(self):
        words = (self.cell, self.pool, "both_directions" * self.bidirectional, self.steps)
        return "-".join(filter(None, words))


def cases(row, dtype):
    """Return cells, pools, directions and steps: all for NumPy, fewer for others."""
    if dtype not in full_precision(row):
        return []
    cells = TORCH_CELLS if row.library == "numpy" else ("gru",)
    found = list(starmap(Case, product(cells, POOLS, (False, True), STEPS)))
    return found[::5] if row.variant or row.slow else found


def step(static, params, x, labels, mask):
    model, lengths = static
    found = prnn.bptt(model, params, x, labels, lengths=lengths, mask=mask)
    return {"loss": found.loss, "d_x": found.grad_x} | found.grads


def reference(model, params, x, labels, steps):
    """Return the loss and gradients by torch, each sequence by its valid steps alone."""
    import torch

    kind = {"elman": torch.nn.RNN, "gru": torch.nn.GRU, "lstm": torch.nn.LSTM}[model.cell]
    both = {"bidirectional": model.bidirectional}
    module = kind(model.input_size, model.hidden_size, **both).double()
    wide = {name: torch.from_numpy(a.astype(np.float64)) for name, a in params.items()}
    module.load_state_dict({name: a for name, a in wide.items() if "." not in name})
    readout = {name: a.requires_grad_() for name, a in wide.items() if "." in name}
    leaf = torch.from_numpy(x.astype(np.float64)).requires_grad_()
    rows = []
    for b in range(B):
        valid = np.arange(T)
        if "lengths" in steps:
            valid = valid[: steps["lengths"][b]]
        elif "mask" in steps:
            valid = valid[steps["mask"][:, b]]
        h, _ = module(leaf[torch.from_numpy(valid), b])
        if model.pool == "mean":
            rows.append(h.mean(dim=0))
        elif model.pool == "max":
            rows.append(h.max(dim=0).values)
        else:  # what each direction ends with
            rows.append(torch.cat([h[-1, :H], h[0, H:]]))
    outputs = torch.stack(rows) @ readout["readout.weight"].T + readout["readout.bias"]
    loss = torch.nn.functional.cross_entropy(outputs, torch.from_numpy(labels).long())
    loss.backward()
    named = dict(module.named_parameters()) | readout
    found = {"loss": loss.detach().numpy(), "d_x": leaf.grad.numpy()}
    return found | {name: named[name].grad.numpy() for name in params}


def test_one_output_for_each_sequence_trains_as_in_torch(backend, dtype, problem, record):
    """NumPy's is compared with torch, where it is installed, and others with NumPy's in float64."""
    cell, pool, bidirectional, which = problem
    model = prnn.RNN(I, H, C, cell=cell, pool=pool, bidirectional=bidirectional)
    rng, steps = np.random.default_rng(2), STEPS[which]
    params = model.init(seed=0, dtype=dtype)
    x = rng.standard_normal((T, B, I)).astype(dtype)
    labels = rng.integers(0, C, B).astype(np.int32)
    if backend.library == "numpy" and find_spec("torch"):
        want = reference(model, params, x, labels, steps)
    else:
        wide = {name: array.astype(np.float64) for name, array in params.items()}
        given = (x.astype(np.float64), labels, steps.get("mask"))
        with prnn.use_namespace(np):
            want = step((model, steps.get("lengths")), wide, *given)
    moved = {name: backend.put(array) for name, array in params.items()}
    mask = backend.put(steps["mask"]) if "mask" in steps else None
    static = model, steps.get("lengths")
    found = backend.call(step, static, moved, backend.put(x), backend.put(labels), mask)
    if backend.shapes_only:
        assert {name: tuple(found[name].shape) for name in params} == model.parameter_shapes
        return
    allowed = allowed_eps(backend.id, dtype)
    for name, array in want.items():
        what = f"{backend.id}: {name} of a {cell} with pool={pool}"
        eps = assert_close(backend.get(found[name]), array, what, scale=1.0, k=allowed)
        record(cell, f"pool-{pool}-{cell}", name, T, eps, allowed)


def pool_and_back(static, outputs, mask, d_pooled):
    """Return what is pooled and the cotangent of the outputs, for each pool and kind of steps."""
    found = {}
    for kind, both in product(POOLS, (False, True)):
        for name, steps in {"": {}, "lengths": {"lengths": static}, "mask": {"mask": mask}}.items():
            pooled, residuals = prnn.pool(outputs, kind, bidirectional=both, **steps)
            found[kind, both, name] = pooled
            found[kind, both, name, "vjp"] = prnn.pool_vjp(residuals, d_pooled)
    return {"-".join(map(str, key)): array for key, array in found.items()}


def pooled_by_loops(outputs, d_pooled):
    """Return the same, a number at a time."""
    found, outputs, d_pooled = {}, outputs.astype(np.float64), d_pooled.astype(np.float64)
    for (kind, both), (name, steps) in product(product(POOLS, (False, True)), STEPS.items()):
        pooled, d_outputs = np.zeros((B, 2 * H)), np.zeros((T, B, 2 * H))
        for b, feature in product(range(B), range(2 * H)):
            valid = [t for t in range(T) if "lengths" not in steps or t < steps["lengths"][b]]
            valid = [t for t in valid if "mask" not in steps or MASK[t, b]]
            values = [outputs[t, b, feature] for t in valid]
            first = both and feature >= H
            share = {valid[0 if first else -1]: 1.0}
            if kind == "mean":
                share = dict.fromkeys(valid, 1.0 / len(valid))
            elif kind == "max":
                share = {valid[values.index(max(values))]: 1.0}
            for t, factor in share.items():
                pooled[b, feature] += factor * outputs[t, b, feature]
                d_outputs[t, b, feature] = factor * d_pooled[b, feature]
        key = f"{kind}-{both}-{name}"
        found |= {key: pooled, f"{key}-vjp": d_outputs}
    return found


def test_a_pool_and_its_cotangents_are_those_of_plain_loops(backend, dtype, record):
    rng = np.random.default_rng(3)
    outputs = rng.standard_normal((T, B, 2 * H)).astype(host_dtype(dtype))
    d_pooled = rng.standard_normal((B, 2 * H)).astype(host_dtype(dtype))
    given = tuple(map(backend.put, (outputs, MASK, d_pooled)))
    found = backend.call(pool_and_back, STEPS["lengths"]["lengths"], *given)
    allowed = allowed_eps(backend.id, dtype)
    for name, array in pooled_by_loops(outputs, d_pooled).items():
        assert found[name].dtype == given[0].dtype
        if backend.shapes_only:
            assert tuple(found[name].shape) == array.shape
            continue
        scale = float(np.abs(d_pooled.astype(np.float64)).max())
        what = f"{backend.id}: {name}"
        eps = assert_close(backend.get(found[name]), array, what, scale=scale, k=allowed)
        record("functions", f"pool-{name.partition('-')[0]}", name, T, eps, allowed)


def test_a_pool_ignores_what_stands_at_steps_that_are_not_valid(backend):
    outputs = np.ones((T, B, 2 * H), np.float32)
    outputs[~MASK] = np.nan
    mask = MASK.copy()
    mask[:, 2] = False  # a sequence without any
    given = tuple(map(backend.put, (outputs, mask, np.ones((B, 2 * H), np.float32))))
    found = backend.call(pool_and_back, (1, 1, 1), *given)
    if backend.shapes_only:
        return
    for kind, both in product(POOLS, (False, True)):
        pooled = backend.get(found[f"{kind}-{both}-mask"])
        d_outputs = backend.get(found[f"{kind}-{both}-mask-vjp"])
        assert (pooled == np.asarray([1, 1, 0], np.float32)[:, None]).all()
        assert not d_outputs[~mask].any()
        assert np.allclose(d_outputs.sum(axis=0)[:2], 1.0, rtol=1e-6)
