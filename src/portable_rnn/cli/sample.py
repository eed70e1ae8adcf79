"""``portable-rnn sample``: text from a trained run."""

import sys
from pathlib import Path

from ..model import RNN
from ..serialization import load_weights
from ..text import Vocabulary, generate
from .settings import WEIGHTS, read_config

__all__ = ["print_sample"]


def print_sample(
    folder: Path, prompt: str | None, length: int, temperature: float, seed: int
) -> None:
    """Print the prompt and what the network makes of it, as it is drawn."""
    config = read_config(folder)
    params = load_weights(folder / WEIGHTS)
    prompt = config.get("prompt", "") if prompt is None else prompt
    characters = generate(
        RNN(**config["model"]),
        params,
        Vocabulary(config["vocabulary"]),
        prompt=prompt,
        length=length,
        temperature=temperature,
        seed=seed,
    )
    sys.stdout.write(prompt)
    for character in characters:
        sys.stdout.write(character)
        sys.stdout.flush()
    sys.stdout.write("\n")
