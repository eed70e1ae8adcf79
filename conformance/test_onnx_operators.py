"""The cells compute what ONNX's RNN, GRU and LSTM specify: forward, against onnxruntime.

Gradients are checked against the scalar loop (see oracles/scalar_loop.py); here the meaning of
every option is compared, with a runtime that shares no code with either.
"""

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.cells import GRU, LSTM, Elman, ResetBeforeGRU

from .tolerances import assert_close

onnx = pytest.importorskip("onnx", reason="not run: the oracle of these is onnxruntime")
runtime = pytest.importorskip("onnxruntime", reason="not run: the oracle of these is onnxruntime")

STEPS, BATCH, INPUTS, HIDDEN = 6, 3, 4, 5
# Rows of the weights by gate, from ONNX's order to ours.
GATES = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1)}
ACTIVATIONS = {
    "Relu": "relu",
    "Tanh": "tanh",
    "Sigmoid": "sigmoid",
    "Affine": ("affine", 0.7, 0.2),
    "LeakyRelu": ("leaky_relu", 0.3),
    "ThresholdedRelu": ("thresholded_relu", 0.4),
    "ScaledTanh": ("scaled_tanh", 1.3, 0.6),
    "HardSigmoid": ("hard_sigmoid", 0.3, 0.4),
    "Elu": ("elu", 0.8),
    "Softsign": "softsign",
    "Softplus": "softplus",
}


def attributes(*names):
    """Return ONNX's attributes for activations; alphas and betas are assigned in order."""
    found = {"activations": list(names)}
    numbers = [given[1:] for name in names if isinstance(given := ACTIVATIONS[name], tuple)]
    for key, index in (("activation_alpha", 0), ("activation_beta", 1)):
        if values := [n[index] for n in numbers if len(n) > index]:
            found[key] = values
    return found


def ours(*names):
    return tuple(ACTIVATIONS[name] for name in names)


CASES = {
    "RNN": ("RNN", Elman(), {}),
    "GRU after": ("GRU", GRU(), {"linear_before_reset": 1}),
    "GRU before": ("GRU", ResetBeforeGRU(), {}),
    "GRU after, clip": ("GRU", GRU(clip=0.7), {"linear_before_reset": 1, "clip": 0.7}),
    "GRU before, clip": ("GRU", ResetBeforeGRU(clip=0.7), {"clip": 0.7}),
}
for name in ACTIVATIONS:
    CASES |= {
        f"RNN {name}": ("RNN", Elman(ACTIVATIONS[name]), attributes(name)),
        f"RNN {name}, clip": (
            "RNN",
            Elman(ACTIVATIONS[name], clip=0.8),
            attributes(name) | {"clip": 0.8},
        ),
    }
    for gates in ((name, "Softsign"), ("Sigmoid", name)):
        after = attributes(*gates) | {"linear_before_reset": 1}
        CASES[f"GRU after {gates}"] = ("GRU", GRU(ours(*gates)), after)
        CASES[f"GRU before {gates}"] = ("GRU", ResetBeforeGRU(ours(*gates)), attributes(*gates))
    for place in range(3):
        gates = ["Sigmoid", "Tanh", "Tanh"]
        gates[place] = name
        CASES[f"LSTM {gates}"] = ("LSTM", LSTM(activations=ours(*gates)), attributes(*gates))
for peepholes in (False, True):
    for coupled in (False, True):
        for clip in (None, 0.7):
            options = {"input_forget": 1} if coupled else {}
            options |= {} if clip is None else {"clip": clip}
            cell = LSTM(peepholes=peepholes, coupled=coupled, clip=clip)
            CASES[f"LSTM {peepholes=} {coupled=} {clip=}"] = ("LSTM", cell, options)


def run(operator, attributes, arrays):
    """Return the results of onnxruntime for one node."""
    inputs = ["X", "W", "R", "B", "", "h"] + ([] if operator != "LSTM" else ["c", "P"])
    outputs = ["Y", "Y_h"] + (["Y_c"] if operator == "LSTM" else [])
    inputs = [name if name in arrays else "" for name in inputs]
    while not inputs[-1]:
        inputs.pop()
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    node = helper.make_node(operator, inputs, outputs, hidden_size=HIDDEN, **attributes)
    graph = helper.make_graph(
        [node],
        operator,
        [helper.make_tensor_value_info(n, kind, a.shape) for n, a in arrays.items()],
        [helper.make_tensor_value_info(n, kind, None) for n in outputs],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    session = runtime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, arrays)


@pytest.mark.parametrize("name", CASES)
def test_equals_onnxruntime(name, record_error):
    operator, cell, attributes = CASES[name]
    rng = np.random.default_rng(len(name))
    gates, lstm = len(GATES[operator]), operator == "LSTM"
    shapes = {
        "X": (STEPS, BATCH, INPUTS),
        "W": (1, gates * HIDDEN, INPUTS),
        "R": (1, gates * HIDDEN, HIDDEN),
        "B": (1, 2 * gates * HIDDEN),
        "h": (1, BATCH, HIDDEN),
    }
    shapes |= {"c": (1, BATCH, HIDDEN)} if lstm else {}
    shapes |= {"P": (1, 3 * HIDDEN)} if lstm and cell.peepholes else {}
    # Small enough that unbounded gates do not explode; large enough that clips clip.
    arrays = {n: rng.uniform(-0.5, 0.5, s).astype("float32") for n, s in shapes.items()}
    arrays["X"] = arrays["X"] * np.float32(4.0)
    found, *states = run(operator, attributes, arrays)

    def rows(array, order):
        return np.concat([array[k * HIDDEN : (k + 1) * HIDDEN] for k in order])

    order = (0, 3, 1) if lstm and cell.coupled else GATES[operator]
    bias_ih, bias_hh = np.split(arrays["B"][0], 2)
    params = {
        "weight_ih_l0": rows(arrays["W"][0], order),
        "weight_hh_l0": rows(arrays["R"][0], order),
        "bias_ih_l0": rows(bias_ih, order),
        "bias_hh_l0": rows(bias_hh, order),
    }
    if "P" in arrays:
        params["weight_peephole_l0"] = rows(arrays["P"][0], (0, 1) if cell.coupled else (0, 2, 1))
    model = prnn.RNN(INPUTS, HIDDEN, cell=cell)
    before = (arrays["h"], arrays["c"]) if lstm else arrays["h"]
    outputs, state = prnn.predict(model, params, arrays["X"], before, return_state=True)
    after = state if lstm else (state,)
    for got, want in zip((outputs, *after), (found[:, 0], *states), strict=True):
        error = assert_close(got, want.astype("float64"), name, scale=1.0)
        record_error(f"onnxruntime: {operator}", error)
