"""One compiled layer and the engine on the same numbers, for the tests of compiled layers."""

import numpy as np
from conformance.mutants import compiled_here
from conformance.tolerances import K, error_in_eps

from portable_rnn._engine.affine import SUMS, Linear
from portable_rnn._engine.bptt import Inputs
from portable_rnn._engine.recurrence import Weights, recurrence_of
from portable_rnn._engine.setup import Setup
from portable_rnn._executors.compiled_layer import Layer
from portable_rnn._executors.eager import EAGER
from portable_rnn._executors.kernel import kernel
from portable_rnn.cells import Elman

from .own_cell import MinimalGated
from .pointwise_cells import POINTWISE

CELLS = POINTWISE | {"elman-clip": Elman("elu", clip=0.5), "of one's own": MinimalGated()}
OPTIONS = {
    "mask": {"held": "choose", "per_sequence": True},
    "zoneout": {"held": "choose"},
    "zoneout, predicted": {"held": "mix", "mean": True},
    "mixed": {"held": "mix"},
    "recurrent dropout": {"scaled": True},
    "all": {"held": "choose", "scaled": True},
}
SIZES = [(T, B, H) for T in (1, 2, 7) for B in (1, 2, 5, 16) for H in (1, 3, 8, 17, 64)]
SIZES = SIZES if compiled_here.EVERY else SIZES[::2]  # an even step leaves each size in
FEW_SIZES = [(7, 5, 17), (2, 1, 3), (2, 16, 64)]
INPUTS = 3
# On every change, one cell of each kind; `nox -s compiled` runs all.
EVERY = compiled_here.EVERY
WIDTHS = (128, 256, 512) if EVERY else (128, 256)  # bits of a vector
KINDS = ("elman-tanh", "gru", "lstm", "lstm-peepholes", "of one's own")
CHANGED = list(CELLS) if EVERY else KINDS


class Problem:
    """Numbers for one layer, and the results of the engine and of the compiled loops."""

    def __init__(
        self, cell, dtype, size, *, held="", scaled=False, per_sequence=False, mean=False, seed=0
    ):
        self.cell, self.dtype, self.held, self.scaled = cell, dtype, held, scaled
        T, B, H = self.size = size
        rng, G = np.random.default_rng(seed), cell.gates

        def draw(*shape, scale=1.0):
            return (scale * rng.standard_normal(shape)).astype(dtype)

        self.own = tuple(draw(v.multiple * H, scale=0.3) for v in getattr(cell, "vectors", ()))
        self.x, self.d_hidden = draw(T, B, INPUTS), draw(T, B, H)
        self.state = tuple(draw(B, H) for _ in range(cell.states))
        self.d_state = tuple(draw(B, H) for _ in range(cell.states))
        self.factors = (rng.random((B, H)) < 0.5).astype(dtype) * dtype(2.0) if scaled else None
        self.ih = draw(G * H, INPUTS, scale=INPUTS**-0.5), draw(G * H)
        self.hh = draw(G * H, H, scale=H**-0.5), draw(G * H)
        shape = (T, B, 1) if per_sequence else (T, 1, 1) if mean else (T, B, H)
        update = [rng.random(shape) for _ in range(cell.states if held else 0)]
        choose = [u < 0.6 for u in update]
        if per_sequence:
            choose = choose[:1] * cell.states
        self.update = tuple(u.astype(dtype) for u in update) if held == "mix" else tuple(choose)

    def eager(self, *, reverse=False, dtype=np.float64, d_hidden=True):
        """Return results of the engine by name."""

        def cast(array):
            keep = array is None or array.dtype == np.bool_
            return array if keep else array.astype(dtype)

        ih, hh = (Linear(*map(cast, pair)) for pair in (self.ih, self.hh))
        w = Weights(ih, hh._replace(scale=cast(self.factors)), None, tuple(map(cast, self.own)))
        setup = Setup(np, EAGER, recurrence_of(self.cell, held=bool(self.held)), reverse=reverse)
        state, update, x = tuple(map(cast, self.state)), tuple(map(cast, self.update)), cast(self.x)
        given = Inputs(x, update)
        hidden, after, record = EAGER.layer(setup, w, given, state)
        d_w, d_x, d_before = EAGER.layer_vjp(
            *(setup, w, given, record, cast(self.d_hidden) if d_hidden else None),
            *(tuple(map(cast, self.d_state)), None),
        )
        return named(np.stack(hidden), after, d_w, d_x, d_before)

    def layer(self, *, target=None, threads=1):
        """Return the compiled layer."""
        loops = kernel(
            self.cell, np.dtype(self.dtype).name, held=self.held, scaled=self.scaled, target=target
        )
        return Layer(loops, self.hh[0], self.ih[1], self.hh[1], self.own, threads=threads)

    def compiled(self, *, reverse=False, target=None, d_hidden=True, threads=1):
        """Return results of the compiled loops by name."""
        compiled = self.layer(target=target, threads=threads)
        ax = np.stack([x @ self.ih[0].T for x in self.x])
        hidden, after, record = compiled.forward(
            ax, self.state, self.update, self.factors, reverse=reverse
        )
        given = self.d_hidden if d_hidden else None
        found = compiled.backward(record, given, self.d_state)
        ih, hh = Linear(*self.ih), Linear(*self.hh, self.factors)
        w = Weights(ih, hh, None, self.own)
        rows = (*found.d_own, found.d_ax)
        rows = rows if found.d_ah is found.d_ax else (*rows, found.d_ah)
        pair = recurrence_of(self.cell, held=bool(self.held))
        d_w, d_ax = pair.weights_vjp(np, w, self.x, record.hidden_before, rows, SUMS)
        return named(hidden, after, d_w, ih.vjp_x(np, d_ax), found.d_state)

    def check(self, **how):
        """Compare both; return the worst error in eps."""
        want, got, worst = self.eager(**_known(how)), self.compiled(**how), 0.0
        arrays = [*self.ih, *self.hh, *self.own, *self.state]
        sizes = {"forward": max(float(np.abs(array).max()) for array in arrays)}
        sizes["back"] = max(float(np.abs(d).max()) for d in (self.d_hidden, *self.d_state))
        for name, expected in want.items():
            assert got[name].dtype == self.dtype
            scale = sizes["forward" if name in ("hidden", "after 0", "after 1") else "back"]
            error = error_in_eps(got[name], expected, scale=scale)
            assert error <= K, f"{name}: {error:.3g} eps, {self.size}"
            worst = max(worst, error)
        return worst


def _known(how):
    return {name: value for name, value in how.items() if name not in ("target", "threads")}


def named(hidden, after, d_w, d_x, d_before):
    """Return results by name."""
    return {
        "hidden": hidden,
        **{f"after {i}": part for i, part in enumerate(after)},
        "d W_ih": d_w.ih.weight,
        "d W_hh": d_w.hh.weight,
        "d b_ih": d_w.ih.bias,
        "d b_hh": d_w.hh.bias,
        **{f"d own {i}": part for i, part in enumerate(d_w.own)},
        "d x": d_x,
        **{f"d before {i}": part for i, part in enumerate(d_before)},
    }


def bits(problem, *, batch=None, target=None):
    """Return all results of the loops for the first sequences, as arrays.

    The product before the loop is not included: BLAS rounds it depending on the batch size.
    """
    dtype = np.dtype(problem.dtype).name
    loops = kernel(problem.cell, dtype, held=problem.held, scaled=problem.scaled, target=target)
    compiled = Layer(loops, problem.hh[0], problem.ih[1], problem.hh[1], problem.own)
    ax = np.stack([x @ problem.ih[0].T for x in problem.x])[:, :batch]
    state, d_state = (
        tuple(part[:batch] for part in parts) for parts in (problem.state, problem.d_state)
    )
    update = tuple(part[:, :batch] for part in problem.update)
    scale = None if problem.factors is None else problem.factors[:batch]
    hidden, after, record = compiled.forward(ax, state, update, scale)
    found = compiled.backward(record, problem.d_hidden[:, :batch], d_state)
    return [hidden, *(part[None] for part in (*after, *found.d_state)), found.d_ax, found.d_ah]
