"""A compiled layer is the eager one: for every cell, option, dtype and size.

Compared is with `layer` and `layer_vjp` of the engine in float64, on numbers rounded before to the
tested dtype, by the measure of the conformance suite and its bound.
"""

import itertools
import re
import subprocess
import sys
import threading

import numpy as np
import pytest
from conformance.mutants import compiled_here
from conformance.tolerances import K, error_in_eps

from portable_rnn._engine.affine import SUMS, Linear
from portable_rnn._engine.bptt import Inputs
from portable_rnn._engine.recurrence import Weights, recurrence_of
from portable_rnn._engine.setup import Setup
from portable_rnn._executors import kernel as kernels
from portable_rnn._executors import llvm_cache
from portable_rnn._executors.compiled_layer import Layer
from portable_rnn._executors.eager import EAGER
from portable_rnn._executors.kernel import kernel
from portable_rnn._executors.llvm_target import Target, Unavailable, host
from portable_rnn._executors.slabs import Slabs
from portable_rnn._executors.trace import NotPointwise, trace
from portable_rnn.cells import GRU, LSTM, Elman, LayerNormElman

if reason := compiled_here.why_not():
    pytest.skip(reason, allow_module_level=True)

from portable_rnn._executors import llvm_loop

from .own_cell import MinimalGated
from .pointwise_cells import POINTWISE

pytestmark = pytest.mark.no_products

CELLS = POINTWISE | {"elman-clip": Elman("elu", clip=0.5), "of one's own": MinimalGated()}
OPTIONS = {
    "mask": {"held": "choose", "per_sequence": True},
    "zoneout": {"held": "choose"},
    "zoneout, predicted": {"held": "mix", "mean": True},
    "mixed": {"held": "mix"},
    "recurrent dropout": {"scaled": True},
    "all": {"held": "choose", "scaled": True},
}
SIZES = [(T, B, H) for T in (1, 2, 7) for B in (1, 2, 5, 16) for H in (1, 3, 8, 17, 64)]
SIZES = SIZES if compiled_here.EVERY else SIZES[::2]  # an even step leaves each size in
FEW_SIZES = [(7, 5, 17), (2, 1, 3), (2, 16, 64)]
INPUTS = 3
# On every change, the cells of which each is of another kind; `nox -s compiled` runs all.
EVERY = compiled_here.EVERY
WIDTHS = (128, 256, 512) if EVERY else (128, 256)  # bits of a vector
KINDS = ("elman-tanh", "gru", "lstm", "lstm-peepholes", "of one's own")
CHANGED = list(CELLS) if EVERY else KINDS


@pytest.fixture(autouse=True, scope="module")
def _own_folder(tmp_path_factory):
    """Compile anew, once for all tests here."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in compiled_here.ON.items():
            patch.setenv(name, value)
        patch.setenv(llvm_cache.FOLDER, str(tmp_path_factory.mktemp("code")))
        yield


class Problem:
    """Numbers for one layer, and what the engine makes of them."""

    def __init__(
        self, cell, dtype, size, *, held="", scaled=False, per_sequence=False, mean=False, seed=0
    ):
        self.cell, self.dtype, self.held, self.scaled = cell, dtype, held, scaled
        T, B, H = self.size = size
        rng, G = np.random.default_rng(seed), cell.gates

        def draw(*shape, scale=1.0):
            return (scale * rng.standard_normal(shape)).astype(dtype)

        self.own = tuple(draw(v.multiple * H, scale=0.3) for v in getattr(cell, "vectors", ()))
        self.x, self.d_hidden = draw(T, B, INPUTS), draw(T, B, H)
        self.state = tuple(draw(B, H) for _ in range(cell.states))
        self.d_state = tuple(draw(B, H) for _ in range(cell.states))
        self.factors = (rng.random((B, H)) < 0.5).astype(dtype) * dtype(2.0) if scaled else None
        self.ih = draw(G * H, INPUTS, scale=INPUTS**-0.5), draw(G * H)
        self.hh = draw(G * H, H, scale=H**-0.5), draw(G * H)
        shape = (T, B, 1) if per_sequence else (T, 1, 1) if mean else (T, B, H)
        update = [rng.random(shape) for _ in range(cell.states if held else 0)]
        choose = [u < 0.6 for u in update]
        if per_sequence:
            choose = choose[:1] * cell.states
        self.update = tuple(u.astype(dtype) for u in update) if held == "mix" else tuple(choose)

    def eager(self, *, reverse=False, dtype=np.float64, d_hidden=True):
        """Return results of the engine by name."""

        def cast(array):
            keep = array is None or array.dtype == np.bool_
            return array if keep else array.astype(dtype)

        ih, hh = (Linear(*map(cast, pair)) for pair in (self.ih, self.hh))
        w = Weights(ih, hh._replace(scale=cast(self.factors)), None, tuple(map(cast, self.own)))
        setup = Setup(np, EAGER, recurrence_of(self.cell, held=bool(self.held)), reverse=reverse)
        state, update, x = tuple(map(cast, self.state)), tuple(map(cast, self.update)), cast(self.x)
        given = Inputs(x, update)
        hidden, after, record = EAGER.layer(setup, w, given, state)
        d_w, d_x, d_before = EAGER.layer_vjp(
            *(setup, w, given, record, cast(self.d_hidden) if d_hidden else None),
            *(tuple(map(cast, self.d_state)), None),
        )
        return named(np.stack(hidden), after, d_w, d_x, d_before)

    def compiled(self, *, reverse=False, target=None, d_hidden=True):
        """Return results of the compiled loops by name."""
        loops = kernel(
            self.cell, np.dtype(self.dtype).name, held=self.held, scaled=self.scaled, target=target
        )
        compiled = Layer(loops, self.hh[0], self.ih[1], self.hh[1], self.own)
        ax = np.stack([x @ self.ih[0].T for x in self.x])
        hidden, after, record = compiled.forward(
            ax, self.state, self.update, self.factors, reverse=reverse
        )
        given = self.d_hidden if d_hidden else None
        found = compiled.backward(record, given, self.d_state)
        ih, hh = Linear(*self.ih), Linear(*self.hh, self.factors)
        w = Weights(ih, hh, None, self.own)
        rows = (*found.d_own, found.d_ax)
        rows = rows if found.d_ah is found.d_ax else (*rows, found.d_ah)
        pair = recurrence_of(self.cell, held=bool(self.held))
        d_w, d_ax = pair.weights_vjp(np, w, self.x, record.hidden_before, rows, SUMS)
        return named(hidden, after, d_w, ih.vjp_x(np, d_ax), found.d_state)

    def check(self, **how):
        """Compare both; return the worst error in eps."""
        want, got, worst = self.eager(**_known(how)), self.compiled(**how), 0.0
        arrays = [*self.ih, *self.hh, *self.own, *self.state]
        sizes = {"forward": max(float(np.abs(array).max()) for array in arrays)}
        sizes["back"] = max(float(np.abs(d).max()) for d in (self.d_hidden, *self.d_state))
        for name, expected in want.items():
            assert got[name].dtype == self.dtype
            scale = sizes["forward" if name in ("hidden", "after 0", "after 1") else "back"]
            error = error_in_eps(got[name], expected, scale=scale)
            assert error <= K, f"{name}: {error:.3g} eps, {self.size}"
            worst = max(worst, error)
        return worst


def _known(how):
    return {name: value for name, value in how.items() if name != "target"}


def named(hidden, after, d_w, d_x, d_before):
    """Return results by name."""
    return {
        "hidden": hidden,
        **{f"after {i}": part for i, part in enumerate(after)},
        "d W_ih": d_w.ih.weight,
        "d W_hh": d_w.hh.weight,
        "d b_ih": d_w.ih.bias,
        "d b_hh": d_w.hh.bias,
        **{f"d own {i}": part for i, part in enumerate(d_w.own)},
        "d x": d_x,
        **{f"d before {i}": part for i, part in enumerate(d_before)},
    }


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", CHANGED)
def test_equals_the_engine(name, dtype, record_property):
    worst = max(Problem(CELLS[name], dtype, size).check() for size in SIZES)
    record_property("eps", worst)


@pytest.mark.parametrize("option", OPTIONS)
@pytest.mark.parametrize(
    ("name", "dtype"),
    itertools.product(["elman-tanh", "gru", "lstm-peepholes"], [np.float32, np.float64])
    if EVERY
    else [("elman-tanh", np.float32), ("gru", np.float64), ("lstm-peepholes", np.float32)],
)
def test_equals_the_engine_with_what_a_step_may_have_more(name, option, dtype):
    for size in FEW_SIZES:
        Problem(CELLS[name], dtype, size, **OPTIONS[option]).check()


@pytest.mark.parametrize("option", ["", "all"])
@pytest.mark.parametrize("name", ["elman-tanh", "gru", "lstm-peepholes"])
def test_equals_the_engine_from_the_last_step_to_the_first(name, option):
    for size in FEW_SIZES:
        problem = Problem(CELLS[name], np.float32, size, **OPTIONS.get(option, {}))
        problem.check(reverse=True)
        problem.check(reverse=True, d_hidden=False)
        problem.check(d_hidden=False)


def bits(problem, *, batch=None, target=None):
    """Return what the loops make of the first sequences: all of it, as arrays.

    The product before the loop is not part of that: BLAS rounds it by the size of the batch.
    """
    dtype = np.dtype(problem.dtype).name
    loops = kernel(problem.cell, dtype, held=problem.held, scaled=problem.scaled, target=target)
    compiled = Layer(loops, problem.hh[0], problem.ih[1], problem.hh[1], problem.own)
    ax = np.stack([x @ problem.ih[0].T for x in problem.x])[:, :batch]
    state, d_state = (
        tuple(part[:batch] for part in parts) for parts in (problem.state, problem.d_state)
    )
    update = tuple(part[:, :batch] for part in problem.update)
    scale = None if problem.factors is None else problem.factors[:batch]
    hidden, after, record = compiled.forward(ax, state, update, scale)
    found = compiled.backward(record, problem.d_hidden[:, :batch], d_state)
    return [hidden, *(part[None] for part in (*after, *found.d_state)), found.d_ax, found.d_ah]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["elman-tanh", "gru", "lstm-peepholes"])
def test_a_result_has_the_same_bits_whatever_the_batch(name, dtype):
    """Sums are made in one order, whatever the tile."""
    problem = Problem(CELLS[name], dtype, (7, 16, 600))  # so many that k is cut
    whole = bits(problem)
    for batch in (1, 2, 3, 5, 11):
        for want, got in zip(whole, bits(problem, batch=batch), strict=True):
            np.testing.assert_array_equal(got, want[:, :batch])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ["elman-softplus", "gru", "lstm-all"] if EVERY else ["gru"])
def test_a_result_has_the_same_bits_whatever_the_width_of_vectors(name, dtype):
    """Vectors wider than the processor's are put together from several: the code is the same."""
    problem = Problem(CELLS[name], dtype, (7, 5, 37), held="choose", scaled=True)
    narrow, *others = (bits(problem, target=host(width)) for width in WIDTHS)
    for other in others:
        for want, got in zip(narrow, other, strict=True):
            np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("name", ["elman-tanh", "gru", "lstm-peepholes"])
@pytest.mark.parametrize("width", WIDTHS)
def test_equals_the_engine_with_other_vectors(name, width):
    for size in FEW_SIZES:
        problem = Problem(CELLS[name], np.float32, size, held="choose", scaled=True)
        problem.check(target=host(width))


def test_chunks_of_time_are_the_whole():
    problem = Problem(LSTM(), np.float64, (7, 3, 9))
    loops = kernel(LSTM(), "float64")
    compiled = Layer(loops, problem.hh[0], problem.ih[1], problem.hh[1])
    ax = np.stack([x @ problem.ih[0].T for x in problem.x])
    hidden, after, record = compiled.forward(ax, problem.state)
    want = compiled.backward(record, problem.d_hidden, problem.d_state)
    first, middle, one = compiled.forward(ax[:3], problem.state)
    second, last, other = compiled.forward(ax[3:], middle)
    np.testing.assert_array_equal(np.concatenate([first, second]), hidden)
    np.testing.assert_array_equal(last, after)
    later = compiled.backward(other, problem.d_hidden[3:], problem.d_state)
    earlier = compiled.backward(one, problem.d_hidden[:3], later.d_state)
    np.testing.assert_array_equal(np.concatenate([earlier.d_ax, later.d_ax]), want.d_ax)
    np.testing.assert_array_equal(earlier.d_state, want.d_state)


def test_nothing_is_kept_unless_it_is_asked_for():
    problem = Problem(LSTM(), np.float32, (7, 3, 9))
    compiled = Layer(kernel(LSTM(), "float32"), problem.hh[0])
    ax = np.stack([x @ problem.ih[0].T for x in problem.x])
    for reverse in (False, True):
        want = compiled.forward(ax, problem.state, reverse=reverse)
        got = compiled.forward(ax, problem.state, reverse=reverse, keep=False)
        np.testing.assert_array_equal(got[0], want[0])
        np.testing.assert_array_equal(got[1], want[1])
        assert got[2].stored.shape[1] == 1


@pytest.mark.parametrize("name", ["elman-tanh", "gru", "lstm-peepholes"])
def test_cotangents_may_be_written_into_those_of_an_earlier_call(name):
    problem = Problem(CELLS[name], np.float32, (7, 3, 9))
    loops = kernel(CELLS[name], "float32")
    compiled = Layer(loops, problem.hh[0], own=problem.own)
    ax = np.stack([x @ problem.ih[0].T for x in problem.x])
    _, _, record = compiled.forward(ax, problem.state)
    want = compiled.backward(record, problem.d_hidden, problem.d_state)
    other = compiled.backward(record, 2.0 * problem.d_hidden, problem.d_state)
    got = compiled.backward(record, problem.d_hidden, problem.d_state, into=other)
    assert got.d_ax is other.d_ax
    assert got.d_ah is other.d_ah
    for one, two in zip(got, want, strict=True):
        np.testing.assert_array_equal(one, two)
    _, _, shorter = compiled.forward(ax[:2], problem.state)
    assert compiled.backward(shorter, None, problem.d_state, into=got).d_ax.shape[0] == 2


def test_arrays_of_a_slab_lie_apart_and_begin_with_a_line():
    slabs = Slabs(np.dtype("float64"))
    arrays = [slabs.empty(*shape) for shape in ((3,), (0, 4), (50, 7), (8,), (1,), (40_000,))]
    for number, array in enumerate(arrays):
        array[...] = number
    for number, array in enumerate(arrays):
        assert (array == number).all()
        assert array.ctypes.data % 64 == 0 or array.size == 0


def test_no_steps_and_no_sequences_are_layers_too():
    for steps, batch in ((0, 3), (4, 0)):
        problem = Problem(GRU(), np.float32, (steps, batch, 5))
        compiled = Layer(kernel(GRU(), "float32"), problem.hh[0])
        ax = np.zeros((steps, batch, 15), np.float32)
        hidden, after, record = compiled.forward(ax, problem.state)
        assert hidden.shape == (steps, batch, 5)
        np.testing.assert_array_equal(after, problem.state)
        found = compiled.backward(record, problem.d_hidden, problem.d_state)
        np.testing.assert_array_equal(found.d_state, problem.d_state)


def test_arrays_may_be_views():
    problem = Problem(GRU(), np.float32, (7, 3, 9))
    want = bits(problem)
    wide = np.zeros((3, 7, 18), np.float32)  # batch first, one direction of two
    wide[:, :, 9:] = problem.d_hidden.swapaxes(0, 1)
    problem.d_hidden = wide[:, :, 9:].swapaxes(0, 1)
    problem.hh = np.asfortranarray(problem.hh[0]), problem.hh[1][None, :]
    for one, other in zip(bits(problem), want, strict=True):
        np.testing.assert_array_equal(one, other)
    problem.d_hidden = np.asfortranarray(problem.d_hidden)
    for one, other in zip(bits(problem), want, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("units", [1, 3, 8, 17])
def test_nan_stays_in_its_sequence(units):
    """Neither padding nor another sequence is touched."""
    problem = Problem(LSTM(True), np.float32, (4, 3, units), held="choose", scaled=True)
    want = bits(problem)
    problem.x[1, 1] = np.nan
    problem.d_hidden[2, 1] = np.inf
    problem.update[0][:, 1] = problem.update[1][:, 1] = True
    got = bits(problem)
    for one, other in zip(got, want, strict=True):
        np.testing.assert_array_equal(one[:, ::2], other[:, ::2])
    assert np.isnan(got[0][1:, 1]).all()


def test_a_step_that_does_not_count_changes_no_bit_whatever_stands_there():
    problem = Problem(GRU(), np.float32, (5, 2, 11), held="choose", per_sequence=True)
    problem.update[0][:] = True
    problem.update[0][2:, 0] = False
    want = bits(problem)
    problem.x[2:, 0] = np.nan
    got = bits(problem)
    np.testing.assert_array_equal(got[0], want[0])
    assert (got[0][2:, 0] == got[0][1, 0]).all()
    np.testing.assert_array_equal(got[1], want[1])


def test_a_zero_factor_drops_what_is_finite():
    problem = Problem(Elman(), np.float64, (5, 2, 11), scaled=True)
    problem.factors[...] = 0.0
    ax = np.stack([x @ problem.ih[0].T for x in problem.x])
    want = np.tanh(ax + problem.ih[1] + problem.hh[1])
    np.testing.assert_allclose(bits(problem)[0], want, rtol=1e-15, atol=1e-15)


# ------------------------------------------------------------------------- other processors


def assembly(cell, dtype, target):
    """Return the functions of a module for a processor, by name."""
    binding = llvm_cache.binding()
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    text = llvm_loop.write(trace(cell), dtype, target, scaled=False)
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
    tiles = {k: v for k, v in assembly(CELLS[name], dtype, target).items() if "tile_" in k}
    assert len(tiles) > 3
    for tile, lines in tiles.items():
        _, gates, blocks, rows = tile.split("_")
        products = [line for line in lines if line.startswith(product) and register in line]
        assert len(products) == int(gates) * int(blocks) * int(rows)
        assert not [line for line in lines if SPILLED.search(line)], tile


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


# ---------------------------------------------------------------------------------------- cache


def code_of(cell, dtype="float32"):
    kernels.of_program.cache_clear()
    return kernel(cell, dtype)


@pytest.fixture
def folder(tmp_path, monkeypatch):
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


def test_no_folder_and_one_that_cannot_be_written_are_done_without(tmp_path, monkeypatch):
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
    assert len(list(folder.iterdir())) == 1
    assert code_of(Elman()).reloaded


def test_python_goes_on_while_a_loop_runs():
    """The lock of the interpreter is open: two loops end in one result, and others count on."""
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
