"""Products of a block of a persistent kernel: rows of weights and of sequences in shared memory.

``sums[n][m] = Σ_k w[m][k] x[n][k]`` for M rows of weights and BT sequences. Two ways:

- float32 and float64: a thread has TM rows and TN sequences of one of KS interleaved slices of k;
  the slices are neighbouring lanes of a warp, which add theirs up by shuffles. Lanes read
  neighbouring 16 bytes, or rows that lie in other banks.
- float16 and bfloat16: a warp has 16 rows and all sequences of one of KS slices, by instructions
  of tensor cores, 16 x 8 x 16, that sum in float32; what the warps sum lies in KS parts, which who
  reads them adds up, in order.

Sums of some k after others (`add`) stay in registers until `store`.
"""

import math
from dataclasses import dataclass

__all__ = ["PRODUCTS", "Tile", "tile"]

_FMA = r"""
struct __align__(16) Vector { S at[V]; };

template <int M, int K, int SW, int SX, int TM, int TN, int KS>
struct Product {
  static constexpr int rows = (M + TM - 1) / TM, columns = BT / TN, items = rows * columns * KS;
  static constexpr int each = (items + NT - 1) / NT, padded = rows * TM;
  T sums[each][TM][TN];
  __device__ void clear() {
    #pragma unroll
    for (int e = 0; e < each; e++)
      #pragma unroll
      for (int i = 0; i < TM; i++)
        #pragma unroll
        for (int j = 0; j < TN; j++) sums[e][i][j] = T(0);
  }
  __device__ void add(const S* w, const S* x) {
    #pragma unroll
    for (int e = 0; e < each; e++) {
      const int item = threadIdx.x + e * NT, slice = item % KS;
      if (item >= items) continue;
      const S* mine = w + item / KS % rows * SW;
      const S* theirs = x + item / KS / rows * SX;
      #pragma unroll 2
      for (int k = slice * V; k < K; k += KS * V) {
        Vector a[TM], b[TN];
        #pragma unroll
        for (int i = 0; i < TM; i++) a[i] = *(const Vector*)(mine + i * rows * SW + k);
        #pragma unroll
        for (int j = 0; j < TN; j++) b[j] = *(const Vector*)(theirs + j * columns * SX + k);
        #pragma unroll
        for (int v = 0; v < V; v++)
          #pragma unroll
          for (int i = 0; i < TM; i++)
            #pragma unroll
            for (int j = 0; j < TN; j++) sums[e][i][j] += a[i].at[v] * b[j].at[v];
      }
    }
  }
  __device__ void store(T* total) {
    #pragma unroll
    for (int e = 0; e < each; e++) {
      const int item = threadIdx.x + e * NT, slice = item % KS;
      const int m = item / KS % rows, n = item / KS / rows;
      #pragma unroll
      for (int i = 0; i < TM; i++)
        #pragma unroll
        for (int j = 0; j < TN; j++) {
          T sum = sums[e][i][j];
          #pragma unroll
          for (int by = KS / 2; by; by /= 2) sum += __shfl_xor_sync(~0u, sum, by);
          if (item < items && slice == (i * TN + j) % KS)
            total[(n + j * columns) * padded + m + i * rows] = sum;
        }
    }
  }
  __device__ static T sum(const T* total, int n, int m) { return total[n * padded + m]; }
};
"""

_MMA = r"""
#ifdef CUDA_ON_HOST
__device__ inline void multiply(float* c, const u32* a, const u32* b) {
  host_mma_m16n8k16<S>(c, a, b);
}
#else
__device__ inline void multiply(float* c, const u32* a, const u32* b) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.$KIND.$KIND.f32 "
               "{%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

template <int M, int K, int SW, int SX, int TM, int TN, int KS>
struct Product {
  static constexpr int tiles = (M + 15) / 16, padded = tiles * 16, items = tiles * KS;
  static constexpr int warps = NT / 32, each = (items + warps - 1) / warps, columns = BT / 8;
  float sums[each][columns][4];
  __device__ void clear() {
    #pragma unroll
    for (int e = 0; e < each; e++)
      #pragma unroll
      for (int n = 0; n < columns; n++)
        #pragma unroll
        for (int i = 0; i < 4; i++) sums[e][n][i] = 0;
  }
  __device__ static u32 pair(const S* p) { return *(const u32*)p; }
  __device__ void add(const S* w, const S* x) {
    const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4 * 2;
    #pragma unroll
    for (int e = 0; e < each; e++) {
      const int item = threadIdx.x / 32 + e * warps;
      if (item >= items) continue;
      const S *upper = w + (item % tiles * 16 + g) * SW + q, *lower = upper + 8 * SW;
      const S* theirs = x + g * SX + q;
      #pragma unroll 4
      for (int k = item / tiles * 16; k < K; k += KS * 16) {
        const u32 a[4] = {pair(upper + k), pair(lower + k), pair(upper + k + 8),
                          pair(lower + k + 8)};
        #pragma unroll
        for (int n = 0; n < columns; n++) {
          const S* from = theirs + n * 8 * SX + k;
          const u32 b[2] = {pair(from), pair(from + 8)};
          multiply(sums[e][n], a, b);
        }
      }
    }
  }
  __device__ void store(T* total) {
    const int lane = threadIdx.x % 32, g = lane / 4, q = lane % 4 * 2;
    #pragma unroll
    for (int e = 0; e < each; e++) {
      const int item = threadIdx.x / 32 + e * warps;
      if (item >= items) continue;
      T* part = total + item / tiles * (BT * padded) + q * padded + item % tiles * 16 + g;
      #pragma unroll
      for (int n = 0; n < columns; n++, part += 8 * padded) {
        part[0] = sums[e][n][0], part[padded] = sums[e][n][1];
        part[8] = sums[e][n][2], part[padded + 8] = sums[e][n][3];
      }
    }
  }
  __device__ static T sum(const T* total, int n, int m) {
    T found = 0;
    #pragma unroll
    for (int part = 0; part < KS; part++) found += total[(part * BT + n) * padded + m];
    return found;
  }
};
"""

PRODUCTS = {
    "float32": _FMA,
    "float64": _FMA,
    "float16": _MMA.replace("$KIND", "f16"),
    "bfloat16": _MMA.replace("$KIND", "bf16"),
}
SIZES = {"float32": 4, "float64": 8, "float16": 2, "bfloat16": 2}
REGISTERS = 32  # of 4 bytes, of the sums of a thread


@dataclass(frozen=True)
class Tile:
    """How a product is shared out among the threads of a block.

    Attributes
    ----------
    rows : int
        M, the rows of weights.
    padded : int
        The same, filled up to whole tiles.
    tm, tn, ks : int
        Rows and sequences of a thread, and slices of k.
    parts : int
        In how many parts the sums lie.
    cycles : float
        An estimate of the clock cycles it takes; for choosing among plans, no measurement.
    """

    rows: int
    padded: int
    tm: int
    tn: int
    ks: int
    parts: int
    cycles: float

    def stride(self, columns: int, dtype: str) -> int:
        """Return the numbers from one row in shared memory to the next, so that banks differ."""
        vector = 16 // SIZES[dtype]
        if self.parts > 1 or SIZES[dtype] == 2:
            return columns + vector  # an odd number of 16 bytes
        units = columns // vector
        while self.ks < 8 and units % (2 * self.ks) != self.ks:
            units += 1
        return units * vector


def tile(dtype: str, rows: int, columns: int, batch: int, threads: int) -> Tile:
    """Return the tile for a product that is estimated to take the shortest time.

    Parameters
    ----------
    dtype : str
    rows : int
        Rows of weights.
    columns : int
        Numbers of a row, all of them.
    batch : int
        Sequences of a group.
    threads : int
        Of a block.
    """
    if SIZES[dtype] == 2:
        return _of_warps(rows, columns, batch, threads)
    found = [
        _of_threads(dtype, rows, columns, batch, threads, (tm, tn))
        for tm in (1, 2, 4)
        for tn in (1, 2, 4, 8)
        if batch % tn == 0 and tm <= rows
    ]
    return min((one for one in found if one is not None), key=lambda one: one.cycles)


def _of_threads(
    dtype: str, rows: int, columns: int, batch: int, threads: int, size: tuple[int, int]
) -> Tile | None:
    (tm, tn), vector = size, 16 // SIZES[dtype]
    tiles, ks = math.ceil(rows / tm) * (batch // tn), 1
    while ks < 32 and tiles * ks * 2 <= threads and ks * vector < columns:
        ks *= 2
    each = math.ceil(tiles * ks / threads)
    if tm * tn > 1 and each * tm * tn * SIZES[dtype] // 4 > REGISTERS:
        return None
    steps, warps = each * math.ceil(columns / (ks * vector)), threads / 32
    # Of a warp: an instruction of 32 lanes a cycle on each of 4 units, 128 bytes a cycle.
    arithmetic = steps * tm * tn * vector * warps / 4 * (SIZES[dtype] / 4)
    loads = steps * warps * 4 * (tm / min(4, max(1, ks / 2)) + tn / 4)
    shuffles = each * tm * tn * math.log2(ks) * warps
    waiting = steps * 30  # for what was loaded
    return Tile(
        rows,
        math.ceil(rows / tm) * tm,
        tm,
        tn,
        ks,
        1,
        max(arithmetic, loads, waiting) + shuffles,
    )


def _of_warps(rows: int, columns: int, batch: int, threads: int) -> Tile:
    tiles, ks, warps = math.ceil(rows / 16), 1, threads // 32
    while tiles * ks * 2 <= warps and ks * 16 < columns:
        ks *= 2
    each = math.ceil(tiles * ks / warps)
    steps = each * math.ceil(columns / (ks * 16))
    loads = tiles * 16 * columns * 2 / 128 * (1 + batch / 16)
    return Tile(rows, tiles * 16, 16, 8, ks, ks, max(loads, steps * 35.0))
