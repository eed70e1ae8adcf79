"""What the tests of the emulated device have in common."""

from typing import Any

__all__ = ["STORE", "kernel"]

STORE = """
extern "C" __global__ void store(float* out, int at, float value) { out[at] = value; }
extern "C" __global__ void add(const float* a, const float* b, float* out, int n) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) out[i] = a[i] + b[i];
}
"""


def kernel(cp: Any, name: str, source: str = STORE, **options: Any) -> Any:
    """Return a kernel of a source."""
    return cp.RawModule(code=source, options=("-std=c++17",), **options).get_function(name)
