"""Layers and directions, dropout between them, and recomputation under a memory budget."""

from ..mutant import Mutant, gradients

__all__ = ["NETWORKS"]


def dropout(cell):
    test = "conformance/test_dropout.py::test_dropout_with_given_masks_equals_the_definition[{}]"
    return test.format(f"numpy-float64-{cell}-")


def layers(case):
    return f"tests/test_layers.py::test_a_network_is_its_layers_one_by_one[{case}]"


def planned(case):
    return (
        f"tests/test_memory.py::test_a_plan_is_not_exceeded_and_not_far_above_what_is_taken[{case}]"
    )


def tokens(case):
    return (
        f"tests/test_embedding.py::test_gradients_are_those_of_the_vectors_and_their_sums[{case}]"
    )


def rows(case):
    test = "test_vectors_are_rows_and_their_cotangents_add_up"
    return f"conformance/test_embedding.py::{test}[{case}]"


def pooled(case):
    test = "test_outputs_are_the_readout_of_pooled_features"
    return f"tests/test_pooling.py::{test}[eager-{case}]"


NETWORKS = [
    Mutant(
        "upper layer fed with x",
        "_engine/stack.py",
        "number, records[number - 1].hidden, d_state)",
        "number, records[number].hidden, d_state)",
        gradients("lstm-two_layers"),
    ),
    Mutant(
        "second direction read forwards",
        "_engine/network.py",
        "reverse=reverse,",
        "reverse=False,",
        gradients("gru-both_directions"),
    ),
    Mutant(
        "next step's state for the reversed direction",
        "_executors/eager.py",
        "[*sequence[1:], first] if reverse else",
        "",
        gradients("elman-both_directions"),
    ),
    Mutant(
        "directions' halves of the readout exchanged",
        "_engine/network.py",
        "concat(s.xp, d_one.readout.weight, d_other.readout.weight)",
        "concat(s.xp, d_other.readout.weight, d_one.readout.weight)",
        gradients("lstm-readout-both_directions"),
    ),
    Mutant(
        "one direction's gradient of x lost",
        "_engine/network.py",
        "            d_y = d_y + d_y_other\n",
        "",
        gradients("elman-two_layers-both_directions"),
    ),
    Mutant(
        "batch and time confused",
        "_calls/layout.py",
        "    return xp.permute_dims(sequence, (1, 0, 2)) if model.batch_first else sequence\n"
        "\n\ndef time_major_outward",
        "    return sequence\n\n\ndef time_major_outward",
        gradients("gru-batch_first"),
    ),
    Mutant(
        "first sequence's end for the reversed direction's start",
        "_engine/run.py",
        "[segment[::-1] for segment in reversed(found)] if s.reverse else found",
        "found",
        gradients("elman-both_directions-lengths"),
    ),
    Mutant(
        "sequences put back where the order has them",
        "_engine/chunks.py",
        "inverse < width, inverse, xp.full_like",
        "order < width, order, xp.full_like",
        "tests/test_ragged.py::test_each_sequence_is_what_it_would_be_alone_with_its_masks[gru]",
    ),
    Mutant(
        "every chunk added to the whole sum",
        "_engine/run.py",
        "cut = len(set(blocks)) < len(blocks)",
        "cut = False",
        "tests/test_budget.py::test_gradients_of_single_steps_are_added_by_chunks",
    ),
    Mutant(
        "gradients of half precision added up in half precision",
        "_engine/affine.py",
        "return to_accumulation_dtype(xp, product)",
        "return product",
        "tests/test_bptt.py::test_half_precision_adds_up_in_float32",
    ),
    Mutant(
        "what dropout leaves not scaled up",
        "_arrays/choices.py",
        "self._like.dtype, 1.0 / (1.0 - p)",
        "self._like.dtype, 1.0",
        "tests/test_dropout.py::test_masks_drop_as_often_as_they_should_and_keep_the_mean",
    ),
    Mutant(
        "one mask of recurrent dropout for all layers",
        "_calls/dropout_masks.py",
        "draw.factors(model.recurrent_dropout, (batch, hidden), _RECURRENT, i)",
        "draw.factors(model.recurrent_dropout, (batch, hidden), _RECURRENT, 0)",
        "tests/test_dropout.py::test_each_layer_and_direction_has_masks_of_its_own",
    ),
    Mutant(
        "one mask of zoneout for h and c",
        "_calls/dropout_masks.py",
        "_UPDATE, i * len(shapes) + part)",
        "_UPDATE, i * len(shapes))",
        "tests/test_dropout.py::test_masks_drop_as_often_as_they_should_and_keep_the_mean",
    ),
    Mutant(
        "masks of two kinds from the same random numbers",
        "_calls/dropout_masks.py",
        "_BETWEEN, _RECURRENT, _UPDATE = range(3)",
        "_BETWEEN = _RECURRENT = _UPDATE = 0",
        "tests/test_dropout.py::test_masks_of_two_kinds_differ",
    ),
    Mutant(
        "seeds of which one has a zero more are the same",
        "_arrays/choices.py",
        "SeedSequence(seed, spawn_key=lengths)",
        "SeedSequence(seed)",
        "tests/test_choices.py::test_seeds_of_other_lengths_differ",
    ),
    Mutant(
        "a round too few of the random numbers on a device",
        "_arrays/choices.py",
        "r < 10;",
        "r < 9;",
        "conformance/test_dropout.py::test_one_seed_draws_the_same_masks_everywhere"
        "[cupy-host-float32]",
    ),
    Mutant(
        "masks drawn on the host and moved to the device",
        "_arrays/choices.py",
        "is_cupy_array(like) and is_cupy_namespace(xp)",
        "False",
        "conformance/test_dropout.py::test_drawing_on_a_device_moves_nothing_and_waits_for_nothing"
        "[cupy-host]",
    ),
    Mutant(
        "masks drawn on the current device",
        "dropout.py",
        "@with_device_of_arguments\ndef draw(",
        "def draw(",
        "conformance/test_dropout.py::test_drawing_on_a_device_moves_nothing_and_waits_for_nothing"
        "[cupy-host-device1]",
    ),
    Mutant(
        "zoneout of h for c",
        "_engine/select.py",
        "_choose(xp, u, n, o) for u, n, o",
        "_choose(xp, update[0], n, o) for _, n, o",
        dropout("lstm"),
    ),
    Mutant(
        "held state's cotangent for the new one's",
        "_engine/select.py",
        "choose(xp, update, zeros, d_state)\n",
        "choose(xp, update, d_state, zeros)\n",
        dropout("elman"),
    ),
    Mutant(
        "run again from an older state",
        "_engine/gradient_checkpointing.py",
        "yield end - 1, state if end == n else advance(state, start, end - 1)",
        "yield end - 1, state",
        "tests/test_budget.py::test_a_budget_changes_no_bit[gru-options0]",
    ),
    Mutant(
        "kept states not counted",
        "memory.py",
        "tape = checkpoints * self.state + ",
        "tape = ",
        "tests/test_plan.py::test_a_plan_says_what_it_will_take",
    ),
    Mutant(
        "mebibytes for megabytes",
        "_arrays/scalars.py",
        '"m": 10**6',
        '"m": 2**20',
        "tests/test_plan.py::test_a_text_says_how_many_bytes[MB-1000000.0]",
    ),
    Mutant(
        "recurrent dropout in one direction only",
        "_engine/network.py",
        "recurrent=s.recurrent[i : i + 1]",
        "recurrent=s.recurrent[i:i]",
        layers("elman-recurrent-1-both ways"),
    ),
    Mutant(
        "a step's work in numbers, not bytes",
        "memory.py",
        "self.step = 8 * cell.gates * hidden * itemsize * batch",
        "self.step = 8 * cell.gates * hidden * batch",
        "tests/test_plan.py::test_a_plan_in_float64_is_twice_that_in_float32_but_for_objects[gru]",
    ),
    Mutant(
        "a step's work of one sequence",
        "memory.py",
        "self.step = 8 * cell.gates * hidden * itemsize * batch",
        "self.step = 8 * cell.gates * hidden * itemsize",
        planned("one step-lstm-float32"),
    ),
    Mutant(
        "chunks that cost nothing to remember",
        "memory.py",
        "            + OBJECTS * (self.steps // chunk)\n",
        "",
        planned("small steps-gru-float64"),
    ),
    Mutant(
        "a tape without its objects",
        "memory.py",
        " + self.objects * segment\n",
        "\n",
        "tests/test_memory.py::test_a_budget_is_kept_by_a_small_network[gru-16]",
    ),
    Mutant(
        "chunks that take no time",
        "memory.py",
        "of_steps + chunks * (self.layers * of_chunk + SUMS * self.weights)",
        "of_steps",
        "tests/test_plan.py::test_a_plan_of_small_units_takes_longer[gru-16-1-1-4.5-9.0]",
    ),
    Mutant(
        "small pieces taken for whole chunks",
        "memory.py",
        "return self.chunk_rows == full * self.batch and",
        "return",
        "tests/test_plan.py::test_a_plan_says_whether_time_is_cut_in_the_same_places"
        "[800-1-same2-other2]",
    ),
    Mutant(
        "rows of the second product counted from the front",
        "_engine/recurrence.py",
        "size = w.hh.weight.shape[0] // gates * (gates - second)",
        "size = w.hh.weight.shape[0] // gates * second",
        gradients("reset_before_gru-default"),
    ),
    Mutant(
        "a tied embedding without the gradient of the readout",
        "model.py",
        "plus(of_readout, weights.embedding)",
        "weights.embedding",
        "tests/test_embedding.py::test_a_tied_embedding_has_the_gradients_of_both_uses",
    ),
    Mutant(
        "only the last of a token's rows",
        "_engine/embedding.py",
        "d_left[pairs] += d[right]",
        "d_left[pairs] = d[right]",
        tokens("eager-bptt-options0"),
    ),
    Mutant(
        "rows of other tokens added",
        "_engine/embedding.py",
        "xp.where(same, d[step:, :],",
        "xp.where(same | ~same, d[step:, :],",
        rows("array-api-strict-float32-many rows"),
    ),
    Mutant(
        "rows of the first leaf again",
        "_executors/llvm_tokens.py",
        "f.sum(start, leaves.at, leaf.at)",
        "f.sum(start, leaf.at)",
        rows("numpy-compiled-float32-many rows"),
    ),
    Mutant(
        "tokens of the first window in all of them",
        "_calls/embedding.py",
        "return Tokens(self.indices[a:b, ...],",
        "return Tokens(self.indices[: b - a, ...],",
        tokens("eager-truncated_bptt-options5"),
    ),
    Mutant(
        "the reversed direction pooled at the last step too",
        "_engine/pooling.py",
        "time if backwards else -time",
        "-time",
        pooled("last-True-steps0"),
    ),
    Mutant(
        "reversed networks that read forwards",
        "_calls/call.py",
        "True, True, model.reverse)",
        "True, True, False)",
        "conformance/test_reverse.py::"
        "test_a_network_that_reads_backwards_equals_loops_over_scalars[numpy-float64-random-gru-2]",
    ),
    Mutant(
        "a stream of a network that reads backwards",
        "_calls/checks.py",
        '(("bidirectional", " too"), ("reverse", ""))',
        '(("bidirectional", " too"),)',
        "tests/test_reverse.py::test_what_cuts_time_is_refused[stream]",
    ),
    Mutant(
        "checkpoints of earlier versions refused",
        "training/checkpoints.py",
        'ADDED = {"tied": False, "reverse": False}',
        'ADDED = {"tied": False}',
        "tests/test_checkpoints.py::test_a_checkpoint_of_a_version_without_a_field_is_resumed",
    ),
    Mutant(
        "a mean over all steps",
        "_engine/pooling.py",
        "sum_over(xp, xp.astype(valid, y.dtype), axis=0)[None, :, None]",
        "sum_over(xp, xp.astype(valid | ~valid, y.dtype), axis=0)[None, :, None]",
        pooled("mean-False-steps1"),
    ),
    Mutant(
        "sorted sequences taken for the caller's",
        "_calls/pooling.py",
        "if s.inverse is None else s.inverse",
        "",
        pooled("max-False-steps1"),
    ),
    Mutant(
        "the gradient of a maximum to all that are equal",
        "_engine/pooling.py",
        "chosen = _first(xp, chosen & largest, time)",
        "chosen = chosen & largest",
        "tests/test_pooling.py::test_the_first_of_equal_maxima_has_the_gradient",
    ),
]
