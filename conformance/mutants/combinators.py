"""Optimizers made of others, loss scales, and schedules."""

from ..mutant import Mutant

__all__ = ["COMBINATORS"]


def steps(case, row="numpy-float64"):
    """Return the id of the test of a case of ``combinators.py``."""
    test = "conformance/test_optimizer_combinators.py::test_steps_equal_those_of_plain_optimizers"
    return f"{test}[{row}-{case}]"


def average(case):
    """Return the id of the test of the average in a case of ``combinators.py``."""
    test = "conformance/test_optimizer_combinators.py::test_averages_equal_their_definition"
    return f"{test}[numpy-float64-{case}]"


MADE, TIMES = "tests/test_optimizer_combinators.py::test_", "tests/test_schedules.py::test_"
COMBINATORS = [
    Mutant(
        "the weights of an average in the other order",
        "optimizers/averaging.py",
        "return self.decay * average + (1.0 - self.decay) * new",
        "return (1.0 - self.decay) * average + self.decay * new",
        average("average"),
    ),
    Mutant(
        "an average that leans to the first parameters",
        "optimizers/averaging.py",
        "weight = (1.0 - self.decay) / bias_correction(xp, step, self.decay, new.dtype)",
        "weight = 1.0 - self.decay",
        average("nested"),
    ),
    Mutant(
        "the sum of gradients for their mean",
        "optimizers/averaging.py",
        "part = xp.astype(g, wide[name], copy=False) / self.every",
        "part = xp.astype(g, wide[name], copy=False)",
        steps("nested"),
    ),
    Mutant(
        "a first step from a state without a meaning",
        "optimizers/averaging.py",
        "due, first = step % self.every == 0, step == self.every",
        "due, first = step % self.every == 0, step == 0",
        steps("dynamic"),
    ),
    Mutant(
        "parameters that are rounded each time",
        "optimizers/precision.py",
        'master, inner = state["master"], state["inner"]',
        "master, inner = {n: xp.astype(p, wide[n]) for n, p in params.items()}, state['inner']",
        "conformance/test_optimizer_combinators.py::test_small_steps_add_up_in_half_precision"
        "[numpy-float16]",
    ),
    Mutant(
        "a step with gradients that are not finite",
        "optimizers/precision.py",
        "master, inner = step_where(xp, finite, first, *given)",
        "master, inner = step_where(xp, xp.ones_like(finite), first, *given)",
        steps("dynamic"),
    ),
    Mutant(
        "a scale that may be halved to zero",
        "optimizers/precision.py",
        "xp.where(finite, grown, shrunk)",
        "xp.where(finite, grown, 0.5 * scale)",
        f"{MADE}steps_that_are_skipped_forever_do_not_make_the_scale_zero",
    ),
    Mutant(
        "a gradient that is rounded before it is scaled",
        "optimizers/precision.py",
        "wide = accumulation_dtype(xp, outputs.dtype)",
        "wide = outputs.dtype",
        f"{MADE}a_scaled_loss_keeps_gradients_that_half_precision_would_lose",
    ),
    Mutant(
        "a run whose loss is not scaled",
        "training/update.py",
        "found = objective.gradients(params, state, batch, drawn, scaled)",
        "found = objective.gradients(params, state, batch, drawn)",
        f"{MADE}training_multiplies_the_loss_by_the_scale_of_its_optimizer[scale0]",
    ),
    Mutant(
        "a plateau that counts steps for evaluations",
        "schedules.py",
        "waited % (patience * every) == 0",
        "waited % patience == 0",
        f"{TIMES}training_lowers_its_rate_where_evaluations_do_not_improve",
    ),
]
