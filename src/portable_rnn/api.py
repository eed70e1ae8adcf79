"""The public functions: `forward`, `backward`, `bptt` and `predict`.

They check what they are given, bring it to the layout inside, and hand it to the
calculus in :mod:`portable_rnn.bptt`; their results are in the caller's layout again.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from . import _check as check
from . import layout
from ._namespace import (
    Array,
    Namespace,
    device_of,
    is_traced,
    on_their_device,
)
from .bptt import Stretch, run, run_vjp
from .cells import State
from .losses import softmax_cross_entropy
from .model import RNN

__all__ = [
    "Forward",
    "Gradients",
    "Result",
    "Tape",
    "backward",
    "bptt",
    "forward",
    "predict",
]

Parameters = Mapping[str, Array]
Loss = Callable[..., tuple[Array, Array]]


class Tape(NamedTuple):
    """The record of a forward pass: its inputs, and one stretch of time after another."""

    x: Array
    stretches: tuple[Stretch, ...]


class Forward(NamedTuple):
    """Outputs (T, B, O), final state (1, B, H) or a pair of them, and the tape."""

    outputs: Array
    state: Any
    tape: Tape


class Gradients(NamedTuple):
    """Cotangents of the parameters (a dict), of ``x``, and of the initial state."""

    params: dict[str, Array]
    x: Array | None
    state: Any


class Result(NamedTuple):
    """Loss (0-d), its gradients, the final state, and the outputs it was computed from."""

    loss: Array
    grads: dict[str, Array]
    state: Any
    outputs: Array
    grad_x: Array | None
    grad_state: Any


@on_their_device
def forward(
    model: RNN,
    params: Parameters,
    x: Array,
    state: Any = None,
    *,
    check_finite: bool = False,
) -> Forward:
    """Run the network over a sequence, keeping what `backward` needs.

    Equations 10.8 to 10.10 of Goodfellow, Bengio, Courville, *Deep Learning* (2016).

    Parameters
    ----------
    model : RNN
    params : dict of str to array
        Names and shapes as in ``model.parameter_shapes``; one library, dtype and device.
    x : array, shape (T, B, I), (B, T, I) with ``batch_first``, or (T, I)
        Of the library, dtype and device of ``params``. Never written to.
    state : array, shape (1, B, H), or (1, H) if unbatched; for LSTM a pair (h, c), optional
        The initial state; zeros if None.
    check_finite : bool
        Whether to read ``x``, the state and the parameters and refuse NaN and infinity.

    Returns
    -------
    Forward
        ``outputs`` in the layout of ``x``, ``state`` in that of the initial one, ``tape``.

    Raises
    ------
    TypeError
        If arrays are of different libraries or dtypes, or not of a floating dtype.
    ValueError
        If names, shapes or devices do not fit, or (with ``check_finite``) values are not finite.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=4, hidden_size=5, output_size=3)
    >>> params = model.init(seed=0)
    >>> fwd = prnn.forward(model, params, np.zeros((7, 2, 4), dtype=np.float32))
    >>> fwd.outputs.shape, fwd.state.shape
    ((7, 2, 3), (1, 2, 5))
    """
    xp = _check_inputs(model, params, x, state, finite=check_finite)
    return _run(xp, model, params, x, state, keep=True)


@on_their_device
def predict(
    model: RNN,
    params: Parameters,
    x: Array,
    state: Any = None,
    *,
    return_state: bool = False,
    check_finite: bool = False,
) -> Any:
    """Run the network without a tape: beyond inputs and outputs, memory is independent of T.

    (Under JAX, and on Dask and ndonnx, the whole sequence is one graph, and it is not.)

    Parameters
    ----------
    model, params, x, state, check_finite
        As for `forward`.
    return_state : bool
        Whether to return the final state too.

    Returns
    -------
    outputs : array, shape (T, B, O), in the layout of ``x``
    state : only with ``return_state``, like the initial state

    Raises
    ------
    TypeError, ValueError
        As `forward` does.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=4, hidden_size=5, output_size=3, cell="lstm")
    >>> prnn.predict(model, model.init(seed=0), np.zeros((7, 4), dtype=np.float32)).shape
    (7, 3)
    """
    xp = _check_inputs(model, params, x, state, finite=check_finite)
    outputs, state, _ = _run(xp, model, params, x, state, keep=False)
    return (outputs, state) if return_state else outputs


@on_their_device
def backward(
    model: RNN,
    params: Parameters,
    tape: Tape,
    d_outputs: Array | None = None,
    d_state: Any = None,
    *,
    grad_x: bool = True,
) -> Gradients:
    """Pull cotangents of the outputs and of the final state back through a forward pass.

    Equations 10.19 to 10.28 of Goodfellow, Bengio, Courville, *Deep Learning* (2016).

    Parameters
    ----------
    model, params
        Those of the forward pass.
    tape : Tape
        From `forward`. It is read only, and can be used again. It refers to the ``x`` and the
        initial state given there: do not write into them before the backward pass.
    d_outputs : array, shape and layout of the outputs, optional
    d_state : shape of the final state, for LSTM a pair, optional
        Give either, or both; what is None counts as zero and costs nothing.
    grad_x : bool
        Whether to compute the cotangent of ``x`` (one product of T·B rows).

    Returns
    -------
    Gradients
        ``params`` (a dict like the parameters), ``x`` (None without ``grad_x``), ``state``.

    Raises
    ------
    TypeError, ValueError
        If a cotangent does not fit, or neither is given.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=4, hidden_size=5)
    >>> params = model.init(seed=0, dtype="float64")
    >>> fwd = prnn.forward(model, params, np.ones((7, 2, 4)))
    >>> grads = prnn.backward(model, params, fwd.tape, d_state=np.ones((1, 2, 5)))
    >>> grads.params["weight_hh_l0"].shape, grads.x.shape, grads.state.shape
    ((5, 5), (7, 2, 4), (1, 2, 5))
    """
    xp = check.parameters(model, params)
    if d_outputs is None and d_state is None:
        raise ValueError("d_outputs, d_state: expected at least one cotangent, got neither")
    if not isinstance(tape, Tape):
        raise TypeError(f"tape: expected the tape of forward, got {type(tape).__name__}")
    check.like("tape", tape.x, "params", next(iter(params.values())))
    before = tape.stretches[0].before
    found = (tape.x.shape[-1], before[0].shape[-1], len(before))
    wanted = (model.input_size, model.hidden_size, model.cell_object.states)
    if found != wanted:
        raise ValueError(
            "tape: expected input size, hidden size and number of states "
            f"{wanted} of the model, got {found}"
        )
    if d_outputs is not None:
        shape = (*tape.x.shape[:-1], model.feature_size)
        check.shaped("d_outputs", d_outputs, shape, "x", tape.x)
    if d_state is not None:
        check.state(model, "d_state", d_state, tape.x)
    batched = tape.x.ndim == 3
    x = layout.time_major(xp, model, tape.x)
    d_w, d_x, d_before = run_vjp(
        xp,
        model.cell_object,
        model.weights(params),
        x,
        tape.stretches,
        None if d_outputs is None else layout.time_major(xp, model, d_outputs),
        _state(xp, model, d_state, x, batched=batched),
        grad_x=grad_x,
    )
    return Gradients(
        model.parameters(d_w, like=params),
        layout.time_major_outward(xp, model, d_x, batched=batched) if grad_x else None,
        layout.state_outward(xp, d_before, batched=batched),
    )


@on_their_device
def bptt(
    model: RNN,
    params: Parameters,
    x: Array,
    targets: Any,
    *,
    loss: Loss = softmax_cross_entropy,
    state: Any = None,
    grad_x: bool = True,
    check_finite: bool = False,
    **loss_options: Any,
) -> Result:
    """Compute a loss and its gradients by backpropagation through time.

    Parameters
    ----------
    model, params, x, state, check_finite
        As for `forward`.
    targets : any
        Handed to ``loss`` as it is: class indices, rows, whatever the loss wants.
    loss : callable, ``(outputs, targets, **loss_options) -> (value, d_outputs)``
        One of :mod:`portable_rnn.losses` or your own. It sees the outputs in your layout, and
        ``d_outputs`` is its gradient with respect to them.
    grad_x : bool
        Whether to compute the gradient with respect to ``x``.
    **loss_options
        Passed on to ``loss``, such as ``weights=mask`` or ``reduction="sum"``.

    Returns
    -------
    Result
        ``loss`` (0-d), ``grads`` (a dict like the parameters), ``state`` (the final one),
        ``outputs``, ``grad_x`` and ``grad_state`` (of the initial state).

    Raises
    ------
    TypeError, ValueError
        As `forward` and the loss do, or if the loss returns a ``d_outputs`` that does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=4, hidden_size=5, output_size=3)
    >>> params = model.init(seed=0)
    >>> x = np.ones((7, 2, 4), dtype=np.float32)
    >>> result = prnn.bptt(model, params, x, np.zeros((7, 2), dtype=np.int64))
    >>> result.loss.shape, sorted(result.grads) == sorted(params)
    ((), True)
    """
    if not callable(loss):
        raise TypeError(f"loss: expected a callable, got {type(loss).__name__}")
    fwd = forward(model, params, x, state, check_finite=check_finite)
    returned = loss(fwd.outputs, targets, **loss_options)
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise TypeError(
            f"loss: expected it to return (value, d_outputs), got {type(returned).__name__}"
        )
    value, d_outputs = returned
    shape = tuple(fwd.outputs.shape)
    check.shaped("d_outputs returned by the loss", d_outputs, shape, "x", x)
    grads = backward(model, params, fwd.tape, d_outputs, grad_x=grad_x)
    return Result(value, grads.params, fwd.state, fwd.outputs, grads.x, grads.state)


def _check_inputs(
    model: RNN, params: Parameters, x: Array, state: Any, *, finite: bool
) -> Namespace:
    xp = check.parameters(model, params)
    check.sequence(model, params, x)
    if state is not None:
        check.state(model, "state", state, x)
    if finite:
        parts = check.state_parts(state) if state is not None else ()
        named = {"x": x} | {f"state[{i}]": part for i, part in enumerate(parts)}
        for name, array in (named | dict(params)).items():
            check.finite(name, array)
    return xp


def _run(
    xp: Namespace, model: RNN, params: Parameters, x: Array, state: Any, *, keep: bool
) -> Forward:
    batched = x.ndim == 3
    given = check.state_parts(state) if state is not None else ()
    sequence = layout.time_major(xp, model, x)
    outputs, after, stretches = run(
        xp,
        model.cell_object,
        model.weights(params),
        sequence,
        _state(xp, model, state, sequence, batched=batched),
        keep=keep,
        stacked=is_traced(xp, x, *params.values(), *given),
    )
    return Forward(
        layout.time_major_outward(xp, model, outputs, batched=batched),
        layout.state_outward(xp, after, batched=batched),
        Tape(x, stretches),
    )


def _state(xp: Namespace, model: RNN, state: Any, x: Array, *, batched: bool) -> State:
    """Return a caller's state as arrays (B, H), or zeros for None."""
    if state is not None:
        return layout.state_inward(state, batched=batched)
    shape = (x.shape[1], model.hidden_size)
    zero = xp.zeros(shape, dtype=x.dtype, device=device_of(x))
    return (zero,) * model.cell_object.states
