"""One step of a layer as a kernel of CUDA C, forwards and back, beside a product of cuBLAS.

A thread computes one unit of one sequence. The kernel forwards adds the biases to both products,
runs the cell, and writes the new states and what is kept; the one back adds up the cotangent of the
hidden state, and runs the cell's derivative. Arrays are contiguous; their shapes are those of
`Record` in ``record.py``, and steps are numbered as in time.
"""

from .cuda_cell import arithmetic, expressions
from .program import Leaf, Program

__all__ = ["BACKWARD", "FORWARD", "source"]

FORWARD, BACKWARD = "rnn_step", "rnn_step_vjp"

# For each unit of each sequence; a pointer may be null where the text says so.
_HEAD = """\
extern "C" __global__ void {name}({parameters}) {{
  const long long plane = batch * units;
  const long long n = (long long)blockIdx.x * blockDim.x + threadIdx.x;
  if (n >= plane) return;
  const long long row = n / units, unit = n - row * units;
"""


def source(program: Program, dtype: str, *, scaled: bool) -> str:
    """Return the source of both kernels.

    Parameters
    ----------
    program : Program
    dtype : {"float32", "float64", "float16", "bfloat16"}
    scaled : bool
        Whether there are factors of what the recurrent weights multiply.
    """
    return arithmetic(dtype) + _forward(program, scaled) + _backward(program, scaled)


def _forward(p: Program, scaled: bool) -> str:
    def read(leaf: Leaf) -> str:
        name, i = leaf
        if name in ("ax", "ah"):
            gate = f"{i} * units + unit"
            at = f"row * {p.gates} * units + {gate}"
            step = f"t * batch * {p.gates} * units + " if name == "ax" else ""
            return f"T({name}[{step}{at}]) + (bias_{name} ? T(bias_{name}[{gate}]) : T(0))"
        return _shared_leaf(p, leaf)

    parameters = (
        *("const S* ax", "const S* bias_ax", "const S* ah", "const S* bias_ah"),
        *("S* states", "S* stored"),
        *_options(p, scaled),
        *(("S* scaled",) if scaled else ()),
        *("long long t", "long long before", "long long after", "long long kept"),
        *("long long steps", "long long slots", "long long batch", "long long units"),
    )
    lines, values = expressions(p, p.forward, read)
    new, stored = values[: p.states], values[p.states :]
    for i, value in enumerate(new):
        lines.append(f"states[({i} * (steps + 1) + after) * plane + n] = S({value});")
    for i, value in enumerate(stored):
        lines.append(f"stored[({i} * slots + kept) * plane + n] = S({value});")
    if scaled:  # of the hidden state as it is read again
        lines.append(f"scaled[n] = S(T(S({new[0]})) * T(scale[n]));")
    return _kernel(FORWARD, parameters, lines)


def _backward(p: Program, scaled: bool) -> str:
    def read(leaf: Leaf) -> str:
        name, i = leaf
        if name == "d" and i == 0:
            factor = " * T(scale[n])" if scaled else ""
            of_product = f"(d_product ? T(d_product[n]){factor} : T(0))"
            of_output = "(d_y ? T(d_y[t * plane + n]) : T(0))"
            return f"d_state[n] + {of_product} + {of_output}"
        if name == "d":
            return f"d_state[{i} * plane + n]"
        if name == "stored":
            return f"T(stored[({i} * steps + t) * plane + n])"
        if name == "new":
            return f"T(states[({i} * (steps + 1) + after) * plane + n])"
        return _shared_leaf(p, leaf)

    parameters = (
        *("const S* states", "const S* stored"),
        *_options(p, scaled),
        *("const S* d_y", "const S* d_product", "T* d_state", "S* d_ax"),
        *(() if p.same else ("S* d_ah",)),
        *(("S* d_own",) if p.own else ()),
        *("long long t", "long long before", "long long after"),
        *("long long steps", "long long batch", "long long units"),
    )
    lines, values = expressions(p, p.backward, read)
    found = iter(values)
    row = "(t * batch + row) * {} * units + {} * units + unit"
    for name in ("d_ax",) if p.same else ("d_ax", "d_ah"):
        for g in range(p.gates):
            lines.append(f"{name}[{row.format(p.gates, g)}] = S({next(found)});")
    for i, d in enumerate(p.d_state):
        value = "T(0)" if d is None else next(found)
        lines.append(f"d_state[{i} * plane + n] = {value};")
    for i in range(p.own):
        lines.append(f"d_own[{row.format(p.own, i)}] = S({next(found)});")
    return _kernel(BACKWARD, parameters, lines)


def _kernel(name: str, parameters: tuple[str, ...], lines: list[str]) -> str:
    head = _HEAD.format(name=name, parameters=", ".join(parameters))
    return head + "".join(f"  {line}\n" for line in lines) + "}\n"


def _options(p: Program, scaled: bool) -> tuple[str, ...]:
    """Return the parameters of what a layer may have more, as both kernels take them."""
    kind = "bool" if p.held == "choose" else "S"
    updates = range(p.states if p.held else 0)
    return (
        *(("const S* own",) if p.own else ()),
        *(f"const {kind}* update_{i}, long long width_{i}" for i in updates),
        *(("const S* scale",) if scaled else ()),
    )


def _shared_leaf(p: Program, leaf: Leaf) -> str:
    """Return what both kernels read in the same way."""
    name, i = leaf
    if name == "state":
        return f"T(states[({i} * (steps + 1) + before) * plane + n])"
    if name == "own":
        return f"T(own[{i} * units + unit])"
    # An update is of each unit, or of all units of a sequence.
    at = f"(t * batch + row) * width_{i} + (width_{i} == 1 ? 0 : unit)"
    return f"update_{i}[{at}]" if p.held == "choose" else f"T(update_{i}[{at}])"
