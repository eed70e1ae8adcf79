"""Sequences that arrive in parts: only the state is kept.

Outputs are those of `predict` for the whole sequence, except for rounding: there one product with
``W_ih`` is for many steps, here there is one for each call, and BLAS libraries may sum the same row
in another order when there are more rows.
"""

from collections.abc import Mapping
from typing import Any

from ._arrays import checks as check
from ._arrays.devices import device_context, with_device_of_arguments
from ._arrays.functions import copied
from ._arrays.namespace import (
    PLAIN,
    Array,
    Namespace,
    check_array,
    check_like,
    check_shape,
    device_of,
    is_cupy_array,
    namespace_of,
)
from ._calls.call import prepare_stream, states_of
from ._calls.checks import (
    check_every_step,
    check_one_direction,
    check_parameters,
    check_sequence,
    check_state,
    check_state_alone,
    check_tokens,
)
from ._calls.embedding import NAME, check_token_values, like_embedded, vectors_of
from ._calls.layout import sizes, state_outward
from ._calls.valid_steps import check_lengths, check_mask, mask_of
from ._engine.stack import States, step
from ._executors.choose import asked, use
from .api import predict
from .model import RNN

__all__ = ["Stream", "stream"]


class Stream:
    """A network in the middle of a sequence, as returned by `stream`.

    Attributes
    ----------
    state : array, or for LSTM a pair of arrays; None before the first step
        As `predict` takes and returns it; read it to save it, set it to continue from another one.
        None means zeros.
    """

    _inside: States | None  # in the network's form; if there, it replaces the other
    _outside: Any  # in torch's shape
    _taken: tuple[Any, ...] | None = None  # type, shape and dtype of the last step
    _batched = False  # whether what is inside came with a batch axis

    def __init__(self, model: RNN, params: Mapping[str, Array], state: Any = None) -> None:
        check_one_direction(model, "a stream")
        check_every_step(model, "a stream")
        xp = check_parameters(model, params)
        # Copies: all calls use the same parameters, even if the caller changes theirs.
        self._model = model
        self._executor = asked()
        with device_context(next(iter(params.values()))):
            self._params = {name: copied(xp, array) for name, array in params.items()}
            self._setup, self._weights = prepare_stream(xp, model, self._params)
        if state is not None:
            check_state_alone(model, state, params)
        self.state = state

    @property
    def state(self) -> Any:
        """The state, as `predict` takes and returns it."""
        if self._inside is not None:  # once returned, the caller may change it
            self._outside = _outward(
                self._inside[0][0], self._setup.xp, self._inside, batched=self._batched
            )
            self._inside = None
        return self._outside

    @state.setter
    def state(self, value: Any) -> None:
        self._outside = value
        self._inside = None

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy or a pickle is made from."""
        return {"model": self._model, "params": self._params, "state": self.state}

    def __setstate__(self, kept: dict[str, Any]) -> None:
        Stream.__init__(self, **kept)

    @check.named_options
    def step(self, x: Array, *, mask: Array | None = None) -> Array:
        """Take one step.

        Parameters
        ----------
        x : array, shape (B, I), or (I,) for a single sequence
            For a model with a vocabulary, tokens (B,), or ().
        mask : boolean array (B,), optional
            Which sequences take it; the others keep their state, and their output is zero.

        Returns
        -------
        array, shape (B, O), or (O,)

        Raises
        ------
        TypeError, ValueError
            If ``x`` does not fit the model, or the state; the state is then unchanged.
        """
        given = x
        if self._model.vocabulary_size is not None:
            x = self._embedded(x, mask)
        if mask is None and self._like_the_last(x):
            return self._step(x, None)
        self._taken = None
        check_array("x", x)
        size = self._model.input_size
        if x.ndim not in (1, 2) or x.shape[-1] != size or 0 in x.shape:
            raise ValueError(
                f"x: expected one step of shape (B, {size}) or ({size},), got {tuple(x.shape)}"
            )
        if mask is not None:
            check_array("mask", mask)
            check_shape("mask", mask, tuple(x.shape[:-1]))
        xp = namespace_of(x=x)
        if xp is not self._setup.xp:  # another namespace came into use, or x is of another library
            check_like("x", x, "params", next(iter(self._params.values())))
            self.state = self.state
            with device_context(x):
                self._setup, self._weights = prepare_stream(xp, self._model, self._params)
        if not self._setup.executor.whole_sequence:
            check_like("x", x, "params", self._weights.layers[0].hh.weight)
            outputs = self._step(x, mask)
            self._taken = type(x), x.shape, x.dtype
            return outputs
        axis = 1 if self._model.batch_first and x.ndim == 2 else 0
        if mask is not None:
            mask = namespace_of(mask=mask).expand_dims(mask, axis=axis)
        outputs = self.feed(xp.expand_dims(given, axis=axis), mask=mask)
        return outputs[:, 0, :] if axis else outputs[0, ...]

    @with_device_of_arguments
    def _embedded(self, x: Array, mask: Any) -> Array:
        """Return the vectors of one step's tokens, (B,) or (); a mask leaves out padding."""
        check_array("x", x)
        if x.ndim > 1 or 0 in x.shape:
            raise ValueError(
                f"x: expected the tokens of one step, of shape (B,) or (), got {tuple(x.shape)}"
            )
        model, xp = self._model, namespace_of(x=x)
        check_tokens(model, self._params, x if x.ndim else xp.reshape(x, (1,)))
        if mask is not None:
            check_array("mask", mask)
            check_shape("mask", mask, tuple(x.shape))
            check_mask(mask, tuple(x.shape), x)
            mask = xp.reshape(mask_of(xp, xp.reshape(x, (1, -1)), None, mask), x.shape)
        tokens, wrong = check_token_values(xp, "x", x, model.parameter_shapes[NAME][0], mask)
        return vectors_of(xp, self._params[NAME], tokens, wrong)

    def _like_the_last(self, x: Any) -> bool:
        """Return whether a step is a NumPy array like the last one that was checked."""
        kind = type(x)
        return (
            self._inside is not None
            and kind in PLAIN
            and self._taken == (kind, x.shape, x.dtype)
            and namespace_of(x=x) is self._setup.xp
        )

    @with_device_of_arguments
    def _step(self, x: Array, mask: Array | None) -> Array:
        """Take a step of a shape that fits, without making a sequence of it."""
        s, batched, inside = self._setup, x.ndim == 2, self._inside
        rows = x if batched else x[None, :]
        if inside is None or batched != self._batched or inside[0][0].shape[0] != rows.shape[0]:
            inside = self._enter(x)
        if mask is not None:
            check_mask(mask, tuple(x.shape[:-1]), x)
            mask = s.xp.reshape(mask_of(s.xp, rows, None, mask), (-1, 1))
        outputs, self._inside = step(s, self._weights, rows, inside, mask)
        self._batched = batched
        return outputs if batched else outputs[0, ...]

    def _enter(self, x: Array) -> States:
        """Check the state that is kept against the next step; return it in the network's form."""
        batched, xp, state = x.ndim == 2, self._setup.xp, self.state
        one = x[:, None, :] if batched and self._model.batch_first else x[None, ...]
        self._check_size(one)
        if state is not None:
            check_state(self._model, "state", state, one)
        rows = x[None, ...] if batched else x[None, None, ...]
        inside = states_of(self._setup, self._model, state, rows, batched=batched)
        return tuple(tuple(xp.asarray(part, copy=True) for part in parts) for parts in inside)

    @check.named_options
    def feed(self, x: Array, *, lengths: Any = None, mask: Array | None = None) -> Array:
        """Take any number of steps.

        Parameters
        ----------
        x : array, shape (T, B, I), (B, T, I) with ``batch_first``, or (T, I)
            The next steps. Their number may differ between calls, and may be 0. For a model with a
            vocabulary, tokens (T, B), (B, T) or (T,).
        lengths, mask : optional
            Which of them are valid, as for `predict`.

        Returns
        -------
        array, shape (T, B, O), in the layout of ``x``

        Raises
        ------
        TypeError, ValueError
            As `predict` does; the state is then unchanged.
        """
        check_array("x", x)
        axes = 3 if self._model.vocabulary_size is None else 2
        axis = 1 if self._model.batch_first and x.ndim == axes else 0
        if x.ndim > axis and x.shape[axis] == 0:
            return self._nothing(x, axis, lengths, mask)
        self._check_batch(x)
        given = {"lengths": lengths, "mask": mask}
        with use(self._executor):
            outputs, self.state = predict(
                self._model, self._params, x, self.state, return_state=True, **given
            )
        return outputs

    def _nothing(self, x: Array, axis: int, lengths: Any, mask: Array | None) -> Array:
        """Return the outputs of no steps, checked as if there were one; keep the state."""
        xp = namespace_of(x=x)
        one = (*x.shape[:axis], 1, *x.shape[axis + 1 :])
        # An empty slice of CuPy's is on the current device, whatever it is of.
        like = next(iter(self._params.values())) if is_cupy_array(x) else x
        with device_context(like):
            step = xp.zeros(one, dtype=x.dtype, device=device_of(like))
        self._check_batch(step)
        if lengths is not None:
            shape = like_embedded(xp, self._model, self._params, step)
            check_lengths(lengths, 0, sizes(self._model, shape)[1], x)
        if mask is not None:
            check_mask(mask, tuple(like_embedded(xp, self._model, self._params, x).shape[:-1]), x)
        outputs = predict(self._model, self._params, step, self.state)
        return outputs[:, :0, :] if axis else outputs[:0, ...]

    def _check_batch(self, x: Array) -> None:
        """Refuse a batch of another size than the state that is kept; the error names ``x``."""
        check_sequence(self._model, self._params, x)
        self._check_size(like_embedded(namespace_of(x=x), self._model, self._params, x))

    def _check_size(self, x: Array) -> None:
        if self.state is None:
            return
        held = getattr(check.state_parts(self.state)[0], "shape", ())[1:-1]
        got = tuple(x.shape[:1] if self._model.batch_first else x.shape[1:2]) if x.ndim == 3 else ()
        if len(held) < 2 and got != tuple(held):
            one, other = (str(n[0]) if n else "none" for n in (held, got))
            raise ValueError(f"x: expected a batch of {one} like the state, got {other}")


@with_device_of_arguments
def _outward(_: Array, xp: Namespace, inside: States, *, batched: bool) -> Any:
    return state_outward(xp, inside, batched=batched)


@check.named_options
@with_device_of_arguments
def stream(model: RNN, params: Mapping[str, Array], state: Any = None) -> Stream:
    """Run a network over a sequence that arrives in parts, in constant memory.

    Parameters
    ----------
    model : RNN
        Unidirectional, with any number of layers.
    params : dict of str to array
        Copied once: later changes of the dict or its arrays do not affect the stream. Nor do later
        changes of the executor.
    state : array, shape (L, B, H), or (L, H) for a single sequence; for LSTM a pair, optional
        The initial state; zeros if None.

    Returns
    -------
    Stream
        Call its `Stream.step` with one step or its `Stream.feed` with several, in any order.

    Raises
    ------
    TypeError, ValueError
        If the parameters do not fit the model, or the model is bidirectional or reverse: the
        reverse direction needs the end first.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=3, hidden_size=5, output_size=2, cell="gru", num_layers=2)
    >>> params = model.init(seed=0, dtype="float64")
    >>> x = np.random.default_rng(0).standard_normal((7, 4, 3))
    >>> stream = prnn.stream(model, params)
    >>> steps = [stream.step(x_t) for x_t in x[:5]]  # (4, 2) each
    >>> rest = stream.feed(x[5:])  # (2, 4, 2)
    >>> whole = prnn.predict(model, params, x)
    >>> np.allclose(np.concatenate([np.stack(steps), rest]), whole, rtol=0, atol=1e-15)
    True
    """
    return Stream(model, params, state)
