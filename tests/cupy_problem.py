"""One layer by the fused kernels, and by the engine in float64 on the same numbers.

Imports CuPy: only where ``cupy_here.why_not()`` is "".
"""

import array_api_compat.cupy as xp
import cupy as cp
import numpy as np

import portable_rnn as prnn
from portable_rnn._engine.affine import Linear
from portable_rnn._engine.bptt import Inputs
from portable_rnn._engine.recurrence import Weights, recurrence_of
from portable_rnn._engine.setup import Setup
from portable_rnn._executors import fused

from .compiled_problem import Problem, named

H, INPUTS, OUTPUTS = 5, 3, 4


class OnCuPy(Problem):
    """The same numbers, as CuPy's arrays."""

    executor = fused.Fused

    def compiled(self, *, reverse=False, d_hidden=True):
        """Return results of the fused kernels by name."""
        put = cp.asarray
        executor = self.executor(asked=True)
        scale = None if self.factors is None else put(self.factors)
        ih, hh = (Linear(put(weight), put(bias)) for weight, bias in (self.ih, self.hh))
        w = Weights(ih, hh._replace(scale=scale), None, tuple(map(put, self.own)))
        update = tuple(map(put, self.update))
        setup = Setup(
            *(xp, executor, recurrence_of(self.cell, held=bool(self.held))),
            reverse=reverse,
            products=executor.sums,
            recurrent=() if scale is None else (scale,),
            update=(update,) if update else (),
        )
        w = executor.prepare(setup, w, self.size[:2])
        given = Inputs(put(self.x), update)
        hidden, after, record = executor.layer(setup, w, given, tuple(map(put, self.state)))
        d_w, d_x, d_before = executor.layer_vjp(
            *(setup, w, given, record, put(self.d_hidden) if d_hidden else None),
            *(tuple(map(put, self.d_state)), None),
        )
        found = named(hidden, after, d_w, d_x, d_before)
        return {
            name: array.get().reshape(array.shape[-array.ndim :]) for name, array in found.items()
        }

    def eager(self, **how):
        found = super().eager(**how)
        for name in ("d b_ih", "d b_hh"):
            found[name] = found[name].reshape(-1)
        return found


def network(cell, steps, batch, dtype="float32"):
    """Return a model, and CuPy arrays: parameters, input and targets."""
    model = prnn.RNN(INPUTS, H, OUTPUTS, cell=cell)
    rng = np.random.default_rng(0)
    params = {name: cp.asarray(array) for name, array in model.init(seed=0, dtype=dtype).items()}
    x = cp.asarray(rng.standard_normal((steps, batch, INPUTS)).astype(dtype))
    return model, params, x, cp.asarray(rng.integers(0, OUTPUTS, (steps, batch)))
