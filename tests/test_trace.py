"""Cells traced to expressions of one unit; others are refused with the reason."""

from dataclasses import dataclass

import numpy as np
import pytest

from portable_rnn._executors.program import Leaf, evaluate
from portable_rnn._executors.trace import NotPointwise, trace
from portable_rnn.cells import (
    LSTM,
    Elman,
    LayerNormElman,
    LayerNormLSTM,
    ResetBeforeGRU,
)
from portable_rnn.cells.protocol import Vector
from portable_rnn.nonlinearities import NAMES

from .pointwise_cells import POINTWISE

pytestmark = pytest.mark.no_products

BATCH, UNITS = 3, 4
CELLS = POINTWISE | {f"elman-{name}-clip": Elman(name, clip=0.5) for name in NAMES}


def draw(cell, dtype):
    """Return leaves of a program, and the same arrays as a cell is given them."""
    rng = np.random.default_rng(0)
    draw = lambda *shape: rng.standard_normal(shape).astype(dtype)  # noqa: E731
    ax, ah = draw(BATCH, cell.gates * UNITS), draw(BATCH, cell.gates * UNITS)
    state = tuple(draw(BATCH, UNITS) for _ in range(cell.states))
    own = tuple(draw(v.multiple * UNITS) for v in getattr(cell, "vectors", ()))
    d_state = tuple(draw(BATCH, UNITS) for _ in range(cell.states))
    leaves = {Leaf("ax", g): part for g, part in enumerate(blocks(ax))}
    leaves |= {Leaf("ah", g): part for g, part in enumerate(blocks(ah))}
    leaves |= {Leaf("state", i): part for i, part in enumerate(state)}
    leaves |= {Leaf("d", i): part for i, part in enumerate(d_state)}
    vectors = [part for vector in own for part in blocks(vector[None, :])]
    leaves |= {Leaf("own", i): part for i, part in enumerate(vectors)}
    return leaves, (ax, ah, state, *own), d_state


def blocks(array):
    """Return the blocks of units of an array."""
    return [array[:, i : i + UNITS] for i in range(0, array.shape[1], UNITS)]


def same(got, want, eps):
    """Check that numbers differ by at most 2 eps of the largest, or of 1."""
    got = np.broadcast_to(got, want.shape)
    assert np.max(np.abs(got - want)) <= 2 * eps * max(1.0, np.max(np.abs(want)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", CELLS)
def test_a_program_computes_what_the_cell_does(name, dtype):
    cell, eps = CELLS[name], np.finfo(dtype).eps
    program = trace(cell)
    leaves, (ax, ah, state, *own), d_state = draw(cell, dtype)
    new, residuals = cell.step(np, ax, ah, state, *own)
    d_ax, d_ah, d_before, *d_own = cell.step_vjp(np, residuals, d_state, *own)

    got = evaluate(np, program, program.forward, leaves)
    for i, want in enumerate(new):
        same(got[i], want, eps)
        leaves[Leaf("new", i)] = want
    for i, kept in enumerate(got[program.states :]):
        leaves[Leaf("stored", i)] = np.broadcast_to(kept, new[0].shape)

    back = iter(evaluate(np, program, program.backward, leaves))
    for want in blocks(d_ax):
        same(next(back), want, eps)
    for want in () if program.same else blocks(d_ah):
        same(next(back), want, eps)
    for want, has in zip(d_before, program.d_state, strict=True):
        assert (want is None) == (has is None)
        if want is not None:
            same(next(back), want, eps)
    for vector in d_own:
        for want in blocks(vector):
            same(next(back), want, eps)
    assert next(back, None) is None


@pytest.mark.parametrize(("name", "count"), [("elman-tanh", 0), ("gru", 4), ("lstm", 4)])
def test_a_state_is_not_stored_again(name, count):
    assert len(trace(CELLS[name]).stored) == count


def test_a_new_state_that_an_update_replaces_is_stored():
    assert [len(trace(Elman(), held).stored) for held in ("", "choose", "mix")] == [0, 1, 1]


@pytest.mark.parametrize("held", ["choose", "mix"])
def test_an_update_selects_where_the_new_state_is_taken(held):
    program = trace(LSTM(), held)
    leaves, (ax, ah, state), d_state = draw(LSTM(), "float64")
    rng = np.random.default_rng(1)
    update = rng.random((2, BATCH, UNITS))
    if held == "choose":
        update = update < 0.5
    leaves |= {Leaf("update", i): u for i, u in enumerate(update)}
    computed, residuals = LSTM().step(np, ax, ah, state)
    mix = [np.where(u, 1.0, 0.0) if held == "choose" else u for u in update]
    got = evaluate(np, program, program.forward, leaves)
    for i, (u, new, old) in enumerate(zip(mix, computed, state, strict=True)):
        same(got[i], u * new + (1.0 - u) * old, 1e-16)
    leaves |= {Leaf("stored", i): kept for i, kept in enumerate(got[2:])}
    leaves |= {Leaf("new", i): new for i, new in enumerate(got[:2])}

    d_new = tuple(u * d for u, d in zip(mix, d_state, strict=True))
    d_ax, _, (_, d_c) = LSTM().step_vjp(np, residuals, d_new)
    back = evaluate(np, program, program.backward, leaves)
    for got_d, want in zip(back[:4], blocks(d_ax), strict=True):
        same(got_d, want, 1e-16)
    past = [(1.0 - u) * d for u, d in zip(mix, d_state, strict=True)]
    same(back[4], past[0], 1e-16)
    same(back[5], d_c + past[1], 1e-16)


def test_a_state_that_is_not_taken_may_be_nan():
    program = trace(Elman("relu"), "choose")
    leaves = {Leaf("ax", 0): np.asarray([[np.nan, 1.0]]), Leaf("ah", 0): np.zeros((1, 2))}
    leaves |= {Leaf("state", 0): np.asarray([[7.0, 7.0]])}
    leaves |= {Leaf("update", 0): np.asarray([[False, True]])}
    assert evaluate(np, program, program.new, leaves)[0].tolist() == [[7.0, 1.0]]


def test_equal_expressions_are_listed_once():
    listed = trace(LSTM()).operations
    assert len(set(map(repr, listed))) == len(listed)
    assert sum(op.name == "sigmoid" for op in listed) == 3


def test_a_text_distinguishes_programs():
    texts = [trace(cell).text for cell in CELLS.values()]
    assert len(set(texts)) == len(texts) == len({hash(text) for text in texts})
    assert trace(Elman("affine")).text == trace(Elman(("affine", 1.0, 0.0))).text
    zeros = [trace(changed(new=lambda xp, a, zero=zero: a + zero)).text for zero in (0.0, -0.0)]
    assert zeros[0] != zeros[1]


# ------------------------------------------------------------------------- custom cells


class Own:
    """A cell of one gate; tests replace one of its functions."""

    gates = states = 1

    def step(self, xp, ax, ah, state):
        h = self.new(xp, ax + ah)
        return (h,), self.kept(xp, ax + ah, h)

    def step_vjp(self, xp, residuals, d_state):
        d_a = self.back(xp, residuals, d_state[0])
        return d_a, d_a, (None,)

    def new(self, xp, a):
        return xp.tanh(a)

    def kept(self, xp, a, h):
        return (h,)

    def back(self, xp, residuals, d):
        return d * (1.0 - residuals[0] ** 2)


def changed(**functions):
    """Return a cell with some functions of its own."""
    return type("Changed", (Own,), {name: staticmethod(f) for name, f in functions.items()})()


REFUSED = {
    "a second product": (ResetBeforeGRU(), "second product"),
    "a normalisation": (LayerNormElman(), "xp.sum"),
    "a normalisation of gates": (LayerNormLSTM(), "xp.sum"),
    "units in reverse": (changed(new=lambda xp, a: a[:, ::-1]), "one unit reads another"),
    "units shifted": (
        changed(new=lambda xp, a: xp.concat([a[:, 1:], a[:, :1]], axis=1)),
        "one unit reads another",
    ),
    "one unit for all": (changed(new=lambda xp, a: a * a[:, :1]), "one number with several units"),
    "other functions of other units": (
        changed(new=lambda xp, a: xp.concat([xp.tanh(a[:, :1]), a[:, 1:]], axis=1)),
        "not the same function for all units",
    ),
    "units mixed back": (
        changed(back=lambda xp, residuals, d: d[:, ::-1]),
        "the cotangent of ax of one unit reads another",
    ),
    "units mixed in a residual": (
        changed(kept=lambda xp, a, h: (h[:, ::-1],)),
        "a residual of one unit reads another",
    ),
    "sequences in reverse": (changed(new=lambda xp, a: a[::-1, :]), "other than blocks of units"),
    "one sequence": (changed(new=lambda xp, a: a[0, :]), "other than blocks of units"),
    "the number of sequences": (changed(new=lambda xp, a: a / a.shape[0]), "how many units"),
    "the number of units": (changed(new=lambda xp, a: a / a.shape[1]), "how many units"),
    "a branch": (changed(new=lambda xp, a: a if (a > 0) else -a), "branch"),
    "a value": (changed(new=lambda xp, a: a * float(a)), "reads a value"),
    "entries": (changed(new=lambda xp, a: a * sum(a)), "entry by entry"),
    "a method": (changed(new=lambda xp, a: a - a.mean()), "uses .mean"),
    "another library": (changed(new=lambda xp, a: np.tanh(a)), "does not run on symbols"),
    "an array of another library": (
        changed(new=lambda xp, a: a * np.float32(2.0)),
        "an array with float32",
    ),
    "another power": (changed(new=lambda xp, a: a**3), "power"),
    "an error": (changed(new=lambda xp, a: 1 / 0), "ZeroDivisionError"),
    "chance": (
        changed(new=lambda xp, a, rng=np.random.default_rng(0): a * rng.random()),
        "differs by call",
    ),
    "too few states": (changed(new=lambda xp, a: None), "is no array"),
    "too few units": (changed(new=lambda xp, a: a[:, 1:]), "more or fewer"),
    "a dtype": (changed(new=lambda xp, a: xp.astype(a, "float64")), "dtype"),
    "a sum of booleans": (changed(new=lambda xp, a: (a > 0) + a), "boolean"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_cell_that_is_not_pointwise_is_refused_with_the_reason(name):
    cell, reason = REFUSED[name]
    with pytest.raises(NotPointwise, match=reason):
        trace(cell)


def test_the_unchanged_cell_is_taken():
    assert trace(Own()).text == trace(Elman()).text


ALLOWED = {
    "a boolean residual": changed(
        new=lambda xp, a: xp.where(a > 0, a, 0.1 * a),
        kept=lambda xp, a, h: (a > 0,),
        back=lambda xp, residuals, d: xp.where(residuals[0], d, 0.1 * d),
    ),
    "a constant residual": changed(
        new=lambda xp, a: 2.0 * a,
        kept=lambda xp, a, h: (xp.full_like(a, 2.0),),
        back=lambda xp, residuals, d: d * residuals[0],
    ),
    "no residual": changed(
        new=lambda xp, a: 0.5 * a,
        kept=lambda xp, a, h: (),
        back=lambda xp, residuals, d: 0.5 * d,
    ),
    "logic": changed(
        new=lambda xp, a: xp.where((a > -1) & ~(a >= 1), a, xp.sign(a)),
        kept=lambda xp, a, h: (xp.logical_and(a > -1, a < 1),),
        back=lambda xp, residuals, d: d * xp.astype(residuals[0], d.dtype),
    ),
    "an ellipsis": changed(new=lambda xp, a: xp.tanh(a[..., :])),
}


@pytest.mark.parametrize("name", ALLOWED)
def test_residuals_of_all_kinds_come_back_as_they_were(name):
    cell = ALLOWED[name]
    program = trace(cell)
    leaves, (ax, ah, state), d_state = draw(cell, "float64")
    new, residuals = cell.step(np, ax, ah, state)
    got = evaluate(np, program, program.forward, leaves)
    same(got[0], new[0], 1e-16)
    leaves |= {Leaf("new", 0): new[0]}
    leaves |= {Leaf("stored", i): kept for i, kept in enumerate(got[1:])}
    want = cell.step_vjp(np, residuals, d_state)[0]
    same(evaluate(np, program, program.d_ax, leaves)[0], want, 1e-16)


@dataclass(frozen=True)
class Scaled:
    """A cell with vectors of its own, of two blocks and of one."""

    gates = states = 1
    vectors = (Vector("weight_two", 2), Vector("weight_one", 1))

    def step(self, xp, ax, ah, state, two, one):
        n = state[0].shape[-1]
        h = two[None, :n] * ax + two[None, n:] * ah + one
        return (h,), (ax, ah)

    def step_vjp(self, xp, residuals, d_state, two, one):
        (ax, ah), (d,), n = residuals, d_state, d_state[0].shape[-1]
        d_two = xp.concat([d * ax, d * ah], axis=1)
        return d * two[None, :n], d * two[None, n:], (None,), d_two, d


def test_own_vectors_are_blocks_one_after_another():
    program = trace(Scaled())
    assert program.own == 3
    assert [leaf for leaf in program.leaves(program.new) if leaf.name == "own"] == [
        ("own", 0),
        ("own", 1),
        ("own", 2),
    ]
    assert len(program.stored) == 2
