"""Check and lay out the arguments of the public functions, once per call.

Only `prepare` does so. It returns a `Call`, which `run` and `run_vjp` run forwards and backwards,
with results in the caller's layout. Windows of a call, and the same call on other arrays, are
calls too, and nothing is checked again.

``_calls/layout.py`` converts between the caller's layout and the internal one; the passes through
the network are in ``_engine/network.py``, and the calculus in ``_engine/bptt.py``.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, NamedTuple, TypeAlias

from .._arrays import checks as check
from .._arrays.functions import accumulation_dtype, zeros_of
from .._arrays.namespace import Array, Namespace, device_of, dtype_name, library_name
from .._arrays.tracing import make_static
from .._engine import network
from .._engine.affine import Products
from .._engine.chunks import most_rows
from .._engine.network import Parameters as Weights
from .._engine.setup import Segments, Setup
from .._engine.stack import Stack
from .._executors.base import Executor
from .._executors.choose import asked, choose
from ..cells import State
from ..memory import Plan, plan
from ..model import RNN
from . import layout
from .checks import check_parameters, check_same_model, check_sequence, check_state
from .dropout_masks import Masks, check_masks, drawn_masks, mean_masks
from .embedding import NAME as EMBEDDING
from .embedding import Tokens, embedded, like_embedded, vectors_of
from .pooling import run_pool, run_pool_vjp
from .valid_steps import (
    Steps,
    check_lengths,
    check_mask,
    mask_of,
    read_lengths,
    resolve,
    spare_rows,
    valid_steps_of,
)

__all__ = [
    "Call",
    "Parameters",
    "prepare",
    "prepare_stream",
    "run",
    "run_vjp",
    "setup_of",
    "states_of",
    "weights_of",
    "without_vocabulary",
]

Parameters: TypeAlias = Mapping[str, Array]


class Call(NamedTuple):
    """A checked network and sequence, time-major and batched, with states sorted by length."""

    model: RNN
    params: Parameters  # the caller's
    given: Array  # x in the caller's layout
    weights: Weights
    x: Array  # (T, B, I)
    state: tuple[State, ...]  # (B, H) each, by layer and direction
    setup: Setup  # namespace, executor, recurrence, valid steps, masks, segments
    lengths: Any = None  # (B,), on the host, in the caller's order, if these set the valid steps
    options: tuple[Any, Any, Any] = (False, None, None)  # dropout and budget as given
    tokens: Tokens | None = None  # x is their embedding

    @property
    def batched(self) -> bool:
        """Whether the caller's sequences have a batch axis."""
        return bool(self.given.ndim == 3)

    def window(self, a: int, b: int, state: Any) -> "Call":
        """Return the call on steps ``a`` to ``b`` only, from a state in torch's shape."""
        s, x, lengths = self.setup, self.x[a:b, ...], self.lengths
        steps = Steps(mask=None if s.mask is None else s.mask[a:b, ...])
        if lengths is not None:
            lengths = (lengths - a).clip(0, b - a)
            steps = resolve(s.xp, x, lengths, None, whole=s.executor.whole_sequence)
        widths, order, inverse, mask = steps
        setup = s._replace(
            widths=widths,
            order=order,
            inverse=inverse,
            mask=mask,
            between=tuple(factors[a:b, ...] for factors in s.between),
            update=tuple(tuple(u[a:b, ...] for u in update) for update in s.update),
        )
        tokens = None if self.tokens is None else self.tokens.window(a, b)
        found = self._replace(x=x, setup=setup, lengths=lengths, tokens=tokens)
        return found.from_state(state)

    def from_state(self, state: Any) -> "Call":
        """Return the same call from another state, in torch's shape; None for zeros."""
        inside = states_of(self.setup, self.model, state, self.x, batched=self.batched)
        return self._replace(state=inside)

    def with_mask(self, state: Any) -> "Call":
        """Return the same call with a mask instead of lengths, which keeps the sequences' order."""
        s, valid = self.setup, mask_of(self.setup.xp, self.x, self.lengths, None)
        steps = Steps(mask=s.xp.expand_dims(valid, axis=2))
        masks = Masks(s.between, s.recurrent, s.update)
        setup = setup_of(s.xp, s.executor, self.model, steps, masks, s.segments)
        w = weights_of(setup, self.model, self.params, self.x)
        return self._replace(weights=w, setup=setup).from_state(state)

    def with_arrays(
        self, params: Parameters, x: Array, state: Any, lift: Callable[[Any], Any]
    ) -> "Call":
        """Return the same call on other arrays of the same shapes, perhaps of another dtype.

        ``lift`` converts other given arrays to that dtype. Random masks and the plan for a memory
        budget are made for that dtype.
        """
        s, model, (dropout, *budget) = self.setup, self.model, self.options
        parts = check.state_parts(state) if state is not None else ()
        name = "auto" if asked() == "compiled" else None  # complex steps run in Python
        executor = choose(s.xp, (*params.values(), x, *parts), name)
        if self.tokens is None:
            sequence = layout.time_major(s.xp, model, x)
        else:
            sequence = vectors_of(s.xp, params[EMBEDDING], *self.tokens)
            x = layout.time_major_outward(s.xp, model, sequence, batched=self.batched)
        if isinstance(dropout, Masks):
            masks = lift(dropout)
        else:
            masks = _masks(s.xp, model, sequence, dropout)
        steps = Steps(s.widths, s.order, s.inverse, s.mask)
        setup = setup_of(s.xp, executor, model, steps, masks)
        if s.segments is not None:
            setup = setup._replace(segments=_segments(setup, model, sequence, *budget))
        w = weights_of(setup, model, params, sequence)
        states = states_of(setup, model, state, sequence, batched=self.batched)
        return self._replace(
            params=params, given=x, weights=w, x=sequence, state=states, setup=setup
        )


class CallOptions(NamedTuple):
    """A call's options, besides the model and its arrays, as the caller gave them."""

    lengths: Any = None
    mask: Any = None
    dropout: Any = None
    memory: Any = None
    checkpoint_every: int | None = None
    weights: Any = None  # those that lengths or a mask are combined with
    check_finite: Any = False


def prepare(
    model: RNN,
    params: Parameters,
    x: Array,
    state: Any = None,
    options: CallOptions = CallOptions(),  # noqa: B008 (a tuple)
) -> Call:
    """Check the arguments of a call before any computation, and lay them out."""
    xp = _check_inputs(model, params, x, state, options)
    lengths, mask, dropout, memory, every, *_ = options
    parts = check.state_parts(state) if state is not None else ()
    executor = choose(xp, (*params.values(), x, *parts))
    shape = like_embedded(xp, model, params, x)
    sequence, steps = layout.time_major(xp, model, shape), Steps()
    given = lengths, mask
    if lengths is not None or mask is not None:
        whole, inside = executor.whole_sequence, layout.mask_inward(model, mask)
        budget = memory is not None or every is not None
        spare = 0 if budget else spare_rows(model, executor.products_of_a_chunk)
        steps = resolve(xp, sequence, lengths, inside, whole=whole, spare=spare)
        if lengths is not None:
            size = layout.sizes(model, shape)
            lengths = None if steps.mask is not None else read_lengths(lengths, *size)
    setup = setup_of(xp, executor, model, steps, _masks(xp, model, sequence, dropout))
    if memory is not None or every is not None:
        setup = setup._replace(segments=_segments(setup, model, sequence, memory, every))
    x, tokens = embedded(xp, model, params, x, *given)
    if tokens is not None:
        sequence = layout.time_major(xp, model, x)
    w = weights_of(setup, model, params, sequence)
    states = states_of(setup, model, state, sequence, batched=x.ndim == 3)
    again = (dropout, memory, every)
    return Call(model, params, x, w, sequence, states, setup, lengths, again, tokens)


def run(call: Call, *, keep: bool) -> tuple[Array, Any, tuple[Any, ...]]:
    """Return outputs and final state in the caller's layout, and tapes for `run_vjp`.

    These are of each stack, and of a pool, if there is one, in the end.
    """
    s = call.setup if keep else call.setup._replace(keep=False)
    weights, batched = call.weights, call.batched
    records: tuple[Any, ...]
    if call.model.pool is None:
        outputs, after, records = network.run(s, weights, call.x, call.state)
        outputs = layout.time_major_outward(s.xp, call.model, outputs, batched=batched)
    else:
        inner = weights._replace(readout=None)  # which follows the pool
        features, after, records = network.run(s, inner, call.x, call.state)
        outputs, pooled = run_pool(s, call.model, weights.readout, features)
        outputs = outputs[0, ...] if batched else outputs[0, 0, :]
        records = (*records, pooled)
    return outputs, layout.state_outward(s.xp, after, s.inverse, batched=batched), records


def run_vjp(
    call: Call,
    records: tuple[Any, ...],
    d_outputs: Array | None,
    d_state: Any = None,
    *,
    grad_x: bool,
    products: Products | None = None,
) -> tuple[dict[str, Array], Array | None, Any]:
    """Return the cotangents of the parameters, of x and of the initial state.

    ``products`` says how to combine the factors of gradients; by default, products are summed.
    """
    s, model, batched, xp = call.setup, call.model, call.batched, call.setup.xp
    if call.tokens is not None:
        grad_x = True  # of the vectors, for that of the embedding
    if not grad_x or products is not None:
        s = s._replace(grad_x=grad_x, products=products or s.products)
    weights, d_readout = call.weights, None
    if model.pool is not None:
        pooled, records = records[-1], records[:-1]
        if d_outputs is not None:
            d_outputs, d_readout = run_pool_vjp(s, weights.readout, pooled, d_outputs)
        weights = weights._replace(readout=None)
    elif d_outputs is not None:
        d_outputs = layout.time_major(xp, model, d_outputs)
    d_after = states_of(s, model, d_state, call.x, batched=batched)
    d_w, d_x, d_before = network.run_vjp(s, weights, records, d_outputs, d_after)
    if d_readout is not None:
        d_w = d_w._replace(readout=d_readout)
    if call.tokens is not None:
        d_w = d_w._replace(embedding=_embedding_vjp(s, model, call.tokens, d_x))
        grad_x = False
    d_params, dtype = model.parameters(d_w, like=call.params), call.x.dtype
    if products is None and accumulation_dtype(xp, dtype) != dtype:
        # Half-precision gradients are summed in float32.
        d_params = {name: xp.astype(array, dtype) for name, array in d_params.items()}
    return (
        d_params,
        layout.time_major_outward(xp, model, d_x, batched=batched) if grad_x else None,
        layout.state_outward(xp, d_before, s.inverse, batched=batched),
    )


def _embedding_vjp(s: Setup, model: RNN, tokens: Tokens, d_x: Array) -> Any:
    """Return the cotangent of the embedding, (V, I)."""
    return s.products.tokens(s.xp, tokens.indices, d_x, model.parameter_shapes[EMBEDDING][0])


def without_vocabulary(call: Call) -> tuple[RNN, Parameters, Array]:
    """Return the model, parameters and input of a call, of which the input is vectors."""
    model, params = call.model, call.params
    if model.vocabulary_size is not None:
        readout = {"readout.weight": params[EMBEDDING]} if model.tied else {}
        model = replace(model, vocabulary_size=None, tied=False)
        params = {name: one for name, one in params.items() if name != EMBEDDING} | readout
    return model, params, call.given


def prepare_stream(xp: Namespace, model: RNN, params: Parameters) -> tuple[Setup, Stack]:
    """Return the setup and layers that all steps of a stream share; parameters are checked."""
    first = params["weight_ih_l0"]
    masks = Masks()
    if model.zoneout:
        mean = xp.full((1, 1), 1.0 - model.zoneout, dtype=first.dtype, device=device_of(first))
        masks = Masks(update=((mean,) * model.cell_object.states,) * model.num_layers)
    setup = setup_of(xp, choose(xp, params.values()), model, Steps(), masks)
    weights = weights_of(setup, model, params)
    return setup._replace(keep=False), Stack(tuple(w for (w,) in weights.layers), weights.readout)


def weights_of(setup: Setup, model: RNN, params: Parameters, x: Array | None = None) -> Weights:
    """Return a network's arrays, by layer and direction, in the executor's form.

    ``x`` is the input of the forward pass, (T, B, I), if known. Steps beyond all lengths do not
    count, so that padding changes no bit.
    """
    size = (0, 0) if x is None else x.shape[:2]
    if x is not None and setup.widths is not None:
        size = (len(setup.widths) - setup.widths.count(0), size[1])
    return network.prepared(setup, model.weights(params), size)


def setup_of(
    xp: Namespace,
    executor: Executor,
    model: RNN,
    steps: Steps,
    masks: Masks,
    segments: Segments | None = None,
) -> Setup:
    """Return what all layers of a call share."""
    if executor.whole_sequence:
        make_static(xp, type(model))  # a compiled function may return it, on the tape
    held = steps.mask is not None or bool(masks.update)
    recurrence = model.recurrences[held]
    rows = most_rows(model.cell_object.gates * model.hidden_size, gpu=executor.gpu)
    options = (rows, executor.sums, True, True, model.reverse)  # fields of Setup, in order
    return Setup(xp, executor, recurrence, *options, *steps, *masks, segments)


def _check_inputs(
    model: RNN, params: Parameters, x: Array, state: Any, options: CallOptions
) -> Namespace:
    """Check the arguments common to all passes; return the namespace."""
    lengths, mask, weights = options.lengths, options.mask, options.weights
    finite = check.flag("check_finite", options.check_finite)
    xp = check_parameters(model, params)
    check_sequence(model, params, x)
    vectors = model.vocabulary_size is None  # otherwise x is tokens
    x = like_embedded(xp, model, params, x)
    if state is not None:
        check_state(model, "state", state, x)
    if lengths is not None and mask is not None:
        raise ValueError("lengths, mask: expected one of them, got both")
    if lengths is not None:  # values on the host are read
        check_lengths(lengths, *layout.sizes(model, x), x)
    if mask is not None:
        check_mask(mask, tuple(x.shape[:-1]), x)
    some = lengths is not None or mask is not None
    if weights is not None and some and model.pool is None:
        check.weights(weights, "x", x)
    if finite:
        valid = valid_steps_of(xp, model, x, lengths, mask) if some else None
        parts = check.state_parts(state) if state is not None else ()
        named = ({"x": x} if vectors else {}) | {f"state[{i}]": p for i, p in enumerate(parts)}
        # Padding may hold anything.
        check.finite(named | dict(params), {} if valid is None else {"x": valid})
    return xp


def _masks(xp: Namespace, model: RNN, x: Array, dropout: Any) -> Masks:
    """Return dropout masks: the caller's, drawn ones, means for prediction, or none.

    ``x`` is (T, B, I).
    """
    if isinstance(dropout, Masks):
        check_masks(model, dropout, x)
        return dropout
    if dropout is False:
        return mean_masks(xp, model, x)
    if dropout is not None:
        return drawn_masks(xp, model, x, check.seed("dropout, a seed", dropout))
    if model.dropout or model.recurrent_dropout or model.zoneout:
        chances = [n for n in ("dropout", "recurrent_dropout", "zoneout") if getattr(model, n)]
        raise ValueError(
            f"dropout: this model has {' and '.join(chances)}: expected a seed, different at "
            "each step of training, or False for none; got None"
        )
    return Masks()


def _segments(
    setup: Setup, model: RNN, x: Array, memory: Any, checkpoint_every: int | None
) -> Segments:
    """Return the segments that keep to a memory budget; x (T, B, I)."""
    if setup.executor.whole_sequence:
        raise ValueError(
            f"memory, checkpoint_every: not with arrays of {library_name(setup.xp)}, for which the "
            "whole sequence is one computation"
        )
    where, (steps, batch, _) = "cuda" if setup.executor.gpu else "cpu", x.shape
    if isinstance(memory, Plan):
        if checkpoint_every is not None:
            raise ValueError("memory, checkpoint_every: expected one of them, got both")
        if (memory.steps, memory.batch, memory.device) != (steps, batch, where):
            raise ValueError(
                f"memory: expected a plan for {steps} steps of {batch} sequences on {where}, "
                f"got one for {memory.steps} of {memory.batch} on {memory.device}"
            )
        check_same_model("memory", model, memory.model)
        return memory.schedule
    options = {"memory": memory, "checkpoint_every": checkpoint_every, "device": where}
    return plan(model, steps, batch, dtype=dtype_name(x.dtype), **options).schedule


def states_of(s: Setup, model: RNN, state: Any, x: Array, *, batched: bool) -> tuple[State, ...]:
    """Return a caller's state as arrays (B, H) for each layer and direction, or zeros for None."""
    if state is not None:
        return layout.state_inward(s.xp, state, s.order, batched=batched)
    zeros = tuple(zeros_of(s.xp, (x.shape[1], size), x) for size in model.state_sizes)
    return (zeros,) * (model.num_layers * model.directions)
