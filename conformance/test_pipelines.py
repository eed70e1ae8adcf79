"""CuPy between other libraries of a GPU: shared memory, frames, and the caller's CUDA graph."""

from types import SimpleNamespace

import numpy as np
import pytest

import portable_rnn as prnn

pytestmark = pytest.mark.rows("cupy-host", "cupy-host-stream", "cupy", "cupy-stream")


def dtypes(row):
    return ["float32"]


@pytest.fixture
def network(backend, dtype):
    """A small network on the device of a row, and inputs."""
    model = prnn.RNN(3, 5, 2, cell="gru")
    params = {name: backend.put(array) for name, array in model.init(seed=0).items()}
    x = np.random.default_rng(0).standard_normal((4, 2, 3)).astype(dtype)
    return SimpleNamespace(model=model, params=params, host=x, x=backend.put(x))


class Producer:
    """What another library gives by DLPack: it notes the stream that the consumer works on."""

    def __init__(self, array):
        self.array, self.streams = array, []

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, *, stream=None, **options):
        self.streams.append(stream)
        return self.array.__dlpack__(stream=stream, **options)


class Column:
    """A column of a frame: memory of the device, described by its CUDA array interface."""

    def __init__(self, array):
        self.array = array  # which keeps the memory
        self.__cuda_array_interface__ = {
            "shape": array.shape,
            "typestr": array.dtype.str,
            "data": (array.data.ptr, False),
            "strides": None,
            "version": 3,
        }


def test_an_array_of_another_library_is_taken_by_dlpack_without_a_copy(backend, network):
    cp, producer = backend.xp, Producer(network.x)
    taken = cp.from_dlpack(producer)
    assert taken.data.ptr == network.x.data.ptr
    current = cp.cuda.get_current_stream().ptr
    # 1 is the default stream of DLPack: on one stream neither waits for the other.
    assert producer.streams == [current or 1]
    outputs = prnn.predict(network.model, network.params, taken)
    want = prnn.predict(network.model, network.params, network.x)
    assert backend.get(outputs).tobytes() == backend.get(want).tobytes()


def test_outputs_and_gradients_are_given_by_dlpack_without_a_copy(backend, network):
    cp = backend.xp
    fwd = prnn.forward(network.model, network.params, network.x)
    grads = prnn.backward(network.model, network.params, fwd.tape, cp.ones_like(fwd.outputs))
    for array in (fwd.outputs, grads.x, *grads.params.values()):
        given = cp.from_dlpack(array)
        assert given.data.ptr == array.data.ptr
        assert given.shape == array.shape


def test_tensors_of_torch_share_the_memory_of_a_device_both_ways(backend, network):
    torch = pytest.importorskip("torch")
    cp = backend.xp
    if not backend.gpu or not torch.cuda.is_available():
        pytest.skip("not run: needs a CUDA device, and a torch that sees it")
    stream = torch.cuda.ExternalStream(cp.cuda.get_current_stream().ptr)
    with torch.cuda.stream(stream):
        tensor = torch.from_numpy(network.host).cuda()
        taken = cp.from_dlpack(tensor)
        assert taken.data.ptr == tensor.data_ptr()
        outputs = prnn.predict(network.model, network.params, taken)
        assert torch.from_dlpack(outputs).data_ptr() == outputs.data.ptr


def test_columns_of_a_frame_are_taken_without_a_copy(backend, network):
    cp = backend.xp
    columns = [Column(cp.ascontiguousarray(network.x[:, :, i])) for i in range(3)]
    arrays = [cp.asarray(column) for column in columns]
    for array, column in zip(arrays, columns, strict=True):
        assert array.data.ptr == column.array.data.ptr
    outputs = prnn.predict(network.model, network.params, cp.stack(arrays, axis=-1))
    want = prnn.predict(network.model, network.params, network.x)
    assert backend.get(outputs).tobytes() == backend.get(want).tobytes()


def test_a_frame_itself_is_refused_by_name(backend, network):
    with pytest.raises(TypeError, match=r"^x: expected an array of an array API library, got Col"):
        prnn.predict(network.model, network.params, Column(network.x))


@pytest.mark.parametrize("what", ["forward", "backward", "predict"])
def test_a_call_is_a_part_of_the_callers_graph(backend, network, what):
    cp = backend.xp
    model, params, x = network.model, network.params, network.x
    fwd = prnn.forward(model, params, x)
    d_outputs = cp.ones_like(fwd.outputs)
    calls = {
        "forward": lambda: prnn.forward(model, params, x).outputs,
        "backward": lambda: prnn.backward(model, params, fwd.tape, d_outputs).x,
        "predict": lambda: prnn.predict(model, params, x),
    }
    cp.cuda.get_current_stream().synchronize()  # the arrays are those of another stream
    pool = cp.cuda.MemoryPool()  # whose memory is the graph's, and of nothing else
    with cp.cuda.Stream(non_blocking=True) as stream:
        with cp.cuda.using_allocator(pool.malloc):
            calls[what]()  # kernels are compiled
            stream.begin_capture()
            with pytest.raises(NotImplementedError, match="cuBLAS API during stream capture"):
                x[0] @ x[0].T
            captured = calls[what]()
            graph = stream.end_capture()
        x *= 0.5
        d_outputs *= 2.0
        wanted = calls[what]()
        graph.launch()
        stream.synchronize()
        np.testing.assert_allclose(backend.get(captured), backend.get(wanted), rtol=1e-5, atol=1e-6)


def test_what_has_no_product_can_be_captured_and_replayed(backend, network):
    """Arrays are kept while a graph is: it has their addresses."""
    cp = backend.xp
    grads = {name: cp.ones_like(array) for name, array in network.params.items()}
    vector = prnn.parameters_to_vector(grads)  # kernels are compiled, arrays of the pool are there
    cp.cuda.get_current_stream().synchronize()  # the arrays are those of another stream
    with cp.cuda.Stream(non_blocking=True) as stream:
        prnn.parameters_to_vector(grads)
        stream.synchronize()
        stream.begin_capture()
        captured = prnn.parameters_to_vector(grads)
        graph = stream.end_capture()
        for array in grads.values():
            array.fill(7)
        graph.launch()
        stream.synchronize()
        assert (backend.get(captured) == 7).all()
    assert (backend.get(vector) == 1).all()
