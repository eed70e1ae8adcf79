"""Mixed precision: float32 parameters in the state, and a scale for the loss."""

import functools
from dataclasses import dataclass
from typing import Any, TypeAlias

from .._arrays import checks as check
from .._arrays.devices import with_device_of_arguments
from .._arrays.functions import accumulation_dtype, stack, to_accumulation_dtype
from .._arrays.namespace import Array, Namespace, device_of, is_array, namespace_of
from .._calls.loss import Loss, returned_by_loss
from .inner import Optimizer, check_optimizer, loss_scale_of, refuse_scaled, step_where, taken
from .step import Arrays, State, check_arrays, check_entries, check_slot, checked_rate

__all__ = ["mixed_precision", "scaled_loss"]

Updated: TypeAlias = tuple[dict[str, Array], State]
LARGEST = 2.0**24  # of a loss scale; the smallest is its reciprocal


@dataclass(frozen=True)
class MixedPrecision:
    """What `mixed_precision` returns; its state has the parameters in float32."""

    optimizer: Optimizer
    loss_scale: float
    growth_interval: int | None

    @with_device_of_arguments
    def __call__(
        self, params: Arrays, grads: Arrays, state: State | None = None, *, lr: Any
    ) -> Updated:
        """Take a step of the optimizer with the parameters in float32, and round them."""
        checked_rate(lr, params)
        xp, wide = check_arrays(params, grads)
        if state is None:
            master = {n: xp.astype(p, wide[n], copy=False) for n, p in params.items()}
            inner, scale = None, self._first_scale(xp, params)
        else:
            check_entries(state, ("master", "inner", *self._entries))
            check_slot("master", state["master"], params, wide)
            self._check_scale(xp, state)
            master, inner = state["master"], state["inner"]
            scale = {name: state[name] for name in self._entries}
        slopes = {n: xp.astype(g, wide[n], copy=False) for n, g in grads.items()}
        if self.growth_interval is None:
            if self.loss_scale != 1.0:
                slopes = {n: g / self.loss_scale for n, g in slopes.items()}
            master, inner = taken(self.optimizer, master, slopes, inner, lr)
        else:
            finite = xp.all(stack(xp, [xp.all(xp.isfinite(g)) for g in slopes.values()]))
            slopes = {
                n: xp.where(finite, g, xp.zeros_like(g)) / xp.astype(scale["scale"], g.dtype)
                for n, g in slopes.items()
            }
            first = scale["step"] == 0
            given = self.optimizer, master, slopes, inner, lr
            master, inner = step_where(xp, finite, first, *given)
            scale = self._next_scale(xp, finite, **scale)
        rounded = {n: xp.astype(master[n], p.dtype, copy=False) for n, p in params.items()}
        return rounded, {"master": master, "inner": inner, **scale}

    @property
    def _entries(self) -> tuple[str, ...]:
        return () if self.growth_interval is None else ("scale", "since", "step")

    def _first_scale(self, xp: Namespace, params: Arrays) -> State:
        """Return what the state has besides if the scale is dynamic."""
        if self.growth_interval is None:
            return {}
        device = device_of(next(iter(params.values())))
        zero = xp.zeros((), dtype=xp.int32, device=device)
        scale = xp.full((), self.loss_scale, dtype=xp.float32, device=device)
        return {"scale": scale, "since": zero, "step": zero}

    def _check_scale(self, xp: Namespace, state: State) -> None:
        for name in self._entries:
            wanted = xp.float32 if name == "scale" else xp.int32
            a = state[name]
            if not is_array(a) or a.shape or a.dtype != wanted or namespace_of(a=a) is not xp:
                raise TypeError(
                    f"state[{name!r}]: expected an array of shape () and dtype {wanted}, as this "
                    f"optimizer returns, got {check.said(a)}"
                )

    def _next_scale(
        self, xp: Namespace, finite: Array, *, scale: Array, since: Array, step: Array
    ) -> State:
        """Return the scale after a step, what it has been since it changed, and steps taken."""
        one, zero = xp.ones_like(since), xp.zeros_like(since)
        enough = since + one == self.growth_interval
        grown = xp.where(enough & (scale < LARGEST), 2.0 * scale, scale)
        shrunk = xp.where(scale > 1.0 / LARGEST, 0.5 * scale, scale)  # never 0
        return {
            "scale": xp.where(finite, grown, shrunk),
            "since": xp.where(finite & ~enough, since + one, zero),
            "step": step + xp.where(finite, one, zero),
        }

    def loss_scale_in(self, state: State | None) -> Any:
        """Return the number by which the gradients of the next step are divided."""
        if self.growth_interval is not None and state is not None:
            self._check_scale(namespace_of(scale=state["scale"]), state)
            return state["scale"]
        return self.loss_scale if self.growth_interval or self.loss_scale != 1.0 else None


@check.named_options
def mixed_precision(
    optimizer: Optimizer, *, loss_scale: float = 1.0, growth_interval: int | None = None
) -> Optimizer:
    """Return an optimizer that keeps parameters of float16 or bfloat16 in float32 too.

    Steps smaller than the spacing of half precision then add up instead of being lost
    (Micikevicius et al., arXiv 1710.03740): the other optimizer updates the parameters in the
    state, and the network gets them rounded.

    Gradients of float16 below 6e-8 are 0. With a ``loss_scale``, all are expected to be larger by
    that factor, and are divided by it. The factor enters the gradient of the loss with respect to
    the outputs, in `scaled_loss`: `portable_rnn.training.train` does this by itself; in a loop of
    your own, pass ``loss=scaled_loss(loss, optimizer, state)`` to `portable_rnn.bptt`.

    Parameters
    ----------
    optimizer : callable ``(params, grads, state, lr=...) -> (params, state)``
        Gets parameters and gradients in float32 for half precision, unscaled.
    loss_scale : float
        From 2**-24 to 2**24; a power of two rounds nothing. With a constant one, gradients that
        are not finite are passed on like any others.
    growth_interval : int, optional
        Makes the scale dynamic, as ``torch.amp.GradScaler`` does: if a gradient is not finite, the
        step is left out and the scale halved; after this many steps in a row it is doubled, within
        the same limits. Then ``state["scale"]`` is the next scale and ``state["step"]`` the number
        of steps taken: if that does not rise, gradients are not finite at any scale. No value is
        read; instead each step also computes what would have been the first.

    Returns
    -------
    optimizer : callable
        The parameters it is given are those it returned: to change them, begin with a state of
        None. Parameters of other dtypes are given to the other optimizer as they are.

    Raises
    ------
    TypeError, ValueError
        If an argument is not such an optimizer or number, or the optimizer has a loss scale.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.optimizers import mixed_precision, sgd
    >>> optimizer = mixed_precision(sgd)
    >>> params, state = {"w": np.ones(1, np.float16)}, None
    >>> for _ in range(10):  # 1 - 0.0001 is 1 in float16
    ...     params, state = optimizer(params, {"w": np.ones(1, np.float16)}, state, lr=1e-4)
    >>> print(state["master"]["w"].round(5), params["w"])
    [0.999] [0.999]
    """
    loss_scale = check.number("loss_scale", loss_scale, least=1.0 / LARGEST, most=LARGEST)
    if growth_interval is not None:
        growth_interval = check.integer("growth_interval", growth_interval, least=1, most=2**31 - 1)
    check_optimizer("optimizer", optimizer)
    refuse_scaled("optimizer", optimizer, "one is enough")
    return MixedPrecision(optimizer, loss_scale, growth_interval)


def scaled_loss(loss: Loss, optimizer: Optimizer, state: State | None) -> Loss:
    """Return a loss whose gradient is multiplied by the loss scale of an optimizer.

    Outputs of float16 or bfloat16, and arrays of their dtype among targets and options, are
    converted to float32 first, and the gradient is rounded after it was multiplied; otherwise it
    would have lost small numbers before. The value of the loss is not multiplied.

    Parameters
    ----------
    loss : callable ``(outputs, targets, **options) -> (value, d_outputs)``
    optimizer : callable
        Of `mixed_precision`, or one of this module that contains such an optimizer. For one
        without a loss scale, ``loss`` itself is returned.
    state : dict or None
        The state that the next step will be given: the scale may be in it.

    Returns
    -------
    loss : callable

    Raises
    ------
    TypeError, ValueError
        If ``loss`` or ``optimizer`` is not callable, or ``state`` does not belong to it.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> from portable_rnn.optimizers import mixed_precision, scaled_loss, sgd
    >>> model = prnn.RNN(2, 3, 2)
    >>> params, x = model.init(seed=0, dtype="float16"), np.ones((5, 1, 2), np.float16)
    >>> optimizer, labels = mixed_precision(sgd, loss_scale=1024.0), np.zeros((5, 1), int)
    >>> state = None
    >>> for _ in range(2):
    ...     loss = scaled_loss(prnn.losses.softmax_cross_entropy, optimizer, state)
    ...     result = prnn.bptt(model, params, x, labels, loss=loss)
    ...     params, state = optimizer(params, result.grads, state, lr=0.1)
    """
    if not callable(loss):
        raise TypeError(f"loss: expected a callable, got {check.said(loss)}")
    check_optimizer("optimizer", optimizer)
    try:
        scale = loss_scale_of(optimizer, state)
    except Exception:  # any object may be given, and raise anything
        raise ValueError(
            f"state: expected a state of this optimizer, or None, got {check.said(state)}"
        ) from None
    if scale is None:
        return loss

    @functools.wraps(loss)
    @with_device_of_arguments
    def scaled(outputs: Array, targets: Any, **options: Any) -> tuple[Array, Array]:
        check.loss(scaled_loss, loss, options, weighted="weights" in options)
        xp = namespace_of(outputs=outputs)

        def widened(value: Any) -> Any:
            same = is_array(value) and value.dtype == outputs.dtype
            return to_accumulation_dtype(xp, value) if same else value

        options = {name: widened(value) for name, value in options.items()}
        wider = widened(outputs)
        returned = loss(wider, widened(targets), **options)
        value, d_outputs = returned_by_loss(returned, wider, wider)
        wide = accumulation_dtype(xp, outputs.dtype)
        factor = xp.astype(scale, wide, copy=False) if is_array(scale) else scale
        product = xp.astype(d_outputs, wide, copy=False) * factor
        return value, xp.astype(product, outputs.dtype, copy=False)

    return scaled
