"""The public functions, `forward`, `predict`, `backward` and `bptt`, and what they return.

``prepare`` in ``_calls/call.py`` checks their arguments once. The call that it returns is run
through ``_engine/network.py``, with the calculus of ``_engine/bptt.py``.
"""

from typing import Any, Literal, NamedTuple

from ._arrays import checks as check
from ._arrays.devices import with_device_of_arguments
from ._arrays.namespace import Array
from ._arrays.shown import short_repr
from ._calls.call import CallOptions, Parameters, prepare, run, run_vjp
from ._calls.dropout_masks import Masks
from ._calls.loss import Loss, loss_and_gradient, weighs_steps
from ._calls.tape import Tape, call_of, check_tape, tape_of
from ._calls.valid_steps import mask_on_device
from .losses import softmax_cross_entropy
from .memory import Plan
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


class Forward(NamedTuple):
    """What `forward` returns.

    Attributes
    ----------
    outputs : array, shape (T, B, O), in the layout of ``x``
        Outputs of the readout, or without one the hidden states (O is then D·H).
    state : array, shape (L·D, B, H), for LSTM a pair (h, c)
        The state after the last step.
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

    def __repr__(self) -> str:
        return short_repr(self)


class Gradients(NamedTuple):
    """What `backward` returns: a cotangent for each input of the forward pass.

    Attributes
    ----------
    params : dict of str to array
        With the names, shapes and order of the parameters.
    x : array, shape and layout of ``x``, or None
        None without ``grad_x``, and for tokens.
    state : array, shape (L·D, B, H), for LSTM a pair
        The cotangent of the initial state.

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

    def __repr__(self) -> str:
        return short_repr(self)


class Result(NamedTuple):
    """What `bptt` returns.

    Attributes
    ----------
    loss : array, shape ()
        Has the library, dtype and device of the outputs.
    grads : dict of str to array
        With the names, shapes and order of the parameters.
    state : array, shape (L·D, B, H), for LSTM a pair (h, c)
        The state after the last step; pass it to the next call to continue.
    outputs : array, shape (T, B, O), in the layout of ``x``
        What the loss was computed from.
    grad_x : array, shape and layout of ``x``, or None
        None without ``grad_x=True``, and for tokens.
    grad_state : array, shape (L·D, B, H), for LSTM a pair
        The gradient with respect to the initial state.

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

    def __repr__(self) -> str:
        return short_repr(self)


@check.named_options
@with_device_of_arguments
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
        Has the library, dtype and device of ``params``. Never written to. For a model with a
        vocabulary, integer tokens instead: (T, B), (B, T) or (T,).
    state : array, shape (L·D, B, H), or (L·D, H) if unbatched; for LSTM a pair (h, c), optional
        The initial state, for L layers in D directions, in torch's order; zeros if None.
    lengths : sequence of B ints, or integer array (B,), optional
        How many steps each sequence has, from 0 to T, in any order; see
        :mod:`portable_rnn.ragged`. If they are on the host (of any library), padding costs nothing.
        On a device they are never read: values below 0 count as 0, above T as T. For a single
        sequence (T, I), a number or a list of one.
    mask : boolean array, shape of ``x`` without its last axis, optional
        The valid steps, for sequences with gaps. Not together with ``lengths``.
    dropout : int, tuple of ints, Masks or False, optional
        A seed, different at each step of training, such as ``(seed, step)``; or the masks from
        :func:`portable_rnn.dropout.draw`. False for none. Required for a model with dropout or
        zoneout.
    memory : str, int or Plan, optional
        A budget for the tape, such as ``"64 MiB"``, or a plan from
        :func:`portable_rnn.memory.plan`. The backward pass then runs steps again, with the same
        gradients, and can use the tape only once. Not available where the whole sequence is one
        computation (JAX, Dask, ndonnx).
    checkpoint_every : int, optional
        Instead of a budget: keep the state every so many steps, and run each step at most twice.
    check_finite : bool
        Whether to read ``x``, the state and the parameters and refuse NaN and infinity; in ``x``
        only at valid steps.

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
    options = CallOptions(lengths, mask, dropout, memory, checkpoint_every, None, check_finite)
    call = prepare(model, params, x, state, options)
    outputs, after, records = run(call, keep=True)
    return Forward(outputs, after, tape_of(call, records))


@check.named_options
@with_device_of_arguments
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

    Exceptions are JAX, Dask and ndonnx, where the whole sequence is one computation, the values
    between layers of a bidirectional network, the vectors of tokens, and the hidden states that are
    pooled. Nothing is dropped out.

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
    return_state = check.flag("return_state", return_state)
    options = CallOptions(lengths, mask, dropout=False, check_finite=check_finite)
    call = prepare(model, params, x, state, options)
    outputs, after, _ = run(call, keep=False)
    return (outputs, after) if return_state else outputs


@check.named_options
@with_device_of_arguments
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
        Those of the forward pass. The tape's model is checked; whether the parameters are still the
        same is not.
    tape : Tape
        From `forward`. Without a memory budget it is only read, and can be used again; with one it
        can be used only once. It refers to the ``x``, the initial state and the masks given there:
        do not write into them before the backward pass.
    d_outputs : array, shape and layout of the outputs, optional
    d_state : shape of the final state, for LSTM a pair, optional
        Give one or both; None counts as zero and costs nothing.
    grad_x : bool
        Whether to compute the cotangent of ``x`` (one product of T·B rows).

    Returns
    -------
    Gradients
        ``params`` (a dict like the parameters), ``x`` (None without ``grad_x``), ``state``.

    Raises
    ------
    TypeError, ValueError
        If a cotangent does not fit, neither is given, or the tape belongs to another model.

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
    grad_x = check.flag("grad_x", grad_x)
    check_tape(model, params, tape, d_outputs, d_state)
    call = call_of(tape, params)
    return Gradients(*run_vjp(call, tape.stack_tapes, d_outputs, d_state, grad_x=grad_x))


@with_device_of_arguments
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
        Passed to ``loss`` unchanged: class indices, rows, or whatever the loss expects.
    loss : callable, ``(outputs, targets, **loss_options) -> (value, d_outputs)``
        One of :mod:`portable_rnn.losses` or your own. It sees the outputs in your layout, and
        ``d_outputs`` is its gradient with respect to them; ``value`` is an array () or a float.
    grad_x : bool
        Whether to compute the gradient with respect to ``x``.
    **loss_options
        Passed on to ``loss``, such as ``class_weights=...`` or ``reduction="sum"``. With
        ``lengths`` or a ``mask``, ``weights`` tells the loss which steps are valid. If you give
        weights yourself, one for each step in the layout of ``x``, boolean or of its dtype, they
        are set to zero at the other steps.

    Returns
    -------
    Result
        ``loss`` (0-d), ``grads`` (a dict like the parameters), ``state`` (the final one),
        ``outputs``, ``grad_x`` and ``grad_state`` (of the initial state).

    Raises
    ------
    TypeError, ValueError
        As `forward` and the loss do; if an option is unknown to `bptt` and to the loss; or if what
        the loss returns does not fit.

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
    check.loss(bptt, loss, loss_options, weighted=weighs_steps(model, lengths, mask))
    grad_x, mask = check.flag("grad_x", grad_x), mask_on_device(mask, x)
    weights = loss_options.get("weights")
    options = CallOptions(lengths, mask, dropout, memory, checkpoint_every, weights, check_finite)
    call = prepare(model, params, x, state, options)
    outputs, after, records = run(call, keep=True)
    value, d_outputs = loss_and_gradient(
        model, loss, outputs, targets, call.given, lengths=lengths, mask=mask, **loss_options
    )
    # Results of the forward pass above are not checked again.
    grads, d_x, d_state = run_vjp(call, records, d_outputs, grad_x=grad_x)
    return Result(value, grads, after, outputs, d_x, d_state)
