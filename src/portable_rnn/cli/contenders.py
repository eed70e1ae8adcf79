"""The same work by several libraries, from NumPy's arrays to NumPy's arrays, for `bench`.

A contender is made for a problem, and called without arguments; it returns its results in one
order, by which they are compared before anything is timed. A library that is not installed, or
that lacks the cell, is no contender.
"""

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from typing import Any, NamedTuple

import numpy as np

from .. import executors
from ..api import backward, forward, predict
from ..model import RNN
from ..streaming import stream

__all__ = ["TORCH", "WORK", "Problem", "Run", "contenders", "draw", "scan_vjp"]

Run = Callable[[], list[Any]]
WORK = ("train", "predict", "step")


class Problem(NamedTuple):
    """Sizes, and arrays drawn for them."""

    model: RNN
    params: dict[str, Any]
    x: Any  # (T, B, I)
    state: tuple[Any, ...]  # (1, B, H) each
    d_y: Any  # (T, B, H), the cotangent of the outputs


def draw(cell: str, batch: int, hidden: int, inputs: int, steps: int, dtype: str) -> Problem:
    """Draw a problem of one layer."""
    rng = np.random.default_rng(0)
    model = RNN(inputs, hidden, cell=cell)

    def normal(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(dtype)

    state = tuple(normal(1, batch, hidden) for _ in range(model.cell_object.states))
    params = model.init(seed=0, dtype=dtype)
    x, d_y = normal(steps, batch, inputs), normal(steps, batch, hidden)
    return Problem(model, params, x, state, d_y)


def contenders(work: str, p: Problem, threads: int = 1) -> dict[str, Run]:
    """Return who can do the work: ours first, and ``floor``, the matrix products alone, last.

    ``jitted`` is this library on JAX's arrays, the whole step compiled by ``jax.jit``. With several
    threads, ``one thread`` is ours with one; the floor and the loop in Python always have one.
    """
    found = {name: ours(work, p, name) for name in ("compiled", "eager")}
    if threads > 1:
        found["one thread"] = ours(work, p, "auto", threads=1)
    with executors.use("auto"):
        if not executors.explain(p.model, p.x.dtype.name).startswith("compiled"):
            del found["compiled"]
    if find_spec("torch") and p.model.cell in TORCH:
        found["torch.nn"] = torch_nn(work, p, threads)
    if work == "train" and find_spec("jax") and p.model.cell in TORCH:
        found["jax.grad"] = jax_grad(p)
    if work == "train" and find_spec("jax") and threads == 1:
        found["jitted"] = jitted(p)
    runs_onnx = find_spec("onnxruntime") and find_spec("onnx") and p.x.dtype == np.float32
    if work != "train" and runs_onnx and p.model.cell in TORCH:
        found["onnxruntime"] = onnx_operator(work, p, threads)
    found["floor"] = floor(work, p)
    return found


TORCH = {"elman": "RNN", "gru": "GRU", "lstm": "LSTM"}


def ours(work: str, p: Problem, executor: str, *, threads: int | None = None) -> Run:
    """Return this library, served by an executor, with as many threads as are used outside."""
    state = p.state if len(p.state) > 1 else p.state[0]

    def train() -> list[Any]:
        with executors.use(executor, threads=threads):
            fwd = forward(p.model, p.params, p.x, state)
            grads = backward(p.model, p.params, fwd.tape, p.d_y)
        d_state = grads.state if isinstance(grads.state, tuple) else (grads.state,)
        return [fwd.outputs, *grads.params.values(), grads.x, *d_state]

    def run() -> list[Any]:
        with executors.use(executor, threads=threads):
            return [predict(p.model, p.params, p.x, state)]

    def step() -> list[Any]:
        with executors.use(executor, threads=threads):
            one = stream(p.model, p.params, state)
            return [[one.step(x_t) for x_t in p.x]]

    return {"train": train, "predict": run, "step": step}[work]


def torch_nn(work: str, p: Problem, threads: int = 1) -> Run:
    """Return torch's own module, and autograd."""
    torch: Any = import_module("torch")
    torch.set_num_threads(threads)
    kind = getattr(torch.nn, TORCH[str(p.model.cell)])
    dtype = torch.from_numpy(p.x).dtype
    module = kind(p.model.input_size, p.model.hidden_size, dtype=dtype)
    module.load_state_dict({name: torch.from_numpy(a) for name, a in p.params.items()})
    x = torch.from_numpy(p.x).requires_grad_(work == "train")
    state = tuple(torch.from_numpy(s).requires_grad_(work == "train") for s in p.state)
    given = state if len(state) > 1 else state[0]
    d_y, named = torch.from_numpy(p.d_y), dict(module.named_parameters())
    wanted = [*(named[name] for name in p.params), x, *state]

    def train() -> list[Any]:
        y, _ = module(x, given)
        return [y.detach().numpy(), *(g.numpy() for g in torch.autograd.grad(y, wanted, d_y))]

    def run() -> list[Any]:
        with torch.inference_mode():
            return [module(x, given)[0].numpy()]

    def step() -> list[Any]:
        now, found = given, []
        with torch.inference_mode():
            for t in range(x.shape[0]):
                y, now = module(x[t : t + 1], now)
                found.append(y[0].numpy())
        return [found]

    found: dict[str, Run] = {"train": train, "predict": run, "step": step}
    return found[work]


def scan_vjp(cell: str) -> Callable[..., Any]:
    """Return outputs, and what JAX pulls back through its own ``lax.scan``, to be compiled.

    A function of parameters, x, a tuple of states (B, H), and the cotangent of the outputs. The
    product of the inputs is taken out of the loop.
    """
    jax: Any = import_module("jax")
    jnp = jax.numpy

    def step(w: Any, state: Any, ax: Any) -> Any:
        h = state[0]
        ah = h @ w["weight_hh_l0"].T + w["bias_hh_l0"]
        if cell == "elman":
            new: tuple[Any, ...] = (jnp.tanh(ax + ah),)
        elif cell == "gru":
            (x_r, x_z, x_n), (h_r, h_z, h_n) = jnp.split(ax, 3, -1), jnp.split(ah, 3, -1)
            r, z = jax.nn.sigmoid(x_r + h_r), jax.nn.sigmoid(x_z + h_z)
            n = jnp.tanh(x_n + r * h_n)
            new = ((1 - z) * n + z * h,)
        else:
            i, f, g, o = jnp.split(ax + ah, 4, -1)
            c = jax.nn.sigmoid(f) * state[1] + jax.nn.sigmoid(i) * jnp.tanh(g)
            new = (jax.nn.sigmoid(o) * jnp.tanh(c), c)
        return new, new[0]

    def outputs(w: Any, x: Any, state: Any) -> Any:
        ax = x @ w["weight_ih_l0"].T + w["bias_ih_l0"]
        return jax.lax.scan(lambda s, a: step(w, s, a), state, ax)[1]

    def pulled(w: Any, x: Any, state: Any, d_y: Any) -> Any:
        y, vjp = jax.vjp(outputs, w, x, state)
        return y, vjp(d_y)

    return pulled


def jax_grad(p: Problem) -> Run:
    """Return the gradients that JAX makes of a ``lax.scan``, compiled; what is hoisted here is."""
    jax: Any = import_module("jax")
    wide = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
    both, state = jax.jit(scan_vjp(str(p.model.cell))), tuple(s[0] for s in p.state)

    def run() -> list[Any]:
        with wide(p.x.dtype == np.float64):
            y, (d_w, d_x, d_state) = both(p.params, p.x, state, p.d_y)
            found = [y, *(d_w[name] for name in p.params), d_x, *(s[None] for s in d_state)]
            return [np.asarray(array) for array in found]

    return run


def jitted(p: Problem) -> Run:
    """Return this library's step as JAX compiles it."""
    jax: Any = import_module("jax")
    given = p.state if len(p.state) > 1 else p.state[0]

    def step(params: Any, x: Any, state: Any, d_y: Any) -> Any:
        fwd = forward(p.model, params, x, state)
        return fwd.outputs, backward(p.model, params, fwd.tape, d_y)

    wide = jax.enable_x64 if hasattr(jax, "enable_x64") else jax.experimental.enable_x64
    compiled = jax.jit(step)

    def run() -> list[Any]:
        with wide(p.x.dtype == np.float64):
            y, grads = compiled(p.params, p.x, given, p.d_y)
            d_state = grads.state if isinstance(grads.state, tuple) else (grads.state,)
            found = [y, *(grads.params[name] for name in p.params), grads.x, *d_state]
            return [np.asarray(array) for array in found]

    return run


def onnx_operator(work: str, p: Problem, threads: int = 1) -> Run:
    """Return the operator of ONNX, run by onnxruntime."""
    onnx: Any = import_module("onnx")
    onnxruntime: Any = import_module("onnxruntime")
    helper, floating = onnx.helper, onnx.TensorProto.FLOAT
    kind, hidden = TORCH[str(p.model.cell)], p.model.hidden_size
    # Gates in the order of ONNX: z, r, n and i, o, f, g.
    order = {"RNN": (0,), "GRU": (1, 0, 2), "LSTM": (0, 3, 1, 2)}[kind]

    def rows(array: Any) -> Any:
        return np.concatenate([np.split(array, len(order))[gate] for gate in order])[None]

    w, r, b, b_h = (rows(p.params[name]) for name in p.params)
    fixed = {"W": w, "R": r, "B": np.concatenate([b, b_h], axis=1)}
    names = ["h", "c"][: len(p.state)]
    options = {"linear_before_reset": 1} if kind == "GRU" else {}
    node = helper.make_node(
        kind,
        ["x", *fixed, "", *names],
        ["y", *(f"{name}_after" for name in names)],
        hidden_size=hidden,
        **options,
    )
    steps, (_, batch, inputs) = (None, p.x.shape)
    shapes = {"x": [steps, batch, inputs]} | {name: [1, batch, hidden] for name in names}
    outputs = {"y": [steps, 1, batch, hidden]}
    outputs |= {f"{name}_after": [1, batch, hidden] for name in names}
    values = [
        [helper.make_tensor_value_info(name, floating, shape) for name, shape in of.items()]
        for of in (shapes, outputs)
    ]
    held = [onnx.numpy_helper.from_array(array, name) for name, array in fixed.items()]
    graph = helper.make_graph([node], "layer", *values, held)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)
    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads, settings.inter_op_num_threads = threads, 1
    session = onnxruntime.InferenceSession(
        made.SerializeToString(), settings, providers=["CPUExecutionProvider"]
    )
    start = dict(zip(names, p.state, strict=True))

    def run() -> list[Any]:
        return [session.run(None, {"x": p.x, **start})[0][:, 0]]

    def step() -> list[Any]:
        now, found = start, []
        for t in range(p.x.shape[0]):
            y, *after = session.run(None, {"x": p.x[t : t + 1], **now})
            now = dict(zip(names, after, strict=True))
            found.append(y[0, 0])
        return [found]

    return {"predict": run, "step": step}[work]


def floor(work: str, p: Problem) -> Run:
    """Return the matrix products of the work alone, into arrays that are there already."""
    w_ih, w_hh = p.params["weight_ih_l0"], p.params["weight_hh_l0"]
    steps, batch, inputs = p.x.shape
    rows, dtype = w_hh.shape[0], p.x.dtype
    x, h = p.x.reshape(-1, inputs), p.d_y
    flat_h = h.reshape(-1, h.shape[2])
    ax, ah = np.empty((steps * batch, rows), dtype), np.empty((batch, rows), dtype)
    d_a = np.random.default_rng(1).standard_normal((steps, batch, rows)).astype(dtype)
    d_h, d_x = np.empty((batch, h.shape[2]), dtype), np.empty_like(x)
    d_w, d_u, flat = np.empty_like(w_hh), np.empty_like(w_ih), d_a.reshape(-1, rows)

    def run() -> list[Any]:
        if work == "step":
            for t in range(steps):
                np.matmul(p.x[t], w_ih.T, out=ah)
        else:
            np.matmul(x, w_ih.T, out=ax)
        for t in range(steps):
            np.matmul(h[t], w_hh.T, out=ah)
        return []

    def train() -> list[Any]:
        run()
        for t in range(steps):
            np.matmul(d_a[t], w_hh, out=d_h)
        np.matmul(flat.T, x, out=d_u)
        np.matmul(flat.T, flat_h, out=d_w)
        np.matmul(flat, w_ih, out=d_x)
        return []

    return train if work == "train" else run
