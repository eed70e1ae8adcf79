"""Every pointwise cell of the library, with the options that change what it computes."""

from portable_rnn.cells import GRU, LSTM, MGU, Elman
from portable_rnn.nonlinearities import NAMES

POINTWISE = {
    **{f"elman-{name}": Elman(name) for name in NAMES},
    "gru": GRU(),
    "gru-options": GRU(("softsign", ("elu", 0.5)), clip=0.9),
    "lstm": LSTM(),
    "lstm-peepholes": LSTM(peepholes=True),
    "lstm-coupled": LSTM(coupled=True),
    "lstm-activations": LSTM(activations=("hard_sigmoid", "softsign", ("scaled_tanh", 2.0, 0.5))),
    "lstm-all": LSTM(True, True, ("softsign", "elu", "leaky_relu"), 0.7),
    "mgu": MGU(),
}
