"""Connectionist temporal classification."""

from ..mutant import Mutant

__all__ = ["CTC"]


def alignments(case):
    """Return the id of the test that compares a case with all its alignments."""
    test = "conformance/test_ctc.py::test_ctc_is_the_sum_over_all_alignments[{}]"
    return test.format(f"numpy-float64-{case}")


def decoding(claim):
    return f"conformance/test_ctc.py::test_{claim}[numpy]"


CTC = [
    Mutant(
        "equal labels without a blank between them",
        "_engine/ctc.py",
        "_steps(xp, none, kinds[:, 2:] != kinds[:, :-2], never)",
        "_steps(xp, none, kinds[:, 2:] != blank, never)",
        alignments("plain"),
    ),
    Mutant(
        "alignments that end with a label left out",
        "_engine/ctc.py",
        "end = xp.where((state == last) | (state == last - 1), zero, none)",
        "end = xp.where(state == last, zero, none)",
        alignments("plain"),
    ),
    Mutant(
        "no gap on the way back",
        "_engine/ctc.py",
        "new = where(xp, valid, new, beta)",
        "new = where(xp, valid | True, new, beta)",
        alignments("gaps"),
    ),
    Mutant(
        "what was subtracted at a gap counts",
        "_engine/ctc.py",
        "shift = where(xp, valid, shift, xp.zeros_like(shift))",
        "shift = where(xp, valid | True, shift, xp.zeros_like(shift))",
        alignments("gaps"),
    ),
    Mutant(
        "numbers that grow with the steps",
        "_engine/ctc.py",
        "shift = xp.max(real_part(xp, array), axis=1, keepdims=True)",
        "shift = 0.0 * xp.max(real_part(xp, array), axis=1, keepdims=True)",
        "tests/test_ctc.py::test_errors_do_not_grow_with_the_steps_in_float32",
    ),
    Mutant(
        "mean over sequences alone",
        "losses/temporal.py",
        "rows = rows / xp.astype(xp.where(counts > 0, counts, xp.ones_like(counts)), rows.dtype)",
        "pass",
        alignments("gaps"),
    ),
    Mutant(
        "a gradient where the loss is replaced by 0",
        "losses/temporal.py",
        "d_outputs = where(xp, _of_steps(possible), d_outputs, xp.zeros_like(d_outputs))",
        "pass",
        alignments("impossible-zero"),
    ),
    Mutant(
        "a gradient in the padding",
        "losses/temporal.py",
        "d_outputs = where(xp, of_steps, d_outputs, xp.zeros_like(d_outputs))",
        "pass",
        alignments("last-blank"),
    ),
    Mutant(
        "the blank taken for a label",
        "losses/temporal.py",
        "wrong = used & ((labels < 0) | (labels >= classes) | (labels == blank))",
        "wrong = used & ((labels < 0) | (labels >= classes))",
        decoding("an_unchecked_label_is_nan_not_a_wrong_number"),
    ),
    Mutant(
        "the class before a gap forgotten",
        "losses/temporal.py",
        "adds, before = adds & valid, xp.where(valid, now, before)",
        "adds, before = adds & valid, now",
        decoding("labels_are_decoded_step_by_step"),
    ),
]
