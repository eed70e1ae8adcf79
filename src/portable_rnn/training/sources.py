"""Check that a source of batches, the library's or a user's own, fits the model."""

from collections.abc import Mapping
from typing import Any

from .._arrays import checks as check
from .._arrays.namespace import Array, check_library_and_device, check_shape, namespace_of
from .._arrays.tracing import uncompilable_argument
from .._calls.checks import check_sequence, check_state
from .._calls.embedding import like_embedded
from .._calls.layout import outputs_shape, sizes
from .._calls.valid_steps import check_lengths
from ..batches import Batch, Batches
from ..model import RNN

__all__ = ["check_batch", "check_fits", "check_source", "checked_batch"]


def check_source(
    name: str, source: Any, model: RNN | None, *, evaluated: bool, described: bool
) -> None:
    """Check that ``source`` has the members of `Batches`, and the layout of the model, if any.

    ``steps_per_epoch`` is required if it is ``evaluated``, and ``describe`` if it is ``described``
    in a checkpoint: nothing else uses them.
    """
    if isinstance(source, type):
        wanted = "an object with steps_per_epoch, batch and describe, such as Shuffled(...)"
        raise TypeError(f"{name}: expected {wanted}, got the class {source.__name__}")
    members = ["steps_per_epoch"] * evaluated + ["batch"] + ["describe"] * described
    if missing := [member for member in members if not hasattr(source, member)]:
        raise TypeError(
            f"{name}: expected a source such as Shuffled or Windows, with {', '.join(members)}; "
            f"got {check.said(source)} without {', '.join(missing)}"
        )
    if evaluated:
        check.count(f"{name}.steps_per_epoch", source.steps_per_epoch)
    check.function(f"{name}.batch", source.batch, "(step)", "step")
    if described:
        check.function(f"{name}.describe", source.describe, "()")
    if model is None:
        return
    wanted_axis = 0 if model.batch_first else 1
    axis = getattr(source, "batch_axis", None)
    if axis is not None and check.integer(f"{name}.batch_axis", axis) != wanted_axis:
        raise ValueError(
            f"{name}: expected batch_axis={wanted_axis}, for a model with "
            f"batch_first={model.batch_first}, got batch_axis={axis}"
        )


def check_batch(name: str, source: Batches, step: int) -> Batch:
    """Return the batch of a step, after checking that it is one; its arrays may be anything."""
    batch = source.batch(step)
    where = f"{name}.batch({step})"
    if not isinstance(batch, Batch):
        raise TypeError(f"{where}: expected a Batch, got {type(batch).__name__}")
    check.flag(f"{where}.fresh", batch.fresh)
    return batch


def checked_batch(
    name: str, source: Batches, step: int, model: RNN, params: Mapping[str, Array], state: Any
) -> Batch:
    """Return the batch of a step, after checking that it fits the model and ``state``."""
    batch = check_batch(name, source, step)
    check_fits(f"{name}.batch({step})", batch, model, params, state)
    return batch


def check_fits(
    where: str, batch: Batch, model: RNN, params: Mapping[str, Array], state: Any
) -> None:
    """Check that a batch fits the model and ``state``; errors begin with ``where``."""
    try:
        check_sequence(model, params, batch.x)
        x = like_embedded(namespace_of(x=batch.x), model, params, batch.x)
        wrong = uncompilable_argument(namespace_of(x=batch.x), batch.targets)
        if wrong is not None:
            raise TypeError(f"targets: expected arrays, got {check.said(wrong)}")
        if batch.weights is not None and model.pool is not None:
            check_library_and_device("weights", batch.weights, "x", x)
            check_shape("weights", batch.weights, outputs_shape(model, x)[:-1])
        elif batch.weights is not None and batch.lengths is None:
            check.weights_of_any_dtype(batch.weights, "x", x)
        elif batch.weights is not None:  # they are combined with the lengths
            check.weights(batch.weights, "x", x)
        if batch.lengths is not None:
            check_lengths(batch.lengths, *sizes(model, x), x)
        if state is not None and not batch.fresh:
            check_state(model, "state", state, x)
    except (TypeError, ValueError) as error:
        raise type(error)(f"{where}.{error}") from None
