"""Connectionist temporal classification: labels in order, without the steps where they are."""

from typing import Any

from .._arrays import checks as check
from .._arrays.devices import on_host, with_device_of_arguments
from .._arrays.functions import dtype_is_kind, nan_where, real_part, where
from .._arrays.host import from_host
from .._arrays.namespace import (
    Array,
    Namespace,
    check_library_and_device,
    device_of,
    dtype_name,
    is_traced,
    namespace_of,
    read_flag,
)
from .._calls.valid_steps import read_lengths
from .._engine.ctc import align, class_probabilities
from .._executors.choose import choose
from .._labels import UNREADABLE, signed
from .._reduction import (
    Reduction,
    check_outputs,
    counted_values,
    divisor,
    multiply,
    reduce_losses,
    row_weights,
)
from .classification import log_softmax

__all__ = ["ctc", "ctc_greedy_decode"]


@check.named_options
@with_device_of_arguments
def ctc(
    outputs: Array,
    targets: Array,
    *,
    weights: Array | None = None,
    input_lengths: Any = None,
    target_lengths: Any = None,
    blank: int = 0,
    zero_infinity: bool = False,
    batch_first: bool = False,
    reduction: Reduction = "mean",
    check_targets: bool | None = None,
) -> tuple[Array, Array]:
    """Compute the negative log-likelihood of labels in order, summed over all alignments.

    In an alignment every step has a class: the labels in their order, each at one step or several
    in a row, with any number of blanks before, between and after them, and at least one between two
    equal labels (Graves et al., *Connectionist temporal classification*, ICML 2006). Same as
    ``torch.nn.functional.ctc_loss`` of a ``log_softmax``.

    Parameters
    ----------
    outputs : array, shape (T, B, C), or (B, T, C) with ``batch_first``, or (T, C)
        Unnormalised log-probabilities of the classes, the blank among them.
    targets : integer array, shape (B, L), or (L,) for outputs (T, C)
        The labels of each sequence, from the first on. The rest of a row is padding: negative
        numbers or, with ``target_lengths``, any.
    weights : boolean array, shape of the outputs without their last axis, optional
        Which steps are valid; `bptt` passes it if it is given ``lengths`` or a ``mask``. An
        alignment goes from one valid step to the next. A sequence without any does not count.
    input_lengths : sequence of B ints, or integer array (B,), optional
        How many steps are valid; for outputs that are not those of `bptt`. With ``weights``, steps
        are valid that are so by both.
    target_lengths : sequence of B ints, or integer array (B,), optional
        How many labels each sequence has, from 0 to L; by default, those of at least 0.
    blank : int
        The class that stands for no label.
    zero_infinity : bool
        Whether labels that no alignment fits, since there are more than steps (counting the blanks
        between equal labels), have a loss and a gradient of 0. Otherwise the loss is infinite, and
        the gradient of the sequence NaN, as in torch.
    batch_first : bool
        Whether the sequences are the first axis of the outputs, as those of such a model.
    reduction : {"mean", "sum"}
        "mean" divides the loss of each sequence by the number of its labels, or by 1 if it has
        none, and takes the mean over the sequences that count, as torch does.
    check_targets : bool, optional
        Whether to read the labels and refuse any that are not classes, or the blank. By default
        this is done if they are on the host. Unchecked, a wrong label makes the loss NaN.

    Returns
    -------
    value : array, shape ()
    d_outputs : array, shape of the outputs

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Notes
    -----
    Costs two scans over time. A logarithm of a probability below -1e30 (-6e299 in float64) counts
    as that of 0. The loss is not convex in the outputs.

    `training.train` and the batches of `Shuffled` need no lengths of labels if the targets (N, L)
    are padded with -1. `training.evaluate` weights batches by their valid steps.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.losses import ctc
    >>> value, d_outputs = ctc(np.zeros((2, 1, 3)), np.asarray([[1, -1]]))
    >>> print(f"{value:.4f}")  # log 3: of nine pairs of classes, 11, 01 and 10 are the label 1
    1.0986
    >>> print(f"{d_outputs[0, 0, 1]:.4f}")  # 1/3 less the 2/3 of alignments that begin with it
    -0.3333
    """
    xp = check_outputs(outputs, None, reduction)
    blank = check.integer("blank", blank, least=0, most=outputs.shape[-1] - 1)
    zero_infinity = check.flag("zero_infinity", zero_infinity)
    batch_first = check.flag("batch_first", batch_first) and outputs.ndim == 3
    if check_targets is not None:
        check_targets = check.flag("check_targets", check_targets)
    _check_outputs(outputs, weights)
    _check_targets(outputs, targets, batch_first)
    dtype, shape = outputs.dtype, tuple(outputs.shape)
    outputs = _time_major(xp, outputs, batch_first, ndim=3)
    valid = _valid_steps(xp, outputs, weights, input_lengths, batch_first)
    if target_lengths is not None:
        most = targets.shape[-1]
        target_lengths = _lengths(xp, "target_lengths", target_lengths, most, "labels", outputs)
    labels, counts, wrong = _labels(xp, outputs, targets, target_lengths, blank, check_targets)

    z = counted_values(xp, outputs, valid)
    rows = row_weights(xp, z[0, ...], None if valid is None else xp.any(valid, axis=0))
    weight, nothing, rows = divisor(xp, rows, rows, reduction, chosen=valid is not None)
    if reduction == "mean":
        rows = rows / xp.astype(xp.where(counts > 0, counts, xp.ones_like(counts)), rows.dtype)
    of_steps = None if valid is None else xp.expand_dims(valid, axis=2)
    losses, d_outputs, possible = _likelihoods(xp, z, labels, counts, of_steps, blank)
    if zero_infinity:
        losses = where(xp, possible, losses, xp.zeros_like(losses))
        d_outputs = where(xp, _of_steps(possible), d_outputs, xp.zeros_like(d_outputs))
    else:
        losses = where(xp, possible, losses, xp.full_like(losses, float("inf")))
        d_outputs = nan_where(xp, _of_steps(~possible), d_outputs)
    if wrong is not None:
        losses = nan_where(xp, wrong, losses)
        d_outputs = nan_where(xp, _of_steps(wrong), d_outputs)
    d_outputs = d_outputs * _of_steps(rows)
    if of_steps is not None:
        d_outputs = where(xp, of_steps, d_outputs, xp.zeros_like(d_outputs))
    if batch_first:
        d_outputs = xp.permute_dims(d_outputs, (1, 0, 2))
    d_outputs = xp.reshape(d_outputs, shape)
    return reduce_losses(xp, multiply(xp, rows, losses), d_outputs, weight, nothing, dtype)


@check.named_options
@with_device_of_arguments
def ctc_greedy_decode(
    outputs: Array,
    *,
    weights: Array | None = None,
    input_lengths: Any = None,
    blank: int = 0,
    batch_first: bool = False,
) -> Array:
    """Return the label that each step adds, if every step takes its most probable class.

    Parameters
    ----------
    outputs, weights, input_lengths, blank, batch_first
        As for `ctc`.

    Returns
    -------
    integer array (32 bits), shape of the outputs without their last axis
        A label where a sequence of equal classes other than the blank begins, and -1 elsewhere.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> from portable_rnn.losses import ctc_greedy_decode
    >>> outputs = np.eye(3)[[1, 1, 0, 1, 2, 2]]  # logits of one sequence
    >>> labels = ctc_greedy_decode(outputs)
    >>> print(labels, labels[labels >= 0])
    [ 1 -1 -1  1  2 -1] [1 1 2]
    """
    xp = check_outputs(outputs, None, "sum")
    blank = check.integer("blank", blank, least=0, most=outputs.shape[-1] - 1)
    batch_first = check.flag("batch_first", batch_first) and outputs.ndim == 3
    _check_outputs(outputs, weights)
    shape, outputs = tuple(outputs.shape), _time_major(xp, outputs, batch_first, ndim=3)
    valid = _valid_steps(xp, outputs, weights, input_lengths, batch_first)
    best = _most_probable(xp, outputs, blank)
    none = xp.full_like(best[0, ...], -1)

    def step(carry: tuple[Array], x_t: tuple[Array, Array | None]) -> tuple[Any, Any]:
        (before,), (now, valid) = carry, x_t
        adds = (now != before) & (now != blank)
        if valid is not None:
            adds, before = adds & valid, xp.where(valid, now, before)
        else:
            before = now
        return (before,), (xp.where(adds, now, none),)

    executor = choose(xp, (outputs,))
    xs = tuple(executor.split(array, best.shape[0]) for array in (best, valid))
    _, (labels,) = executor.scan(step, (none,), xs)
    labels = executor.join(xp, labels)
    if batch_first:
        labels = xp.permute_dims(labels, (1, 0))
    return xp.reshape(labels, shape[:-1])


def _most_probable(xp: Namespace, outputs: Array, blank: int) -> Array:
    """Return the class with the largest output, the first of equals; the blank where one is NaN.

    As 32-bit integers: `argmax` has 64 bits, which some devices do not have.
    """
    values, classes = real_part(xp, outputs), outputs.shape[-1]
    kinds = xp.arange(classes, dtype=xp.int32, device=device_of(outputs))[None, None, :]
    largest = values == xp.max(values, axis=-1, keepdims=True)
    first = xp.min(xp.where(largest, kinds, xp.full_like(kinds, classes)), axis=-1)
    return xp.where(first < classes, first, xp.full_like(first, blank))


def _likelihoods(
    xp: Namespace, z: Array, labels: Array, counts: Array, valid: Array | None, blank: int
) -> tuple[Array, Array, Array]:
    """Return the loss of each sequence, their gradients, and which sequences have an alignment."""
    log_p = log_softmax(xp, z)
    executor = choose(xp, (log_p,))
    found = align(xp, executor, log_p, labels, counts, valid, blank)
    d_z = xp.exp(log_p) - class_probabilities(xp, executor, found, tuple(log_p.shape))
    return -found.log_likelihoods, d_z, found.possible


def _of_steps(of_sequences: Array) -> Array:
    """Return an array (B,) as one of shape (1, B, 1)."""
    return of_sequences[None, :, None]


def _time_major(xp: Namespace, array: Array, batch_first: bool, ndim: int) -> Array:
    """Return an array with the axes of steps and sequences first."""
    if array.ndim < ndim:
        return xp.expand_dims(array, axis=1)
    return xp.permute_dims(array, (1, 0, *range(2, ndim))) if batch_first else array


def _valid_steps(
    xp: Namespace, outputs: Array, weights: Array | None, lengths: Any, batch_first: bool
) -> Array | None:
    """Return the valid steps (T, B), from a mask, lengths, or both; None if all are."""
    valid = None if weights is None else _time_major(xp, weights, batch_first, ndim=2)
    if lengths is None:
        return valid
    steps = outputs.shape[0]
    lengths = _lengths(xp, "input_lengths", lengths, steps, "steps", outputs)
    time = xp.arange(steps, dtype=xp.int32, device=device_of(outputs))
    within = time[:, None] < lengths[None, :]
    return within if valid is None else valid & within


def _lengths(xp: Namespace, name: str, value: Any, most: int, unit: str, outputs: Array) -> Array:
    """Return lengths (B,) as 32-bit integers; they are checked if they are on the host."""
    batch = outputs.shape[1]
    values = read_lengths(value, most, batch, name, unit)
    if values is not None:
        return from_host(values.astype("int32"), xp, device=device_of(outputs))
    check_library_and_device(name, value, "outputs", outputs)
    return xp.reshape(xp.astype(value, xp.int32), (batch,))


def _labels(
    xp: Namespace,
    outputs: Array,
    targets: Array,
    lengths: Array | None,
    blank: int,
    wanted: bool | None,
) -> tuple[Array, Array, Array | None]:
    """Return labels (B, L), all of them classes, their numbers (B,), and which rows were wrong.

    None if that is known to be no row. Without lengths, those count that are at least 0.

    Raises
    ------
    ValueError
        If a label is not a class, or the blank, and values are read.
    """
    classes = outputs.shape[2]
    labels = signed(xp, targets if targets.ndim == 2 else xp.expand_dims(targets, axis=0))
    if lengths is None:
        lengths = xp.sum(xp.astype(labels >= 0, xp.int32), axis=1, dtype=xp.int32)
    place = xp.arange(labels.shape[1], dtype=xp.int32, device=device_of(outputs))
    used = place[None, :] < lengths[:, None]
    wrong = used & ((labels < 0) | (labels >= classes) | (labels == blank))
    kept = xp.where(used & ~wrong, labels, xp.zeros_like(labels))
    if not (on_host(labels) if wanted is None else wanted):
        return kept, lengths, xp.any(wrong, axis=1)
    some = xp.any(wrong)
    some_wrong = None if is_traced(xp, some) else read_flag(some)
    if some_wrong is None:
        if wanted:
            raise ValueError(UNREADABLE)
        return kept, lengths, xp.any(wrong, axis=1)
    if some_wrong:
        first = int(xp.argmax(xp.astype(xp.reshape(wrong, (-1,)), xp.int32)))
        raise ValueError(
            f"targets: expected labels from 0 to {classes - 1} except the blank, {blank}, then "
            f"padding, got {int(xp.reshape(labels, (-1,))[first])}"
        )
    return kept, lengths, None


def _check_outputs(outputs: Array, weights: Array | None) -> None:
    """Check the axes of outputs, and the mask of their steps."""
    shape = tuple(outputs.shape)
    if len(shape) not in (2, 3) or 0 in shape:
        raise ValueError(f"outputs: expected shape (T, B, C) or (T, C), without a 0, got {shape}")
    if weights is None:
        return
    check.weights_of_any_dtype(weights, "outputs", outputs)
    if dtype_name(weights.dtype) != "bool":
        raise TypeError(
            "weights: expected booleans, whether steps are valid (alignments have no weighted "
            f"steps), got {dtype_name(weights.dtype)}"
        )


def _check_targets(outputs: Array, targets: Array, batch_first: bool) -> None:
    """Check that targets are labels of the sequences, without reading values."""
    check_library_and_device("targets", targets, "outputs", outputs)
    if not dtype_is_kind(namespace_of(outputs=outputs), targets.dtype, "integral"):
        raise TypeError(f"targets: expected integer labels, got {dtype_name(targets.dtype)}")
    shape, got = tuple(outputs.shape), tuple(targets.shape)
    batch = (shape[0 if batch_first else 1],) if len(shape) == 3 else ()
    if len(got) != len(batch) + 1 or got[:-1] != batch or 0 in got:
        wanted = f"({batch[0]}, L)" if batch else "(L,)"
        raise ValueError(
            f"targets: expected labels of shape {wanted}, L of at least 1 (padded with -1), "
            f"got {got}"
        )
