"""What training costs a user of CuPy in waits and transfers, by step, log, evaluation and save.

Counted on an emulated device; see `test_cuda_contracts.py`.
"""

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.batches import Shuffled
from portable_rnn.training import evaluate, train

from . import cuda_on_host
from .cuda_calls import LENGTHS, Given

pytestmark = pytest.mark.rows("cupy-host")
BATCHES = 2  # of an epoch


def dtypes(row):
    return ("float32",)


@pytest.fixture
def given(backend, dtype):
    return Given(backend.xp, backend.put)


def source(given, **options):
    return Shuffled(given.x, given.labels, batch_size=2, **options)


def weights(given):
    return given.put(np.ones(given.labels.shape, "float32"))


def waits(call):
    """Return what a call waits for and moves, after one that compiled the kernels."""
    call()
    with cuda_on_host.Log() as log:
        call()
    return log.waits


@pytest.mark.parametrize("log_every", [3, 6, 12])
def test_training_waits_once_for_each_log(given, log_every):
    network, batches = given.network(), source(given)
    steps, logs = 12, 12 // log_every

    def call():
        train(*network, batches, steps=steps, log_every=log_every, max_norm=1.0)

    # Each batch sends which sequences it takes.
    assert waits(call) == {"h2d": steps, "d2h": logs, "sync": logs}


def test_training_sends_the_lengths_of_each_batch(given):
    network, batches = given.network(), source(given, lengths=LENGTHS)

    def call():
        train(*network, batches, steps=4, log_every=4)

    # Which sequences, which steps are valid, and for sequences that are not sorted their order.
    unsorted = sum(a < b for a, b in (batches.batch(step).lengths for step in range(4)))
    assert waits(call) == {"h2d": 8 + unsorted, "d2h": 1, "sync": 1}


def test_training_draws_the_masks_of_dropout_on_the_device(given):
    model, params = given.network(num_layers=2, dropout=0.5)
    batches = source(given)

    def call():
        train(model, params, batches, steps=4, log_every=4)

    assert waits(call) == {"h2d": 4, "d2h": 1, "sync": 1}


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
def test_an_evaluation_waits_once(given, weighted):
    model, params = given.network()
    batches = source(given, weights=weights(given) if weighted else None)
    assert waits(lambda: evaluate(model, params, batches)) == {"h2d": BATCHES, "d2h": 1, "sync": 1}


def test_validation_waits_once_for_each_evaluation(given):
    network, batches = given.network(), source(given)

    def call():
        train(*network, batches, steps=4, log_every=4, validation=batches, evaluate_every=2)

    # Two evaluations, and one log.
    assert waits(call) == {"h2d": 4 + 2 * BATCHES, "d2h": 3, "sync": 3}


def test_a_file_of_weights_waits_once(given, tmp_path):
    pytest.importorskip("safetensors", reason="not run: safetensors is not installed")
    _, params = given.network(num_layers=2)
    path = tmp_path / "weights.safetensors"
    found = waits(lambda: prnn.serialization.save_weights(path, params))
    assert found == {"d2h": len(params), "sync": 1}
    found = waits(lambda: prnn.serialization.load_weights(path, xp=given.xp))
    assert found == {"h2d": len(params)}


def test_a_checkpoint_waits_three_times(given, tmp_path):
    pytest.importorskip("safetensors", reason="not run: safetensors is not installed")
    model, params = given.network()
    batches, paths = source(given), iter(("one", "two", "three", "four"))

    def call(saves):
        path = tmp_path / next(paths)
        train(model, params, batches, steps=6, log_every=6, checkpoint=path, save_every=6 // saves)

    one, two = (waits(lambda saves=saves: call(saves)) for saves in (1, 2))
    # Whether the pending losses and the parameters are finite, and all that is saved.
    assert two["sync"] - one["sync"] == 3
    # Pending losses, parameters, three of each parameter, and the state.
    assert two["d2h"] - one["d2h"] == 2 + 3 * len(params) + 3 + 2
    assert two["h2d"] == one["h2d"]


def test_training_runs_on_the_device_of_the_parameters(backend, dtype, tmp_path):
    cp = backend.xp

    def put(array):
        with cp.cuda.Device(1):
            return cp.asarray(array)

    given = Given(cp, put)
    batches = source(given, weights=weights(given))
    with cuda_on_host.Log() as log:
        run = train(*given.network(), batches, steps=4, validation=batches, max_norm=1.0)
    assert {array.device.id for array in run.params.values()} == {1}
    assert set(log.devices) == {1}
    assert cp.cuda.runtime.getDevice() == 0
    assert np.isfinite(run.loss)
