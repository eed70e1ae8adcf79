"""``examples/torch_function.py``, on tensors of the CPU."""

import numpy as np
import pytest

import portable_rnn as prnn

pytestmark = pytest.mark.no_products

torch = pytest.importorskip("torch")
torch_function = pytest.importorskip("examples.torch_function")


@pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])
def test_a_module_of_torch_passes_gradcheck(cell):
    network = torch_function.Network(prnn.RNN(3, 4, 2, cell=cell)).double()
    x = torch.randn(5, 2, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weights = list(network.parameters())
    x.requires_grad_()

    def run(x, *_):
        return network(x)

    assert torch.autograd.gradcheck(run, (x, *weights))


def test_a_module_of_torch_trains_between_others():
    torch.manual_seed(0)
    embedding, head = torch.nn.Linear(3, 4), torch.nn.Linear(5, 1)
    network = torch_function.Network(prnn.RNN(4, 5, cell="gru"))
    learned = [*embedding.parameters(), *network.parameters(), *head.parameters()]
    optimizer = torch.optim.Adam(learned, lr=1e-2)
    x = torch.randn(7, 6, 3)
    y = x.cumsum(dim=0).mean(dim=2, keepdim=True).tanh()
    losses = []
    for _ in range(60):
        loss = torch.nn.functional.mse_loss(head(network(embedding(x))), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.3 * losses[0]


def test_tensors_of_the_cpu_and_arrays_of_numpy_share_memory():
    tensor = torch.arange(6.0).reshape(2, 3)
    array = torch_function.as_array(tensor)
    assert array.__array_interface__["data"][0] == tensor.data_ptr()
    own = np.ones((2, 3), np.float32)
    assert torch.from_dlpack(own).data_ptr() == own.__array_interface__["data"][0]


def test_weights_that_are_changed_before_the_way_back_are_noticed():
    network = torch_function.Network(prnn.RNN(3, 4))
    outputs = network(torch.ones(2, 1, 3))
    with torch.no_grad():
        network.weights["weight_hh_l0"].mul_(2)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        outputs.sum().backward()
