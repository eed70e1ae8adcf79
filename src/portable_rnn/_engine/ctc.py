"""Connectionist temporal classification: sums over all alignments of labels with steps.

An alignment passes through states: every label in turn, with a blank before, between and after
them. A step stays in its state or goes on to the next one, or from a label to the next label, if
the two differ. The sums over alignments are two scans over time (Graves et al., ICML 2006, section
4.1), in logarithms. Each step subtracts the largest number of a sequence, and the subtracted
numbers are added up apart: so numbers, and their rounding, do not grow with the number of steps.

Impossible states have a finite negative number that is too large to matter, since a difference of
infinities would be NaN.
"""

from typing import Any, NamedTuple

from .._arrays.functions import largest_number, real_part, rows_at, stack, where
from .._arrays.namespace import Array, Namespace, device_of
from .setup import Step

__all__ = ["Alignments", "align", "class_probabilities"]


class Alignments(NamedTuple):
    """Sums over all alignments of the labels of each sequence."""

    log_likelihoods: Array  # (B,), of the labels
    possible: Array  # (B,), whether there is any alignment
    states: Array  # (T, B, S), the probability of each state, given the labels
    rows: Array  # (B, S), where the class of each state is among those of all sequences


def align(
    xp: Namespace,
    executor: Any,
    log_p: Array,
    labels: Array,
    counts: Array,
    valid: Array | None,
    blank: int,
) -> Alignments:
    """Sum over the alignments of the first ``counts`` (B,) labels (B, L) with the valid steps.

    ``log_p`` (T, B, C) are logarithms of probabilities. Nothing happens at steps that are not
    ``valid`` (T, B, 1). All labels are classes, and L is at least 1.
    """
    steps, batch, classes = log_p.shape
    device, never = device_of(log_p), impossible(xp, log_p)
    kinds = _with_blanks(xp, labels, blank)
    # As 32-bit integers, since some devices have no others.
    state = xp.arange(kinds.shape[1], dtype=xp.int32, device=device)[None, :]
    last = xp.expand_dims(2 * xp.astype(counts, xp.int32), axis=1)
    sequence = xp.arange(batch, dtype=kinds.dtype, device=device)[:, None]
    rows = sequence * classes + kinds

    zero = xp.zeros(kinds.shape, dtype=log_p.dtype, device=device)
    none = zero + never
    start = xp.where(state == 0, zero, none)  # from where the first step reaches states 0 and 1
    end = xp.where((state == last) | (state == last - 1), zero, none)
    by_class = xp.reshape(xp.permute_dims(log_p, (1, 2, 0)), (batch * classes, steps))
    emitted = xp.permute_dims(rows_at(xp, by_class, rows), (2, 0, 1))
    cannot = (real_part(xp, emitted) < never) | xp.expand_dims(state > last, axis=0)
    emitted = where(xp, cannot, xp.expand_dims(none, axis=0), emitted)

    ahead, back = _steps(xp, none, kinds[:, 2:] != kinds[:, :-2], never)
    xs = tuple(executor.split(array, steps) for array in (emitted, valid))
    (after,), (alphas, shifts) = executor.scan(ahead, (start,), xs)
    _, (betas,) = executor.scan(back, (end,), xs, reverse=True)
    alphas, betas, shifts = (executor.join(xp, a) for a in (alphas, betas, shifts))

    shifts = shifts[:, :, 0]
    likely = log_sum(xp, after + end, 1)[:, 0]
    both = alphas + betas
    return Alignments(
        executor.sums.bias(xp, shifts, shifts) + likely,
        ~(real_part(xp, likely) < 0.5 * never),  # NaN is possible
        xp.exp(both - log_sum(xp, both, 2)),
        rows,
    )


def class_probabilities(
    xp: Namespace, executor: Any, found: Alignments, shape: tuple[int, int, int]
) -> Array:
    """Return the probability of each class at each step (T, B, C), given the labels.

    It has no meaning at steps that are not valid, or where no alignment is possible.
    """
    steps, batch, classes = shape
    states = xp.permute_dims(found.states, (1, 2, 0))
    summed = executor.sums.tokens(xp, found.rows, states, batch * classes)
    return xp.permute_dims(xp.reshape(summed, (batch, classes, steps)), (2, 0, 1))


def impossible(xp: Namespace, log_p: Array) -> float:
    """Return the logarithm of a probability that counts as 0; sums of 2**27 of it are finite."""
    return -(2.0**-28) * largest_number(xp, real_part(xp, log_p).dtype)


def log_sum(xp: Namespace, array: Array, axis: int) -> Array:
    """Return the logarithm of the sum of exponentials over an axis, which is kept."""
    largest = xp.max(real_part(xp, array), axis=axis, keepdims=True)  # any shift cancels
    largest = xp.astype(largest, array.dtype, copy=False)
    total = xp.sum(xp.exp(array - largest), axis=axis, keepdims=True, dtype=array.dtype)
    return largest + xp.log(total)


def _steps(xp: Namespace, none: Array, skips: Array, never: float) -> tuple[Step, Step]:
    """Return a step of the forward scan, and one of the backward scan.

    ``skips`` (B, S - 2) says whether state s + 2 can be reached from state s.
    """

    def ahead(carry: tuple[Array], x_t: tuple[Array, Array | None]) -> tuple[Any, Any]:
        (alpha,), (emitted, valid) = carry, x_t
        skipped = where(xp, skips, alpha[:, :-2], none[:, :-2])
        one = xp.concat([none[:, :1], alpha[:, :-1]], axis=1)
        two = xp.concat([none[:, :2], skipped], axis=1)
        new = log_sum(xp, stack(xp, [alpha, one, two]), 0)[0, ...] + emitted
        new, shift = _shifted(xp, new, never)
        if valid is not None:
            new = where(xp, valid, new, alpha)
            shift = where(xp, valid, shift, xp.zeros_like(shift))
        return (new,), (new, shift)

    def back(carry: tuple[Array], x_t: tuple[Array, Array | None]) -> tuple[Any, Any]:
        (beta,), (emitted, valid) = carry, x_t
        with_this = beta + emitted
        skipped = where(xp, skips, with_this[:, 2:], none[:, 2:])
        one = xp.concat([with_this[:, 1:], none[:, :1]], axis=1)
        two = xp.concat([skipped, none[:, :2]], axis=1)
        new = log_sum(xp, stack(xp, [with_this, one, two]), 0)[0, ...]
        new, _ = _shifted(xp, new, never)
        if valid is not None:
            new = where(xp, valid, new, beta)
        return (new,), (beta,)

    return ahead, back


def _shifted(xp: Namespace, array: Array, never: float) -> tuple[Array, Array]:
    """Return an array (B, S) less its largest numbers (B, 1), and these; 0 if all are impossible.

    The shift is real, also of complex arrays: its derivative cancels.
    """
    shift = xp.max(real_part(xp, array), axis=1, keepdims=True)
    shift = where(xp, shift > 0.5 * never, shift, xp.zeros_like(shift))
    shift = xp.astype(shift, array.dtype, copy=False)
    return array - shift, shift


def _with_blanks(xp: Namespace, labels: Array, blank: int) -> Array:
    """Return the class of each state, (B, 2 L + 1)."""
    batch, many = labels.shape
    blanks = xp.full_like(labels, blank)
    pairs = xp.reshape(stack(xp, [blanks, labels], axis=2), (batch, 2 * many))
    return xp.concat([pairs, blanks[:, :1]], axis=1)
