"""The description of a recurrent network, and the initial values of its parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, cast

from ._arrays import checks as check
from ._arrays.namespace import Array, Namespace, namespace_of
from ._draws import draws_of
from ._engine.network import Parameters
from ._engine.pooling import POOLS
from ._engine.recurrence import Recurrence, plus, recurrence_of
from ._parameter_names import LayerNames, layer_of, linear_of, names_of, shapes_of, suffixes
from ._summary import Summary, summary_of
from .cells import CELLS, LSTM, Cell, Elman, LayerNormLSTM
from .cells.by_name import checked_cell, described
from .cells.protocol import vectors_of
from .initializers import uniform
from .nonlinearities import Activation

__all__ = ["RNN"]


@check.named_options
@dataclass(frozen=True)
class RNN:
    """The description of a recurrent network: sizes, cell and layout, without any array.

    A description is frozen and hashable, so it can be a static argument of ``jax.jit``, a
    dictionary key, or a line in a configuration file. Parameters are kept separately, in a plain
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
    cell : str, Cell or dict
        The recurrent cell: a name ("elman", "gru", "lstm", or another of
        :data:`portable_rnn.cells.CELLS`); an object, with options or your own; or, as in a file, a
        name with options, ``{"name": "lstm", "peepholes": True}``.
    nonlinearity : str, or tuple of a str and numbers
        For the Elman cell: "tanh", "relu", or another of :mod:`portable_rnn.nonlinearities`. Other
        cells have their own options.
    bias : bool
        Whether there are biases, including the readout's.
    batch_first : bool
        Whether sequences are (B, T, F) rather than (T, B, F). This does not apply to states.
    num_layers : int
        Number of stacked layers.
    bidirectional : bool
        Whether each layer also reads backwards, with its own weights. Outputs, and the inputs
        of the next layer, are those of both directions, concatenated.
    dropout, recurrent_dropout, zoneout : float in [0, 1)
        Probabilities in training; see :mod:`portable_rnn.dropout`. ``dropout`` acts between
        layers.
    projection_size : int, optional
        P, the size of the hidden state if it is a projection ``h = W_hr (o tanh(c))`` of the cell's
        hidden state (Sak et al., arXiv 1402.1128; torch's ``proj_size``). LSTM only.
    vocabulary_size : int, optional
        V. The input is then integer tokens from 0 to V - 1, of shape (T, B), (B, T) with
        ``batch_first``, or (T,), and the network embeds them: each is a row of the parameter
        ``embedding.weight`` (V, I), as in ``torch.nn.Embedding``.
    tied : bool
        Whether the embedding is also the weight of the readout (Press and Wolf, arXiv 1608.05859).
        Requires ``output_size`` V, and I equal to the size of the features, D·H or D·P.
    pool : {"last", "mean", "max"}, optional
        One output for each sequence instead of each step, (B, O): the readout of the hidden state
        after its last step (in the reversed direction, which ends there, the first), or of the mean
        or maximum of its hidden states over the valid steps. Targets are then (B,) or (B, O).
    reverse : bool
        Whether every layer reads backwards, from the last valid step to the first: ONNX's direction
        "reverse", and Keras's ``go_backwards``. Outputs stay in the order of the inputs (Keras's
        do not), and the final state is that at the first step. Not with ``bidirectional``.

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
    cell: str | Cell | Mapping[str, Any] = "elman"
    nonlinearity: Activation = "tanh"
    bias: bool = True
    batch_first: bool = False
    num_layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    recurrent_dropout: float = 0.0
    zoneout: float = 0.0
    projection_size: int | None = None
    vocabulary_size: int | None = None
    tied: bool = False
    pool: str | None = None
    reverse: bool = False

    def __post_init__(self) -> None:
        optional = ("output_size", "projection_size", "vocabulary_size")
        for name in ("input_size", "hidden_size", "num_layers", *optional):
            if name not in optional or getattr(self, name) is not None:
                number = check.count(name, getattr(self, name))
                object.__setattr__(self, name, number)  # a NumPy integer becomes an int
        for name in ("bias", "batch_first", "bidirectional", "tied", "reverse"):
            object.__setattr__(self, name, check.flag(name, getattr(self, name)))
        object.__setattr__(self, "cell", checked_cell(self.cell))
        elman = Elman(self.nonlinearity)  # names a wrong nonlinearity
        object.__setattr__(self, "nonlinearity", elman.nonlinearity)
        if self.nonlinearity != "tanh" and self.cell != "elman":
            raise ValueError(
                f"nonlinearity: only the 'elman' cell has a choice, "
                f"got {self.nonlinearity!r} with cell={check.said(self.cell)}"
            )
        for name in ("dropout", "recurrent_dropout", "zoneout"):
            chance = check.number(name, getattr(self, name), least=0.0, below=1.0)
            object.__setattr__(self, name, chance)
        if self.dropout and self.num_layers == 1:
            raise ValueError("dropout: acts between layers, and num_layers is 1")
        if self.projection_size is not None:
            if not isinstance(self.cell_object, (LSTM, LayerNormLSTM)):
                got = check.said(self.cell)
                raise ValueError(f"projection_size: only LSTM cells have one, got {got}")
            if self.projection_size >= self.hidden_size:
                raise ValueError(
                    f"projection_size: expected less than hidden_size {self.hidden_size}, "
                    f"got {self.projection_size}"
                )
        if self.pool is not None:
            check.choice("pool", self.pool, POOLS)
        if self.reverse and self.bidirectional:
            raise ValueError("reverse, bidirectional: expected one of them, got both")
        if self.tied:
            self._check_tied()

    def _check_tied(self) -> None:
        if self.vocabulary_size is None or self.output_size != self.vocabulary_size:
            raise ValueError(
                "tied: expected output_size equal to vocabulary_size, got "
                f"{self.output_size} and {self.vocabulary_size}"
            )
        size = self.directions * self.recurrent_size
        if self.input_size != size:
            raise ValueError(
                f"tied: expected input_size {size}, the size of the features, got {self.input_size}"
            )

    @cached_property
    def cell_object(self) -> Cell:
        """The cell itself, whether it was given by name or as an object."""
        if not isinstance(self.cell, str):
            return cast(Cell, self.cell)  # __post_init__ has converted a dict
        return Elman(self.nonlinearity) if self.cell == "elman" else CELLS[self.cell]()

    @property
    def parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        """Names and shapes of all parameters, in the order of ``torch.nn``'s state dict."""
        return dict(self._parameter_shapes)

    @cached_property
    def _parameter_shapes(self) -> dict[str, tuple[int, ...]]:
        return shapes_of(self)

    def __getstate__(self) -> dict[str, Any]:
        """Return only the fields; cached attributes are computed again when needed."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    @cached_property
    def _names(
        self,
    ) -> tuple[tuple[tuple[LayerNames, ...], ...], tuple[str, str] | None]:
        """The names of the parameters, by layer and direction, and of the readout."""
        shapes, vectors = self._parameter_shapes, vectors_of(self.cell_object)
        layers = tuple(
            tuple(names_of(shapes, vectors, f"_l{number}{suffix}") for suffix in suffixes(self))
            for number in range(self.num_layers)
        )
        weight = "embedding.weight" if self.tied else "readout.weight"
        readout = (weight, "readout.bias") if self.output_size is not None else None
        return layers, readout

    @property
    def directions(self) -> int:
        """D: 2 if bidirectional, else 1."""
        return 2 if self.bidirectional else 1

    @property
    def reversed_directions(self) -> tuple[bool, ...]:
        """Whether each of the D directions reads backwards."""
        return (False, True) if self.bidirectional else (self.reverse,)

    @property
    def recurrent_size(self) -> int:
        """Size of the hidden state: P if it is projected, else H."""
        return self.projection_size or self.hidden_size

    @property
    def feature_size(self) -> int:
        """Size of one output vector: O, or D·H (D·P) without a readout."""
        return self.output_size or self.directions * self.recurrent_size

    def state_shape(self, batch_size: int | None) -> tuple[int, ...]:
        """Shape of the hidden state: (layers · directions, B, H), without B if unbatched.

        Raises
        ------
        TypeError, ValueError
            If the batch size is not a count.
        """
        return self.state_shapes(batch_size)[0]

    def state_shapes(self, batch_size: int | None) -> tuple[tuple[int, ...], ...]:
        """Shape of each state array; they differ only if the hidden state is projected.

        Raises
        ------
        TypeError, ValueError
            If the batch size is not a count.
        """
        if not (batch_size is None or (type(batch_size) is int and 0 < batch_size < 2**31)):
            batch_size = check.count("batch_size", batch_size)
        stack = self.num_layers * self.directions
        batch = () if batch_size is None else (batch_size,)
        return tuple((stack, *batch, size) for size in self.state_sizes)

    @cached_property
    def state_sizes(self) -> tuple[int, ...]:
        """Size of each state array of a layer."""
        return (self.recurrent_size, *[self.hidden_size] * (self.cell_object.states - 1))

    @cached_property
    def recurrences(self) -> tuple[Recurrence, Recurrence]:
        """The recurrence of all layers, and the same if the state may be held."""
        cell, projected = self.cell_object, self.projection_size is not None
        plain = recurrence_of(cell, projected=projected)
        return plain, recurrence_of(cell, projected=projected, held=True)

    def weights(self, params: Mapping[str, Array]) -> Parameters:
        """Pick the arrays out of a dict of parameters; None for those that do not exist."""
        layers, readout = self._names
        found = tuple(tuple(layer_of(params, one) for one in directions) for directions in layers)
        return Parameters(found, linear_of(params, readout), params.get("embedding.weight"))

    def parameters(self, weights: Parameters, *, like: Mapping[str, Array]) -> dict[str, Array]:
        """Undo `weights`, in the order of ``like``; None becomes zeros."""
        layers, readout = self._names
        found: dict[str, Array] = {}
        named = [(readout, weights.readout)]
        for directions, both in zip(layers, weights.layers, strict=True):
            for (*products, own), w in zip(directions, both, strict=True):
                named += zip(products, w[:3], strict=True)
                found |= zip(own, w.own or (), strict=False)
        for names, product in named:
            if names is not None and product is not None:
                found[names[0]], found[names[1]] = product.weight, product.bias
        if weights.embedding is not None:
            of_readout = found.get("embedding.weight")  # if they are tied
            found["embedding.weight"] = plus(of_readout, weights.embedding)
        if missing := [name for name in like if found.get(name) is None]:
            xp = namespace_of(params=next(iter(like.values())))
            found |= {name: xp.zeros_like(like[name]) for name in missing}
        return {name: found[name] for name in like}

    @check.named_options
    def init(
        self,
        seed: int = 0,
        *,
        inputs: str = "uniform",
        recurrent: str = "uniform",
        biases: str = "uniform",
        forget_bias: float | None = None,
        xp: Namespace | None = None,
        dtype: Any = "float32",
        device: Any = None,
    ) -> dict[str, Array]:
        """Draw initial parameters, by default uniform in ±1/√H as ``torch.nn`` does.

        A cell's own vectors may start from a constant instead (gains from 1), and the vectors of an
        embedding have unit variance, unless it is also the readout's weight.

        The numbers come from a NumPy generator on the host, so one seed gives the same
        parameters on every library and device, apart from rounding to ``dtype``.

        Parameters
        ----------
        seed : int
        inputs, recurrent : {"uniform", "glorot", "he", "lecun", "orthogonal"}
            How weights are drawn, each gate by itself: those of inputs and of the readout (and the
            embedding, if they are tied), and those of hidden states and their projection. "glorot"
            is uniform, "he" and "lecun" are normal. Recurrent matrices that are orthogonal keep the
            norm of what they multiply.
        biases : {"uniform", "zeros"}
        forget_bias : float, optional
            Bias of the forget gate of an LSTM, the sum of both; 1.0 lets it remember at first
            (Jozefowicz et al., 2015).
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
            If the seed is not an int, ``xp`` is not an array module, or ``dtype`` is not one of its
            floating types.
        ValueError
            If the seed is below 0, there is no such scheme, no forget gate with a bias, or no such
            device, or the library silently returned
            another dtype (JAX without ``jax_enable_x64``).

        Examples
        --------
        >>> import portable_rnn as prnn
        >>> params = prnn.RNN(4, 5, cell="gru").init(seed=0, dtype="float64")
        >>> params["weight_hh_l0"].shape
        (15, 5)
        """
        return uniform(
            self.parameter_shapes,
            self.hidden_size**-0.5,
            seed,
            draws_of(self, inputs, recurrent, biases, forget_bias),
            xp=xp,
            dtype=dtype,
            device=device,
        )

    def summary(self) -> Summary:
        """Return a table of the layers, what they return, and their parameters.

        It is a text; a notebook shows a table. T is the number of steps, B the batch size.

        Examples
        --------
        >>> import portable_rnn as prnn
        >>> print(prnn.RNN(input_size=4, hidden_size=5, cell="gru", bias=False).summary())
        gru network, state (1, B, 5)
        --------------------------------------------------
        layer or parameter  shape    output     parameters
        --------------------------------------------------
        input                        (T, B, 4)
        gru, layer 0                 (T, B, 5)         135
          weight_ih_l0      (15, 4)                     60
          weight_hh_l0      (15, 5)                     75
        --------------------------------------------------
        total                                          135
        """
        return summary_of(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the description as plain values, for a configuration file.

        Raises
        ------
        TypeError
            If the cell is your own object, which no file can describe.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if not isinstance(self.cell, str):
            values["cell"] = described(self.cell_object)
        if not isinstance(self.nonlinearity, str):
            values["nonlinearity"] = list(self.nonlinearity)
        return values
