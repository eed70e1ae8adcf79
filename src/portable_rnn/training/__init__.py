"""Training loop with batches, evaluation, early stopping, checkpoints and resume.

A run is a pure function of the model, the initial parameters, the batches and the options:
`train` can be stopped at any moment, by Ctrl-C or by kill -9, and called again with
``resume=True``, and it ends with the same `Run`, bit for bit, as without the interruption.
"""

from .evaluation import evaluate
from .loggers import History, MLflow, TensorBoard, WandB
from .loop import train
from .run import Callback, Run

__all__ = ["Callback", "History", "MLflow", "Run", "TensorBoard", "WandB", "evaluate", "train"]
