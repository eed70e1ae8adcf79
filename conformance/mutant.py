"""The record of a planted bug."""

from dataclasses import dataclass

__all__ = ["Mutant", "gradients", "loss", "optimizer"]


@dataclass(frozen=True)
class Mutant:
    """What is wrong, where, the right line and the wrong one, and the test that catches it.

    The test is one of the suite, or one of NumPy alone in ``tests/``.
    """

    bug: str
    module: str
    right: str
    wrong: str
    caught_by: str

    @property
    def id(self) -> str:
        where = self.module.removesuffix(".py").replace("/", "-")
        return f"{where}-{self.bug}".replace(" ", "-")


def gradients(problem, backend="numpy", dtype="float64"):
    """Return the id of the test that compares a problem of ``standard.py`` with its reference."""
    test = "conformance/test_gradients.py::test_equals_the_reference[{}]"
    return test.format(f"{backend}-{dtype}-{problem}")


def loss(case, reduction="mean", steps="all"):
    """Return the id of the test that compares a case of a loss with its definition."""
    test = "conformance/test_losses.py::test_a_loss_is_its_definition[{}]"
    return test.format(f"numpy-float64-{case}-{reduction}-{steps}")


def optimizer(claim, case):
    """Return the id of a test of the optimizers, in float64."""
    return f"conformance/test_optimizers.py::test_{claim}[numpy-float64-{case}]"
