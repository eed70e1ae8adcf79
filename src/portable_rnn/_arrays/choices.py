"""Random choices that a seed determines on every library, and any part of them on its own.

The bits are those of Philox 4x64-10 (Salmon, Moraes, Dror and Shaw, *Parallel random numbers: as
easy as 1, 2, 3*, 2011), a function of a key, from the seed, and of a counter. NumPy has it in
machine code, for arrays on the host and for all libraries that take their numbers from there. CuPy
computes the same integers on the device, in one kernel, where nothing is moved.
"""

import sys
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np

from .host import from_host
from .namespace import Array, Namespace, device_of, dtype_name, is_cupy_array, is_cupy_namespace

__all__ = ["Choices"]

# A thread computes a block of four words of 64 bits, which are eight choices: the low half of each
# word, then the high half. Counters start at 1, as NumPy's do. What is made of each is ``made``.
_BLOCK = """
const unsigned long long m0 = 0xD2E7470EE14C6C93ull, m1 = 0xCA5A826395121157ull;
unsigned long long c[4] = {(unsigned long long)i + 1, stream, number, 0};
unsigned long long k0 = key0, k1 = key1;
for (int r = 0; r < 10; ++r) {
  const unsigned long long high0 = high(m0, c[0]), low0 = m0 * c[0];
  const unsigned long long high1 = high(m1, c[2]), low1 = m1 * c[2];
  c[0] = high1 ^ c[1] ^ k0;
  c[1] = low1;
  c[2] = high0 ^ c[3] ^ k1;
  c[3] = low0;
  k0 += 0x9E3779B97F4A7C15ull;
  k1 += 0xBB67AE8584CAA73Bull;
}
for (int j = 0; j < 8; ++j) {
  const long long at = (long long)i * 8 + j;
  const unsigned int bits = (unsigned int)(c[j / 2] >> 32 * (j % 2));
  if (at < count) drawn[at] = made;
}
"""
_KEPT, _GUMBEL = "bits >= least", "-log(-log((bits + 0.5) * 2.3283064365386963e-10))"
_HIGH = """
__device__ unsigned long long high(unsigned long long a, unsigned long long b) {
  const unsigned long long half = 0xFFFFFFFFull;
  const unsigned long long a0 = a & half, a1 = a >> 32, b0 = b & half, b1 = b >> 32;
  const unsigned long long middle = a1 * b0 + (a0 * b0 >> 32);
  return a1 * b1 + (middle >> 32) + ((a0 * b1 + (middle & half)) >> 32);
}
"""


class Choices:
    """Arrays of independent choices, with the library and device of another array.

    The device of a CuPy array is to be the current one.

    Parameters
    ----------
    xp : module
    like : array
    seed : tuple of ints of at least 0

    Attributes
    ----------
    key : NumPy array of uint64, shape (2,)
        What the seed is made into.
    """

    def __init__(self, xp: Namespace, like: Array, seed: tuple[int, ...]) -> None:
        self._xp, self._like = xp, like
        # Without the lengths, NumPy takes (0,) and (0, 0) for the same, and (2**32,) and (0, 1).
        lengths = [1 + part.bit_length() for part in seed]
        self.key = np.random.SeedSequence(seed, spawn_key=lengths).generate_state(2, np.uint64)
        self._on_device = is_cupy_array(like) and is_cupy_namespace(xp)

    def kept(self, p: float, shape: tuple[int, ...], stream: int, number: int) -> Array:
        """Return a boolean array that is False with a probability of ``p``, to 32 bits.

        It depends on the seed, on ``stream`` and ``number``, and on nothing else: of two shapes the
        smaller one has the first choices of the larger one.
        """
        if self._on_device:
            return self._by_kernel(p, shape, stream, number)
        found = self._by_numpy(p, shape, stream, number)
        return self._xp.asarray(found, device=device_of(self._like))

    def factors(self, p: float, shape: tuple[int, ...], stream: int, number: int) -> Array:
        """Return `kept` as 0 or 1/(1-p), in the dtype of the other array."""
        xp, dtype, scale = self._xp, self._like.dtype, 1.0 / (1.0 - p)
        if self._on_device:
            kept = self._by_kernel(p, shape, stream, number)
            return xp.astype(kept, dtype) * xp.full((), scale, dtype=dtype)
        name = dtype_name(dtype)
        here = np.dtype(name if name in ("float16", "float32") else "float64")
        kept = self._by_numpy(p, shape, stream, number)
        found = np.multiply(kept, here.type(scale), dtype=here)
        return from_host(found, xp, name, device_of(self._like))

    def gumbel(self, shape: tuple[int, ...], stream: int, number: int) -> Array:
        """Return numbers of the standard Gumbel distribution, in the dtype of the other array.

        The largest of numbers ``log p + gumbel`` is at each place with the probability ``p``
        (Gumbel, 1954). They are -3.1 to 23, and of the bits of `kept`.
        """
        xp, dtype = self._xp, self._like.dtype
        if self._on_device:
            found = self._drawn(xp.float64, shape, stream, number, 0)
            return xp.astype(found, dtype, copy=False)
        bits = self._bits(prod(shape), stream, number)
        found = -np.log(-np.log((bits + 0.5) * 2.0**-32)).reshape(shape)
        return from_host(found, xp, dtype_name(dtype), device_of(self._like))

    def _by_numpy(self, p: float, shape: tuple[int, ...], stream: int, number: int) -> Any:
        found = self._bits(prod(shape), stream, number) >= np.uint32(_least(p))
        return found.reshape(shape)

    def _bits(self, count: int, stream: int, number: int) -> Any:
        """Return integers of 32 bits, drawn by NumPy."""
        philox = np.random.Philox(key=self.key, counter=[0, stream, number, 0])
        words = philox.random_raw(-(-count // 2)).astype("<u8", copy=False)
        return words.view("<u4")[:count]

    def _by_kernel(self, p: float, shape: tuple[int, ...], stream: int, number: int) -> Array:
        return self._drawn(self._xp.bool, shape, stream, number, _least(p))

    def _drawn(
        self, dtype: Any, shape: tuple[int, ...], stream: int, number: int, least: int
    ) -> Array:
        """Return what the kernel of a dtype draws: booleans, or numbers."""
        drawn, count = self._xp.empty(shape, dtype=dtype), prod(shape)
        key0, key1 = map(int, self.key)
        if count:
            given = (key0, key1, stream, number, least, count)
            _kernel(dtype_name(dtype))(*given, drawn, size=-(-count // 8))
        return drawn


def _least(p: float) -> int:
    """Return the least integer of 32 bits that is kept."""
    return min(round(p * 2.0**32), 2**32 - 1)


@lru_cache(maxsize=2)
def _kernel(dtype: str) -> Any:
    inputs = "uint64 key0, uint64 key1, uint64 stream, uint64 number, uint32 least, int64 count"
    block = _BLOCK.replace("made", _KEPT if dtype == "bool" else _GUMBEL)
    return sys.modules["cupy"].ElementwiseKernel(
        inputs, f"raw {dtype} drawn", block, f"portable_rnn_choices_{dtype}", preamble=_HIGH
    )
