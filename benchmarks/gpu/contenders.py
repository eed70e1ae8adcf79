"""The same forward and backward pass by several libraries, from arrays of a device to its arrays.

Given x, initial state, weights and a cotangent of all outputs, each computes the outputs and all
gradients: in this order, outputs, parameters, x, state. What a library does in another precision
than float32 is another contender, which is compared with ours in float32.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from conformance.backend import host_dtype
from conformance.tolerances import error_in_eps

from portable_rnn import backward, executors, forward
from portable_rnn._executors.choose import NAMES
from portable_rnn.cli.contenders import TORCH, Problem, draw, scan_vjp

__all__ = ["ALLOWED", "Contender", "contenders", "draw", "errors", "names_of_executors", "on_cupy"]

# Of the largest number of an array: far above rounding, far below a mistake. TF32 has 10 bits after
# the point, bfloat16 has 7, and rounding adds up over the steps.
ALLOWED = {"float32": 1e-4, "tf32": 3e-2, "bfloat16": 2e-1}


class Contender(NamedTuple):
    """One library in one precision.

    Attributes
    ----------
    run : function
        Starts the work, and returns its results.
    wait : function
        Waits until results that it is given are there.
    host : function
        Copies one array to NumPy.
    on_stream : bool
        Whether it works on the current stream of CuPy, so that events on it time it.
    precision : {"float32", "tf32", "bfloat16"}
    device : str
    own : bool
        Whether it is this library with CuPy, which others are compared with.
    """

    run: Callable[[], list[Any]]
    wait: Callable[[list[Any]], Any]
    host: Callable[[Any], Any]
    on_stream: bool
    precision: str
    device: str
    own: bool = False


def names_of_executors() -> list[str]:
    """Return the names of what can run the loop, the eager one first."""
    return sorted((name for name in NAMES if name != "auto"), key=lambda name: name != "eager")


def contenders(p: Problem, *, rehearse: bool) -> tuple[dict[str, Contender], dict[str, str]]:
    """Return who can do the work, and why others cannot.

    In a rehearsal torch and JAX work on the CPU; else only on the device.
    """
    found: dict[str, Contender] = {}
    absent: dict[str, str] = {}
    for executor, precision in product(names_of_executors(), ("float32", "bfloat16")):
        if (executor, precision) == ("eager", "bfloat16"):
            continue  # CuPy's own functions widen it
        name = executor if precision == "float32" else f"{executor} {precision}"
        if reason := refusal(p, executor, precision):
            absent[name] = reason
        else:
            found[name] = ours(p, executor, precision)
    for library, make in (("torch", of_torch), ("jax", of_jax)):
        try:
            found |= make(p, rehearse=rehearse)
        except (ImportError, RuntimeError) as error:
            absent[library] = str(error).splitlines()[0]
    return found, absent


def on_cupy(p: Problem, dtype: str = "float32") -> Problem:
    """Return a problem with its arrays on the current device."""
    cp, wanted = import_module("cupy"), host_dtype(dtype)

    def put(array: Any) -> Any:
        return cp.asarray(array.astype(wanted))

    params = {name: put(array) for name, array in p.params.items()}
    return Problem(p.model, params, put(p.x), tuple(map(put, p.state)), put(p.d_y))


def passes(p: Problem, executor: str) -> Callable[[], list[Any]]:
    """Return this library's forward and backward pass on the arrays of a problem."""
    state = p.state if len(p.state) > 1 else p.state[0]

    def run() -> list[Any]:
        with executors.use(executor):
            fwd = forward(p.model, p.params, p.x, state)
            grads = backward(p.model, p.params, fwd.tape, p.d_y)
        d_state = grads.state if isinstance(grads.state, tuple) else (grads.state,)
        return [fwd.outputs, *grads.params.values(), grads.x, *d_state]

    return run


def refusal(p: Problem, executor: str, dtype: str = "float32") -> str:
    """Return why an executor does not run a problem; "" if it does."""
    try:
        passes(on_cupy(p, dtype), executor)()
    except ImportError as error:  # of the package that has bfloat16 for NumPy
        return str(error)
    except ValueError as error:
        if str(error).startswith("executor: "):
            return str(error).removeprefix("executor: ")
        raise
    return ""


def ours(p: Problem, executor: str, precision: str = "float32") -> Contender:
    """Return this library, served by an executor."""
    cp = import_module("cupy")

    def wait(_: list[Any]) -> None:
        cp.cuda.get_current_stream().synchronize()

    run = passes(on_cupy(p, precision), executor)
    return Contender(run, wait, cp.asnumpy, True, precision, "cuda", own=True)


def of_torch(p: Problem, *, rehearse: bool) -> dict[str, Contender]:
    """Return torch's own module and autograd, which use cuDNN on a device."""
    torch = import_module("torch")
    if not rehearse and not torch.cuda.is_available():
        raise RuntimeError("this torch sees no CUDA device")
    device = "cpu" if rehearse else "cuda"
    found = {}
    for precision in ALLOWED:
        name = f"torch.nn {precision}"
        found[name] = torch_nn(torch, p, precision, device)
    return found


def torch_nn(torch: Any, p: Problem, precision: str, device: str) -> Contender:
    """Return torch in one precision; the whole module is in bfloat16, if that is asked for."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    kind = getattr(torch.nn, TORCH[str(p.model.cell)])

    def put(array: Any) -> Any:
        return torch.from_numpy(array).to(device=device, dtype=dtype)

    module = kind(p.model.input_size, p.model.hidden_size, dtype=dtype, device=device)
    module.load_state_dict({name: put(array) for name, array in p.params.items()})
    x, state = put(p.x).requires_grad_(), tuple(put(s).requires_grad_() for s in p.state)
    given = state if len(state) > 1 else state[0]
    d_y, named = put(p.d_y), dict(module.named_parameters())
    wanted = [*(named[name] for name in p.params), x, *state]

    def run() -> list[Any]:
        with rounded_products(torch, "tf32" if precision == "tf32" else "ieee"):
            y, _ = module(x, given)
            return [y, *torch.autograd.grad(y, wanted, d_y)]

    def wait(_: list[Any]) -> None:
        if device == "cuda":
            torch.cuda.current_stream().synchronize()

    def host(array: Any) -> Any:
        return array.detach().float().cpu().numpy()

    return Contender(run, wait, host, device == "cuda", precision, device)


@contextmanager
def rounded_products(torch: Any, how: str) -> Iterator[None]:
    """Have torch compute float32 products as ``"ieee"`` or ``"tf32"``."""
    new = hasattr(torch.backends.cudnn, "rnn")
    places = (torch.backends.cuda.matmul, torch.backends.cudnn.rnn if new else torch.backends.cudnn)
    attribute, value = ("fp32_precision", how) if new else ("allow_tf32", how == "tf32")
    before = [getattr(place, attribute) for place in places]
    try:
        for place in places:
            setattr(place, attribute, value)
        yield
    finally:
        for place, old in zip(places, before, strict=True):
            setattr(place, attribute, old)


def of_jax(p: Problem, *, rehearse: bool) -> dict[str, Contender]:
    """Return JAX's gradient of a compiled ``lax.scan``, and this library compiled by JAX."""
    jax = import_module("jax")
    (device, *_) = jax.devices()
    if not rehearse and device.platform != "gpu":
        raise RuntimeError("this jax sees no CUDA device")
    put = jax.device_put
    params = {name: put(array) for name, array in p.params.items()}
    x, d_y = put(p.x), put(p.d_y)

    def own(params: Any, x: Any, state: Any, d_y: Any) -> Any:
        given = state if len(state) > 1 else state[0]
        fwd = forward(p.model, params, x, given)
        grads = backward(p.model, params, fwd.tape, d_y)
        d_state = grads.state if isinstance(grads.state, tuple) else (grads.state,)
        return fwd.outputs, (grads.params, grads.x, d_state)

    own_state = tuple(map(put, p.state))
    flat = tuple(s[0] for s in own_state)
    found = {}
    for name, work, state, precision in (
        ("jax.grad float32", scan_vjp(str(p.model.cell)), flat, "float32"),
        ("jax.grad tf32", scan_vjp(str(p.model.cell)), flat, "tf32"),
        ("jitted float32", own, own_state, "float32"),
    ):
        products = {"float32": "highest", "tf32": "tensorfloat32"}[precision]
        compiled = jax.jit(work)

        def run(compiled=compiled, state=state, products=products) -> list[Any]:
            with jax.default_matmul_precision(products):
                y, (d_w, d_x, d_state) = compiled(params, x, state, d_y)
            return [y, *(d_w[each] for each in params), d_x, *d_state]

        found[name] = Contender(
            run, jax.block_until_ready, np.asarray, False, precision, device.platform
        )
    return found


def errors(got: list[Any], reference: list[Any], scale: float) -> list[float]:
    """Return the error of each result in eps of float32, by the measure of the suite."""
    return [
        error_in_eps(np.asarray(a, dtype="float32").reshape(b.shape), b, scale=scale)
        for a, b in zip(got, reference, strict=True)
    ]
