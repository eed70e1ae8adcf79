"""The table of a network counts what its parameters are, and lists what its layers return."""

import copy
import pickle
import re
from html.parser import HTMLParser

import numpy as np
import pytest

import portable_rnn as prnn

pytestmark = pytest.mark.no_products

I, H, O, V = 4, 6, 3, 12  # noqa: E741
NETWORKS = {
    "plain": prnn.RNN(I, H),
    "deep": prnn.RNN(I, H, O, cell="lstm", num_layers=11, dropout=0.5, zoneout=0.25),
    "both directions": prnn.RNN(I, H, O, cell="gru", num_layers=2, bidirectional=True),
    "backwards": prnn.RNN(I, H, O, batch_first=True, reverse=True, bias=False),
    "projected": prnn.RNN(I, H, cell="lstm", projection_size=2, bidirectional=True),
    "own vectors": prnn.RNN(I, H, cell=prnn.cells.LSTM(peepholes=True), num_layers=2),
    "tied": prnn.RNN(H, H, V, vocabulary_size=V, tied=True, pool="mean"),
}


def cells_of(line):
    return re.split(r"  +", line.strip())


@pytest.mark.parametrize("name", NETWORKS)
def test_the_table_lists_every_parameter_once_and_adds_up(name):
    model = NETWORKS[name]
    title, *lines = str(model.summary()).splitlines()
    assert title.endswith(")")
    inner = dict(cells_of(line)[::2] for line in lines if line.startswith("  "))
    shapes = {cells_of(line)[0]: cells_of(line)[1] for line in lines if line.startswith("  ")}
    assert list(inner) == list(model.parameter_shapes)
    arrays = model.init(seed=0)
    for key, array in arrays.items():
        assert int(inner[key].replace(",", "")) == array.size
        assert shapes[key] == str(array.shape)
    total = sum(array.size for array in arrays.values())
    assert cells_of(lines[-1]) == ["total", f"{total:,}"]
    outer = [cells_of(line) for line in lines if re.match(r"\w", line)][1:-1]
    counts = [row[-1].replace(",", "") for row in outer]
    assert sum(int(count) for count in counts if count.isdecimal()) == total
    assert max(map(len, lines)) == len(lines[0])  # no line is wider than the rules


def output_shapes(model):
    lines = str(model.summary()).splitlines()
    return [
        re.search(r"\([TBV0-9, ]*\)", line).group()
        for line in lines[4:-2]
        if not line.startswith("  ")
    ]


@pytest.mark.parametrize("name", ["plain", "both directions", "backwards", "projected", "tied"])
def test_the_last_output_is_that_of_the_network(name):
    model = NETWORKS[name]
    steps, batch = 5, 2
    lead = (batch, steps) if model.batch_first else (steps, batch)
    x = np.zeros(lead, np.int64)
    if model.vocabulary_size is None:
        x = np.zeros((*lead, I), np.float32)
    outputs = prnn.predict(model, model.init(seed=0), x)
    found = output_shapes(model)
    for shape, array in ((found[0], x), (found[-1], outputs)):
        sizes = [{"T": steps, "B": batch}.get(n, n) for n in shape.strip("()").split(", ")]
        assert tuple(map(int, filter(None, sizes))) == array.shape


def test_a_whole_table():
    model = prnn.RNN(2, 3, 4, num_layers=2, dropout=0.5, batch_first=True)
    assert str(model.summary()) == "\n".join(
        (
            "elman network, state (2, B, 3)",
            "-------------------------------------------------",
            "layer or parameter  shape   output     parameters",
            "-------------------------------------------------",
            "input                       (B, T, 2)",
            "elman, layer 0              (B, T, 3)          21",
            "  weight_ih_l0      (3, 2)                      6",
            "  weight_hh_l0      (3, 3)                      9",
            "  bias_ih_l0        (3,)                        3",
            "  bias_hh_l0        (3,)                        3",
            "dropout 0.5                 (B, T, 3)",
            "elman, layer 1              (B, T, 3)          24",
            "  weight_ih_l1      (3, 3)                      9",
            "  weight_hh_l1      (3, 3)                      9",
            "  bias_ih_l1        (3,)                        3",
            "  bias_hh_l1        (3,)                        3",
            "readout                     (B, T, 4)          16",
            "  readout.weight    (4, 3)                     12",
            "  readout.bias      (4,)                        4",
            "-------------------------------------------------",
            "total                                          61",
        )
    )


def test_a_notebook_shows_a_table_of_the_same_cells():
    class Cells(HTMLParser):
        def __init__(self):
            super().__init__()
            self.rows, self.cell = [], None

        def handle_starttag(self, tag, attrs):
            self.rows += [[]] if tag == "tr" else []
            self.cell = [] if tag in ("td", "th") else self.cell

        def handle_data(self, data):
            if self.cell is not None:
                self.cell.append(data)

        def handle_endtag(self, tag):
            if tag in ("td", "th"):
                self.rows[-1].append("".join(self.cell).strip())
                self.cell = None

    class Odd(prnn.cells.MGU):
        pass

    Odd.__name__ = "<b>Odd & own"
    for model in (NETWORKS["both directions"], prnn.RNN(I, H, cell=Odd())):
        found, parser = model.summary(), Cells()
        parser.feed(found._repr_html_())
        lines = [line for line in str(found).splitlines()[1:] if not line.startswith("-")]
        assert [[c for c in row if c] for row in parser.rows] == [cells_of(line) for line in lines]
    assert "<b>" not in found._repr_html_()


def test_a_summary_is_a_text_that_can_be_copied():
    found = NETWORKS["tied"].summary()
    assert isinstance(found, str)
    assert repr(found) == str(found)
    for other in (pickle.loads(pickle.dumps(found)), copy.deepcopy(found)):
        assert other == found
        assert other._repr_html_() == found._repr_html_()
    assert "readout, tied to the embedding" in found
    assert "pool: mean" in found


def test_chances_of_training_are_named():
    assert "zoneout 0.25" in NETWORKS["deep"].summary()
    assert NETWORKS["deep"].summary().count("dropout 0.5") == 10
    assert "backwards" in NETWORKS["backwards"].summary()
