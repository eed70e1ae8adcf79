"""A client of Dask's form that computes in this process, whatever library the arrays are of."""

import asyncio
import pickle
from types import SimpleNamespace

__all__ = ["InlineClient"]


class InlineClient:
    """What `DaskGradients` calls of a ``distributed.Client``; everything is sent by pickle."""

    def sync(self, function, *args, callback_timeout=None):
        return asyncio.run(function(*args))

    async def nthreads(self):
        return {"here": 1}

    def submit(self, function, *args, **options):
        return SimpleNamespace(
            value=function(*(self._own(self._sent(one)) for one in args)), status="finished"
        )

    async def gather(self, futures):
        return [pickle.loads(pickle.dumps(one.value)) for one in futures]

    def _sent(self, value):
        try:
            return pickle.loads(pickle.dumps(value))
        except (AttributeError, TypeError, pickle.PicklingError):  # a function within another
            return value

    def _own(self, value):
        if isinstance(value, list):
            return [self._own(one) for one in value]
        return value.value if isinstance(value, SimpleNamespace) else value
