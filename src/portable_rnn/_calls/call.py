"""The work of the public functions: check what is given, run the network, bring back results.

Between the caller's layout and the one inside lies ``_calls/layout.py``; the passes through
the network are in ``_engine/network.py``, and the calculus in ``_engine/bptt.py``.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

from .._arrays import checks as check
from .._arrays.namespace import (
    Array,
    Namespace,
    accumulation_dtype,
    device_of,
    dtype_name,
    is_traced,
    library_name,
    make_static,
    namespace_of,
    whole_sequence,
)
from .._engine.affine import SUMS, Products
from .._engine.bptt import Options
from .._engine.chunks import Units
from .._engine.network import Parameters as Weights
from .._engine.network import Passage, Walk, run, run_vjp
from .._engine.recurrence import recurrence_of
from ..cells import State
from ..dropout import draw
from ..memory import Plan, plan
from ..model import RNN
from . import layout
from .checks import check_model, check_parameters, check_same_model, check_sequence, check_state
from .masks import Masks, check_masks, mean_masks
from .valid_steps import Steps, check_lengths, check_mask, mask_of, resolve

__all__ = [
    "Loss",
    "Parameters",
    "Tape",
    "check_inputs",
    "check_tape",
    "loss_and_gradient",
    "masks_of",
    "pull_back",
    "returned_by_loss",
    "run_through",
    "step_weights",
    "steps_of",
    "units_of",
    "valid_steps_of",
]

Parameters: TypeAlias = Mapping[str, Array]
Loss: TypeAlias = Callable[..., tuple[Array, Array]]


class Tape(NamedTuple):
    """The record of a forward pass, from `forward` and for `backward`.

    Attributes
    ----------
    x : array, shape and layout as given to `forward`
        The array itself, not a copy.
    model : RNN
        That of the forward pass.
    steps, masks, units, passages
        Which steps there were, what was dropped out, how time was cut, and what was kept. Their
        form is not part of the interface.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=4, hidden_size=5)
    >>> x = np.ones((7, 2, 4), dtype=np.float32)
    >>> prnn.forward(model, model.init(seed=0), x).tape.x is x
    True
    """

    x: Array
    model: RNN
    steps: Steps  # which steps there are
    masks: Masks  # of dropout
    units: Units | None  # under a memory budget
    passages: tuple[Passage, ...]  # through the columns of the network


def check_inputs(
    model: RNN,
    params: Parameters,
    x: Array,
    state: Any,
    lengths: Any,
    mask: Any,
    *,
    weights: Any = None,
    finite: bool = False,
) -> Namespace:
    """Check what every pass is given, before any work is done; return the namespace.

    ``weights`` are those that ``lengths`` or a ``mask`` are put together with.
    """
    finite = check.flag("check_finite", finite)
    xp = check_parameters(model, params)
    check_sequence(model, params, x)
    if state is not None:
        check_state(model, "state", state, x)
    if lengths is not None and mask is not None:
        raise ValueError("lengths, mask: expected one of them, got both")
    if lengths is not None:  # those on the host are read
        check_lengths(lengths, *layout.sizes(model, x), x)
    if mask is not None:
        check_mask(mask, tuple(x.shape[:-1]), x)
    some = lengths is not None or mask is not None
    if weights is not None and some:
        check.weights(weights, "x", x)
    if finite:
        valid = valid_steps_of(xp, model, x, lengths, mask) if some else None
        check.finite("x", x, valid)  # padding may hold anything
        parts = check.state_parts(state) if state is not None else ()
        named = {f"state[{i}]": part for i, part in enumerate(parts)}
        for name, array in (named | dict(params)).items():
            check.finite(name, array)
    return xp


def steps_of(xp: Namespace, model: RNN, x: Array, lengths: Any, mask: Any) -> Steps:
    """Return which steps there are, of checked ``lengths`` or a checked ``mask``."""
    return resolve(xp, layout.time_major(xp, model, x), lengths, layout.mask_inward(model, mask))


def valid_steps_of(xp: Namespace, model: RNN, x: Array, lengths: Any, mask: Any) -> Array:
    """Return as a mask in the layout of ``x`` which steps there are, of either."""
    valid = mask_of(xp, layout.time_major(xp, model, x), lengths, layout.mask_inward(model, mask))
    return layout.mask_outward(model, valid, batched=x.ndim == 3)


def masks_of(xp: Namespace, model: RNN, x: Array, dropout: Any) -> Masks:
    """Return what is dropped out: as drawn by the caller, or from a seed, or nothing."""
    if isinstance(dropout, Masks):
        check_masks(model, dropout, x, *layout.sizes(model, x))
        return dropout
    if dropout is False:
        return mean_masks(xp, model, x)
    if dropout is not None:
        check.seed("dropout, a seed", dropout)
        return draw(model, x, dropout)
    if chances := [n for n in ("dropout", "recurrent_dropout", "zoneout") if getattr(model, n)]:
        raise ValueError(
            f"dropout: this model has {' and '.join(chances)}: expected a seed, another one at "
            "each step of training, or False for none; got None"
        )
    return Masks()


def units_of(
    xp: Namespace, model: RNN, x: Array, memory: Any, checkpoint_every: int | None
) -> Units | None:
    """Return how to keep to a memory budget; None if there is none."""
    if memory is None and checkpoint_every is None:
        return None
    if whole_sequence(xp):
        raise ValueError(
            f"memory, checkpoint_every: not with arrays of {library_name(xp)}, for which the whole "
            "sequence is one computation"
        )
    steps, batch = layout.sizes(model, x)
    if isinstance(memory, Plan):
        if checkpoint_every is not None:
            raise ValueError("memory, checkpoint_every: expected one of them, got both")
        if (memory.steps, memory.batch) != (steps, batch):
            raise ValueError(
                f"memory: expected a plan for {steps} steps of {batch} sequences, got one for "
                f"{memory.steps} of {memory.batch}"
            )
        check_same_model("memory", model, memory.model)
        return memory.walk
    options = {"memory": memory, "checkpoint_every": checkpoint_every}
    return plan(model, steps, batch, dtype=dtype_name(x.dtype), **options).walk


def run_through(
    xp: Namespace,
    model: RNN,
    params: Parameters,
    x: Array,
    state: Any,
    steps: Steps,
    masks: Masks,
    units: Units | None = None,
    *,
    keep: bool,
) -> tuple[Array, Any, Tape]:
    """Return outputs, final state and, if it is to be kept, the tape of a forward pass."""
    batched = x.ndim == 3
    make_static(xp, type(model))  # it may leave a compiled function, on the tape
    given = check.state_parts(state) if state is not None else ()
    sequence = layout.time_major(xp, model, x)
    weights = model.weights(params)
    options = Options(stacked=is_traced(xp, x, *params.values(), *given))
    outputs, after, passages = run(
        xp,
        weights,
        sequence,
        _states(xp, model, state, sequence, steps.order, batched=batched),
        _walk(model, weights, options, steps, masks, units),
        keep=keep,
    )
    return (
        layout.time_major_outward(xp, model, outputs, batched=batched),
        layout.state_outward(xp, after, steps.inverse, batched=batched),
        Tape(x, model, steps, masks, units, passages),
    )


def check_tape(
    model: RNN, params: Parameters, tape: Tape, d_outputs: Array | None, d_state: Any
) -> Namespace:
    """Check what a backward pass is given, before any work is done; return the namespace."""
    xp = check_parameters(model, params)
    if d_outputs is None and d_state is None:
        raise ValueError("d_outputs, d_state: expected at least one cotangent, got neither")
    if not isinstance(tape, Tape):
        raise TypeError(
            f"tape: expected the tape of forward, got {type(tape).__name__}"
            f"{'; give its .tape' if hasattr(tape, 'tape') else ''}"
        )
    for name, kind in (("steps", Steps), ("masks", Masks), ("passages", tuple)):
        if not isinstance(held := getattr(tape, name), kind):
            raise TypeError(f"tape: expected the tape of forward, got one with {name}={held!r:.40}")
    check_model(tape.model, "tape.model")
    check_same_model("tape", model, tape.model)
    check.like("tape", tape.x, "params", next(iter(params.values())))
    # The first states are always kept, until a budget has them taken out.
    if not any(passage.kept.get(0) for passage in tape.passages):
        raise ValueError("tape: under a memory budget a tape can be pulled back only once")
    if d_outputs is not None:
        shape = (*tape.x.shape[:-1], model.feature_size)
        check.shaped("d_outputs", d_outputs, shape, "x", tape.x)
    if d_state is not None:
        check_state(model, "d_state", d_state, tape.x)
    return xp


def pull_back(
    xp: Namespace,
    params: Parameters,
    tape: Tape,
    d_outputs: Array | None,
    d_state: Any,
    *,
    grad_x: bool,
    products: Products = SUMS,
) -> tuple[dict[str, Array], Array | None, Any]:
    """Return the cotangents of the parameters, of x and of the initial state.

    ``products`` says what to make of the factors of gradients.
    """
    model, batched = tape.model, tape.x.ndim == 3
    order, inverse = tape.steps.order, tape.steps.inverse
    x = layout.time_major(xp, model, tape.x)
    if d_outputs is not None:
        d_outputs = layout.time_major(xp, model, d_outputs)
    weights = model.weights(params)
    options = Options(products=products)
    d_w, d_x, d_before = run_vjp(
        xp,
        weights,
        tape.passages,
        d_outputs,
        _states(xp, model, d_state, x, order, batched=batched),
        _walk(model, weights, options, tape.steps, tape.masks, tape.units),
        grad_x=grad_x,
    )
    d_params = model.parameters(d_w, like=params)
    dtype = next(iter(params.values())).dtype
    if (
        products is SUMS and accumulation_dtype(xp, dtype) != dtype
    ):  # sums of half precision are not
        d_params = {name: xp.astype(array, dtype) for name, array in d_params.items()}
    return (
        d_params,
        layout.time_major_outward(xp, model, d_x, batched=batched) if grad_x else None,
        layout.state_outward(xp, d_before, inverse, batched=batched),
    )


def loss_and_gradient(
    model: RNN,
    loss: Loss,
    outputs: Array,
    targets: Any,
    x: Array,
    *,
    lengths: Any,
    mask: Any,
    **loss_options: Any,
) -> tuple[Array, Array]:
    """Call a loss with the steps that there are; check what it returns."""
    if lengths is not None or mask is not None:
        weights = loss_options.get("weights")
        loss_options["weights"] = step_weights(model, x, lengths, mask, weights)
    return returned_by_loss(loss(outputs, targets, **loss_options), outputs, x)


def returned_by_loss(returned: Any, outputs: Array, x: Array) -> tuple[Array, Array]:
    """Check what a loss returned for ``outputs``; return it."""
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise TypeError(
            f"loss: expected it to return (value, d_outputs), got {type(returned).__name__}"
        )
    value, d_outputs = returned
    check.loss_value(value, x)
    check.shaped("d_outputs returned by the loss", d_outputs, tuple(outputs.shape), "x", x)
    return value, d_outputs


def step_weights(model: RNN, x: Array, lengths: Any, mask: Any, weights: Any) -> Array:
    """Return the weights of the steps for a loss, in the layout of ``x``: zero where none is."""
    xp = namespace_of(x=x)
    valid = valid_steps_of(xp, model, x, lengths, mask)
    if weights is None:
        return valid
    check.weights(weights, "x", x)
    return xp.where(valid, weights, xp.zeros_like(weights))


def _walk(
    model: RNN,
    weights: Weights,
    options: Options,
    steps: Steps,
    masks: Masks,
    units: Units | None,
) -> Walk:
    held = steps.mask is not None or bool(masks.update)
    recurrence = recurrence_of(model.cell_object, weights.layers[0][0], held=held)
    return Walk(recurrence, options, *steps, *masks, units)


def _states(
    xp: Namespace, model: RNN, state: Any, x: Array, order: Array | None, *, batched: bool
) -> tuple[State, ...]:
    """Return a caller's state as arrays (B, H) for each layer and direction, or zeros for None."""
    if state is not None:
        return layout.state_inward(xp, state, order, batched=batched)
    zeros = tuple(
        xp.zeros(shape[1:], dtype=x.dtype, device=device_of(x))
        for shape in model.state_shapes(x.shape[1])
    )
    return (zeros,) * (model.num_layers * model.directions)
