"""Training on every backend: the same parameters, and the same bits after a resume."""

import functools

import numpy as np
import pytest

import portable_rnn as prnn
from conformance.backends import BACKENDS, required, why_not
from conformance.tolerances import assert_close
from portable_rnn.batches import Shuffled
from portable_rnn.training import Callback, train

STEPS = 12


class Stop(Callback):
    def on_step(self, run):
        if run.step == 5:
            run.stop("enough")


@pytest.fixture(params=BACKENDS)
def backend(request):
    reason = why_not(request.param)
    if reason is not None and request.param not in required():
        pytest.skip(f"not run: {reason}")
    return BACKENDS[request.param]


def trainer(backend, cell):
    """Return `train` with everything given but where to save and when to stop."""
    rng = np.random.default_rng(0)
    x, targets = rng.standard_normal((6, 8, 3)), rng.integers(0, 4, (6, 8))
    model = prnn.RNN(3, 5, 4, cell=cell)
    return functools.partial(
        train,
        model,
        {name: backend.put(p) for name, p in model.init(seed=0, dtype="float64").items()},
        Shuffled(backend.put(x), backend.put(targets), batch_size=4),
        steps=STEPS,
        lr=functools.partial(prnn.schedules.cosine, lr=0.02, steps=STEPS),
        max_norm=0.3,
    )


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_a_short_training_ends_at_the_same_parameters(backend, cell):
    here = trainer(backend, cell)()
    there = trainer(BACKENDS["numpy"], cell)()
    for name, reference in there.params.items():
        assert_close(backend.get(here.params[name]), reference, f"{backend.id} {cell} {name}", k=8)
    assert here.loss == pytest.approx(there.loss, rel=1e-12)


def test_a_resumed_run_has_the_same_bits(backend, tmp_path):
    go = trainer(backend, "lstm")
    whole = go(checkpoint=tmp_path / "whole")
    go(checkpoint=tmp_path / "parts", callbacks=[Stop()])
    resumed = go(checkpoint=tmp_path / "parts", resume=True)
    assert resumed.step == STEPS
    for name, p in whole.params.items():
        assert backend.get(resumed.params[name]).tobytes() == backend.get(p).tobytes(), name
        assert type(resumed.params[name]) is type(p)
