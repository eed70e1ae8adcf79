"""What only a user of CuPy would notice: waits, transfers, streams, devices, unwritten memory."""

from ..mutant import Mutant

__all__ = ["CUDA"]


def contract(promise, call, *rest):
    """Return the id of a test of test_cuda_contracts.py."""
    case = "-".join(("cupy-host", "float32", call, *rest))
    return f"conformance/test_cuda_contracts.py::test_{promise}[{case}]"


def training(cost, *case):
    """Return the id of a test of test_cuda_training.py."""
    name = "-".join(("cupy-host", "float32", *case))
    return f"conformance/test_cuda_training.py::test_{cost}[{name}]"


def graph(promise, *case, row="cupy-host"):
    """Return the id of a test of test_cuda_graphs.py."""
    return f"conformance/test_cuda_graphs.py::test_{promise}[{'-'.join((row, 'float32', *case))}]"


BUDGET = "a_call_moves_and_waits_for_nothing_but_its_budget"
PLACE = "results_are_on_the_device_of_the_arguments"
STREAM = "a_call_works_on_the_stream_of_the_caller"
VALUES = "results_are_those_of_numpy"
MOMENT = "a_captured_call_computes_with_the_values_of_the_moment"
MEMORY = "nobody_else_is_given_the_memory_of_a_graph"
UPDATES = "updates_by_launches_of_a_graph_are_those_of_calls"
CAPTURE = "_executors/cuda_graph.py"

CUDA = [
    Mutant(
        "a loss that is read on the host",
        "_calls/loss.py",
        "    check.loss_value(value, x)",
        "    check.loss_value(float(value), x)",
        contract(BUDGET, "bptt of lstm", "eager"),
    ),
    Mutant(
        "a constant of another library",
        "_engine/affine.py",
        "        d_x = matmul(xp, _rows(xp, d_y), self.weight)",
        '        d_x = matmul(xp, _rows(xp, d_y), self.weight * __import__("numpy").ones(1))',
        contract(BUDGET, "bptt of lstm", "eager"),
    ),
    Mutant(
        "work on the null stream",
        "_arrays/devices.py",
        "                with array.device:",
        '                with array.device, sys.modules["cupy"].cuda.Stream.null:',
        contract(STREAM, "bptt of lstm", "auto"),
    ),
    Mutant(
        "memory that nobody wrote",
        "_arrays/functions.py",
        "    return xp.zeros(shape, dtype=like.dtype, device=device_of(like))",
        "    return xp.empty(shape, dtype=like.dtype, device=device_of(like))",
        contract(VALUES, "bptt of lstm", "eager"),
    ),
    Mutant(
        "the device of the arguments not entered",
        "_arrays/devices.py",
        "                with array.device:",
        "                with nullcontext():",
        contract(PLACE, "bptt of lstm", "alone"),
    ),
    Mutant(
        "the device of a list of arrays not entered",
        "_arrays/devices.py",
        "    return array.device if is_cupy_array(array) else nullcontext()",
        "    return nullcontext()",
        contract(PLACE, "pack", "alone"),
    ),
    Mutant(
        "a fused kernel that reads the state after the step",
        "_executors/fused.py",
        "            run(grid, (THREADS,), (*arrays, given, *into, t, before, after, *sizes))",
        "            run(grid, (THREADS,), (*arrays, given, *into, t, after, after, *sizes))",
        contract(VALUES, "bptt of lstm", "auto"),
    ),
    Mutant(
        "steps joined by a table of pointers",
        "_arrays/functions.py",
        "    if not plain and is_cupy_array(arrays[0]) and _are_alike(arrays):",
        "    if not plain and is_cupy_array(arrays[0]) and not arrays:",
        contract(BUDGET, "bptt of lstm", "eager"),
    ),
    Mutant(
        "a learning rate that is read on the host",
        "optimizers/step.py",
        '    if stays_on_device("lr", lr, params):',
        '    if lr is None and stays_on_device("lr", lr, params):',
        contract(BUDGET, "adam at a rate of the device", "auto"),
    ),
    Mutant(
        "a mask that is sent twice",
        "api.py",
        'check.flag("grad_x", grad_x), mask_on_device(mask, x)',
        'check.flag("grad_x", grad_x), mask',
        contract(BUDGET, "bptt with a mask of the host", "auto"),
    ),
    Mutant(
        "losses that are read one by one",
        "_arrays/host.py",
        "    if len(on_gpu) < 2 or",
        "    if len(on_gpu) < 99 or",
        training("training_waits_once_for_each_log", "6"),
    ),
    Mutant(
        "a file that waits for each array",
        "_arrays/host.py",
        "            host = array.get(blocking=False)",
        "            host = array.get()",
        training("a_file_of_weights_waits_once"),
    ),
    Mutant(
        "a graph in memory that others are given",
        CAPTURE,
        "    with stream, cp.cuda.using_allocator(memory.malloc):",
        "    with stream:",
        graph(MEMORY),
    ),
    Mutant(
        "the memory of a graph freed as soon as it is captured",
        CAPTURE,
        "    return result, graph, memory",
        "    return result, graph, None",
        graph("a_captured_call_keeps_what_it_reads"),
    ),
    Mutant(
        "the memory of a graph never given back",
        CAPTURE,
        "        self._pool.free_all_blocks()",
        "        pass",
        graph("the_memory_of_a_graph_is_given_back_with_its_last_array"),
    ),
    Mutant(
        "a capture that has updated the arguments",
        CAPTURE,
        "                array[...] = values",
        "                pass",
        graph(UPDATES, "auto", row="cupy-host-stream"),
    ),
    Mutant(
        "a launch that does not wait for the capture's own work",
        CAPTURE,
        "    current.wait_event(stream.record())",
        "    pass",
        graph(UPDATES, "auto", row="cupy-host-stream"),
    ),
    Mutant(
        "a stream that remains captured after an error",
        CAPTURE,
        "            stream.end_capture()",
        "            pass",
        graph("a_call_that_waits_or_sends_is_refused_by_its_line", "bptt that checks labels"),
    ),
    Mutant(
        "a captured product on the null stream",
        "_arrays/cublas.py",
        '        _run("cublasSetStream_v2", handle, self._stream)',
        '        _run("cublasSetStream_v2", handle, 0)',
        graph(MOMENT, "bptt of lstm", "eager"),
    ),
    Mutant(
        "a captured product without a workspace",
        "_arrays/cublas.py",
        '        _run("cublasSetWorkspace_v2", handle, workspace.data.ptr, workspace.nbytes)',
        '        _run("cublasSetWorkspace_v2", handle, workspace.data.ptr, 0)',
        graph(MOMENT, "bptt of lstm", "eager"),
    ),
    Mutant(
        "a workspace that is set before the stream",
        "_arrays/cublas.py",
        "        _run(name, *arguments)",
        '        _run("cublasSetStream_v2", handle, self._stream)\n        _run(name, *arguments)',
        graph(MOMENT, "bptt of lstm", "eager"),
    ),
    Mutant(
        "a workspace of memory that is freed",
        "_arrays/cublas.py",
        "        self._workspace = cp.empty(WORKSPACE if latest else EARLIER_WORKSPACE, cp.uint8)",
        "        self._workspace = cp.zeros(WORKSPACE if latest else EARLIER_WORKSPACE, cp.uint8)\n"
        "        self._workspace.data = cp.ones(9).data",
        graph(MOMENT, "bptt of lstm", "eager"),
    ),
    Mutant(
        "a captured product of a transposed factor",
        "_arrays/cublas.py",
        "        return array, YES, array.shape[0]",
        "        return array, NO, array.shape[0]",
        graph(MOMENT, "bptt of gru", "eager"),
    ),
    Mutant(
        "a graph that takes the same step of Adam again",
        "optimizers/step.py",
        "    if rule.counts:",
        "    if rule.counts and not is_cupy_namespace(xp):",
        graph("a_step_of_adam_that_is_a_number_is_refused", "adamw"),
    ),
    Mutant(
        "a graph launched on a device that is not its own",
        "executors.py",
        "        with device_context(array):",
        "        with device_context(None):",
        graph("a_graph_of_another_device_is_launched_there"),
    ),
]
