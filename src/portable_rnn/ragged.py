"""Batches of sequences of different lengths, or with gaps.

`pack` puts a list of sequences into one array. The functions of :mod:`portable_rnn` then take its
``lengths``, or for gaps a ``mask``, and values at steps that are not valid have no effect: the
state passes through them unchanged, in both directions; outputs and the gradient with respect to
``x`` are zero there. A sequence without any step keeps its initial state. A single sequence (T, F)
may have them too: a number or a list of one for ``lengths``, a mask (T,).
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ._arrays import checks as check
from ._arrays.devices import device_context
from ._arrays.functions import stack
from ._arrays.host import to_host
from ._arrays.namespace import (
    Array,
    check_array,
    check_shaped,
    device_of,
    is_array,
    is_traced,
    namespace_of,
)
from ._calls.valid_steps import read_lengths

__all__ = ["pack", "unpack"]


@check.named_options
def pack(
    sequences: Sequence[Array], *, batch_first: bool = False
) -> tuple[Array, np.ndarray[Any, Any]]:
    """Put sequences of different lengths into one array, padded with zeros at the end.

    Parameters
    ----------
    sequences : sequence of arrays, shapes (T_i, F)
        Or of any (T_i, ...), such as labels (T_i,). One library, dtype and device.
    batch_first : bool
        Whether the batch is the first axis of the result.

    Returns
    -------
    packed : array, shape (T, B, F), or (B, T, F) with ``batch_first``
        T is the largest length. Has the library, dtype and device of the sequences.
    lengths : NumPy array of int64, shape (B,)

    Raises
    ------
    TypeError, ValueError
        If there is no sequence, none has a step, or they do not fit together; the message names
        the first one that does not.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> x, lengths = prnn.ragged.pack([np.ones((2, 1)), np.ones((3, 1))])
    >>> x[:, :, 0], lengths
    (array([[1., 1.],
           [1., 1.],
           [0., 1.]]), array([2, 3]))
    """
    if not isinstance(sequences, Sequence) or isinstance(sequences, (str, bytes)):
        got = check.said(sequences)
        raise TypeError(f"sequences: expected a list or tuple of arrays, got {got}")
    if not sequences:
        raise ValueError("sequences: expected a list of at least one array, got none")
    batch_first = check.flag("batch_first", batch_first)
    xp = namespace_of(**{f"sequences[{i}]": a for i, a in enumerate(sequences)})
    first = sequences[0]
    for i, array in enumerate(sequences):
        name = f"sequences[{i}]"
        if array.ndim == 0:
            raise ValueError(f"{name}: expected an array (T, ...), got a number")
        check.numeric(name, array)
        check_shaped(name, array, (array.shape[0], *first.shape[1:]), "sequences[0]", first)
    lengths = np.asarray([array.shape[0] for array in sequences], dtype=np.int64)
    longest, padded = int(lengths.max()), []
    if longest == 0:
        raise ValueError("sequences: expected one with at least one step, got none")
    with device_context(first):
        for array in sequences:
            shape = (longest - array.shape[0], *first.shape[1:])
            padding = xp.zeros(shape, dtype=first.dtype, device=device_of(first))
            padded.append(xp.concat([array, padding]) if shape[0] else array)
        return stack(xp, padded, axis=0 if batch_first else 1), lengths


@check.named_options
def unpack(packed: Array, lengths: Any, *, batch_first: bool = False) -> list[Array]:
    """Undo `pack`: return the sequences of a batch, such as outputs, without their padding.

    Parameters
    ----------
    packed : array, shape (T, B, ...), or (B, T, ...) with ``batch_first``
    lengths : sequence of B ints, or integer array (B,)
        Of any library; from a device they are copied.
    batch_first : bool

    Returns
    -------
    list of arrays, shapes (T_i, ...)

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit; the message names it.

    Examples
    --------
    >>> import numpy as np
    >>> import portable_rnn as prnn
    >>> [a.shape for a in prnn.ragged.unpack(np.zeros((3, 2, 4)), [2, 3])]
    [(2, 4), (3, 4)]
    """
    check_array("packed", packed)
    check.numeric("packed", packed)
    batch_first = check.flag("batch_first", batch_first)
    batch_axis = 0 if batch_first else 1
    if packed.ndim < 2:
        raise ValueError(f"packed: expected at least two axes, got shape {tuple(packed.shape)}")
    steps, batch = packed.shape[1 - batch_axis], packed.shape[batch_axis]
    if is_array(lengths):
        if is_traced(namespace_of(lengths=lengths), lengths):
            raise TypeError("lengths: expected values to read, got an array traced by jax.jit")
        lengths = to_host(lengths)
    values = read_lengths(lengths, steps, batch)
    assert values is not None  # they are on the host
    return [
        packed[b, : int(n), ...] if batch_first else packed[: int(n), b, ...]
        for b, n in enumerate(values)
    ]
