"""Estimators of scikit-learn: networks with ``fit``, ``predict`` and ``score``.

They go where other estimators do: into pipelines, grid searches and cross-validation, ``clone`` and
``pickle``. Sequences come first, and ``X`` is one of

- an array (N, T, F): N sequences of T steps with F features;
- an array or data frame (N, T): N sequences of T steps with one feature, so that a row is a
  sequence, and ``n_features_in_`` is T;
- a list of arrays (T_i, F), or (T_i,) for one feature: sequences of different lengths.

Arrays may be of any library, such as torch or CuPy, whether or not scikit-learn's setting
``array_api_dispatch`` is on. The network is then trained in that library and on that device, and
predictions are arrays of it. Dtypes float32 and float64 are kept; lists and integers become
float64.

Needs scikit-learn, extra ``sklearn``.
"""

try:
    # In 1.6, as are the tags of estimators.
    from sklearn.utils.validation import validate_data  # noqa: F401
except ImportError:
    raise ImportError(
        "portable_rnn.sklearn needs scikit-learn 1.6 or later: pip install 'portable-rnn[sklearn]'"
    ) from None

from .classifier import RNNClassifier
from .forecaster import RNNForecaster
from .regressor import RNNRegressor

__all__ = ["RNNClassifier", "RNNForecaster", "RNNRegressor"]
