"""Losses and optimizers."""

from .mutant import Mutant

__all__ = ["TRAINING"]


def losses(case, reduction="mean", steps="all"):
    test = "conformance/test_losses.py::test_a_loss_is_its_definition[{}]"
    return test.format(f"numpy-float64-{case}-{reduction}-{steps}")


def optimizers(claim, case):
    return f"conformance/test_optimizers.py::test_{claim}[numpy-float64-{case}]"


TRAINING = [
    Mutant(
        "row sum left out of the softmax gradient",
        "losses.py",
        "xp.exp(log_p) * total - y",
        "xp.exp(log_p) - y",
        losses("rows-of-any-sum"),
    ),
    Mutant(
        "mean over the masked steps too",
        "losses.py",
        "weight = xp.asarray(_sum(xp, scale))",
        "weight = xp.asarray(_sum(xp, xp.ones_like(scale)))",
        losses("labels", steps="masked"),
    ),
    Mutant(
        "no shift in the softmax",
        "losses.py",
        "z = z - xp.astype(xp.max(real_part(xp, z), axis=-1, keepdims=True), z.dtype)",
        "z = z",
        "conformance/test_losses.py::test_extreme_logits_do_not_overflow[numpy]",
    ),
    Mutant(
        "squares' gradient without the 2",
        "losses.py",
        "2.0 * weighted, None",
        "weighted, None",
        losses("squares"),
    ),
    Mutant(
        "mean's correction a step ahead",
        "optimizers.py",
        "return 1.0 - beta**u.step",
        "return 1.0 - beta ** (u.step + 1)",
        optimizers("five_steps_equal_the_formulas", "adam"),
    ),
    Mutant(
        "clipping that lengthens",
        "optimizers.py",
        "factor = limit / xp.max(xp.stack([norm, limit]))",
        "factor = limit / norm",
        optimizers("clipping_equals_its_formula", "100.0"),
    ),
]
