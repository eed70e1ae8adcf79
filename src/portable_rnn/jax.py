"""A network as a function of JAX that has the gradient of this library.

JAX differentiates every function of the library by itself; `layer` has it call the backward pass
that is written here instead, which keeps less, or with segments little more than the inputs.
"""

import sys
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from ._arrays import checks as check
from ._arrays.functions import zeros_of
from ._arrays.namespace import Array
from ._calls.checks import check_model
from .api import backward, forward, predict
from .model import RNN

try:
    import jax
except ImportError:
    raise ImportError("jax is needed for portable_rnn.jax: pip install jax") from None

__all__ = ["layer"]


@check.named_options
def layer(model: RNN, *, checkpoint_every: int | None = None) -> Callable[..., Any]:
    """Return a network as a function that JAX differentiates by `backward`.

    It goes into any model, of Flax, Equinox or plain functions, and under ``jit``, ``grad`` and
    ``vmap``. It can be differentiated in reverse, also twice; for forward mode, and where memory is
    no matter, `predict` is the same function.

    Parameters
    ----------
    model : RNN
        Without dropout and zoneout.
    checkpoint_every : int, optional
        Keep the state every so many steps, and run the steps between again in the backward pass:
        about √T keeps least. Not with ``bidirectional``, ``reverse`` or ``pool``.

    Returns
    -------
    callable ``(params, x, state=None, lengths=None) -> (outputs, state)``
        With arguments and results of `predict`; ``lengths`` is an array.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import jax
    >>> import portable_rnn as prnn
    >>> from portable_rnn.jax import layer
    >>> model = prnn.RNN(3, 4, cell="gru")
    >>> gru = layer(model, checkpoint_every=10)
    >>> params = model.init(seed=0, xp=jax.numpy)
    >>> def loss(params, x):
    ...     return (gru(params, x)[0] ** 2).mean()
    >>> grads = jax.jit(jax.grad(loss))(params, jax.numpy.ones((100, 2, 3)))
    >>> grads["weight_hh_l0"].shape
    (12, 4)
    """
    check_model(model)
    if not isinstance(model, RNN):
        raise TypeError(f"model: expected an RNN, got {type(model).__name__}")
    for name in ("dropout", "recurrent_dropout", "zoneout"):
        if chance := getattr(model, name):
            raise ValueError(f"model: expected {name}=0.0, for masks are drawn, got {chance}")
    whole = _Whole(model)
    if checkpoint_every is not None:
        every = check.count("checkpoint_every", checkpoint_every)
        for name in ("bidirectional", "reverse", "pool"):
            if value := getattr(model, name):
                raise ValueError(
                    f"checkpoint_every: not with {name}={value!r}, which needs all steps at once"
                )
        whole = _Segments(model, every)
    run = jax.custom_vjp(whole.run)
    run.defvjp(whole.forward, whole.backward)

    def call(params: Any, x: Array, state: Any = None, lengths: Array | None = None) -> Any:
        return run(params, x, state, lengths)

    return call


class _Whole:
    """The whole sequence at once: what is kept is the tape."""

    def __init__(self, model: RNN) -> None:
        self.model = model

    def run(self, params: Any, x: Array, state: Any, lengths: Any) -> Any:
        return predict(self.model, params, x, state, lengths=lengths, return_state=True)

    def forward(self, params: Any, x: Array, state: Any, lengths: Any) -> tuple[Any, Any]:
        found = forward(self.model, params, x, state, lengths=lengths)
        return (found.outputs, found.state), (params, x, state, lengths, found.tape)

    def backward(self, kept: Any, cotangents: Any) -> tuple[Any, ...]:
        params, x, state, lengths, tape = kept
        found = backward(self.model, params, tape, *cotangents)
        d_state = None if state is None else found.state
        return found.params, _of(x, found.x), d_state, _of(lengths, None)


class _Segments(_Whole):
    """Some steps at a time: what is kept is the state before each segment, and the inputs."""

    def __init__(self, model: RNN, every: int) -> None:
        super().__init__(replace(model, batch_first=False))
        self.batch_first, self.every = model.batch_first, every

    def run(self, params: Any, x: Array, state: Any, lengths: Any) -> Any:
        return self.forward(params, x, state, lengths)[0]

    def forward(self, params: Any, x: Array, state: Any, lengths: Any) -> tuple[Any, Any]:
        first = state
        if state is None:
            batch = x.shape[0 if self.batch_first else 1] if self._batched(x) else None
            like = params["weight_hh_l0"]
            zeros = tuple(zeros_of(jax.numpy, s, like) for s in self.model.state_shapes(batch))
            first = zeros if len(zeros) > 1 else zeros[0]

        def segment(state: Any, given: Any) -> tuple[Any, Any]:
            outputs, after = super(_Segments, self).run(params, given[0], state, given[1])
            return after, (outputs, state)

        several, rest = self._cut(x, x, lengths)
        after, (outputs, before) = jax.lax.scan(segment, first, several)
        outputs, last = outputs.reshape((-1, *outputs.shape[2:])), after
        if rest[0].shape[0]:
            after, (more, last) = segment(after, rest)
            outputs = jax.numpy.concatenate([outputs, more])
        return (self._turned(x, outputs), after), (params, x, state, lengths, before, last)

    def backward(self, kept: Any, cotangents: Any) -> tuple[Any, ...]:
        params, x, state, lengths, before, last = kept
        (d_outputs, d_after), add = cotangents, jax.numpy.add
        d_several, d_rest = self._cut(x, d_outputs)
        several, rest = self._cut(x, x, lengths)
        total = jax.tree.map(jax.numpy.zeros_like, params)

        def segment(carry: Any, given: Any) -> tuple[Any, Any]:
            total, d_after = carry
            (x, lengths), before, d_outputs = given
            tape = forward(self.model, params, x, before, lengths=lengths).tape
            found = backward(self.model, params, tape, d_outputs, d_after)
            return (jax.tree.map(add, total, found.params), found.state), found.x

        carry, d_x = (total, d_after), None
        if rest[0].shape[0]:
            carry, d_x = segment(carry, (rest, last, d_rest[0]))
        given = (several, before, d_several[0])
        (total, d_state), d_xs = jax.lax.scan(segment, carry, given, reverse=True)
        if d_xs is not None:
            d_xs = d_xs.reshape((-1, *d_xs.shape[2:]))
            d_x = self._turned(x, d_xs if d_x is None else jax.numpy.concatenate([d_xs, d_x]))
        return total, _of(x, d_x), None if state is None else d_state, _of(lengths, None)

    def _cut(self, x: Array, array: Array, lengths: Any = None) -> tuple[Any, Any]:
        """Return an array with the axes of x, and lengths, of whole segments, and of the rest."""
        array = self._turned(x, array)
        count, rest = divmod(array.shape[0], self.every)
        end, within = array.shape[0] - rest, None
        if lengths is not None:
            starts = jax.numpy.arange(count) * self.every
            within = jax.vmap(lambda start: jax.numpy.clip(lengths - start, 0, self.every))(starts)
            lengths = jax.numpy.clip(lengths - end, 0, rest)
        segments = array[:end].reshape((count, self.every, *array.shape[1:]))
        return (segments, within), (array[end:], lengths)

    def _batched(self, x: Array) -> bool:
        return bool(x.ndim == (2 if self.model.vocabulary_size is not None else 3))

    def _turned(self, x: Array, array: Array) -> Array:
        """Exchange time and batch, if x has the batch first."""
        turns = self.batch_first and self._batched(x)
        return jax.numpy.swapaxes(array, 0, 1) if turns else array


def _of(value: Any, cotangent: Any) -> Any:
    """Return the cotangent of an argument; JAX has a dtype of its own for those of integers."""
    if value is None or not jax.numpy.issubdtype(value.dtype, jax.numpy.integer):
        return cotangent
    return sys.modules["numpy"].zeros(value.shape, jax.dtypes.float0)
