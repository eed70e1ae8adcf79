"""Character-level language modelling: texts, vocabularies, baselines, and samples."""

import lzma
import math
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ._arrays import checks as check
from ._arrays.host import float64_to_host
from ._arrays.namespace import Array, Namespace, device_of, namespace_of
from ._calls.checks import check_every_step, check_one_direction, check_parameters
from .api import predict
from .losses import one_hot
from .model import RNN

__all__ = [
    "XZ_CHARACTERS",
    "Vocabulary",
    "baselines",
    "default_text",
    "generate",
    "read_text",
    "split_text",
]

PART = 2**20  # characters that are looked at together: a text may be as large as memory allows
DENSE = 2**20  # pairs of characters that are counted in a table, which is faster than to sort them
XZ_CHARACTERS = 8 * 2**20  # that xz has read before it compresses the rest


class Vocabulary:
    """The characters of a text, each with its index.

    Parameters
    ----------
    characters : str
        Every character once; their order is that of the indices.

    Raises
    ------
    TypeError, ValueError
        If it is not a string, or has a character twice.

    Examples
    --------
    >>> from portable_rnn.text import Vocabulary
    >>> vocabulary = Vocabulary.of("abba")
    >>> vocabulary.characters, vocabulary.decode(vocabulary.encode("bab"))
    ('ab', 'bab')
    """

    def __init__(self, characters: str) -> None:
        self.characters = check.text("characters", characters)
        self._codes = {ord(character): i for i, character in enumerate(characters)}
        if len(self._codes) < len(characters):
            twice = sorted(c for c, count in Counter(characters).items() if count > 1)
            raise ValueError(f"characters: expected every one once, got {twice} more often")

    @classmethod
    def of(cls, text: str) -> "Vocabulary":
        """Return the vocabulary of a text, in the order of code points.

        Raises
        ------
        TypeError, ValueError
            If it is not a string.
        """
        seen = np.zeros(sys.maxunicode + 1, dtype=bool)
        for codes in _code_points(check.text("text", text)):
            seen[codes] = True
        return cls("".join(map(chr, np.flatnonzero(seen).tolist())))

    def __len__(self) -> int:
        return len(self.characters)

    def encode(self, text: str, *, dtype: Any = "int32") -> np.ndarray[Any, Any]:
        """Return the index of each character, shape (S,).

        Parameters
        ----------
        text : str
        dtype : {"int8", "int16", "int32", "int64"}
            "int8" is enough for 128 characters, and takes a quarter of the memory of "int32".

        Raises
        ------
        TypeError, ValueError
            If it is not a string, a character is not in the vocabulary, or an index does not fit
            into the dtype.
        """
        check.text("text", text)
        names = ("int8", "int16", "int32", "int64")
        kind = np.dtype(check.choice("dtype", dtype, names))
        if len(self) - 1 > np.iinfo(kind).max:
            raise ValueError(
                f"dtype: expected one for {len(self)} characters, got {dtype!r}, which has "
                f"{np.iinfo(kind).max + 1}"
            )
        # Of every code point up to the last of the vocabulary and one more: its index, or -1.
        table = np.full(max(self._codes, default=-1) + 2, -1, dtype=kind)
        for code, index in self._codes.items():
            table[code] = index
        found = np.empty(len(text), dtype=kind)
        unknown: set[str] = set()
        start = 0
        for codes in _code_points(text):
            indices = table[np.minimum(codes, len(table) - 1)]
            found[start : start + len(codes)] = indices
            unknown.update(map(chr, np.unique(codes[indices < 0]).tolist()))
            start += len(codes)
        if unknown:
            raise ValueError(
                f"text: expected characters the network was trained on, got {sorted(unknown)}"
            )
        return found

    def decode(self, indices: Iterable[int]) -> str:
        """Return the characters of some indices.

        Raises
        ------
        TypeError, ValueError
            If they are not ints of at least 0 and below the number of characters.
        """
        found = []
        for position, index in enumerate(_items("indices", indices, "ints")):
            number = check.integer(f"indices[{position}]", index, least=0)
            if number >= len(self):
                raise ValueError(
                    f"indices[{position}]: expected an int below {len(self)}, got {number}"
                )
            found.append(self.characters[number])
        return "".join(found)


def default_text() -> str:
    """Return the English text of the help topics that every CPython includes.

    About half a million characters of the Python language reference.
    """
    from pydoc_data.topics import topics

    return "\n\n".join(topics[name].strip() for name in sorted(topics))


def read_text(paths: Iterable[Path]) -> str:
    """Return the text of some UTF-8 files, one after another, without byte-order marks.

    Raises
    ------
    TypeError, ValueError
        If something is not a path, or a file cannot be read or is not UTF-8.
    """
    parts = []
    for number, one in enumerate(_items("paths", paths, "paths")):
        path = check.path(f"paths[{number}]", one)
        try:
            parts.append(path.read_text(encoding="utf-8-sig"))
        except OSError as error:
            raise ValueError(f"text: cannot read {path}: {error.strerror}") from None
        except UnicodeDecodeError as error:
            raise ValueError(
                f"text: expected UTF-8 in {path}, got byte {error.object[error.start]:#04x} "
                f"at position {error.start}"
            ) from None
    return "\n\n".join(parts)


def split_text(
    text: str, *, batch_size: int, window: int, validation_batch_size: int, share: float = 0.1
) -> tuple[str, str]:
    """Hold out the last ``share`` of a text.

    Raises
    ------
    TypeError, ValueError
        If a part is too short for one window of every lane, or an argument has the wrong type or
        value.
    """
    check.text("text", text)
    for name, value in (
        ("batch_size", batch_size),
        ("window", window),
        ("validation_batch_size", validation_batch_size),
    ):
        check.count(name, value)
    share = check.number("share", share, above=0.0, below=1.0)
    cut = len(text) - round(len(text) * share)
    need_train = batch_size * window + 1
    need_held_out = validation_batch_size * window + 1
    if cut < need_train or len(text) - cut < need_held_out:
        least = max(math.ceil(need_train / (1 - share)), math.ceil(need_held_out / share)) + 1
        raise ValueError(
            f"text: expected at least {least:,} characters to split into training and "
            f"validation at batch size {batch_size} and window {window}, got {len(text):,}"
        )
    return text[:cut], text[cut:]


def baselines(train: str, held_out: str) -> dict[str, float]:
    """Return bits per character on ``held_out`` of models that need hardly any training.

    Each has seen ``train``, like the network: character and pair frequencies with add-one
    smoothing over the characters of both, and the xz compressor (size with ``held_out``
    appended, minus size without). xz, which takes a second for a million characters, is given the
    last `XZ_CHARACTERS` of ``train``, and the first tenth as many of ``held_out``.

    Raises
    ------
    TypeError, ValueError
        If one is not a string, or is empty.
    """
    check.text("train", train, least=1)
    check.text("held_out", held_out, least=1)
    vocabulary = Vocabulary.of(
        "".join(Vocabulary.of(text).characters for text in (train, held_out))
    )
    alphabet = len(vocabulary)
    singles = np.zeros(alphabet, dtype=np.int64)
    pairs: Counter[int] = Counter()
    for labels in _labels(vocabulary, train):
        singles += np.bincount(labels[1:], minlength=alphabet)
        pairs.update(_counted(labels[:-1] * alphabet + labels[1:]))
    firsts = singles.copy()
    first, last = (vocabulary.encode(train[at]) for at in (0, -1))
    singles[first] += 1
    firsts[first] += 1
    firsts[last] -= 1
    unigram = bigram = 0.0
    for labels in _labels(vocabulary, held_out, before=train[-1]):
        unigram += float(np.log2((singles[labels[1:]] + 1) / (len(train) + alphabet)).sum())
        for pair, count in _counted(labels[:-1] * alphabet + labels[1:]).items():
            share = (pairs[pair] + 1) / (firsts[pair // alphabet] + alphabet)
            bigram += count * math.log2(share)
    seen, rest = train[-XZ_CHARACTERS:], held_out[: XZ_CHARACTERS // 10]
    xz = (_xz_bits(seen + rest) - _xz_bits(seen)) / len(rest)
    return {"unigram": -unigram / len(held_out), "bigram": -bigram / len(held_out), "xz": xz}


@check.named_options
def generate(
    model: RNN,
    params: Mapping[str, Array],
    vocabulary: Vocabulary,
    *,
    prompt: str,
    length: int,
    temperature: float = 1.0,
    seed: int = 0,
) -> Iterator[str]:
    """Draw text from a trained network, a character at a time.

    Parameters
    ----------
    model, params
        A network from characters, as tokens or one-hot, to characters.
    vocabulary : Vocabulary
    prompt : str
        What the network reads first; at least one character.
    length : int
        Characters to draw.
    temperature : float
        Above 1 for more randomness, below 1 for less; 0 always takes the most likely character.
    seed : int

    Yields
    ------
    str
        One character at a time.

    Raises
    ------
    TypeError, ValueError
        If an argument does not fit, or a parameter is not finite; the message names it.
    """
    check_parameters(model, params)
    check.finite({f"params[{name!r}]": array for name, array in params.items()})
    check_one_direction(model, "text that is drawn character by character")
    check_every_step(model, "text that is drawn character by character")
    if not isinstance(vocabulary, Vocabulary):
        raise TypeError(f"vocabulary: expected a Vocabulary, got {check.said(vocabulary)}")
    inputs = model.vocabulary_size or model.input_size
    if not len(vocabulary) == inputs == model.feature_size:
        raise ValueError(
            f"vocabulary: expected as many characters as the network has inputs and outputs, "
            f"{inputs} and {model.feature_size}, got {len(vocabulary)}"
        )
    check.text("prompt", prompt, least=1)
    length = check.integer("length", length, least=0)
    temperature = check.number("temperature", temperature, least=0.0)
    seed = check.integer("seed", seed, least=0)
    try:
        labels = vocabulary.encode(prompt)
    except ValueError as error:
        raise ValueError(str(error).replace("text:", "prompt:", 1)) from None
    return _draw(model, params, vocabulary, labels, length, temperature, seed)


def _draw(
    model: RNN,
    params: Mapping[str, Array],
    vocabulary: Vocabulary,
    labels: np.ndarray[Any, Any],
    length: int,
    temperature: float,
    seed: int,
) -> Iterator[str]:
    weight = params["weight_ih_l0"]
    xp: Namespace = namespace_of(weight=weight)
    rng, state = np.random.default_rng(seed), None
    embeds = model.vocabulary_size is not None
    for _ in range(length):
        read = xp.asarray(labels, device=device_of(weight))
        x = read if embeds else one_hot(xp, read, len(vocabulary), weight.dtype)
        outputs, state = predict(model, params, x, state, return_state=True)
        logits = float64_to_host(outputs[-1, :])
        if not np.isfinite(logits).all():
            raise ValueError("params: expected a network of finite outputs, got NaN or infinity")
        if temperature == 0:
            chosen = int(np.argmax(logits))
        else:
            with np.errstate(over="ignore", under="ignore"):  # for nearly impossible ones
                p = np.exp((logits - logits.max()) / temperature)
            chosen = int(rng.choice(len(p), p=p / p.sum()))
        yield vocabulary.characters[chosen]
        labels = np.asarray([chosen], dtype=np.int32)


def _items(name: str, value: Any, of: str) -> Iterator[Any]:
    """Return an iterator over ``value``; refuse what is not iterable, or whose items are parts.

    Those of texts are characters, those of mappings and frames names.
    """
    try:
        whole = isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Iterable)
        if whole or len(getattr(value, "shape", ())) > 1:
            raise TypeError
        found: Iterator[Any] = iter(value)
    except Exception:
        raise TypeError(f"{name}: expected a list of {of}, got {check.said(value)}") from None
    return found


def _code_points(text: str) -> Iterator[np.ndarray[Any, np.dtype[np.uint32]]]:
    """Yield the code points of a text, a part of it at a time."""
    for start in range(0, len(text), PART):
        part = text[start : start + PART].encode("utf-32-le", errors="surrogatepass")
        yield np.frombuffer(part, dtype="<u4")


def _labels(
    vocabulary: Vocabulary, text: str, before: str = ""
) -> Iterator[np.ndarray[Any, np.dtype[np.int64]]]:
    """Yield the labels of a text, a part of it at a time, each after the last of the part before.

    The first part follows ``before``, or begins with the first character of the text.
    """
    start = 0 if before else 1
    last = vocabulary.encode(before or text[0], dtype="int64")
    for at in range(start, len(text), PART):
        labels = vocabulary.encode(text[at : at + PART], dtype="int64")
        yield np.concatenate([last, labels])
        last = labels[-1:]


def _counted(numbers: np.ndarray[Any, Any]) -> dict[int, int]:
    """Return how often each number occurs."""
    if numbers.max(initial=0) < DENSE:
        counts = np.bincount(numbers)
        found = np.flatnonzero(counts)
        counts = counts[found]
    else:
        found, counts = np.unique(numbers, return_counts=True)
    return dict(zip(found.tolist(), counts.tolist(), strict=True))


def _xz_bits(text: str) -> int:
    return 8 * len(lzma.compress(text.encode(), preset=9 | lzma.PRESET_EXTREME))
