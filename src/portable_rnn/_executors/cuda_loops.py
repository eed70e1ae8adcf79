"""The text of the loops of persistent kernels, in CUDA C; ``cuda_persistent.py`` fills it in.

What it fills in begins with ``$``; the names in capitals are constants of a plan. `PLACE` finds the
unit and the sequence of the ``p``-th item of a thread.
"""

__all__ = ["BACKWARD", "BEGIN", "COMMON", "FORWARD", "PLACE"]

COMMON = r"""
#define NOTHING T(__int_as_float(0x7fc00000))  // NaN
__device__ inline S load_l2(const S* p) { return __ldcg(p); }

// Rows of H numbers that other blocks have written, past the cache of this multiprocessor.
__device__ inline void stage(S* x, int stride, const S* from, long long row, int rows,
                             const S* __restrict__ scale) {
  if (H % V == 0 && !scale) {
    for (int i = threadIdx.x; i < rows * (H / V); i += NT) {
      const int b = i / (H / V), k = i % (H / V) * V;
      *(uint4*)(x + b * stride + k) = __ldcg((const uint4*)(from + b * row + k));
    }
  } else {
    for (int i = threadIdx.x; i < rows * H; i += NT) {
      const int b = i / H, k = i % H;
      const S value = load_l2(from + b * row + k);
      x[b * stride + k] = scale ? S(T(value) * T(scale[(long long)b * H + k])) : value;
    }
  }
}
"""

BEGIN = r"""
  extern __shared__ __align__(16) unsigned char room[];
  static_assert(($TILE::padded * $SW + BT * $SX) * sizeof(S) +
                $PARTS * BT * $TILE::padded * sizeof(T) + 16 == $BYTES, "as planned");
  S *w = (S*)room, *x = w + $TILE::padded * $SW;
  T* total = (T*)(x + BT * $SX);
  int* late = (int*)(total + $PARTS * BT * $TILE::padded);
  const int group = blockIdx.x / C, rank = blockIdx.x % C, first = group * BT;
  const int rows = min(BT, batch - first), units = min(U, H - rank * U);
  const long long plane = (long long)batch * H;
  Barrier barrier(words, group, late, patience);
  for (int i = threadIdx.x; i < BT * $SX; i += NT) x[i] = S(0);
"""

PLACE = r"""
      const int item = threadIdx.x + p * NT, b = item / U, u = item % U, unit = rank * U + u;
      if (b >= rows || u >= units) continue;
      const long long row = first + b, at = row * H + unit;
"""

FORWARD = r"""
extern "C" __global__ void __launch_bounds__($NT, 1) $CLUSTER
persistent_forward(
    const S* __restrict__ weight, const S* __restrict__ bias_ax, const S* __restrict__ bias_ah,
    const S* __restrict__ own, const S* __restrict__ scale, const S* __restrict__ ax,
    $UPDATES S* states, S* stored, u32* words, long long patience,
    int steps, int batch, int reverse, int begin, int count) {
  $BEGIN
  for (int i = threadIdx.x; i < Forward::padded * SW_FORWARD; i += NT) {
    const int m = i / SW_FORWARD, k = i % SW_FORWARD, u = m % U;
    w[i] = m < G * U && u < units && k < H
        ? weight[((long long)(m / U) * H + rank * U + u) * H + k] : S(0);
  }
  T state[ITEMS][$STATES], fixed[ITEMS][$FIXED_COUNT];
  #pragma unroll
  for (int p = 0; p < ITEMS; p++) {
    $PLACE
    const int before = reverse ? steps - begin : begin;
    #pragma unroll
    for (int s = 0; s < $STATES; s++)
      state[p][s] = T(states[(s * (steps + 1LL) + before) * plane + at]);
    $FIXED
  }
  __syncthreads();
  auto give_up = [&](int i) {
    for (; i < begin + count; i++)
      for (int p = 0; p < ITEMS; p++) {
        $PLACE
        for (int s = 0; s < $STATES; s++)
          states[(s * (steps + 1LL) + (reverse ? steps - 1 - i : i + 1)) * plane + at] = S(NOTHING);
      }
  };
  for (int i = begin; i < begin + count; i++) {
    const int t = reverse ? steps - 1 - i : i, before = reverse ? t + 1 : t;
    const int after = reverse ? t : t + 1;
    T early[ITEMS][$EARLY_COUNT];
    bool chosen[ITEMS][$STATES];
    #pragma unroll
    for (int p = 0; p < ITEMS; p++) {
      $PLACE
      $EARLY
    }
    if (i > begin && !barrier.wait()) return give_up(i);
    if (C > 1 || i == begin)
      stage(x, SX_FORWARD, states + before * plane + (long long)first * H, H, rows,
            SCALED ? scale + (long long)first * H : nullptr);
    __syncthreads();
    Forward product;
    product.clear();
    product.add(w, x);
    product.store(total);
    __syncthreads();
    #pragma unroll
    for (int p = 0; p < ITEMS; p++) {
      $PLACE
      $CELL
    }
    if (i + 1 < begin + count) barrier.arrive();
  }
}
"""

BACKWARD = r"""
extern "C" __global__ void __launch_bounds__($NT, 1) $CLUSTER
persistent_backward(
    const S* __restrict__ weight, const S* __restrict__ own, const S* __restrict__ scale,
    const S* __restrict__ states, const S* __restrict__ stored,
    const S* __restrict__ d_y, long long d_y_step, long long d_y_row, long long d_y_unit,
    $UPDATES T* d_state, S* d_ax, S* d_ah, S* d_own, u32* words, long long patience,
    int steps, int batch, int reverse, int begin, int count, int finish) {
  $BEGIN
  for (int i = threadIdx.x; i < Backward::padded * SW_BACKWARD; i += NT) {
    const int u = i % Backward::padded, k = i / Backward::padded;
    w[u * SW_BACKWARD + k] = u < units && k < G * HP && k % HP < H
        ? weight[((long long)(k / HP) * H + k % HP) * H + rank * U + u] : S(0);
  }
  const S* exchanged = $EXCHANGED;
  T d[ITEMS][$STATES], fixed[ITEMS][$FIXED_COUNT];
  #pragma unroll
  for (int p = 0; p < ITEMS; p++) {
    $PLACE
    #pragma unroll
    for (int s = 0; s < $STATES; s++) d[p][s] = d_state[s * plane + at];
    $FIXED
  }
  __syncthreads();

  // What the step before, in the order of the loop, hands back to the hidden state.
  auto add_product = [&](int t, bool staged) {
    Backward product;
    product.clear();
    for (int first_gate = 0; first_gate < G; first_gate += CHUNK) {
      if (!staged)
        for (int j = 0; j < CHUNK; j++)
          stage(x + j * HP, SX_BACKWARD,
                exchanged + ((long long)t * batch + first) * G * H + (first_gate + j) * H,
                (long long)G * H, rows, nullptr);
      __syncthreads();
      product.add(w + first_gate * HP, x);
      if (first_gate + CHUNK < G) __syncthreads();
    }
    product.store(total);
    __syncthreads();
    #pragma unroll
    for (int p = 0; p < ITEMS; p++) {
      $PLACE
      d[p][0] += $HANDED_BACK;
    }
  };

  auto give_up = [&](int i) {
    for (int p = 0; p < ITEMS; p++) {
      $PLACE
      for (int s = 0; s < $STATES; s++) d_state[s * plane + at] = NOTHING;
      for (int n = i; n < begin + count; n++)
        for (int g = 0; g < G; g++) {
          const long long t = reverse ? n : steps - 1 - n;
          d_ax[(t * batch + row) * (G * H) + g * H + unit] = S(NOTHING);
          d_ah[(t * batch + row) * (G * H) + g * H + unit] = S(NOTHING);
        }
      for (int n = i; n < begin + count; n++)
        for (int k = 0; k < OWN; k++) {
          const long long t = reverse ? n : steps - 1 - n;
          d_own[(t * batch + row) * (OWN * H) + k * H + unit] = S(NOTHING);
        }
    }
  };

  for (int i = begin; i < begin + count; i++) {
    const int t = reverse ? i : steps - 1 - i, before = reverse ? t + 1 : t;
    const int after = reverse ? t : t + 1, last = reverse ? t - 1 : t + 1;
    T early[ITEMS][$EARLY_COUNT];
    bool chosen[ITEMS][$STATES];
    #pragma unroll
    for (int p = 0; p < ITEMS; p++) {
      $PLACE
      $EARLY
    }
    if (i > begin && !barrier.wait()) return give_up(i);
    if (i > 0) add_product(last, DIRECT && i > begin);
    #pragma unroll
    for (int p = 0; p < ITEMS; p++) {
      $PLACE
      $CELL
    }
    if (i + 1 < begin + count || finish) barrier.arrive();
  }
  if (finish && begin + count > 0) {
    if (count > 0 && !barrier.wait()) return give_up(begin + count);
    add_product(reverse ? begin + count - 1 : steps - begin - count, DIRECT && count > 0);
  }
  #pragma unroll
  for (int p = 0; p < ITEMS; p++) {
    $PLACE
    #pragma unroll
    for (int s = 0; s < $STATES; s++) d_state[s * plane + at] = d[p][s];
  }
}
"""
