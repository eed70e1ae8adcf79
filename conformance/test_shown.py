"""Results are shown without reading a value, on every backend."""

import numpy as np

import portable_rnn as prnn

from .backend import host_dtype


def test_a_result_is_shown_by_dtype_and_shape(backend, dtype):
    array = backend.put(np.full((2, 3), 0.75, host_dtype(dtype)))
    text = repr(prnn.Gradients({"w": array}, None, (array, array + array)))
    assert text.count(f" {dtype} (2, 3)") == 3, text
    assert "75" not in text
    assert len(text) < 400
