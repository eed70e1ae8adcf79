"""Texts, vocabularies, baselines, and text drawn from a network."""

import math
import subprocess
import sys
import tracemalloc
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

import portable_rnn as prnn
from portable_rnn.text import (
    Vocabulary,
    baselines,
    default_text,
    generate,
    read_text,
    split_text,
)

pytestmark = pytest.mark.no_products


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "int64"])
def test_labels_take_the_memory_of_their_dtype(dtype):
    text = "aé\u20ac\U0001f600" * 10
    labels = Vocabulary.of(text).encode(text, dtype=dtype)
    assert labels.dtype == dtype
    assert labels.tolist() == [0, 1, 2, 3] * 10
    many = Vocabulary("".join(map(chr, range(256, 400))))
    with pytest.raises(ValueError, match="dtype: expected one for 144 characters, got 'int8'"):
        many.encode("\u0100", dtype="int8")
    with pytest.raises(ValueError, match="dtype: expected 'int8', 'int16', 'int32' or 'int64'"):
        many.encode("\u0100", dtype="uint8")


@pytest.mark.parametrize(("part", "dense"), [(1, 0), (2, 0), (3, 2**20), (1000, 0), (1000, 2**20)])
def test_a_text_is_read_in_parts(monkeypatch, part, dense):
    """Baselines and labels are those of counting characters and pairs one by one."""
    rng = np.random.default_rng(0)
    train, held_out = ("".join(rng.choice(list("abcé\u20ac"), size)) for size in (400, 57))
    monkeypatch.setattr("portable_rnn.text.PART", part)
    monkeypatch.setattr("portable_rnn.text.DENSE", dense)
    vocabulary = Vocabulary.of(train)
    assert vocabulary.characters == "".join(sorted(set(train)))
    assert vocabulary.decode(vocabulary.encode(train)) == train
    bits = baselines(train, held_out)
    alphabet = len(set(train + held_out))
    counts, pairs = Counter(train), Counter(pairwise(train))
    firsts = Counter(train[:-1])
    unigram = -sum(math.log2((counts[b] + 1) / (len(train) + alphabet)) for b in held_out)
    bigram = -sum(
        math.log2((pairs[a, b] + 1) / (firsts[a] + alphabet))
        for a, b in pairwise(train[-1] + held_out)
    )
    assert bits["unigram"] == pytest.approx(unigram / len(held_out), rel=1e-12)
    assert bits["bigram"] == pytest.approx(bigram / len(held_out), rel=1e-12)


def test_a_text_takes_little_more_memory_than_itself(monkeypatch):
    monkeypatch.setattr("portable_rnn.text.PART", 2**16)
    monkeypatch.setattr("portable_rnn.text._xz_bits", len)  # xz takes 700 MB for any text
    text = "".join(np.random.default_rng(0).choice(list("abcdefgh "), 100_000)) * 60
    tracemalloc.start()
    vocabulary = Vocabulary.of(text)
    labels = vocabulary.encode(text, dtype="int8")
    bits = baselines(text[:-10_000], text[-10_000:])
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(labels) == len(text)
    assert bits["unigram"] < math.log2(9.01)
    # Labels, two slices and a part; a list of characters would be eight times the text.
    assert most < 3.5 * len(text)


LARGE = """
import resource, sys
from pathlib import Path
from portable_rnn import text
text._xz_bits = len  # xz takes as long, and as much memory, for any large text
def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = most()
whole = text.read_text([Path(sys.argv[1])])
learned, held_out = text.split_text(
    whole, batch_size=16, window=64, validation_batch_size=8, share=0.01
)
vocabulary = text.Vocabulary.of(whole)
del whole
text.baselines(learned, held_out)
assert len(vocabulary.encode(learned, dtype="int8")) == len(learned)
print(most() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted in other units elsewhere")
def test_a_file_of_50_mb_takes_little_more_than_twice_its_size(tmp_path):
    with open(tmp_path / "text", "wb") as file:
        for _ in range(50):
            file.write(b"Words, and more words.\n" * (10**6 // 23))
    command = [sys.executable, "-c", LARGE, tmp_path / "text"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert ended.returncode == 0, ended.stderr
    assert float(ended.stdout) < 130.0  # MB


def test_vocabulary_round_trip_with_any_characters():
    text = "naïve – 漢字 🙂\n"
    vocabulary = Vocabulary.of(text)
    assert vocabulary.decode(vocabulary.encode(text)) == text
    assert len(vocabulary) == len(set(text))


def test_unknown_characters_are_named():
    with pytest.raises(ValueError, match=r"text: .*got \['x', 'y'\]"):
        Vocabulary.of("abc").encode("axbyx")


def test_the_default_text_is_english_and_long_enough():
    text = default_text()
    assert len(text) > 300_000
    assert text.count(" the ") > 2_000


def test_read_text_joins_files_and_names_bad_ones(tmp_path):
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("day", encoding="utf-8")
    bad.write_bytes(b"ni\xff")
    assert read_text([good, good]) == "day\n\nday"
    with pytest.raises(ValueError, match=r"text: expected UTF-8 in .*bad, got byte 0xff at .* 2"):
        read_text([good, bad])
    with pytest.raises(ValueError, match=r"text: cannot read .*missing"):
        read_text([tmp_path / "missing"])


def test_a_byte_order_mark_is_no_character_of_the_text(tmp_path):
    marked = tmp_path / "marked"
    marked.write_bytes(b"\xef\xbb\xbfday\r\nby day")
    assert read_text([marked, marked]) == "day\nby day\n\nday\nby day"
    assert "\ufeff" not in Vocabulary.of(read_text([marked])).characters


@pytest.mark.parametrize(
    ("characters", "kind", "words"),
    [
        ("abca", ValueError, r"characters: expected every one once, got \['a'\] more often"),
        (3, TypeError, "characters: expected a text, got 3"),
        (["a", "b"], TypeError, "characters: expected a text"),
    ],
)
def test_a_vocabulary_has_every_character_once(characters, kind, words):
    with pytest.raises(kind, match=words):
        Vocabulary(characters)


def test_split_holds_out_the_end():
    learned, held_out = split_text(
        "a" * 900 + "b" * 100, batch_size=2, window=5, validation_batch_size=2
    )
    assert (learned, held_out) == ("a" * 900, "b" * 100)


def test_the_least_length_named_for_a_short_text_is_enough():
    sizes = {"batch_size": 4, "window": 8, "validation_batch_size": 2}
    with pytest.raises(ValueError, match="text: expected at least") as caught:
        split_text("a" * 50, **sizes)
    least = int(str(caught.value).split("at least ")[1].split()[0].replace(",", ""))
    split_text("a" * least, **sizes)
    with pytest.raises(ValueError, match="text"):
        split_text("a" * (least - 20), **sizes)


def test_baselines_against_their_definitions():
    bits = baselines("aab", "ba")
    # Unigram: (2+1)/(3+2) for a, (1+1)/(3+2) for b.
    assert bits["unigram"] == pytest.approx(-(math.log2(3 / 5) + math.log2(2 / 5)) / 2)
    # Pairs of the training text: aa and ab. Then b|b: (0+1)/(0+2), a|b: (0+1)/(0+2).
    assert bits["bigram"] == pytest.approx(1.0)


def test_baselines_of_noise_are_its_entropy():
    rng = np.random.default_rng(0)
    noise = "".join(rng.choice(list("abcd"), 40_000))
    bits = baselines(noise[:30_000], noise[30_000:])
    assert bits["unigram"] == pytest.approx(2, abs=0.01)
    assert bits["bigram"] == pytest.approx(2, abs=0.01)
    assert 2 <= bits["xz"] < 2.6


MODEL = prnn.RNN(3, 5, 3, cell="lstm")
VOCABULARY = Vocabulary("abc")


def draw(**options):
    given = {"params": MODEL.init(seed=0), "vocabulary": VOCABULARY}
    given |= {"prompt": "a", "length": 30, "seed": 1} | options
    return "".join(generate(MODEL, **given))


def test_the_same_seed_draws_the_same_text():
    assert draw() == draw()
    assert draw() != draw(seed=2)
    assert len(draw()) == 30


def test_a_network_of_bfloat16_writes():
    torch = pytest.importorskip("torch")
    assert len(draw(params=MODEL.init(seed=0, xp=torch, dtype="bfloat16"))) == 30


def test_temperature_zero_takes_the_likeliest():
    params = MODEL.init(seed=0)
    text = "ab"
    for character in draw(prompt=text, temperature=0, length=10):
        one_hot = np.eye(3, dtype=np.float32)[VOCABULARY.encode(text)]
        assert VOCABULARY.encode(character) == prnn.predict(MODEL, params, one_hot)[-1].argmax()
        text += character


@pytest.mark.parametrize("temperature", [0, 1.0])
@pytest.mark.parametrize("number", [np.nan, -np.inf])
def test_nothing_is_drawn_from_parameters_that_are_not_finite(number, temperature):
    params = MODEL.init(seed=0)
    params["weight_hh_l0"][0, 1] = number
    with pytest.raises(
        ValueError, match=r"params\['weight_hh_l0'\]: expected finite values, got 1"
    ):
        generate(MODEL, params, VOCABULARY, prompt="a", length=3, temperature=temperature)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"prompt": ""}, "prompt: expected at least one character"),
        ({"prompt": "z"}, "got ['z']"),
        ({"temperature": -1.0}, "temperature: expected a number of at least 0, got -1.0"),
        ({"temperature": float("nan")}, "temperature"),
    ],
)
def test_bad_requests_are_named(options, words):
    with pytest.raises(ValueError) as caught:  # noqa: PT011 (the words are checked below)
        draw(**options)
    assert words in str(caught.value)


def least(**options):
    given = {"text": "abc" * 100, "batch_size": 2, "window": 3, "validation_batch_size": 2}
    return split_text(**given | options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: Vocabulary("aba"),
            ValueError,
            r"characters: expected every one once, got \['a'\] more often",
        ),
        (lambda: Vocabulary(["a", "b"]), TypeError, "characters: expected a text, got"),
        (lambda: Vocabulary("a\ud800"), ValueError, "characters: expected characters of UTF-8"),
        (lambda: Vocabulary.of(b"abc"), TypeError, "text: expected a text, got b'abc'"),
        (lambda: VOCABULARY.encode(1), TypeError, "text: expected a text, got 1"),
        (lambda: VOCABULARY.decode([0, -1]), ValueError, r"indices\[1\]: expected at least 0"),
        (
            lambda: VOCABULARY.decode([3]),
            ValueError,
            r"indices\[0\]: expected an int below 3, got 3",
        ),
        (lambda: VOCABULARY.decode([0.0]), TypeError, r"indices\[0\]: expected an int"),
        (lambda: VOCABULARY.decode("0"), TypeError, "indices: expected a list of ints, got '0'"),
        (lambda: read_text("file"), TypeError, "paths: expected a list of paths, got 'file'"),
        (lambda: read_text([None]), TypeError, r"paths\[0\]: expected a path, got None"),
        (lambda: least(window=0), ValueError, "window: expected at least 1, got 0"),
        (lambda: least(batch_size="2"), TypeError, "batch_size: expected an int"),
        (lambda: least(share=1.0), ValueError, r"share: expected a number in \(0, 1\), got 1\.0"),
        (lambda: least(share=0), ValueError, r"share: expected a number in \(0, 1\), got 0"),
        (lambda: least(text=None), TypeError, "text: expected a text, got None"),
        (lambda: baselines("", "a"), ValueError, "train: expected at least one character"),
        (lambda: baselines("a", ""), ValueError, "held_out: expected at least one character"),
        (lambda: draw(length=-1), ValueError, "length: expected at least 0, got -1"),
        (lambda: draw(length=1.5), TypeError, r"length: expected an int, got 1\.5"),
        (lambda: draw(seed=-1), ValueError, "seed: expected at least 0"),
        (lambda: draw(temperature="1"), TypeError, "temperature: expected a number"),
        (lambda: draw(vocabulary="abc"), TypeError, "vocabulary: expected a Vocabulary, got 'abc'"),
        (
            *(lambda: draw(vocabulary=Vocabulary("abcd")), ValueError),
            "vocabulary: expected as many characters as .*3 and 3, got 4",
        ),
        (
            *(lambda: draw(params={n: a * np.nan for n, a in MODEL.init().items()}), ValueError),
            r"params\['weight_ih_l0'\]: expected finite values",
        ),
    ],
)
def test_arguments_that_do_not_fit_are_named(call, error, message):
    with pytest.raises(error, match=f"^{message}"):
        call()


def test_names_of_columns_are_no_indices():
    class Frame:
        shape, columns = (2, 2), (0, 1)

        def __iter__(self):
            return iter(self.columns)

    for given in (Frame(), {0: "a"}, np.zeros((2, 2), int)):
        with pytest.raises(TypeError, match=r"^indices: expected a list of ints, got "):
            Vocabulary.of("ab").decode(given)
