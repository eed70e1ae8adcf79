"""The gradient of each sequence of a batch, as arrays or only as norms.

One backward pass gives, for every weight, the two factors of its gradient ``Σ_t d_tᵀ x_t``: the
cotangents of its outputs and its inputs, at every step of every sequence. Their sum over all
steps and sequences is the gradient; here the sum is over the steps of one sequence.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from .._arrays import checks as check
from .._arrays.devices import with_device_of_arguments
from .._arrays.functions import accumulation_dtype, concatenate, stack
from .._arrays.namespace import Array, Namespace, device_of
from .._arrays.norms import norm, unit_of
from .._arrays.shown import short_repr
from .._arrays.signatures import options_of, split_options
from .._calls.call import Call, CallOptions, Parameters, prepare, run, run_vjp
from .._calls.loss import Loss, loss_and_gradient, weighs_steps
from .._calls.valid_steps import mask_on_device
from .._engine.affine import Linear
from ..api import forward
from ..losses import softmax_cross_entropy
from ..model import RNN
from .factors import FACTORS, Factors, sum_of

__all__ = ["ExampleNorms", "per_example_gradients", "per_example_norms"]


class ExampleNorms(NamedTuple):
    """Norms of the gradient of each sequence, as a whole and by parameter.

    Attributes
    ----------
    total : array, shape (B,)
        Norms of the whole gradient.
    params : dict of str to array, shape (B,)
        Norms of the gradient of each parameter.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=1, hidden_size=2, output_size=3)
    >>> x, labels = np.zeros((5, 4, 1), np.float32), np.zeros((5, 4), np.int64)
    >>> norms = prnn.per_example_norms(model, model.init(seed=0), x, labels)
    >>> norms.total.shape, norms.params["readout.weight"].shape
    ((4,), (4,))
    """

    total: Array
    params: dict[str, Array]

    def __repr__(self) -> str:
        return short_repr(self)


@with_device_of_arguments
def per_example_gradients(
    model: RNN,
    params: Parameters,
    x: Array,
    targets: Any,
    *,
    loss: Loss = softmax_cross_entropy,
    **options: Any,
) -> dict[str, Array]:
    """Compute what each sequence of the batch adds to the gradient of the loss.

    Parameters
    ----------
    model, params, x, targets, loss
        As for `bptt`. The loss sees the whole batch: with "mean", a sequence's own mean loss has
        a gradient larger by the factor B.
    **options
        Passed on to `bptt`: ``state``, ``lengths``, ``mask``, and the options of the loss.

    Returns
    -------
    dict of str to array (B, ...)
        One gradient per sequence, each shaped like its parameter. Their sum over the first axis is
        the gradient from `bptt`. B is 1 for an unbatched ``x``.

    Raises
    ------
    TypeError, ValueError
        As `bptt` does.

    Notes
    -----
    Costs one `bptt`, and B times the memory of the parameters.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=4, hidden_size=5, output_size=3)
    >>> params = model.init(seed=0, dtype="float64")
    >>> x, targets = np.ones((7, 2, 4)), np.zeros((7, 2), dtype=int)
    >>> grads = prnn.per_example_gradients(model, params, x, targets)
    >>> grads["weight_hh_l0"].shape
    (2, 5, 5)
    >>> whole = prnn.bptt(model, params, x, targets).grads
    >>> bool(np.allclose(sum(grads["weight_hh_l0"]), whole["weight_hh_l0"], rtol=1e-14))
    True
    """
    call, found = _factors(per_example_gradients, model, params, x, targets, loss, options)
    xp, batch = call.setup.xp, call.x.shape[1]
    return {
        name: stack(xp, [_sequence(call, parts, b, params[name]) for b in range(batch)])
        for name, parts in found.items()
    }


@with_device_of_arguments
def per_example_norms(
    model: RNN,
    params: Parameters,
    x: Array,
    targets: Any,
    *,
    loss: Loss = softmax_cross_entropy,
    **options: Any,
) -> ExampleNorms:
    """Compute the norm of each sequence's gradient, without keeping the gradients.

    Parameters
    ----------
    model, params, x, targets, loss, **options
        As for `per_example_gradients`.

    Returns
    -------
    ExampleNorms
        ``total`` (B,), over all parameters, and ``params``, a dict of arrays (B,).

    Raises
    ------
    TypeError, ValueError
        As `bptt` does.

    Notes
    -----
    For a weight (O, I) and T steps, the method with fewer multiplications is used. If
    ``T (O + I) < O I``, these are products of steps with steps,
    ``‖Σ_t d_tᵀ x_t‖² = Σ_ts (d_t·d_s)(x_t·x_s)`` (for T = 1: Goodfellow, *Efficient per-example
    gradient computations*, 2015, arXiv 1510.01799). Otherwise the gradient of one sequence after
    another is computed, and discarded once its norm is known. If the contributions of the steps
    cancel, the first method loses digits: the error of the squared norm is relative to
    ``(Σ_t ‖d_t‖ ‖x_t‖)²``.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=4, hidden_size=5, output_size=3)
    >>> params = model.init(seed=0, dtype="float64")
    >>> x, targets = np.ones((7, 2, 4)), np.zeros((7, 2), dtype=int)
    >>> norms = prnn.per_example_norms(model, params, x, targets)
    >>> factors = np.minimum(1.0, 0.1 / norms.total)  # to clip each sequence's gradient at 0.1
    >>> factors.shape
    (2,)
    """
    call, found = _factors(per_example_norms, model, params, x, targets, loss, options)
    xp, batch = call.setup.xp, call.x.shape[1]
    norms = {
        name: stack(xp, [_norm(call, parts, b, params[name]) for b in range(batch)])
        for name, parts in found.items()
    }
    return ExampleNorms(norm(xp, stack(xp, list(norms.values()), axis=1), 1), norms)


def _factors(
    caller: Callable[..., Any],
    model: RNN,
    params: Parameters,
    x: Array,
    targets: Any,
    loss: Loss,
    options: dict[str, Any],
) -> tuple[Call, dict[str, Any]]:
    """Return the call, and the factors of each gradient."""
    passing, of_loss = split_options(options, forward)
    lengths, mask = passing.get("lengths"), mask_on_device(passing.get("mask"), x)
    passing["mask"] = mask
    weighted = weighs_steps(model, lengths, mask)
    check.loss(caller, loss, options, weighted=weighted, known=options_of(forward))
    state = passing.pop("state", None)
    call = prepare(model, params, x, state, CallOptions(**passing, weights=of_loss.get("weights")))
    if call.setup.widths is not None:  # a mask keeps the order of the sequences
        call = call.with_mask(state)
    outputs, _, records = run(call, keep=True)
    _, d_outputs = loss_and_gradient(
        model, loss, outputs, targets, call.given, lengths=lengths, mask=mask, **of_loss
    )
    found, _, _ = run_vjp(call, records, d_outputs, grad_x=False, products=FACTORS)
    return call, found


def _sequence(call: Call, parts: Factors, b: int, like: Array) -> Array:
    """Return the gradient of sequence ``b``."""
    return sum_of(call, parts, like, sequences=slice(b, b + 1))


def _norm(call: Call, parts: Factors, b: int, like: Array) -> Array:
    """Return the norm of the gradient of sequence ``b``, by the cheaper method."""
    if like.ndim == 2 and all(x is None or x.ndim == 3 for x, _ in parts):
        steps = sum(d_y.shape[0] for _, d_y in parts)
        if steps * sum(like.shape) < like.shape[0] * like.shape[1]:
            return _norm_by_steps(call.setup.xp, parts, b)
    return norm(call.setup.xp, _sequence(call, parts, b, like), 0)


def _norm_by_steps(xp: Namespace, parts: Factors, b: int) -> Array:
    """Return the norm from products of all steps with all steps, of inputs and of cotangents."""
    dtype = parts[0][1].dtype
    wide = accumulation_dtype(xp, dtype)
    squares, size = None, xp.asarray(1.0, dtype=wide, device=device_of(parts[0][1]))
    for rows in zip(*parts, strict=True):  # the inputs, then the cotangents
        factor = concatenate(xp, [array[:, b, :] for array in rows])
        factor = xp.astype(factor, wide, copy=False)
        largest = xp.max(xp.abs(factor))
        factor = factor / unit_of(xp, largest)  # or squares of small numbers would vanish
        size = size * largest
        product = Linear(factor)(xp, factor)
        squares = product if squares is None else squares * product
    total = xp.sum(squares, dtype=wide)
    total = xp.where(total < 0, xp.zeros_like(total), total)  # rounding may make it negative
    # With an infinite factor, products with zeros are NaN, and so are differences.
    found = xp.where(xp.isinf(size), size, size * xp.sqrt(total))
    return xp.astype(found, dtype, copy=False)
