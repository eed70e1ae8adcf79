"""A network that predicts numbers from sequences."""

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score

from .._arrays import checks as check
from .._arrays.namespace import Array
from .._engine.pooling import POOLS
from .network import Network
from .targets import checked_loss, checked_numbers, checked_weights, on_host

__all__ = ["RNNRegressor"]


class RNNRegressor(RegressorMixin, Network):  # type: ignore[misc]
    """Predict one number or several from each sequence by a recurrent network.

    Targets are not scaled: give ``TransformedTargetRegressor(RNNRegressor(),
    transformer=StandardScaler())`` targets that are far from 0 and 1.

    Parameters
    ----------
    hidden_size, num_layers, cell, bidirectional, pool, dropout
        As for :class:`portable_rnn.RNN`. ``dropout`` acts between layers.
    loss : str or callable
        "mean_squared_error", "huber" or "pinball" of :mod:`portable_rnn.losses`, or a function like
        them, such as ``functools.partial(portable_rnn.losses.pinball, quantile=0.9)``.
    solver, learning_rate_init, batch_size, max_iter, max_norm
        As for `RNNClassifier`.
    early_stopping, validation_fraction, n_iter_no_change
        As for `RNNClassifier`, but not stratified.
    warm_start, random_state, verbose
        As for `RNNClassifier`.

    Attributes
    ----------
    model_ : RNN
        The network; its outputs are the predictions.
    params_, n_features_in_, feature_names_in_, n_iter_, loss_, loss_curve_, validation_loss_curve_
        As of `RNNClassifier`.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.sklearn import RNNRegressor
    >>> X = np.random.default_rng(0).normal(size=(100, 10, 2))
    >>> y = X[:, :, 0].mean(axis=1)
    >>> regressor = RNNRegressor(hidden_size=8, max_iter=100, random_state=0).fit(X, y)
    >>> regressor.predict(X).shape, regressor.score(X, y) > 0.9
    ((100,), True)
    """

    def __init__(
        self,
        hidden_size: int = 32,
        *,
        num_layers: int = 1,
        cell: Any = "gru",
        bidirectional: bool = False,
        pool: str = "last",
        dropout: float = 0.0,
        loss: Any = "mean_squared_error",
        solver: Any = "adam",
        learning_rate_init: Any = 0.01,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        max_norm: float | None = 1.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: bool | int = False,
    ) -> None:
        super().__init__(
            hidden_size,
            num_layers=num_layers,
            cell=cell,
            dropout=dropout,
            solver=solver,
            learning_rate_init=learning_rate_init,
            batch_size=batch_size,
            max_iter=max_iter,
            max_norm=max_norm,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            warm_start=warm_start,
            random_state=random_state,
            verbose=verbose,
        )
        self.bidirectional = bidirectional
        self.pool = pool
        self.loss = loss

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "RNNRegressor":
        """Train the network.

        Parameters
        ----------
        X : array (N, T, F) or (N, T), or list of arrays (T_i, F) or (T_i,)
        y : array, shape (N,) or (N, O)
        sample_weight : array, shape (N,), optional
            Weight of each sequence in the loss, 0 or more; a batch is divided by its weights' sum.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            If a parameter or an argument does not fit; the message names it.
        FloatingPointError
            If the loss is no longer finite.
        """
        return self._learn(X, y, sample_weight, partial=False)

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> "RNNRegressor":
        """Train the network for one more epoch; several continue each other as those of `fit` do.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As `fit` does; with ``early_stopping``.
        """
        return self._learn(X, y, sample_weight, partial=True)

    def _learn(self, X: Any, y: Any, sample_weight: Any, *, partial: bool) -> "RNNRegressor":
        found = self._checked(X, reset=not self._continues(partial))
        numbers = checked_numbers(y, found.x.shape[0])
        weights = checked_weights(sample_weight, len(numbers))
        rows = numbers.reshape(len(numbers), -1).astype(np.float64)
        model = self._network(
            found.x.shape[2],
            rows.shape[1],
            bidirectional=self.bidirectional,
            pool=check.choice("pool", self.pool, POOLS),
        )
        loss = checked_loss(self.loss)
        self._train(model, found, rows, weights=weights, loss=loss, partial=partial)
        self._one = numbers.ndim == 1
        return self

    def predict(self, X: Any) -> Array:
        """Return the prediction for each sequence, shape (N,) or (N, O) as ``y`` in `fit`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before the first fit.
        TypeError, ValueError
            If ``X`` does not fit.
        """
        outputs = self._outputs(X, "predict")
        return outputs[:, 0] if self._one else outputs

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return R², the share of the variance of ``y`` that is predicted.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before the first fit.
        TypeError, ValueError
            If an argument does not fit.
        """
        numbers, weights = on_host(y), on_host(sample_weight)
        return float(r2_score(numbers, on_host(self.predict(X)), sample_weight=weights))
