"""Arrays of two libraries, devices or dtypes are refused, and the argument is named."""

import numpy as np
import pytest

import portable_rnn as prnn

from .backends import BACKENDS
from .libraries import Custom, NumPy

MODEL = prnn.RNN(3, 4, 2)


def arrays(put):
    host = MODEL.init(seed=0, dtype="float64")
    params = {name: put(array) for name, array in host.items()}
    return params, put(np.ones((5, 2, 3))), put(np.zeros((5, 2), dtype=np.int64))


def test_numpy_with_another_library(backend):
    if isinstance(backend, (NumPy, Custom)) or backend.dtypes[0] != "float64":
        pytest.skip("not run: NumPy's own, or arrays whose dtype would be named first")
    params, x, targets = arrays(backend.put)
    host_params, host_x, host_targets = arrays(np.asarray)
    with pytest.raises(TypeError, match=r"^x: expected an array of .*, got one of numpy"):
        prnn.forward(MODEL, params, host_x)
    with pytest.raises(TypeError, match=r"^x: expected an array of numpy like params, got one of"):
        prnn.predict(MODEL, host_params, x)
    with pytest.raises(TypeError, match=r"^params\['bias_hh_l0'\]: .*got one of numpy"):
        prnn.forward(MODEL, params | {"bias_hh_l0": host_params["bias_hh_l0"]}, x)
    with pytest.raises(TypeError, match=r"^state: .*got one of numpy"):
        prnn.forward(MODEL, params, x, np.zeros((1, 2, 4)))
    with pytest.raises(TypeError, match=r"^targets: .*got one of numpy"):
        prnn.bptt(MODEL, params, x, host_targets)
    with pytest.raises(TypeError, match=r"^weights: .*got one of numpy"):
        prnn.bptt(MODEL, params, x, targets, weights=np.ones((5, 2)))
    fwd = prnn.forward(MODEL, params, x)
    with pytest.raises(TypeError, match=r"^d_outputs: .*got one of numpy"):
        prnn.backward(MODEL, params, fwd.tape, np.ones((5, 2, 2)))


@pytest.mark.oracle("array_api_strict")
def test_two_devices_of_one_library():
    backend = BACKENDS["array-api-strict-device1"]
    params, x, _ = arrays(backend.put)
    elsewhere = backend.xp.asarray(np.ones((5, 2, 3)), device=backend.xp.Device("device2"))
    elsewhere = backend.xp.astype(elsewhere, backend.xp.float64)
    with pytest.raises(ValueError, match=r"^x: expected device .*device1.*got .*device2"):
        prnn.forward(MODEL, params, elsewhere)
    params["readout.bias"] = backend.xp.asarray(
        np.ones(2), dtype=backend.xp.float64, device=backend.xp.Device("device2")
    )
    with pytest.raises(ValueError, match=r"^params\['readout.bias'\]: expected device .*device1"):
        prnn.forward(MODEL, params, x)
