"""Truncated backpropagation through time.

Every ``k1`` steps, the losses of those steps are propagated back through the last ``k2`` steps; the
state before such a window is treated as a constant (Williams and Peng, *An efficient
gradient-based algorithm for on-line training of recurrent network trajectories*, 1990; Sutskever,
*Training recurrent neural networks*, 2013). The gradient is the sum over all windows.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Literal

from ._arrays import checks as check
from ._arrays.devices import with_device_of_arguments
from ._arrays.functions import concatenate
from ._arrays.namespace import Array
from ._calls.call import Call, CallOptions, prepare, run, run_vjp
from ._calls.checks import check_every_step, check_one_direction
from ._calls.dropout_masks import Masks
from ._calls.loss import Loss, loss_and_gradient
from ._calls.valid_steps import mask_on_device
from ._windows import Overlap, Sum, Window, steps_of, windows
from .api import Result
from .losses import softmax_cross_entropy
from .model import RNN

__all__ = ["truncated_bptt"]


@with_device_of_arguments
def truncated_bptt(
    model: RNN,
    params: Mapping[str, Array],
    x: Array,
    targets: Any,
    *,
    k1: int,
    k2: int,
    loss: Loss = softmax_cross_entropy,
    state: Any = None,
    lengths: Any = None,
    mask: Any = None,
    dropout: int | tuple[int, ...] | Masks | Literal[False] | None = None,
    grad_x: bool = True,
    check_finite: bool = False,
    **loss_options: Any,
) -> Result:
    """Compute a loss and its gradients, with the memory of at most ``k2`` steps.

    Loss, outputs and final state are those of the whole sequence; the gradients leave out what
    reaches back further than a window. With ``k2`` of at least T this is `bptt`, bit for bit.

    Parameters
    ----------
    model, params, x, targets
        As for `bptt`; the model must be unidirectional.
    k1 : int
        Steps from the end of one window to that of the next. The last distance may be shorter.
    k2 : int
        Steps through which losses are propagated back, at least ``k1``; ``k1 = k2`` is the usual
        choice, and costs one forward pass more than `bptt`. In general the work is about
        ``k2 / k1`` times as much, but windows that begin with the sequence share one pass.
    loss, state, lengths, mask, dropout, grad_x, check_finite, **loss_options
        As for `bptt`. The loss is called once, with all outputs.

    Returns
    -------
    Result
        As from `bptt`. ``grad_state`` is that of windows that begin with the sequence; pass
        ``state`` to the next call to continue where this one ended.

    Raises
    ------
    TypeError, ValueError
        As `bptt` does, or if ``k1`` or ``k2`` is not a count, ``k1`` is above ``k2``, or the model
        is bidirectional or reverse.

    Notes
    -----
    A window's steps are computed twice, once for the loss and once for the tape, so that only one
    window is held, besides x, the outputs, and their gradients.

    Examples
    --------
    A long sequence in two calls, with the state carried over:

    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=3, hidden_size=5, output_size=2, cell="lstm")
    >>> params = model.init(seed=0)
    >>> x, labels = np.ones((200, 4, 3), np.float32), np.zeros((200, 4), np.int64)
    >>> state = None
    >>> for part in (slice(0, 100), slice(100, 200)):
    ...     result = prnn.truncated_bptt(
    ...         model, params, x[part], labels[part], k1=10, k2=20, state=state
    ...     )
    ...     state = result.state
    >>> whole = prnn.predict(model, params, x, return_state=True)[1]
    >>> np.allclose(state[0], whole[0], atol=1e-6)
    True
    """
    grad_x = check.flag("grad_x", grad_x) and getattr(model, "vocabulary_size", None) is None
    k1, k2 = check.count("k1", k1), check.count("k2", k2)
    if k1 > k2:
        raise ValueError(
            f"k1, k2: expected k1 of at most k2, or losses would be left out, got {k1} and {k2}"
        )
    check_one_direction(model, "truncated_bptt")
    check_every_step(model, "truncated_bptt")
    mask = mask_on_device(mask, x)
    some = lengths is not None or mask is not None
    check.loss(truncated_bptt, loss, loss_options, weighted=some)
    weights = loss_options.get("weights")
    options = CallOptions(lengths, mask, dropout, weights=weights, check_finite=check_finite)
    call = prepare(model, params, x, state, options)
    steps, axis = call.x.shape[0], 1 if model.batch_first and x.ndim == 3 else 0
    plan = windows(steps, k1, k2)
    records, parts, after = None, [], state
    if len(plan) == 1:
        y, after, records = run(call, keep=True)
    else:
        for start in range(0, steps, k2):
            part = call.window(start, min(start + k2, steps), after)
            outputs, after, _ = run(part, keep=False)
            parts.append(outputs)
        y = concatenate(call.setup.xp, parts, axis)
    value, d_y = loss_and_gradient(
        model, loss, y, targets, call.given, lengths=lengths, mask=mask, **loss_options
    )
    del parts
    if records is not None:
        grads, d_x, d_state = run_vjp(call, records, d_y, grad_x=grad_x)
    else:
        grads, d_x, d_state = _pull_back(call, axis, plan, d_y, state, grad_x=grad_x)
    return Result(value, grads, after, y, d_x, d_state)


def _pull_back(
    call: Call, axis: int, plan: list[Window], d_y: Array, state: Any, *, grad_x: bool
) -> tuple[dict[str, Array], Array | None, Any]:
    """Return the cotangents of the parameters, of x, and of the initial state."""
    grads, d_x, d_state = Sum(), Overlap(axis), None
    stops = [*(window.start for window in plan[1:]), plan[-1].stop]
    for window, following in zip(plan, stops, strict=True):
        pieces, now = [], state
        for a, b in pairwise(sorted({*window, following})):
            piece = call.window(a, b, now)
            _, now, records = run(piece, keep=True)
            pieces.append((a, b, piece, records))
            if b == following:
                state = now  # where the next window begins
        d_now: Any = None
        parts: list[Array] = []
        while pieces:  # and release each
            a, b, piece, records = pieces.pop()
            d_part = steps_of(d_y, axis, a, b) if a >= window.losses else None
            found, d_x_part, d_now = run_vjp(piece, records, d_part, d_now, grad_x=grad_x)
            grads.add(found)
            parts.insert(0, d_x_part)
        if grad_x:
            d_x.add(window.start, parts)
        d_state = d_now if window.start == 0 else d_state
    return grads.total(), d_x.whole() if grad_x else None, d_state
