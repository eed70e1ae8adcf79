"""A dict of arrays as one vector, and back: one all-reduce instead of one for each array."""

import math
from collections.abc import Mapping

from ._arrays import checks as check
from ._arrays.devices import with_device_of_arguments
from ._arrays.functions import concatenate, reshape
from ._arrays.namespace import (
    Array,
    Namespace,
    check_like,
    check_shaped,
    dtype_name,
    namespace_of,
    same_device,
)
from .optimizers.step import check_dict

__all__ = ["parameters_to_vector", "vector_to_parameters"]


@check.named_options
@with_device_of_arguments
def parameters_to_vector(params: Mapping[str, Array]) -> Array:
    """Return all numbers of a dict of arrays as one vector.

    The arrays follow each other in the order of their sorted names, each row by row: dicts with
    the same names and shapes give vectors that can be added, whatever order they have.

    Parameters
    ----------
    params : dict of str to array
        Parameters or gradients, of one floating dtype and on one device.

    Returns
    -------
    array, shape (N,)
        New, on the same device.

    Raises
    ------
    TypeError, ValueError
        If ``params`` is not a dict of one or more such arrays; the message names the array.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> prnn.parameters_to_vector({"w": np.asarray([[1.0, 2.0]]), "b": np.asarray([3.0])})
    array([3., 1., 2.])
    """
    xp = _check_params(params)
    flat = [reshape(xp, params[name], _flat(params[name])) for name in sorted(params)]
    return concatenate(xp, flat)


@check.named_options
@with_device_of_arguments
def vector_to_parameters(vector: Array, params: Mapping[str, Array]) -> dict[str, Array]:
    """Return a vector as a dict of arrays: the inverse of `parameters_to_vector`.

    Parameters
    ----------
    vector : array, shape (N,)
        Of the dtype of ``params`` and on their device.
    params : dict of str to array
        Arrays with the names and shapes of the result; their numbers are not read.

    Returns
    -------
    dict of str to array
        In the order of ``params``. The arrays may share memory with ``vector``.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> like = {"w": np.zeros((1, 2)), "b": np.zeros(1)}
    >>> prnn.vector_to_parameters(np.asarray([3.0, 1.0, 2.0]), like)
    {'w': array([[1., 2.]]), 'b': array([3.])}
    """
    xp = _check_params(params)
    name = next(iter(params))
    sizes = {each: math.prod(params[each].shape) for each in sorted(params)}
    check_shaped("vector", vector, (sum(sizes.values()),), f"params[{name!r}]", params[name])
    found, start = {}, 0
    for each, size in sizes.items():
        part = vector[start : start + size]
        found[each] = reshape(xp, part, tuple(params[each].shape))
        start += size
    return {each: found[each] for each in params}


def _check_params(params: Mapping[str, Array]) -> Namespace:
    """Check that arrays have one library, floating dtype and device; return their namespace."""
    check_dict("params", params)
    if not params:
        raise ValueError("params: expected at least one array, got none")
    if strange := [name for name in params if not isinstance(name, str)]:
        raise TypeError(f"params: expected names of type str, got {check.said(strange[0])}")
    labelled = {f"params[{name!r}]": array for name, array in params.items()}
    xp = namespace_of(**labelled)
    other, first = next(iter(labelled.items()))
    check.floating(other, first, xp)
    for label, array in labelled.items():
        if array.dtype != first.dtype or not same_device(array, first):
            check_like(label, array, other, first, remedy=f"give all in {dtype_name(first.dtype)}")
    return xp


def _flat(array: Array) -> tuple[int, ...]:
    return (math.prod(array.shape),)
