"""Products with the Jacobian, the Hessian, and the Gauss-Newton matrix.

No matrix is ever formed: each product costs a small multiple of one pass, whatever the number
of parameters. All of them run the library's forward and backward passes along a direction
(``derivatives/complex_step.py`` says how, and how exactly), so they work for every cell,
a user's own included, for every analytic loss, and with all options of the passes.

A relu has its derivative almost everywhere, and 0 at the kink. A loss of your own is called
with complex outputs: the gradient that it returns must be analytic there (no ``abs``, ``sign`` or
conjugation, comparisons on the real part), as those of :mod:`portable_rnn.losses` are. Where
values can be read it is compared with differences, and refused if it is not analytic
(``derivatives/analytic.py``).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from .._arrays import checks as check
from .._arrays.devices import with_device_of_arguments
from .._arrays.functions import dtype_is_kind
from .._arrays.namespace import (
    Array,
    Namespace,
    check_like,
    check_shaped,
    dtype_name,
    is_array,
    namespace_of,
)
from .._arrays.shown import short_repr
from .._arrays.signatures import options_of, split_options
from .._calls.call import Call, CallOptions, Parameters, prepare, run, run_vjp
from .._calls.checks import check_parameters, check_state
from .._calls.loss import Loss, loss_and_gradient, returned_by_loss, weighs_steps
from .._calls.valid_steps import mask_on_device
from ..api import bptt, forward, predict
from ..losses import softmax_cross_entropy
from ..model import RNN
from .analytic import watched
from .complex_step import Lift, directional

__all__ = ["Tangents", "check_real", "gauss_newton_product", "hvp", "jvp", "push"]


class Tangents(NamedTuple):
    """Outputs and final state, and the derivatives of both along the given direction.

    Attributes
    ----------
    outputs, d_outputs : array, shape and layout of the outputs
    state, d_state : array (L·D, B, H), or (L·D, H) if unbatched; for LSTM a pair (h, c)

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=1, hidden_size=2)
    >>> x = np.zeros((3, 1), dtype=np.float32)
    >>> moved = prnn.jvp(model, model.init(seed=0), x, d_x=np.ones_like(x))
    >>> moved.d_outputs.shape, moved.d_state.shape
    ((3, 2), (1, 2))
    """

    outputs: Array
    state: Any
    d_outputs: Array
    d_state: Any

    def __repr__(self) -> str:
        return short_repr(self)


@with_device_of_arguments
def jvp(
    model: RNN,
    params: Parameters,
    x: Array,
    state: Any = None,
    *,
    d_params: Parameters | None = None,
    d_x: Array | None = None,
    d_state: Any = None,
    **options: Any,
) -> Tangents:
    """Push a direction of change through the network: forward-mode differentiation.

    Parameters
    ----------
    model, params, x, state
        As for `forward`.
    d_params : dict of str to array, optional
        Direction in which the parameters move; a name left out counts as zero.
    d_x : array like ``x``, optional
    d_state : like the initial state, for LSTM a pair, optional
        Give at least one of the three.
    **options
        Passed on to `predict`.

    Returns
    -------
    Tangents
        ``outputs`` and ``state`` as from `predict`, and ``d_outputs`` and ``d_state``, their
        derivatives. No tape is kept.

    Raises
    ------
    TypeError, ValueError
        As `forward` does, or if a direction does not fit, or none is given.

    Notes
    -----
    Costs one pass over arrays of complex numbers (Squire and Trapp 1998).

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=1, hidden_size=1, bias=False)
    >>> params = {name: np.ones((1, 1)) for name in model.parameter_shapes}
    >>> moved = prnn.jvp(model, params, np.zeros((3, 1)), d_x=np.ones((3, 1)))
    >>> print(moved.d_outputs.T)  # tanh'(0) = 1: one more unit arrives at each step
    [[1. 2. 3.]]
    """
    check.options(jvp, options, options_of(predict, without=("state",)))
    check_real(model, params)
    given = {name: value for name, value in options.items() if name in CallOptions._fields}
    call = prepare(model, params, x, state, CallOptions(dropout=False, **given))
    if d_params is not None:
        _check_direction("d_params", params, d_params)
    if d_x is not None and model.vocabulary_size is not None:
        raise ValueError(
            "d_x: expected None for an input of tokens; a direction of their vectors is "
            "d_params['embedding.weight']"
        )
    if d_x is not None:
        check_shaped("d_x", d_x, tuple(x.shape), "x", x)
    if d_state is not None:
        check_state(model, "d_state", d_state, call.given)
    if not d_params and d_x is None and d_state is None:
        raise ValueError("d_params, d_x, d_state: expected at least one direction, got none")
    return push(call, state, d_params or {}, d_x, d_state)


@with_device_of_arguments
def hvp(
    model: RNN,
    params: Parameters,
    x: Array,
    targets: Any,
    vector: Parameters,
    *,
    loss: Loss = softmax_cross_entropy,
    **options: Any,
) -> dict[str, Array]:
    """Multiply the Hessian of the loss with respect to the parameters by a vector.

    Parameters
    ----------
    model, params, x, targets
        As for `bptt`. Floating targets, and options of the loss, have the dtype of the parameters.
    vector : dict of str to array
        Shaped like the parameters; a name left out counts as zero.
    loss : callable
        As for `bptt`. It is called with complex outputs, and the gradient that it returns must be
        analytic in them, piece by piece: no ``abs``, ``sign`` or ``conj`` of what depends on the
        outputs, and comparisons of real parts (``xp.real(d) < 1``).
    **options
        Passed on to `bptt`: ``state``, and the options of the loss.

    Returns
    -------
    dict of str to array
        ``H v``, a dict like the parameters.

    Raises
    ------
    TypeError, ValueError
        As `bptt` does, or if ``vector`` does not fit or is empty, or the gradient of the loss is
        found not to be analytic.

    Notes
    -----
    A loss of your own is compared with differences of itself, at the cost of two to some dozens of
    evaluations more, if its values are on the host; elsewhere, and under ``jax.jit``, the condition
    is not checked.

    The derivative of the hand-written gradient along ``v`` is ``H v`` (Pearlmutter, *Fast exact
    multiplication by the Hessian*, Neural Computation 6, 1994). Costs one `bptt` over arrays of
    complex numbers.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=4, hidden_size=5, output_size=3, cell="gru")
    >>> params = model.init(seed=0, dtype="float64")
    >>> x, targets = np.ones((7, 2, 4)), np.zeros((7, 2), dtype=int)
    >>> u, v = (model.init(seed=seed, dtype="float64") for seed in (1, 2))
    >>> hu, hv = (prnn.hvp(model, params, x, targets, w) for w in (u, v))
    >>> uhv, vhu = (sum(np.sum(a[n] * b[n]) for n in params) for a, b in ((u, hv), (v, hu)))
    >>> bool(abs(uhv - vhu) < 1e-12 * abs(uhv))  # a Hessian is symmetric
    True
    """
    call, passing, of_loss = _prepare(hvp, model, params, x, targets, loss, options)
    _check_vector(params, vector)
    loss, state = watched(loss), passing.pop("state", None)
    given = {name: passing.get(name) for name in ("lengths", "mask")}
    names = tuple(params)

    def gradient(arrays: tuple[Array, ...], lift: Lift) -> tuple[Array, ...]:
        x = lift(call.given)
        moved = call.with_arrays(dict(zip(names, arrays, strict=True)), x, lift(state), lift)
        outputs, _, records = run(moved, keep=True)
        _, d_outputs = loss_and_gradient(
            model, loss, outputs, lift(targets), x, **given, **lift(of_loss)
        )
        grads, _, _ = run_vjp(moved, records, d_outputs, grad_x=False)
        return tuple(grads[name] for name in names)

    points, tangents = tuple(params.values()), tuple(vector.get(name) for name in names)
    _, product = directional(call.setup.xp, gradient, points, tangents)
    return dict(zip(names, product, strict=True))


@with_device_of_arguments
def gauss_newton_product(
    model: RNN,
    params: Parameters,
    x: Array,
    targets: Any,
    vector: Parameters,
    *,
    loss: Loss = softmax_cross_entropy,
    **options: Any,
) -> dict[str, Array]:
    """Multiply the generalised Gauss-Newton matrix by a vector.

    ``G v = Jᵀ H_L J v``, where J is the Jacobian of the outputs with respect to the parameters and
    H_L the Hessian of the loss with respect to the outputs. G is the Hessian without the curvature
    of the network itself, and positive semidefinite where the loss is convex in the outputs, as
    those of :mod:`portable_rnn.losses` are, unless they say otherwise. Hessian-free optimisation
    and natural gradients use it.

    Parameters
    ----------
    model, params, x, targets, vector, loss, **options
        As for `hvp`: the gradient of the loss must be analytic in the outputs.

    Returns
    -------
    dict of str to array
        ``G v``, a dict like the parameters.

    Raises
    ------
    TypeError, ValueError
        As `hvp` does.

    Notes
    -----
    Schraudolph, *Fast curvature matrix-vector products for second-order gradient descent*,
    Neural Computation 14, 2002. J v is a forward pass over complex numbers, H_L times it
    comes from the loss's own gradient, and Jᵀ is an ordinary `bptt`.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=4, hidden_size=5, output_size=3, cell="lstm")
    >>> params = model.init(seed=0, dtype="float64")
    >>> x, targets = np.ones((7, 2, 4)), np.zeros((7, 2), dtype=int)
    >>> v = model.init(seed=1, dtype="float64")
    >>> gv = prnn.gauss_newton_product(model, params, x, targets, v)
    >>> bool(sum(np.sum(v[name] * gv[name]) for name in params) > 0.0)
    True
    """
    call, passing, of_loss = _prepare(
        gauss_newton_product, model, params, x, targets, loss, options
    )
    _check_vector(params, vector)
    loss, state = watched(loss), passing.pop("state", None)
    given = {name: passing.get(name) for name in ("lengths", "mask")}
    pushed = push(call, state, vector, None, None)

    def curved(outputs: Array, targets: Any, **options: Any) -> tuple[Array, Array]:
        """Return the Hessian of the loss times J v in place of the gradient."""

        def gradient(arrays: tuple[Array, ...], lift: Lift) -> tuple[Array, ...]:
            returned = loss(arrays[0], lift(targets), **lift(options))
            return (returned_by_loss(returned, arrays[0], arrays[0])[1],)

        _, (product,) = directional(call.setup.xp, gradient, (outputs,), (pushed.d_outputs,))
        return call.setup.xp.max(product), product  # any number: the value is not used

    outputs, _, records = run(call, keep=True)
    _, d_outputs = loss_and_gradient(
        model, curved, outputs, targets, call.given, **given, **of_loss
    )
    return run_vjp(call, records, d_outputs, grad_x=False)[0]


def push(call: Call, state: Any, d_params: Parameters, d_x: Array | None, d_state: Any) -> Tangents:
    """Run a call along a direction; ``state`` is the one it was prepared with."""
    names, params, xp = tuple(call.params), call.params, call.setup.xp
    before = () if state is None else check.state_parts(state)
    d_before = () if d_state is None else check.state_parts(d_state)
    if d_before and not before:
        before = tuple(xp.zeros_like(part) for part in d_before)
    d_before = d_before or (None,) * len(before)

    def outward(arrays: tuple[Array, ...], lift: Lift) -> tuple[Array, ...]:
        moved = dict(zip(names, arrays, strict=False))
        x, *state = arrays[len(names) :]
        one = call.with_arrays(moved, x, tuple(state) or None, lift)
        outputs, after, _ = run(one, keep=False)
        return (outputs, *check.state_parts(after))

    points = (*params.values(), call.given, *before)
    tangents = (*(d_params.get(name) for name in names), d_x, *d_before)
    (outputs, *after), (d_outputs, *d_after) = directional(
        xp, outward, points, tangents, values=True
    )

    return Tangents(outputs, check.state_of(after), d_outputs, check.state_of(d_after))


def check_real(model: RNN, params: Parameters) -> Namespace:
    """Check the parameters, and that they are real; return their namespace."""
    xp = check_parameters(model, params)
    dtype = next(iter(params.values())).dtype
    if not dtype_is_kind(xp, dtype, "real floating"):
        raise TypeError(f"params: expected a real floating dtype, got {dtype_name(dtype)}")
    return xp


def _prepare(
    caller: Any,
    model: RNN,
    params: Parameters,
    x: Array,
    targets: Any,
    loss: Any,
    options: Mapping[str, Any],
) -> tuple[Call, dict[str, Any], dict[str, Any]]:
    """Check the arguments of a product with a vector; return the call, and the options split.

    Everything is checked before any of it is converted to another dtype.
    """
    weighted = weighs_steps(model, options.get("lengths"), options.get("mask"))
    known = options_of(bptt, without=("loss", "grad_x"))
    check.loss(caller, loss, options, weighted=weighted, known=known)
    xp = check_real(model, params)
    passing, of_loss = split_options(options, forward)
    passing["mask"] = mask_on_device(passing.get("mask"), x)
    of_call = {"weights": of_loss.get("weights")} | passing
    state = of_call.pop("state", None)
    call = prepare(model, params, x, state, CallOptions(**of_call))
    for name, value in ({"targets": targets} | dict(options)).items():
        _check_dtypes(xp, name, value, next(iter(params.values())))
    return call, passing, of_loss


def _check_vector(params: Parameters, vector: Any) -> None:
    _check_direction("vector", params, vector)
    if not vector:
        raise ValueError("vector: expected at least one array, got none")


def _check_dtypes(xp: Namespace, name: str, tree: Any, like: Array) -> None:
    """Refuse real arrays for a loss that do not have the dtype of the parameters."""
    if isinstance(tree, Mapping):
        tree = tuple(tree.values())
    if isinstance(tree, (tuple, list)):
        for part in tree:
            _check_dtypes(xp, name, part, like)
        return
    if not is_array(tree) or not tree.ndim or namespace_of(**{name: tree}) is not xp:
        return
    if tree.dtype != like.dtype and dtype_is_kind(xp, tree.dtype, "real floating"):
        check_like(name, tree, "params", like)


def _check_direction(name: str, params: Parameters, direction: Any) -> None:
    if not isinstance(direction, Mapping):
        raise TypeError(f"{name}: expected a dict of arrays, got {type(direction).__name__}")
    unknown = [str(key) for key in direction if key not in params]
    if unknown:
        raise ValueError(
            f"{name}: expected names of parameters ({', '.join(params)}), got {', '.join(unknown)}"
        )
    for key, array in direction.items():
        label = f"params[{key!r}]"
        check_shaped(f"{name}[{key!r}]", array, tuple(params[key].shape), label, params[key])
