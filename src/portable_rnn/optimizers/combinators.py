"""Optimizers made of others: for each group of parameters, at other rates, with clipping."""

from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from .._arrays import checks as check
from .._arrays.namespace import Array
from .clipping import clip_by_global_norm
from .inner import Optimizer, check_optimizer, loss_scale_of, refuse_scaled, taken
from .step import Arrays, State, check_arrays, check_entries, checked_rate, listed

__all__ = ["by_name", "clip_norm", "scale_lr"]

Updated: TypeAlias = tuple[dict[str, Array], State]


@dataclass(frozen=True)
class ByName:
    """What `by_name` returns. Its state is the state of each optimizer, by pattern."""

    optimizers: tuple[tuple[str, Optimizer | None], ...]

    def __call__(
        self, params: Arrays, grads: Arrays, state: State | None = None, *, lr: Any
    ) -> Updated:
        """Take a step of each optimizer with its parameters."""
        checked_rate(lr, params)
        check_arrays(params, grads)
        groups = self.groups(params)
        used = {pattern: one for pattern, one in self.optimizers if one is not None}
        if state is not None:
            check_entries(state, tuple(used))
        updated, after = dict(params), {}
        for pattern, optimizer in used.items():
            mine, slopes = ({n: of[n] for n in groups[pattern]} for of in (params, grads))
            own = None if state is None else state[pattern]
            label = f"optimizers[{pattern!r}]"
            found, after[pattern] = taken(optimizer, mine, slopes, own, lr, label)
            updated |= found
        return updated, after

    def groups(self, params: Arrays) -> dict[str, list[str]]:
        """Return the names of the parameters that belong to each pattern, the first that fits."""
        groups: dict[str, list[str]] = {pattern: [] for pattern, _ in self.optimizers}
        none: list[str] = []
        for name in params:
            fitting = (pattern for pattern in groups if fnmatchcase(name, pattern))
            groups.get(next(fitting, ""), none).append(name)
        if none:
            raise ValueError(
                "optimizers: expected a pattern for the name of every parameter, got none for "
                f"{listed(none)}; the last one may be '*'"
            )
        if unused := [repr(pattern) for pattern, names in groups.items() if not names]:
            raise ValueError(
                "optimizers: expected patterns that each match a parameter which no earlier one "
                f"matches, got {listed(unused)} for the names {listed(params)}"
            )
        return groups


def by_name(optimizers: Mapping[str, Optimizer | None]) -> Optimizer:
    """Return an optimizer that takes the step of another one for each group of parameters.

    Parameters
    ----------
    optimizers : dict of str to optimizer or None
        By patterns of names, as those of files: ``*`` is any text, ``?`` any character and
        ``[01]`` one of these. A parameter belongs to the first pattern that matches its name. With
        None, it stays as it is. The learning rate is the same for all, but see `scale_lr`.

    Returns
    -------
    optimizer : callable ``(params, grads, state, lr=...) -> (params, state)``
        It raises a ValueError that names the parameters which no pattern matches, or the patterns
        which match none. Its state has the state of each optimizer by pattern.

    Raises
    ------
    TypeError, ValueError
        If ``optimizers`` is not such a dict, is empty, or has an optimizer with a loss scale:
        there is one gradient for all (use `mixed_precision` around this).

    Examples
    --------
    >>> from functools import partial
    >>> import portable_rnn as prnn
    >>> from portable_rnn.optimizers import adamw, by_name, scale_lr
    >>> params = prnn.RNN(3, 4, 2, num_layers=2).init(seed=0)
    >>> optimizer = by_name(
    ...     {
    ...         "weight_*_l0": None,  # frozen
    ...         "*bias*": partial(adamw, weight_decay=0.0),
    ...         "readout.*": scale_lr(adamw, 0.1),
    ...         "*": adamw,
    ...     }
    ... )
    >>> updated, state = optimizer(params, params, None, lr=0.01)
    >>> updated["weight_ih_l0"] is params["weight_ih_l0"], list(state)
    (True, ['*bias*', 'readout.*', '*'])
    """
    _check_patterns(optimizers)
    return ByName(tuple(optimizers.items()))


def _check_patterns(optimizers: Any) -> None:
    """Check a dict of patterns and optimizers."""
    if not isinstance(optimizers, Mapping):
        wanted = "a dict of patterns and optimizers"
        raise TypeError(f"optimizers: expected {wanted}, got {check.said(optimizers)}")
    if not optimizers:
        raise ValueError("optimizers: expected at least one pattern, got none")
    for pattern, optimizer in optimizers.items():
        check.text(f"optimizers: pattern {check.said(pattern)}", pattern, least=1)
        if optimizer is not None:
            name = f"optimizers[{pattern!r}]"
            check_optimizer(name, optimizer)
            refuse_scaled(name, optimizer, "use mixed_precision(by_name(...))")


@dataclass(frozen=True)
class ScaleLr:
    """What `scale_lr` returns. Its state is the state of the optimizer."""

    optimizer: Optimizer
    factor: float

    def __call__(
        self, params: Arrays, grads: Arrays, state: State | None = None, *, lr: Any
    ) -> Updated:
        """Take a step of the optimizer at another rate."""
        rate = checked_rate(lr, params) * self.factor
        return taken(self.optimizer, params, grads, state, rate)

    def loss_scale_in(self, state: State | None) -> Any:
        """Return the loss scale of the optimizer."""
        return loss_scale_of(self.optimizer, state)


def scale_lr(optimizer: Optimizer, factor: float) -> Optimizer:
    """Return an optimizer whose learning rate is multiplied by ``factor``.

    Parameters
    ----------
    optimizer : callable ``(params, grads, state, lr=...) -> (params, state)``
    factor : float
        At least 0.

    Returns
    -------
    optimizer : callable
        With the state of the other one.

    Raises
    ------
    TypeError, ValueError
        If an argument is not such an optimizer or number.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.optimizers import adam, scale_lr
    >>> params, _ = scale_lr(adam, 0.1)({"w": np.ones(2)}, {"w": np.ones(2)}, lr=0.5)
    >>> print(params["w"].round(6))
    [0.95 0.95]
    """
    factor = check.number("factor", factor, least=0.0)
    return ScaleLr(check_optimizer("optimizer", optimizer), factor)


@dataclass(frozen=True)
class ClipNorm:
    """What `clip_norm` returns. Its state is the state of the optimizer."""

    optimizer: Optimizer
    max_norm: float

    def __call__(
        self, params: Arrays, grads: Arrays, state: State | None = None, *, lr: Any
    ) -> Updated:
        """Take a step of the optimizer with clipped gradients."""
        check_arrays(params, grads)
        grads, _ = clip_by_global_norm(grads, self.max_norm)
        return taken(self.optimizer, params, grads, state, lr)


def clip_norm(optimizer: Optimizer, max_norm: float) -> Optimizer:
    """Return an optimizer that clips its gradients by `clip_by_global_norm` first.

    Like ``max_norm`` of `portable_rnn.training.train`, but inside of other optimizers: in
    `mixed_precision` it clips gradients without the loss scale, in `accumulate` their mean, and in
    `by_name` each group by itself.

    Parameters
    ----------
    optimizer : callable ``(params, grads, state, lr=...) -> (params, state)``
    max_norm : float
        The largest joint norm, above 0.

    Returns
    -------
    optimizer : callable
        With the state of the other one.

    Raises
    ------
    TypeError, ValueError
        If an argument is not such an optimizer or number, or the optimizer has a loss scale.

    Examples
    --------
    >>> import numpy as np
    >>> from functools import partial
    >>> from portable_rnn.optimizers import clip_norm, sgd
    >>> params, _ = clip_norm(sgd, 1.0)({"w": np.ones(2)}, {"w": np.asarray([3.0, 4.0])}, lr=1.0)
    >>> print(params["w"])
    [0.4 0.2]
    """
    max_norm = check.number("max_norm", max_norm, above=0.0, infinite=True)
    check_optimizer("optimizer", optimizer)
    refuse_scaled("optimizer", optimizer, "use mixed_precision(clip_norm(...))")
    return ClipNorm(optimizer, max_norm)
