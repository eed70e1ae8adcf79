"""Attention on every backend: against torch's autograd in float64, or NumPy's own there."""

from importlib.util import find_spec
from itertools import product

import numpy as np

import portable_rnn as prnn

from .backend import host_dtype
from .tolerances import allowed_eps, assert_close

T, S, B, H, A, V = 3, 5, 4, 2, 3, 6
LENGTHS = (5, 2, 0, 1)  # of the memory; one sequence has none
MASK = np.asarray([[1, 0, 0, 1], [0, 0, 0, 1], [1, 1, 0, 0], [1, 0, 0, 1], [0, 1, 0, 1]], np.bool_)
SCORES = ("dot", "scaled_dot", "general", "additive")
# Score, whether there are other values than the memory, which steps count, and whether queries have
# a time axis.
CASES = {
    "dot": ("dot", False, "", True),
    "dot-values-mask": ("dot", True, "mask", True),
    "scaled_dot-lengths": ("scaled_dot", False, "lengths", True),
    "general": ("general", False, "", False),
    "general-values-lengths": ("general", True, "lengths", True),
    "additive-mask": ("additive", False, "mask", True),
    "additive-values": ("additive", True, "", False),
}


def steps_of(kind, mask):
    return {"": {}, "lengths": {"lengths": LENGTHS}, "mask": {"mask": mask}}[kind]


def drawn(score, has_values, has_time, dtype):
    """Return query, memory, values, parameters, cotangents of the context and of the weights."""
    rng, size = np.random.default_rng(0), H if score.endswith("dot") else H + 1
    rows = (T, B) if has_time else (B,)
    query, memory = rng.standard_normal((*rows, H)), rng.standard_normal((S, B, size))
    values = rng.standard_normal((S, B, V)) if has_values else None
    params = prnn.attention.init(score, H, size, A if score == "additive" else None, seed=1)
    d_context = rng.standard_normal((*rows, V if has_values else size))
    d_weights = rng.standard_normal((*rows, S))
    given = query, memory, values, params, d_context, d_weights
    return tree(lambda array: array.astype(host_dtype(dtype)), given)


def tree(f, given):
    """Apply a function to the arrays of a tuple, of which one is a dict and some are None."""
    found = []
    for one in given:
        mapped = {n: f(a) for n, a in one.items()} if isinstance(one, dict) else one
        found.append(mapped if one is None or isinstance(one, dict) else f(one))
    return tuple(found)


def attend_and_back(static, mask, query, memory, values, params, d_context, d_weights):
    score, kind = static
    context, weights, residuals = prnn.attend(
        query, memory, params, score=score, values=values, **steps_of(kind, mask)
    )
    found = prnn.attend_vjp(residuals, d_context, d_weights)
    parts = {"context": context, "weights": weights, "d_query": found.query}
    parts |= {"d_memory": found.memory} | {f"d_{n}": array for n, array in found.params.items()}
    return parts | ({"d_values": found.values} if values is not None else {})


def reference(score, kind, query, memory, values, params, d_context, d_weights):
    """Return the same by torch's autograd, a sequence at a time, from its valid steps alone."""
    import torch

    given = tree(lambda a: torch.from_numpy(a.astype(np.float64)).requires_grad_(),
                 (query, memory, values, params))  # fmt: skip
    q, m, v, w = given
    rows = q if q.ndim == 3 else q[None]
    values_of = m if v is None else v
    valid = {"": np.ones((S, B), np.bool_), "mask": MASK}.get(kind)
    valid = np.arange(S)[:, None] < np.asarray(LENGTHS) if valid is None else valid
    contexts = torch.zeros((*rows.shape[:2], values_of.shape[2]), dtype=torch.float64)
    weights = torch.zeros((*rows.shape[:2], S), dtype=torch.float64)
    for t, b in product(range(rows.shape[0]), range(B)):
        steps = torch.from_numpy(valid[:, b].nonzero()[0])
        if not len(steps):
            continue
        query_tb, memory_b = rows[t, b], m[steps, b]
        if score == "additive":
            inner = w["weight_query"] @ query_tb + memory_b @ w["weight_memory"].T
            scores = torch.tanh(inner) @ w["weight_score"][0]
        else:
            keys = memory_b @ w["weight"].T if score == "general" else memory_b
            scores = keys @ query_tb / (H**0.5 if score == "scaled_dot" else 1.0)
        p = torch.softmax(scores, dim=0)
        weights[t, b, steps] = p
        contexts[t, b] = p @ values_of[steps, b]
    if q.ndim == 2:
        contexts, weights = contexts[0], weights[0]
    wide = [torch.from_numpy(a.astype(np.float64)) for a in (d_context, d_weights)]
    ((contexts * wide[0]).sum() + (weights * wide[1]).sum()).backward()
    found = {"context": contexts, "weights": weights, "d_query": q.grad, "d_memory": m.grad}
    found |= {f"d_{name}": array.grad for name, array in w.items()}
    found |= {} if v is None else {"d_values": v.grad}
    return {name: array.detach().numpy() for name, array in found.items()}


def cases(row, dtype):
    """Return all cases in full precision, and two where each takes long or half precision."""

    class Case:
        def __init__(self, name):
            self.id = name

    names = list(CASES)
    few = row.slow or row.variant or dtype not in ("float64", "float32")
    return [Case(name) for name in (("general-values-lengths", "additive-mask") if few else names)]


def test_an_attention_and_its_cotangents_are_those_of_torch(backend, dtype, problem, record):
    """Where torch is not installed, others are compared with NumPy's in float64."""
    score, has_values, kind, has_time = CASES[problem.id]
    given = drawn(score, has_values, has_time, dtype)
    if find_spec("torch"):
        want = reference(score, kind, *given)
    else:
        wide = tree(lambda a: a.astype(np.float64), given)
        with prnn.use_namespace(np):
            want = attend_and_back((score, kind), MASK, *wide)
    mask = backend.put(MASK)
    found = backend.call(attend_and_back, (score, kind), mask, *tree(backend.put, given))
    assert found.keys() == want.keys()
    allowed = allowed_eps(backend.id, dtype)
    for name, array in want.items():
        assert found[name].dtype == backend.put(given[0]).dtype
        if backend.shapes_only:
            assert tuple(found[name].shape) == array.shape
            continue
        what, got = f"{backend.id}: {name} of {problem.id}", backend.get(found[name])
        eps = assert_close(got, array, what, scale=1.0, k=allowed)
        record("functions", f"attention-{problem.id}", name, S, eps, allowed)


def test_padding_has_no_weight_and_no_gradient_whatever_stands_there(backend):
    for score in SCORES[2 if backend.slow or backend.variant else 0 :]:
        query, memory, values, params, d_context, d_weights = drawn(score, True, True, "float32")
        nothing = drawn(score, True, True, "float32")
        for array in (memory, values):
            array[~MASK] = np.nan
        d_weights[:, ~MASK.T] = np.nan
        wrong = query, memory, values, params, d_context, d_weights
        nothing[1][~MASK], nothing[2][~MASK], nothing[5][:, ~MASK.T] = 0.0, 0.0, 0.0
        parts = []
        for arrays in (wrong, nothing):
            static, mask = (score, "mask"), backend.put(MASK)
            parts.append(backend.call(attend_and_back, static, mask, *tree(backend.put, arrays)))
        if backend.shapes_only:
            return
        found, clean = ({n: backend.get(a) for n, a in part.items()} for part in parts)
        for name, array in clean.items():
            assert np.array_equal(found[name], array), f"{backend.id}: {name} of {score}"
        assert not found["weights"][:, ~MASK.T].any()
        assert not found["d_memory"][~MASK].any()
        assert not found["d_values"][~MASK].any()
        assert not found["context"][:, 2].any()  # a sequence without any
        assert np.allclose(found["weights"].sum(axis=2)[:, [0, 1, 3]], 1.0, rtol=1e-6)


def test_large_scores_have_a_softmax(backend):
    query = backend.put(np.full((1, 2), 200.0, np.float32))
    memory = backend.put(np.asarray([[[200.0, 0.0]], [[0.0, 199.0]], [[1.0, 1.0]]], np.float32))
    given = query, memory, None, {}, query, backend.put(np.zeros((1, 3), np.float32))
    found = backend.call(attend_and_back, ("dot", ""), None, *given)
    if not backend.shapes_only:
        assert backend.get(found["weights"]).tolist() == [[1.0, 0.0, 0.0]]


def test_drawn_parameters_are_the_same_everywhere(backend):
    dtype = backend.dtypes[0]
    xp = backend.namespace(backend.put(np.ones(2, np.int32)))
    found = prnn.attention.init("additive", 3, 4, 5, seed=2, xp=xp, dtype=dtype)
    want = prnn.attention.init("additive", 3, 4, 5, seed=2, dtype=dtype)
    for name, array in want.items():
        assert backend.shapes_only or np.array_equal(backend.get(found[name]), array)
