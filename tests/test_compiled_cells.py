"""Compiled custom cells: those that may change, and those that are declared constant."""

import dataclasses

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn import executors
from portable_rnn._executors import choose, programs
from portable_rnn._executors.compiled import Compiled
from portable_rnn.cells import GRU

from .own_cell import MinimalGated
from .small_network import INPUTS, H, T, X

if reason := choose.no_compiler(by_name=False):
    pytest.skip(f"not run: {reason}", allow_module_level=True)


def test_a_cell_that_is_changed_is_traced_again():
    class Scaled(MinimalGated):
        def __init__(self):
            self.factor = 1.0

        def step(self, xp, ax, ah, state):
            (h,), residuals = super().step(xp, ax * self.factor, ah, state)
            return (h,), residuals

    cell = Scaled()
    model = prnn.RNN(INPUTS, H, cell=cell)
    params = model.init(seed=0)
    for factor in (1.0, 3.0):
        cell.factor = factor
        with executors.use("eager"):
            want = prnn.predict(model, params, X)
        with executors.use("compiled"):
            assert np.allclose(prnn.predict(model, params, X), want, atol=1e-6)


def test_a_cell_that_cannot_be_hashed_is_compiled():
    class Unhashable(MinimalGated):
        __hash__ = None

        def __init__(self):
            self.notes = []

    model = prnn.RNN(INPUTS, H, cell=Unhashable())
    with executors.use("compiled"):
        found = prnn.forward(model, model.init(seed=0), X).tape.executor
    assert isinstance(found, Compiled)


def test_a_cell_that_changes_at_every_call_is_left_to_python():
    class Drifting(MinimalGated):
        def __init__(self):
            self.factor = 1.0

        def step(self, xp, ax, ah, state):
            (h,), residuals = super().step(xp, ax * self.factor, ah, state)
            return (h,), residuals

    cell = Drifting()
    model = prnn.RNN(INPUTS, H, cell=cell)
    params = model.init(seed=0)
    programs.MOST, before = 2, programs.MOST
    try:
        for factor in (1.0, 2.0, 3.0, 4.0):
            cell.factor = factor
            with executors.use("eager"):
                want = prnn.predict(model, params, X)
            with executors.use("auto"):
                assert np.allclose(prnn.predict(model, params, X), want, atol=1e-6)
        with executors.use("compiled"), pytest.raises(ValueError, match="changed 2 times"):
            prnn.predict(model, params, X)
    finally:
        programs.MOST = before


class Counting(MinimalGated):
    """Cells that change with every call."""

    def __init__(self):
        self.calls, self.seen, self.rng = 0, [], np.random.default_rng(0)

    def step(self, xp, ax, ah, state):
        self.calls += 1
        if self.what == "records":
            self.calls = 0
            self.seen.append(state[0])
        factor = {"counts": 1.0 + (self.calls > 3), "records": 1.0, "draws": 1.0}[self.what]
        if self.what == "draws":
            self.calls = 0
            factor = float(self.rng.random())
        return super().step(xp, ax * factor, ah, state)


@pytest.mark.parametrize("what", ["counts", "records", "draws"])
def test_a_cell_that_changes_as_it_is_called_is_left_as_it_was(what):
    found = {}
    for name in ("eager", "auto"):
        cell = Counting()
        cell.what = what
        model = prnn.RNN(INPUTS, H, cell=cell)
        params = model.init(seed=0)
        with executors.use(name):
            if name == "auto":
                assert executors.explain(model).startswith("eager: its cell: it")
            found[name] = prnn.predict(model, params, X)
            assert len(cell.seen) == (T if what == "records" else 0)
    assert np.array_equal(found["eager"], found["auto"])


def test_a_frozen_cell_is_known_by_its_source_and_the_types_it_holds():
    @dataclasses.dataclass(frozen=True)
    class Leaky(MinimalGated):
        factor: float = 1.0

        def step(self, xp, ax, ah, state):
            return MinimalGated.step(self, xp, ax * self.factor, ah, state)

    params = prnn.RNN(INPUTS, H, cell=Leaky()).init(seed=0)
    with executors.use("auto"):
        one = prnn.predict(prnn.RNN(INPUTS, H, cell=Leaky(0.5)), params, X)
        assert one.dtype == np.float32
        # NumPy's number is not a Python number, and gives arrays another dtype
        assert executors.explain(prnn.RNN(INPUTS, H, cell=Leaky(np.float64(0.5)))).startswith(
            "eager"
        )
        wide = prnn.forward(prnn.RNN(INPUTS, H, cell=Leaky(np.float64(0.5))), params, X)
        assert wide.outputs.dtype == np.float64
        Leaky.step = lambda self, xp, ax, ah, state: MinimalGated.step(self, xp, -ax, ah, state)
        other = prnn.predict(prnn.RNN(INPUTS, H, cell=Leaky(0.5)), params, X)
    with executors.use("eager"):
        want = prnn.predict(prnn.RNN(INPUTS, H, cell=Leaky(0.5)), params, X)
    assert np.allclose(other, want, atol=1e-6)
    assert not np.allclose(other, one, atol=1e-3)


def test_the_librarys_cells_may_have_any_number_of_settings(monkeypatch):
    monkeypatch.setattr(programs, "MOST", 1)
    with executors.use("compiled"):
        for clip in (1.0, 2.0, 3.0):
            model = prnn.RNN(INPUTS, H, cell=GRU(clip=clip))
            assert np.all(np.isfinite(prnn.predict(model, model.init(seed=0), X)))
