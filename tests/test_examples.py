"""``examples/data_parallel.py``, with threads instead of processes, and NumPy instead of CuPy."""

import threading

import numpy as np
import pytest
from examples import data_parallel

import portable_rnn as prnn

pytestmark = pytest.mark.no_products


class Together:
    """Threads that add their vectors, as processes do by NCCL."""

    def __init__(self, size):
        self.size, self.given = size, [None] * size
        self.barrier = threading.Barrier(size, timeout=60)
        self.calls = 0

    def all_reduce(self, rank):
        def reduce(vector):
            self.calls += rank == 0
            self.given[rank] = vector
            self.barrier.wait()
            found = sum(self.given[1:], start=self.given[0])
            self.barrier.wait()
            return found

        return reduce

    def run(self, work):
        results = [None] * self.size

        def one(rank):
            try:
                results[rank] = work(rank, self.all_reduce(rank))
            except BaseException as error:
                results[rank] = error
                self.barrier.abort()

        threads = [threading.Thread(target=one, args=(rank,)) for rank in range(self.size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return results


@pytest.mark.parametrize("size", [1, 2, 3])
def test_gradients_of_shares_add_up_to_those_of_the_batch(size):
    x, labels, lengths = (np.asarray(array) for array in data_parallel.data(0))
    x = x.astype("float64")
    model, total = data_parallel.MODEL, int(lengths.sum())
    params = model.init(seed=0, dtype="float64")
    whole = prnn.bptt(model, params, x, labels, lengths=lengths)
    cuts = np.linspace(0, x.shape[1], size + 1).astype(int)  # 32 sequences: unequal for three

    def share(rank, all_reduce):
        part = slice(cuts[rank], cuts[rank + 1])
        own = x[:, part], labels[:, part], lengths[part]
        return data_parallel.reduced_step(params, None, *own, all_reduce, total)

    together = Together(size)
    for _, _, grads, loss in together.run(share):
        assert abs(loss - whole.loss) < 1e-13
        for name, gradient in whole.grads.items():
            assert np.abs(grads[name] - gradient).max() < 1e-13 * max(1.0, np.abs(gradient).max())
    assert together.calls == 1  # one for all arrays


def test_processes_have_the_same_parameters_and_learn(monkeypatch):
    monkeypatch.setattr(data_parallel, "STEPS", 6)
    work = lambda rank, reduce: data_parallel.train(rank, 2, np, reduce)  # noqa: E731
    (first, loss), (second, other) = Together(2).run(work)
    assert loss == other
    for name, array in first.items():
        assert array.tobytes() == second[name].tobytes()
    ((alone, _),) = Together(1).run(lambda rank, reduce: data_parallel.train(0, 1, np, reduce))
    for name, array in alone.items():
        assert np.abs(array - first[name]).max() < 1e-4
    monkeypatch.setattr(data_parallel, "STEPS", 1)
    ((_, at_first),) = Together(1).run(lambda rank, reduce: data_parallel.train(0, 1, np, reduce))
    assert loss < at_first
