"""How results, networks and runs are shown: representations, tables and plots."""

from ..mutant import Mutant

__all__ = ["SHOWN"]

SHOWN = [
    Mutant(
        "fields of a named tuple shown as those of a tuple",
        "_arrays/shown.py",
        'isinstance(value, tuple) and hasattr(value, "_fields")',
        'isinstance(value, tuple) and hasattr(value, "fields")',
        "tests/test_shown.py::test_fields_are_shown_as_in_a_call",
    ),
    Mutant(
        "numbers of arrays in a representation",
        "_arrays/shown.py",
        "    if not isinstance(value, type) and hasattr(value, "
        '"dtype") and hasattr(value, "shape"):\n        return _array(value)\n',
        "",
        "conformance/test_shown.py::test_a_result_is_shown_by_dtype_and_shape[numpy-float64]",
    ),
    Mutant(
        "parameters of both directions counted once",
        "_summary.py",
        'for way in ("", "_reverse"))',
        'for way in ("", "_backwards"))',
        "tests/test_summary.py::"
        "test_the_table_lists_every_parameter_once_and_adds_up[both directions]",
    ),
    Mutant(
        "a reversed flow judged from the last step",
        "plots.py",
        "-1 if reverse[i] else 1",
        "1 if reverse[i] else 1",
        "tests/test_plots.py::test_a_loss_at_few_steps_is_drawn_as_lines[True]",
    ),
    Mutant(
        "one direction of the last layer for both",
        "plots.py",
        "slice(-2 if len(set(reverse)) > 1 else -1, None)",
        "slice(-1, None)",
        "tests/test_plots.py::test_both_directions_are_named_and_drawn_together",
    ),
    Mutant(
        "validation in the axes of another metric",
        "plots.py",
        "name.removeprefix(p) for p in PREFIXES",
        "name for p in PREFIXES",
        "tests/test_plots.py::test_each_metric_of_a_history_has_axes_of_its_own",
    ),
]
