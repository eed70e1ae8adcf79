"""How the parameters of a network are drawn, array by array."""

from typing import TYPE_CHECKING, Any

from ._arrays import checks as check
from .cells import LSTM
from .cells.protocol import vectors_of
from .initializers import SCHEMES, Draw, Host, constant, gates_of, matrix

if TYPE_CHECKING:
    from .model import RNN

__all__ = ["draws_of"]

FORGET = 1  # the place of the forget gate among those of an LSTM


def draws_of(
    model: "RNN", inputs: str, recurrent: str, biases: str, forget_bias: float | None
) -> dict[str, Draw]:
    """Return functions that draw the parameters that are not uniform in ±1/√H, by name.

    Raises
    ------
    TypeError, ValueError
        If there is no such scheme, or the cell has no forget gate with a bias.
    """
    for name, value in (("inputs", inputs), ("recurrent", recurrent)):
        check.choice(name, value, SCHEMES)
    check.choice("biases", biases, ("uniform", "zeros"))
    found: dict[str, Draw] = {}
    if not model.tied:
        found["embedding.weight"] = lambda rng, shape: rng.uniform(-(3**0.5), 3**0.5, shape)
    cell = model.cell_object
    for name in model.parameter_shapes:
        start, _, _ = name.partition("_l")
        for scheme, of, gates in (
            (inputs, "weight_ih", cell.gates),
            (recurrent, "weight_hh", cell.gates),
            (recurrent, "weight_hr", 1),
            (inputs, "readout.weight", 1),
            (inputs, "embedding.weight" if model.tied else "readout.weight", 1),
        ):
            if scheme != "uniform" and start == of:
                found[name] = gates_of(gates, matrix(scheme))
        if biases == "zeros" and "bias" in name:
            # Drawn all the same: other parameters of the seed stay as they were.
            found[name] = lambda rng, shape: 0.0 * rng.uniform(size=shape)
    for vector in vectors_of(cell):
        if vector.start is not None:
            found |= dict.fromkeys(_of_layers(model, vector.name), constant(vector.start))
    if forget_bias is not None:
        first = check.number("forget_bias", forget_bias)
        if not isinstance(cell, LSTM) or cell.coupled or not model.bias:
            raise ValueError(
                "forget_bias: expected an LSTM with a forget gate and biases, got "
                f"cell={check.said(model.cell)} with bias={model.bias}"
            )
        for start, wanted in (("bias_ih", first), ("bias_hh", 0.0)):
            for name in _of_layers(model, start):
                found[name] = _with_forget_bias(wanted, model, found.get(name))
    return found


def _of_layers(model: "RNN", start: str) -> list[str]:
    """Return the names of a parameter in all layers and directions."""
    return [name for name in model.parameter_shapes if name.startswith(f"{start}_l")]


def _with_forget_bias(value: float, model: "RNN", other: Draw | None) -> Draw:
    """Return a function that draws a bias, with a number for the forget gate."""
    size = model.hidden_size
    bound = size**-0.5

    def draw(rng: Any, shape: tuple[int, ...]) -> Host:
        values = rng.uniform(-bound, bound, shape) if other is None else other(rng, shape)
        values[FORGET * size : (FORGET + 1) * size] = value
        return values

    return draw
