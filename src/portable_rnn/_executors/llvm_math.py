"""Functions of vectors of numbers, written down in LLVM's language.

Polynomials are near-minimax (mpmath's ``chebyfit``), after the usual reductions: of exp, with
``x = k ln 2 + r``, and of log, with ``x = 2^k m``, as in fdlibm. No branch, no table. What is
multiplied and added at once is written as such (``llvm.fma``), and nothing else may be, so a
number comes out the same whatever the width of the vectors.

Most units in the last place, all inputs of float32 and a dense sample of float64 (mpmath)::

    tanh     exp      expm1    sigmoid  log      log1p    sqrt
    2.5      1.1      2        2.5      1        1        0.5

The sigmoid of what is below -87 (float32) or -708 (float64) is 0.
"""

import ctypes
import math
import struct
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import llvmlite.ir as ir

from .program import Leaf, Program

__all__ = ["FUNCTIONS", "I1", "I8", "I32", "I64", "POINTER", "VOID", "Vectors"]

VOID, POINTER = ir.VoidType(), ir.PointerType()
I1, I8, I32, I64 = (ir.IntType(bits) for bits in (1, 8, 32, 64))

Value = Any  # of llvmlite.ir


class Format(NamedTuple):
    """A dtype: its bits, and the constants of its functions."""

    type: Any
    integer: Any  # of as many bits
    code: str  # of struct
    mantissa: int  # bits of it
    bias: int  # of the exponent
    ln2: tuple[float, float]  # in two parts; the first times an exponent is exact
    exp_range: tuple[float, float]  # beyond, exp is 0 or infinite
    tanh_limit: float  # from here on, tanh is 1
    sigmoid_limit: float  # below minus this, sigmoid is 0
    tiny: float  # below, expm1 and log1p are their argument
    exp: tuple[float, ...]  # (e^r - 1 - r) / r², up to |r| = ln(2)/2
    log: tuple[float, ...]  # (2 artanh(s) - 2 s) / s³, of s²


FORMATS = {
    "float32": Format(
        ir.FloatType(),
        I32,
        "f",
        23,
        127,
        (0.693359375, -2.1219444005469058e-4),
        (-104.0, 89.0),
        10.0,
        87.0,
        2.0**-26,
        (
            0.5,
            0.16666666681659179,
            0.04166646460202654,
            0.008333310889582076,
            0.0013933685862617174,
            0.00019891030654370327,
        ),
        (
            0.6666666654988318,
            0.40000125594554364,
            0.28550396959618013,
            0.23341943388714562,
        ),
    ),
    "float64": Format(
        ir.DoubleType(),
        I64,
        "d",
        52,
        1023,
        (6.93147180369123816490e-01, 1.90821492927058770002e-10),
        (-746.0, 710.0),
        20.0,
        708.0,
        2.0**-55,
        (
            0.5,
            0.1666666666666667,
            0.04166666666666667,
            0.008333333333326112,
            0.001388888888888373,
            0.0001984126987490126,
            2.4801587325605324e-05,
            2.7557255297969643e-06,
            2.755727357010214e-07,
            2.5105259538448494e-08,
            2.0914717341716378e-09,
        ),
        (
            0.6666666666666666,
            0.4000000000000094,
            0.2857142857076445,
            0.2222222240054776,
            0.181817947008978,
            0.15386290534658992,
            0.13267418596474884,
            0.1310072138350349,
        ),
    ),
}


class Vectors:
    """Arithmetic on vectors of one dtype and length, written by a builder.

    Parameters
    ----------
    module : llvmlite.ir.Module
    dtype : {"float32", "float64"}
    lanes : int
        Numbers of a vector.
    """

    def __init__(self, module: Any, dtype: str, lanes: int) -> None:
        self.module, self.lanes = module, lanes
        self.format = FORMATS[dtype]
        self.number = self.format.type
        self.bytes = self.format.integer.width // 8
        self.type = ir.VectorType(self.number, lanes)
        self.integer = ir.VectorType(self.format.integer, lanes)
        self.mask = ir.VectorType(I1, lanes)
        self.name = f"v{lanes}f{8 * self.bytes}"
        self.builder: Any = None

    # ------------------------------------------------------------------------- constants, calls

    def splat(self, value: float) -> Value:
        """Return a vector of one number, rounded to the dtype."""
        if self.format.code == "f":
            value = ctypes.c_float(value).value
        return ir.Constant(self.type, [value] * self.lanes)

    def integers(self, value: int) -> Value:
        """Return a vector of one integer."""
        return ir.Constant(self.integer, [value] * self.lanes)

    def bits(self, value: float) -> int:
        """Return the bits of a number, as an integer."""
        code = self.format.code
        return int(struct.unpack("i" if code == "f" else "q", struct.pack(code, value))[0])

    def call(self, name: str, *args: Value) -> Value:
        """Return what one of LLVM's own functions returns."""
        full = f"llvm.{name}.{self.name}"
        kind = ir.FunctionType(self.type, [self.type] * len(args))
        found = self.module.globals.get(full) or ir.Function(self.module, kind, full)
        return self.builder.call(found, args)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """Return ``a b + c``, rounded once."""
        return self.call("fma", a, b, c)

    def polynomial(self, x: Value, square: Value, coefficients: tuple[float, ...]) -> Value:
        """Return a polynomial, the coefficient of 1 first; by pairs (Estrin), so that few wait."""
        terms = [self.splat(c) for c in coefficients]
        while len(terms) > 1:
            pairs = zip(terms[::2], terms[1::2], strict=False)
            odd = terms[len(terms) // 2 * 2 :]
            terms = [*(self.fma(high, x, low) for low, high in pairs), *odd]
            x, square = square, self.builder.fmul(square, square)
        return terms[0]

    def compare(self, how: str, a: Value, b: Value) -> Value:
        """Return where a comparison holds, which it never does with NaN; but ``!=`` does."""
        if how == "!=":
            return self.builder.fcmp_unordered(how, a, b)
        return self.builder.fcmp_ordered(how, a, b)

    def select(self, where: Value, a: Value, b: Value) -> Value:
        return self.builder.select(where, a, b)

    def cut(self, x: Value, low: float | None, high: float | None) -> Value:
        """Hold numbers between two; NaN stays."""
        if low is not None:
            x = self.select(self.compare("<", x, self.splat(low)), self.splat(low), x)
        if high is not None:
            x = self.select(self.compare(">", x, self.splat(high)), self.splat(high), x)
        return x

    # -------------------------------------------------------------------------------- exponents

    @property
    def _round(self) -> float:
        """What, added, leaves no bits behind the point; the last bits are then the integer."""
        return 1.5 * 2.0**self.format.mantissa

    def integer_of(self, rounded: Value) -> Value:
        """Return the integer in the last bits of a number to which `_round` was added."""
        bits = self.builder.bitcast(rounded, self.integer)
        return self.builder.sub(bits, self.integers(self.bits(self._round)))

    def power_of_2(self, k: Value) -> Value:
        """Return 2 to the power of an integer that is an exponent of the dtype."""
        biased = self.builder.add(k, self.integers(self.format.bias))
        shifted = self.builder.shl(biased, self.integers(self.format.mantissa))
        return self.builder.bitcast(shifted, self.type)

    def reduce(self, x: Value) -> tuple[Value, Value, Value]:
        """Return k as a number and as an integer, and ``e^r - 1``, of ``x = k ln 2 + r``."""
        b, high, low = self.builder, *self.format.ln2
        rounded = self.fma(x, self.splat(1 / math.log(2)), self.splat(self._round))
        k = b.fsub(rounded, self.splat(self._round))
        r = self.fma(k, self.splat(-low), self.fma(k, self.splat(-high), x))
        square = b.fmul(r, r)
        p = self.fma(square, self.polynomial(r, square, self.format.exp), r)
        return k, self.integer_of(rounded), p

    def exp(self, x: Value) -> Value:
        b = self.builder
        k, integer, p = self.reduce(self.cut(x, *self.format.exp_range))
        # By two factors, since 2^k itself may be too large or too small for a number.
        half = b.fadd(b.fmul(k, self.splat(0.5)), self.splat(self._round))
        first = self.integer_of(half)
        value = b.fmul(b.fadd(p, self.splat(1.0)), self.power_of_2(first))
        return b.fmul(value, self.power_of_2(b.sub(integer, first)))

    def expm1(self, x: Value) -> Value:
        b = self.builder
        _, integer, p = self.reduce(self.cut(x, -40.0, self.format.exp_range[1]))
        half = self.power_of_2(b.sub(integer, self.integers(1)))
        value = self.fma(p, half, b.fsub(half, self.splat(0.5)))
        return self._unless_tiny(x, b.fadd(value, value))

    def tanh(self, x: Value) -> Value:
        """Return ``a / (a + 2)`` of ``a = e^2x - 1``."""
        b = self.builder
        size = self.cut(self.call("fabs", x), None, self.format.tanh_limit)
        _, integer, p = self.reduce(b.fadd(size, size))
        scale = self.power_of_2(integer)
        a = self.fma(p, scale, b.fsub(scale, self.splat(1.0)))
        return self.call("copysign", b.fdiv(a, b.fadd(a, self.splat(2.0))), x)

    def sigmoid(self, x: Value) -> Value:
        """Return ``1 / (1 + e^-x)``, the sum rounded once; 0 where e^-x is about to overflow."""
        b, most, one = self.builder, self.format.sigmoid_limit, self.splat(1.0)
        _, integer, p = self.reduce(b.fneg(self.cut(x, None, most)))
        scale = self.power_of_2(integer)
        found = b.fdiv(one, self.fma(p, scale, b.fadd(scale, one)))
        return self.select(self.compare("<", x, self.splat(-most)), self.splat(0.0), found)

    # ------------------------------------------------------------------------------- logarithms

    def log(self, x: Value) -> Value:
        least = self.splat(2.0 ** (1 - self.format.bias))
        up = self.format.mantissa + 2
        subnormal = self.compare("<", x, least)
        scaled = self.builder.fmul(x, self.splat(2.0**up))
        k, m = self._exponent(self.select(subnormal, scaled, x))
        shift = self.select(subnormal, self.splat(float(up)), self.splat(0.0))
        k = self.builder.fsub(k, shift)
        found = self._log(k, self.builder.fsub(m, self.splat(1.0)), self.splat(0.0))
        return self._log_edges(x, x, found)

    def log1p(self, x: Value) -> Value:
        b, one, zero = self.builder, self.splat(1.0), self.splat(0.0)
        u = b.fadd(x, one)
        k, m = self._exponent(u)
        # What was lost by adding 1. Where u has no exponent nothing was: x itself is taken.
        large = self.compare(">=", x, one)
        lost = self.select(large, b.fsub(one, b.fsub(u, x)), b.fsub(x, b.fsub(u, one)))
        plain = self.compare("==", k, zero)
        c = self.select(plain, zero, b.fdiv(lost, u))
        f = self.select(plain, x, b.fsub(m, one))
        return self._unless_tiny(x, self._log_edges(u, x, self._log(k, f, c)))

    def _exponent(self, x: Value) -> tuple[Value, Value]:
        """Return k, as a number, and m from sqrt(1/2) to sqrt(2), of ``x = 2^k m``."""
        b, form = self.builder, self.format
        root = self.bits(math.sqrt(0.5))
        moved = b.add(b.bitcast(x, self.integer), self.integers(self.bits(1.0) - root))
        k = b.sub(b.ashr(moved, self.integers(form.mantissa)), self.integers(form.bias))
        k = b.bitcast(b.add(k, self.integers(self.bits(self._round))), self.type)
        m = b.add(b.and_(moved, self.integers(2**form.mantissa - 1)), self.integers(root))
        return b.fsub(k, self.splat(self._round)), b.bitcast(m, self.type)

    def _log(self, k: Value, f: Value, c: Value) -> Value:
        """Return ``k ln 2 + log(1 + f) + c``."""
        b, high, low = self.builder, *self.format.ln2
        s = b.fdiv(f, b.fadd(f, self.splat(2.0)))
        z = b.fmul(s, s)
        half = b.fmul(b.fmul(f, f), self.splat(0.5))
        series = self.polynomial(z, b.fmul(z, z), self.format.log)
        rest = b.fadd(half, b.fmul(z, series))
        small = self.fma(s, rest, self.fma(k, self.splat(low), c))
        return b.fsub(b.fmul(k, self.splat(high)), b.fsub(b.fsub(half, small), f))

    def _log_edges(self, u: Value, x: Value, found: Value) -> Value:
        """Return log(u) where u is 0, below it, infinite, or NaN, and what was found elsewhere."""
        zero, infinite = self.splat(0.0), self.splat(math.inf)
        found = self.select(self.compare("==", u, zero), self.splat(-math.inf), found)
        found = self.select(self.compare("<", u, zero), self.splat(math.nan), found)
        found = self.select(self.compare("==", u, infinite), infinite, found)
        return self.select(self.compare("!=", x, x), x, found)

    def _unless_tiny(self, x: Value, found: Value) -> Value:
        tiny = self.compare("<", self.call("fabs", x), self.splat(self.format.tiny))
        return self.select(tiny, x, found)

    # --------------------------------------------------------------------------------- programs

    def evaluate(
        self, program: Program, wanted: Iterable[int], leaves: Sequence[Callable[[Leaf], Value]]
    ) -> list[list[Value]]:
        """Write down some operations of a program, as often as there are functions for leaves.

        As `program.evaluate` does on arrays; each operation for all before the next one, so that
        the processor finds work that does not wait. An update that chooses is boolean.
        """
        wanted = tuple(wanted)
        values: dict[int, list[Value]] = {}
        for place in program.needed(wanted):
            name, args = program.operations[place]
            if name == "leaf":
                values[place] = [leaf(args[0]) for leaf in leaves]
            elif name == "const":
                values[place] = [self.splat(args[0])] * len(leaves)
            else:
                given = zip(*(values[arg] for arg in args), strict=True)
                values[place] = [FUNCTIONS[name](self, *each) for each in given]
        return [[values[place][i] for place in wanted] for i in range(len(leaves))]


def _extreme(how: str) -> Callable[..., Value]:
    """Return maximum or minimum; of NaN and a number, NaN."""

    def extreme(v: Vectors, a: Value, b: Value) -> Value:
        first = v.builder.or_(v.compare("!=", a, a), v.compare(how, a, b))
        return v.select(first, a, b)

    return extreme


# Of each operation of a program.
FUNCTIONS: dict[str, Callable[..., Value]] = {
    "add": lambda v, a, b: v.builder.fadd(a, b),
    "sub": lambda v, a, b: v.builder.fsub(a, b),
    "mul": lambda v, a, b: v.builder.fmul(a, b),
    "div": lambda v, a, b: v.builder.fdiv(a, b),
    "neg": lambda v, a: v.builder.fneg(a),
    "abs": lambda v, a: v.call("fabs", a),
    "sqrt": lambda v, a: v.call("sqrt", a),
    "tanh": Vectors.tanh,
    "sigmoid": Vectors.sigmoid,
    "exp": Vectors.exp,
    "expm1": Vectors.expm1,
    "log": Vectors.log,
    "log1p": Vectors.log1p,
    "max": _extreme(">="),
    "min": _extreme("<="),
    "gt": lambda v, a, b: v.compare(">", a, b),
    "lt": lambda v, a, b: v.compare("<", a, b),
    "ge": lambda v, a, b: v.compare(">=", a, b),
    "le": lambda v, a, b: v.compare("<=", a, b),
    "eq": lambda v, a, b: v.compare("==", a, b),
    "ne": lambda v, a, b: v.compare("!=", a, b),
    "and": lambda v, a, b: v.builder.and_(a, b),
    "or": lambda v, a, b: v.builder.or_(a, b),
    "not": lambda v, a: v.builder.not_(a),
    "where": lambda v, where, a, b: v.select(where, a, b),
}
