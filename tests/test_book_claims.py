"""Claimed results, and how close they must be: `portable_rnn.book.judge`."""

from decimal import Decimal

import numpy as np
import pytest
from conformance.oracles.small_book import NUMBERS, right

import portable_rnn as prnn
from portable_rnn import book


def judged(claims, dtype="float64"):
    example = book.Example(**NUMBERS).rounded(dtype)
    return {c.name: c for c in book.judge(example, book.differentiate(example), claims, dtype)}


@pytest.mark.parametrize("name", ["a", "h", "o", "loss", "d_o", "d_h", "d_c", "d_b", "d_V", "d_W"])
@pytest.mark.parametrize("decimals", [2, 3, 6, None])
def test_a_right_claim_is_right_with_any_digits(name, decimals):
    want = right(name)
    given = want.tolist() if decimals is None else np.round(want, decimals).tolist()
    if np.max(np.abs(want)) >= 0.5:  # so that two decimals are enough
        claim = judged({name: given})[name]
        assert claim.right, claim


@pytest.mark.parametrize("name", ["h", "loss", "d_o", "d_h", "d_V", "d_W", "d_U"])
def test_a_wrong_claim_is_wrong(name):
    want = right(name)
    for factor in (1.0001, 0.9, 0.0):
        assert not judged({name: (factor * want).tolist()})[name].right


def test_common_mistakes_are_recognized():
    found = judged(
        {
            "d_o": (-right("d_o")).tolist(),
            "d_W": right("d_W").T.tolist(),
            "d_V": right("d_V").T.tolist(),
            "d_c": np.round(right("d_c"), 1).tolist(),
            "d_b": (2.0 * right("d_b")).tolist(),
        }
    )
    assert not any(claim.right for claim in found.values())
    assert found["d_o"].looks_like == "the negative of the right one"
    assert found["d_W"].looks_like == found["d_V"].looks_like == "the transpose of the right one"
    assert found["d_c"].looks_like.startswith("too few digits to tell")
    assert found["d_b"].looks_like == ""


def test_written_digits_decide_how_close_a_claim_must_be():
    d_c = right("d_c")
    text = [Decimal(f"{value:.4f}") for value in d_c]
    assert judged({"d_c": text})["d_c"].allowed == Decimal("0.0001")
    text[0] += Decimal("0.0002")
    assert not judged({"d_c": text})["d_c"].right
    # 0.1200 is written with four decimals, and 0.12 with two.
    assert judged({"loss": Decimal("2.0000")})["loss"].allowed == Decimal("0.0001")
    assert judged({"loss": Decimal("2.00")})["loss"].allowed == Decimal("0.01")
    assert judged({"d_c": d_c.astype("float32")})["d_c"].right
    single = np.float32(1.0 + 1e-5) * d_c
    assert not judged({"d_c": single})["d_c"].right
    assert judged({"d_c": single}, "float32")["d_c"].right
    example = book.Example(**NUMBERS)
    exact = book.differentiate(example)
    assert not judged({"loss": Decimal("0e5000000")})["loss"].right
    vast = book.Example(**NUMBERS | {"V": [[1e8 * v for v in row] for row in NUMBERS["V"]]})
    (claim,) = book.judge(vast, book.differentiate(vast), {"d_y_hat": np.zeros((2, 3))})
    assert claim.off > Decimal("1e1000000")
    with pytest.raises(ValueError, match="dtype: expected 'float32' or 'float64', got 'int8'"):
        book.judge(example, exact, {}, "int8")


def test_each_number_is_judged_by_its_own_digits():
    """People who count significant digits write small numbers with more decimals."""
    want = judged({"d_c": right("d_c")})["d_c"].want
    text = [Decimal(f"{float(w):.3g}") for w in want]
    assert judged({"d_c": text})["d_c"].right
    text[1] += Decimal(10) ** text[1].as_tuple().exponent * 2
    assert not judged({"d_c": text})["d_c"].right
    # Exact values must be met: rounding excuses neither 1.01 in place of 1 nor zeros.
    assert not judged({"d_loss_t": [1.01] * 2})["d_loss_t"].right
    assert judged({"d_loss_t": [1] * 2})["d_loss_t"].right
    forgotten = judged({"from_later": np.zeros((2, 3)).tolist()})["from_later"]
    assert not forgotten.right
    assert forgotten.looks_like == ""


def test_numbers_of_float32_are_known_by_their_digits():
    single = right("d_W").astype("float32")
    assert judged({"d_W": single.tolist()})["d_W"].right
    assert judged({"d_W": right("d_W").astype("float16")})["d_W"].right
    assert not judged({"d_W": (1.001 * single).astype("float32").tolist()})["d_W"].right
    assert not judged({"d_W": (1 + 1e-6) * right("d_W")})["d_W"].right


@pytest.mark.parametrize("name", ["d_W", "d_V", "d_W_t", "jacobian"])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_transpose_of_any_shape_is_recognized(name, sign):
    example = book.Example(**NUMBERS)
    exact = np.asarray(getattr(book.differentiate(example), name), dtype=np.float64)
    turned = sign * exact.swapaxes(-1, -2)
    claim = judged({name: turned.tolist()})[name]
    assert not claim.right
    text = "the transpose" if sign == 1 else "the negative transpose"
    assert claim.looks_like == f"{text} of the right one"


def test_a_claim_with_only_the_shape_of_a_transpose_is_wrong():
    claim = judged({"d_U": np.ones((2, 3))})["d_U"]
    assert not claim.right
    assert claim.looks_like.startswith("of the shape of the transpose")


def test_claims_may_be_off_by_what_the_numbers_amplify():
    chaos = {"W": [[0, 1, -1], [-3, 1, -3], [-2, 2, 0]], "x": [[0.1, 0.05]] * 60, "y": [0] * 60}
    example = book.Example(**NUMBERS | chaos).rounded("float32")
    want, rough = (book.differentiate(example, digits).d_b for digits in (50, 7))

    def claimed(times):
        got = [w + times * (r - w) for r, w in zip(rough, want, strict=True)]
        (claim,) = book.judge(example, book.differentiate(example), {"d_b": got}, "float32")
        return claim

    assert claimed(4).right
    assert claimed(4).off > 10 * Decimal(2) ** -12 * max(map(abs, want))  # many digits are wrong
    assert not claimed(20).right


def test_a_mean_over_the_steps_is_recognized():
    found = judged(
        {
            "loss": round(float(right("loss")) / 2, 4),
            "d_W": (right("d_W") / 2).round(5).tolist(),
            "d_o": (right("d_o") / 2).tolist(),
            "d_b": (right("d_b") / 3).tolist(),
            "h": (right("h") / 2).tolist(),
        }
    )
    assert not any(claim.right for claim in found.values())
    for name in ("loss", "d_W", "d_o"):
        assert found[name].looks_like == (
            "the right one divided by the 2 steps: the book's loss is their sum, not their mean"
        )
    assert found["d_b"].looks_like == found["h"].looks_like == ""  # h is of no loss


def test_wrong_numbers_are_reported_by_their_place():
    want = right("d_W").round(5)
    want[1, 2] += 0.5
    claim = judged({"d_W": want.tolist()})["d_W"]
    assert claim.wrong == [[False] * 3, [False, False, True], [False] * 3]
    assert judged({"loss": 0.0})["loss"].wrong is True
    assert judged({"d_c": right("d_c").tolist()})["d_c"].wrong == [False] * 3


def test_quantities_without_an_equation_can_be_claimed():
    """Gradients with respect to a(t), x(t) and h(0): those of the library here."""
    example = book.Example(**NUMBERS)
    model = prnn.RNN(2, 3, 3)
    rows = {"weight_ih_l0": "U", "weight_hh_l0": "W", "bias_ih_l0": "b"}
    rows |= {"readout.weight": "V", "readout.bias": "c"}
    params = {name: np.asarray(NUMBERS[letter], "float64") for name, letter in rows.items()}
    params["bias_hh_l0"] = np.zeros(3)
    x, state = np.asarray(NUMBERS["x"], "float64"), np.asarray([NUMBERS["h0"]])
    given = {"state": state, "reduction": "sum"}
    result = prnn.bptt(model, params, x, np.asarray(NUMBERS["y"]), **given)
    d_a = (1 - right("h") ** 2) * right("d_h")
    claims = {"d_x": result.grad_x, "d_h0": result.grad_state[0], "d_a": d_a}
    exact = book.differentiate(example)
    assert [claim.right for claim in book.judge(example, exact, claims)] == [True] * 3
    for name, value in claims.items():
        (claim,) = book.judge(example, exact, {name: value + 1e-3})
        assert not claim.right


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *[("dW", "d_W"), ("grad_W", "d_W"), ("nabla_a", "d_a"), ("delta", "d_a"), ("D_W", "d_W")],
        *[("dL_dx", "d_x"), ("dh0", "d_h0"), ("yhat", "y_hat"), ("nothing at all", None)],
    ],
)
def test_an_alternative_name_gets_a_suggestion(name, meant):
    with pytest.raises(ValueError, match=r"^claims: expected names from a, h, .*, got ") as raised:
        book.check_claims(book.Example(**NUMBERS), {name: 1.0})
    assert str(raised.value).endswith(f"; did you mean {meant}?") == (meant is not None)


def test_every_quantity_can_be_claimed():
    example = book.Example(**NUMBERS)
    exact = book.differentiate(example)
    claims = {
        name: getattr(
            exact, {"matrix_times_y": "d_o", "by_way_of_y_hat": "from_output"}.get(name, name)
        )
        for name in book.Quantities._fields
    }
    found = book.judge(example, exact, claims)
    assert [claim.name for claim in found] == list(book.Quantities._fields)
    assert all(claim.right for claim in found)
