"""The step that optimizers share: checks, dtypes and state."""

import math
from collections.abc import Callable, Iterable, Mapping
from numbers import Integral
from typing import Any, NamedTuple, TypeAlias

from .._arrays import checks as check
from .._arrays.devices import is_captured, with_device_of_arguments
from .._arrays.functions import accumulation_dtype, dtype_is_kind
from .._arrays.namespace import (
    Array,
    Namespace,
    check_array,
    check_library_and_device,
    check_shape,
    check_shaped,
    dtype_name,
    is_array,
    is_cupy_namespace,
    is_on_gpu,
    is_traced,
    namespace_of,
    same_device,
)

__all__ = [
    "Arrays",
    "Rule",
    "State",
    "Update",
    "bias_correction",
    "check_arrays",
    "check_dict",
    "check_entries",
    "check_real",
    "check_slot",
    "check_step_in_capture",
    "checked_betas",
    "checked_rate",
    "checked_step",
    "listed",
    "stays_on_device",
    "take_step",
]

Arrays: TypeAlias = Mapping[str, Array]
State: TypeAlias = dict[str, Any]


class Update(NamedTuple):
    """What an optimizer's rule is given for one parameter; no array has half precision."""

    xp: Namespace
    p: Array
    g: Array
    slots: tuple[Array, ...]
    step: Any  # counted from 1; an array under jax.jit
    lr: Any


class Rule(NamedTuple):
    """How an optimizer updates one parameter.

    Attributes
    ----------
    step : callable
        From an `Update` to the new parameter and its new slots.
    slots : tuple of str
        Names of the arrays that are kept for each parameter.
    eps : float, optional
        What the rule adds to a root, times a factor of at least ``share``.
    share : float
    counts : bool
        Whether the rule reads the number of the step.
    """

    step: Callable[[Update], tuple[Array, ...]]
    slots: tuple[str, ...] = ()
    eps: float | None = None
    share: float = 1.0
    counts: bool = False


@with_device_of_arguments
def take_step(
    params: Arrays,
    grads: Arrays,
    state: State | None,
    lr: Any,
    rule: Rule,
) -> tuple[dict[str, Array], State]:
    """Apply ``rule`` to every parameter, after checking all arguments."""
    lr, slots = checked_rate(lr, params), rule.slots
    xp, wide = check_arrays(params, grads, rule.eps, rule.share)
    if state is None:
        state = {"step": 0} | {
            slot: {
                name: xp.zeros_like(xp.astype(p, wide[name], copy=False))
                for name, p in params.items()
            }
            for slot in slots
        }
    else:
        state = _checked_state(xp, params, state, slots, wide)
    if rule.counts:
        check_step_in_capture(xp, state["step"])
    rates = {dtype: xp.astype(lr, dtype) for dtype in set(wide.values())} if is_array(lr) else {}
    updated: dict[str, Array] = {}
    after: State = {"step": state["step"] + 1} | {slot: {} for slot in slots}
    for name, p in params.items():
        held = tuple(state[slot][name] for slot in slots)
        p_wide, g = (xp.astype(a, wide[name], copy=False) for a in (p, grads[name]))
        rate = rates.get(wide[name], lr)
        new, *values = rule.step(Update(xp, p_wide, g, held, after["step"], rate))
        updated[name] = xp.astype(new, p.dtype, copy=False)
        for slot, value in zip(slots, values, strict=True):
            after[slot][name] = value
    return updated, after


def check_arrays(
    params: Arrays, grads: Arrays, eps: float | None = None, share: float = 1.0
) -> tuple[Namespace, dict[str, Any]]:
    """Check parameters and gradients; return their namespace, and the dtype of each step."""
    check_dict("params", params)
    check_dict("grads", grads)
    xp = namespace_of(**{f"params[{name!r}]": p for name, p in params.items()})
    if set(params) != set(grads):
        raise ValueError(f"grads: expected the names {listed(params)}, got {listed(grads)}")
    wide: dict[Any, Any] = {}
    for name, p in params.items():
        label = f"params[{name!r}]"
        if p.dtype not in wide:
            check_real(xp, label, p)
            wide[p.dtype] = accumulation_dtype(xp, p.dtype)
            if eps is not None:
                _check_eps(xp, p, eps, share)
        if not _alike(grads[name], p, p.dtype):
            check_shaped(f"grads[{name!r}]", grads[name], tuple(p.shape), label, p)
    return xp, {name: wide[p.dtype] for name, p in params.items()}


def _alike(array: Any, p: Array, dtype: Any) -> bool:
    """Return True if a quick check shows that an array fits."""
    alike = type(array) is type(p) and array.shape == p.shape and array.dtype == dtype
    return alike and same_device(array, p)


def _checked_state(
    xp: Namespace, params: Arrays, state: Any, slots: tuple[str, ...], wide: Mapping[str, Any]
) -> State:
    """Check that a state belongs to this optimizer and these parameters; return it."""
    check_entries(state, ("step", *slots))
    step = checked_step(xp, state["step"])
    for slot in slots:
        check_slot(slot, state[slot], params, wide)
    return {**state, "step": step}


def check_entries(state: Any, entries: tuple[str, ...]) -> None:
    """Check that a state is a dict with the entries of its optimizer."""
    if not isinstance(state, Mapping) or set(state) != set(entries):
        got = listed(state) if isinstance(state, Mapping) else type(state).__name__
        raise ValueError(
            f"state: expected the entries {', '.join(entries)} of this optimizer, "
            f"got {got}; None begins anew"
        )


def check_slot(slot: str, held: Any, params: Arrays, wide: Mapping[str, Any]) -> None:
    """Check arrays of a state: one for each parameter, in the dtype of its step."""
    if not isinstance(held, Mapping):
        raise TypeError(f"state[{slot!r}]: expected a dict of arrays, got {type(held).__name__}")
    if set(held) != set(params):
        raise ValueError(
            f"state[{slot!r}]: expected the names {listed(params)}, got {listed(held)}"
        )
    for name, p in params.items():
        if _alike(held[name], p, wide[name]):
            continue
        label, array = f"state[{slot!r}][{name!r}]", held[name]
        check_array(label, array)
        check_shape(label, array, tuple(p.shape))
        check_library_and_device(label, array, f"params[{name!r}]", p)
        if array.dtype != wide[name]:
            raise TypeError(
                f"{label}: expected dtype {dtype_name(wide[name])} for {dtype_name(p.dtype)} "
                f"parameters, got {dtype_name(array.dtype)}"
            )


def checked_step(xp: Namespace, step: Any) -> Any:
    """Check and return the number of steps taken; an array may be traced and is not read."""
    name = "state['step']"
    # NumPy integers are Integral, but also arrays to array libraries.
    if isinstance(step, Integral) or not is_array(step) or namespace_of(**{name: step}) is not xp:
        return check.integer(name, step, least=0)
    if step.shape or not dtype_is_kind(xp, step.dtype, "integral"):
        raise TypeError(
            "state['step']: expected an int, or an integer array of shape (), got "
            f"{dtype_name(step.dtype)} of shape {tuple(step.shape)}"
        )
    return step


def check_step_in_capture(xp: Namespace, step: Any) -> None:
    """Refuse a number of Python in a CUDA graph, of which each launch would take the same step."""
    if is_cupy_namespace(xp) and not is_array(step) and is_captured():
        raise TypeError(
            "state['step']: expected an integer array of shape () in a captured call, got "
            f"{check.said(step)}; give state | {{'step': cupy.asarray(state['step'])}}"
        )


def checked_betas(betas: Any) -> tuple[float, float]:
    """Check the decays of two running means; return them as floats."""
    if not isinstance(betas, (tuple, list)) or len(betas) != 2:
        raise TypeError(f"betas: expected a pair of numbers in [0, 1), got {check.said(betas)}")
    first, second = (
        check.number(f"betas[{i}]", beta, least=0.0, below=1.0) for i, beta in enumerate(betas)
    )
    return first, second


def bias_correction(xp: Namespace, step: Any, beta: float, dtype: Any) -> Any:
    """Return ``1 - beta**step``; for an array, as under jax.jit, in a form without cancellation."""
    if not is_array(step):
        return 1.0 - beta**step
    step = xp.astype(step, dtype)
    return -xp.expm1(step * math.log(beta)) if beta else xp.ones_like(step)


def _check_eps(xp: Namespace, p: Array, eps: float, share: float) -> None:
    """Refuse an eps that is 0 in the dtype of the step: it turns zero gradients into NaN."""
    wide = accumulation_dtype(xp, p.dtype)
    if eps < (least := float(xp.finfo(wide).smallest_normal) / share):
        raise ValueError(
            f"eps: expected at least {least:.2g} for {dtype_name(p.dtype)} parameters, got {eps}"
        )


def checked_rate(lr: Any, params: Any) -> Any:
    """Return ``lr`` as a Python float, or unchanged if its value cannot be read without a wait."""
    if is_array(lr) and is_traced(namespace_of(lr=lr), lr):
        _check_number("lr", lr)
        return lr
    if stays_on_device("lr", lr, params):
        return lr
    return check.number("lr", lr, least=0.0)


def stays_on_device(name: str, value: Any, arrays: Any) -> bool:
    """Return whether ``value`` is a number on the GPU of ``arrays``: it is then not read."""
    first = next(iter(arrays.values()), None) if isinstance(arrays, Mapping) else None
    if not (is_array(value) and is_on_gpu(value) and type(value) is type(first)):
        return False
    if not same_device(value, first):
        return False
    _check_number(name, value)
    return True


def _check_number(name: str, array: Array) -> None:
    """Check that an array, which is not read, is one number."""
    xp = namespace_of(**{name: array})
    if array.shape or not dtype_is_kind(xp, array.dtype, ("integral", "real floating")):
        raise TypeError(
            f"{name}: expected a number or an array of shape (), got "
            f"{dtype_name(array.dtype)} of shape {tuple(array.shape)}"
        )


def check_dict(name: str, value: Any) -> None:
    """Check that parameters or gradients are a dict, and not a result that holds them."""
    if not isinstance(value, Mapping):
        hint = f"; give its .{name}" if hasattr(value, name) else ""
        if isinstance(value, tuple) and value and isinstance(value[0], Mapping):
            hint = "; give its first entry"  # such as a result of clip_by_global_norm
        raise TypeError(f"{name}: expected a dict of arrays, got {type(value).__name__}{hint}")


def check_real(xp: Namespace, name: str, array: Array) -> None:
    """Check that an array has a real floating dtype."""
    try:
        real = dtype_is_kind(xp, array.dtype, "real floating")
    except TypeError:  # a dtype the library does not recognise, such as ml_dtypes'
        real = False
    if not real:
        raise TypeError(f"{name}: expected a real floating dtype, got {dtype_name(array.dtype)}")


def listed(names: Iterable[str]) -> str:
    """Return names as a list in text."""
    return ", ".join(map(str, names)) or "none"
