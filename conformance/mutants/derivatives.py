"""Beyond the gradient: curvature, gradient flow, gradients of single sequences."""

from ..mutant import Mutant

__all__ = ["DERIVATIVES"]


def products(problem):
    return f"conformance/test_derivatives.py::test_products[numpy-float64-{problem}]"


def flow(claim):
    return f"tests/test_flow.py::test_{claim}"


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
        "loss_step == t,",
        "loss_step == t + 1,",
        flow("parts_by_loss_step[elman]"),
    ),
    Mutant(
        "gap that stops the gradient of later losses",
        "derivatives/flow.py",
        "_held(xp, exists[0, :], seen, carry)",
        "_held(xp, exists[0, :], seen, None)",
        flow("a_gap_passes_the_gradient_on"),
    ),
    Mutant(
        "powers of J for those of its square",
        "derivatives/flow.py",
        "v, _ = _normalised(xp, _part(pulled, layer))",
        "v = u",
        flow("singular_values_of_the_whole_jacobian[gru]"),
    ),
    Mutant(
        "power method not normalised",
        "derivatives/flow.py",
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
        "derivatives/per_example.py",
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
