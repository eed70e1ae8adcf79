"""Code that all losses share, and optimizers."""

from ..mutant import Mutant, loss, optimizer

__all__ = ["TRAINING"]


TRAINING = [
    Mutant(
        "mean over the masked steps too",
        "_reduction.py",
        "weight = xp.asarray(_sum(xp, scale))",
        "weight = xp.asarray(_sum(xp, xp.ones_like(scale)))",
        loss("labels", steps="masked"),
    ),
    Mutant(
        "vectors in the order of a dict",
        "vectors.py",
        "_flat(params[name])) for name in sorted(params)]",
        "_flat(params[name])) for name in params]",
        "conformance/test_vectors.py::test_a_vector_has_the_numbers_in_the_order_of_sorted_names"
        "[numpy-float64--1]",
    ),
    Mutant(
        "shards that count alike",
        "distributed/parts.py",
        "_times(g, found.counted) for name, g",
        "_times(g, 1.0 + 0 * found.counted) for name, g",
        "conformance/test_distributed.py::test_gradients_of_shards_are_those_of_the_batch"
        "[numpy-float64-loaded-by_dask]",
    ),
    Mutant(
        "padding that counts",
        "distributed/parts.py",
        "    return xp.sum(weights)",
        "    return xp.sum(xp.ones_like(weights))",
        "conformance/test_distributed.py::test_gradients_of_shards_are_those_of_the_batch"
        "[numpy-float64-cut-alone]",
    ),
    Mutant(
        "the same masks in all shards",
        "distributed/parts.py",
        "_part(work, own, batch, state, (seed, step, shard), loader)",
        "_part(work, own, batch, state, (seed, step, 0), loader)",
        "tests/test_all_reduce.py::test_each_shard_draws_masks_of_its_own",
    ),
    Mutant(
        "shards beyond the number of processes",
        "distributed/all_reduce.py",
        "mine = range(self._rank, shards, self._size)",
        "mine = range(self._rank, self._size, self._size)",
        "tests/test_all_reduce.py::test_gradients_of_processes_are_those_of_the_whole_batch[2]",
    ),
    Mutant(
        "every process writes",
        "distributed/all_reduce.py",
        "self.writes = self._rank == 0",
        "self.writes = self._rank >= 0",
        "tests/test_all_reduce.py::test_one_process_writes_and_all_resume",
    ),
    Mutant(
        "the first names of an index alone",
        "model_files.py",
        "params |= {name: found[name] for name in names} if names else found",
        "params = {name: found[name] for name in names} if names else found",
        "tests/test_model_files.py::test_parameters_in_several_files_are_one_model",
    ),
    Mutant(
        "parameters of any model",
        "model_files.py",
        'if header.get("model", described) != described:',
        "if False:",
        "tests/test_model_files.py::test_a_description_that_is_not_one_is_named"
        "[text7-parameters of another model]",
    ),
    Mutant(
        "a first derivative where a second is asked for",
        "torch.py",
        "if torch.is_grad_enabled():  # for",
        "if False:  # for",
        "tests/test_torch_layer.py::"
        "test_hessian_vector_products_are_those_of_torchs_own_layers[GRU]",
    ),
    Mutant(
        "a packed sequence in another order",
        "torch.py",
        "outputs = outputs.index_select(0 if first else 1, x.sorted_indices)",
        "outputs = outputs.clone()",
        "tests/test_torch_layer.py::test_a_packed_sequence_is_packed_again[lengths1-GRU-deep]",
    ),
    Mutant(
        "outputs whose memory may change",
        "torch.py",
        "ctx.save_for_backward(*tensors, *outputs)",
        "ctx.save_for_backward(*tensors, *(one.clone() for one in outputs))",
        "tests/test_torch_layer.py::"
        "test_memory_that_is_changed_before_the_way_back_is_noticed[outputs]",
    ),
    Mutant(
        "arrays that are shared with a module",
        "interop/torch.py",
        "from_host(to_host(tensor).copy(), xp)",
        "from_host(to_host(tensor), xp)",
        "tests/test_interop_torch.py::test_what_is_converted_is_a_copy",
    ),
    Mutant(
        "layouts of torch that are not told",
        "interop/torch.py",
        '"batch_first": getattr(layers, "batch_first", False)',
        '"batch_first": False',
        "tests/test_interop_torch.py::test_recurrent_layers_are_the_same"
        "[GRU-1-2-bias-{'batch_first': True}]",
    ),
    Mutant(
        "files of any folder",
        "model_files.py",
        'if file != PurePosixPath(file.replace("\\\\", "/")).name or',
        "if",
        "tests/test_model_files.py::"
        "test_an_index_names_files_of_its_folder_that_hold_what_it_says"
        "[/etc/passwd-files of its own folder]",
    ),
    Mutant(
        "clipping that lengthens",
        "optimizers/clipping.py",
        "factor = xp.where(short, one, limit) / xp.where(short, one, in_units)",
        "divisor, factor = unit, limit / in_units",
        optimizer("clipping_equals_its_formula", "100.0"),
    ),
    Mutant(
        "squares that leave the dtype",
        "_arrays/norms.py",
        "return xp.hypot(a, b)",
        "return xp.sqrt(a * a + b * b)",
        "conformance/test_optimizers.py::test_gradients_of_any_size_take_the_step_of_the_formulas"
        "[numpy-float32-adam-0.875]",
    ),
    Mutant(
        "squares that vanish unnoticed",
        "_arrays/norms.py",
        '_numpy().errstate(over="raise", under="raise")',
        '_numpy().errstate(over="raise", under="ignore")',
        "tests/test_norms.py::test_a_root_mean_square_has_one_entry_unlike_all_others"
        "[numpy-float32-1e-30-2100-True]",
    ),
    Mutant(
        "0 times infinity",
        "_reduction.py",
        "return factor * xp.where(factor == 0, zero, array)",
        "return factor * array",
        "conformance/test_losses_edges.py::"
        "test_a_label_without_probability_costs_infinity_and_has_a_gradient[numpy]",
    ),
    Mutant(
        "a mean of nothing that spoils the gradient",
        "_reduction.py",
        "weight = xp.where(nothing, xp.ones_like(weight), weight)",
        "weight = weight + 0.0",
        "conformance/test_losses_edges.py::test_values_without_weight_do_not_matter"
        "[numpy-float64-mean_squared_error]",
    ),
]
