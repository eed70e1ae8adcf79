"""Beyond the gradient: curvature, gradient flow, gradients of single sequences."""

from ..mutant import Mutant

__all__ = ["DERIVATIVES"]


def products(problem):
    return f"conformance/test_derivatives.py::test_products[numpy-float64-{problem}]"


def flow(claim):
    return f"tests/test_flow.py::test_{claim}"


def by_step(problem):
    return f"conformance/test_gradient_flow.py::test_gradient_flow[numpy-float64-{problem}]"


def per_example(claim):
    return f"tests/test_per_example.py::test_{claim}"


DERIVATIVES = [
    Mutant(
        "no dropout where none was asked about",
        "_calls/call.py",
        "    mask: Any = None\n    dropout: Any = None\n",
        "    mask: Any = None\n    dropout: Any = False\n",
        "tests/test_bad_options.py::test_dropout_must_be_given_where_a_model_has_it[hvp-dropout]",
    ),
    Mutant(
        "loss's curvature left out of Gauss-Newton",
        "derivatives/curvature.py",
        "_, (product,) = directional(call.setup.xp, gradient, (outputs,), (pushed.d_outputs,))",
        "product = pushed.d_outputs",
        products("elman-one_step"),
    ),
    Mutant(
        "network's curvature left in Gauss-Newton",
        "derivatives/curvature.py",
        "return run_vjp(call, records, d_outputs, grad_x=False)[0]",
        "return hvp(model, params, x, targets, vector, loss=loss, **options)",
        products("elman-one_step"),
    ),
    Mutant(
        "loss's gradient held fixed in the Hessian",
        "derivatives/curvature.py",
        "model, loss, outputs, lift(targets)",
        "model, lambda *a, **o: lift(tuple(v.real for v in loss(*a, **o))), outputs, lift(targets)",
        products("elman-one_step"),
    ),
    Mutant(
        "loss's options not lifted",
        "derivatives/curvature.py",
        "loss(arrays[0], lift(targets), **lift(options))",
        "loss(arrays[0], lift(targets), **options)",
        "tests/test_curvature.py::"
        "test_gauss_newton_is_the_hessian_where_the_network_is_linear[squares]",
    ),
    Mutant(
        "direction measured by its first array",
        "derivatives/complex_step.py",
        "[v for v in tangents if v is not None])",
        "[next(v for v in tangents if v is not None)])",
        "tests/test_curvature.py::test_a_part_of_a_vector_may_be_small_compared_with_the_others",
    ),
    Mutant(
        "loss step off by one",
        "derivatives/flow.py",
        "xp.where(time == s, d_outputs",
        "xp.where(time == s + 1, d_outputs",
        flow("parts_by_loss_step[elman]"),
    ),
    Mutant(
        "copies that are all of the first loss step",
        "derivatives/flow.py",
        "xp.where(time == s, d_outputs",
        "xp.where(time == start, d_outputs",
        by_step("gru-tied"),
    ),
    Mutant(
        "cotangent of the state before a step for that after it",
        "derivatives/flow.py",
        "return d_before, (*before, *d_state, *rows)",
        "return d_before, (*before, *d_before, *rows)",
        by_step("elman-both_directions-lengths"),
    ),
    Mutant(
        "layers in the order in which they go back",
        "derivatives/flow.py",
        "for i in range(0, len(found), directions)][::-1]",
        "for i in range(0, len(found), directions)]",
        by_step("lstm-projected"),
    ),
    Mutant(
        "states before the steps without recurrent dropout",
        "derivatives/singular_values.py",
        "for factors in s.recurrent),\n        tuple(tuple(map(flat",
        "for factors in ()),\n        tuple(tuple(map(flat",
        "tests/test_flow_networks.py::"
        "test_the_jacobian_with_dropout_is_that_of_the_units_that_are_left",
    ),
    Mutant(
        "mask lost where losses go back one by one",
        "derivatives/flow.py",
        "mask=None if s.mask is None else copies(s.mask, 1)",
        "mask=None",
        by_step("lstm-mask"),
    ),
    Mutant(
        "all steps in each",
        "derivatives/factors.py",
        "d_part = d_y[steps, sequences, :]",
        "d_part = d_y[:, sequences, :]",
        by_step("gru-tied"),
    ),
    Mutant(
        "powers of J for those of its square",
        "derivatives/singular_values.py",
        "v, _ = _normalised(xp, _part(pulled, layer))",
        "v = u",
        flow("singular_values_of_the_whole_jacobian[gru]"),
    ),
    Mutant(
        "power method not normalised",
        "derivatives/singular_values.py",
        "v, _ = _normalised(xp, _part(pulled, layer))",
        "v = _part(pulled, layer)",
        flow("sequences_of_different_lengths[gru]"),
    ),
    Mutant(
        "squares summed over steps before gradients",
        "derivatives/per_example.py",
        "        squares = product if",
        "        product = xp.eye(product.shape[0], dtype=product.dtype) * product\n"
        "        squares = product if",
        per_example("norms_by_products_of_steps[elman]"),
    ),
    Mutant(
        "only the first chunk of a sequence",
        "derivatives/factors.py",
        "total = part if total is None else total + part",
        "total = part if total is None else total",
        per_example("many_chunks_of_time[elman-plain]"),
    ),
    Mutant(
        "squares of a vanishing gradient",
        "_arrays/norms.py",
        "    rows = xp.abs(to_accumulation_dtype(xp, xp.reshape(array, (*kept, -1))))\n",
        "    rows = xp.abs(to_accumulation_dtype(xp, xp.reshape(array, (*kept, -1))))\n"
        "    return xp.sqrt(xp.sum(rows * rows, axis=-1))\n",
        per_example("norms_by_products_of_steps[elman]"),
    ),
]
