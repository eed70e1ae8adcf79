"""A small network and its arrays, for tests of executors."""

import numpy as np

import portable_rnn as prnn

T, B, INPUTS, H, OUTPUTS = 5, 3, 4, 6, 2
MODEL = prnn.RNN(INPUTS, H, OUTPUTS, cell="gru")
PARAMS = MODEL.init(seed=0)
RNG = np.random.default_rng(0)
X = RNG.standard_normal((T, B, INPUTS)).astype(np.float32)
D_OUTPUTS = RNG.standard_normal((T, B, OUTPUTS)).astype(np.float32)
TARGETS = RNG.integers(0, OUTPUTS, (T, B))
