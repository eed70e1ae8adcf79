"""A network that classifies sequences."""

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils.class_weight import compute_class_weight

from .._arrays import checks as check
from .._arrays.devices import device_context
from .._arrays.functions import has_64_bits
from .._arrays.host import from_host
from .._arrays.namespace import Array, device_of, namespace_of
from .._engine.pooling import POOLS
from ..losses import softmax_cross_entropy
from ..losses.classification import log_softmax
from .network import Network
from .sequences import Sequences, is_foreign
from .targets import checked_labels, checked_weights, on_host

__all__ = ["RNNClassifier"]


class RNNClassifier(ClassifierMixin, Network):  # type: ignore[misc]
    """Classify sequences by a recurrent network.

    Parameters
    ----------
    hidden_size, num_layers, cell, bidirectional, pool, dropout
        As for :class:`portable_rnn.RNN`. ``dropout`` acts between layers.
    solver : str or callable
        The optimizer, as for :func:`portable_rnn.training.train`: its name, or a function such as
        ``functools.partial(portable_rnn.optimizers.adamw, weight_decay=0.01)``.
    learning_rate_init : float, or callable from the step to a float
        Learning rate, or a schedule.
    batch_size : int or "auto"
        "auto" is 200, as in scikit-learn's ``MLPClassifier``, or all sequences if there are fewer.
    max_iter : int
        Number of epochs.
    max_norm : float, optional
        Clip the gradient to this joint norm.
    early_stopping : bool
        Whether to set ``validation_fraction`` of the sequences aside (stratified by class), and
        stop when their loss has not improved for ``n_iter_no_change`` epochs. The parameters with
        the lowest such loss are kept. If False, ``max_iter`` epochs are made.
    validation_fraction : float in (0, 1)
    n_iter_no_change : int
    class_weight : dict, "balanced", or None
        Weight of each class in the loss, by label; "balanced" is inversely proportional to how
        often it occurs.
    warm_start : bool
        Whether `fit` starts from the parameters of the last fit.
    random_state : int, RandomState or None
        Draws initial parameters, shuffles, dropout masks and the sequences set aside.
    verbose : bool
        Whether to print the loss of each epoch.

    Attributes
    ----------
    classes_ : array, shape (C,)
        Labels. Numbers are in the library of ``X``.
    model_ : RNN
        The network: its outputs are log-probabilities, up to a constant for each sequence.
    params_ : dict of str to array
        Its parameters.
    n_features_in_, feature_names_in_ : int, array (F,)
        As in every estimator of scikit-learn; T for sequences (N, T).
    n_iter_ : int
        Number of epochs made, by `partial_fit` too.
    loss_, loss_curve_ : float, list of floats
        Mean loss of the last epoch, and of each.
    validation_loss_curve_ : list of floats, or None
        Loss of the sequences set aside, after each epoch.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.sklearn import RNNClassifier
    >>> X = np.random.default_rng(0).normal(size=(100, 10, 2))
    >>> y = np.where(X[:, :, 0].sum(axis=1) > 0, "up", "down")
    >>> classifier = RNNClassifier(hidden_size=8, max_iter=50, random_state=0).fit(X, y)
    >>> classifier.classes_, classifier.score(X, y) > 0.9
    (array(['down', 'up'], dtype='<U4'), True)
    """

    classes_: Array

    def __init__(
        self,
        hidden_size: int = 32,
        *,
        num_layers: int = 1,
        cell: Any = "gru",
        bidirectional: bool = False,
        pool: str = "last",
        dropout: float = 0.0,
        solver: Any = "adam",
        learning_rate_init: Any = 0.01,
        batch_size: int | str = "auto",
        max_iter: int = 200,
        max_norm: float | None = 1.0,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        class_weight: Any = None,
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
        self.class_weight = class_weight

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> "RNNClassifier":
        """Train the network.

        Parameters
        ----------
        X : array (N, T, F) or (N, T), or list of arrays (T_i, F) or (T_i,)
        y : array, shape (N,)
            Labels: numbers or strings.
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
        found = self._checked(X, reset=not self._continues(partial=False))
        labels = checked_labels(y, found.x.shape[0])
        return self._learn(found, labels, np.unique(labels), sample_weight, partial=False)

    def partial_fit(
        self, X: Any, y: Any, classes: Any = None, sample_weight: Any = None
    ) -> "RNNClassifier":
        """Train the network for one more epoch; several continue each other as those of `fit` do.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array, shape (C,)
            All labels, those that are not in ``y`` too. Needed in the first call.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError, FloatingPointError
            As `fit` does; with ``early_stopping``, or ``class_weight="balanced"``.
        """
        continues = self._continues(partial=True)
        found = self._checked(X, reset=not continues)
        labels = checked_labels(y, found.x.shape[0])
        if isinstance(self.class_weight, str):
            raise ValueError(
                f"class_weight: expected a dict with partial_fit, got {self.class_weight!r}"
            )
        if classes is None and not continues:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        given = self.classes_ if classes is None else classes
        return self._learn(found, labels, np.unique(on_host(given)), sample_weight, partial=True)

    def _learn(
        self,
        found: Sequences,
        labels: np.ndarray[Any, Any],
        classes: np.ndarray[Any, Any],
        sample_weight: Any,
        *,
        partial: bool,
    ) -> "RNNClassifier":
        x = found.x
        if len(classes) < 2:
            raise ValueError(f"y: expected at least two classes, got {len(classes)} class")
        if self._continues(partial) and not np.array_equal(classes, on_host(self.classes_)):
            raise ValueError(
                f"y: expected the classes of the last fit, {on_host(self.classes_)}, got {classes}"
            )
        unknown = np.setdiff1d(labels, classes)
        if unknown.size:
            raise ValueError(f"y: expected labels among the classes {classes}, got {unknown}")
        weights = checked_weights(sample_weight, len(labels))
        indices = np.searchsorted(classes, labels)
        if self.class_weight is not None:
            of_classes = compute_class_weight(self.class_weight, classes=classes, y=labels)
            weights = of_classes[indices] * (1.0 if weights is None else weights)
        model = self._network(
            x.shape[2],
            len(classes),
            bidirectional=self.bidirectional,
            pool=check.choice("pool", self.pool, POOLS),
        )
        self._train(
            model,
            found,
            indices.astype(np.int32),
            weights=weights,
            loss=softmax_cross_entropy,
            stratify=labels,
            partial=partial,
        )
        self.classes_ = _labels_like(x, classes)
        return self

    def predict(self, X: Any) -> Array:
        """Return the most likely label of each sequence, shape (N,).

        In the library of ``X``, or NumPy's if labels are strings.

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before the first fit.
        TypeError, ValueError
            If ``X`` does not fit.
        """
        outputs = self._outputs(X, "predict")
        xp = namespace_of(outputs=outputs)
        with device_context(outputs):
            best = xp.argmax(outputs, axis=1)
            if is_foreign(self.classes_):
                return xp.take(self.classes_, best, axis=0)
        return self.classes_[on_host(best)]

    def predict_log_proba(self, X: Any) -> Array:
        """Return the logarithm of the probability of each class, shape (N, C).

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before the first fit.
        TypeError, ValueError
            If ``X`` does not fit.
        """
        outputs = self._outputs(X, "predict_log_proba")
        with device_context(outputs):
            return log_softmax(namespace_of(outputs=outputs), outputs)

    def predict_proba(self, X: Any) -> Array:
        """Return the probability of each class, shape (N, C).

        Raises
        ------
        sklearn.exceptions.NotFittedError
            Before the first fit.
        TypeError, ValueError
            If ``X`` does not fit.
        """
        outputs = self._outputs(X, "predict_proba")
        xp = namespace_of(outputs=outputs)
        with device_context(outputs):
            return xp.exp(log_softmax(xp, outputs))

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the share of sequences whose label is predicted.

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
        labels, weights = on_host(y), on_host(sample_weight)
        return float(accuracy_score(labels, on_host(self.predict(X)), sample_weight=weights))


def _labels_like(x: Array, classes: np.ndarray[Any, Any]) -> Array:
    """Return labels in the library of x; those that it cannot represent, such as texts, as is."""
    xp = namespace_of(X=x)
    if not is_foreign(x) or classes.dtype.kind not in "biuf":
        return classes
    if classes.dtype.itemsize == 8 and not has_64_bits(xp):
        narrow = classes.astype(f"{classes.dtype.kind}4")
        if not np.array_equal(narrow, classes):
            return classes
        classes = narrow
    with device_context(x):
        return from_host(classes, xp, device=device_of(x))
