"""Single steps of a compiled layer, as a stream takes them."""

import numpy as np

from .buffers import Array, address
from .compiled_layer import Layer, planes

__all__ = ["Stepper"]


class Stepper:
    """One step after another, each from where the last has ended, in memory that stays.

    Parameters
    ----------
    layer : Layer
    batch : int
    """

    def __init__(self, layer: Layer, batch: int) -> None:
        kernel, program = layer.kernel, layer.kernel.program
        rows, units = layer.rows, layer.units
        self._ax = np.empty((batch, rows), kernel.dtype)
        states = np.empty((program.states, 2, batch, units), kernel.dtype)
        stored = np.empty((len(program.stored), 1, batch, units), kernel.dtype)
        self._slots = [tuple(states[:, slot]) for slot in (0, 1)]
        self._run = kernel.forward
        tables = []
        for slot in (0, 1):  # to and fro
            table = layer.table(batch, back=False)
            values = planes("state", states, slot) | planes("stored", stored, 0)
            values |= {"ax": address(self._ax), "steps": 1, "stored_step": 0}
            values["direction"] = 1 - 2 * slot
            table.write(values)
            tables.append(table)
        self._tables = [table.address for table in tables]
        self._held = layer, stored, tables  # what the addresses are of

    def __call__(self, ax: Array, state: tuple[Array, ...]) -> tuple[Array, ...]:
        """Return the state after a step, which is written over in the next but one.

        Parameters
        ----------
        ax : array (B, G·H)
            The projected input, without its bias.
        state : tuple of arrays (B, H)
            Is not copied if it is the very tuple that the step before has returned.
        """
        now = 1 if state is self._slots[1] else 0
        if state is not self._slots[now]:
            for mine, given in zip(self._slots[now], state, strict=True):
                mine[...] = given
        self._ax[...] = ax
        self._run(self._tables[now])
        return self._slots[1 - now]
