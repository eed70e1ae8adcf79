"""Machine code of compiled layers: of other processors, refused, kept in a folder, in threads."""

import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from conformance.mutants import compiled_here

from portable_rnn._executors import kernel as kernels
from portable_rnn._executors import llvm_cache
from portable_rnn._executors.compiled_layer import Layer
from portable_rnn._executors.kernel import kernel
from portable_rnn._executors.llvm_target import Target, Unavailable, host
from portable_rnn._executors.sums import sums
from portable_rnn._executors.tables import PANEL
from portable_rnn._executors.trace import NotPointwise, trace
from portable_rnn.cells import LSTM, Elman, LayerNormElman

if reason := compiled_here.why_not():
    pytest.skip(reason, allow_module_level=True)

from portable_rnn._executors import llvm_loop, llvm_sums

from .compiled_problem import CELLS, EVERY, Problem, bits

pytestmark = [pytest.mark.no_products, pytest.mark.usefixtures("compiled_anew")]


def assembly(text, target):
    """Return the functions of a module for a processor, by name."""
    binding = llvm_cache.binding()
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    found, name = {}, ""
    for line in llvm_cache.compile_module(text, target, assembly=True).decode().splitlines():
        if line and not line[0].isspace() and not line.startswith("."):
            name = line.split(":")[0]
        found.setdefault(name, []).append(line.strip())
    return found


PROCESSORS = {
    "avx2": (Target("x86_64-unknown-linux-gnu", "haswell", "", 256, 16), "vfmadd", "%ymm"),
    "avx512": (Target("x86_64-unknown-linux-gnu", "x86-64-v4", "", 512, 32), "vfmadd", "%zmm"),
    "neon": (Target("aarch64-unknown-linux-gnu", "neoverse-n1", "", 128, 32), "fmla", "v"),
}

# A vector written to, or read from, the stack.
SPILLED = re.compile(r"[yz]mm.*\(%rsp\)|\(%rsp\).*[yz]mm|\bq\d+.*\[sp")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["elman-tanh", "gru", "lstm"])
@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.skipif(not EVERY, reason="nox -s compiled reads the code of many processors")
def test_tiles_keep_their_sums_in_registers(processor, name, dtype):
    target, product, register = PROCESSORS[processor]
    text = llvm_loop.write(trace(CELLS[name]), dtype, target, scaled=False)
    tiles = {k: v for k, v in assembly(text, target).items() if "tile_" in k}
    assert len(tiles) > 3
    for tile, lines in tiles.items():
        _, gates, blocks, rows = tile.split("_")
        products = [line for line in lines if line.startswith(product) and register in line]
        assert len(products) == int(gates) * int(blocks) * int(rows)
        assert not [line for line in lines if SPILLED.search(line)], tile


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.skipif(not EVERY, reason="nox -s compiled reads the code of many processors")
def test_tiles_of_gradients_keep_their_sums_in_registers(processor, dtype):
    target, product, register = PROCESSORS[processor]
    text = llvm_sums.write(dtype, target)
    tiles = {k: v for k, v in assembly(text, target).items() if "tile_" in k}
    assert len(tiles) > 1
    for tile, lines in tiles.items():
        width = int(tile.split("_")[1])
        at = [i for i, line in enumerate(lines) if line.startswith(product) and register in line]
        assert len(at) == width * min(PANEL, target.accumulators // width)
        # Between leaves they may be anywhere.
        assert not [line for line in lines[at[0] : at[-1]] if SPILLED.search(line)], tile


# ------------------------------------------------------------------------------------- refusals


def test_a_cell_that_is_not_pointwise_is_refused():
    with pytest.raises(NotPointwise, match=r"xp\.sum"):
        kernel(LayerNormElman(), "float32")


@pytest.mark.parametrize("dtype", ["float16", "complex128"])
def test_another_dtype_is_refused(dtype):
    with pytest.raises(ValueError, match="float32 or float64"):
        kernel(Elman(), dtype)


def test_arrays_of_other_sizes_are_refused():
    problem = Problem(LSTM(True), np.float32, (4, 3, 5))
    loops = kernel(LSTM(True), "float32")
    with pytest.raises(ValueError, match="weight"):
        Layer(loops, problem.hh[0][:-1])
    with pytest.raises(ValueError, match="own"):
        Layer(loops, problem.hh[0])
    compiled = Layer(loops, problem.hh[0], own=problem.own)
    with pytest.raises(ValueError, match="ax"):
        compiled.forward(np.zeros((4, 3, 19), np.float32), problem.state)
    _, _, record = compiled.forward(np.zeros((4, 3, 20), np.float32), problem.state)
    with pytest.raises(ValueError, match="d_hidden"):
        compiled.backward(record, problem.d_hidden[1:], problem.d_state)


def test_other_widths_are_refused(monkeypatch):
    with pytest.raises(ValueError, match="128, 256, 512"):
        host(100)
    monkeypatch.setenv("PORTABLE_RNN_VECTOR_BITS", "wide")
    with pytest.raises(ValueError, match="PORTABLE_RNN_VECTOR_BITS"):
        host()
    monkeypatch.setenv("PORTABLE_RNN_VECTOR_BITS", "128")
    assert host().bits == 128


def test_without_llvmlite_the_reason_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "llvmlite.binding", None)
    with pytest.raises(Unavailable, match="pip install llvmlite"):
        llvm_cache.binding()


def code_of(cell, dtype="float32"):
    kernels.of_program.cache_clear()
    return kernel(cell, dtype)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for dtype in ("float32", "float64"):  # code shared by all cells, which is not tested here
        sums(dtype, host())
    monkeypatch.setenv(llvm_cache.FOLDER, str(tmp_path / "code"))
    return tmp_path / "code"


def test_code_is_kept_and_found_again(folder):
    assert not code_of(Elman()).reloaded
    (file,) = folder.iterdir()
    before = file.read_bytes()
    assert code_of(Elman()).reloaded
    assert file.read_bytes() == before
    assert not code_of(Elman("relu")).reloaded
    assert not code_of(Elman(), "float64").reloaded
    assert len(list(folder.iterdir())) == 3


@pytest.mark.parametrize("damage", ["cut", "one byte", "empty", "text"])
def test_damaged_code_is_made_again(folder, damage):
    code_of(Elman())
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "cut": whole[:middle],
        "one byte": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
        "empty": b"",
        "text": b"not code",
    }
    file.write_bytes(damaged[damage])
    assert not code_of(Elman()).reloaded
    assert code_of(Elman()).reloaded
    Problem(Elman(), np.float32, (7, 5, 17)).check()


def test_code_is_compiled_without_a_writable_folder(tmp_path, monkeypatch):
    monkeypatch.setenv(llvm_cache.FOLDER, "")
    assert not code_of(Elman()).reloaded
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv(llvm_cache.FOLDER, str(tmp_path / "file" / "code"))
    assert not code_of(Elman()).reloaded
    assert not code_of(Elman()).reloaded


def test_the_folder_is_in_the_users_cache_unless_told(monkeypatch, tmp_path):
    monkeypatch.delenv(llvm_cache.FOLDER)
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert llvm_cache.folder() == tmp_path / "portable-rnn"


COMPILE = """
import numpy as np
from portable_rnn._executors.compiled_layer import Layer
from portable_rnn._executors.kernel import kernel
from portable_rnn.cells import Elman
loops = kernel(Elman(), "float32")
hidden, _, _ = Layer(loops, np.eye(3, dtype="float32")).forward(
    np.ones((2, 1, 3), "float32"), (np.zeros((1, 3), "float32"),))
print(hidden.sum())
"""


def test_processes_that_compile_at_once_leave_whole_code(folder):
    processes = [
        subprocess.Popen([sys.executable, "-c", COMPILE], stdout=subprocess.PIPE) for _ in range(4)
    ]
    said = {process.communicate()[0] for process in processes}
    assert len(said) == 1
    assert [process.returncode for process in processes] == [0] * 4
    assert len(list(folder.iterdir())) == 2  # loops, and sums
    assert code_of(Elman()).reloaded


def test_python_goes_on_while_a_loop_runs():
    """The interpreter lock is released: two loops give one result, and other threads run."""
    problem = Problem(Elman(), np.float32, (200, 4, 256))
    want, found = bits(problem), {}
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: bits(problem)})) for i in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for got in found.values():
        for one, other in zip(got, want, strict=True):
            np.testing.assert_array_equal(one, other)
    assert len(found) == 2
