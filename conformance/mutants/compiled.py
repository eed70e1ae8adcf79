"""The compiled loops: tracing, packing, products, what follows them, and their table."""

from ..mutant import Mutant

__all__ = ["COMPILED"]

FOLDER = "_executors"


def equals(case, test="equals_the_engine"):
    """Return the id of a test that compares the compiled layer with the engine."""
    return f"tests/test_compiled.py::test_{test}[{case}]"


COMPILED = [
    Mutant(
        "packed weights with the wrong stride",
        f"{FOLDER}/llvm_product.py",
        "place = f.times(loop.at, index(gates * lanes))",
        "place = f.times(loop.at, index(lanes))",
        equals("gru-float64"),
    ),
    Mutant(
        "a piece of the weights from the beginning again",
        f"{FOLDER}/llvm_product.py",
        "part = f.address(weight, panel, f.times(pieces.at, row_step))",
        "part = f.address(weight, panel)",
        equals("gru-float64", "a_result_has_the_same_bits_whatever_the_batch"),
    ),
    Mutant(
        "sums of another sequence",
        f"{FOLDER}/llvm_loop.py",
        "at = f.sum(f.times(block, self.batch), sequence)",
        "at = f.sum(f.times(sequence, count), block)",
        equals("lstm-float64"),
    ),
    Mutant(
        "a residual not stored",
        f"{FOLDER}/llvm_loop.py",
        "for i, value in enumerate(stored):",
        "for i, value in enumerate(stored[:-1]):",
        equals("lstm-float64"),
    ),
    Mutant(
        "a unit taken for padding",
        f"{FOLDER}/llvm_function.py",
        'return b.icmp_signed("<", ir.Constant(kind, list(range(v.lanes))), many)',
        'return b.icmp_signed("<", ir.Constant(kind, list(range(1, v.lanes + 1))), many)',
        equals("elman-tanh-float64"),
    ),
    Mutant(
        "the new state taken for the old",
        f"{FOLDER}/llvm_loop.py",
        'when = f.builder.sub(at, index(1)) if name == "new" else at',
        "when = f.builder.sub(at, index(1))",
        equals("gru-float64"),
    ),
    Mutant(
        "the cotangent of ax taken for that of ah",
        f"{FOLDER}/llvm_loop.py",
        'd_ah = "d_ax" if p.same else "d_ah"',
        'd_ah = "d_ax"',
        equals("gru-float64"),
    ),
    Mutant(
        "a factor of recurrent dropout forgotten going back",
        f"{FOLDER}/llvm_loop.py",
        'found = b.fmul(found, place.load(self.pointer("scale")))',
        "pass",
        equals("gru-float64-recurrent dropout", "equals_the_engine_with_options_of_a_step"),
    ),
    Mutant(
        "one own vector in the place of another",
        f"{FOLDER}/llvm_loop.py",
        "place.store(next(values), pointer, place.of_gate(i, p.own))",
        "place.store(next(values), pointer, place.of_gate(p.own - 1 - i, p.own))",
        equals("lstm-peepholes-float64"),
    ),
    Mutant(
        "what goes past a step forgotten",
        f"{FOLDER}/trace.py",
        'return past if d is None else add("add", d, past)',
        "return past if d is None else d",
        equals("gru-float64-zoneout", "equals_the_engine_with_options_of_a_step"),
    ),
    Mutant(
        "a replaced state taken for what the cell computed",
        f"{FOLDER}/trace.py",
        'self.new.append(self._choose(i, computed, self._leaf("state", i)))',
        "self.new.append(computed)",
        equals("gru-float64-zoneout", "equals_the_engine_with_options_of_a_step"),
    ),
    Mutant(
        "units that are mixed not noticed",
        f"{FOLDER}/trace.py",
        "if others := self._reads[node] - {unit}:",
        "if others := set():",
        "tests/test_trace.py::test_a_cell_that_is_not_pointwise_is_refused_with_the_reason"
        "[units in reverse]",
    ),
    Mutant(
        "the size of a batch not noticed",
        f"{FOLDER}/trace.py",
        "if first.text != second.text:",
        "if first.states != second.states:",
        "tests/test_trace.py::test_a_cell_that_is_not_pointwise_is_refused_with_the_reason"
        "[the number of sequences]",
    ),
    Mutant(
        "a coefficient of exp wrong in its seventh digit",
        f"{FOLDER}/llvm_math.py",
        "            0.16666666681659179,",
        "            0.16666696681659179,",
        "tests/test_compiled_math.py::test_float32_where_values_change[exp]",
    ),
    Mutant(
        "ln 2 in one part",
        f"{FOLDER}/llvm_math.py",
        "(6.93147180369123816490e-01, 1.90821492927058770002e-10)",
        "(6.93147180559945309417e-01, 0.0)",
        "tests/test_compiled_math.py::test_float64_on_a_sample[exp]",
    ),
    Mutant(
        "the first state handed out as the last where time runs the other way",
        f"{FOLDER}/compiled_layer.py",
        "last = 0 if reverse else steps",
        "last = steps",
        equals("gru-", "equals_the_engine_from_the_last_step_to_the_first"),
    ),
    Mutant(
        "outputs in the memory that the tape is read from",
        "_engine/run.py",
        "outputs = copied(xp, outputs)",
        "pass",
        "tests/test_compiled_calls.py::test_returned_arrays_belong_to_the_caller",
    ),
    Mutant(
        "cotangents of a chunk in the memory of those before",
        f"{FOLDER}/compiled.py",
        "self._before = found if again else None",
        "self._before = found",
        "tests/test_compiled_calls.py::test_cotangents_of_chunks_do_not_share_memory[None]",
    ),
    Mutant(
        "a stream that does not take the state that it is given",
        f"{FOLDER}/compiled_step.py",
        "if state is not self._slots[now]:",
        "if state is None:",
        "tests/test_compiled_calls.py::test_a_stream_equals_predict_whatever_happens_to_its_state",
    ),
    Mutant(
        "updates of both kinds read as booleans",
        f"{FOLDER}/programs.py",
        'return "choose" if kinds == {"bool"} else "mix"',
        'return "choose" if "bool" in kinds else "mix"',
        "tests/test_compiled_calls.py::test_masks_of_both_kinds_are_read_as_numbers",
    ),
    Mutant(
        "one sum for all rows of a chunk",
        f"{FOLDER}/tables.py",
        "LEAF = 48",
        "LEAF = 10**9",
        "tests/test_compiled_calls.py::test_numbers_that_are_all_alike_add_up[6144-1-compiled]",
    ),
    Mutant(
        "cotangents of the first sequence taken for those of a thread's first",
        f"{FOLDER}/compiled_layer.py",
        'self.kernel.dtype.itemsize * values.get("d_y_row", 0)',
        "0",
        "tests/test_threads.py::test_a_layer_has_the_same_bits_by_any_number_of_threads[float32-gru-None]",
    ),
    Mutant(
        "steps as far apart as a thread's sequences",
        f"{FOLDER}/llvm_loop.py",
        "self.plane = self.f.times(self.sequences, self.units)",
        "self.plane = self.f.times(self.batch, self.units)",
        "tests/test_threads.py::test_a_layer_has_the_same_bits_by_any_number_of_threads[float32-gru-None]",
    ),
    Mutant(
        "sums of a thread's columns added to the first",
        f"{FOLDER}/sums.py",
        "address(weight) + first * inputs * size",
        "address(weight)",
        "tests/test_threads.py::test_sums_have_the_same_bits_by_any_number_of_threads[59-float32]",
    ),
    Mutant(
        "threads that are not waited for",
        f"{FOLDER}/workers.py",
        "while not all(one.done() for one in waiting):",
        "while not waiting:",
        "tests/test_threads.py::test_an_interrupt_is_raised_when_all_jobs_have_ended[in a job]",
    ),
    Mutant(
        "sums of a vector that is not full written as if it were",
        f"{FOLDER}/llvm_sums.py",
        "    with_masks(f, left, width, add)",
        "    add([None] * width)",
        "tests/test_compiled_sums.py::test_what_is_not_a_number_stays_in_its_row_and_column",
    ),
    Mutant(
        "rows of the first piece again",
        f"{FOLDER}/llvm_sums.py",
        'f.times(pieces.at, given[f"inputs.{i}"])',
        "index(0)",
        "tests/test_compiled_sums.py::test_sums_are_those_of_longer_floats[512-float32-size4]",
    ),
    Mutant(
        "the cotangent of the input in the memory of the window before",
        f"{FOLDER}/compiled.py",
        "new=total is None",
        "new=False",
        "tests/test_compiled_calls.py::test_windows_of_one_call_do_not_share_returned_arrays[5-10]",
    ),
    Mutant(
        "gradients of a chunk in place of those before",
        f"{FOLDER}/compiled.py",
        "        if total is None:\n            total = Weights(",
        "        if total is not self:\n            total = Weights(",
        "tests/test_compiled_calls.py::test_cotangents_of_chunks_do_not_share_memory[None]",
    ),
    Mutant(
        "a cell that was changed compiled as it was",
        f"{FOLDER}/programs.py",
        "    if _is_known_fixed(inner.cell):",
        "    if inner.cell is not None:",
        "tests/test_compiled_cells.py::test_a_cell_that_is_changed_is_traced_again",
    ),
]
