"""One layer by the persistent kernels, and by the engine in float64 on the same numbers.

On a CUDA device; where there is no driver, on the emulated one of the conformance suite.
"""

from functools import cache

import ml_dtypes
import numpy as np
from conformance.tolerances import error_in_eps

from portable_rnn._engine.affine import SUMS, Linear
from portable_rnn._engine.recurrence import Weights, recurrence_of
from portable_rnn._executors.trace import trace

from .compiled_problem import Problem, named

DTYPES = {
    "float32": np.float32,
    "float64": np.float64,
    "float16": np.float16,
    "bfloat16": ml_dtypes.bfloat16,
}


@cache
def traced(cell, held=""):
    """Return the program of a cell."""
    return trace(cell, held)


class Persistent(Problem):
    """Numbers for one layer, and its results by the persistent kernels."""

    def program(self):
        return traced(self.cell, self.held)

    def plan(self, **asked):
        """Return a plan for an H100."""
        from portable_rnn._executors.cuda_plan import Limits, plan

        name, (_, batch, units) = np.dtype(self.dtype).name, self.size
        found = plan(self.program(), batch, units, name, Limits(), **asked)
        assert not isinstance(found, str), found
        return found

    def kernels(self, plan, change=str, **how):
        """Return the layer; ``change`` alters the source."""
        import cupy

        from portable_rnn._executors.cuda_persistent import source
        from portable_rnn._executors.persistent_layer import Layer

        own = cupy.asarray(np.concatenate(self.own)) if self.own else None
        arrays = (cupy.asarray(array) for array in (self.hh[0], self.ih[1], self.hh[1]))
        text = change(source(self.program(), plan, scaled=self.scaled))
        return Layer(self.program(), plan, *arrays, own, scaled=self.scaled, text=text, **how)

    def by_kernels(self, plan, *, reverse=False, d_hidden=True, stepwise=False, change=str):
        """Return results by name, in the dtype; what surrounds the kernels is float64's."""
        layer = self.kernels(plan, change)
        return self.run(layer, reverse=reverse, d_hidden=d_hidden, stepwise=stepwise)

    def run(self, layer, *, reverse=False, d_hidden=True, stepwise=False):
        """Return results of a layer by name."""
        import cupy

        # Without its pool: memory of an earlier call would hold what this one shall compute.
        allocator = cupy.cuda.get_allocator()
        cupy.cuda.set_allocator(None)
        try:
            return self._run(layer, reverse=reverse, d_hidden=d_hidden, stepwise=stepwise)
        finally:
            cupy.cuda.set_allocator(allocator)

    def _run(self, layer, *, reverse, d_hidden, stepwise):
        import cupy

        put, how = cupy.asarray, {"stepwise": stepwise}
        ax = (self.x.astype(np.float64) @ self.ih[0].T.astype(np.float64)).astype(self.dtype)
        scale = None if self.factors is None else put(self.factors)
        record = layer.forward(
            *(put(ax), tuple(map(put, self.state)), tuple(map(put, self.update)), scale),
            **{"reverse": reverse, **how},
        )
        given = put(self.d_hidden) if d_hidden else None
        found = layer.backward(record, given, tuple(map(put, self.d_state)), **how)
        layer.check()
        return self._named(record, found)

    def _named(self, record, found):
        def wide(array):
            array = array.get() if hasattr(array, "get") else array
            return array if array.dtype == np.bool_ else array.astype(np.float64)

        def cast(arrays):
            return tuple(map(wide, arrays))

        factors = None if self.factors is None else wide(self.factors)
        ih, hh = Linear(*cast(self.ih)), Linear(*cast(self.hh), factors)
        w = Weights(ih, hh, None, cast(self.own))
        d_own, start = [], 0
        for vector in self.own:
            d_own.append(wide(found.d_own)[..., start : start + len(vector)])
            start += len(vector)
        rows = (*d_own, wide(found.d_ax))
        rows = rows if found.d_ah is found.d_ax else (*rows, wide(found.d_ah))
        pair = recurrence_of(self.cell, held=bool(self.held))
        before = wide(record.hidden_before)
        d_w, d_ax = pair.weights_vjp(np, w, wide(self.x), before, rows, SUMS)
        last = 0 if record.reverse else -1
        after = [wide(states[last]) for states in record.states]
        d_before = tuple(map(wide, found.d_state))
        results = named(wide(record.hidden), after, d_w, ih.vjp_x(np, d_ax), d_before)
        return {name: array.astype(self.dtype) for name, array in results.items()}

    def worst(self, plan, *, bound, reverse=False, d_hidden=True, **how):
        """Compare with the engine; return the largest error in eps, which has a bound."""
        got = self.by_kernels(plan, reverse=reverse, d_hidden=d_hidden, **how)
        return self.compare(got, bound=bound, reverse=reverse, d_hidden=d_hidden)

    def compare(self, got, *, bound, reverse=False, d_hidden=True):
        """Compare results with the engine's; return the largest error in eps."""
        want = self.eager(reverse=reverse, d_hidden=d_hidden)
        arrays = [*self.ih, *self.hh, *self.own, *self.state]
        largest = [
            max(float(np.abs(array.astype(np.float64)).max()) for array in some)
            for some in (arrays, (self.d_hidden, *self.d_state))
        ]
        worst = 0.0
        for name, expected in want.items():
            scale = largest[name not in ("hidden", "after 0", "after 1")]
            error = error_in_eps(got[name], expected, scale=scale)
            assert error <= bound, f"{name}: {error:.3g} eps, {self.size}"
            worst = max(worst, error)
        return worst
