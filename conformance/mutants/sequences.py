"""Valid steps: lengths and gaps, streams, the windows of truncated BPTT."""

from ..mutant import Mutant, gradients

__all__ = ["SEQUENCES"]


def truncated(case):
    return f"tests/test_truncated.py::test_is_the_sum_of_its_windows[{case}]"


SEQUENCES = [
    Mutant(
        "state not carried over a gap",
        "_engine/recurrence.py",
        "return choose(xp, update, new, state), residuals",
        "return choose(xp, update, new, tuple(0.0 * part for part in state)), residuals",
        gradients("elman-mask"),
    ),
    Mutant(
        "cotangent not carried over a gap",
        "_engine/recurrence.py",
        "return tuple(map(xp.add, d_before, d_old)), rows",
        "return d_before, rows",
        gradients("gru-mask"),
    ),
    Mutant(
        "padding's cotangents let in",
        "_engine/run.py",
        "d_y = where_true(xp, part(s, s.mask, chunk), chunk.of(xp, d_outputs))",
        "d_y = chunk.of(xp, d_outputs)",
        gradients("lstm-readout-mask"),
    ),
    Mutant(
        "batch not brought back to the caller's order",
        "_calls/layout.py",
        "one_by_one = [_sorted(xp, part, inverse) for part in layers]",
        "one_by_one = list(layers)",
        gradients("elman-lengths"),
    ),
    Mutant(
        "a step more than there are",
        "_calls/valid_steps.py",
        "int(n) for n in (values[None, :] > np.arange",
        "int(n) for n in (values[None, :] >= np.arange",
        gradients("gru-lengths"),
    ),
    Mutant(
        "sorted order for its inverse",
        "_calls/valid_steps.py",
        "np.stack((order, np.argsort(order)))",
        "np.stack((order, order))",
        "conformance/test_ragged.py::test_the_order_of_a_ragged_batch_does_not_matter"
        "[numpy-float64-lengths]",
    ),
    Mutant(
        "stream that stays where it is",
        "streaming.py",
        "outputs, self.state = predict(",
        "outputs, _ = predict(",
        "conformance/test_streams.py::test_parts_are_the_whole[numpy-float64-gru-]",
    ),
    Mutant(
        "window a step short",
        "_windows.py",
        "Window(stop - k2, losses, stop)",
        "Window(stop - k2 + 1, losses, stop)",
        truncated("2-5-gru"),
    ),
    Mutant(
        "losses counted in every window that has them",
        "truncated.py",
        "steps_of(d_y, axis, a, b) if a >= window.losses else None",
        "steps_of(d_y, axis, a, b)",
        truncated("2-5-gru"),
    ),
    Mutant(
        "initial state's gradient from the last window",
        "truncated.py",
        "d_state = d_now if window.start == 0 else d_state",
        "d_state = d_now",
        truncated("2-5-gru"),
    ),
    Mutant(
        "lengths not counted from where the window begins",
        "_calls/call.py",
        "(lengths - a).clip(0, b - a)",
        "lengths.clip(0, b - a)",
        "tests/test_truncated.py::test_dropout_is_that_of_the_whole_sequence",
    ),
]
