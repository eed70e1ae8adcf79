"""The step of a cell as CUDA C: what a thread does for one unit of one sequence.

Read from a `Program`, as the machine code for the CPU is; where numbers come from and go to is
for the kernel around it to say.
"""

from collections.abc import Callable, Iterable

from .program import Leaf, Program

__all__ = ["PRELUDE", "STORAGE", "arithmetic", "constant", "expressions"]

# How arrays hold numbers. Half precision is widened to float32, computed with, and rounded once.
STORAGE = {
    "float32": "float",
    "float64": "double",
    "float16": "__half",
    "bfloat16": "__nv_bfloat16",
}
HEADERS = {"float16": "#include <cuda_fp16.h>\n", "bfloat16": "#include <cuda_bf16.h>\n"}

PRELUDE = """\
// tanh saturates; its own function of CUDA is exact to 2 ulp. NaN stays NaN in all of these.
__device__ inline T sigmoid_(T a) { return T(0.5) * tanh(T(0.5) * a) + T(0.5); }
__device__ inline T greater_of(T a, T b) { return a >= b || a != a ? a : b; }
__device__ inline T lesser_of(T a, T b) { return a <= b || a != a ? a : b; }
"""

_FUNCTIONS = {
    "tanh": "tanh",
    "exp": "exp",
    "expm1": "expm1",
    "log": "log",
    "log1p": "log1p",
    "sqrt": "sqrt",
    "abs": "fabs",
    "sigmoid": "sigmoid_",
    "max": "greater_of",
    "min": "lesser_of",
}
_OPERATORS = {
    "add": "+",
    "sub": "-",
    "mul": "*",
    "div": "/",
    "gt": ">",
    "lt": "<",
    "ge": ">=",
    "le": "<=",
    "eq": "==",
    "ne": "!=",
    "and": "&&",
    "or": "||",
}
_BOOLEAN = {"gt", "lt", "ge", "le", "eq", "ne", "and", "or", "not"}


def arithmetic(dtype: str) -> str:
    """Return what a source begins with: the types S, of arrays, and T, of arithmetic.

    Parameters
    ----------
    dtype : {"float32", "float64", "float16", "bfloat16"}
    """
    wide = "double" if dtype == "float64" else "float"
    types = f"typedef {STORAGE[dtype]} S;\ntypedef {wide} T;\n"
    return HEADERS.get(dtype, "") + types + PRELUDE


def constant(value: float) -> str:
    """Return a number as C writes it, exactly."""
    if value != value or abs(value) == float("inf"):  # which CUDA C has no names for
        bits = "0x7fc00000" if value != value else "0x7f800000"
        return f"{'-' if value < 0 else ''}T(__int_as_float({bits}))"
    return f"T({value.hex()})"


def expressions(
    program: Program, wanted: Iterable[int], read: Callable[[Leaf], str]
) -> tuple[list[str], list[str]]:
    """Return statements, one for each operation, and the names of what was wanted.

    Parameters
    ----------
    program : Program
    wanted : iterable of places
    read : callable
        Returns the expression of a leaf: a ``T``, or a ``bool`` for an update that chooses.
    """
    lines = []
    wanted = tuple(wanted)
    for place in program.needed(wanted):
        name, args = program.operations[place]
        kind = "bool" if name in _BOOLEAN else "T"
        values = [f"v{arg}" for arg in args] if name not in ("leaf", "const") else []
        if name == "leaf":
            kind = "bool" if args[0].name == "update" and program.held == "choose" else "T"
            found = read(args[0])
        elif name == "const":
            found = constant(args[0])
        elif name == "where":
            found = "{} ? {} : {}".format(*values)
        elif name in ("neg", "not"):
            found = ("-" if name == "neg" else "!") + values[0]
        elif name in _OPERATORS:
            found = f"{values[0]} {_OPERATORS[name]} {values[1]}"
        else:
            found = f"{_FUNCTIONS[name]}({', '.join(values)})"
        lines.append(f"const {kind} v{place} = {found};")
    return lines, [f"v{place}" for place in wanted]
