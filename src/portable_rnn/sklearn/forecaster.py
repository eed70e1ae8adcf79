"""A network that continues series."""

from typing import Any

import numpy as np
from sklearn.metrics import r2_score

from .._arrays import checks as check
from .._arrays.devices import device_context
from .._arrays.functions import rows_at
from .._arrays.host import from_host
from .._arrays.namespace import Array, device_of, namespace_of
from ..api import predict
from ..generation import generate
from ..ragged import pack, unpack
from .network import Network
from .sequences import Sequences
from .targets import checked_loss, on_host

__all__ = ["RNNForecaster"]


class RNNForecaster(Network):
    """Forecast the next steps of series by a recurrent network.

    It learns to predict each step of a series from those before it, and forecasts by taking its own
    predictions as inputs. All series are of one kind: one network is trained on all of them.

    Parameters
    ----------
    hidden_size, num_layers, cell, dropout
        As for :class:`portable_rnn.RNN`. ``dropout`` acts between layers.
    horizon : int
        How many steps to forecast. It can be set after `fit`.
    window : int, optional
        Through how many steps the gradient flows: each series is cut into parts of so many, which
        are trained on as series of their own. By default series are whole.
    standardize : bool
        Whether the network sees each feature with mean 0 and variance 1 over all steps of `fit`;
        forecasts are in the units of ``X``.
    loss, solver, learning_rate_init, batch_size, max_iter, max_norm
        As for `RNNRegressor`. ``batch_size`` counts series, or their parts.
    early_stopping, validation_fraction, n_iter_no_change
        As for `RNNRegressor`, of series or their parts.
    warm_start, random_state, verbose
        As for `RNNClassifier`.

    Attributes
    ----------
    model_, params_, n_iter_, loss_, loss_curve_, validation_loss_curve_
        As of `RNNClassifier`.
    mean_, scale_ : arrays, shape (F,)
        What is subtracted from a series, and what it is then divided by.
    n_features_in_ : int
        F; 1 for series (N, T), which may be of any length.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.sklearn import RNNForecaster
    >>> t = np.arange(120)
    >>> X = np.asarray([10.0 + np.sin(0.3 * t + i) for i in range(20)])  # 20 series
    >>> forecaster = RNNForecaster(horizon=20, random_state=0).fit(X[:, :100])
    >>> forecast = forecaster.predict(X[:, :100])
    >>> forecast.shape, bool(np.abs(forecast - X[:, 100:]).mean() < 0.2)
    ((20, 20), True)
    """

    mean_: Array
    scale_: Array

    _columns = False

    def __init__(
        self,
        hidden_size: int = 32,
        *,
        num_layers: int = 1,
        cell: Any = "gru",
        dropout: float = 0.0,
        horizon: int = 1,
        window: int | None = None,
        standardize: bool = True,
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
        self.horizon = horizon
        self.window = window
        self.standardize = standardize
        self.loss = loss

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        # scikit-learn's checks ask that rows (N, T) always have the same T.
        tags.input_tags.two_d_array = False
        return tags

    def fit(self, X: Any, y: Any = None) -> "RNNForecaster":
        """Train the network.

        Parameters
        ----------
        X : array (N, T, F) or (N, T), or list of arrays (T_i, F) or (T_i,)
            Series of at least two steps; a single one is ``[series]``.
        y : None
            There for scikit-learn, and not used.

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
        check.count("horizon", self.horizon)
        standardize = check.flag("standardize", self.standardize)
        window = None if self.window is None else check.count("window", self.window)
        continues = self._continues(partial=False)
        found = self._checked(X, reset=not continues, least=2)
        x = found.x
        model = self._network(x.shape[2], x.shape[2])
        with device_context(x):
            if continues:
                x, mean, scale = self._like_params(x, "fit"), self.mean_, self.scale_
            else:
                mean, scale = _moments(found, standardize)
            x, lengths = _windows((x - mean) / scale, found.lengths, window)
            inputs, targets = x[:, :-1, :], x[:, 1:, :]
        short = None if lengths is None else lengths - 1
        steps = Sequences(inputs, short, flat=found.flat)
        self._train(model, steps, targets, loss=checked_loss(self.loss))
        self.mean_, self.scale_ = mean, scale
        return self

    def predict(self, X: Any) -> Array:
        """Return the ``horizon`` steps that follow each series, (N, horizon, F) or (N, horizon).

        Parameters
        ----------
        X : as for `fit`
            Series of one step or more, of any lengths.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before the first fit.
        TypeError, ValueError
            If ``X`` does not fit.
        """
        found = self._asked(X, "predict")
        horizon = check.count("horizon", self.horizon)
        x, lengths, flat = found
        xp, (count, steps, size) = namespace_of(X=x), x.shape
        with device_context(x):
            x = (x - self.mean_) / self.scale_
            ends = np.full(count, steps) if lengths is None else lengths
            last = (np.arange(count) * steps + ends - 1).astype(np.int32)
            start = rows_at(xp, xp.reshape(x, (-1, size)), from_host(last, xp, device=device_of(x)))
            state = None
            if steps > 1:
                before = None if lengths is None else lengths - 1
                _, state = predict(
                    self.model_,
                    self.params_,
                    x[:, :-1, :],
                    lengths=before,
                    return_state=True,
                )
            made = generate(self.model_, self.params_, start, horizon, state=state)
            made = made * self.scale_ + self.mean_
            return made[:, :, 0] if flat else made

    def score(self, X: Any, y: Any = None) -> float:
        """Return R² of forecasts of the last ``horizon`` steps of series from those before.

        Parameters
        ----------
        X : as for `fit`
            Series of more than ``horizon`` steps.
        y : None
            There for scikit-learn, and not used.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before the first fit.
        TypeError, ValueError
            If ``X`` does not fit.
        """
        horizon = check.count("horizon", self.horizon)
        x, lengths, _ = self._asked(X, "score", least=horizon + 1)
        series = _series(x, lengths)
        known = [one[:-horizon, :] for one in series]
        truth = np.concatenate([on_host(one[-horizon:, :]) for one in series])
        made = on_host(self.predict(known))
        return float(r2_score(truth, made.reshape(truth.shape)))


def _moments(found: Sequences, standardize: bool) -> tuple[Array, Array]:
    """Return mean and standard deviation (F,) of all steps; 1 where a feature is constant."""
    x, xp = found.x, namespace_of(X=found.x)
    if not standardize:
        return xp.zeros_like(x[0, 0, :]), xp.ones_like(x[0, 0, :])
    steps = xp.concat(_series(x, found.lengths), axis=0)
    mean, scale = xp.mean(steps, axis=0), xp.std(steps, axis=0)
    varies = xp.max(steps, axis=0) > xp.min(steps, axis=0)  # the deviation may be one of rounding
    return mean, xp.where(varies, scale, xp.ones_like(scale))


def _windows(
    x: Array, lengths: np.ndarray[Any, Any] | None, window: int | None
) -> tuple[Array, np.ndarray[Any, Any] | None]:
    """Cut series (N, T, F) into parts of ``window`` predictions, each of one step from the next."""
    if window is None:
        return x, lengths
    return pack(
        [
            one[at : min(at + window + 1, one.shape[0]), :]
            for one in _series(x, lengths)
            for at in range(0, one.shape[0] - 1, window)
        ],
        batch_first=True,
    )


def _series(x: Array, lengths: np.ndarray[Any, Any] | None) -> list[Array]:
    """Return series (T_i, F) without their padding."""
    return unpack(x, [x.shape[1]] * x.shape[0] if lengths is None else lengths, batch_first=True)
