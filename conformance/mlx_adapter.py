"""The few names in which MLX differs from the array API standard.

As of MLX 0.32, arrays have no ``device``, creation functions take none, ``sum`` takes no ``dtype``,
``bool`` has another name, and ``astype`` and ``isdtype`` are missing. This is also an example of
an adapter.
"""

import types
from functools import lru_cache, wraps

__all__ = ["adapter"]

CREATION = ("zeros", "ones", "empty", "full", "arange", "zeros_like", "ones_like", "full_like")


@lru_cache
def adapter():
    """Return a namespace for MLX arrays; one object, so that it can be compared."""
    import mlx.core as mx

    xp = types.ModuleType("mlx")
    vars(xp).update(vars(mx))
    for name in CREATION:
        if hasattr(mx, name):
            setattr(xp, name, _without_device(getattr(mx, name)))
    kinds = {
        "bool": lambda dtype: dtype == mx.bool_,
        "signed integer": lambda dtype: mx.issubdtype(dtype, mx.signedinteger),
        "unsigned integer": lambda dtype: mx.issubdtype(dtype, mx.unsignedinteger),
        "integral": lambda dtype: mx.issubdtype(dtype, mx.integer),
        "real floating": lambda dtype: mx.issubdtype(dtype, mx.floating),
        "complex floating": lambda dtype: dtype == mx.complex64,
        "numeric": lambda dtype: mx.issubdtype(dtype, mx.number),
    }

    def isdtype(dtype, kind):
        return any(kinds[k](dtype) for k in ((kind,) if isinstance(kind, str) else kind))

    def total(a, axis=None, keepdims=False, dtype=None):
        return mx.sum(a if dtype is None else a.astype(dtype), axis=axis, keepdims=keepdims)

    vars(xp).update(
        bool=mx.bool_,
        isdtype=isdtype,
        sum=total,
        astype=lambda a, dtype, copy=True: a.astype(dtype),
        asarray=lambda a, device=None, copy=None, dtype=None: mx.array(a, dtype=dtype),
        empty=_without_device(mx.zeros),
    )
    return xp


def _without_device(create):
    @wraps(create)
    def call(*args, device=None, **options):
        return create(*args, **options)

    return call
