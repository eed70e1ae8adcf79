"""Every pointwise cell of the library, with the options that change what it computes."""

from portable_rnn.cells import CELLS, GRU, LSTM, Elman
from portable_rnn.nonlinearities import NAMES

# These mix units in a step, or need two products, and run in the Python loop.
OTHERS = ("reset_before_gru", "layer_norm_elman", "layer_norm_lstm")
POINTWISE = {
    **{name: kind() for name, kind in CELLS.items() if name not in (*OTHERS, "elman")},
    **{f"elman-{name}": Elman(name) for name in NAMES},
    "gru-options": GRU(("softsign", ("elu", 0.5)), clip=0.9),
    "lstm-peepholes": LSTM(peepholes=True),
    "lstm-coupled": LSTM(coupled=True),
    "lstm-activations": LSTM(activations=("hard_sigmoid", "softsign", ("scaled_tanh", 2.0, 0.5))),
    "lstm-all": LSTM(True, True, ("softsign", "elu", "leaky_relu"), 0.7),
}
