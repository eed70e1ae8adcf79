"""The public functions: `forward`, `backward`, `bptt` and `predict`.

They check what they are given, bring it to the layout inside, and hand it to the
calculus in :mod:`portable_rnn.bptt`; their results are in the caller's layout again.
"""

from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from . import _check as check
from . import layout
from ._namespace import (
    Array,
    Namespace,
    device_of,
    dtype_name,
    in_one_piece,
    is_traced,
    library_name,
    namespace_of,
    on_their_device,
)
from .affine import SUMS, Products
from .cells import State
from .dropout import Masks, draw, expected
from .losses import softmax_cross_entropy
from .memory import Plan, plan
from .model import RNN
from .network import Passage, Walk, run, run_vjp
from .steps import Steps, check_lengths, check_mask, mask_of, resolve
from .stretches import Units

__all__ = [
    "Forward",
    "Gradients",
    "Result",
    "Tape",
    "backward",
    "bptt",
    "evaluate",
    "forward",
    "predict",
    "pull_back",
]

Parameters = Mapping[str, Array]
Loss = Callable[..., tuple[Array, Array]]


class Tape(NamedTuple):
    """The record of a forward pass, from `forward` and for `backward`.

    Attributes
    ----------
    x : array, shape and layout as given to `forward`
        The array itself, not a copy.
    steps, masks, units, passages
        Which steps there were, what was dropped out, how time was cut, and what was kept. Their
        form is not part of the interface.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=4, hidden_size=5)
    >>> x = np.ones((7, 2, 4), dtype=np.float32)
    >>> prnn.forward(model, model.init(seed=0), x).tape.x is x
    True
    """

    x: Array
    steps: Steps  # which steps there are
    masks: Masks  # of dropout
    units: Units | None  # under a memory budget
    passages: tuple[Passage, ...]  # through the columns of the network


class Forward(NamedTuple):
    """What `forward` returns.

    Attributes
    ----------
    outputs : array, shape (T, B, O), in the layout of ``x``
        Of the readout, or without one the hidden states (O is then D·H).
    state : array, shape (L·D, B, H), for LSTM a pair (h, c)
        After the last step.
    tape : Tape
        For `backward`.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=4, hidden_size=5, output_size=3)
    >>> x = np.ones((7, 2, 4), dtype=np.float32)
    >>> outputs, state, tape = prnn.forward(model, model.init(seed=0), x)
    >>> outputs.shape, state.shape
    ((7, 2, 3), (1, 2, 5))
    """

    outputs: Array
    state: Any
    tape: Tape


class Gradients(NamedTuple):
    """What `backward` returns: a cotangent for everything that went into the forward pass.

    Attributes
    ----------
    params : dict of str to array
        Names, shapes and order of the parameters.
    x : array, shape and layout of ``x``, or None
        None without ``grad_x``.
    state : array, shape (L·D, B, H), for LSTM a pair
        Of the initial state.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=4, hidden_size=5)
    >>> params = model.init(seed=0, dtype="float64")
    >>> fwd = prnn.forward(model, params, np.ones((7, 2, 4)))
    >>> grads = prnn.backward(model, params, fwd.tape, np.ones((7, 2, 5)), grad_x=False)
    >>> grads.params.keys() == params.keys(), grads.x, grads.state.shape
    (True, None, (1, 2, 5))
    """

    params: dict[str, Array]
    x: Array | None
    state: Any


class Result(NamedTuple):
    """What `bptt` returns.

    Attributes
    ----------
    loss : array, shape ()
        Of the library, dtype and device of the outputs.
    grads : dict of str to array
        Names, shapes and order of the parameters.
    state : array, shape (L·D, B, H), for LSTM a pair (h, c)
        After the last step; give it to the next call to go on.
    outputs : array, shape (T, B, O), in the layout of ``x``
        What the loss was computed from.
    grad_x : array, shape and layout of ``x``, or None
        None without ``grad_x=True``.
    grad_state : array, shape (L·D, B, H), for LSTM a pair
        Of the initial state.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=4, hidden_size=5, output_size=3)
    >>> x, labels = np.ones((7, 2, 4), dtype=np.float32), np.zeros((7, 2), dtype=np.int64)
    >>> result = prnn.bptt(model, model.init(seed=0), x, labels)
    >>> result.loss.shape, result.outputs.shape, result.grad_x.shape
    ((), (7, 2, 3), (7, 2, 4))
    """

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
    lengths: Any = None,
    mask: Any = None,
    dropout: int | tuple[int, ...] | Masks | Literal[False] | None = None,
    memory: str | int | Plan | None = None,
    checkpoint_every: int | None = None,
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
    state : array, shape (L·D, B, H), or (L·D, H) if unbatched; for LSTM a pair (h, c), optional
        The initial state, for L layers in D directions, in torch's order; zeros if None.
    lengths : sequence of B ints, or integer array (B,), optional
        How many steps each sequence has, from 0 to T, in any order; see
        :mod:`portable_rnn.ragged`. On the host (of any library), padding costs nothing. On a
        device they are never read: below 0 counts as 0, above T as T.
    mask : boolean array, shape of ``x`` without its last axis, optional
        Which steps there are, where sequences have gaps. Not together with ``lengths``.
    dropout : int, tuple of ints, Masks or False, optional
        A seed, another one at each step of training, such as ``(seed, step)``; or what
        :func:`portable_rnn.dropout.draw` drew. False for none. A model with dropout or zoneout
        must be given one of them.
    memory : str, int or Plan, optional
        A budget for the tape, such as ``"64 MiB"``, or what :func:`portable_rnn.memory.plan`
        returned. The backward pass then runs steps again, to the same gradients, and uses the tape
        up. Not where the whole sequence is one computation (JAX, Dask, ndonnx).
    checkpoint_every : int, optional
        Rather than a budget: keep the state every so many steps, and run each step twice.
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
    xp = _check_inputs(model, params, x, state, lengths, mask, finite=check_finite)
    masks = _masks(xp, model, x, dropout)
    steps = _steps(xp, model, x, lengths, mask)
    units = _units(xp, model, x, memory, checkpoint_every)
    return _run(xp, model, params, x, state, steps, masks, units, keep=True)


@on_their_device
def predict(
    model: RNN,
    params: Parameters,
    x: Array,
    state: Any = None,
    *,
    lengths: Any = None,
    mask: Any = None,
    return_state: bool = False,
    check_finite: bool = False,
) -> Any:
    """Run the network without a tape: beyond inputs and outputs, memory is independent of T.

    (It is not under JAX, and on Dask and ndonnx, where the whole sequence is one graph, nor between
    the layers of a bidirectional network.) Nothing is dropped out.

    Parameters
    ----------
    model, params, x, state, lengths, mask, check_finite
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
    xp = _check_inputs(model, params, x, state, lengths, mask, finite=check_finite)
    steps = _steps(xp, model, x, lengths, mask)
    masks = expected(xp, model, x)
    outputs, state, _ = _run(xp, model, params, x, state, steps, masks, None, keep=False)
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
        From `forward`. It is read only, and can be used again, but under a memory budget. It
        refers to the ``x``, the initial state and the mask given there: do not write into them
        before the backward pass.
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
    return pull_back(model, params, tape, d_outputs, d_state, grad_x=grad_x)


@on_their_device
def bptt(
    model: RNN,
    params: Parameters,
    x: Array,
    targets: Any,
    *,
    loss: Loss = softmax_cross_entropy,
    state: Any = None,
    lengths: Any = None,
    mask: Any = None,
    dropout: int | tuple[int, ...] | Masks | Literal[False] | None = None,
    memory: str | int | Plan | None = None,
    checkpoint_every: int | None = None,
    grad_x: bool = True,
    check_finite: bool = False,
    **loss_options: Any,
) -> Result:
    """Compute a loss and its gradients by backpropagation through time.

    Parameters
    ----------
    model, params, x, state, lengths, mask, dropout, memory, checkpoint_every, check_finite
        As for `forward`.
    targets : any
        Handed to ``loss`` as it is: class indices, rows, whatever the loss wants.
    loss : callable, ``(outputs, targets, **loss_options) -> (value, d_outputs)``
        One of :mod:`portable_rnn.losses` or your own. It sees the outputs in your layout, and
        ``d_outputs`` is its gradient with respect to them.
    grad_x : bool
        Whether to compute the gradient with respect to ``x``.
    **loss_options
        Passed on to ``loss``, such as ``class_weights=...`` or ``reduction="sum"``. With
        ``lengths`` or a ``mask``, ``weights`` tells the loss which steps there are (if you give
        weights yourself, they are made zero at the others).

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
    fwd, value, d_outputs = evaluate(
        *(model, params, x, targets, loss, state),
        lengths=lengths,
        mask=mask,
        dropout=dropout,
        memory=memory,
        checkpoint_every=checkpoint_every,
        check_finite=check_finite,
        **loss_options,
    )
    grads = backward(model, params, fwd.tape, d_outputs, grad_x=grad_x)
    return Result(value, grads.params, fwd.state, fwd.outputs, grads.x, grads.state)


def pull_back(
    model: RNN,
    params: Parameters,
    tape: Tape,
    d_outputs: Array | None,
    d_state: Any,
    *,
    grad_x: bool,
    products: Products = SUMS,
) -> Gradients:
    """Do the work of `backward`; ``products`` says what to make of the factors of gradients."""
    xp = check.parameters(model, params)
    if d_outputs is None and d_state is None:
        raise ValueError("d_outputs, d_state: expected at least one cotangent, got neither")
    if not isinstance(tape, Tape):
        raise TypeError(f"tape: expected the tape of forward, got {type(tape).__name__}")
    check.like("tape", tape.x, "params", next(iter(params.values())))
    _check_tape(model, tape)
    if d_outputs is not None:
        shape = (*tape.x.shape[:-1], model.feature_size)
        check.shaped("d_outputs", d_outputs, shape, "x", tape.x)
    if d_state is not None:
        check.state(model, "d_state", d_state, tape.x)
    batched, order, inverse = tape.x.ndim == 3, tape.steps.order, tape.steps.inverse
    x = layout.time_major(xp, model, tape.x)
    if d_outputs is not None:
        d_outputs = layout.time_major(xp, model, d_outputs)
    d_w, d_x, d_before = run_vjp(
        xp,
        model.cell_object,
        model.weights(params),
        tape.passages,
        d_outputs,
        _states(xp, model, d_state, x, order, batched=batched),
        _walk(tape.steps, tape.masks, tape.units)._replace(products=products),
        grad_x=grad_x,
    )
    return Gradients(
        model.parameters(d_w, like=params),
        layout.time_major_outward(xp, model, d_x, batched=batched) if grad_x else None,
        layout.state_outward(xp, d_before, inverse, batched=batched),
    )


def evaluate(
    model: RNN,
    params: Parameters,
    x: Array,
    targets: Any,
    loss: Loss,
    state: Any,
    *,
    lengths: Any = None,
    mask: Any = None,
    dropout: Any = None,
    memory: Any = None,
    checkpoint_every: int | None = None,
    check_finite: bool = False,
    **loss_options: Any,
) -> tuple[Forward, Array, Array]:
    """Do the first half of `bptt`: return the forward pass, the loss, and its gradient."""
    if not callable(loss):
        raise TypeError(f"loss: expected a callable, got {type(loss).__name__}")
    fwd = forward(
        model,
        params,
        x,
        state,
        lengths=lengths,
        mask=mask,
        dropout=dropout,
        memory=memory,
        checkpoint_every=checkpoint_every,
        check_finite=check_finite,
    )
    value, d_outputs = loss_and_gradient(
        model, loss, fwd.outputs, targets, x, lengths=lengths, mask=mask, **loss_options
    )
    return fwd, value, d_outputs


def loss_and_gradient(
    model: RNN,
    loss: Loss,
    outputs: Array,
    targets: Any,
    x: Array,
    *,
    lengths: Any,
    mask: Any,
    **loss_options: Any,
) -> tuple[Array, Array]:
    """Call a loss with the steps that there are; check what it returns."""
    if lengths is not None or mask is not None:
        weights = loss_options.get("weights")
        loss_options["weights"] = step_weights(model, x, lengths, mask, weights)
    returned = loss(outputs, targets, **loss_options)
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise TypeError(
            f"loss: expected it to return (value, d_outputs), got {type(returned).__name__}"
        )
    value, d_outputs = returned
    check.shaped("d_outputs returned by the loss", d_outputs, tuple(outputs.shape), "x", x)
    return value, d_outputs


def step_weights(model: RNN, x: Array, lengths: Any, mask: Any, weights: Any) -> Array:
    """Return the weights of the steps for a loss, in the layout of ``x``: zero where none is."""
    xp = namespace_of(x=x)
    if mask is not None and model.batch_first:
        mask = mask.T
    there = mask_of(xp, _axes(xp, model, x), lengths, mask)
    there = there.T if model.batch_first else there
    if weights is None:
        return there
    return xp.where(there, weights, xp.zeros_like(weights))


def _check_inputs(
    model: RNN, params: Parameters, x: Array, state: Any, lengths: Any, mask: Any, *, finite: bool
) -> Namespace:
    xp = check.parameters(model, params)
    check.sequence(model, params, x)
    if state is not None:
        check.state(model, "state", state, x)
    if lengths is not None and mask is not None:
        raise ValueError("lengths, mask: expected one of them, got both")
    for name, value in (("lengths", lengths), ("mask", mask)):
        if value is not None and x.ndim == 2:
            raise ValueError(f"{name}: expected x to be a batch, got a single sequence (T, I)")
    if lengths is not None:  # those on the host are read
        batch, steps = x.shape[:2] if model.batch_first else x.shape[1::-1]
        check_lengths(lengths, steps, batch, x)
    if mask is not None:
        check_mask(mask, tuple(x.shape[:2]), x)
    if finite:
        parts = check.state_parts(state) if state is not None else ()
        named = {"x": x} | {f"state[{i}]": part for i, part in enumerate(parts)}
        for name, array in (named | dict(params)).items():
            check.finite(name, array)
    return xp


def _check_tape(model: RNN, tape: Tape) -> None:
    """Refuse the tape of another model: of other sizes, layers, directions or states."""
    layers = [state for passage in tape.passages for state in passage.kept.get(0, ())]
    if not layers:
        if tape.units is not None:
            raise ValueError("tape: under a memory budget a tape can be pulled back only once")
        return  # not one step was there
    found = (tape.x.shape[-1], layers[0][0].shape[-1], len(layers[0]), len(layers))
    count = model.num_layers * model.directions
    wanted = (model.input_size, model.recurrent_size, model.cell_object.states, count)
    if found != wanted:
        raise ValueError(
            "tape: expected input size, hidden size, number of states, and layers times directions "
            f"{wanted} of the model, got {found}"
        )


def _run(
    xp: Namespace,
    model: RNN,
    params: Parameters,
    x: Array,
    state: Any,
    steps: Steps,
    masks: Masks,
    units: Units | None,
    *,
    keep: bool,
) -> Forward:
    batched = x.ndim == 3
    given = check.state_parts(state) if state is not None else ()
    sequence = layout.time_major(xp, model, x)
    walk = _walk(steps, masks, units)
    outputs, after, passages = run(
        xp,
        model.cell_object,
        model.weights(params),
        sequence,
        _states(xp, model, state, sequence, steps.order, batched=batched),
        walk._replace(stacked=is_traced(xp, x, *params.values(), *given)),
        keep=keep,
    )
    return Forward(
        layout.time_major_outward(xp, model, outputs, batched=batched),
        layout.state_outward(xp, after, steps.inverse, batched=batched),
        Tape(x, steps, masks, units, passages),
    )


def _walk(steps: Steps, masks: Masks, units: Units | None) -> Walk:
    return Walk(False, *steps, *masks, units=units)


def _units(
    xp: Namespace, model: RNN, x: Array, memory: Any, checkpoint_every: int | None
) -> Units | None:
    """Return how to keep to a memory budget; None if there is none."""
    if memory is None and checkpoint_every is None:
        return None
    if in_one_piece(xp):
        raise ValueError(
            f"memory, checkpoint_every: not with arrays of {library_name(xp)}, for which the whole "
            "sequence is one computation"
        )
    if isinstance(memory, Plan):
        if checkpoint_every is not None:
            raise ValueError("memory, checkpoint_every: expected one of them, got both")
        return memory.walk
    steps, batch = (x.shape[0], 1) if x.ndim == 2 else _axes(xp, model, x).shape[:2]
    options = {"memory": memory, "checkpoint_every": checkpoint_every}
    return plan(model, steps, batch, dtype=dtype_name(x.dtype), **options).walk


def _states(
    xp: Namespace, model: RNN, state: Any, x: Array, order: Array | None, *, batched: bool
) -> tuple[State, ...]:
    """Return a caller's state as arrays (B, H) for each layer and direction, or zeros for None."""
    if state is not None:
        return layout.state_inward(xp, state, order, batched=batched)
    zeros = tuple(
        xp.zeros(shape[1:], dtype=x.dtype, device=device_of(x))
        for shape in model.state_shapes(x.shape[1])
    )
    return (zeros,) * (model.num_layers * model.directions)


def _steps(xp: Namespace, model: RNN, x: Array, lengths: Any, mask: Any) -> Steps:
    if mask is not None and model.batch_first:
        mask = mask.T
    return resolve(xp, _axes(xp, model, x), lengths, mask)


def _axes(xp: Namespace, model: RNN, x: Array) -> Array:
    return xp.permute_dims(x, (1, 0, 2)) if model.batch_first and x.ndim == 3 else x


def _masks(xp: Namespace, model: RNN, x: Array, dropout: Any) -> Masks:
    if isinstance(dropout, Masks):
        return dropout
    if dropout is False:
        return expected(xp, model, x)
    if dropout is not None:
        return draw(model, x, dropout)
    if chances := [n for n in ("dropout", "recurrent_dropout", "zoneout") if getattr(model, n)]:
        raise ValueError(
            f"dropout: this model has {' and '.join(chances)}: expected a seed, another one at "
            "each step of training, or False for none; got None"
        )
    return Masks()
