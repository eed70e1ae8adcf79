"""The table of a network: its layers, what they return, and their parameters."""

import math
from collections.abc import Iterator
from html import escape
from typing import Any, NamedTuple

__all__ = ["Summary", "summary_of"]

HEADINGS = ("layer or parameter", "shape", "output", "parameters")


class Row(NamedTuple):
    """A layer, or a parameter of the layer above it."""

    name: str
    shape: str = ""
    output: str = ""
    parameters: str = ""
    inner: bool = False  # a parameter


class Summary(str):
    """The text of a table, which a notebook shows as one."""

    caption: str
    rows: list[Row]

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{escape(name)}</th>" for name in HEADINGS)
        body = "".join(
            f"<tr><td>{'&emsp;' * row.inner}{escape(row.name)}</td>"
            + "".join(f"<td>{escape(cell)}</td>" for cell in row[1:4])
            + "</tr>"
            for row in self.rows
        )
        return (
            f"<table><caption>{escape(self.caption)}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        )

    def __reduce__(self) -> Any:
        return _written, (self.caption, self.rows)


def summary_of(model: Any) -> Summary:
    """Return the summary of a network."""
    cell = model.cell if isinstance(model.cell, str) else type(model.cell_object).__name__
    ways = "both directions" if model.bidirectional else "backwards" if model.reverse else ""
    state = ", ".join(_axes(shape[0], "B", shape[-1]) for shape in model.state_shapes(1))
    chances = ("recurrent_dropout", "zoneout")
    named = [f"{n.replace('_', ' ')} {p:g}" for n in chances if (p := getattr(model, n))]
    title = ", ".join(filter(None, (f"{cell} network", ways, *named, f"state {state}")))
    return _written(title, list(_rows(model, cell)))


def _rows(model: Any, cell: str) -> Iterator[Row]:
    shapes, steps = model.parameter_shapes, ("B", "T") if model.batch_first else ("T", "B")
    features = model.directions * model.recurrent_size
    tokens = model.vocabulary_size is not None
    yield Row("input", output=_axes(*steps, *(() if tokens else (model.input_size,))))
    if tokens:
        yield from _layer("embedding", shapes, ["embedding.weight"], (*steps, model.input_size))
    for number in range(model.num_layers):
        if number and model.dropout:
            yield Row(f"dropout {model.dropout:g}", output=_axes(*steps, features))
        ends = tuple(f"_l{number}{way}" for way in ("", "_reverse"))
        names = [name for name in shapes if name.endswith(ends)]
        yield from _layer(f"{cell}, layer {number}", shapes, names, (*steps, features))
    outputs = steps if model.pool is None else ("B",)
    if model.pool is not None:
        yield Row(f"pool: {model.pool}", output=_axes("B", features))
    if model.output_size is not None:
        name = "readout, tied to the embedding" if model.tied else "readout"
        names = [name for name in shapes if name.startswith("readout.")]
        yield from _layer(name, shapes, names, (*outputs, model.output_size))
    yield Row("total", parameters=_count(shapes, list(shapes)))


def _layer(name: str, shapes: Any, names: list[str], output: tuple[Any, ...]) -> Iterator[Row]:
    """Yield the rows of a layer and of its parameters."""
    yield Row(name, output=_axes(*output), parameters=_count(shapes, names))
    for one in names:
        yield Row(one, _axes(*shapes[one]), parameters=_count(shapes, [one]), inner=True)


def _count(shapes: Any, names: list[str]) -> str:
    return f"{sum(math.prod(shapes[name]) for name in names):,}"


def _axes(*sizes: Any) -> str:
    return f"({', '.join(map(str, sizes))}{',' if len(sizes) == 1 else ''})"


def _written(title: str, rows: list[Row]) -> Summary:
    table = [HEADINGS, *((f"{'  ' * row.inner}{row.name}", *row[1:4]) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]

    def line(name: str, shape: str, output: str, count: str) -> str:
        cells = (name.ljust(widths[0]), shape.ljust(widths[1]), output.ljust(widths[2]))
        return "  ".join((*cells, count.rjust(widths[3]))).rstrip()

    first, *rest = (line(*cells) for cells in table)
    rule = "-" * (sum(widths) + 6)
    found = Summary("\n".join((title, rule, first, rule, *rest[:-1], rule, rest[-1])))
    found.caption, found.rows = title, rows
    return found
