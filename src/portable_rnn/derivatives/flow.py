"""Follow a gradient back through time, step by step.

`gradient_flow` runs a sequence in passes of one step each, windows of one call, and records at
every step: the gradient with respect to the state, what the step adds to each weight gradient, and
how much the step can lengthen a gradient at most, the largest singular value of its Jacobian.
Where that stays below 1 gradients vanish; only where it exceeds 1 can they explode (Pascanu,
Mikolov, Bengio, *On the difficulty of training recurrent neural networks*, ICML 2013,
arXiv 1211.5063).
"""

from dataclasses import replace
from typing import Any, NamedTuple

from .._arrays import checks as check
from .._arrays.devices import with_device_of_arguments
from .._arrays.functions import accumulation_dtype, concatenate, stack
from .._arrays.namespace import (
    Array,
    Namespace,
    device_of,
    dtype_name,
    is_cupy_namespace,
    namespace_of,
)
from .._arrays.norms import norm, unit_of
from .._calls.call import (
    Call,
    CallOptions,
    Parameters,
    prepare,
    run,
    run_vjp,
    without_vocabulary,
)
from .._calls.checks import check_every_step
from .._calls.layout import mask_inward, time_major
from .._calls.loss import Loss, loss_and_gradient
from .._calls.valid_steps import mask_on_device, valid_steps_of
from .._executors.choose import use
from ..cells import Cell, Residuals, State
from ..initializers import uniform
from ..losses import softmax_cross_entropy
from ..model import RNN
from .curvature import check_real, push

__all__ = ["GradientFlow", "gradient_flow"]


class GradientFlow(NamedTuple):
    """Norms along T steps, for L layers and B sequences; B is 1 for a single one.

    Attributes
    ----------
    loss : array, shape ()
    d_state : tuple of arrays (T, L, B)
        Norm of the gradient with respect to each array of the state after step t: ``h`` and, for
        LSTM, the ``c`` passed on to the next step. (The effect of ``c_t`` through ``h_t`` of the
        same step is counted in the gradient with respect to ``h``.)
    params : dict of str to array (T,)
        Norm of what step t adds to the gradient of each parameter, over the whole batch.
    jacobian : array (T, L, B)
        Largest singular value of the Jacobian of the state after step t with respect to that before
        it, at fixed input: of ``dh_t/dh_{t-1}``, and for LSTM of the pair (h, c).
    d_h_by_loss_step : array (T, T, L, B), or None
        Entry ``[s, t]`` is the norm of the part of the gradient with respect to ``h_t`` that comes
        from the loss at step s; zero for s < t.
    arrays : dict of str to array (T, ...), or None
        What step t adds to the gradient of each parameter; the sum over t is the gradient.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=1, hidden_size=2, output_size=3)
    >>> x, labels = np.zeros((5, 1), np.float32), np.zeros(5, np.int64)
    >>> flow = prnn.gradient_flow(model, model.init(seed=0), x, labels)
    >>> flow.d_h.shape, flow.jacobian.shape
    ((5, 1, 1), (5, 1, 1))
    """

    loss: Array
    d_state: tuple[Array, ...]
    params: dict[str, Array]
    jacobian: Array
    d_h_by_loss_step: Array | None
    arrays: dict[str, Array] | None

    @property
    def d_h(self) -> Array:
        """Norm of dL/dh_t, shape (T, L, B)."""
        return self.d_state[0]

    @property
    def d_c(self) -> Array | None:
        """Norm of dL/dc_t, shape (T, L, B); None for cells without a second state."""
        return self.d_state[1] if len(self.d_state) > 1 else None


class _Watched:
    """A cell that records the cotangents of its new states."""

    def __init__(self, cell: Cell) -> None:
        self.cell, self.gates, self.states = cell, cell.gates, cell.states
        self.seen: list[State] = []

    def __getattr__(self, name: str) -> Any:  # members that only some cells have
        return getattr(self.cell, name)

    def step(
        self, xp: Namespace, ax: Array, ah: Array, state: State, *own: Array
    ) -> tuple[State, Residuals]:
        return self.cell.step(xp, ax, ah, state, *own)

    def step_vjp(
        self, xp: Namespace, residuals: Residuals, d_state: State, *own: Array
    ) -> tuple[Any, ...]:
        self.seen.append(d_state)
        return self.cell.step_vjp(xp, residuals, d_state, *own)

    def take(self, xp: Namespace) -> State:
        """Return and clear the records, (L, B, H) each, the lowest layer first."""
        found = tuple(stack(xp, part[::-1]) for part in zip(*self.seen, strict=True))
        self.seen.clear()
        return found


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
    by_loss_step: bool = False,
    arrays: bool = False,
    iterations: int = 30,
    **loss_options: Any,
) -> GradientFlow:
    """Follow the gradient of a loss back through time, step by step.

    Parameters
    ----------
    model, params, x, targets, loss, state, lengths, mask, **loss_options
        As for `bptt`; the model must be unidirectional. Dropout is off.
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
    NotImplementedError
        For a bidirectional model, whose states have no single order in time, or one with zoneout or
        a projected state.

    Notes
    -----
    Costs T forward and backward passes of one step. The power method adds a pass over all steps at
    once for each iteration, and ``by_loss_step`` adds T passes of one step over T·B rows.

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
    >>> print(flow.d_h[:, 0, 0])  # halved at each step back
    [0.125 0.25  0.5   1.   ]
    >>> print(flow.jacobian[:, 0, 0])
    [0.5 0.5 0.5 0.5]
    """
    iterations = check.count("iterations", iterations)
    by_loss_step = check.flag("by_loss_step", by_loss_step)
    arrays = check.flag("arrays", arrays)
    mask = mask_on_device(mask, x)
    some = lengths is not None or mask is not None
    check.loss(gradient_flow, loss, loss_options, weighted=some)
    xp = check_real(model, params)
    given = {"lengths": lengths, "mask": mask, "weights": loss_options.get("weights")}
    call = prepare(model, params, x, state, CallOptions(dropout=False, **given))
    if is_cupy_namespace(xp) and dtype_name(x.dtype) == "bfloat16":
        raise TypeError(
            "x: expected dtype float16, float32 or float64 on CuPy, whose bfloat16 only kernels "
            "compute with, since gradient_flow calls the cell at each step; got bfloat16"
        )
    if not call.setup.executor.stepwise:
        raise TypeError("x: gradient_flow runs step by step, and cannot be traced by jax.jit")
    if model.bidirectional:
        raise NotImplementedError("model: gradient_flow expects one direction, got bidirectional")
    check_every_step(model, "gradient_flow")
    if model.zoneout:
        raise NotImplementedError("model: gradient_flow expects no zoneout")
    if model.projection_size:
        raise NotImplementedError("model: gradient_flow expects no projection of the state")
    outputs, _, _ = run(call, keep=False)
    model, params, x = without_vocabulary(call)
    valid = valid_steps_of(xp, model, x, lengths, mask) if some else None
    value, d_outputs = loss_and_gradient(
        model, loss, outputs, targets, x, lengths=None, mask=valid, **loss_options
    )
    valid = mask_inward(model, valid)
    x, d_outputs = time_major(xp, model, x), time_major(xp, model, d_outputs)
    states = _initial(xp, model, x, state)
    watched = _Watched(model.cell_object)
    plain = replace(model, batch_first=False, dropout=0.0, recurrent_dropout=0.0)
    observed = replace(plain, cell=watched, nonlinearity="tanh")  # the cell holds the real one

    before, passes = [], []
    with use("eager"):  # only this executor calls the cell at each step
        call = prepare(observed, params, x, options=CallOptions(mask=valid))
    for t in range(x.shape[0]):
        before.append(states)
        one = call.window(t, t + 1, check.state_of(states))
        _, after, records = run(one, keep=True)
        passes.append((one, records))
        states = check.state_parts(after)
    d_state, norms, kept = _retreat(call, passes, d_outputs, valid, arrays=arrays)
    return GradientFlow(
        value,
        d_state,
        norms,
        _singular_values(plain, params, x, before, valid, iterations),
        _by_loss_step(call, before, d_outputs, valid) if by_loss_step else None,
        kept,
    )


def _retreat(
    call: Call,
    passes: list[tuple[Call, Any]],
    d_outputs: Array,
    valid: Array | None,
    *,
    arrays: bool,
) -> tuple[tuple[Array, ...], dict[str, Array], dict[str, Array] | None]:
    """Go back step by step; return the norms by state, by parameter, and the arrays."""
    xp, params, watched = call.setup.xp, call.params, _watched(call)
    d_states, norms, kept = [], [], []
    carry = None
    for t in reversed(range(len(passes))):
        one, records = passes[t]
        grads, _, before = run_vjp(one, records, d_outputs[t : t + 1, ...], carry, grad_x=False)
        seen = watched.take(xp)
        if valid is not None:
            seen = _held(xp, valid[t, :], seen, carry)
        carry = before
        d_states.append([norm(xp, part, 2) for part in seen])
        norms.append({name: norm(xp, grad, 0) for name, grad in grads.items()})
        if arrays:
            kept.append(grads)

    def in_time(found: list[Any], key: Any) -> Array:
        return stack(xp, [entry[key] for entry in reversed(found)])

    return (
        tuple(in_time(d_states, i) for i in range(watched.states)),
        {name: in_time(norms, name) for name in params},
        {name: in_time(kept, name) for name in params} if arrays else None,
    )


def _by_loss_step(
    call: Call,
    before: list[State],
    d_outputs: Array,
    valid: Array | None,
) -> Array:
    """Go back with T cotangents side by side in the batch, each from the loss at one step."""
    xp, watched = call.setup.xp, _watched(call)
    steps, batch = call.x.shape[:2]
    loss_step = xp.arange(steps, device=device_of(call.x))

    def side_by_side(array: Array) -> Array:  # (N, B, ...) to (N, T·B, ...)
        return concatenate(xp, [array] * steps, axis=1)

    found, carry = [], None
    for t in reversed(range(steps)):
        state = tuple(side_by_side(part) for part in before[t])
        exists = None if valid is None else side_by_side(valid[t : t + 1, :])
        here = call.window(t, t + 1, None)
        one = here._replace(x=side_by_side(here.x))
        if exists is not None:
            mask = xp.expand_dims(exists, axis=2)
            one = one._replace(setup=here.setup._replace(mask=mask))
        one = one.from_state(check.state_of(state))
        _, _, records = run(one, keep=True)
        chosen = xp.reshape(loss_step == t, (steps, 1, 1))
        d_here = d_outputs[t : t + 1, ...]
        d_t = xp.where(chosen, d_here, xp.zeros_like(d_here))
        d_t = xp.reshape(d_t, (1, steps * batch, -1))
        _, _, d_before = run_vjp(one, records, d_t, carry, grad_x=False)
        seen = watched.take(xp)
        if exists is not None:
            seen = _held(xp, exists[0, :], seen, carry)
        carry = d_before
        norms = norm(xp, seen[0], 2)
        found.append(xp.reshape(norms, (-1, steps, batch)))
    return xp.permute_dims(stack(xp, found[::-1]), (2, 0, 1, 3))


def _singular_values(
    model: RNN,
    params: Parameters,
    x: Array,
    before: list[State],
    valid: Array | None,
    iterations: int,
) -> Array:
    """Run the power method on JᵀJ, layer by layer, with all steps side by side in the batch."""
    xp, (steps, batch, inputs) = namespace_of(x=x), x.shape
    x = xp.reshape(x, (1, steps * batch, inputs))
    state = tuple(concatenate(xp, list(parts), axis=1) for parts in zip(*before, strict=True))
    mask = None if valid is None else xp.reshape(valid, (1, steps * batch))
    call = prepare(model, params, x, check.state_of(state), CallOptions(mask=mask))
    _, _, records = run(call, keep=True)
    shapes = {str(i): (1, *part.shape[1:]) for i, part in enumerate(state)}
    start = uniform(
        shapes, 1.0, 0, xp=xp, dtype=accumulation_dtype(xp, x.dtype), device=device_of(x)
    )
    found = []
    for layer in range(state[0].shape[0]):
        v = tuple(xp.astype(start[str(i)], x.dtype, copy=False) for i in range(len(state)))
        v, _ = _normalised(xp, v)
        for _ in range(iterations):
            d_state = _only(xp, v, layer, state)
            pushed = push(call, check.state_of(state), {}, None, d_state)
            u, length = _normalised(xp, _part(pushed.d_state, layer))
            d_state = _only(xp, u, layer, state)
            _, _, pulled = run_vjp(call, records, None, d_state, grad_x=False)
            v, _ = _normalised(xp, _part(pulled, layer))
        found.append(xp.reshape(length, (steps, batch)))
    return stack(xp, found, axis=1)


def _watched(call: Call) -> Any:
    """Return the cell of a call, which records its steps."""
    return call.model.cell_object


def _held(xp: Namespace, valid: Array, seen: State, carry: Any) -> State:
    """Return the next step's cotangent where a step is not valid, since the state is held."""
    valid = xp.expand_dims(valid, axis=1)
    after = map(xp.zeros_like, seen) if carry is None else check.state_parts(carry)
    return tuple(xp.where(valid, d, later) for d, later in zip(seen, after, strict=True))


def _normalised(xp: Namespace, parts: State) -> tuple[State, Array]:
    """Divide each row of a state (1, N, H) by its length; return the lengths (N,) too."""
    length = norm(xp, xp.concat(list(parts), axis=2), 2)
    divisor = xp.expand_dims(unit_of(xp, length), axis=2)
    return tuple(part / divisor for part in parts), length[0, ...]


def _only(xp: Namespace, parts: State, layer: int, like: State) -> Any:
    """Place the state (1, N, H) of one layer among zeros for the others."""
    layers = like[0].shape[0]

    def place(part: Array) -> Array:
        zero = xp.zeros_like(part)
        return concatenate(xp, [part if i == layer else zero for i in range(layers)])

    return check.state_of(tuple(map(place, parts)))


def _part(state: Any, layer: int) -> State:
    return tuple(part[layer : layer + 1, ...] for part in check.state_parts(state))


def _initial(xp: Namespace, model: RNN, x: Array, state: Any) -> State:
    if state is not None:
        parts = check.state_parts(state)
        return tuple(xp.expand_dims(p, axis=1) if p.ndim == 2 else p for p in parts)
    zero = xp.zeros(model.state_shape(x.shape[1]), dtype=x.dtype, device=device_of(x))
    return (zero,) * model.cell_object.states
