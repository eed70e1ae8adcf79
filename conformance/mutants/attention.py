"""Pools, attention, decoders, and sequences that a network makes itself."""

from ..mutant import Mutant

__all__ = ["ATTENTION"]


def attention(case, row="numpy-float64"):
    test = "test_an_attention_and_its_cotangents_are_those_of_torch"
    return f"conformance/test_attention.py::{test}[{row}-{case}]"


PADDING = (
    "conformance/test_attention.py::"
    "test_padding_has_no_weight_and_no_gradient_whatever_stands_there[numpy]"
)


def decoder(case):
    test = "test_a_decoder_and_its_cotangents_are_those_of_torch"
    return f"conformance/test_decoders.py::{test}[numpy-float64-{case}]"


def made(test):
    return f"tests/test_generation.py::test_{test}"


def search(case):
    test = "test_a_search_finds_the_best_of_its_hypotheses"
    return f"conformance/test_generation.py::{test}[numpy-float64-{case}]"


FORECAST = "conformance/test_generation.py::test_a_forecast_is_the_network_on_its_own_outputs[{}]"

ATTENTION = [
    Mutant(
        "a pool of one direction where there are two",
        "pooling.py",
        "(False, True) if both else (False,)",
        "(False,)",
        "conformance/test_pooling.py::test_a_pool_and_its_cotangents_are_those_of_plain_loops"
        "[numpy-float64]",
    ),
    Mutant(
        "softmax without its own sum in the derivative",
        "_engine/attention.py",
        "return d - weights * sum_over(xp, d, axis=-1, keepdims=True)",
        "return d",
        attention("dot"),
    ),
    Mutant(
        "scores of padding counted",
        "_engine/attention.py",
        "weights = where_true(xp, valid, xp.exp(shifted))",
        "weights = xp.exp(shifted)",
        attention("dot-values-mask"),
    ),
    Mutant(
        "padding of the values let in",
        "_engine/attention.py",
        "v = m if values is None else _rows(xp, values, valid)",
        "v = m if values is None else _rows(xp, values)",
        PADDING,
    ),
    Mutant(
        "cotangents of padded weights let in",
        "_engine/attention.py",
        "where_true(xp, _pairs(r.valid), _rows(xp, d_weights))",
        "_rows(xp, d_weights)",
        PADDING,
    ),
    Mutant(
        "a scale of the scores only forwards",
        "_engine/attention.py",
        "return d if scale is None else d * scale",
        "return d",
        attention("scaled_dot-lengths"),
    ),
    Mutant(
        "the memory's cotangent as values lost",
        "_engine/attention.py",
        "d_m, d_v = d_m + d_v, None",
        "d_v = None",
        attention("general"),
    ),
    Mutant(
        "queries of additive scores summed over queries",
        "_engine/attention.py",
        "sum_over(xp, d, axis=2), sum_over(xp, d, axis=1)",
        "sum_over(xp, d, axis=2), sum_over(xp, d[:, :1, ...], axis=1)",
        attention("additive-mask"),
    ),
    Mutant(
        "a softmax of unshifted scores",
        "_engine/attention.py",
        "shifted = scores - _largest(xp, scores, None)",
        "shifted = scores",
        "conformance/test_attention.py::test_large_scores_have_a_softmax[numpy]",
    ),
    Mutant(
        "half precision summed in half precision",
        "_engine/attention.py",
        "return xp.permute_dims(to_accumulation_dtype(xp, steps), (1, 0, 2))",
        "return xp.permute_dims(steps, (1, 0, 2))",
        "tests/test_decoders.py::test_half_precision_is_rounded_once",
    ),
    Mutant(
        "hidden states without their way around the attention",
        "_engine/decoder.py",
        "d_hidden = d_hidden + d_joined[:, :, size:]",
        "d_hidden = d_hidden + 0.0",
        decoder("vectors"),
    ),
    Mutant(
        "cotangents of a decoder's padding let in",
        "_engine/decoder.py",
        "where_true(xp, _last_axis(tape.valid), d_outputs)",
        "d_outputs",
        decoder("tokens"),
    ),
    Mutant(
        "parameters of a decoder that begin alike",
        "decoders.py",
        "return uniform(self.parameter_shapes, bound, seed, draws, **options)",
        "both = uniform(self.rnn.parameter_shapes, bound, seed, draws, **options)\n"
        "        rest = {n: s for n, s in self.parameter_shapes.items() if n not in both}\n"
        "        return both | uniform(rest, bound, seed, draws, **options)",
        "tests/test_decoders.py::test_parameters_are_drawn_from_one_generator",
    ),
    Mutant(
        "feedback of the first output",
        "generation.py",
        "feedback(found[-1], step)",
        "feedback(found[0], step)",
        FORECAST.format("numpy-float64-feedback"),
    ),
    Mutant(
        "the same numbers drawn at each step",
        "_calls/sampling.py",
        "gumbel(tuple(logits.shape), _GUMBEL, number)",
        "gumbel(tuple(logits.shape), _GUMBEL, 0)",
        made("steps_of_one_seed_have_draws_of_their_own"),
    ),
    Mutant(
        "a temperature that makes nothing hotter",
        "_calls/sampling.py",
        "logits = logits * (1.0 / min(temperature, _HOT)) + drawn",
        "logits = logits + drawn",
        made("tokens_are_drawn_as_often_as_the_softmax_says[3.0]"),
    ),
    Mutant(
        "one token too few to draw from",
        "_calls/sampling.py",
        "xp.sort(logits, axis=1)[:, size - count : size - count + 1]",
        "xp.sort(logits, axis=1)[:, size - count + 1 : size - count + 2]",
        made("few_tokens_are_drawn_of_the_most_likely"),
    ),
    Mutant(
        "NaN taken for a token",
        "_calls/sampling.py",
        "xp.where(wrong, xp.full_like(tokens, -1), tokens)",
        "tokens",
        made("where_no_value_is_read_the_token_without_a_softmax_is_below_0"),
    ),
    Mutant(
        "a state that stays with its place in the beam",
        "beams.py",
        "state, new = _take(xp, state, from_rows), xp.astype",
        "state, new = state, xp.astype",
        search("True-0.0"),
    ),
    Mutant(
        "hypotheses of other sequences continued",
        "beams.py",
        "xp.reshape(parents, (-1,)) + sequences * width",
        "xp.reshape(parents, (-1,))",
        search("True-0.0"),
    ),
    Mutant(
        "hypotheses that have ended go on",
        "beams.py",
        'xp.where(every == end, xp.full_like(total, -float("inf")), total)',
        "total + 0.0",
        search("True-0.0"),
    ),
    Mutant(
        "lengths without the end symbol",
        "beams.py",
        "ended = _best(xp, ended, tokens, n, total[:, :, end]",
        "ended = _best(xp, ended, tokens, n - 1, total[:, :, end]",
        search("False-0.8"),
    ),
    Mutant(
        "a penalty of another length",
        "beams.py",
        "total[:, :, end] / _penalty(n, penalty)",
        "total[:, :, end] / _penalty(steps, penalty)",
        search("False-0.8"),
    ),
    Mutant(
        "a search that ends too early",
        "beams.py",
        "done = ceiling[:, 0] <= ended.scores[:, -1]",
        "done = ceiling[:, 0] <= ended.scores[:, 0]",
        search("True-0.0"),
    ),
]
