"""The description of a recurrent network, and the initial values of its parameters."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, Literal

from . import _check as check
from ._namespace import Array, Namespace, namespace_of
from .bptt import Weights
from .cells import CELLS, Cell, Elman
from .initializers import uniform
from .network import Parameters

__all__ = ["RNN"]

# torch's names of the fields of `Weights`, to which it adds layer and direction.
_WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


@dataclass(frozen=True)
class RNN:
    """What a recurrent network is: sizes, cell and layout, without any array.

    A description is frozen and hashable, so it can be a static argument of ``jax.jit``, a
    dictionary key, or a line in a configuration file. Parameters live beside it in a plain
    dict, with the names and shapes of ``torch.nn.RNN``, ``GRU`` and ``LSTM``.

    Parameters
    ----------
    input_size : int
        I, the size of one input vector.
    hidden_size : int
        H, the size of the hidden state.
    output_size : int, optional
        O, the size of the readout ``o = c + V h`` (equation 10.10). Without it there is no
        readout, and the outputs are the hidden states.
    cell : {"elman", "gru", "lstm"} or Cell
        The recurrent cell, by name or as an object of your own (see :mod:`portable_rnn.cells`).
    nonlinearity : {"tanh", "relu"}
        Of the Elman cell; the others have none to choose.
    bias : bool
        Whether there are biases, readout included.
    batch_first : bool
        Whether sequences are (B, T, F) rather than (T, B, F). States never are.
    num_layers : int
        Layers stacked on one another.
    bidirectional : bool
        Whether each layer also reads backwards, with weights of its own. Outputs, and the inputs
        of the next layer, are those of both directions side by side.
    dropout, recurrent_dropout, zoneout : float in [0, 1)
        Chances to drop while training; see :mod:`portable_rnn.dropout`. ``dropout`` acts between
        layers.

    Raises
    ------
    TypeError, ValueError
        If an argument has the wrong type or value; the message names it.

    Examples
    --------
    >>> import portable_rnn as prnn
    >>> model = prnn.RNN(input_size=4, hidden_size=5, output_size=3)
    >>> for name, shape in model.parameter_shapes.items():
    ...     print(name, shape)
    weight_ih_l0 (5, 4)
    weight_hh_l0 (5, 5)
    bias_ih_l0 (5,)
    bias_hh_l0 (5,)
    readout.weight (3, 5)
    readout.bias (3,)
    """

    input_size: int
    hidden_size: int
    output_size: int | None = None
    cell: str | Cell = "elman"
    nonlinearity: Literal["tanh", "relu"] = "tanh"
    bias: bool = True
    batch_first: bool = False
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    zoneout: float = 0.0

    def __post_init__(self) -> None:
        for name in ("input_size", "hidden_size", "output_size", "num_layers"):
            if name != "output_size" or self.output_size is not None:
                number = check.count(name, getattr(self, name))
                object.__setattr__(self, name, number)  # a NumPy integer becomes an int
        for name in ("bias", "batch_first", "bidirectional"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name}: expected True or False, got {getattr(self, name)!r}")
        if isinstance(self.cell, str) and self.cell not in CELLS:
            raise ValueError(
                f"cell: expected one of {', '.join(map(repr, CELLS))} or a Cell, got {self.cell!r}"
            )
        if not isinstance(self.cell, (str, Cell)) or isinstance(self.cell, type):
            raise TypeError(
                "cell: expected a name or an object with gates, states, step and step_vjp, "
                f"got {self.cell!r}"
            )
        if self.nonlinearity != "tanh" and self.cell != "elman":
            raise ValueError(
                f"nonlinearity: only the 'elman' cell has a choice, "
                f"got {self.nonlinearity!r} with cell={self.cell!r}"
            )
        Elman(self.nonlinearity)  # names a wrong nonlinearity
        for name in ("dropout", "recurrent_dropout", "zoneout"):
            chance = check.number(name, getattr(self, name))
            if not 0.0 <= chance < 1.0:
                raise ValueError(f"{name}: expected a number in [0, 1), got {chance!r}")
            object.__setattr__(self, name, chance)
        if self.dropout and self.num_layers == 1:
            raise ValueError("dropout: acts between layers, and num_layers is 1")

    @cached_property
    def cell_object(self) -> Cell:
        """The cell itself, whether it was given by name or as an object."""
        if not isinstance(self.cell, str):
            return self.cell
        return Elman(self.nonlinearity) if self.cell == "elman" else CELLS[self.cell]()

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all parameters, in the order of ``torch.nn``'s state dict."""
        rows, size = self.cell_object.gates * self.hidden_size, self.input_size
        shapes: dict[str, tuple[int, ...]] = {}
        for layer in range(self.num_layers):
            for suffix in self._suffixes:
                end = f"_l{layer}{suffix}"
                shapes[f"weight_ih{end}"] = (rows, size)
                shapes[f"weight_hh{end}"] = (rows, self.hidden_size)
                if self.bias:
                    shapes |= {f"bias_ih{end}": (rows,), f"bias_hh{end}": (rows,)}
            size = self.directions * self.hidden_size
        if self.output_size is not None:
            shapes["readout.weight"] = (self.output_size, size)
            if self.bias:
                shapes["readout.bias"] = (self.output_size,)
        return shapes

    @property
    def directions(self) -> int:
        """D: 2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def _suffixes(self) -> tuple[str, ...]:
        return ("", "_reverse")[: self.directions]

    @property
    def feature_size(self) -> int:
        """Size of one output vector: O, or D·H without a readout."""
        return self.output_size or self.directions * self.hidden_size

    def state_shape(self, batch_size: int | None) -> tuple[int, ...]:
        """Shape of each state array: (layers · directions, B, H), without B if unbatched."""
        stack = self.num_layers * self.directions
        batch = () if batch_size is None else (batch_size,)
        return (stack, *batch, self.hidden_size)

    def weights(self, params: Mapping[str, Array]) -> Parameters:
        """Pick the arrays out of a dict of parameters; None for what there is not."""
        layers = tuple(
            tuple(
                Weights(*(params.get(f"{name}_l{layer}{suffix}") for name in _WEIGHTS))
                for suffix in self._suffixes
            )
            for layer in range(self.num_layers)
        )
        return Parameters(layers, params.get("readout.weight"), params.get("readout.bias"))

    def parameters(self, weights: Parameters, *, like: Mapping[str, Array]) -> dict[str, Array]:
        """Undo `weights`, in the order of ``like``; what is None there becomes zeros."""
        found = {"readout.weight": weights.readout_weight, "readout.bias": weights.readout_bias}
        for layer, directions in enumerate(weights.layers):
            for suffix, w in zip(self._suffixes, directions, strict=True):
                named = zip(_WEIGHTS, w, strict=True)
                found |= {f"{name}_l{layer}{suffix}": array for name, array in named}
        xp = namespace_of(params=next(iter(like.values())))
        return {
            name: xp.zeros_like(array) if found[name] is None else found[name]
            for name, array in like.items()
        }

    def init(
        self,
        seed: int = 0,
        *,
        xp: Namespace | None = None,
        dtype: Any = "float32",
        device: Any = None,
    ) -> dict[str, Array]:
        """Draw initial parameters, uniform in ±1/√H as ``torch.nn`` does.

        The numbers come from a NumPy generator on the host, so one seed gives the same
        parameters on every library and device, rounding to ``dtype`` aside.

        Parameters
        ----------
        seed : int
        xp : module, optional
            The library of the arrays: ``numpy`` (the default), ``cupy``, ``torch``,
            ``jax.numpy``, or any other that follows the array API standard.
        dtype : str or dtype of that library
        device : device of that library, optional

        Returns
        -------
        dict of str to array
            Shapes as in `parameter_shapes`.

        Raises
        ------
        TypeError
            If ``xp`` is not an array module or ``dtype`` not one of its floating types.
        ValueError
            If the library silently gave another dtype (JAX without ``jax_enable_x64``).

        Examples
        --------
        >>> import portable_rnn as prnn
        >>> params = prnn.RNN(4, 5, cell="gru").init(seed=0, dtype="float64")
        >>> params["weight_hh_l0"].shape
        (15, 5)
        """
        bound = self.hidden_size**-0.5
        return uniform(self.parameter_shapes, bound, seed, xp=xp, dtype=dtype, device=device)

    def to_dict(self) -> dict[str, Any]:
        """Return the description as plain values, for a configuration file.

        Raises
        ------
        TypeError
            If the cell is an object of your own, which no file can describe.
        """
        if not isinstance(self.cell, str):
            raise TypeError(f"cell: only named cells can be written to a file, got {self.cell!r}")
        return asdict(self)
