"""Follow a gradient back through time, step by step.

`gradient_flow` runs a sequence forwards and back once, and keeps at every step: the gradient with
respect to the state, what the step adds to each weight gradient, and how much the step can lengthen
a gradient at most, the largest singular value of its Jacobian. Where that stays below 1 gradients
vanish; only where it exceeds 1 can they explode (Pascanu, Mikolov, Bengio, *On the difficulty of
training recurrent neural networks*, ICML 2013, arXiv 1211.5063).
"""

from dataclasses import replace
from typing import Any, Literal, NamedTuple, cast

from .._arrays import checks as check
from .._arrays.devices import with_device_of_arguments
from .._arrays.functions import concatenate, stack
from .._arrays.namespace import Array, Namespace, device_of, dtype_name, is_cupy_namespace
from .._arrays.norms import norm
from .._arrays.shown import short_repr
from .._calls import layout
from .._calls.call import (
    Call,
    CallOptions,
    Parameters,
    prepare,
    run,
    run_vjp,
)
from .._calls.checks import check_every_step
from .._calls.dropout_masks import Masks
from .._calls.loss import Loss, loss_and_gradient
from .._calls.valid_steps import mask_on_device
from .._engine.affine import Products
from .._executors.choose import use
from ..cells import State
from ..losses import softmax_cross_entropy
from ..model import RNN
from .curvature import check_real
from .factors import FACTORS, NO_FACTORS, Factors, sum_of
from .singular_values import singular_values

__all__ = ["GradientFlow", "gradient_flow"]

# Numbers in an array of states, up to which losses of single steps go back side by side.
NUMBERS = 2**20


class GradientFlow(NamedTuple):
    """Gradients along T steps, for L layers in D directions and B sequences; B is 1 for one.

    Layers and directions are in the order of the states.

    Attributes
    ----------
    loss : array, shape ()
    d_state : tuple of arrays (T, L·D, B)
        Norm of the gradient with respect to each array of the state after step t: ``h`` and, for
        LSTM, the ``c`` passed on to the next step. (The effect of ``c_t`` through ``h_t`` of the
        same step is counted in the gradient with respect to ``h``.)
    params : dict of str to array (T,)
        Norm of what step t adds to the gradient of each parameter, over the whole batch.
    jacobian : array (T, L·D, B)
        Largest singular value of the Jacobian of the state after step t with respect to that before
        it, at fixed input: of ``dh_t/dh_{t-1}``, and for LSTM of the pair (h, c).
    d_h_by_loss_step : array (T, T, L·D, B), or None
        Entry ``[s, t]`` is the norm of the part of the gradient with respect to ``h_t`` that comes
        from the loss at step s; zero for s < t, or in the reversed direction for s > t.
    arrays : dict of str to array (T, ...), or None
        What step t adds to the gradient of each parameter; the sum over t is the gradient.
    grad_states : tuple of arrays (T, L·D, B, H)
        The gradients of which ``d_state`` are the norms: ``dL/dh_t`` of equations 10.19 and 10.20
        of Goodfellow, Bengio, Courville, *Deep Learning* (2016), and for LSTM ``dL/dc_t``.
    reverse : tuple of L·D bools
        Whether it reads backwards, and gradients go from the first step to the last.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=1, hidden_size=2, output_size=3)
    >>> x, labels = np.zeros((5, 1), np.float32), np.zeros(5, np.int64)
    >>> flow = prnn.gradient_flow(model, model.init(seed=0), x, labels)
    >>> flow.d_h.shape, flow.jacobian.shape, flow.grad_h.shape
    ((5, 1, 1), (5, 1, 1), (5, 1, 1, 2))
    """

    loss: Array
    d_state: tuple[Array, ...]
    params: dict[str, Array]
    jacobian: Array
    d_h_by_loss_step: Array | None
    arrays: dict[str, Array] | None
    grad_states: tuple[Array, ...]
    reverse: tuple[bool, ...]

    def __repr__(self) -> str:
        return short_repr(self)

    @property
    def d_h(self) -> Array:
        """Norm of dL/dh_t, shape (T, L·D, B)."""
        return self.d_state[0]

    @property
    def d_c(self) -> Array | None:
        """Norm of dL/dc_t, shape (T, L·D, B); None for cells without a second state."""
        return self.d_state[1] if len(self.d_state) > 1 else None

    @property
    def grad_h(self) -> Array:
        """The gradient dL/dh_t, shape (T, L·D, B, H), or P if the state is projected."""
        return self.grad_states[0]

    @property
    def grad_c(self) -> Array | None:
        """The gradient dL/dc_t, shape (T, L·D, B, H); None for cells without a second state."""
        return self.grad_states[1] if len(self.grad_states) > 1 else None


class _Observed:
    """A recurrence that keeps the states before its steps, and the cotangents of those after."""

    def __init__(self, inner: Any, states: int) -> None:
        self.inner, self.states = inner, states
        self.seen: list[tuple[State, State]] = []  # (T, B, H) each, by layer and direction

    def step(
        self, xp: Namespace, w: Any, state: State, *inputs: Array
    ) -> tuple[State, tuple[State, Any]]:
        after, residuals = self.inner.step(xp, w, state, *inputs)
        return after, (state, residuals)

    def step_vjp(
        self, xp: Namespace, w: Any, residuals: Any, d_state: State, *update: Array
    ) -> tuple[State, tuple[Array, ...]]:
        before, residuals = residuals
        d_before, rows = self.inner.step_vjp(xp, w, residuals, d_state, *update)
        return d_before, (*before, *d_state, *rows)

    def weights_vjp(
        self, xp: Namespace, w: Any, x: Array, h: Array, rows: Any, products: Products
    ) -> tuple[Any, Array]:
        before, after, rest = self.states, 2 * self.states, rows[2 * self.states :]
        self.seen.append((rows[:before], rows[before:after]))
        found: tuple[Any, Array] = self.inner.weights_vjp(xp, w, x, h, rest, products)
        return found

    def take(self, xp: Namespace, directions: int) -> tuple[State, State]:
        """Return and clear what a backward pass has seen, (T, L·D, B, H) each."""
        found, self.seen = self.seen, []
        # The uppermost layer was the first to go back, in both directions.
        layers = [found[i : i + directions] for i in range(0, len(found), directions)][::-1]
        before, after = zip(*(one for both in layers for one in both), strict=True)

        def stacked(states: tuple[State, ...]) -> State:
            return tuple(stack(xp, parts, axis=1) for parts in zip(*states, strict=True))

        return stacked(before), stacked(after)


@with_device_of_arguments
def gradient_flow(
    model: RNN,
    params: Parameters,
    x: Array,
    targets: Any,
    *,
    loss: Loss = softmax_cross_entropy,
    state: Any = None,
    lengths: Any = None,
    mask: Any = None,
    dropout: int | tuple[int, ...] | Masks | Literal[False] = False,
    by_loss_step: bool = False,
    arrays: bool = False,
    iterations: int = 30,
    **loss_options: Any,
) -> GradientFlow:
    """Follow the gradient of a loss back through time, step by step.

    Parameters
    ----------
    model, params, x, targets, loss, state, lengths, mask, **loss_options
        As for `bptt`; the model must have an output at each step.
    dropout : int, tuple of ints, Masks or False
        As for `forward`; False, the default, is as in prediction.
    by_loss_step : bool
        Whether to split the gradients by the step of the loss that they come from.
    arrays : bool
        Whether to keep what each step adds to the gradients, not only its norm: T times the
        memory of the parameters.
    iterations : int
        Of the power method for the singular values, which it approaches from below. If the two
        largest are nearly equal, 30 give about two digits, otherwise many more.

    Returns
    -------
    GradientFlow
        Arrays have the caller's library, dtype and device.

    Raises
    ------
    TypeError, ValueError
        As `bptt` does, or under ``jax.jit``.

    Notes
    -----
    Where a step is not valid the state does not change, nor does the gradient.

    Costs a forward and a backward pass, whose steps run in Python, and a product per step for each
    weight. The power method adds a pass over all steps at once for each iteration and layer, and
    ``by_loss_step`` passes over T copies of the batch.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=1, hidden_size=1, bias=False)
    >>> params = {"weight_ih_l0": np.ones((1, 1)), "weight_hh_l0": np.full((1, 1), 0.5)}
    >>> def last(outputs, targets):  # the sum of the outputs of the last step
    ...     d_outputs = np.zeros_like(outputs)
    ...     d_outputs[-1] = 1.0
    ...     return outputs[-1].sum(), d_outputs
    >>> flow = prnn.gradient_flow(model, params, np.zeros((4, 1)), None, loss=last)
    >>> print(flow.grad_h[:, 0, 0, 0])  # halved at each step back
    [0.125 0.25  0.5   1.   ]
    >>> print(flow.jacobian[:, 0, 0])
    [0.5 0.5 0.5 0.5]
    """
    iterations = check.count("iterations", iterations)
    by_loss_step = check.flag("by_loss_step", by_loss_step)
    arrays = check.flag("arrays", arrays)
    mask = mask_on_device(mask, x)
    check.loss(gradient_flow, loss, loss_options, weighted=lengths is not None or mask is not None)
    xp = check_real(model, params)
    check_every_step(model, "gradient_flow")
    given = {"lengths": lengths, "mask": mask, "weights": loss_options.get("weights")}
    # The cell is called at each step; a model of tokens has its dtype in the parameters.
    if is_cupy_namespace(xp) and dtype_name(next(iter(params.values())).dtype) == "bfloat16":
        raise TypeError(
            "x: expected dtype float16, float32 or float64 on CuPy, whose bfloat16 only kernels "
            "compute with, since gradient_flow calls the cell at each step; got bfloat16"
        )
    with use("eager"):  # the executor that runs any recurrence, and any cell
        call = prepare(model, params, x, state, CallOptions(dropout=dropout, **given))
    if not call.setup.executor.stepwise:
        raise TypeError("x: gradient_flow runs step by step, and cannot be traced by jax.jit")
    if call.setup.widths is not None:  # a mask keeps the order of the sequences
        call = call.with_mask(state)
    call, observed = _observed(call)
    outputs, _, records = run(call, keep=True)
    value, d_outputs = loss_and_gradient(
        model, loss, outputs, targets, call.given, lengths=lengths, mask=mask, **loss_options
    )
    d_outputs = layout.time_major(xp, model, d_outputs)
    call = call._replace(model=replace(model, batch_first=False))
    factors, _, _ = run_vjp(call, records, d_outputs, grad_x=False, products=FACTORS)
    before, grad_states = observed.take(xp, model.directions)
    norms, kept = _by_step(call, factors, arrays=arrays)
    return GradientFlow(
        value,
        tuple(norm(xp, part, 3) for part in grad_states),
        norms,
        singular_values(call, before, iterations),
        _by_loss_step(call, d_outputs) if by_loss_step else None,
        kept,
        grad_states,
        model.reversed_directions * model.num_layers,
    )


def _observed(call: Call) -> tuple[Call, _Observed]:
    """Return a call that is observed, without chunks of time, and what observes it."""
    inner, (steps, batch) = call.setup.recurrence, call.x.shape[:2]
    observed: Any = _Observed(inner, call.model.cell_object.states)
    setup = call.setup._replace(recurrence=observed, rows=steps * batch)
    return call._replace(setup=setup), observed


def _by_step(
    call: Call, factors: dict[str, Factors], *, arrays: bool
) -> tuple[dict[str, Array], dict[str, Array] | None]:
    """Return the norms of what each step adds to the gradients, and the arrays."""
    xp, steps = call.setup.xp, call.x.shape[0]
    norms, kept = {}, {}
    for name, parts in factors.items():
        like, found, of_name = call.params[name], [], []
        for t in range(steps):
            grad = sum_of(call, parts, like, steps=slice(t, t + 1))
            of_name.append(norm(xp, grad, 0))
            if arrays:
                found.append(grad)
        norms[name] = stack(xp, of_name)
        if arrays:
            kept[name] = stack(xp, found)
    return norms, kept if arrays else None


def _by_loss_step(call: Call, d_outputs: Array) -> Array:
    """Go back with cotangents side by side in the batch, each from the loss at one step."""
    xp, (steps, batch) = call.setup.xp, call.x.shape[:2]
    time = xp.reshape(xp.arange(steps, device=device_of(call.x)), (steps, 1, 1))
    most = max(1, NUMBERS // (steps * batch * call.model.hidden_size))
    found = []
    for start in range(0, steps, most):
        loss_steps = range(start, min(start + most, steps))
        copies, observed = _observed(_copies(call, len(loss_steps)))
        _, _, records = run(copies, keep=True)
        zero = xp.zeros_like(d_outputs)
        chosen = [xp.where(time == s, d_outputs, zero) for s in loss_steps]
        d_chosen = concatenate(xp, chosen, axis=1)
        run_vjp(copies, records, d_chosen, grad_x=False, products=NO_FACTORS)
        _, (grad_h, *_) = observed.take(xp, call.model.directions)
        norms = norm(xp, grad_h, 3)
        found.append(xp.reshape(norms, (*norms.shape[:2], len(loss_steps), batch)))
    return xp.permute_dims(concatenate(xp, found, axis=2), (2, 0, 1, 3))


def _copies(call: Call, count: int) -> Call:
    """Return the same call on copies of its batch, side by side."""
    s, batch, observed = call.setup, call.x.shape[1], cast(Any, call.setup.recurrence)

    def copies(array: Array, axis: int) -> Array:
        # An array with one sequence for all stays one.
        several = array.shape[axis] == batch
        return concatenate(s.xp, [array] * count, axis=axis) if several else array

    setup = s._replace(
        recurrence=observed.inner,
        mask=None if s.mask is None else copies(s.mask, 1),
        between=tuple(copies(factors, 1) for factors in s.between),
        recurrent=tuple(copies(factors, 0) for factors in s.recurrent),
        update=tuple(tuple(copies(u, 1) for u in update) for update in s.update),
    )
    x, state = copies(call.x, 1), tuple(tuple(copies(p, 0) for p in one) for one in call.state)
    return call._replace(given=x, x=x, state=state, setup=setup, tokens=None)
