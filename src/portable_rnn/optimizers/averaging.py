"""Optimizers that average the parameters, or the gradients of several calls."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from .._arrays import checks as check
from .._arrays.devices import with_device_of_arguments
from .._arrays.namespace import Array, Namespace, device_of, is_array, is_traced
from .inner import Optimizer, check_optimizer, loss_scale_of, refuse_scaled, step_where, taken
from .step import (
    Arrays,
    State,
    bias_correction,
    check_arrays,
    check_entries,
    check_slot,
    check_step_in_capture,
    checked_rate,
    checked_step,
)

__all__ = ["accumulate", "averaged_params", "ema"]

Updated: TypeAlias = tuple[dict[str, Array], State]


@dataclass(frozen=True)
class EMA:
    """What `ema` returns; its state has the average, and the state of the optimizer."""

    optimizer: Optimizer
    decay: float
    debias: bool

    @with_device_of_arguments
    def __call__(
        self, params: Arrays, grads: Arrays, state: State | None = None, *, lr: Any
    ) -> Updated:
        """Take a step of the optimizer, and average the parameters it returns."""
        xp, wide = check_arrays(params, grads)
        step, average = (0, {}) if state is None else _of_ema(xp, params, state, wide)
        if self.debias:
            check_step_in_capture(xp, step)
        inner = None if state is None else state["inner"]
        params, inner = taken(self.optimizer, params, grads, inner, lr)
        step, after = step + 1, {}
        for name, p in params.items():
            new = xp.astype(p, wide[name], copy=False)
            after[name] = new if state is None else self._mean(xp, average[name], new, step)
        return params, {"step": step, "average": after, "inner": inner}

    def _mean(self, xp: Namespace, average: Array, new: Array, step: Any) -> Array:
        """Return the average with one more array; both terms, since a difference may overflow."""
        if not self.debias:
            return self.decay * average + (1.0 - self.decay) * new
        weight = (1.0 - self.decay) / bias_correction(xp, step, self.decay, new.dtype)
        return (1.0 - weight) * average + weight * new

    def loss_scale_in(self, state: State | None) -> Any:
        """Return the loss scale of the optimizer."""
        return loss_scale_of(self.optimizer, None if state is None else state["inner"])


@check.named_options
def ema(optimizer: Optimizer, decay: float = 0.999, *, debias: bool = False) -> Optimizer:
    """Return an optimizer that also keeps an exponential moving average of the parameters.

    The average starts as the parameters after the first step; after each further one it is
    ``decay average + (1 - decay) params``, without a correction, as in
    ``torch.optim.swa_utils.AveragedModel`` with ``get_ema_multi_avg_fn(decay)``. With ``debias``,
    the first parameters have no more weight than their place in the sequence: it is the average
    from zero over ``1 - decay**step``, which optax.ema computes.

    Parameters
    ----------
    optimizer : callable ``(params, grads, state, lr=...) -> (params, state)``
        Averages are taken after each of its steps: put `ema` outermost, but inside `accumulate`.
    decay : float in [0, 1)
    debias : bool

    Returns
    -------
    optimizer : callable
        Its parameters are those of the other one. `averaged_params` gets the average from its
        state, which has it in float32 for half precision.

    Raises
    ------
    TypeError, ValueError
        If an argument is not such an optimizer, number or flag.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.optimizers import averaged_params, ema, sgd
    >>> optimizer = ema(sgd, decay=0.5)
    >>> params, state = {"w": np.zeros(2)}, None
    >>> for _ in range(3):  # to -1, -2 and -3
    ...     params, state = optimizer(params, {"w": np.ones(2)}, state, lr=1.0)
    >>> print(params["w"], averaged_params(params, state)["w"])
    [-3. -3.] [-2.25 -2.25]
    """
    decay = check.number("decay", decay, least=0.0, below=1.0)
    debias = check.flag("debias", debias)
    return EMA(check_optimizer("optimizer", optimizer), decay, debias)


@with_device_of_arguments
def averaged_params(params: Arrays, state: State) -> dict[str, Array]:
    """Return the averaged parameters from the state of an optimizer that `ema` returned.

    Parameters
    ----------
    params : dict of str to array
        The parameters that are averaged; the result has their dtypes.
    state : dict
        Of `ema`. If that is inside of another optimizer, its part of the state, such as
        ``state["inner"]``.

    Returns
    -------
    params : dict of str to array

    Raises
    ------
    TypeError, ValueError
        If ``params`` is not a dict of floating arrays, or ``state`` is not of `ema` and of these
        parameters.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> from portable_rnn.optimizers import adam, averaged_params, ema
    >>> class Average(prnn.training.Callback):
    ...     def on_end(self, run):
    ...         self.params = averaged_params(run.params, run.optimizer_state)
    >>> optimizer, callbacks = ema(adam, 0.99), [Average()]  # arguments of `train`
    """
    xp, wide = check_arrays(params, params)
    _, average = _of_ema(xp, params, state, wide)
    return {name: xp.astype(average[name], p.dtype, copy=False) for name, p in params.items()}


def _of_ema(
    xp: Namespace, params: Arrays, state: State, wide: Mapping[str, Any]
) -> tuple[Any, Arrays]:
    """Check the state of `ema`; return its step and its average."""
    check_entries(state, ("step", "average", "inner"))
    step, average = checked_step(xp, state["step"]), state["average"]
    check_slot("average", average, params, wide)
    return step, average


@dataclass(frozen=True)
class Accumulate:
    """What `accumulate` returns; its state has a sum of gradients, and the optimizer's state."""

    optimizer: Optimizer
    every: int

    @with_device_of_arguments
    def __call__(
        self, params: Arrays, grads: Arrays, state: State | None = None, *, lr: Any
    ) -> Updated:
        """Add the gradients to the mean; take a step of the optimizer if it is complete."""
        checked_rate(lr, params)
        xp, wide = check_arrays(params, grads)
        step, mean, inner = 0, {}, None
        if state is not None:
            check_entries(state, ("step", "mean", "inner"))
            step, mean, inner = checked_step(xp, state["step"]), state["mean"], state["inner"]
            check_slot("mean", mean, params, wide)
        check_step_in_capture(xp, step)
        step, after = step + 1, {}
        for name, g in grads.items():
            part = xp.astype(g, wide[name], copy=False) / self.every  # their sum may overflow
            after[name] = mean[name] + part if mean else part
        slopes = {name: xp.astype(after[name], p.dtype, copy=False) for name, p in params.items()}
        due, first = step % self.every == 0, step == self.every
        any_of = next(iter(params.values()))
        if is_array(due) or is_traced(xp, any_of):
            flags = (
                flag if is_array(flag) else xp.full((), flag, device=device_of(any_of))
                for flag in (due, first)
            )
            due, first = flags
            params, inner = step_where(xp, due, first, self.optimizer, params, slopes, inner, lr)
            after = {n: xp.where(due, xp.zeros_like(a), a) for n, a in after.items()}
        elif due or state is None:  # the latter for the structure of the state: see `step_where`
            found, inner = taken(self.optimizer, params, slopes, None if first else inner, lr)
            if due:
                params, after = found, {name: xp.zeros_like(a) for name, a in after.items()}
        return dict(params), {"step": step, "mean": after, "inner": inner}


def accumulate(optimizer: Optimizer, every: int) -> Optimizer:
    """Return an optimizer that takes a step at every n-th call, with the mean of the gradients.

    So a batch that does not fit into memory is passed in n parts. Other calls return the
    parameters as they were.

    Parameters
    ----------
    optimizer : callable ``(params, grads, state, lr=...) -> (params, state)``
        It sees one step for ``every`` calls; the learning rate is that of the last one.
    every : int
        Calls per step, at least 1. Each counts as a step of `portable_rnn.training.train`.

    Returns
    -------
    optimizer : callable
        Its state has the sum of the gradients over ``every``, in float32 for half precision.
        Before the first step, ``state["inner"]`` has only the structure of what it will be.

    Raises
    ------
    TypeError, ValueError
        If an argument is not such an optimizer or number, or the optimizer has a loss scale.

    Notes
    -----
    Where the number of calls is an array, as under `jax.jit`, nothing is read, both outcomes are
    computed, and ``where`` chooses; the state of the optimizer must then keep its structure.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.optimizers import accumulate, sgd
    >>> optimizer = accumulate(sgd, every=2)
    >>> params, state = {"w": np.zeros(2)}, None
    >>> for slope in (1.0, 3.0):
    ...     params, state = optimizer(params, {"w": np.full(2, slope)}, state, lr=1.0)
    ...     print(params["w"])
    [0. 0.]
    [-2. -2.]
    """
    every = check.count("every", every)
    check_optimizer("optimizer", optimizer)
    refuse_scaled("optimizer", optimizer, "use mixed_precision(accumulate(...))")
    return Accumulate(optimizer, every)
