"""Metrics, and training by gradients of the user's own."""

from ..mutant import Mutant

__all__ = ["RUNS"]

METRICS = "conformance/test_metrics.py::test_metrics_over_batches_are_those_of_all_steps"
OWN = "tests/test_own_gradients.py::test_{}"

RUNS = [
    Mutant(
        "steps of no weight count in a mean",
        "metrics/metric.py",
        "stack(xp, [xp.sum(values * rows), xp.sum(rows)])",
        "stack(xp, [xp.sum(values * rows), xp.sum(xp.ones_like(rows))])",
        f"{METRICS}[numpy-float64-classes]",
    ),
    Mutant(
        "a tie with the target is larger",
        "metrics/classification.py",
        "larger = xp.sum(xp.astype(~(outputs <= score), xp.int32)",
        "larger = xp.sum(xp.astype(~(outputs < score), xp.int32)",
        f"{METRICS}[numpy-float64-classes]",
    ),
    Mutant(
        "classes that do not occur count in F1",
        "metrics/classification.py",
        "return float(score[occurs].mean())",
        "return float(score.mean())",
        "tests/test_metrics.py::test_f1_leaves_out_classes_that_do_not_occur",
    ),
    Mutant(
        "batches of other means have no spread between them",
        "metrics/regression.py",
        "(squares * (units / unit) ** 2 + weight * (apart / unit) ** 2)",
        "(squares * (units / unit) ** 2)",
        f"{METRICS}[numpy-float64-numbers]",
    ),
    Mutant(
        "targets are taken from 0, and not from the lowest one",
        "metrics/regression.py",
        "wanted - row(xp, low, 2), zero)",
        "wanted, zero)",
        "tests/test_metrics.py::"
        "test_r2_of_targets_that_are_equal_but_not_their_rounded_mean_is_zero[float32]",
    ),
    Mutant(
        "two batches have one unit",
        "metrics/regression.py",
        "return unit * math.sqrt(ratio(squares * (units / unit) ** 2, weights))",
        "return unit * math.sqrt(ratio(squares, weights))",
        "tests/test_metrics.py::test_squares_of_errors_neither_overflow_nor_vanish[float32-1e+30]",
    ),
    Mutant(
        "a state of one's own is lost on resume",
        "training/checkpoints.py",
        "trees[name] = _put_together(header[name], inside)",
        'trees[name] = None if name == "state" else _put_together(header[name], inside)',
        OWN.format("a_head_of_ones_own_learns_and_resumes_to_the_same_bits"),
    ),
    Mutant(
        "a seed that is the same at all steps",
        "training/loop.py",
        "objective.drawn(options.xp, run.params, batch, (run.seed, run.step))",
        "objective.drawn(options.xp, run.params, batch, (run.seed, 0))",
        OWN.format("each_step_has_a_seed_of_its_own"),
    ),
    Mutant(
        "a batch counts as much as any other",
        "training/objective.py",
        "return None, float(math.prod(shape))",
        "return None, 1.0",
        OWN.format("outputs_of_ones_own_are_weighed_by_weights_or_targets"),
    ),
]
